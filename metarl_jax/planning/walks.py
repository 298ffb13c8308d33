"""Short walks through all goals of a known maze: the upper end of ``search``'s bracket.

Axis letters: ``[G]`` goals, ``[B]`` beam, ``[M]`` moves tried at once. The problem, least mean find time, is that of
the travelling repairman: a beam search over orders of the goals, then a local search.
"""

from typing import NamedTuple

import numpy as np

from metarl_jax.planning.dynamic_programming import UNREACHABLE


def earliest(distance: np.ndarray) -> np.ndarray:
    """``t_i = max(t_{i-1} + 1, d_i)`` along the last axis of sorted distances ``[..., G]``."""
    rank = np.arange(distance.shape[-1], dtype=distance.dtype)
    return np.maximum.accumulate(distance - rank, axis=-1) + rank


class _Beam(NamedTuple):
    """``goal [B]`` (the one visited last), ``unvisited [B, G]``, ``key [B]`` (a Zobrist hash of the visited), ``time
    [B]``, ``waited [B]`` (find times of the visited, summed) and ``parent [B]``."""

    goal: np.ndarray
    unvisited: np.ndarray
    key: np.ndarray
    time: np.ndarray
    waited: np.ndarray
    parent: np.ndarray


def beam_search(from_start: np.ndarray, between: np.ndarray, width: int, branching: int) -> np.ndarray:
    """An order of all goals with a small sum of find times, given distances ``[G]`` and ``[G, G]`` (the first index is
    the cell that is left)."""
    num_goals = len(from_start)
    zobrist = np.random.default_rng(0).integers(2**63, size=num_goals, dtype=np.uint64)
    first = np.arange(num_goals)
    time = from_start.astype(np.int64)
    beam = _rank(_Beam(first, first[:, None] != first, zobrist, time, time, np.zeros_like(first)), between, width)
    history = [beam]
    for left in range(num_goals - 1, 0, -1):
        beam = _expand(beam, between, zobrist, min(branching, left))
        beam = _rank(_unique(beam, beam.key * np.uint64(num_goals) + beam.goal.astype(np.uint64)), between, width)
        history.append(beam)
    order, best = [], 0
    for beam in reversed(history):
        order.append(int(beam.goal[best]))
        best = int(beam.parent[best])
    return np.asarray(order[::-1])


def _expand(beam: _Beam, between: np.ndarray, zobrist: np.ndarray, branching: int) -> _Beam:
    """All states that visit one of the ``branching`` nearest goals next."""
    away = np.where(beam.unvisited, between[beam.goal], UNREACHABLE)
    goal = np.argpartition(away, branching - 1, axis=1)[:, :branching].ravel()
    parent = np.repeat(np.arange(len(beam.goal)), branching)
    time = beam.time[parent] + away[parent, goal]
    unvisited = beam.unvisited[parent]
    unvisited[np.arange(len(goal)), goal] = False
    return _Beam(goal, unvisited, beam.key[parent] ^ zobrist[goal], time, beam.waited[parent] + time, parent)


def _unique(beam: _Beam, key: np.ndarray) -> _Beam:
    """One state for each ``key [B]``, the one with the least to answer for: waited so far and time to come."""
    order = np.lexsort((beam.waited + beam.time * beam.unvisited.sum(axis=1), key))
    first = np.r_[True, np.diff(key[order]) != 0]
    return _Beam(*(leaf[order[first]] for leaf in beam))


def _rank(beam: _Beam, between: np.ndarray, width: int) -> _Beam:
    """The ``width`` most promising states, best first."""
    left = int(beam.unvisited[0].sum())
    away = np.where(beam.unvisited, between[beam.goal], UNREACHABLE)
    rest = earliest(np.sort(away, axis=1)[:, :left]).sum(axis=1)
    order = np.argsort(beam.waited + left * beam.time + rest, kind="stable")[:width]
    return _Beam(*(leaf[order] for leaf in beam))


def improve(
    order: np.ndarray, from_start: np.ndarray, between: np.ndarray, rounds: int, moves: int = 1000
) -> np.ndarray:
    """Local search from ``order [G]``: the best of ``moves`` random reversals and swaps of neighbouring segments is
    taken while it is no worse, for ``rounds`` rounds."""
    rng, num_goals = np.random.default_rng(0), len(order)
    places = np.arange(num_goals)
    cost = np.inf
    for _ in range(rounds if num_goals > 2 else 0):
        i, j, k = np.sort(rng.integers(num_goals + 1, size=(3, moves, 1)), axis=0)
        swapped = np.where(places < i + k - j, places - i + j, places - k + j)
        inside = np.where(rng.random((moves, 1)) < 0.5, i + k - 1 - places, swapped)
        candidates = order[np.where((places >= i) & (places < k), inside, places)]  # [M, G]
        times = np.cumsum(between[candidates[:, :-1], candidates[:, 1:]], axis=1)
        costs = from_start[candidates[:, 0]] * num_goals + times.sum(axis=1)
        best = np.argmin(costs)
        if costs[best] <= cost:
            order, cost = candidates[best], costs[best]
    return order


def walk_through(next_state: np.ndarray, start: int, goals: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Shortest paths from ``start`` through ``goals`` in this order; ``[L]`` cells."""
    walk = [start]
    for goal in goals.tolist():
        while walk[-1] != goal:
            after = next_state[walk[-1]]
            walk.append(int(after[np.argmin(distance[after, goal])]))
    return np.asarray(walk, np.int32)
