"""Controls of an evaluation: the same agent whose memory is that of another task, or is reset.

Memory that holds the time, or how many episodes are over, changes what an agent does in later episodes, and a reset
memory does, too; neither shows adaptation. So the agent is compared with itself in the second half of a trial: once
with the memory of the first half in the same task, once with that of as many episodes in another task.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl_jax.evaluation.intervals import mean_interval
from metarl_jax.evaluation.trials import Swapped
from metarl_jax.records import Algorithm, Key, Task, TaskDistribution
from metarl_jax.rollout import first_half
from metarl_jax.storage.files import key_data
from metarl_jax.tasks.priors import prior_of


class Records(NamedTuple):
    """An agent's trials and those of its controls, see ``summarize``.

    Attributes:
      own: the agent's trials.
      reset: the same with memory reset at each episode.
      swapped: returns of the second half, with its own memory and with that of another task.
      memoryless: ``[S, N, R]``, returns with memory reset at each step.
    """

    own: Any
    reset: Any
    swapped: Swapped | None
    memoryless: np.ndarray | None


def records(
    algorithm: Algorithm,
    tasks: TaskDistribution,
    again: Callable[..., Any],
    other: Callable[[], tuple[Task, np.ndarray] | None],
) -> Records:
    """Runs the trials and their controls by one program, so that they differ in nothing but what is controlled.

    What memory is worth within episodes is only looked at where it is worth nothing across them.

    Args:
      algorithm: whose agents act.
      tasks: for its horizon.
      again: ``evaluate.live`` without ``forget`` and ``first``.
      other: see ``other_tasks``.

    Returns:
      The Records.
    """
    own, reset = again(), again(forget=1)
    halves = functools.partial(second_halves, own, window=algorithm.window, horizon=tasks.horizon)
    offered, swapped, across = offers(algorithm, "first"), None, False
    if offered and halves(own) is not None:
        others = other()
        swapped = None if others is None else halves(again(first=others))
    if swapped is not None:
        across = bool(mean_interval(swapped.own - swapped.other, all_tasks=tasks.tasks is not None).low > 0)
    if across or not offered or algorithm.window > 1 or tasks.horizon == 1:
        return Records(own, reset, swapped, None)
    return Records(own, reset, swapped, np.asarray(again(forget=2).reward, np.float64).sum(axis=-1))


def offers(algorithm: Algorithm, option: str) -> bool:
    """Whether the algorithm's ``adapt`` takes an option.

    Args:
      algorithm: any.
      option: its name.

    Returns:
      A bool.
    """
    return option in inspect.signature(algorithm.adapt).parameters


def other_tasks(key: Key, tasks: TaskDistribution, batch: Task, repeats: int) -> tuple[Task, np.ndarray] | None:
    """Another task for each of ``repeats`` trials in each task of a batch.

    Of a finite set another one of the set, each as often as can be; else fresh draws. A task that is the same, because
    the set holds it twice or it was drawn again, is passed over.

    Args:
      key: of fresh draws.
      tasks: from which they come.
      batch: leaves ``[N, ...]``.
      repeats: R, trials in each.

    Returns:
      ``(tasks [M], which [N * R])``; None: there is no other task.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    order, step = np.arange(count), np.zeros(repeats, int)
    pool = batch
    if tasks.tasks is None:
        pool = jax.jit(jax.vmap(tasks.sample))(jax.random.split(key, count))
    else:
        order, step = np.asarray(jax.random.permutation(key, count)), 1 + np.arange(repeats) % max(1, count - 1)
    kind = prior_of(jax.tree.map(lambda a, b: np.concatenate([key_data(a), key_data(b)]), batch, pool)).row
    place = np.argsort(order)[:, None] + step
    for _ in range(count):
        which = order[place % count]  # [N, repeats]
        same = kind[count + which] == kind[:count, None]
        if not same.any():
            return pool, which.reshape(-1)
        place = place + same
    return None


def second_halves(own: Any, other: Any, window: int, horizon: int) -> Swapped | None:
    """Returns of the second half of the trials.

    It begins where so many episodes have ended (or inner updates were made, ``window`` steps apart), at different steps
    of the two trials where episodes end early: both are counted for as many steps as the shorter one has left.

    Args:
      own: has ``reward`` and ``done``, each ``[S, N, R, T]``.
      other: likewise, with the memory of another task.
      window: of the algorithm.
      horizon: of the tasks.

    Returns:
      The returns of both; None where there is no second half.
    """
    steps = own.reward.shape[-1]
    length = window if window > 1 else horizon
    half = first_half(steps, length)
    if window > 1:
        starts = [np.full(own.reward.shape[:-1], min(half * window, steps))] * 2
    else:
        starts = [begin(np.asarray(record.done), half) for record in (own, other)]
    left = steps - np.maximum(*starts)
    if not left.any():
        return None
    return Swapped(*(stretch(record.reward, start, left) for record, start in zip((own, other), starts, strict=True)))


def begin(done: np.ndarray, episodes: int) -> np.ndarray:
    """The step after the end of so many episodes.

    Args:
      done: ``[..., T]`` bool.
      episodes: how many.

    Returns:
      ``[...]``; ``T`` where they never end.
    """
    over = np.cumsum(done, axis=-1) >= episodes
    return np.where(over[..., -1], over.argmax(axis=-1) + 1, done.shape[-1])


def stretch(reward: Any, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The sum of ``length`` rewards from ``start`` on.

    Args:
      reward: ``[..., T]``.
      start: ``[...]``.
      length: ``[...]``.

    Returns:
      ``[...]``.
    """
    step = np.arange(reward.shape[-1])
    counted = (step >= start[..., None]) & (step < (start + length)[..., None])
    return np.where(counted, np.asarray(reward, np.float64), 0.0).sum(axis=-1)
