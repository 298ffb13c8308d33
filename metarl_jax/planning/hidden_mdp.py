"""Bayes-optimal control where one of a few tabular MDPs is the true one: dynamic programming over beliefs.

Axis letters: ``[G]`` candidate MDPs, ``[S]`` states, ``[A]`` actions, ``[R]`` rewards that a step may pay, ``[B]``
beliefs of a level (so many steps made), ``[T]`` steps of a trial. What a step pays and where it leads speak for each
candidate by its likelihood; equal beliefs in one state are merged. Episodes have ``horizon`` steps from state 0 on.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metarl_jax.planning.known_goal import weights_of

MOST_NUMBERS = 2 * 10**6  # of what may follow the beliefs of a level: a second a trial or so
DECIMALS = 9  # to which chances are compared


class _Level(NamedTuple):
    """``mean [B, A]``, the expected reward; ``chance [B, A, R S]`` and number ``following [B, A, R S]`` of each belief
    that may follow."""

    mean: np.ndarray
    chance: np.ndarray
    following: np.ndarray


def hidden_mdp_return(
    transition: ArrayLike, reward: ArrayLike, horizon: int, trial_steps: int, weight: ArrayLike | None = None
) -> np.ndarray | None:
    """The expected reward of each step ``[T]`` under the policy that is best for the whole trial, exact; None where
    there are too many beliefs.

    Args:
      transition: ``[G, S, A, S]``. reward: ``[G, S, A]``, paid without noise.
      weight: ``[G]``, in proportion to the chances of the candidates; by default they are equal.
    """
    table, reward = np.array(transition, np.float64), np.asarray(reward, np.float64)
    table /= table.sum(axis=-1, keepdims=True)
    kinds = np.stack([np.unique(one, return_inverse=True)[1] for one in reward.reshape(len(reward), -1).T], axis=1)
    pays = (kinds.reshape(reward.shape) == np.arange(kinds.max() + 1)[:, None, None, None]) * 1.0  # [R, G, S, A]
    state, belief = np.zeros(1, int), weights_of(len(reward), weight)[None]
    levels: list[_Level] = []
    for step in range(trial_steps):
        if len(state) * table[0, 0].size * pays[:, :, 0, 0].size > MOST_NUMBERS:
            return None
        ends = (step + 1) % horizon == 0
        level, state, belief = _expand(table, reward, pays, state, belief, ends)
        levels.append(level)
    value, plan = np.zeros(len(state)), []
    for level in reversed(levels):
        q = level.mean + (level.chance * value[level.following]).sum(axis=-1)
        best = np.arange(len(q)), q.argmax(axis=1)
        value = q[best]
        plan.append(tuple(x[best] for x in (level.mean, level.chance, level.following)))
    return _by_step(plan[::-1])


def _by_step(plan: list[tuple[np.ndarray, ...]]) -> np.ndarray:
    reached, by_step = np.ones(1), []
    for index, (mean, chance, following) in enumerate(plan):
        by_step.append(reached @ mean)
        size = len(plan[index + 1][0]) if index + 1 < len(plan) else 0
        reached = np.bincount(following.ravel(), (reached[:, None] * chance).ravel(), size)
    return np.array(by_step)


def _expand(transition, reward, pays, state, belief, ends: bool) -> tuple[_Level, np.ndarray, np.ndarray]:
    """The level of the beliefs at hand, and state and belief of the next one."""
    mean = np.einsum("bg,gba->ba", belief, reward[:, state])
    joint = np.einsum("bg,rgba,gbas->barsg", belief, pays[:, :, state], transition[:, state], optimize=True)
    chance = joint.sum(axis=-1)
    comes = chance > 0
    posterior = joint[comes] / chance[comes][:, None]
    reached = np.broadcast_to(0 if ends else np.arange(transition.shape[-1]), chance.shape)[comes]
    rows = np.concatenate([reached[:, None], np.round(posterior, DECIMALS)], axis=1)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    following = np.zeros(chance.shape, int)
    following[comes] = which.ravel()
    flat = lambda x: x.reshape(*chance.shape[:2], -1)
    return _Level(mean, flat(chance), flat(following)), reached[first], posterior[first]
