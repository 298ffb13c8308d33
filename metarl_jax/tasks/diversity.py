"""How much the tasks of a set differ: in their optimal returns, how far their goals are, and how many are distinct."""

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
    """How much the tasks of a set differ.

    Attributes:
      num_tasks: how many there are.
      distinct: how many of them differ (by 32-bit fingerprints).
      mean: of the optimal return of a trial over the tasks.
      std: of the same.
      quantiles: of the same: least, quarter, half, three quarters, highest.
      unsolvable: the share of tasks whose goal cannot be reached within an episode; None where goals have no distance.
      shortest: quantiles of the shortest paths in all other tasks; None where there is none, or goals have no distance.
    """

    num_tasks: int
    distinct: int
    mean: float
    std: float
    quantiles: tuple[float, ...]
    unsolvable: float | None
    shortest: tuple[float, ...] | None


def diversity(tasks: TaskDistribution, batch: Task | None = None, trial_steps: int | None = None) -> Diversity:
    """How much the tasks of a set differ, by exact planning; no agent is needed.

    Args:
      tasks: the distribution that they are of.
      batch: tasks, leaves ``[N, ...]``: samples, or those in a curriculum's buffer; by default a finite set's own.
      trial_steps: steps in the trials whose optimal returns are computed; by default the distribution's.

    Returns:
      The ``Diversity``.

    Raises:
      ConfigError: no optimal return is known of each task; no tasks are given, and the set is not finite, or they are
        not tasks of it.

    Example:
      ``metarl_jax.tasks.diversity(metarl_jax.tasks.maze_100())``
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
    """The optimal return of a trial in each task: traced, or else the reference.

    Args:
      tasks: the distribution.
      batch: its tasks, leaves ``[N, ...]``.
      steps: steps in a trial.

    Returns:
      float64 ``[N]``.

    Raises:
      ConfigError: no optimal return is known of each task.
    """
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
    """The least, quarter, half, three quarters and highest value.

    Args:
      x: ``[N]``, not empty.

    Returns:
      Five numbers.
    """
    return tuple(float(value) for value in np.quantile(x, QUANTILES))
