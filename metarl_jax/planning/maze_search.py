"""Search for a hidden goal where the layout is one of several that look alike at first: one policy, simulated.

Axis letters: ``[L]`` layouts, ``[C]`` those of one belief, ``[S]`` cells, ``[A]`` actions, ``[M]`` tasks. A belief is
the set of layouts that agree with all that was observed, and the goals of each that were not visited. The policy walks
as if one of them were the true one, by a walk that is good for the goals of all, until their observations differ; each
part then goes on by itself. The return of the policy is a lower bound on the optimal one.
"""

import itertools
from typing import NamedTuple

import numpy as np

from metarl_jax.planning.dynamic_programming import UNREACHABLE, all_shortest_paths
from metarl_jax.planning.maze_beliefs import Candidates, Plan
from metarl_jax.planning.walks import beam_search, earliest, improve, times_of, walk_through

MOST_TRIED = 4  # layouts of a belief that are tried as the true one


class _Problem(NamedTuple):
    """A search problem and the settings of the search.

    Attributes:
      candidates: the tasks.
      distance: ``[L, S, S]``, from the first cell to the second.
      weight: ``[L, S]`` int, of the task with this goal, 0 for none.
      worth: ``[L, S, T + 2]``, goals reached in the trial if this one is found at a step, times the weight.
      repeat: whether it searches anew in every episode.
      beam_width: of the beam search in a known layout.
      rounds: of the local search in a known layout.
    """

    candidates: Candidates
    distance: np.ndarray
    weight: np.ndarray
    worth: np.ndarray
    repeat: bool
    beam_width: int
    rounds: int


class _Belief(NamedTuple):
    """A belief, and where the agent is.

    Attributes:
      layouts: ``[C]`` int, those still possible.
      cell: the agent's.
      time: steps made.
      left: ``[L, S]`` bool, goals that were not visited.
    """

    layouts: np.ndarray
    cell: int
    time: int
    left: np.ndarray


class _Stretch(NamedTuple):
    """A walk until layouts differ: ``(layouts, goal, step)`` of each find, and the beliefs that are left then."""

    finds: list[tuple[np.ndarray, int, int]]
    beliefs: list[_Belief]


def search_plan(
    candidates: Candidates, trial_steps: int, repeat: bool = False, *, beam_width: int = 200, rounds: int = 1000
) -> Plan:
    """A policy that is good on average over the candidates, by beam and local search, and its outcome in each.

    Until the goal is found it searches as described above; then it takes the shortest path that is there in every
    layout that is still possible.

    Args:
      candidates: of any number.
      trial_steps: ``T``.
      repeat: search anew in every episode instead of going to the goal that was found.
      beam_width: of the beam search in a known layout.
      rounds: of the local search in a known layout.

    Returns:
      Plan.
    """
    problem = _problem(candidates, trial_steps, repeat, beam_width, rounds)
    first = np.full(problem.weight.shape, trial_steps + 1)
    later = first.copy()
    layouts = np.arange(len(first))
    beliefs = [_Belief(layouts, candidates.start, 0, problem.weight > 0)]
    while beliefs:
        stretch = _best_stretch(problem, beliefs.pop())
        for found, goal, time in stretch.finds:
            first[found, goal], later[found, goal] = time, _safe_distance(problem, found, goal)
        beliefs += stretch.beliefs
    first, later = first[candidates.layout, candidates.goal], later[candidates.layout, candidates.goal]
    return Plan(_reached(first, first if repeat else later, trial_steps), first, first if repeat else later)


