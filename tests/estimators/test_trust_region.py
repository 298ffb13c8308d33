"""A trust-region step where its answer is a formula: a linear loss and a quadratic divergence."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from metarl_jax.estimators import trust_region_step
from metarl_jax.estimators.trust_region import conjugate_gradient

GENERATOR = np.random.default_rng(0)
SLOPE = {
    "a": jnp.asarray(GENERATOR.normal(size=3), jnp.float32),
    "b": jnp.asarray(GENERATOR.normal(size=(2, 2)), jnp.float32),
}
FLAT, BACK = jax.flatten_util.ravel_pytree(SLOPE)
FACTOR = GENERATOR.normal(size=(20, 7))
FISHER = jnp.asarray(FACTOR.T @ FACTOR / 20 + 0.3 * np.eye(7), jnp.float32)
START = jax.tree.map(jnp.ones_like, SLOPE)


def flat(tree):
    return jax.flatten_util.ravel_pytree(tree)[0]


def evaluate(params):
    away = flat(params) - flat(START)
    return FLAT @ away, 0.5 * away @ FISHER @ away


def step(evaluate, max_kl=0.02):
    return jax.jit(lambda: trust_region_step(START, evaluate, lambda v: BACK(FISHER @ flat(v)), max_kl, damping=0.0))()


def test_goes_along_the_natural_gradient_to_the_edge_of_the_region():
    new, metrics = step(evaluate)
    moved, natural = flat(new) - flat(START), -np.linalg.solve(FISHER, FLAT)
    cosine = moved @ natural / np.linalg.norm(moved) / np.linalg.norm(natural)
    assert cosine > 0.999
    assert 0.6 * 0.02 < metrics["kl"] <= 0.02 and metrics["backtracks"] <= 1
    np.testing.assert_allclose(metrics["improvement"], -FLAT @ moved, rtol=1e-4)


def test_shrinks_until_the_divergence_fits():
    new, metrics = step(lambda p: (evaluate(p)[0], 4.0 * evaluate(p)[1]))  # more curved than the Fisher matrix says
    assert 2 <= metrics["backtracks"] <= 5 and 0.01 < metrics["kl"] <= 0.02 and metrics["improvement"] > 0
    assert np.abs(flat(new) - flat(START)).max() > 1e-3


def test_stays_where_nothing_helps():
    def deceptive(params):
        loss, kl = evaluate(params)
        return jnp.where((flat(params) == flat(START)).all(), 0.0, 1.0) + loss, kl  # the slope points to worse

    new, metrics = step(deceptive)
    jax.tree.map(np.testing.assert_array_equal, new, START)
    assert metrics["improvement"] == metrics["kl"] == 0


def test_conjugate_gradient_against_krylov_least_squares():
    """After k steps: the point of span(b, A b, ..., A^(k-1) b) that is nearest to the solution in A's norm."""
    product = lambda v: BACK(FISHER @ flat(v))
    b, matrix = np.asarray(FLAT, np.float64), np.asarray(FISHER, np.float64)
    for iterations in (1, 3, 30):
        x, image = conjugate_gradient(product, SLOPE, iterations)
        krylov = np.stack([np.linalg.matrix_power(matrix, i) @ b for i in range(min(iterations, 7))], axis=1)
        krylov, _ = np.linalg.qr(krylov)
        nearest = krylov @ np.linalg.solve(krylov.T @ matrix @ krylov, krylov.T @ b)
        np.testing.assert_allclose(flat(x), nearest, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(flat(image), matrix @ flat(x), rtol=1e-3, atol=1e-4)
    nothing = jax.tree.map(jnp.zeros_like, SLOPE)
    jax.tree.map(np.testing.assert_array_equal, conjugate_gradient(product, nothing, 10)[0], nothing)
