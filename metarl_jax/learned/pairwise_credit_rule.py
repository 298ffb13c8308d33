"""Learned weights of pairs of steps: how much of a step's reward is credited to the action of an earlier one.

Zheng et al. 2022, "Adaptive Pairwise Weights for Temporal Credit Assignment". Axis letters: ``[T]`` steps that act,
``[U]`` the same steps as those that are rewarded, ``[E]`` episodes side by side.
"""

import math

import jax
import jax.numpy as jnp

from metarl_jax.learned.layers import dense, dense_init, mlp_applied, mlp_init
from metarl_jax.records import Key, PyTree

GAPS = 3  # what is told of the time between two steps


def init(key: Key, features: int, hidden: tuple[int, ...], size: int, weight: float) -> PyTree:
    """Weights under which every pair's is about ``weight``.

    Args:
      key: of the kernels.
      features: F, numbers of a step.
      hidden: widths of the hidden layers.
      size: length of the two vectors whose inner product is taken.
      weight: between 0 and 1, exclusive.

    Returns:
      ``{"acting": ..., "earning": ..., "gap": ...}``.
    """
    keys = jax.random.split(key, 3)
    gap = dense_init(keys[2], GAPS, 1, 0.1)
    return {
        "acting": mlp_init(keys[0], (features, *hidden, size), 0.3),
        "earning": mlp_init(keys[1], (features, *hidden, size), 0.3),
        "gap": gap | {"bias": gap["bias"] + math.log(weight / (1 - weight))},
    }


def pair_weights(weights: PyTree, x: jax.Array, ended: jax.Array) -> jax.Array:
    """The credit of each pair of steps.

    ``sigmoid(a(x_t) . b(x_u) + c(u - t))``; 0 where step u came before t, or in another episode.

    Args:
      weights: of the networks a and b and of the gap's c.
      x: ``[T, E, F]``, features of each step.
      ended: ``[T, E]`` bool, an episode's last step.

    Returns:
      ``w [T, U, E]``, in ``[0, 1]``.
    """
    length = x.shape[0]
    acting, earning = (mlp_applied(weights[side], x) for side in ("acting", "earning"))
    likeness = jnp.einsum("tes,ues->tue", acting, earning) / math.sqrt(acting.shape[-1])
    gap = (jnp.arange(length)[None] - jnp.arange(length)[:, None]).astype(x.dtype)
    far = jnp.maximum(gap, 0.0)
    told = jnp.stack([jnp.exp(-far), jnp.exp(-far / 5.0), jnp.log1p(far) / 3.0], axis=-1)
    logits = likeness + dense(weights["gap"], told)
    before = jnp.cumsum(ended, axis=0) - ended  # episodes that ended earlier
    same = (before[:, None] == before[None]) & (gap >= 0)[..., None]
    return jnp.where(same, jax.nn.sigmoid(logits), 0.0)


def credited(weights: jax.Array, earned: jax.Array) -> jax.Array:
    """Weighted sums of what each step brought: ``sum_u w(t, u) earned(u)``.

    Args:
      weights: ``[T, U, E]``.
      earned: ``[U, E]``, rewards or errors.

    Returns:
      ``[T, E]``.
    """
    return jnp.einsum("tue,ue->te", weights, earned)
