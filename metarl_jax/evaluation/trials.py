"""The trials of an evaluation, and what they say by episode, by inner step and beside references. Plain numpy."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metarl_jax.evaluation import summary as statistics
from metarl_jax.evaluation.intervals import mean_interval
from metarl_jax.records import Reference


class Trials(NamedTuple):
    """All trials of one evaluation: ``S`` seeds, ``N`` tasks, ``R`` trials of each, ``E`` episodes at most.

    Attributes:
      returns: ``[S, N, R, E]``, of each episode; NaN where the trial never began it.
      lengths: ``[S, N, R, E]``, steps of each episode; NaN where the trial never began it.
      finished: ``[S, N, R, E]`` bool, the episode ended by the trial's last step.
      trial_return: ``[S, N, R]``.
    """

    returns: Any
    lengths: Any
    finished: Any
    trial_return: Any


class Swapped(NamedTuple):
    """Returns of trials' second halves.

    Attributes:
      own: ``[S, N, R]``, with the memory of the task.
      other: ``[S, N, R]``, with the memory of another task.
    """

    own: np.ndarray
    other: np.ndarray


def segment(trajectory: Any) -> Trials:
    """Splits the records of trials at the ends of their episodes.

    Args:
      trajectory: has ``reward`` and ``done``, each ``[S, N, R, T]``.

    Returns:
      The Trials, ``[S, N, R, E]`` with ``E`` the most episodes that any trial began.
    """
    reward, done = np.asarray(trajectory.reward, np.float64), np.asarray(trajectory.done)
    shape, steps = done.shape[:-1], done.shape[-1]
    reward, done = reward.reshape(-1, steps), done.reshape(-1, steps)
    episode = np.cumsum(done, axis=1) - done  # of each step
    num_episodes = int(episode.max()) + 1
    flat = (episode + num_episodes * np.arange(len(done))[:, None]).reshape(-1)
    size = len(done) * num_episodes
    lengths = np.bincount(flat, minlength=size).astype(float)
    returns = np.bincount(flat, weights=reward.reshape(-1), minlength=size)
    finished = np.bincount(flat, weights=done.reshape(-1), minlength=size) > 0
    returns, lengths = (np.where(lengths > 0, x, np.nan) for x in (returns, lengths))
    returns, lengths, finished = (x.reshape(*shape, num_episodes) for x in (returns, lengths, finished))
    return Trials(returns, lengths, finished, reward.sum(axis=1).reshape(shape))


def checked(trials: Trials, which: str) -> Trials:
    """``trials`` as numpy arrays whose shapes agree and whose trial returns are finite.

    Args:
      trials: as given.
      which: their name in messages.

    Returns:
      The Trials.

    Raises:
      ValueError: shapes differ, or a return is not finite.
    """
    returns, lengths, trial_return = (
        np.asarray(x, float) for x in (trials.returns, trials.lengths, trials.trial_return)
    )
    finished = np.asarray(trials.finished, bool)
    if returns.ndim != 4 or not returns.shape == lengths.shape == finished.shape == (
        *trial_return.shape,
        returns.shape[-1],
    ):
        shapes = [x.shape for x in (returns, lengths, finished, trial_return)]
        raise ValueError(f"{which}: want [S, N, R, E] three times and [S, N, R], not {shapes}")
    wrong = np.count_nonzero(~np.isfinite(trial_return))
    if wrong or not trial_return.size:
        raise ValueError(
            f"{which}: {wrong} of {trial_return.size} trial returns are not finite: the agent or a task is broken"
        )
    return Trials(returns, lengths, finished, trial_return)


def worst(trials: Trials, shares: Sequence[float] = (0.1, 0.01)) -> dict[str, list[float]]:
    """Means over the worst ``shares`` of the tasks (CVaR), seeds together.

    There are those of the return of a ``trial``, of its ``first`` episode (before anything was learned) and of the
    ``last`` one that it finished. Where there are several trials of a task, every other trial chooses the worst
    tasks, and the others are averaged.

    Args:
      trials: all of one evaluation.
      shares: of the tasks.

    Returns:
      Lists by name, a number for each share.
    """
    latest = np.maximum(trials.finished.sum(axis=-1) - 1, 0)
    last = np.take_along_axis(trials.returns, latest[..., None], axis=-1)[..., 0]
    kinds = {"trial": trials.trial_return, "first": trials.returns[..., 0], "last": last}
    found: dict[str, list[float]] = {"share": list(shares)}
    for kind, scores in kinds.items():
        halves = [scores[..., i::2].mean(axis=(0, 2)) for i in range(min(2, scores.shape[-1]))]  # [N] each
        found[kind] = [statistics.cvar_again(halves[0], halves[-1], share) for share in shares]
    return found


def by_episode(trials: Trials, all_tasks: bool = False) -> dict[str, np.ndarray]:
    """Means of each episode that any trial began, ``[E]`` each: see ``Report``. ``all_tasks``: see ``intervals``.

    Args:
      trials: all of one evaluation.
      all_tasks: the tasks are a whole set, not draws.

    Returns:
      Arrays ``[E]`` by name.
    """
    began = np.isfinite(trials.returns)
    most = int(began.sum(axis=-1).max())
    began, returns, lengths, finished = (x[..., :most] for x in (began, *trials[:3]))
    mean, low, high = mean_interval(returns, all_tasks=all_tasks, mask=began)
    return {
        "return": mean,
        "low": low,
        "high": high,
        "length": statistics.masked_mean(lengths, finished & began, (0, 1, 2)),
        "began": began.mean(axis=(0, 1, 2)),
        "finished": (finished & began).mean(axis=(0, 1, 2)),
    }


class Windows(NamedTuple):
    """Rewards between the inner updates of agents that learn every few steps.

    Attributes:
      steps: from one inner update to the next (the trial may cut the last).
      horizon: of an episode.
      reward: ``[K]``, mean return of ``horizon`` steps before the first inner update and after each.
    """

    steps: int
    horizon: int
    reward: np.ndarray


def windows_of(reward: np.ndarray, steps: int, horizon: int) -> Windows:
    """Mean returns between inner updates that are made every few steps.

    Args:
      reward: ``[S, N, R, T]``.
      steps: from one inner update to the next.
      horizon: of the tasks.

    Returns:
      The Windows.
    """
    by_step = np.asarray(reward, np.float64).mean(axis=(0, 1, 2))
    edges = np.arange(0, by_step.size, steps)
    lengths = np.diff(np.append(edges, by_step.size))
    return Windows(steps, horizon, horizon * np.add.reduceat(by_step, edges) / lengths)


def by_adaptation(trials: Trials, references: Sequence[dict], windows: Windows | None) -> dict[str, Any]:
    """Return before adaptation and after each inner step, and the share of the gap to the known task that it closes.

    Without ``windows`` each episode is one; with them returns are those of ``horizon`` steps, however many episodes
    begin and end in these.

    Args:
      trials: all of one evaluation.
      references: as ``describe`` returns them.
      windows: of agents that learn by inner steps; None: at any step.

    Returns:
      ``window``, ``return [K]`` and ``gap_closed [K]`` by name.
    """
    episodes, best = by_episode(trials)["return"], None
    optimal = next((r for r in references if r["role"] == "optimal" and not r.get("of")), None)
    if windows is None:
        returns = episodes
        if optimal is not None and optimal["by_episode"] is not None and len(optimal["by_episode"]) >= len(returns):
            best = np.asarray(optimal["by_episode"])[: len(returns)]
    else:
        returns = windows.reward
        if optimal is not None:
            best = np.full(len(returns), optimal["value"] * windows.horizon / np.nansum(trials.lengths[0, 0, 0]))
    told = {"window": 1, "return": returns, "gap_closed": None}
    if windows is not None:
        told |= {"window": windows.steps, "horizon": windows.horizon}
    if best is None:
        return told
    width = best - returns[0]
    share = (returns - returns[0]) / np.where(width > 1e-9, width, 1.0)
    return told | {"gap_closed": np.where(width > 1e-9, share, np.nan)}


def describe(reference: Reference, score: float, trials: Trials) -> dict[str, Any]:
    """A reference as plain data, with the score's share of it and its regret.

    The share is given where both are positive; neither is given of a reference ``of`` other tasks.
    ``length_by_episode`` is a mean over the trials in which the agent finished the episode: late ones are only those
    of easy tasks, for both.

    Args:
      reference: a known value.
      score: the agent's.
      trials: for lengths.

    Returns:
      A dict of plain data.
    """
    by_task = np.asarray(reference.trial_return, float)
    value = float(by_task.mean())
    return {
        "role": reference.role,
        "kind": reference.kind,
        "value": value,
        "share": score / value if value > 0 and score > 0 and not reference.of else None,
        "regret": None if reference.of else value - score,
        "by_episode": None if reference.by_episode is None else np.asarray(reference.by_episode, float),
        "length_by_episode": None
        if reference.lengths is None
        else _mean_lengths(np.asarray(reference.lengths), trials),
        "quantiles": np.percentile(by_task, np.arange(101)) if by_task.ndim else None,
        "note": reference.note,
        "of": reference.of,
    }


def _mean_lengths(lengths: np.ndarray, trials: Trials) -> np.ndarray:
    """A reference's ``lengths [N, E']`` in the trials and episodes that the agent finished: ``[E]``."""
    finished = trials.finished & np.isfinite(trials.returns)
    columns = np.minimum(np.arange(finished.shape[-1]), lengths.shape[1] - 1)
    each = np.broadcast_to(lengths[None, :, None, columns], finished.shape)
    return statistics.masked_mean(each, finished, (0, 1, 2))