def _reached(first: np.ndarray, later: np.ndarray, trial_steps: int) -> np.ndarray:
    return np.where(first <= trial_steps, 1 + (trial_steps - first) // np.maximum(later, 1), 0)


def _problem(candidates: Candidates, trial_steps: int, repeat: bool, beam_width: int, rounds: int) -> _Problem:
    distance = np.stack([np.asarray(all_shortest_paths(table)) for table in candidates.next_state])
    weight = np.zeros(candidates.shown.shape, np.int64)
    weight[candidates.layout, candidates.goal] = candidates.weight
    time = np.arange(trial_steps + 2)
    known = distance[:, candidates.start, :, None]
    reached = _reached(time, np.maximum(time, 1) if repeat else known, trial_steps)
    worth = weight[:, :, None] * reached * (known < UNREACHABLE)
    return _Problem(candidates, distance, weight, worth, repeat, beam_width, rounds)


def _best_stretch(problem: _Problem, belief: _Belief) -> _Stretch:
    """Of those as if one of the likeliest layouts were true the one that promises most; none where no goal is left."""
    likely = np.argsort(-(problem.weight * belief.left)[belief.layouts].sum(axis=1), kind="stable")
    walks = (_walk(problem, belief, layout) for layout in belief.layouts[likely].tolist())
    tried = itertools.islice((_follow(problem, belief, *walk) for walk in walks if walk), MOST_TRIED)
    return max(tried, key=lambda stretch: _promise(problem, stretch), default=_Stretch([], []))


def _walk(problem: _Problem, belief: _Belief, layout: int) -> tuple[int, np.ndarray] | None:
    """``(layout, cells)``: a walk as if it were true, good for the goals of all layouts; None where it finds none."""
    distance, layouts = problem.distance[layout], belief.layouts
    worth = (problem.worth[layouts] * belief.left[layouts, :, None]).sum(axis=0)  # [S, T + 2]
    last = worth.shape[1] - 1
    soonest = np.minimum(belief.time + distance[belief.cell], last)
    goals = np.flatnonzero(worth[np.arange(len(worth)), soonest])
    if not len(goals):
        return None
    legs = distance[belief.cell, goals], distance[goals][:, goals]
    weight = (problem.weight[layouts] * belief.left[layouts]).sum(axis=0)[goals]
    if not problem.repeat:  # a near goal is reached more often, later, so that time matters more
        weight = weight / np.sqrt(np.maximum(legs[0], 1))
    table = worth[goals, belief.time :].astype(np.int32)
    earned = lambda goal, time: table[goal, np.minimum(time, last - belief.time)]
    weight = weight / (weight.sum() * last)  # so that it adds up to less than one goal: it decides between equals
    waited = lambda goal, time: -weight[goal] * time
    both = lambda goal, time: earned(goal, time) + waited(goal, time)
    effort = len(layouts) ** 2  # many layouts are soon told apart
    width, rounds = max(problem.beam_width // effort, 16), problem.rounds // effort
    starts = [beam_search(*legs, worth, width) for worth in (earned, waited)]
    orders = [improve(order, *legs, both, rounds) for order in starts]
    order = max(orders, key=lambda order: both(order, times_of(order, *legs)).sum())
    return layout, walk_through(problem.candidates.next_state[layout], belief.cell, goals[order], distance)


def _follow(problem: _Problem, belief: _Belief, layout: int, walk: np.ndarray) -> _Stretch:
    """What comes of a ``walk`` through ``layout``, up to the step at which not all layouts show the same."""
    next_state, shown = problem.candidates.next_state, problem.candidates.shown
    walk = walk[: problem.worth.shape[2] - 1 - belief.time]
    actions = (next_state[layout, walk[:-1]] == walk[1:, None]).argmax(axis=1)
    cells = next_state[belief.layouts[:, None], walk[:-1], actions]  # [C, steps]
    seen = shown[belief.layouts[:, None], cells]
    differs = (seen != shown[layout, walk[1:]]).any(axis=0)
    steps = int(differs.argmax()) + 1 if differs.any() else len(walk) - 1
    finds, left = [], belief.left.copy()
    for step, goal in enumerate(walk[1 : steps + 1].tolist()):
        found = belief.layouts[(cells[:, step] == goal) & left[belief.layouts, goal]]
        if len(found):
            finds.append((found, goal, belief.time + step + 1))
            left[found, goal] = False
    possible = left[belief.layouts].any(axis=1)
    parts = [belief.layouts[possible & (seen[:, steps - 1] == kind)] for kind in np.unique(seen[possible, steps - 1])]
    reached = [int(cells[np.isin(belief.layouts, part), steps - 1][0]) for part in parts]
    time = belief.time + steps
    return _Stretch(finds, [_Belief(part, cell, time, left) for part, cell in zip(parts, reached, strict=True)])


def _promise(problem: _Problem, stretch: _Stretch) -> float:
    """What is found on it, and a guess at the rest: each goal as early as distances and one step a goal allow."""
    total = sum(problem.worth[layouts, goal, time].sum() for layouts, goal, time in stretch.finds)
    for belief in stretch.beliefs:
        for layout in belief.layouts:
            goals = np.flatnonzero(belief.left[layout])
            goals = goals[np.argsort(problem.distance[layout, belief.cell, goals], kind="stable")]
            time = belief.time + earliest(problem.distance[layout, belief.cell, goals])
            total += problem.worth[layout, goals, np.minimum(time, problem.worth.shape[2] - 1)].sum()
    return float(total)


def _safe_distance(problem: _Problem, layouts: np.ndarray, goal: int) -> int:
    """Steps from the start to ``goal`` by moves that are the same in all ``layouts [C]``."""
    start = problem.candidates.start
    if len(layouts) == 1:
        return int(problem.distance[layouts[0], start, goal])
    tables = problem.candidates.next_state[layouts]
    stay = np.arange(tables.shape[1])[:, None]
    return int(all_shortest_paths(np.where((tables == tables[0]).all(axis=0), tables[0], stay))[start, goal])
