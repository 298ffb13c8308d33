"""Pictures of a task distribution and of an agent in it: tasks side by side, one trial as an animation."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_jax.config import check, check_all, whole
from metarl_jax.records import Task, TaskDistribution
from metarl_jax.viz.trials import animate, draw_tasks

if TYPE_CHECKING:
    from metarl_jax.training.run import Run

TRAIL = 0.3  # how much of the agent's colour its trail keeps
PAUSE = 6  # frames that the end of an episode stays
SMALL, ZOOM = 40, 5  # pictures of at most so many pixels a side are enlarged so many times


def has_picture(tasks: TaskDistribution) -> bool:
    """Whether the environment can draw a task.

    Args:
      tasks: any distribution.

    Returns:
      Whether its environment defines ``picture``.

    Example:
      ``metarl_jax.viz.has_picture(metarl_jax.tasks.maze_100())``
    """
    from metarl_jax.tasks import Environment

    own = getattr(type(tasks.env), "picture", None)
    return own is not None and own is not Environment.picture


def draw_distribution(
    tasks: TaskDistribution, path: str | os.PathLike | None = None, num_tasks: int = 12, seed: int = 0
) -> Any:
    """Pictures of tasks: evenly spaced ones of a finite set, else random draws.

    Args:
      tasks: any distribution whose environment draws pictures.
      path: where to write the figure.
      num_tasks: how many at most.
      seed: of the draws.

    Returns:
      The matplotlib figure, also written to ``path`` if given.

    Raises:
      ConfigError: the environment draws no pictures.

    Example:
      ``metarl_jax.viz.draw_distribution(metarl_jax.tasks.maze_100(), "tasks.png")``
    """
    check_drawable(tasks)
    size = _set_size(tasks)
    indices = np.arange(num_tasks) if size is None else np.linspace(0, size - 1, min(num_tasks, size)).round()
    pictures = [picture(tasks, pick(tasks, int(index), seed)) for index in indices]
    return draw_tasks(pictures, path, None if size is None else [f"task {int(index)}" for index in indices])


def animate_trial(
    run: "Run",
    path: str | os.PathLike,
    task_index: int | Sequence[int] = 0,
    seed: int = 0,
    milliseconds: int = 90,
    stride: int = 1,
) -> Path:
    """Writes a GIF of one trial of the run's first seed in a task, or in each of several.

    The cells that the agent was in since the episode began keep a trace of its colour. An episode's last state is
    shown for a moment.

    Args:
      run: from ``train`` or ``load``.
      path: the file to write.
      task_index: of a finite set's tasks; elsewhere each index draws another task. Several: side by side.
      seed: of the trial, and of the task where it is drawn.
      milliseconds: how long a frame stays.
      stride: steps from one frame to the next.

    Returns:
      The path.

    Raises:
      ConfigError: the environment draws no pictures, the set has no such task, or another number is wrong.

    Example:
      ``metarl_jax.viz.animate_trial(run, "trial.gif", task_index=[0, 50])``
    """
    check_drawable(run.tasks)
    counts = dict(stride=stride, milliseconds=milliseconds)
    check_all(counts, lambda x: whole(x) and x >= 1, "must be a whole number of at least 1")
    indices = np.atleast_1d(np.asarray(task_index))
    numbers = indices.size > 0 and indices.dtype.kind in "iu"
    check(numbers, "task_index", task_index, "must be a task's number, or several")
    chosen = [pick(run.tasks, int(index), seed) for index in indices]
    live = living(run, seed)
    films = [_film(run, task, live(task), stride) for task in chosen]
    longest = max(len(frames) for frames, _ in films)
    films = [[each + [each[-1]] * (longest - len(each)) for each in one] for one in films]
    frames = [np.concatenate(each, axis=1) for each in zip(*(frames for frames, _ in films), strict=True)]
    captions = ["    ".join(each) for each in zip(*(captions for _, captions in films), strict=True)]
    return animate(frames, path, milliseconds=milliseconds, captions=captions)


def living(run: "Run", seed: int) -> Callable[[Task], Any]:
    """A function that rolls out one trial of the run's first seed in a task, compiled once.

    Args:
      run: from ``train`` or ``load``.
      seed: of the trial.

    Returns:
      ``task -> trajectory [T]``, NumPy arrays.
    """
    import jax

    state = jax.tree.map(lambda leaf: leaf[0], run.state)
    live = jax.jit(lambda key, task: run.algorithm.adapt(key, state, task, run.tasks.trial_steps, False))
    return lambda task: jax.device_get(live(jax.random.key(seed), task))


def _film(run: "Run", task: Task, trajectory: Any, stride: int) -> tuple[list[np.ndarray], list[str]]:
    """Frames and captions of one trial."""
    tasks = run.tasks
    done = np.asarray(trajectory.terminated | trajectory.truncated)
    bare = picture(tasks, task)
    moves = getattr(tasks.env, "view_moves", False)  # such frames have nothing in common with a bare one
    shown = (lambda frame, _, trail: (frame, trail)) if moves else with_trail
    frames, captions, trail = [], [], np.zeros(bare.shape[:2], bool)
    episode, step, total = 1, 0, 0.0
    for t in range(len(done)):
        if step % stride == 0:
            frame, trail = shown(picture(tasks, task, at(trajectory.env_state, t)), bare, trail)
            frames.append(frame)
            captions.append(f"episode {episode} · step {step} · return {total:.4g}")
        step, total = step + 1, total + float(trajectory.reward[t])
        if not done[t]:
            continue
        frame, _ = shown(picture(tasks, task, at(trajectory.next_env_state, t)), bare, trail)
        frames += [frame] * PAUSE
        captions += [f"episode {episode} · step {step} · return {total:.4g}"] * PAUSE
        episode, step, trail = episode + 1, 0, np.zeros_like(trail)
    return frames, captions


def with_trail(frame: np.ndarray, bare: np.ndarray, trail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture to show, and the trail with the agent's place added; the agent is where ``frame`` is not ``bare``.

    A picture of few pixels is enlarged, so that the agent leaves a rim of what it stands on (a goal reached is seen).

    Args:
      frame: picture ``[rows, columns, 3]`` with the agent.
      bare: picture ``[rows, columns, 3]`` without it.
      trail: ``[rows, columns]`` bool, where the agent was since the episode began.

    Returns:
      The picture, enlarged where it is small, and the trail ``[rows, columns]``.
    """
    agent = (frame != bare).any(axis=-1)
    shown, old = bare.copy(), trail & ~agent
    if agent.any():
        colour = frame[agent].mean(axis=0)
        shown[old] = (TRAIL * colour + (1 - TRAIL) * bare[old]).round().astype(np.uint8)
    zoom = ZOOM if max(bare.shape) <= SMALL else 1
    rim = np.pad(np.ones((max(1, zoom - 2),) * 2, bool), int(zoom > 1))
    place = np.kron(agent, rim)
    shown = np.where(place[..., None], enlarged(frame, zoom), enlarged(shown, zoom))
    return shown, trail | agent


