"""Generalised advantages against loops and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.estimators import discounted_sums, generalised_advantages

T, N = 9, 3


@pytest.fixture
def record():
    generator = np.random.default_rng(0)
    rewards, values, next_values = generator.normal(size=(3, T, N)).astype(np.float32)
    discounts = generator.uniform(0.5, 1.0, (T, N)).astype(np.float32)
    discounts[4, 1] = 0.0
    return rewards, values, next_values, discounts


def close(found, wanted):
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("trace", [0.0, 0.7, 1.0, "varying"])
def test_equals_the_double_sum(record, trace):
    rewards, values, next_values, discounts = (np.asarray(x, np.float64) for x in record)
    lam = np.random.default_rng(1).uniform(size=(T, N)) if trace == "varying" else np.full((T, N), trace)
    wanted = np.zeros((T, N))
    for n in range(N):
        for t in range(T):
            weight = 1.0
            for k in range(t, T):
                delta = rewards[k, n] + discounts[k, n] * next_values[k, n] - values[k, n]
                wanted[t, n] += weight * delta
                weight *= discounts[k, n] * lam[k, n]
    found = generalised_advantages(*record, jnp.asarray(lam, jnp.float32) if trace == "varying" else trace)
    close(found, wanted)


def test_lambda_0_is_the_td_error(record):
    rewards, values, next_values, discounts = record
    close(generalised_advantages(*record, 0.0), rewards + discounts * next_values - values)


def test_lambda_1_is_returns_minus_values():
    generator = np.random.default_rng(2)
    rewards, values = generator.normal(size=(2, T, N)).astype(np.float32)
    bootstrap = generator.normal(size=(1, N)).astype(np.float32)
    next_values = np.concatenate([values[1:], bootstrap])
    gamma = 0.9
    returns = np.stack(
        [sum(gamma ** (k - t) * rewards[k] for k in range(t, T)) + gamma ** (T - t) * bootstrap[0] for t in range(T)]
    )
    found = generalised_advantages(rewards, values, next_values, np.full((T, N), gamma, np.float32), 1.0)
    close(found, returns - values)


def test_a_discount_of_0_cuts(record):
    rewards, values, next_values, discounts = record
    first = generalised_advantages(*record, 0.95)
    changed = rewards.copy()
    changed[5:, 1] += 100.0  # after the cut at step 4 of column 1
    next_values = next_values.copy()
    next_values[4, 1] += 100.0  # what follows a termination is worth nothing
    second = generalised_advantages(changed, values, next_values, discounts, 0.95)
    np.testing.assert_array_equal(first[:5], second[:5])
    assert (np.abs(first[5:, 1] - second[5:, 1]) > 1).all()
    close(first[4, 1], rewards[4, 1] - values[4, 1])


def test_a_trace_of_0_bootstraps_but_does_not_run_on(record):
    rewards, values, next_values, _ = record
    discounts, trace = np.full((T, N), 0.9, np.float32), np.full((T, N), 0.95, np.float32)
    trace[4] = 0.0
    found = generalised_advantages(rewards, values, next_values, discounts, trace)
    close(found[4], rewards[4] + 0.9 * next_values[4] - values[4])
    later = generalised_advantages(rewards + 10.0 * (np.arange(T) > 4)[:, None], values, next_values, discounts, trace)
    close(later[:5], found[:5])


def test_exact_values_have_no_advantage():
    """On a chain whose values are known the advantages of its only behaviour are zero, whatever lambda."""
    gamma = 0.8
    rewards = np.arange(1.0, 7.0, dtype=np.float32)
    values = np.zeros(7, np.float32)
    for t in reversed(range(6)):
        values[t] = rewards[t] + gamma * values[t + 1]
    for trace in (0.0, 0.5, 1.0):
        found = generalised_advantages(rewards, values[:-1], values[1:], np.full(6, gamma, np.float32), trace)
        np.testing.assert_allclose(found, np.zeros(6), atol=1e-5)


def test_discounted_sums():
    found = discounted_sums(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.1, 9.0]))
    np.testing.assert_allclose(found, [1 + 0.5 * (2 + 0.1 * 3), 2 + 0.1 * 3, 3], rtol=1e-6)


def test_discount_and_trace_get_gradients(record):
    """Nothing inside stops a gradient: meta-gradients go through discounts and lambda."""
    rewards, values, next_values, _ = record

    def total(gamma, lam):
        return generalised_advantages(rewards, values, next_values, jnp.full((T, N), gamma), lam).sum()

    gradients = jax.grad(total, argnums=(0, 1))(0.9, 0.8)
    for i, (low, high) in enumerate([((0.899, 0.8), (0.901, 0.8)), ((0.9, 0.799), (0.9, 0.801))]):
        numeric = (total(*high) - total(*low)) / 0.002
        assert abs(numeric) > 0.1
        np.testing.assert_allclose(gradients[i], numeric, rtol=2e-2)


def test_shapes_must_agree(record):
    rewards, values, next_values, discounts = record
    with pytest.raises(AssertionError):
        generalised_advantages(rewards, values[:-1], next_values, discounts, 0.9)
