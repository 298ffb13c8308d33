"""Statistics over seeds and tasks: robust means and the tail; their intervals are in ``intervals``.

Sources: Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice" (interquartile mean); Rockafellar and
Uryasev 2000 (CVaR).
"""

import math

import numpy as np
from numpy.typing import ArrayLike


def iqm(x: ArrayLike, axis: int | None = None) -> np.ndarray:
    """Interquartile mean: the mean of what is left when the lowest and the highest 25 % are cut off.

    ``floor(n / 4)`` values go at each end (``scipy.stats.trim_mean``).

    Args:
      x: any shape.
      axis: along which; by default over all.

    Returns:
      The mean.
    """
    from scipy.stats import trim_mean

    x = np.asarray(x, float)
    return trim_mean(x.ravel(), 0.25) if axis is None else trim_mean(x, 0.25, axis=axis)


def cvar(x: ArrayLike, share: float = 0.1, axis: int | None = None) -> np.ndarray:
    """Conditional value at risk: the mean of the ``ceil(share n)`` smallest values (at least one).

    Noise in the scores (few trials a task) makes it look worse than it is.

    Args:
      x: any shape.
      share: from 0, excluded, to 1.
      axis: along which; by default over all.

    Returns:
      The mean.

    Raises:
      ValueError: unless ``0 < share <= 1``.
    """
    x = np.asarray(x, float)
    x, axis = (x.ravel(), 0) if axis is None else (x, axis)
    count = _how_many(share, x.shape[axis])
    worst = np.partition(x, count - 1, axis=axis)
    return worst.take(range(count), axis=axis).mean(axis=axis)


def cvar_again(chosen_by: ArrayLike, x: ArrayLike, share: float = 0.1) -> float:
    """The mean over the tasks that are worst by other trials in them.

    Bad luck that made a task look worst is not counted again (Rutherford et al. 2024).

    Args:
      chosen_by: ``[N]``, by which tasks are the worst.
      x: ``[N]``, other trials in the same tasks.
      share: ``ceil(share N)`` tasks count.

    Returns:
      The mean.

    Raises:
      ValueError: unless ``0 < share <= 1``, or of different lengths.
    """
    first, second = np.asarray(chosen_by, float), np.asarray(x, float)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"scores of shapes {first.shape} and {second.shape}: must be two of one length")
    count = _how_many(share, len(first))
    return float(second[np.argsort(first, kind="stable")[:count]].mean())


def _how_many(share: float, count: int) -> int:
    """``share`` of ``count``, rounded up, at least one."""
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r}: must be in (0, 1]")
    return max(1, math.ceil(share * count - 1e-9))  # 0.1 * 30 is 3.0000000000000004


def masked_mean(x: np.ndarray, mask: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """The mean of what a mask leaves.

    Args:
      x: any shape.
      mask: bool, likewise.
      axis: along which.

    Returns:
      The mean; NaN (and no warning) where nothing is left.
    """
    count = np.sum(mask, axis=axis)
    total = np.sum(np.where(mask, x, 0.0), axis=axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
