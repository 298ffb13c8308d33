"""How MAESN is meta-learned: what an episode counts for, and the outer loss on whole trials."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax import estimators
from metarl_jax.algorithms import _adaptation as adaptation
from metarl_jax.algorithms import _structured_noise as structured
from metarl_jax.algorithms._structured_noise import Meta, Window
from metarl_jax.types import ActionDistribution, Key, Task


class Batch(NamedTuple):
    """What the epochs learn from: whole trials, leaves ``[1, N, K, T, E, ...]``."""

    windows: Window
    advantage: jax.Array


def live_one(
    inner: adaptation.Inner, discount: float, search_weight: float, key: Key, meta: Meta, task: Task
) -> tuple[Batch, jax.Array]:
    """A trial in one task: (its part of the batch ``[K, T, E]``, earned an episode ``[K]``).

    Advantages are not standardised yet. After a find: the return of the rest of the episode, less its mean over the
    window. Before it: ``search_weight`` times what an episode adds to the best of its window.
    """
    windows = adaptation.lifetime(inner, key, meta, (), task)
    returns = jax.vmap(functools.partial(structured.returns_of, discount=discount))(windows)
    episodes = returns.shape[-1]
    above = (returns - returns.mean(axis=-1, keepdims=True)) * (episodes / (episodes - 1))
    alone = search_weight * jax.vmap(functools.partial(added, discount=discount))(windows.reward)
    advantage = jnp.where(after_a_find(windows.reward)[:, None, None], above, alone)
    return Batch(windows, advantage), windows.reward.sum(axis=1).mean(axis=1)


def after_a_find(reward: jax.Array) -> jax.Array:
    """Which windows came after one in which something was earned (or paid): ``[K, T, E] -> [K]``."""
    earned = jnp.abs(reward).sum(axis=(1, 2)) > 0
    return jnp.cumsum(earned) - earned > 0


def added(reward: jax.Array, discount: float) -> jax.Array:
    """``(R_i - M_i)+ - (P_it - M_i)+`` for rewards ``[T, E]``: what lane ``i`` adds from step ``t`` on to the best of
    all lanes.

    ``R_i = sum_t discount^t r_it``, ``P_it`` is the part of it before ``t``, ``M_i = max_{j != i} R_j``. Times the
    scores of the actions, summed, its expectation is the gradient of ``E[max_i R_i]``: lanes share the search.
    """
    worth = jnp.power(discount, jnp.arange(reward.shape[0], dtype=reward.dtype))[:, None] * reward
    through = jnp.cumsum(worth, axis=0)
    others = best_of_others(through[-1:])
    return jax.nn.relu(through[-1:] - others) - jax.nn.relu(through - worth - others)


def best_of_others(returns: jax.Array) -> jax.Array:
    """``max_{j != i} x_j`` over the last axis: ``[..., E]``."""
    apart = jnp.where(jnp.eye(returns.shape[-1], dtype=bool), -jnp.inf, returns[..., None, :])
    return apart.max(axis=-1)


def outer_loss(
    inner: adaptation.Inner,
    actions: ActionDistribution,
    clip: float,
    entropy_cost: float | jax.Array,
    meta: Meta,
    minibatch: Batch,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """PPO's loss of trials that adapt by inner steps, less the entropy bonus."""
    batch = jax.tree.map(lambda x: x[0], minibatch)
    said = jax.vmap(lambda windows: adaptation.adapt(inner, meta, windows, before=True)[1])
    parameters, log_prob = said(batch.windows)
    policy_loss = estimators.clipped_surrogate(log_prob, batch.windows.log_prob, batch.advantage, clip).mean()
    entropy = actions.entropy(parameters).mean()
    return policy_loss - entropy_cost * entropy, {"policy_loss": policy_loss, "entropy": entropy}
