"""Bayes-optimal play of two dependent Bernoulli arms: the second pays with 1 - p (Wang et al. 2016, section 3.1).

Axis letters: ``[M]`` atoms of the prior over p, ``[n]`` pulls. A success of one arm and a failure of the other are the
same evidence about p, so both arms are equally informative, exploring costs nothing and the greedy policy is
Bayes-optimal.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metarl_jax.config import check


class DependentReference(NamedTuple):
    """The Bayes-optimal value of two dependent arms, exact.

    Attributes:
      value: expected total reward of a trial.
      regret: the expected total reward of the better arm less ``value``.
      by_pull: ``[n]``, expected reward of each pull.
    """

    value: float
    regret: float
    by_pull: np.ndarray


def dependent_reference(probabilities: Sequence[float] | None, num_pulls: int) -> DependentReference:
    """Bayes-optimal play when the arms pay with ``p`` and ``1 - p``.

    After ``t`` pulls ``a`` of them were evidence for the first arm (its successes, the other's failures); the best
    arm's expected reward at the next pull is ``sum_a max(sum_p P(p) p B(a; t, p), sum_p P(p) (1 - p) B(a; t, p))``,
    ``B`` the binomial probabilities.

    Args:
      probabilities: ``[M]``, the values of p, equally likely; None for p uniform on [0, 1].
      num_pulls: ``n``.

    Returns:
      DependentReference.

    Raises:
      ConfigError: if a probability is outside [0, 1] or ``num_pulls`` is below 1.
    """
    check(num_pulls >= 1, "num_pulls", num_pulls, "give at least 1")
    p, weight = _uniform_prior(num_pulls) if probabilities is None else _equal_prior(probabilities)
    joint = weight[:, None]  # P(p) B(a; t, p), [M, t + 1]
    by_pull = np.zeros(num_pulls)
    for t in range(num_pulls):
        by_pull[t] = np.maximum(p @ joint, (1 - p) @ joint).sum()
        joint = np.pad((1 - p)[:, None] * joint, ((0, 0), (0, 1))) + np.pad(p[:, None] * joint, ((0, 0), (1, 0)))
    best = num_pulls * float(weight @ np.maximum(p, 1 - p))
    return DependentReference(float(by_pull.sum()), best - float(by_pull.sum()), by_pull)


def _equal_prior(probabilities: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    p = np.asarray(probabilities, np.float64)
    check(p.ndim == 1 and p.size > 0, "probabilities", probabilities, "give a list of numbers")
    check(bool(np.all((p >= 0) & (p <= 1))), "probabilities", probabilities, "must lie in [0, 1]")
    return p, np.full(p.size, 1 / p.size)


def _uniform_prior(num_pulls: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes on each half of [0, 1]: exact, as all integrands are polynomials of degree <= n there."""
    nodes, weights = np.polynomial.legendre.leggauss(num_pulls // 2 + 1)
    half, weight = (nodes + 1) / 4, weights / 4
    return np.concatenate([half, half + 0.5]), np.concatenate([weight, weight])
