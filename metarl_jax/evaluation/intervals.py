"""95 % intervals of means over what is random of seeds, tasks and trials, which hold for few of each.

Scores are ``[S, N, R, ...]``: seeds, tasks, trials of each. A finite set whose tasks are all tested IS the population:
seeds are random, or, of one seed, the trials' noise. Tasks that were drawn are random, too. With one seed the interval
is of that seed alone. No bootstrap: it is far too narrow for fewer than about twenty clusters. Half widths are t
quantiles; for seeds x tasks, two crossed factors, each variance has its own (the sums of squares of a two-way layout,
Searle, Casella and McCulloch 1992, 5). Statistics that are no means (ratios, trimmed means) have the interval of the
mean of their influence values (Huber 1981, 1.5).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

FEWEST = 6  # equal values that are no chance: 2 ** -6 is below 2.5 %
ENOUGH = 10  # clusters of both factors from which the residual's own quantile may be used
Z = 1.959964


class Estimate(NamedTuple):
    """A mean and its 95 % interval, numbers or arrays of them; NaN where there is none.

    Attributes:
      mean: the estimate.
      low: the interval's lower end.
      high: its upper end.
    """

    mean: Any
    low: Any
    high: Any


def mean_interval(x: ArrayLike, *, all_tasks: bool, mask: ArrayLike | None = None) -> Estimate:
    """The mean of scores and its interval, for each trailing index.

    Args:
      x: scores ``[S, N, R, ...]``: seeds, tasks, trials.
      all_tasks: the tasks are a whole set, not draws.
      mask: which of the scores count; the mean is a ratio then, and its interval that of its influence values.

    Returns:
      The Estimate, ``[...]``.
    """
    x = np.asarray(x, float)
    mask = np.ones(x.shape, bool) if mask is None else np.asarray(mask, bool)
    count, total = mask.sum(axis=(0, 1, 2)), int(np.prod(x.shape[:3]))
    mean = np.where(mask, x, 0.0).sum(axis=(0, 1, 2)) / np.where(count, count, np.nan)
    values = np.where(mask, x - mean, 0.0) * (total / np.maximum(count, 1))
    half = _half_width(values, mask, all_tasks)
    # Equal clusters say nothing of their spread: the trials do, and these only where they are many.
    tied = (half <= 1e-12 * np.abs(mean)) & (mean != 0)
    if tied.any():
        rest = spread(values.reshape(total, *values.shape[3:]), mask.reshape(total, *mask.shape[3:]))
        rest = np.where((rest > 1e-12 * np.abs(mean)) | (count >= FEWEST), rest, np.nan)
        half = np.where(tied, rest, half)
    return Estimate(mean, mean - half, mean + half)


def _half_width(values: np.ndarray, mask: np.ndarray, all_tasks: bool) -> np.ndarray:
    """Of the interval of the mean of ``values [S, N, R, ...]``, whose own mean is 0."""
    seeds, tasks, trials = values.shape[:3]
    if seeds > 1 and (all_tasks or tasks == 1):
        return spread(values.mean(axis=(1, 2)), mask.sum(axis=(1, 2)))
    if seeds > 1:
        return _crossed(values.mean(axis=2), mask.sum(axis=2))
    if trials > 1 and (all_tasks or tasks == 1):
        return within_tasks(values[0], mask[0])
    return spread(values.mean(axis=2)[0], mask.sum(axis=2)[0])


def spread(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Half the interval of independent clusters.

    Args:
      values: ``[C, ...]``.
      weight: how much each counts.

    Returns:
      ``[...]``.
    """
    return quantile(_effective(weight) - 1) * standard_error(values)


