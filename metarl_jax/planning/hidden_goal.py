"""Bayes-optimal return in hidden-goal grids (the task of VariBAD, Zintgraf et al. 2020), by search over beliefs.

Axis letters: ``[S]`` cells, ``[A]`` actions, ``[G]`` candidate goals, ``[E]`` episodes, ``[T]`` steps, ``[B]`` beliefs
of a frontier. Moves are deterministic and the goal is one of ``G`` cells, each with its probability. Entering or
staying on it pays ``hit``, every other step ``miss``; it ends nothing. An episode has ``horizon`` steps; the next one
begins at ``start`` with the goal in its place.

Until the goal is found an agent learns "not here" and nothing else, so its behaviour up to then is one fixed walk, and
after it the best return is known. The optimum is hence a best path over (step, position, cells visited): a goal that is
found after ``t`` steps returns ``miss`` for ``t - 1`` of them, ``hit`` for one and the known-goal value for the rest.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metarl_jax.config import check
from metarl_jax.planning.dynamic_programming import UNREACHABLE, all_shortest_paths
from metarl_jax.planning.known_goal import known_goal_values, weights_of
from metarl_jax.planning.walks import earliest

SLACK = 1e-9  # values that differ by less are equal


class HiddenGoal(NamedTuple):
    """A policy that searches for the goal, and bounds on its return.

    Attributes:
      by_episode: ``[E]``, expected return of each episode.
      walk: ``[E*T + 1]`` int, the cell at each step while the goal is not found.
      find_step: ``[G]`` int, the step (from 1) at which each candidate is entered first, 0 for never.
      upper: no policy has a higher expected return in the whole trial; the sum of ``by_episode`` where that is exact.
    """

    by_episode: np.ndarray
    walk: np.ndarray
    find_step: np.ndarray
    upper: float


class _Problem(NamedTuple):
    """A hidden-goal problem.

    Attributes:
      next_state: ``[S, A]`` int.
      start: cell.
      goal: ``[S]`` int, the candidate's number, 0 for other cells.
      bit: ``[S]`` uint64, the candidate's bit, 0 for other cells.
      weight: ``[G]``, the probability of each candidate.
      distance: ``[S, G]``, from each cell to each candidate.
      known: ``[G, T + 1, S]``, value of a known goal, by steps left in the episode.
      found: ``[T + 1, T + 2]``, most that an episode with L steps left returns if its goal is found at step t.
      hit: reward of a step onto the goal or on it.
      miss: reward of every other step.
      horizon: ``T``.
      num_episodes: ``E``.
    """

    next_state: np.ndarray
    start: int
    goal: np.ndarray
    bit: np.ndarray
    weight: np.ndarray
    distance: np.ndarray
    known: np.ndarray
    found: np.ndarray
    hit: float
    miss: float
    horizon: int
    num_episodes: int


class _Frontier(NamedTuple):
    """Beliefs at one step.

    Attributes:
      position: ``[B]`` int, cells.
      visited: ``[B]`` uint64, masks of the candidates visited.
      earned: ``[B]``, return so far plus that of the goals found, a mean over goals.
      parent: ``[B]`` int, index of the belief that each came from.
    """

    position: np.ndarray
    visited: np.ndarray
    earned: np.ndarray
    parent: np.ndarray


def hidden_goal_return(
    next_state: ArrayLike,
    start: int,
    candidates: ArrayLike,
    horizon: int,
    num_episodes: int,
    *,
    hit: float = 1.0,
    miss: float = -0.1,
    weight: ArrayLike | None = None,
    beam_width: int = 1000,
    max_beliefs: int = 1_000_000,
) -> HiddenGoal:
    """The return by episode of the policy that maximises the expected return of the whole trial.

    A beam search finds a good walk; then all beliefs are expanded step by step, equal ones merged, and those dropped
    whose upper bound is no better than the best walk known. The bound lets an agent find the ``i``-th of the cells not
    yet visited as soon as distances and one cell a step allow, and know every goal from the next episode on.

    Args:
      next_state: ``[S, A]`` int.
      start: cell where each episode begins.
      candidates: ``[G]`` int, distinct cells, at most 63.
      horizon: steps ``T`` of an episode.
      num_episodes: ``E``.
      hit: reward of a step onto the goal or on it.
      miss: reward of every other step.
      weight: ``[G]``, proportional to the candidates' prior probabilities; equal if None.
      beam_width: beliefs retained per step by the beam search.
      max_beliefs: where more than these remain at a step, the best walk found is returned with a bound above its value.

    Returns:
      HiddenGoal, exact unless ``max_beliefs`` was exceeded.

    Raises:
      ConfigError: if there are no candidates or too many, some are equal, ``hit`` is not above ``miss``, weights are
        not positive, or there is not a step and an episode.
    """
    problem = _problem(next_state, start, candidates, horizon, num_episodes, hit, miss, weight)
    best, _ = _search(problem, -np.inf, beam_width, False)
    assert best is not None  # every walk is above -inf
    better, upper = _search(problem, best[0] + SLACK, max_beliefs, True)
    value, walk, visited = better or best
    find_step = _find_steps(visited, len(problem.known))
    return HiddenGoal(_by_episode(problem, find_step), walk, find_step, max(upper - SLACK, value))


def _problem(next_state, start, candidates, horizon, num_episodes, hit, miss, weight) -> _Problem:
    next_state, candidates = np.asarray(next_state, np.int32), np.asarray(candidates, np.int32)
    check(0 < len(candidates) <= 63, "candidates", len(candidates), "give 1 to 63 cells")
    check(len(set(candidates.tolist())) == len(candidates), "candidates", candidates, "must differ from one another")
    weight = weights_of(len(candidates), weight)
    check(hit > miss, "hit", hit, f"must be above miss={miss}")
    check(horizon >= 1 and num_episodes >= 1, "horizon", horizon, "give at least one step and one episode")
    bit, goal = np.zeros(len(next_state), np.uint64), np.zeros(len(next_state), np.int32)
    goal[candidates] = np.arange(len(candidates))
    bit[candidates] = np.uint64(1) << np.arange(len(candidates), dtype=np.uint64)
    distance = np.asarray(all_shortest_paths(next_state), np.int64)[:, candidates]
    known = known_goal_values(next_state, candidates, horizon, hit, miss)
    found = _found_values(known[np.arange(len(candidates)), :, candidates].max(axis=0), horizon, hit, miss)
    return _Problem(
        next_state, int(start), goal, bit, weight, distance, known, found, 1.0 * hit, 1.0 * miss, horizon, num_episodes
    )


def _found_values(after: np.ndarray, horizon: int, hit: float, miss: float) -> np.ndarray:
    """``found(L, t) = max_{u >= t} (u - 1) miss + hit + after(L - u)``, or ``L miss`` for ``u > L``.

    ``after [T + 1]`` is what the steps after finding are worth, at the best of the goals.
    """
    found = np.zeros((horizon + 1, horizon + 2))
    for left in range(horizon + 1):
        step = np.arange(1, left + 1)
        found[left] = miss * left
        found[left, step] = miss * (step - 1) + hit + after[left - step]
        found[left] = np.maximum.accumulate(found[left, ::-1])[::-1]
    return found


def _search(problem: _Problem, incumbent: float, width: int, exact: bool) -> tuple[tuple | None, float]:
    """The best ``(value, walk, visited)`` above ``incumbent`` (None if there is none) and a bound on all others.

    Keeps ``width`` beliefs a step; with ``exact``, gives up where more are left. Values are means over goals.
    """
    origin = np.full(1, problem.start), np.zeros(1, np.uint64), np.zeros(1), np.zeros(1, np.int64)
    history = [_Frontier(*origin)]
    for step in range(problem.horizon * problem.num_episodes):
        frontier = _merge(_expand(problem, history[-1], step))
        bound = frontier.earned + _bound(problem, frontier, step + 1)
        keep = np.flatnonzero(bound > incumbent)
        if not len(keep):
            return None, incumbent
        if len(keep) > width:
            if exact:
                return None, float(bound[keep].max())
            keep = keep[np.argpartition(-bound[keep], width)[:width]]
        history.append(_Frontier(*(leaf[keep] for leaf in frontier)))
    best = int(np.argmax(history[-1].earned))
    value = float(history[-1].earned[best])
    return (value, *_trace(history, best)), value


def _trace(history: list[_Frontier], best: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and visited masks along the way to belief ``best`` of the last frontier."""
    walk = []
    for frontier in reversed(history):
        walk.append((frontier.position[best], frontier.visited[best]))
        best = frontier.parent[best]
    position, visited = zip(*reversed(walk), strict=True)
    return np.asarray(position, np.int32), np.asarray(visited, np.uint64)


