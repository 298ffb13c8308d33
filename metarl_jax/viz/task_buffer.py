"""Pictures of the tasks in a curriculum's buffer."""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.config import ConfigError, check, whole
from metarl_jax.viz.replay import at, check_drawable, picture
from metarl_jax.viz.trials import draw_tasks

if TYPE_CHECKING:
    from metarl_jax.training.run import Run

ORDERS = {"score": "score {:.2g}", "replayed": "replayed {:.0f} times", "best": "best return {:.2g}"}


def draw_task_buffer(
    run: "Run", path: str | os.PathLike | None = None, by: str = "score", num_tasks: int = 12, member: int = 0
) -> Any:
    """Pictures of the tasks in the buffer of the run's curriculum, those with the most of ``by`` first.

    Args:
      run: with a curriculum that has a buffer of tasks (PLR, SFL).
      path: where to write the figure.
      by: ``score`` (the curriculum's own, such as learnability), ``replayed`` (how often) or ``best`` (the best return
        of any episode in the task; the least first: the hardest).
      num_tasks: how many at most.
      member: which of the run's seeds.

    Returns:
      The matplotlib figure, also written to ``path`` if given.

    Raises:
      ConfigError: the curriculum has no buffer or an empty one, or does not know ``by`` of its tasks; a wrong number;
        the environment draws no pictures.

    Example:
      ``metarl_jax.viz.draw_task_buffer(run, "kept.png", by="replayed")``
    """
    check_drawable(run.tasks)
    check(whole(num_tasks) and num_tasks >= 1, "num_tasks", num_tasks, "must be a whole number of at least 1")
    fits = whole(member) and 0 <= member < run.num_seeds
    check(fits, "member", member, f"must be a whole number from 0 to {run.num_seeds - 1}: the run has so many seeds")
    name, known = run.config["curriculum"]["name"], orders(run)
    if run.task_buffer is None:
        raise ConfigError(f"run={name!r}: is a curriculum that keeps no tasks: try 'plr' or 'sfl'")
    check(by in known, "by", by, f"this curriculum knows {', '.join(known)} of its tasks")
    worth = np.asarray(run.task_buffer[by][member], float)
    places = np.flatnonzero(np.isfinite(run.task_buffer["score"][member]))
    ordered = places[np.argsort(worth[places] if by == "best" else -worth[places], kind="stable")][:num_tasks]
    check(len(ordered) > 0, "run", name, "keeps no tasks yet: train on")
    pictures = [picture(run.tasks, at(run.task_buffer["tasks"], (member, int(place)))) for place in ordered]
    return draw_tasks(pictures, path, [ORDERS[by].format(worth[place]) for place in ordered])


def orders(run: "Run") -> list[str]:
    """What ``draw_task_buffer`` can order the tasks by.

    Args:
      run: from ``train`` or ``load``.

    Returns:
      Values of ``by``; none where the curriculum has no buffer.
    """
    return [] if run.task_buffer is None else [name for name in ORDERS if name in run.task_buffer]
