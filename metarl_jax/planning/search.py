"""Search for a hidden goal in a known maze: an episode ends on reaching it, and "not here" is all one learns.

Axis letters: ``[S]`` cells, ``[A]`` actions, ``[G]`` goals (equally likely), ``[L]`` steps of a walk, ``[B]`` beam.
Moves are deterministic, so before the goal is found an agent follows one fixed walk, and its mean time to find is the
mean over goals of the first-visit times of that walk: the *minimum latency* or travelling-repairman problem, which is
NP-hard (Blum et al. 1994). Hence a bracket.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from metarl_jax.config import check
from metarl_jax.planning.dynamic_programming import UNREACHABLE, all_shortest_paths, shortest_paths
from metarl_jax.planning.walks import beam_search, earliest, improve, walk_through


class Bracket(NamedTuple):
    """Bounds on the least mean time to find a goal.

    Attributes:
      lower: no walk has a smaller mean time; the mean of ``earliest``.
      upper: the mean time of ``walk``.
      walk: ``[L]`` int, cells, from the start on.
      find_time: ``[G]`` int, moves after which ``walk`` finds each goal.
      distance: ``[G]`` int, moves to each goal where it is known.
      earliest: ``[G]``, no walk visits its ``i``-th goal sooner.
    """

    lower: float
    upper: float
    walk: np.ndarray
    find_time: np.ndarray
    distance: np.ndarray
    earliest: np.ndarray


def search_bounds(
    next_state: ArrayLike, start: int, goals: ArrayLike, *, beam_width: int = 1000, rounds: int = 500
) -> Bracket:
    """Bounds on the least mean time to find a goal, and a walk that attains the upper one.

    Lower bound: the ``i``-th goal to be visited is visited no sooner than ``t_i = max(t_{i-1} + 1, d_i)``, ``d`` the
    sorted distances, nor than going to the goals that lie nearest to another one takes, nor than the dead ends visited
    by then allow (``turning_back``); the mean of ``t_i`` follows. Upper bound: a beam search over orders of the goals,
    ranked by the find times so far plus the first of these bounds on the rest, then a local search.

    Args:
      next_state: ``[S, A]`` int.
      start: cell.
      goals: ``[G]`` int, distinct cells that can be reached from ``start`` and from one another; ``start`` may itself
        be one (it is found after 0 moves).
      beam_width: orders retained by the beam search; seconds grow in proportion.
      rounds: of the local search; seconds grow in proportion.

    Returns:
      Bracket.

    Raises:
      ConfigError: if goals repeat or cannot be reached.
    """
    next_state, goals = np.asarray(next_state, np.int32), np.asarray(goals, np.int32)
    distance = _distances(next_state, int(start), goals)
    from_start, between = distance[start, goals], distance[goals][:, goals]
    waited = lambda goal, time: -time
    order = beam_search(from_start, between, waited, beam_width)
    order = improve(order, from_start, between, waited, rounds, moves=1000)
    walk = walk_through(next_state, int(start), goals[order], distance)
    first = np.argmax(walk[:, None] == goals, axis=0)
    times = _earliest_visits(next_state, int(start), goals, distance)
    return Bracket(float(times.mean()), float(first.mean()), walk, first, from_start, times)


def _distances(next_state: np.ndarray, start: int, goals: np.ndarray) -> np.ndarray:
    """Between all cells, ``[S, S]`` int32; ConfigError where a goal repeats or is out of reach."""
    check(goals.ndim == 1 and 0 < len(set(goals.tolist())) == len(goals), "goals", goals, "give distinct cells")
    distance = np.asarray(all_shortest_paths(next_state), np.int32)
    ends = np.r_[start, goals]
    check(int(distance[ends][:, goals].max()) < UNREACHABLE, "goals", goals, "some cannot be reached")
    return distance


def _earliest_visits(next_state: np.ndarray, start: int, goals: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """No walk visits its ``i``-th goal sooner; ``[G]``, given distances ``[S, S]`` between cells."""
    between = distance[goals][:, goals] + np.where(np.eye(len(goals), dtype=bool), UNREACHABLE, 0)
    legs = np.minimum(between.min(axis=0), distance[start, goals])  # each is entered from another one, or the start
    least = np.maximum(np.sort(distance[start, goals]), np.cumsum(np.sort(legs)))
    return earliest(np.maximum(least, turning_back(next_state, start, goals)))


def turning_back(next_state: np.ndarray, start: int, goals: np.ndarray) -> np.ndarray:
    """A lower bound on the steps that any walk needs to visit its ``i``-th goal, because dead ends must be left again.

    A *bridge* is an edge without which part of the maze is cut off from ``start``. Where ``m`` goals (other than the
    start) have been visited, ``m`` steps entered them for the first time. A bridge that was crossed, and does not lie
    between the start and where the walk is now, was crossed back as well, by a step that entered no new cell. Goals
    that the same bridges cut off form one group; to visit ``m`` of them takes at least as many bridges as there are
    groups among the largest that hold them, and a walk stands behind ``D`` bridges at most: ``m + bridges - D`` steps.

    Holds where every move that can be made from the start can be undone by one move; elsewhere zeros are returned.

    Args:
      next_state: ``[S, A]`` int.
      start: cell.
      goals: ``[G]`` int, distinct cells.

    Returns:
      ``[G]`` int, for the first goal visited, the second, ...
    """
    cell = np.flatnonzero(np.asarray(shortest_paths(next_state, start)) < UNREACHABLE)
    ends = np.stack(np.broadcast_arrays(cell[:, None], next_state[cell]), axis=-1).reshape(-1, 2)
    moves = set(map(tuple, ends.tolist()))
    edges = np.asarray(sorted({(a, b) for a, b in moves if a < b}), np.int32).reshape(-1, 2)
    if len(edges) == 0 or any((b, a) not in moves for a, b in moves):
        return np.zeros(len(goals), np.int64)
    # Padded with (0, 0), which closes nothing, so that mazes of one size share a compiled program.
    edges = np.pad(edges, ((0, next_state.size // 2 + 1 - len(edges)), (0, 0)))
    cut_off = np.asarray(_distances_without(next_state, start, edges))[:, goals] == UNREACHABLE  # [edges, G]
    depth = int(cut_off.sum(axis=0).max())
    elsewhere = goals != start
    groups, sizes = np.unique(cut_off[:, elsewhere], axis=1, return_counts=True)
    near = sizes[~groups.any(axis=0)].sum()  # goals that no bridge cuts off
    behind = np.cumsum(np.sort(sizes[groups.any(axis=0)])[::-1])
    visited = np.arange(1, elsewhere.sum() + 1)
    bridges = np.where(visited > near, np.searchsorted(behind, visited - near) + 1, 0)
    steps = visited + np.maximum(bridges - depth, 0)
    return np.concatenate([np.zeros(len(goals) - len(steps), np.int64), steps])


def trial_upper(
    next_state: ArrayLike, start: int, goals: ArrayLike, trial_steps: int, weights: ArrayLike | None = None
) -> float:
    """An upper bound on the mean number of goals that any agent reaches in a trial.

    Each goal reached sends the agent back to the start.

    The bound holds for every agent, Bayes-optimal ones included. Whatever an agent does up to the first find is a
    fixed walk (given its own random draws), which finds its ``i``-th goal ``g`` at a step ``t >= max(e_i, d_g)``, ``e``
    the bracket's ``earliest``; from then on each further find takes ``d_g`` steps or more. So it reaches ``g`` at most
    ``h_g(t) = 1 + floor((T - t) / d_g)`` times, which falls in ``t``, and the sum over goals is at most that of the
    best assignment of goals to ranks ``i``, each at its earliest step. Being sent back to the start before the find (a
    limit on the length of an episode) only delays: the bound still holds.

    Args:
      next_state: ``[S, A]`` int.
      start: cell.
      goals: ``[G]`` int, distinct cells other than ``start`` that can be reached from it and from one another.
      trial_steps: ``T``.
      weights: ``[G]``, proportional to the probabilities of the goals; equal if None.

    Returns:
      The bound, in goals per trial.

    Raises:
      ConfigError: if the start is a goal, goals repeat or cannot be reached.
    """
    next_state, goals = np.asarray(next_state, np.int32), np.asarray(goals, np.int32)
    distance = _distances(next_state, int(start), goals).astype(np.int64)
    known = distance[start, goals][:, None]
    check(bool(np.all(known >= 1)), "goals", goals, "the start itself cannot be a goal of a trial")
    weights = np.ones(len(goals)) if weights is None else np.asarray(weights, float)
    step = np.maximum(_earliest_visits(next_state, int(start), goals, distance), known)  # [G, rank]
    worth = np.where(step <= trial_steps, 1 + (trial_steps - step) // known, 0) * weights[:, None]
    return float(worth[linear_sum_assignment(worth, maximize=True)].sum() / weights.sum())


@jax.jit
def _distances_without(next_state: jax.Array, start: jax.Array, edges: jax.Array) -> jax.Array:
    """Distances from ``start`` when one of ``edges [edges, 2]`` is closed, for each; ``[edges, S]``."""
    cell = jnp.arange(next_state.shape[0])[:, None]

    def closed(edge):
        forth, back = (cell == edge[0]) & (next_state == edge[1]), (cell == edge[1]) & (next_state == edge[0])
        return shortest_paths(jnp.where(forth | back, cell, next_state), start)

    return jax.vmap(closed)(edges)