def _expand(problem: _Problem, frontier: _Frontier, step: int) -> _Frontier:
    """All beliefs one move after ``frontier``, at time ``step``; equal ones are not merged yet."""
    left = problem.horizon - step % problem.horizon - 1  # steps of the episode after this one
    later = problem.num_episodes - step // problem.horizon - 1
    position = problem.next_state[frontier.position]  # [B, A]
    goal = problem.goal[position]
    visited = frontier.visited[:, None] | problem.bit[position]
    new = visited != frontier.visited[:, None]
    found = np.where(new, problem.weight[goal], 0.0)
    unvisited = (_bits(~frontier.visited, len(problem.weight)) @ problem.weight)[:, None] - found
    gain = problem.hit + problem.known[goal, left, position] + later * problem.known[goal, -1, problem.start]
    earned = frontier.earned[:, None] + problem.miss * unvisited + found * gain
    if left == 0:
        position = np.full_like(position, problem.start)
    parent = np.broadcast_to(np.arange(len(frontier.position))[:, None], position.shape)
    return _Frontier(position.ravel(), visited.ravel(), earned.ravel(), parent.ravel())


def _merge(frontier: _Frontier) -> _Frontier:
    """Keeps the best-paid of the beliefs with equal position and visited cells."""
    order = np.lexsort((-frontier.earned, frontier.visited, frontier.position))
    position, visited = frontier.position[order], frontier.visited[order]
    first = np.r_[True, (position[1:] != position[:-1]) | (visited[1:] != visited[:-1])]
    return _Frontier(*(leaf[order[first]] for leaf in frontier))


