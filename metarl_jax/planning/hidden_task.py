"""Bayes-optimal control where one of a few deterministic tasks is the true one: dynamic programming over beliefs.

Axis letters: ``[G]`` candidate tasks, ``[S]`` cells, ``[A]`` actions, ``[E]`` episodes, ``[T]`` steps, ``[M]`` beliefs.
All candidates share their moves; entering cell ``s`` pays ``reward[g, s]`` and shows ``signal[g, s]`` (not at the last
step of an episode: the agent is back at the start before it observes anything). Nothing is random, so a belief is a set
of candidates with their prior weights: a step splits it by what it paid and showed, and the agent goes on with the part
that holds the truth,

``V_t(B, s) = max_a sum_parts P(B') / P(B) (reward(B', s') + V_{t+1}(B', s'))``, ``s' = next(s, a)``.

``hidden_goal`` searches larger sets where "not here" is all that is ever learned; here a signal may reveal anything.
"""

import numpy as np
from numpy.typing import ArrayLike

from metarl_jax.config import check
from metarl_jax.planning.dynamic_programming import UNREACHABLE, shortest_paths
from metarl_jax.planning.known_goal import weights_of

MOST_BELIEFS = 2**16


def hidden_task_return(
    next_state: ArrayLike,
    start: int,
    reward: ArrayLike,
    signal: ArrayLike,
    horizon: int,
    num_episodes: int,
    weight: ArrayLike | None = None,
) -> np.ndarray:
    """The expected return of each episode under the Bayes-optimal policy of the whole trial, exact.

    Args:
      next_state: ``[S, A]`` int.
      start: the cell where each episode begins.
      reward: ``[G, S]``, for entering a cell or staying in it.
      signal: ``[G, S]`` int, what is observed there; at ``start`` the same for all candidates.
      horizon: steps ``T`` of an episode.
      num_episodes: ``E``.
      weight: ``[G]``, proportional to the candidates' prior probabilities; equal if None.

    Returns:
      ``[E]``.

    Raises:
      ConfigError: if more than ``MOST_BELIEFS`` sets of candidates can come about, ``signal`` differs at the start,
        weights are not positive, or there is not a step and an episode.
    """
    check(horizon >= 1 and num_episodes >= 1, "horizon", horizon, "give at least one step and one episode")
    arrays = np.asarray(next_state), np.asarray(reward, float), np.asarray(signal)
    return _solve(*_reachable(*arrays, start), horizon, num_episodes, weights_of(len(arrays[1]), weight))


def _solve(
    next_state: np.ndarray,
    reward: np.ndarray,
    signal: np.ndarray,
    start: int,
    horizon: int,
    num_episodes: int,
    weight: np.ndarray,
) -> np.ndarray:
    """``hidden_task_return`` of arrays in which every cell can be reached."""
    check(len(np.unique(signal[:, start])) == 1, "signal", signal[:, start], "must tell nothing at the start")
    paid, seen = (_parts(reward, shown) for shown in (0 * signal, signal))
    beliefs = _beliefs(paid + seen, reward.shape[0])
    splits = [{s: _split(beliefs, masks, weight) for s, masks in enumerate(x) if len(masks) > 1} for x in (paid, seen)]
    posterior = _chances(beliefs, weight)
    mean_reward = (posterior / posterior.sum(axis=1, keepdims=True)) @ reward  # [M, S]
    value = np.zeros((0, *mean_reward.shape))  # of the steps still to come, by episode from this one on
    for _ in range(num_episodes):
        value = np.concatenate([np.zeros((1, *mean_reward.shape)), value])
        value[:] = value[:, :, start, None]  # whatever cell the last episode ended in
        for left in range(horizon):
            for cell, split in splits[min(left, 1)].items():
                value[:, :, cell] = sum(chance * value[:, after, cell] for chance, after in split)
            value[0] += mean_reward
            best = value.sum(axis=0)[:, next_state].argmax(axis=-1)  # [M, S]
            cell = next_state[np.arange(len(next_state)), best]
            value = np.take_along_axis(value, cell[None], axis=-1)
    return value[:, -1, start]  # the last belief holds all candidates


def _reachable(next_state: np.ndarray, reward: np.ndarray, signal: np.ndarray, start: int):
    """The same problem without the cells that ``start`` does not lead to."""
    cells = np.flatnonzero(np.asarray(shortest_paths(next_state, start)) < UNREACHABLE)
    return (
        np.searchsorted(cells, next_state[cells]),
        reward[:, cells],
        signal[:, cells],
        int(np.searchsorted(cells, start)),
    )


def _parts(reward: np.ndarray, signal: np.ndarray) -> list[list[int]]:
    """For each cell the candidates that cannot be told apart there, as bit masks; arguments ``[G, S]``."""
    parts = []
    for pair in np.stack([reward, signal]).transpose(2, 0, 1):
        kinds = np.unique(pair, axis=1, return_inverse=True)[1].ravel()
        parts.append([int((2 ** np.flatnonzero(kinds == kind)).sum()) for kind in range(kinds.max() + 1)])
    return parts


def _beliefs(parts: list[list[int]], num_candidates: int) -> np.ndarray:
    """All sets that the cells' parts can cut out of the whole; ``[M]`` int64, ascending."""
    beliefs = new = np.array([2**num_candidates - 1])
    masks = np.array(sorted({mask for cell in parts for mask in cell}))
    while len(new):
        cut = np.unique(new[:, None] & masks)
        new = np.setdiff1d(cut[cut > 0], beliefs)
        beliefs = np.union1d(beliefs, new)
        check(len(beliefs) <= MOST_BELIEFS, "beliefs", len(beliefs), f"must be at most {MOST_BELIEFS}: fewer tasks")
    return beliefs


def _chances(beliefs: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weight of each candidate in each belief, 0 where it is out; ``[M, G]``."""
    return (beliefs[..., None] >> np.arange(len(weight)) & 1) * weight


def _split(beliefs: np.ndarray, parts: list[int], weight: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each part, ``(chance [M], the belief's number after it [M])``; chance 0 where they share no candidate."""
    left = beliefs & np.array(parts)[:, None]
    chance = _chances(left, weight).sum(axis=-1) / _chances(beliefs, weight).sum(axis=-1)
    return list(zip(chance, np.where(left > 0, np.searchsorted(beliefs, left), 0), strict=True))
