"""Bayes-optimal play of Bernoulli bandits of which one of a few is the true one: dynamic programming over counts.

Axis letters: ``[M]`` candidate bandits, ``[k]`` arms, ``[n]`` pulls, ``[C]`` kinds of evidence, ``[B]`` beliefs of a
level (after a given number of pulls). A success or a failure of an arm has a likelihood under each candidate. Outcomes
whose likelihoods are proportional are equivalent evidence and are counted together (all uninformative ones are one
kind), so a belief after some pulls is ``C <= 2 k`` counts that add up to their number.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from metarl_jax.config import check
from metarl_jax.planning.known_goal import weights_of

MOST_WORK = 2 * 10**7  # numbers held for all beliefs: a second or two
SAME = 6  # decimals to which likelihoods are compared: float32 has no more


class _Evidence(NamedTuple):
    """What outcomes say of the candidates.

    Attributes:
      likelihood: ``[k, 2, M]``, of each arm's success and failure.
      kind: ``[k, 2]`` int, the kind of evidence that it is counted as.
      log_ratio: ``[C, M]``, log likelihood of each candidate for one count of a kind, 0 for the likeliest.
    """

    likelihood: np.ndarray
    kind: np.ndarray
    log_ratio: np.ndarray


def candidate_bandits_return(
    probability: ArrayLike, num_pulls: int, weight: ArrayLike | None = None
) -> np.ndarray | None:
    """The expected reward of each pull under the Bayes-optimal policy of the whole trial, exact.

    Args:
      probability: ``[M, k]``, each arm's probability of paying 1 in each candidate.
      num_pulls: ``n``.
      weight: ``[M]``, proportional to the candidates' prior probabilities; equal if None.

    Returns:
      ``[n]``, or None where there are too many beliefs.

    Raises:
      ConfigError: if a probability is outside [0, 1] or ``num_pulls`` is below 1.
    """
    p = np.asarray(probability, np.float64)
    check(num_pulls >= 1, "num_pulls", num_pulls, "give at least 1")
    check(p.ndim == 2 and bool(((p >= 0) & (p <= 1)).all()), "probability", p.shape, "give [M, k] numbers in [0, 1]")
    chances, evidence = weights_of(len(p), weight), _evidence(p)
    kinds = len(evidence.log_ratio)
    if math.comb(num_pulls - 1 + kinds, kinds) * (len(p) + 2 * kinds) > MOST_WORK:
        return None
    levels = _levels(num_pulls, kinds)
    value, plan = np.zeros(1), []
    for level in reversed(levels):
        chance, following = _chances(evidence, chances, level), _ranks(level)[:, evidence.kind]  # [B, k, 2] each
        after = value[following] if plan else 0.0
        q = chance[..., 0] + (chance * after).sum(axis=-1)
        best = np.arange(len(q)), q.argmax(axis=1)
        value = q[best]
        plan.append((chance[best], following[best]))
    return _by_pull(plan[::-1])


def _by_pull(plan: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The expected reward of each pull, ``[n]``.

    ``plan``: by pull, for the arm chosen in each belief, the probabilities ``[B, 2]`` to pay and not to pay, and the
    beliefs that follow.
    """
    reached, by_pull = np.ones(1), []
    for index, (chance, following) in enumerate(plan):
        by_pull.append(reached @ chance[:, 0])
        size = len(plan[index + 1][0]) if index + 1 < len(plan) else 0
        reached = np.bincount(following.ravel(), (reached[:, None] * chance).ravel(), size)
    return np.array(by_pull)


def _evidence(p: np.ndarray) -> _Evidence:
    likelihood = np.stack([p.T, 1 - p.T], axis=1)  # [k, 2, M]
    rows = likelihood.reshape(-1, len(p))
    largest = rows.max(axis=1, keepdims=True)
    ratio = np.where(largest > 0, rows / np.where(largest > 0, largest, 1.0), 1.0)  # 1: what never comes about
    _, first, kind = np.unique(np.round(ratio, SAME), axis=0, return_index=True, return_inverse=True)
    with np.errstate(divide="ignore"):
        return _Evidence(likelihood, kind.reshape(likelihood.shape[:2]), np.log(ratio[first]))


def _levels(num_pulls: int, kinds: int) -> list[np.ndarray]:
    """The counts that may be held after 0, 1, ... n - 1 pulls: ``[B, C]`` each, in the order of ``_ranks``."""
    levels = [np.zeros((1, kinds), np.int64)]
    for pulls in range(1, num_pulls):
        grown = levels[-1][:, None] + np.eye(kinds, dtype=np.int64)
        level = np.zeros((math.comb(pulls + kinds - 1, pulls), kinds), np.int64)
        level[_ranks(levels[-1])] = grown
        levels.append(level)
    return levels


def _ranks(level: np.ndarray) -> np.ndarray:
    """The number, in its level, of what follows each belief when one count of a kind is added; ``[B, C]``.

    Counts ``c`` are numbered by ``sum_j binomial(c_1 + ... + c_j + j - 1, j)``, ``j < C``: one to one for those of one
    total (the combinatorial number system).
    """
    kinds, total = level.shape[1], int(level[0].sum()) + 1
    rank = np.zeros(level.shape, np.int64)
    for j in range(1, kinds):
        binomial = np.array([math.comb(s + j - 1, j) for s in range(total + 1)])
        before = level[:, :j].sum(axis=1)
        rank += np.where(np.arange(kinds) < j, binomial[before + 1][:, None], binomial[before][:, None])
    return rank


def _chances(evidence: _Evidence, chances: np.ndarray, level: np.ndarray) -> np.ndarray:
    """How likely each arm is to pay and not to pay, given the counts; ``[B, k, 2]``."""
    said = np.zeros((len(level), len(chances)))
    for count, log_ratio in zip(level.T, evidence.log_ratio, strict=True):
        said += np.where(count[:, None] > 0, np.maximum(count, 1)[:, None] * log_ratio, 0.0)
    possible = said.max(axis=1, keepdims=True)  # -inf for counts that no candidate allows: they do not come about
    posterior = chances * np.exp(said - np.where(np.isfinite(possible), possible, 0.0))
    total = posterior.sum(axis=1, keepdims=True)
    posterior /= np.where(total > 0, total, 1.0)
    return np.einsum("bm,kom->bko", posterior, evidence.likelihood, optimize=True)
