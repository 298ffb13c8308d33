"""Bayes-optimal play of Bernoulli bandits with independent, uniform priors.

Axis letters: ``[n]`` pulls, ``[k]`` arms, ``[B]`` bandits simulated in parallel. An arm that was pulled ``p`` times
with ``s`` successes has posterior mean ``(s + 1) / (p + 2)``. Exact values come from dynamic programs over posteriors
(in numpy float64: they are sums of up to hundreds of terms and are computed once). Where there are too many posteriors,
the finite-horizon Gittins policy is simulated: it pulls the arm whose index, with the remaining pulls as the horizon,
is largest (Kaufmann, "On Bayesian index policies for sequential resource allocation", 2018).
"""

import json
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import check

STORED = Path(__file__).with_name("bandit_values.json")  # written by ``_store_values``
EXACT_TWO_ARMED_PULLS = 200  # 67 million posteriors, halved by symmetry: a second at most
EXACT_PULLS = 12  # any number of arms: well under a second (15 take one to three)


class BanditReference(NamedTuple):
    """The Bayes-optimal value of a Bernoulli bandit, or a lower bound on it.

    Attributes:
      value: expected total reward of a trial.
      kind: ``exact``, or ``lower`` where it is the value of a near-optimal policy.
      standard_error: of ``value``; 0 if exact.
      by_pull: ``[n]``, mean reward of each pull under the finite-horizon Gittins policy, simulated.
      note: how ``value`` was computed.
    """

    value: float
    kind: str
    standard_error: float
    by_pull: np.ndarray | None
    note: str


