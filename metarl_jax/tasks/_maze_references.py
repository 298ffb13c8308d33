"""Known answers in mazes: the goal known, the search for it, and what forgets at each episode."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax import planning
from metarl_jax.tasks._layouts import successors
from metarl_jax.tasks._priors import elsewhere
from metarl_jax.types import Reference, Task


def known_goal(env: Any, tasks: Task, trial_steps: int) -> Reference:
    """Shortest paths, again and again: ``floor(trial_steps / d)`` goals, none where ``d > horizon``."""
    distance = np.asarray(jax.jit(jax.vmap(env.distance))(tasks))
    length = np.where(distance <= env.horizon, distance, trial_steps + 1)
    return repeated("optimal", "exact", length, length, trial_steps, "goal known: shortest paths")


def repeated(role: str, kind: str, first: np.ndarray, later: np.ndarray, trial_steps: int, note: str) -> Reference:
    """What finds the goal of each task after ``first [N]`` steps and then every ``later [N]`` steps."""
    found = planning.episodes_within(first, later, trial_steps).astype(float)
    return Reference(role, kind, found, None, note, np.minimum(np.stack([first, later], axis=1), trial_steps))


def references(parsed: list, env: Any, tasks: Task, trial_steps: int, prior: Task | None = None) -> list[Reference]:
    """Known answers when the layout is known and its goals are equally likely; the tasks may be a part of them.

    Only shortest paths where a task is none of those (a mutated one), or where episodes are cut short: that sends the
    agent back to the start, which the walks do not expect.
    """
    known = [known_goal(env, tasks, trial_steps)]
    if env.horizon < trial_steps:
        return known
    walls, goals, starts = (np.asarray(x) for x in (tasks.walls, tasks.goal, tasks.start))
    find, distance, upper, whole = (np.full(len(goals), np.nan) for _ in range(4))
    for wall, start, cells in parsed:
        rows = np.flatnonzero((walls == wall).all(axis=(1, 2)) & (starts == start) & np.isin(goals, cells))
        bracket = search(wall.tobytes(), wall.shape, start, tuple(cells.tolist()))
        index = np.searchsorted(cells, goals[rows])
        find[rows], distance[rows] = bracket.find_time[index], bracket.distance[index]
        upper[rows] = planning.trial_returns(bracket, trial_steps).upper
        whole[rows] = np.bincount(index, minlength=len(cells)).min() * len(cells) == len(rows)
    if np.isnan(find).any():
        return known
    note = "layout known: best search walk, then shortest paths"
    bounds = [repeated("bayes", "lower", find, distance, trial_steps, note)]
    if whole.all():  # a bound on the mean over all goals of a layout says nothing of some of them
        note = "layout known: no two goals found at once"
        bounds.append(Reference("bayes", "upper", upper.mean(), None, note))
    note = "layout known: the search walk in every episode"
    bounds.append(repeated("non_adaptive", "lower", find, find, trial_steps, note))
    return [*known, *(bounds if prior is None else elsewhere(bounds))]


@functools.lru_cache(maxsize=64)
def search(walls: bytes, shape: tuple[int, int], start: int, goals: tuple[int, ...]) -> planning.Bracket:
    """The hidden-goal search of a layout: seconds of beam search, so it is kept."""
    table = np.asarray(successors(jnp.asarray(np.frombuffer(walls, bool).reshape(shape))))
    return planning.search_bracket(table, start, goals)
