"""Reference values of mazes: the goal known, the best search for it, and the best without memory between episodes."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.planning import Candidates, Plan
from metarl_jax.records import Reference, Task
from metarl_jax.tasks.layouts import successors
from metarl_jax.tasks.priors import of_these, prior_of

tables_of = jax.jit(successors)

MOST_LAYOUTS = 64  # of a prior; where there are more, no search is planned

KNOWN = "goal known: shortest paths"
EXACT = "dynamic programming over the tasks that agree with all that was shown"
SEARCH = "best search found, then shortest paths; layouts are told apart as they are seen"
UPPER = "layout known, no two goals found at once"
REPEATED = "best search found that is the same in every episode"


class Answers(NamedTuple):
    """Reference values of tasks that share their first observation.

    Attributes:
      bayes: the plan that searches once in a trial.
      repeated: the plan that searches in every episode.
      exact: whether ``bayes`` is optimal.
      upper: what the mean optimal return over the tasks is at most; equal to that of ``bayes`` where this is exact.
    """

    bayes: Plan
    repeated: Plan
    exact: bool
    upper: float


class Alike(NamedTuple):
    """Tasks that share their first observation, hashable.

    Attributes:
      walls: of each layout, bool ``[layouts, rows, columns]`` as bytes.
      shape: of ``walls``.
      shown: what each cell of each layout looks like, int32 ``[layouts, cells]`` as bytes.
      start: the cell where episodes begin.
      tasks: ``(layout, goal, weight)`` of each task.
    """

    walls: bytes
    shape: tuple[int, ...]
    shown: bytes
    start: int
    tasks: tuple[tuple[int, int, int], ...]


def known_goal(env: Any, tasks: Task, trial_steps: int) -> Reference:
    """The optimal return with the goal known: shortest paths, again and again.

    That is ``floor(trial_steps / d)`` goals, none where ``d > horizon``.

    Args:
      env: the environment.
      tasks: leaves ``[N, ...]``.
      trial_steps: steps in a trial.

    Returns:
      The reference, returns ``[N]``.
    """
    return reference("optimal", "exact", _known_plan(env, tasks, trial_steps), trial_steps, KNOWN)


def _known_plan(env: Any, tasks: Task, trial_steps: int) -> Plan:
    distance = np.asarray(jax.jit(jax.vmap(env.distance))(tasks))
    length = np.where(distance <= env.horizon, distance, trial_steps + 1).astype(np.int64)
    return Plan(trial_steps // length, length, length)


def reference(role: str, kind: str, plan: Plan, trial_steps: int, note: str) -> Reference:
    """A reference value from a plan for each task.

    Args:
      role: as in ``Reference``.
      kind: as in ``Reference``.
      plan: returns ``[N]``, and steps to the goal in the first episode and in later ones.
      trial_steps: steps in a trial, which no episode outlasts.
      note: how it was computed.

    Returns:
      The reference, returns ``[N]`` and episode lengths ``[N, 2]``.
    """
    lengths = np.minimum(np.stack([plan.first, plan.later], axis=1), trial_steps)
    return Reference(role, kind, plan.returns.astype(float), None, note, lengths)


def references(env: Any, tasks: Task, trial_steps: int, prior: Task | None) -> list[Reference]:
    """Reference values in some tasks, of an agent that knows the prior that they are drawn from.

    Only shortest paths where there is no prior or a task is not of it (a mutated one), where it has more than
    ``MOST_LAYOUTS`` layouts, or where episodes are cut short: that sends the agent back to the start, which the search
    does not expect.

    Args:
      env: the environment.
      tasks: leaves ``[N, ...]``.
      trial_steps: steps in a trial.
      prior: leaves ``[M, ...]``, each row equally likely; None: not known.

    Returns:
      The optimum, and where a search can be planned what is Bayes-optimal (exact, or two bounds) and not adaptive.
    """
    known = [known_goal(env, tasks, trial_steps)]
    if prior is None or env.horizon < trial_steps:
        return known
    own = prior_of(prior)
    count = len(own.weight)
    row = prior_of(jax.tree.map(lambda a, b: np.concatenate([np.asarray(a), np.asarray(b)]), own.tasks, tasks)).row
    walls = np.unique(np.asarray(own.tasks.walls).reshape(count, -1), axis=0)
    if row.max() >= count or len(walls) > MOST_LAYOUTS or (own.tasks.start == own.tasks.goal).any():
        return known
    weight = np.bincount(own.row)
    shortest = _known_plan(env, own.tasks, trial_steps)  # where the first observation says which task it is
    bayes, repeated = (Plan._make(leaf.copy() for leaf in shortest) for _ in range(2))
    upper, exact = shortest.returns.astype(float), True
    for rows, alike in _look_alikes(env, own.tasks, weight):
        if len(rows) == 1:
            continue
        answers = answer(alike, trial_steps)
        for plan, part in ((bayes, answers.bayes), (repeated, answers.repeated)):
            for leaf, some in zip(plan, part, strict=True):
                leaf[rows] = some
        upper[rows], exact = answers.upper, exact and answers.exact
    asked = [Plan._make(leaf[row[count:]] for leaf in plan) for plan in (bayes, repeated)]
    kind, note = ("exact", EXACT) if exact else ("lower", SEARCH)
    found = [reference("bayes", kind, asked[0], trial_steps, note)]
    if not exact:
        found.append(Reference("bayes", "upper", float(np.average(upper, weights=weight)), None, UPPER))
    found.append(reference("non_adaptive", "lower", asked[1], trial_steps, REPEATED))
    return [*known, *of_these(found, tasks, prior)]


def _look_alikes(env: Any, tasks: Task, weight: np.ndarray) -> list[tuple[np.ndarray, Alike]]:
    """``(rows, their tasks)`` for each set of rows of ``tasks [G]`` that the first observation does not tell apart."""
    first = np.asarray(jax.jit(jax.vmap(lambda task: env.observe(env.reset((), task), task)))(tasks))
    kinds = np.unique(first, axis=0, return_inverse=True)[1].reshape(-1, 1)
    walls = np.asarray(tasks.walls)
    # A task of each layout that begins alike: where the goal is shown, the tasks that share a layout share it, too.
    flat = np.concatenate([kinds, walls.reshape(len(walls), -1)], axis=1)
    _, one, which = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    shown, found = _looks(env, jax.tree.map(lambda leaf: np.asarray(leaf)[one], tasks)), []
    for kind in range(kinds.max() + 1):
        rows = np.flatnonzero(kinds[:, 0] == kind)
        some = np.unique(which.ravel()[rows])
        layout = np.searchsorted(some, which.ravel()[rows]).tolist()
        each = tuple(zip(layout, np.asarray(tasks.goal)[rows].tolist(), weight[rows].tolist(), strict=True))
        own, start = walls[one[some]], int(tasks.start[rows[0]])
        found.append((rows, Alike(own.tobytes(), own.shape, shown[some].tobytes(), start, each)))
    return found


def _looks(env: Any, tasks: Task) -> np.ndarray:
    """What is observed at each cell of ``tasks [L]``, as whole numbers ``[L, S]``: equal where it looks alike."""
    cells = jnp.arange(tasks.walls[0].size, dtype=jnp.int32)
    observe = lambda task, cell: env.observe(env.reset((), task)._replace(cell=cell), task)
    seen = np.asarray(jax.jit(jax.vmap(jax.vmap(observe, (None, 0)), (0, None)))(tasks, cells))
    numbers = np.unique(seen.reshape(-1, seen.shape[-1]), axis=0, return_inverse=True)[1]
    return numbers.reshape(seen.shape[:2]).astype(np.int32)


@functools.lru_cache(maxsize=64)
def answer(alike: Alike, trial_steps: int) -> Answers:
    """Plans the search for the goal among tasks that share their first observation.

    By dynamic programming where the tasks are few, else by search: this takes seconds, so results are cached.

    Args:
      alike: the tasks.
      trial_steps: steps in a trial.

    Returns:
      The plans, and a bound.
    """
    walls = np.frombuffer(alike.walls, bool).reshape(alike.shape)
    next_state = np.stack([np.asarray(tables_of(layout)) for layout in walls])
    shown = np.frombuffer(alike.shown, np.int32).reshape(len(walls), -1)
    layout, goal, weight = np.array(alike.tasks).T
    candidates = Candidates(next_state, shown, alike.start, layout, goal, weight)
    exact = planning.belief_plan(candidates, trial_steps)
    repeated = planning.belief_plan(candidates, trial_steps, repeat=True)
    if exact is not None and repeated is not None:
        return Answers(exact, repeated, True, float(np.average(exact.returns, weights=candidates.weight)))
    bayes, repeated = (planning.search_plan(candidates, trial_steps, repeat) for repeat in (False, True))
    most = [_upper_of(candidates, layout, trial_steps) for layout in range(len(walls))]
    share = np.bincount(candidates.layout, candidates.weight) / candidates.weight.sum()
    return Answers(bayes, repeated, False, float(share @ most))


def _upper_of(candidates: Candidates, layout: int, trial_steps: int) -> float:
    """No agent that knows the layout returns more on average over its tasks; those that cannot be reached return 0."""
    table, start = candidates.next_state[layout], candidates.start
    near = np.asarray(planning.all_shortest_paths(table))[start] < planning.UNREACHABLE
    own = (candidates.layout == layout) & near[candidates.goal]
    if not own.any():
        return 0.0
    share = candidates.weight[own].sum() / candidates.weight[candidates.layout == layout].sum()
    alone = candidates._replace(
        next_state=table[None],
        shown=candidates.shown[layout][None],
        layout=np.zeros(own.sum(), int),
        goal=candidates.goal[own],
        weight=candidates.weight[own],
    )
    plan = planning.belief_plan(alone, trial_steps)
    if plan is not None:
        return float(share * np.average(plan.returns, weights=alone.weight))
    return float(share * planning.trial_upper(table, start, alone.goal, trial_steps, alone.weight))
