"""The fitted baseline against numpy's linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.estimators import linear_baseline, time_in_episode
from metarl_jax.estimators.baselines import solve_positive


def test_solves_positive_systems_also_in_batches():
    generator = np.random.default_rng(0)
    factor = generator.normal(size=(5, 12, 8)).astype(np.float32)
    matrix = np.einsum("nif,nig->nfg", factor, factor) + 0.1 * np.eye(8, dtype=np.float32)
    vector = generator.normal(size=(5, 8)).astype(np.float32)
    found = jax.jit(jax.vmap(solve_positive))(matrix, vector)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, vector[..., None])[..., 0], rtol=1e-3, atol=1e-4)


def test_time_starts_anew_with_each_episode():
    start = jnp.array([[1, 1], [0, 0], [1, 0], [0, 0], [0, 1]], bool)
    np.testing.assert_array_equal(time_in_episode(start), [[0, 0], [1, 1], [0, 2], [1, 3], [2, 0]])
    before = jnp.array([7, 3])
    later = start.at[0].set(False)
    np.testing.assert_array_equal(time_in_episode(later, before), [[7, 3], [8, 4], [0, 5], [1, 6], [2, 0]])


def test_what_is_linear_in_the_features_is_fitted():
    generator = np.random.default_rng(0)
    observation = generator.normal(size=(40, 6, 2)).astype(np.float32)
    time = np.broadcast_to(np.arange(40)[:, None], (40, 6))
    returns = 3.0 + observation[..., 0] - 2 * observation[..., 1] ** 2 + 5 * (time / 100) ** 2
    found = linear_baseline(jnp.asarray(observation), jnp.asarray(time), jnp.asarray(returns, jnp.float32), ridge=1e-6)
    np.testing.assert_allclose(found, returns, atol=0.05)


def test_it_is_the_ridge_regression_of_the_batch():
    generator = np.random.default_rng(1)
    observation, returns = generator.normal(size=(10, 3, 2)), generator.normal(size=(10, 3))
    time = np.broadcast_to(np.arange(10)[:, None], (10, 3))
    hundreds = time[..., None] / 100
    parts = [observation, observation**2, hundreds, hundreds**2, hundreds**3, np.ones((10, 3, 1))]
    features = np.concatenate(parts, axis=-1).reshape(30, -1)
    features /= np.sqrt((features**2).mean(axis=0))
    gram = features.T @ features / 30 + 0.1 * np.eye(features.shape[1])
    wanted = features @ np.linalg.solve(gram, features.T @ returns.ravel() / 30)
    given = (jnp.asarray(observation, jnp.float32), jnp.asarray(time), jnp.asarray(returns, jnp.float32))
    np.testing.assert_allclose(linear_baseline(*given, ridge=0.1).ravel(), wanted, rtol=1e-3, atol=1e-4)
