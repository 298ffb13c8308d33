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
    """``-min(rho A, clip(rho, 1 - c, 1 + c) A)``, ``rho = pi / pi_old`` (PPO, Schulman et al. 2017)."""
    chex.assert_equal_shape([log_prob, old_log_prob, advantage])
    ratio = jnp.exp(log_prob - old_log_prob)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)


def squared_error(value: jax.Array, target: jax.Array) -> jax.Array:
    """``(V - target)^2 / 2``."""
    chex.assert_equal_shape([value, target])
    return 0.5 * jnp.square(value - target)


def value_loss(value: jax.Array, target: jax.Array) -> jax.Array:
    """``mean (V - G)^2 / 2 / (var(G) + mean(G^2) / 10^4)``, at most 5: a scalar that does not change where values and
    targets change by one factor.

    The divisor is a constant to gradients. Where targets are almost constant it is a 10^4th of their mean square, and
    where errors are far larger than that (more than 10 times, squared), a tenth of their own mean square.
    """
    chex.assert_equal_shape([value, target])
    unit = unit_of(target - value, target)
    value, target = value / unit, target / unit
    error = squared_error(value, target).mean()
    divisor = jnp.maximum(target.var() + 1e-4 * jnp.square(target).mean(), 0.2 * error)
    return error / jax.lax.stop_gradient(jnp.maximum(divisor, TINY))


def standardised(x: jax.Array, rounding: jax.Array | float = 0.0) -> jax.Array:
    """``(x - mean) / (std + rounding)``, which stays small where ``x`` varies by rounding alone; that of ``x`` itself
    always counts."""
    unit = unit_of(x)
    x, rounding = x / unit, rounding / unit
    own = ROUNDING * jnp.sqrt(jnp.square(x).mean())
    return (x - x.mean()) / jnp.maximum(x.std() + own + rounding, TINY)


def root_mean_square(x: jax.Array) -> jax.Array:
    unit = unit_of(x)
    return unit * jnp.sqrt(jnp.square(x / unit).mean())


def unit_of(*arrays: jax.Array) -> jax.Array:
    """A power of two like the largest number of all ``arrays`` (1 where they are 0): dividing by it rounds nothing, and
    then squares neither overflow nor vanish."""
    largest = jnp.stack([jnp.abs(jax.lax.stop_gradient(x)).max() for x in arrays]).max()
    exponent = jnp.clip(jnp.frexp(largest)[1], -125, 125)
    return jnp.where(largest > 0, jnp.ldexp(jnp.float32(1.0), exponent), 1.0)