def within_tasks(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Half the interval where trials are random and tasks are not (Welch, Satterthwaite).

    Args:
      values: ``[N, R, ...]``.
      mask: likewise, which of them count.

    Returns:
      ``[...]``.
    """
    tasks, trials = values.shape[:2]
    variance = values.var(axis=1, ddof=1) / trials
    some = mask.any(axis=1)
    freedom = np.square(variance.sum(axis=0)) / np.maximum(np.square(variance).sum(axis=0) / (trials - 1), 1e-300)
    freedom = np.where(some.any(axis=0), np.maximum(freedom, trials - 1), 0)
    return quantile(freedom) * np.sqrt(variance.sum(axis=0)) / tasks


def _crossed(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of ``[S, N, ...]``, where seeds and tasks are random.

    The variances of the seeds' and of the tasks' means both hold the residual's, which is counted once. With few
    clusters it is only known badly: then at least the wider of the two intervals.
    """
    num_seeds, num_tasks = values.shape[:2]
    by_seed, by_task = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_seed[:, None] - by_task[None]  # the mean of all is 0
    freedom = (num_seeds - 1) * (num_tasks - 1)
    residual = np.square(rest).sum(axis=(0, 1)) / freedom / (num_seeds * num_tasks)
    seeds, tasks = standard_error(by_seed) ** 2, standard_error(by_task) ** 2
    of_seeds = quantile(_effective(weight.sum(axis=1)) - 1) ** 2
    of_tasks = quantile(_effective(weight.sum(axis=0)) - 1) ** 2
    if min(num_seeds, num_tasks) >= ENOUGH:
        more = of_seeds * np.maximum(seeds - residual, 0) + of_tasks * np.maximum(tasks - residual, 0)
        return np.sqrt(more + quantile(np.asarray(freedom)) ** 2 * residual)
    wider = np.maximum(of_seeds * seeds, of_tasks * tasks)
    return np.sqrt(np.maximum(of_seeds * seeds + of_tasks * tasks - Z**2 * residual, wider))


def standard_error(values: np.ndarray) -> np.ndarray:
    """The standard error of the mean.

    Args:
      values: ``[C, ...]``.

    Returns:
      ``[...]``; NaN of a single one.
    """
    return values.std(axis=0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.full(values.shape[1:], np.nan)


def _effective(weight: np.ndarray) -> np.ndarray:
    """How many equal clusters are worth as much as ``[C, ...]`` of these weights (Kish 1965)."""
    weight = weight.astype(float)
    return np.square(weight.sum(axis=0)) / np.maximum(np.square(weight).sum(axis=0), 1e-300)


def quantile(freedom: np.ndarray) -> np.ndarray:
    """97.5 % of Student's t.

    Args:
      freedom: degrees of freedom.

    Returns:
      Like ``freedom``; NaN without a degree of freedom.
    """
    from scipy.special import stdtrit

    return np.where(freedom > 1e-9, stdtrit(np.maximum(freedom, 1e-9), 0.975), np.nan)


def ratio_values(numerator: ArrayLike, denominator: ArrayLike) -> np.ndarray:
    """Values whose mean is ``mean(numerator) / mean(denominator)`` and whose spread is that of this ratio.

    Args:
      numerator: any shape.
      denominator: broadcasts with it.

    Returns:
      Of the common shape.
    """
    over, under = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    ratio = over.mean() / under.mean()
    return ratio + (over - ratio * under) / under.mean()


def interquartile_mean(x: ArrayLike, *, all_tasks: bool) -> Estimate:
    """The interquartile mean of the means of trials, and its interval.

    Means beyond the quartiles count as these, and not as degrees of freedom (Tukey and McLaughlin 1963; Yuen 1974).

    Args:
      x: ``[S, N, R]``.
      all_tasks: the tasks are a whole set, not draws.

    Returns:
      The Estimate.
    """
    x = np.asarray(x, float)
    means = x.mean(axis=2)
    ordered = np.sort(means, axis=None)
    cut = ordered.size // 4
    low, high = ordered[cut], ordered[-1 - cut]
    middle = ordered[cut : ordered.size - cut].mean()
    inside = np.broadcast_to(((means >= low) & (means <= high))[:, :, None], x.shape)
    values = np.where(inside, x, np.clip(means, low, high)[:, :, None])
    values = (values - values.mean()) * ordered.size / (ordered.size - 2 * cut)
    half = _half_width(values, inside, all_tasks)
    return Estimate(middle, middle - half, middle + half)


def scope(shape: tuple[int, ...], all_tasks: bool) -> tuple[str, str, float]:
    """What the intervals of scores are over.

    Args:
      shape: ``[S, N, R]`` of the scores.
      all_tasks: the tasks are a whole set, not draws.

    Returns:
      What they are over, what they are of alone, and the degrees of freedom of the scarcest of it.
    """
    seeds, tasks, trials = shape[:3]
    alone = [*(["of this seed"] if seeds == 1 else []), *(["in this task"] if tasks == 1 and not all_tasks else [])]
    if seeds > 1:
        one = all_tasks or tasks == 1
        return ("seeds" if one else "seeds and tasks"), " ".join(alone), (seeds if one else min(seeds, tasks)) - 1
    if trials > 1 and (all_tasks or tasks == 1):
        # Of as many equal variances, known from so few trials each, Satterthwaite's formula finds about so many.
        return "trials", " ".join(alone), max(trials - 1, tasks * (trials - 1) ** 2 / (trials + 1))
    return "tasks", " ".join(alone), tasks - 1


def power(freedom: float, errors: float = 4.0) -> float:
    """The chance that an effect is found, its interval above zero.

    Args:
      freedom: degrees of freedom.
      errors: the effect, in standard errors.

    Returns:
      From 0 to 1.
    """
    from scipy.special import nctdtr

    return float(1 - nctdtr(freedom, errors, quantile(np.asarray(freedom)))) if freedom > 0 else 0.0