def _bound(problem: _Problem, frontier: _Frontier, step: int) -> np.ndarray:
    """No less than what the cells not yet visited can still earn, summed over them; ``[B]``.

    The ``i``-th of them to be visited is visited at step ``t_i >= max(t_{i-1} + 1, d_i)``, ``d`` their sorted
    distances; ``found`` falls in ``t``, so that the likelier ones had best come first; and an episode is worth no more
    than with its goal known.
    """
    if step == problem.horizon * problem.num_episodes:
        return np.zeros(len(frontier.position))
    left = problem.horizon - step % problem.horizon
    later = problem.num_episodes - step // problem.horizon - 1
    unvisited = _bits(~frontier.visited, len(problem.weight))
    distance = np.sort(np.where(unvisited, problem.distance[frontier.position], UNREACHABLE), axis=1)
    earned = problem.found[left, np.clip(earliest(distance), 1, problem.horizon + 1)]
    weight = unvisited * problem.weight
    likely = -np.sort(-weight, axis=1)
    return weight @ (later * problem.known[:, -1, problem.start]) + (likely * earned).sum(axis=1)


def _bits(masks: np.ndarray, num_goals: int) -> np.ndarray:
    """Which candidates are in ``masks [...]``: bool ``[..., G]``."""
    return (masks[..., None] >> np.arange(num_goals, dtype=np.uint64)) & np.uint64(1) == 1


def _find_steps(visited: np.ndarray, num_goals: int) -> np.ndarray:
    """The step at which each candidate's bit is first set in the masks ``visited [E*T + 1]``, 0 for never; ``[G]``."""
    return np.argmax(_bits(visited, num_goals), axis=0)  # nothing is seen at step 0


def _by_episode(problem: _Problem, find_step: np.ndarray) -> np.ndarray:
    """Expected return of each episode when each candidate is found at ``find_step [G]``; ``[E]``."""
    total = np.zeros(problem.num_episodes)
    cell = np.argsort(problem.bit)[-len(find_step) :]
    for goal, step in enumerate(find_step):
        episode, within = divmod(step - 1, problem.horizon) if step else (problem.num_episodes, 0)
        weight = problem.weight[goal]
        total[:episode] += weight * problem.miss * problem.horizon
        total[episode + 1 :] += weight * problem.known[goal, -1, problem.start]
        if step:
            rest = problem.known[goal, problem.horizon - 1 - within, cell[goal]]
            total[episode] += weight * (problem.miss * within + problem.hit + rest)
    return total
