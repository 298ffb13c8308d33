"""What a row says of chance: the interval of a comparison over seeds, and what kind each interval is.

A comparison's interval is Fieller's (1954), of the ratio of two means over paired seeds: all ratios ``r`` for which a
t-test does not tell ``ours - r theirs`` from 0. So its lower end is above a bar exactly where a paired t-test says, at
2.5 %, that ours is more than the bar times theirs; zeros and negative values do no harm.
"""

import math
from typing import NamedTuple

import numpy as np

SEEDS = "seeds: lowest and highest"
PAIRED = "95 % over paired seeds (t; Fieller's, of the ratio of means)"
AGAINST = "95 % over seeds (t), of the mean over one number"
DIFFERENCE = "95 % over seeds (t), of the mean difference"
ERRORS = "one standard error on each side"
RUNS = "repeated runs: lowest and highest"


class Interval(NamedTuple):
    low: float
    high: float


def squared_error(count: int) -> float:
    """By how many variances of one seed the mean of ``count`` may be off, squared: ``t^2 / count``."""
    from scipy.stats import t

    return float(t.ppf(0.975, count - 1)) ** 2 / count


def mean_interval(values: np.ndarray) -> Interval | None:
    """95 %, of the mean of ``values [S]``; None of one seed."""
    if len(values) < 2:
        return None
    middle, half = float(values.mean()), math.sqrt(squared_error(len(values)) * float(values.var(ddof=1)))
    return Interval(middle - half, middle + half)


def ratio_interval(ours: np.ndarray, theirs: np.ndarray) -> Interval | None:
    """95 %, of ``mean(ours) / mean(theirs)`` over paired seeds ``[S]``; None of one seed, or where the mean of
    ``theirs`` is not told from 0, so that no ratio can be ruled out.

    The ends solve ``(mean(ours) - r mean(theirs))^2 = var(ours - r theirs) t^2 / S``, quadratic in ``r``.
    """
    if len(ours) < 2:
        return None
    factor, moments = squared_error(len(ours)), np.cov(ours, theirs)
    x, y = float(theirs.mean()), float(ours.mean())
    a, b, c = x * x - factor * moments[1, 1], x * y - factor * moments[0, 1], y * y - factor * moments[0, 0]
    if a <= 0:
        return None
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(float(b - root) / float(a), float(b + root) / float(a))
