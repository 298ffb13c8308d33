"""Bayes-optimal control where one of a few tabular MDPs is the true one: dynamic programming over beliefs.

Axis letters: ``[G]`` candidate MDPs, ``[S]`` states, ``[A]`` actions, ``[B]`` beliefs of a level (after a given number
of steps), ``[K]`` possible next observations, ``[T]`` steps of a trial. The reward and the next state of a step have a
likelihood under each candidate; equal beliefs in one state are merged. Episodes have ``horizon`` steps from state 0 on;
where the last of them leads is not observed, the next episode begins instead.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metarl_jax.planning.known_goal import weights_of

MOST_NUMBERS = 3 * 10**6  # of what may follow the beliefs of a level: half a second a level
DECIMALS = 9  # to which chances are compared


class _Level(NamedTuple):
    """The beliefs after a given number of steps, and the observations that may follow them.

    Attributes:
      mean: ``[B, A]``, expected reward.
      pair: ``[K]`` int, ``b A + a``: the belief and action that each observation follows.
      chance: ``[K]``, probability of the observation given these.
      following: ``[K]`` int, number of the belief, in the next level, that it leads to.
    """

    mean: np.ndarray
    pair: np.ndarray
    chance: np.ndarray
    following: np.ndarray


def hidden_mdp_return(
    transition: ArrayLike, reward: ArrayLike, horizon: int, trial_steps: int, weight: ArrayLike | None = None
) -> np.ndarray | None:
    """The expected reward of each step under the Bayes-optimal policy of the whole trial, exact.

    Args:
      transition: ``[G, S, A, S]``; rows are normalised.
      reward: ``[G, S, A]``, paid without noise.
      horizon: steps of an episode.
      trial_steps: ``T``.
      weight: ``[G]``, proportional to the candidates' prior probabilities; equal if None.

    Returns:
      ``[T]``, or None where there are too many beliefs.
    """
    table, reward = np.array(transition, np.float64), np.asarray(reward, np.float64)
    table /= table.sum(axis=-1, keepdims=True)
    # The rewards of a state and an action by number: candidates that pay the same there have the same.
    kinds = np.stack([np.unique(one, return_inverse=True)[1] for one in reward.reshape(len(reward), -1).T], axis=1)
    kinds = kinds.reshape(reward.shape)
    state, belief = np.zeros(1, int), weights_of(len(reward), weight)[None]
    levels: list[_Level] = []
    expanded: dict[tuple, tuple] = {}  # once all is known, levels repeat
    for step in range(trial_steps):
        if np.count_nonzero(belief) * table[0, 0].size * len(table) > MOST_NUMBERS:
            return None
        key = state.tobytes(), belief.tobytes(), (step + 1) % horizon == 0
        if key not in expanded:
            expanded[key] = _expand(table, reward, kinds, state, belief, key[-1])
        level, state, belief = expanded[key]
        levels.append(level)
    value, choices = np.zeros(len(state)), []
    for level in reversed(levels):
        after = np.bincount(level.pair, level.chance * value[level.following], level.mean.size)
        q = level.mean + after.reshape(level.mean.shape)
        choices.append(q.argmax(axis=1))
        value = q.max(axis=1)
    return _by_step(levels, choices[::-1], len(state))


def _by_step(levels: list[_Level], choices: list[np.ndarray], last: int) -> np.ndarray:
    """The expected reward of each step, ``[T]``, with the action that was chosen for each belief."""
    reached, by_step = np.ones(1), []
    sizes = [*(len(level.mean) for level in levels[1:]), last]
    for level, action, size in zip(levels, choices, sizes, strict=True):
        by_step.append(reached @ level.mean[np.arange(len(action)), action])
        owner, tried = np.divmod(level.pair, level.mean.shape[1])
        weight = np.where(tried == action[owner], reached[owner] * level.chance, 0.0)
        reached = np.bincount(level.following, weight, size)
    return np.array(by_step)


def _expand(table, reward, kinds, state, belief, ends: bool) -> tuple[_Level, np.ndarray, np.ndarray]:
    """The level of the beliefs at hand, and state and belief of the next one."""
    num_states, num_actions = table.shape[1:3]
    owner, candidate = np.nonzero(belief)
    mass = belief[owner, candidate][:, None, None] * table[candidate, state[owner]]  # [., A, S]
    if ends:
        mass = mass.sum(axis=-1, keepdims=True)  # whatever the state, the agent sees the first of the next episode
    pair = owner[:, None] * num_actions + np.arange(num_actions)
    seen = (pair * (kinds.max() + 1) + kinds[candidate, state[owner]])[..., None] * num_states
    seen = seen + np.arange(mass.shape[-1])
    comes = mass > 0
    seen, which = np.unique(seen[comes], return_inverse=True)
    joint = np.zeros((len(seen), len(table)))
    joint[which.ravel(), np.broadcast_to(candidate[:, None, None], mass.shape)[comes]] = mass[comes]
    chance = joint.sum(axis=1)
    posterior, reached = joint / chance[:, None], seen % num_states
    rows = np.concatenate([reached[:, None], np.round(posterior, DECIMALS)], axis=1)
    _, first, following = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    mean = np.einsum("bg,gba->ba", belief, reward[:, state])
    level = _Level(mean, seen // (num_states * (kinds.max() + 1)), chance, following.ravel())
    return level, reached[first], posterior[first]
