"""Statistics over seeds and tasks: robust means, the tail, and intervals that resample both.

Scores are numpy arrays ``[S, N]`` (seeds, tasks) in units of return. Sources: Agarwal et al. 2021, "Deep RL at the
Edge of the Statistical Precipice" (interquartile mean, stratified bootstrap); Owen 2007, "The pigeonhole bootstrap"
(resampling two crossed factors); Rockafellar and Uryasev 2000 (CVaR).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

WORK = 10_000_000  # most scores that one bootstrap draws (about 0.2 s), while it keeps FEWEST resamples
FEWEST = 200
CHUNK = 1 << 18  # scores drawn at a time: stays in cache
NORMAL_95 = 1.959964


class Estimate(NamedTuple):
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def iqm(x: ArrayLike, axis: int | None = None) -> np.ndarray:
    """Interquartile mean: the mean of what is left when the lowest and the highest 25 % are cut off.

    Over all of ``x``, or along ``axis``; ``floor(n / 4)`` values go at each end (``scipy.stats.trim_mean``).
    """
    from scipy.stats import trim_mean

    x = np.asarray(x, float)
    return trim_mean(x.ravel(), 0.25) if axis is None else trim_mean(x, 0.25, axis=axis)


def cvar(x: ArrayLike, share: float = 0.1, axis: int | None = None) -> np.ndarray:
    """Conditional value at risk: the mean of the ``ceil(share n)`` smallest values (at least one).

    Over all of ``x``, or along ``axis``. Noise in the scores (few trials a task) makes it look worse than it is.

    Raises:
      ValueError: unless ``0 < share <= 1``.
    """
    x = np.asarray(x, float)
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    count = how_many(share, x.shape[axis])
    worst = np.partition(x, count - 1, axis=axis)
    return worst.take(range(count), axis=axis).mean(axis=axis)


def cvar_again(chosen_by: ArrayLike, x: ArrayLike, share: float = 0.1) -> float:
    """The mean of ``x [N]`` over the ``ceil(share N)`` tasks that are worst by ``chosen_by [N]``: other trials in the
    same tasks, so that bad luck that made a task look worst is not counted again (Rutherford et al. 2024).

    Raises:
      ValueError: unless ``0 < share <= 1``, or of different lengths.
    """
    first, second = np.asarray(chosen_by, float), np.asarray(x, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"scores of shapes {first.shape} and {second.shape}: must be two of one length")
    count = how_many(share, len(first))
    return float(second[np.argsort(first, kind="stable")[:count]].mean())


def how_many(share: float, count: int) -> int:
    """``share`` of ``count``, rounded up, at least one."""
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r}: must be in (0, 1]")
    return max(1, math.ceil(share * count - 1e-9))  # 0.1 * 30 is 3.0000000000000004


def stratified_bootstrap(
    scores: ArrayLike, statistic: Callable[..., np.ndarray] = np.mean, num: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of ``statistic`` when seeds AND tasks are drawn anew.

    Each resample draws ``S`` seeds and ``N`` tasks with replacement and takes every pair of the two; with one seed
    it resamples tasks only. The interval is that of the percentiles. Where ``num`` resamples would be more than
    ``WORK`` scores, fewer are drawn (``FEWEST`` at least) and the interval is the normal one with their standard
    deviation, which at such sizes is the same. With fewer than about five seeds no bootstrap can know how much
    seeds differ: read the interval as a lower limit on the doubt.

    Args:
      scores: ``[S, N]`` (or ``[N]``, one seed).
      statistic: ``statistic(x [B, S * N], axis=-1) -> [B]``, such as ``np.mean``, ``iqm`` or ``cvar``.
      num: number of resamples.
      seed: of the resampling; the same seed gives the same interval.

    Returns:
      ``(low, high)``; NaN for a single score, which says nothing about its spread.
    """
    scores = np.atleast_2d(np.asarray(scores, float))
    if scores.size == 1:
        return math.nan, math.nan
    draws = min(num, max(FEWEST, WORK // scores.size))
    generator, chunk = np.random.default_rng(seed), max(1, CHUNK // scores.size)
    sizes = [min(chunk, draws - start) for start in range(0, draws, chunk)]
    values = np.concatenate([statistic(resample(generator, scores, size), axis=-1) for size in sizes])
    if draws == num:
        low, high = np.percentile(values, [2.5, 97.5])
    else:
        centre, half = statistic(scores.reshape(1, -1), axis=-1)[0], NORMAL_95 * values.std(ddof=1)
        low, high = centre - half, centre + half
    return float(low), float(high)


def resample(generator: np.random.Generator, scores: np.ndarray, num: int) -> np.ndarray:
    """``num`` crossed resamples of ``scores [S, N]``: ``[num, S * N]``."""
    num_seeds, num_tasks = scores.shape
    seeds = generator.integers(num_seeds, size=(num, num_seeds, 1))
    tasks = generator.integers(num_tasks, size=(num, 1, num_tasks))
    return scores.ravel()[seeds * num_tasks + tasks].reshape(num, -1)


def paired_gain(a: ArrayLike, b: ArrayLike, num: int = 2000, seed: int = 0) -> Estimate:
    """Mean of ``a - b`` with its 95 % interval, paired by seed and task; both ``[S, N]``.

    Raises:
      ValueError: where the shapes differ.
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    if a.shape != b.shape:
        raise ValueError(f"a {a.shape} and b {b.shape} must have the same shape [S, N] to be paired")
    return Estimate(float(np.mean(a - b)), *stratified_bootstrap(a - b, np.mean, num, seed))


def masked_mean(x: np.ndarray, mask: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Mean of ``x`` where ``mask``, along ``axis``; NaN (and no warning) where nothing is left."""
    count = np.sum(mask, axis=axis)
    total = np.sum(np.where(mask, x, 0.0), axis=axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def clustered_interval(x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normal 95 % interval of the mean of ``x [S, N, R, ...]`` where ``mask``, for each trailing index.

    With ``d = x - mean`` and ``n`` entries in all, each of the C clusters (the tasks; the seeds, where there are
    several) adds to the variance of the mean ``C / (C - 1) * (sum of its d / n) ** 2``: the ratio estimator for
    clusters of unequal size (Cochran 1977, 6.3 and 9A). Noise that is neither of the seed nor of the task counts in
    both sums: the interval errs on the wide side. It has no width where there is a single cluster.
    """
    mean, count = masked_mean(x, mask, (0, 1, 2)), mask.sum(axis=(0, 1, 2))
    deviation = np.where(mask, x - mean, 0.0)
    variance = np.zeros_like(mean)
    for others in ((0, 2), (1, 2)):
        clusters = mask.any(axis=others).sum(axis=0)
        squares = (deviation.sum(axis=others) ** 2).sum(axis=0)
        factor = np.where(clusters > 1, clusters / np.maximum(clusters - 1, 1), 0.0)
        variance += factor * squares / np.maximum(count, 1) ** 2
    half = NORMAL_95 * np.sqrt(variance)
    return mean - half, mean + half
