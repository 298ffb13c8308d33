"""Policy and value losses, elementwise: ``[T, ...]`` in, ``[T, ...]`` out; the caller reduces."""

import chex
import jax
import jax.numpy as jnp


def clipped_surrogate(log_prob: jax.Array, old_log_prob: jax.Array, advantage: jax.Array, clip: float) -> jax.Array:
    """``-min(rho A, clip(rho, 1 - c, 1 + c) A)``, ``rho = pi / pi_old`` (PPO, Schulman et al. 2017)."""
    chex.assert_equal_shape([log_prob, old_log_prob, advantage])
    ratio = jnp.exp(log_prob - old_log_prob)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1.0 - clip, 1.0 + clip) * advantage)


def squared_error(value: jax.Array, target: jax.Array) -> jax.Array:
    """``(V - target)^2 / 2``."""
    chex.assert_equal_shape([value, target])
    return 0.5 * jnp.square(value - target)
