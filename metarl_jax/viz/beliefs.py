"""The agent's belief over tasks beside the exact posterior: heat maps over the places where tasks differ."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from metarl_jax.config import check
from metarl_jax.records import TaskDistribution
from metarl_jax.tasks.priors import prior_of
from metarl_jax.viz import style
from metarl_jax.viz.replay import PAUSE, at, enlarged, has_picture, pick, picture, with_trail
from metarl_jax.viz.trials import animate

if TYPE_CHECKING:
    from metarl_jax.training.run import Run

HEAT, LINE, TRUTH = np.array((178, 24, 43)), (255, 255, 255), "#009e73"  # certain; between panels; the task itself
SIDE = 160  # pixels of a panel, about


class Believed(NamedTuple):
    """A trial with the belief before each step, decoded and exact.

    Attributes:
      trajectory: of the trial, ``[T]``.
      decoded: ``[T, G]``, the agent's belief over the ``G`` candidate tasks.
      exact: ``[T, G]``, the exact posterior.
      bare: the picture ``[rows, columns, 3]`` without what distinguishes tasks.
      marks: ``[G, rows, columns]``, where each task's picture differs from ``bare``.
      truth: which of the ``G`` tasks it is.
    """

    trajectory: Any
    decoded: np.ndarray
    exact: np.ndarray
    bare: np.ndarray
    marks: np.ndarray
    truth: int


def has_belief(run: "Run") -> bool:
    """Whether the run's agent has a belief over a finite set of tasks that can be drawn beside the exact one.

    Args:
      run: from ``train`` or ``load``.

    Returns:
      Whether ``draw_belief`` and ``animate_belief`` accept it.

    Example:
      ``metarl_jax.viz.has_belief(run)``
    """
    known = run.algorithm.decode is not None and run.belief is not None and run.belief.candidates > 0
    return known and has_picture(run.tasks)


def _live_believing(run: "Run", task_index: int, seed: int) -> Believed:
    """One trial of the first seed's agent in one task.

    Raises:
      ConfigError: where the agent holds no belief, its exact value is not known, or the tasks draw no pictures.
    """
    import jax
    import jax.numpy as jnp

    exact, decode, tasks = run.belief, run.algorithm.decode, run.tasks
    fix = "beliefs are drawn of agents that hold one (VariBAD), over finite sets of deterministic tasks with pictures"
    check(has_belief(run), "run", run, fix)
    assert exact is not None and decode is not None
    task, state = pick(tasks, task_index, seed), jax.tree.map(lambda leaf: leaf[0], run.state)

    @jax.jit
    def live(key, task):
        trajectory = run.algorithm.adapt(key, state, task, tasks.trial_steps, False)
        known = exact.posterior(trajectory)
        prior = jnp.asarray(exact.prior, known.dtype)[None]
        return trajectory, decode(state, trajectory), jnp.concatenate([prior, known[:-1]])

    trajectory, decoded, posterior = jax.device_get(live(jax.random.key(seed), task))
    held = prior_of(tasks.tasks)
    truth = int(held.row[task_index])
    apart = differences(tasks._replace(tasks=held.tasks), exact.candidates, truth)
    return Believed(trajectory, decoded, posterior, *apart, truth)


def differences(tasks: TaskDistribution, count: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """What the pictures of similar tasks have in common, and where each differs from that.

    Similar are the tasks of the set that look like task ``index`` but for few pixels. Others, mazes of another layout,
    have no place in its picture.

    Args:
      tasks: a finite set.
      count: number of tasks in the set, ``G``.
      index: the task to compare with.

    Returns:
      The commonest colour of each pixel, ``[rows, columns, 3]``, and where each task's picture differs from it,
      ``[G, rows, columns]`` bool (nowhere in tasks that are not similar).
    """
    import jax

    each = jax.device_get(tasks.tasks)
    pictures = np.stack([picture(tasks, at(each, index)) for index in range(count)])
    packed = pictures.astype(np.int64) @ np.array([65536, 256, 1])
    apart = (packed != packed[index]).sum(axis=(1, 2))
    alike = apart <= 2 * apart.min(where=apart > 0, initial=apart.max())
    ordered = np.sort(packed[alike], axis=0)
    middle = ordered[len(ordered) // 2]  # a pixel that differs in fewer than half of the tasks
    bare = np.stack([middle >> 16, middle >> 8 & 255, middle & 255], axis=-1).astype(np.uint8)
    return bare, (packed != middle) & alike[:, None, None]


def heat_map(belief: np.ndarray, bare: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Draws each task's mark on a picture in red, the stronger the more probable the task.

    Args:
      belief: ``[G]``, probabilities of the tasks.
      bare: picture ``[rows, columns, 3]``.
      marks: ``[G, rows, columns]``, see ``differences``.

    Returns:
      Picture ``[rows, columns, 3]``.
    """
    heat = np.clip(np.tensordot(belief, marks, axes=1), 0.0, 1.0)
    strength = np.sqrt(heat)[..., None]  # the root: small chances are seen, too
    return ((1 - strength) * bare + strength * HEAT).round().astype(np.uint8)