def enlarged(image: np.ndarray, zoom: int) -> np.ndarray:
    """Repeats each pixel ``zoom`` times in both directions.

    Args:
      image: ``[rows, columns, ...]``.
      zoom: a whole number.

    Returns:
      ``[zoom * rows, zoom * columns, ...]``.
    """
    return image.repeat(zoom, axis=0).repeat(zoom, axis=1)


def picture(tasks: TaskDistribution, task: Task, state: Any = None) -> np.ndarray:
    """The environment's own picture of a task.

    Args:
      tasks: whose environment draws pictures.
      task: one task.
      state: the environment's; None: the task alone, without an agent.

    Returns:
      uint8 RGB ``[rows, columns, 3]``.
    """
    return tasks.env.picture(task, state)  # type: ignore[attr-defined]


def pick(tasks: TaskDistribution, index: int, seed: int) -> Task:
    """Task ``index`` of a finite set, or the one drawn with (seed, index).

    Args:
      tasks: any distribution.
      index: of the task.
      seed: used where the set is not finite.

    Returns:
      The task; leaves are NumPy arrays.

    Raises:
      ConfigError: the finite set has no such task.
    """
    import jax

    size = _set_size(tasks)
    if size is None:
        return jax.device_get(tasks.sample(jax.random.fold_in(jax.random.key(seed), index)))
    check(0 <= index < size, "task_index", index, f"must be one of the {size} tasks of {tasks.name}, from 0")
    return at(jax.device_get(tasks.tasks), index)


def _set_size(tasks: TaskDistribution) -> int | None:
    """How many tasks a finite set has; None for others."""
    import jax

    return None if tasks.tasks is None else jax.tree.leaves(tasks.tasks)[0].shape[0]


def at(tree: Any, index: int | tuple[int, ...]) -> Any:
    """Indexes every leaf of a tree.

    Args:
      tree: of arrays.
      index: of their leading axis, or axes.

    Returns:
      The tree of what is there.
    """
    import jax

    return jax.tree.map(lambda leaf: leaf[index], tree)


def check_drawable(tasks: TaskDistribution) -> None:
    """Raises unless the environment draws pictures.

    Args:
      tasks: any distribution.

    Raises:
      ConfigError: it does not.
    """
    check(has_picture(tasks), "tasks", tasks.name, "its environment draws no pictures: give it a method picture")
