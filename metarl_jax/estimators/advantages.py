"""Returns and advantages, time first ``[T, ...]``.

They take discounts, never ``done``: what ends a discount is the algorithm's choice (an episode's end does not cut it
inside an RL^2 trial).
"""

import chex
import jax
import jax.numpy as jnp


def generalised_advantages(
    rewards: jax.Array, values: jax.Array, next_values: jax.Array, discounts: jax.Array, trace: float | jax.Array
) -> jax.Array:
    """Generalised advantage estimates (Schulman et al. 2016).

    ``A_t = d_t + discount_t * trace * A_{t+1}`` with ``d_t = r_t + discount_t * V'_t - V_t``.

    Args:
      rewards: ``[T, ...]``.
      values: ``[T, ...]``, of the observation before each step.
      next_values: ``[T, ...]``, of what followed each step.
      discounts: ``[T, ...]``, what ``next_values`` count for (0 after termination).
      trace: lambda; a float, or ``[T, ...]`` with 0 where the trace must not run on (after truncation).

    Returns:
      Advantages ``[T, ...]``; ``advantages + values`` are the lambda returns.
    """
    chex.assert_equal_shape([rewards, values, next_values, discounts])
    deltas = rewards + discounts * next_values - values
    return discounted_sums(deltas, discounts * trace)


def discounted_sums(rewards: jax.Array, discounts: jax.Array) -> jax.Array:
    """Discounted sums of what is left: ``G_t = r_t + discount_t * G_{t+1}``, with ``G_T = 0``.

    Args:
      rewards: ``[T, ...]``.
      discounts: ``[T, ...]``, of what follows each step.

    Returns:
      ``[T, ...]``.
    """
    chex.assert_equal_shape([rewards, discounts])

    def step(total, inputs):
        reward, discount = inputs
        total = reward + discount * total
        return total, total

    return jax.lax.scan(step, jnp.zeros_like(rewards[0]), (rewards, discounts), reverse=True)[1]