def draw_belief(
    run: "Run", path: str | os.PathLike | None = None, task_index: int = 0, seed: int = 0, num_moments: int = 6
) -> Any:
    """Draws the decoded belief (above) and the exact posterior (below) at several steps of one trial, as heat maps.

    The true task is outlined in green.

    Args:
      run: of an agent with a belief (VariBAD); its first seed is drawn.
      path: where to write the figure.
      task_index: which task of the finite set.
      seed: of the trial.
      num_moments: columns: steps of the trial, evenly spaced.

    Returns:
      The matplotlib figure, also written to ``path`` if given.

    Raises:
      ConfigError: the agent has no belief, its exact posterior is not known, or the environment draws no pictures.

    Example:
      ``metarl_jax.viz.draw_belief(run, "belief.png", task_index=3)``
    """
    trial = _live_believing(run, task_index, seed)
    moments = np.unique(np.linspace(0, len(trial.decoded) - 1, num_moments).round().astype(int))
    with style.style():
        figure = style.new_figure(2.1 * len(moments), 4.7)
        for row, (name, belief) in enumerate((("decoded", trial.decoded), ("exact", trial.exact))):
            for column, moment in enumerate(moments):
                axes = figure.add_subplot(2, len(moments), row * len(moments) + column + 1)
                axes.imshow(heat_map(belief[moment], trial.bare, trial.marks), interpolation="nearest")
                if trial.marks[trial.truth].any():
                    axes.contour(trial.marks[trial.truth], levels=[0.5], colors=[TRUTH], linewidths=1.5)
                axes.set(xticks=[], yticks=[])
                axes.set_title(f"after {moment} steps" if row == 0 else "", fontsize=9.5)
                axes.set_ylabel(name if column == 0 else "")
        figure.suptitle(f"{run.tasks.name}, task {task_index}: where the agent thinks the goal is", x=0.01, ha="left")
        return style.save(figure, path)


def animate_belief(
    run: "Run", path: str | os.PathLike, task_index: int = 0, seed: int = 0, milliseconds: int = 120
) -> Path:
    """Writes a GIF of one trial: the agent, its decoded belief, the exact posterior.

    Args:
      run: of an agent with a belief (VariBAD); its first seed is drawn.
      path: the file to write.
      task_index: which task of the finite set.
      seed: of the trial.
      milliseconds: how long a frame stays.

    Returns:
      The path.

    Raises:
      ConfigError: the agent has no belief, its exact posterior is not known, or the environment draws no pictures.

    Example:
      ``metarl_jax.viz.animate_belief(run, "belief.gif")``
    """
    trial = _live_believing(run, task_index, seed)
    tasks, trajectory = run.tasks, trial.trajectory
    task = pick(tasks, task_index, seed)
    plain, trail = picture(tasks, task), np.zeros(trial.bare.shape[:2], bool)
    done = np.asarray(trajectory.terminated | trajectory.truncated)
    frames, captions, episode = [], [], 1
    for t in range(len(done)):
        seen, trail = with_trail(picture(tasks, task, at(trajectory.env_state, t)), plain, trail)
        maps = [heat_map(belief[t], trial.bare, trial.marks) for belief in (trial.decoded, trial.exact)]
        frame = beside([seen, *maps])
        frames += [frame] * (PAUSE if done[t] else 1)
        captions += [f"episode {episode}, step {t}: agent | its belief | exact"] * (PAUSE if done[t] else 1)
        if done[t]:
            episode, trail = episode + 1, np.zeros_like(trail)
    return animate(frames, path, scale=1, milliseconds=milliseconds, captions=captions)


def beside(panels: list[np.ndarray]) -> np.ndarray:
    """Pictures side by side, each enlarged to about ``SIDE`` pixels, a line between two.

    Args:
      panels: pictures ``[rows, columns, 3]``, of sizes that divide the largest.

    Returns:
      One picture.
    """
    height = max(panel.shape[0] for panel in panels)
    zoom = max(1, round(SIDE / height))
    large = [enlarged(panel, zoom * max(1, height // panel.shape[0])) for panel in panels]
    line = np.full((large[0].shape[0], 4, 3), LINE, np.uint8)
    return np.concatenate([part for panel in large for part in (panel, line)][:-1], axis=1)
