"""Walks through the goals of a known maze that find them early: a beam search over orders of the goals, a local search.

Axis letters: ``[G]`` goals, ``[B]`` beam, ``[M]`` moves tried in parallel. The value of a walk is the sum over goals of
``worth(goal, time)``, elementwise over arrays of both, which falls in the time at which the goal is visited first:
``-time`` makes it the problem of the travelling repairman.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from metarl_jax.planning.dynamic_programming import UNREACHABLE

Worth = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (goal, time) -> value
BRANCHING = 6  # how many of the nearest goals not yet visited the beam search may visit next


def earliest(distance: np.ndarray) -> np.ndarray:
    """The earliest times at which one goal after another can be visited, ``t_i = max(t_{i-1} + 1, d_i)``.

    Args:
      distance: ``[..., G]``, sorted along the last axis.

    Returns:
      ``[..., G]``.
    """
    rank = np.arange(distance.shape[-1], dtype=distance.dtype)
    return np.maximum.accumulate(distance - rank, axis=-1) + rank


def times_of(order: np.ndarray, from_start: np.ndarray, between: np.ndarray) -> np.ndarray:
    """When each goal is reached by shortest paths in the order given.

    Args:
      order: ``[..., G]`` int, goals by number.
      from_start: ``[G]``, distance of each goal from the start.
      between: ``[G, G]``, distance from the first index to the second.

    Returns:
      ``[..., G]``, the time at each place of ``order``.
    """
    legs = np.concatenate([from_start[order[..., :1]], between[order[..., :-1], order[..., 1:]]], axis=-1)
    return np.cumsum(legs, axis=-1)


class _Beam(NamedTuple):
    """The states of a beam search: an order of some of the goals each.

    Attributes:
      goal: ``[B]``, the one visited last.
      unvisited: ``[B, G]`` bool.
      key: ``[B]``, a Zobrist hash of the goals visited.
      time: ``[B]``, at which ``goal`` is reached.
      earned: ``[B]``, the value of the goals visited.
      parent: ``[B]``, index of the state before.
    """

    goal: np.ndarray
    unvisited: np.ndarray
    key: np.ndarray
    time: np.ndarray
    earned: np.ndarray
    parent: np.ndarray


class _Legs(NamedTuple):
    """From each goal, all goals, the nearest first.

    Attributes:
      goal: ``[G, G]`` int, by number.
      distance: ``[G, G]`` int.
    """

    goal: np.ndarray
    distance: np.ndarray


def beam_search(from_start: np.ndarray, between: np.ndarray, worth: Worth, width: int) -> np.ndarray:
    """An order of all goals of high value, by beam search.

    Args:
      from_start: ``[G]``, distance of each goal from the start.
      between: ``[G, G]``, distance from the first index to the second.
      worth: the value of visiting goals at times.
      width: states of the beam.

    Returns:
      ``[G]`` int, goals by number.
    """
    first = np.arange(len(from_start))
    zobrist = np.random.default_rng(0).integers(2**63, size=len(first), dtype=np.uint64)
    nearest = np.argsort(between, axis=1, kind="stable")
    legs = _Legs(nearest, np.take_along_axis(between, nearest, axis=1).astype(np.int32))
    time = from_start.astype(np.int32)
    beam = _Beam(first, first[:, None] != first, zobrist, time, worth(first, time), np.zeros_like(first))
    history = [_best(beam, legs, worth, width)]
    for _ in range(len(first) - 1):
        history.append(_best(_expand(history[-1], legs, zobrist, worth), legs, worth, width))
    order, best = [], 0
    for beam in reversed(history):
        order.append(int(beam.goal[best]))
        best = int(beam.parent[best])
    return np.asarray(order[::-1])


def _ahead(beam: _Beam, legs: _Legs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each state, all goals, the nearest to where it is first.

    ``(goal, whether it is unvisited, its rank among those that are)``, each ``[B, G]``.
    """
    goal = legs.goal[beam.goal]
    left = np.take_along_axis(beam.unvisited, goal, axis=1)
    return goal, left, np.cumsum(left, axis=1, dtype=np.int32) - 1


