"""Policy and value losses, and what frees them of the rewards' scale.

Nothing here is compared with a constant that has a reward's unit: numbers count as small beside others of the same
unit, and what divides is never below float32's smallest normal number.
"""

import chex
import jax
import jax.numpy as jnp

TINY = float(jnp.finfo(jnp.float32).tiny)
ROUNDING = 1e-6  # of the numbers that something was computed from: as much of it may be rounding


def clipped_surrogate(log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip: float) -> jax.Array:
    """PPO's surrogate (Schulman et al. 2017): ``-min(rho A, clip(rho, 1 - c, 1 + c) A)``, ``rho = pi / pi_old``.

    Args:
      log_prob: ``[...]``, of the actions under the policy that is learned.
      old_log_prob: ``[...]``, under the policy that took them.
      advantage: ``[...]``.
      clip: c.

    Returns:
      The loss of each action, ``[...]``.
    """
    chex.assert_equal_shape([log_prob, old_log_prob, advantage])
    ratio = jnp.exp(log_prob - old_log_prob)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)


def squared_error(value: jax.Array, target: jax.Array) -> jax.Array:
    """Half the squared error, ``(V - target)^2 / 2``.

    Args:
      value: ``[...]``.
      target: ``[...]``.

    Returns:
      ``[...]``.
    """
    chex.assert_equal_shape([value, target])
    return 0.5 * jnp.square(value - target)


def value_loss(value: jax.Array, target: jax.Array) -> jax.Array:
    """A value loss without a unit: ``mean (V - G)^2 / 2 / (var(G) + mean(G^2) / 10^4)``, at most 5.

    It does not change where values and targets change by one factor. The divisor is a constant to gradients. Where
    targets are almost constant it is a 10^4th of their mean square, and where errors are far larger than that (more
    than 10 times, squared), a tenth of their own mean square.

    Args:
      value: ``[...]``.
      target: ``[...]``, the returns G.

    Returns:
      A scalar.
    """
    chex.assert_equal_shape([value, target])
    unit = unit_of(target - value, target)
    value, target = value / unit, target / unit
    error = squared_error(value, target).mean()
    divisor = jnp.maximum(target.var() + 1e-4 * jnp.square(target).mean(), 0.2 * error)
    return error / jax.lax.stop_gradient(jnp.maximum(divisor, TINY))


def standardised(x: jax.Array, rounding: jax.Array | float = 0.0) -> jax.Array:
    """``(x - mean) / (std + rounding)``, over all of ``x``.

    It stays small where ``x`` varies by rounding alone; the rounding of ``x`` itself always counts.

    Args:
      x: ``[...]``.
      rounding: more of it, in the unit of ``x``, of what ``x`` was computed from.

    Returns:
      ``[...]``.
    """
    unit = unit_of(x)
    x, rounding = x / unit, rounding / unit
    own = ROUNDING * jnp.sqrt(jnp.square(x).mean())
    return (x - x.mean()) / jnp.maximum(x.std() + own + rounding, TINY)


def root_mean_square(x: jax.Array) -> jax.Array:
    """The root of the mean square of all numbers of ``x``; squares neither overflow nor vanish.

    Args:
      x: ``[...]``.

    Returns:
      A scalar.
    """
    unit = unit_of(x)
    return unit * jnp.sqrt(jnp.square(x / unit).mean())


def unit_of(*arrays: jax.Array) -> jax.Array:
    """A power of two like the largest number of all ``arrays``.

    Dividing by it rounds nothing, and then squares neither overflow nor vanish.

    Args:
      *arrays: of any shapes; no gradient goes through them.

    Returns:
      A scalar (1 where all are 0).
    """
    largest = jnp.stack([jnp.abs(jax.lax.stop_gradient(x)).max() for x in arrays]).max()
    exponent = jnp.clip(jnp.frexp(largest)[1], -125, 125)
    return jnp.where(largest > 0, jnp.ldexp(jnp.float32(1.0), exponent), 1.0)