def two_armed_value(num_pulls: int) -> float:
    """Bayes-optimal expected total reward of two arms, exactly.

    ``V(p, s) = max_i m_i (1 + V(p + e_i, s + e_i)) + (1 - m_i) V(p + e_i, s)`` with ``m_i = (s_i + 1) / (p_i + 2)``,
    backwards in the number of pulls made; for each ``(p_1, p_2)`` an array over ``[s_1, s_2]``. Arms are
    exchangeable, so only ``p_1 <= p_2`` is stored: the other half is the transpose.

    Args:
      num_pulls: ``n``.

    Returns:
      The expected total reward of a trial.
    """
    later = [np.zeros((p + 1, num_pulls - p + 1)) for p in range(num_pulls // 2 + 1)]
    for pulls in reversed(range(num_pulls)):
        now = []
        for first in range(pulls // 2 + 1):
            second = pulls - first
            pull_second = _pull(second, later[first].T).T
            even = first + 1 > second  # then the successor is in the half that is not kept
            pull_first = _pull(first, later[second].T if even else later[first + 1])
            now.append(np.maximum(pull_first, pull_second))
        later = now
    return float(later[0][0, 0])


def _pull(pulls: int, after: np.ndarray) -> np.ndarray:
    """The value of pulling an arm: ``after [pulls+2, ...]`` over its later successes gives ``[pulls+1, ...]``."""
    mean = ((np.arange(pulls + 1) + 1) / (pulls + 2))[:, None]
    return mean * (1 + after[1:]) + (1 - mean) * after[:-1]


def many_armed_value(num_arms: int, num_pulls: int) -> float:
    """Bayes-optimal expected total reward of any number of arms, exactly, for few pulls.

    The recursion of ``two_armed_value`` over multisets of arm posteriors: the state is the sorted tuple of
    ``(successes, failures)`` of the arms that were pulled. There are 2,139 such states after 10 pulls, 39,894 after
    15.

    Args:
      num_arms: ``k``.
      num_pulls: ``n``.

    Returns:
      The expected total reward of a trial.
    """

    @cache
    def value(arms: tuple, left: int) -> float:
        if left == 0:
            return 0.0
        choices = set(arms) | ({(0, 0)} if len(arms) < num_arms else set())
        return max(_expected(value, arms, arm, left) for arm in choices)

    return value((), num_pulls)


def _expected(value, arms: tuple, arm: tuple[int, int], left: int) -> float:
    """The expected total of pulling ``arm`` next, ``left`` pulls being left, and playing optimally after it."""
    others = list(arms)
    if arm in others:
        others.remove(arm)
    (s, f), mean = arm, (arm[0] + 1) / (arm[0] + arm[1] + 2)
    success = tuple(sorted([*others, (s + 1, f)]))
    failure = tuple(sorted([*others, (s, f + 1)]))
    return mean * (1 + value(success, left - 1)) + (1 - mean) * value(failure, left - 1)


@partial(jax.jit, static_argnums=(0, 1))
def gittins_indices(num_pulls: int, resolution: int = 64) -> jax.Array:
    """The finite-horizon Gittins index of every posterior that can occur.

    The index of an arm with ``m`` pulls left is the charge ``c`` per pull at which the value of playing it is zero:
    ``Q_m(p, s; c) = mean - c + E max(0, Q_{m-1}(.; c)) = 0``. ``Q`` is convex and falls in ``c``: it is computed for
    ``resolution`` charges and the zero is interpolated.

    Args:
      num_pulls: ``n``, static.
      resolution: number of charges, evenly spaced on [0, 1], between which the index is interpolated; static.

    Returns:
      ``[n, n (n + 1) / 2]``: row ``m - 1`` for ``m`` pulls left, column ``p (p + 1) / 2 + s`` for ``s`` successes in
      ``p`` pulls (entries of posteriors that cannot occur with ``m`` pulls left have no meaning).
    """
    pulls, successes = jnp.arange(num_pulls)[:, None], jnp.arange(num_pulls)[None]
    mean = ((successes + 1) / (pulls + 2))[None]
    charge = jnp.linspace(0.0, 1.0, resolution)[:, None, None]
    p, s = np.tril_indices(num_pulls)

    def one_more(ahead, _):  # ahead [charges, p, s]: max(0, Q), with one row and column of padding
        q = mean - charge + mean * ahead[:, 1:, 1:] + (1 - mean) * ahead[:, 1:, :-1]
        index = _zero_crossing(q[:, p, s], resolution)
        return jnp.pad(jnp.maximum(q, 0.0), ((0, 0), (0, 1), (0, 1))), index

    start = jnp.zeros((resolution, num_pulls + 1, num_pulls + 1))
    return jax.lax.scan(one_more, start, None, length=num_pulls)[1]


def _zero_crossing(q: jax.Array, resolution: int) -> jax.Array:
    """Where ``q [charges, posteriors]``, falling along charges on ``linspace(0, 1)``, is zero; ``[posteriors]``."""
    below = jnp.clip(jnp.sum(q > 0, axis=0) - 1, 0, resolution - 2)[None]
    low = jnp.take_along_axis(q, below, axis=0)[0]
    high = jnp.take_along_axis(q, below + 1, axis=0)[0]
    return (below[0] + low / (low - high)) / (resolution - 1)


@partial(jax.jit, static_argnums=(2, 3))
def simulate_index_policy(key: jax.Array, indices: jax.Array, num_arms: int, num_bandits: int) -> tuple:
    """Simulates an index policy on random bandits: each pull is on the arm of largest index (the first of equal ones).

    Args:
      key: PRNG key.
      indices: ``[n, n (n + 1) / 2]`` as ``gittins_indices`` returns.
      num_arms: ``k``, static.
      num_bandits: ``B``, static.

    Returns:
      ``(by_pull [n], value [], standard error [])``: the mean over bandits of each pull's success probability, the
      mean of its sum over pulls, and that mean's standard error; the best arm's probability is the control variate.
    """
    key_arms, key_pulls = jax.random.split(key)
    probability = jax.random.uniform(key_arms, (num_bandits, num_arms))
    best, rows = jnp.max(probability, axis=1), jnp.arange(num_bandits)

    def pull(carry, inputs):
        pulls, successes, total = carry
        index, key = inputs
        arm = jnp.argmax(index[pulls * (pulls + 1) // 2 + successes], axis=1)
        chance = probability[rows, arm]
        success = jax.random.uniform(key, (num_bandits,)) < chance
        carry = pulls.at[rows, arm].add(1), successes.at[rows, arm].add(success.astype(jnp.int32)), total + chance
        return carry, _controlled_mean(chance, best, num_arms)[0]

    none = jnp.zeros((num_bandits, num_arms), jnp.int32)
    keys = jax.random.split(key_pulls, indices.shape[0])
    (_, _, totals), by_pull = jax.lax.scan(pull, (none, none, jnp.zeros(num_bandits)), (indices[::-1], keys))
    return by_pull, *_controlled_mean(totals, best, num_arms)


def _controlled_mean(sample: jax.Array, best: jax.Array, num_arms: int) -> tuple[jax.Array, jax.Array]:
    """Mean of ``sample [B]`` and its standard error, the best arm being the control variate (mean ``k / (k + 1)``)."""
    spread = best - num_arms / (num_arms + 1)
    centred = sample - jnp.mean(sample)
    slope = jnp.mean(centred * spread) / jnp.mean(spread**2)
    left = sample - slope * spread
    return jnp.mean(left), jnp.std(left) / jnp.sqrt(1.0 * sample.shape[0])


def gittins_value(
    num_arms: int, num_pulls: int, num_bandits: int = 20_000, seed: int = 0, indices: jax.Array | None = None
) -> tuple[float, float, np.ndarray]:
    """Simulated mean total reward of the finite-horizon Gittins policy.

    Args:
      num_arms: ``k``.
      num_pulls: ``n``.
      num_bandits: ``B``, simulated.
      seed: of the simulation.
      indices: ``[n, n (n + 1) / 2]`` as ``gittins_indices`` returns (a minute or so for 500 pulls); computed if None.

    Returns:
      ``(value, standard error, by_pull [n])``: the mean total reward of a trial and the mean reward of each pull.
    """
    indices = gittins_indices(num_pulls) if indices is None else indices
    by_pull, value, error = simulate_index_policy(jax.random.key(seed), indices, num_arms, num_bandits)
    return float(value), float(error), np.asarray(by_pull)


@cache
def bernoulli_reference(num_arms: int, num_pulls: int) -> BanditReference:
    """The Bayes-optimal expected total reward of a Bernoulli bandit with uniform prior, or a near-exact lower bound.

    Exact for one arm, for two arms up to 200 pulls and for any number of arms up to 12 pulls (more arms than pulls
    are of no use: ``min(k, n)`` are enough); otherwise the finite-horizon Gittins policy.

    Args:
      num_arms: ``k``.
      num_pulls: ``n``.

    Returns:
      BanditReference.

    Raises:
      ConfigError: if ``num_arms`` or ``num_pulls`` is below 1.
    """
    check(num_arms >= 1, "num_arms", num_arms, "give at least 1")
    check(num_pulls >= 1, "num_pulls", num_pulls, "give at least 1")
    if num_arms == 1:
        return BanditReference(num_pulls / 2, "exact", 0.0, np.full(num_pulls, 0.5), "one arm")
    stored = json.loads(STORED.read_text()).get(f"{num_arms},{num_pulls}") if STORED.exists() else None
    value, error, by_pull = stored or gittins_value(num_arms, num_pulls)
    if num_arms == 2 and num_pulls <= EXACT_TWO_ARMED_PULLS:
        value, error, kind, note = two_armed_value(num_pulls), 0.0, "exact", "dynamic program over posteriors"
    elif num_pulls <= EXACT_PULLS:
        value, error, kind = many_armed_value(min(num_arms, num_pulls), num_pulls), 0.0, "exact"
        note = "dynamic program over multisets of posteriors"
    else:
        kind, note = "lower", f"finite-horizon Gittins policy, simulated, standard error {error:.3f}"
    return BanditReference(value, kind, error, np.asarray(by_pull), note)


def _store_values(num_bandits: int = 20_000) -> None:
    """Recomputes the stored values, those of RL^2's table, in some minutes.

    ``python -c "from metarl_jax.planning import bandits; bandits._store_values()"``
    """
    stored = {}
    for num_pulls, repeats in ((100, 5), (500, 1)):
        indices = gittins_indices(num_pulls)
        for num_arms in (5, 10, 50):
            runs = [gittins_value(num_arms, num_pulls, num_bandits, seed, indices) for seed in range(repeats)]
            value, by_pull = np.mean([run[0] for run in runs]), np.mean([run[2] for run in runs], axis=0)
            error = np.sqrt(np.sum([run[1] ** 2 for run in runs])) / repeats
            summary = round(float(value), 4), round(float(error), 4), [round(float(x), 4) for x in by_pull]
            stored[f"{num_arms},{num_pulls}"] = summary
            STORED.write_text(json.dumps(stored) + "\n")
