"""A baseline that is fitted to the batch at hand: linear in features of state and time (Duan et al. 2016)."""

import chex
import jax
import jax.numpy as jnp


def time_in_episode(episode_start: jax.Array, before: jax.Array | None = None) -> jax.Array:
    """Steps since the episode began.

    Args:
      episode_start: ``[T, ...]`` bool, which steps are an episode's first.
      before: ``[...]`` int32, steps before the record of the episodes under way as it begins (none).

    Returns:
      ``[T, ...]`` int32.
    """
    index = jnp.arange(episode_start.shape[0], dtype=jnp.int32).reshape(-1, *(1,) * (episode_start.ndim - 1))
    first = 0 if before is None else -before[None]
    return index - jax.lax.cummax(jnp.where(episode_start, index, first), axis=0)


def linear_baseline(observation: jax.Array, time: jax.Array, returns: jax.Array, ridge: float = 1e-3) -> jax.Array:
    """The ridge regression of ``returns`` on ``(o, o^2, t, t^2, t^3, 1)``, evaluated on the same batch.

    Args:
      observation: ``[T, E, ...]``, clipped to [-10, 10].
      time: ``[T, E]``, counted in hundreds of steps.
      returns: ``[T, E]``.
      ridge: times the mean square of each feature.

    Returns:
      Values ``[T, E]``.
    """
    chex.assert_equal_shape([time, returns])
    seen = jnp.clip(observation.reshape(*returns.shape, -1), -10.0, 10.0)
    hundreds = time[..., None].astype(returns.dtype) / 100.0
    parts = [seen, seen**2, hundreds, hundreds**2, hundreds**3, jnp.ones_like(hundreds)]
    features = jnp.concatenate(parts, axis=-1).reshape(returns.size, -1)
    scale = jnp.sqrt(jnp.mean(features**2, axis=0, keepdims=True)) + 1e-8
    features = features / scale
    gram = features.T @ features / returns.size + ridge * jnp.eye(features.shape[1])
    weights = solve_positive(gram, features.T @ returns.reshape(-1) / returns.size)
    return (features @ weights).reshape(returns.shape)


def solve_positive(matrix: jax.Array, vector: jax.Array) -> jax.Array:
    """Solves ``matrix x = vector`` for a positive definite matrix: Gauss-Jordan, no pivots.

    Not LAPACK's: batched under ``vmap`` on several CPU devices that may never return (``training.update_loop``), and
    for so small a matrix it is no faster.

    Args:
      matrix: ``[F, F]``.
      vector: ``[F]``.

    Returns:
      ``x [F]``.
    """

    def eliminate(i, rows):
        pivot = rows[i] / rows[i, i]
        cleared = rows - rows[:, i][:, None] * pivot[None]
        return cleared.at[i].set(pivot)

    rows = jnp.concatenate([matrix, vector[:, None]], axis=1)
    return jax.lax.fori_loop(0, matrix.shape[0], eliminate, rows)[:, -1]
