"""Learned beliefs beside exact ones: scores of each step, and what a report says of them."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from metarl_jax.records import ExactBelief, Task, Trajectory


def scores(exact: ExactBelief, task: Task, trajectory: Trajectory, decoded: jax.Array) -> dict[str, jax.Array]:
    """Scores of a trial's decoded beliefs beside the exact posterior, after 1, 2, ... T - 1 steps.

    Of candidates: ``right`` (the likeliest is the true one), ``confidence`` (its probability), ``log_loss`` (of the
    truth, nats), ``best`` (the probability of the exactly likeliest: nobody is right more often), ``exact_log_loss``
    and ``divergence`` (KL from the exact belief). Of numbers, root mean squares: ``error`` and ``exact_error`` from
    the truth, ``difference`` of the two.

    Args:
      exact: the distribution's belief.
      task: the true one.
      trajectory: ``[T]``, of one trial.
      decoded: ``[T, C]``, the agent's belief before each step.

    Returns:
      Arrays ``[T - 1]`` by name.
    """
    known, said, truth = exact.posterior(trajectory)[:-1], decoded[1:], exact.truth(task)[None]
    if not exact.candidates:
        rms = lambda x: jnp.sqrt(jnp.square(x).mean(axis=-1))
        return {"error": rms(said - truth), "exact_error": rms(known - truth), "difference": rms(said - known)}
    log_said, log_known = (jnp.log(jnp.maximum(x, 1e-12)) for x in (said, known))
    return {
        "right": (said.argmax(axis=-1) == truth.argmax(axis=-1)).astype(jnp.float32),
        "confidence": said.max(axis=-1),
        "log_loss": -(truth * log_said).sum(axis=-1),
        "best": known.max(axis=-1),
        "exact_log_loss": -(truth * log_known).sum(axis=-1),
        "divergence": (known * (log_known - log_said)).sum(axis=-1),
    }


def described(scored: Mapping[str, ArrayLike], done: ArrayLike, candidates: int) -> dict[str, Any]:
    """Means over trials of the scores of decoded beliefs, by step and by episode.

    ``by_step``: after 1, 2, ... steps; ``by_episode``: when each episode ended, the last one a step before. Of
    candidates also ``calibration_error`` (see there) at each of these and over all beliefs, and ``calibration``: the
    share of all beliefs whose confidence lies in each tenth, their mean confidence and how often they are right.

    Args:
      scored: what ``scores`` returns, ``[..., T]``.
      done: ``[..., T]`` bool, an episode's last step.
      candidates: how many tasks there are to distinguish; 0: numbers.

    Returns:
      A dict of plain data, see above.
    """
    found = {name: np.asarray(x, np.float64).reshape(-1, np.shape(x)[-1]) for name, x in scored.items()}
    done = np.asarray(done).reshape(-1, np.shape(done)[-1])
    steps = done.shape[1] - 1
    ended = np.cumsum(done, axis=1) * done  # the number of the episode that ended here
    ends = [np.nonzero(ended == episode) for episode in range(1, int(ended.max(initial=0)) + 1)]
    at_ends = [{name: x[row, np.minimum(column, steps - 1)] for name, x in found.items()} for row, column in ends]
    told = {
        "candidates": candidates,
        "by_step": {name: x.mean(axis=0) for name, x in found.items()},
        "by_episode": {name: [float(at[name].mean()) for at in at_ends] for name in found},
    }
    if not candidates:
        return told
    said, right = found["confidence"], found["right"]
    by_step = [calibration_error(said[:, t], right[:, t]) for t in range(steps)]
    told["by_step"]["calibration_error"] = np.array(by_step)
    told["by_episode"]["calibration_error"] = [calibration_error(at["confidence"], at["right"]) for at in at_ends]
    count, *sums = _tenths(said, right)
    confidence, share = (np.where(count > 0, x / np.maximum(count, 1), np.nan) for x in sums)
    calibration = {"share": count / count.sum(), "confidence": confidence, "right": share}
    return told | {"calibration": calibration, "calibration_error": calibration_error(said, right)}


def _tenths(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(number of beliefs, sum of their confidences, number of right ones) in each tenth of confidence: ``[10]``."""
    tenth = np.minimum((confidence * 10).astype(int), 9).reshape(-1)
    count = lambda weights: np.bincount(tenth, weights, minlength=10)
    return count(None), count(confidence.reshape(-1)), count(right.reshape(-1))


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """``sum_b |sum_{i in b} confidence_i - right_i| / n`` over tenths ``b`` of confidence (Guo et al. 2017).

    Chance alone makes it more than 0: for ``n`` independent beliefs by up to about ``1.3 / sqrt(n)``.

    Args:
      confidence: ``[n]``, the probability of the likeliest candidate.
      right: ``[n]``, whether that is the true one.

    Returns:
      The error, from 0 to 1.
    """
    _, said, true = _tenths(confidence, right)
    return float(np.abs(said - true).sum() / confidence.size)
