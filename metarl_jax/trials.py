"""The trials of an evaluation, and what they say by episode, by inner step and beside references. Plain numpy."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metarl_jax import statistics
from metarl_jax.types import Reference


class Trials(NamedTuple):
    """All trials of one evaluation; ``R`` trials a task, ``E`` the most episodes that a trial can hold.

    ``returns`` and ``lengths`` (steps): ``[S, N, R, E]``, NaN where the trial never began that episode;
    ``finished``: ``[S, N, R, E]`` bool, the episode ended by the trial's last step; ``trial_return``: ``[S, N, R]``.
    """

    returns: Any
    lengths: Any
    finished: Any
    trial_return: Any


def checked(trials: Trials, which: str) -> Trials:
    """``trials`` as numpy arrays whose shapes agree and whose trial returns are finite."""
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


def by_episode(trials: Trials) -> dict[str, np.ndarray]:
    """Means of each episode that any trial began, ``[E]`` each: see ``Report``."""
    began = np.isfinite(trials.returns)
    most = int(began.sum(axis=-1).max())
    began, returns, lengths, finished = (x[..., :most] for x in (began, *trials[:3]))
    low, high = statistics.clustered_interval(returns, began)
    return {
        "return": statistics.masked_mean(returns, began, (0, 1, 2)),
        "low": low,
        "high": high,
        "length": statistics.masked_mean(lengths, finished & began, (0, 1, 2)),
        "began": began.mean(axis=(0, 1, 2)),
        "finished": (finished & began).mean(axis=(0, 1, 2)),
    }


def by_adaptation(episodes: dict[str, np.ndarray], references: Sequence[dict], window: int) -> dict[str, Any]:
    """Return before adaptation and after each inner step, and the share of the gap to the known task that it closes.

    Means over the window's episodes, each over the trials that began it; a last window that the trial cuts counts.
    """
    edges = np.arange(0, len(episodes["return"]), window)
    count = np.add.reduceat(episodes["began"], edges)
    returns = np.add.reduceat(episodes["return"] * episodes["began"], edges) / np.maximum(count, 1e-12)
    best = next((r["by_episode"] for r in references if r["role"] == "optimal" and r["by_episode"] is not None), None)
    told = {"window": window, "return": returns, "gap_closed": None}
    if best is None or len(best) < len(episodes["return"]):
        return told
    best = np.add.reduceat(np.asarray(best)[: len(episodes["return"])] * episodes["began"], edges) / np.maximum(
        count, 1e-12
    )
    width = best - returns[0]
    return told | {
        "gap_closed": np.where(width > 1e-9, (returns - returns[0]) / np.where(width > 1e-9, width, 1.0), np.nan)
    }


def describe(reference: Reference, score: float, trials: Trials) -> dict[str, Any]:
    """A reference as plain data: mean value, the score's share of it (where both are positive), its regret.

    ``length_by_episode`` is a mean over the trials in which the agent finished the episode: late ones are only those
    of easy tasks, for both.
    """
    by_task = np.asarray(reference.trial_return, float)
    value = float(by_task.mean())
    return {
        "role": reference.role,
        "kind": reference.kind,
        "value": value,
        "share": score / value if value > 0 and score > 0 else None,
        "regret": value - score,
        "by_episode": None if reference.by_episode is None else np.asarray(reference.by_episode, float),
        "length_by_episode": None if reference.lengths is None else mean_lengths(np.asarray(reference.lengths), trials),
        "quantiles": np.percentile(by_task, np.arange(101)) if by_task.ndim else None,
        "note": reference.note,
    }


def mean_lengths(lengths: np.ndarray, trials: Trials) -> np.ndarray:
    """A reference's ``lengths [N, E']`` in the trials and episodes that the agent finished: ``[E]``."""
    finished = trials.finished & np.isfinite(trials.returns)
    columns = np.minimum(np.arange(finished.shape[-1]), lengths.shape[1] - 1)
    each = np.broadcast_to(lengths[None, :, None, columns], finished.shape)
    return statistics.masked_mean(each, finished, (0, 1, 2))
