"""How much the tasks of a set differ: in what they are worth, how far their goals are, and whether they are others."""

from typing import Any, NamedTuple

import jax
import numpy as np

from metarl_jax.config import ConfigError, check, whole
from metarl_jax.records import Task, TaskDistribution
from metarl_jax.tasks.batches import checked
from metarl_jax.tasks.checks import check_tasks
from metarl_jax.tasks.fingerprints import fingerprints

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class Diversity(NamedTuple):
    """``distinct``: how many of the ``num_tasks`` differ (by 32-bit fingerprints). ``mean``, ``std`` and ``quantiles``
    (least, quarter, half, three quarters, highest) of the optimal return of a trial over the tasks. Where goals have a
    distance: ``unsolvable``, the share of tasks whose goal cannot be reached within an episode, and ``shortest``, the
    quantiles of the shortest ways in all others; else None. ``shortest`` is None, too, where no task can be solved."""

    num_tasks: int
    distinct: int
    mean: float
    std: float
    quantiles: tuple[float, ...]
    unsolvable: float | None
    shortest: tuple[float, ...] | None


def diversity(tasks: TaskDistribution, batch: Task | None = None, trial_steps: int | None = None) -> Diversity:
    """What a set of tasks holds, by exact planning: no agent is asked.

    Args:
      tasks: the distribution that they are of.
      batch: tasks, leaves ``[N, ...]``: draws, or those that a curriculum keeps; by default a finite set's own.
      trial_steps: of the trials that they are worth; by default the distribution's.

    Raises:
      ConfigError: no optimal return is known of each task; no tasks are given, and the set is not finite, or they are
        not tasks of it.
    """
    check_tasks(tasks)
    batch = tasks.tasks if batch is None else checked(tasks, batch)
    if batch is None:
        raise ConfigError(f"batch=None: {tasks.name} is no finite set: give tasks of it")
    steps = tasks.trial_steps if trial_steps is None else trial_steps
    check(whole(steps) and steps >= 1, "trial_steps", steps, "must be a whole number of at least 1")
    worth, marks = optimal(tasks, batch, steps), np.asarray(fingerprints(batch))
    unsolvable = shortest = None
    if hasattr(tasks.env, "distance"):
        distance = _of_each(tasks.env.distance, batch)  # type: ignore[attr-defined]
        near = distance[distance <= tasks.horizon]
        unsolvable = 1.0 - len(near) / len(distance)
        shortest = quantiles(near) if len(near) else None
    distinct = len(np.unique(marks))
    return Diversity(
        len(marks), distinct, float(worth.mean()), float(worth.std()), quantiles(worth), unsolvable, shortest
    )


def optimal(tasks: TaskDistribution, batch: Task, steps: int) -> np.ndarray:
    """The optimal return of a trial in each task, ``[N]``: traced, or else the reference."""
    optimum = tasks.optimum
    if optimum is not None:
        return _of_each(lambda task: optimum(task, steps), batch)
    found = [] if tasks.references is None else tasks.references(batch, steps)
    known = [r for r in found if r.role == "optimal" and r.kind == "exact" and np.ndim(r.trial_return) == 1]
    if not known:
        raise ConfigError(f"tasks={tasks.name!r}: no optimal return is known of each task in trials of {steps} steps")
    return np.asarray(known[0].trial_return, np.float64)


def _of_each(function: Any, batch: Task) -> np.ndarray:
    """``[N]``, some hundreds at a time: planners need room."""
    found = jax.jit(lambda batch: jax.lax.map(function, batch, batch_size=256))(batch)
    return np.asarray(found, np.float64)


def quantiles(x: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in np.quantile(x, QUANTILES))