def _expand(beam: _Beam, legs: _Legs, zobrist: np.ndarray, worth: Worth) -> _Beam:
    """All states that visit one of the ``BRANCHING`` nearest goals next."""
    goals, left, rank = _ahead(beam, legs)
    parent, column = np.nonzero(left & (rank < BRANCHING))
    goal = goals[parent, column]
    time = beam.time[parent] + legs.distance[beam.goal[parent], column]
    unvisited = beam.unvisited[parent]
    unvisited[np.arange(len(goal)), goal] = False
    return _Beam(
        goal, unvisited, beam.key[parent] ^ zobrist[goal], time, beam.earned[parent] + worth(goal, time), parent
    )


def _best(beam: _Beam, legs: _Legs, worth: Worth, width: int) -> _Beam:
    """The ``width`` most promising states, best first; duplicates (same goals visited, same last goal) are merged.

    The value of the rest is estimated: each unvisited goal at the earliest step that distances and one step a goal
    allow.
    """
    state = beam.key * np.uint64(len(legs.goal)) + beam.goal.astype(np.uint64)
    cheapest = _first_of_each(state, -beam.earned)
    beam = _Beam(*(leaf[cheapest] for leaf in beam))
    goals, left, rank = _ahead(beam, legs)
    ahead = np.where(left, legs.distance[beam.goal] - rank, -UNREACHABLE)
    time = beam.time[:, None] + np.maximum.accumulate(ahead, axis=1) + rank
    promise = beam.earned + np.where(left, worth(goals, np.maximum(time, 0)), 0).sum(axis=1)
    order = np.argsort(-promise, kind="stable")[:width]
    return _Beam(*(leaf[order] for leaf in beam))


def _first_of_each(state: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """The cheapest row of each ``state``, both ``[B]``."""
    order = np.lexsort((cost, state))
    return order[np.r_[True, np.diff(state[order]) != 0]]


def improve(
    order: np.ndarray, from_start: np.ndarray, between: np.ndarray, worth: Worth, rounds: int, moves: int = 200
) -> np.ndarray:
    """Local search over orders: the best of many random changes is accepted while it is no worse.

    Changes are reversals of a segment and swaps of neighbouring segments.

    Args:
      order: ``[G]`` int, goals by number, to start from.
      from_start: ``[G]``, distance of each goal from the start.
      between: ``[G, G]``, distance from the first index to the second.
      worth: the value of visiting goals at times.
      rounds: changes accepted or rejected, one after another.
      moves: random changes tried in each round.

    Returns:
      ``[G]`` int, goals by number.
    """
    rng, num_goals = np.random.default_rng(0), len(order)
    places, value = np.arange(num_goals), -np.inf
    for _ in range(rounds if num_goals > 2 else 0):
        i, j, k = np.sort(rng.integers(num_goals + 1, size=(3, moves, 1)), axis=0)
        swapped = np.where(places < i + k - j, places - i + j, places - k + j)
        inside = np.where(rng.random((moves, 1)) < 0.5, i + k - 1 - places, swapped)
        candidates = order[np.where((places >= i) & (places < k), inside, places)]  # [M, G]
        values = worth(candidates, times_of(candidates, from_start, between)).sum(axis=1)
        best = np.argmax(values)
        if values[best] >= value:
            order, value = candidates[best], values[best]
    return order


def walk_through(next_state: np.ndarray, start: int, goals: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Shortest paths from ``start`` through goals in the order given.

    Args:
      next_state: ``[S, A]`` int.
      start: cell.
      goals: ``[G]`` int, cells.
      distance: ``[S, S]``, from the first index to the second.

    Returns:
      ``[L]`` int32, cells, ``start`` first.
    """
    walk = [start]
    for goal in goals.tolist():
        while walk[-1] != goal:
            after = next_state[walk[-1]]
            walk.append(int(after[np.argmin(distance[after, goal])]))
    return np.asarray(walk, np.int32)
