"""The state space layer: two kinds of scan, its hand-written gradient, its first eigenvalues, against plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.networks.s5 import Block, associative, hippo_eigenvalues, num_pairs, recurrence, sequential

T, N, P = 13, 3, 4


@pytest.fixture(scope="module")
def inputs():
    """decay [P], inputs [T, N, P], resets [T, N], start [N, P]; complex numbers as pairs."""
    generator = np.random.default_rng(0)
    pair = lambda *shape: tuple(jnp.asarray(x, jnp.float32) for x in generator.normal(size=(2, *shape)))
    modulus, angle = generator.uniform(0.5, 0.99, P), generator.uniform(0, 3, P)
    decay = jnp.float32(modulus * np.cos(angle)), jnp.float32(modulus * np.sin(angle))
    resets = np.zeros((T, N), bool)
    resets[0, 0] = resets[3, 1] = resets[2, 2] = resets[8, 2] = resets[9, 2] = True
    return decay, pair(T, N, P), jnp.asarray(resets), pair(N, P)


def close(found, wanted, tolerance=2e-5):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, wanted)


def as_complex(pair):
    return np.asarray(pair[0], np.complex128) + 1j * np.asarray(pair[1])


@pytest.mark.parametrize("scan", [sequential, associative, recurrence])
def test_scans_equal_complex_arithmetic(scan, inputs):
    decay, driving, start = (as_complex(inputs[i]) for i in (0, 1, 3))
    state, wanted = start, []
    for t in range(T):
        state = decay * np.where(inputs[2][t][:, None], 0.0, state) + driving[t]
        wanted.append(state)
    found = as_complex(jax.jit(scan)(*inputs))
    np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-5, atol=1e-5)
    one = jax.tree.map(lambda x: x[..., 1, :], (inputs[1], inputs[3]))
    np.testing.assert_allclose(as_complex(scan(inputs[0], one[0], inputs[2][:, 1], one[1])), found[:, 1], atol=1e-5)


@pytest.mark.parametrize("scan", [sequential, associative, recurrence])
def test_reverse(scan, inputs):
    decay, driving, resets, start = inputs
    flipped = jax.tree.map(lambda x: x[::-1], (driving, resets))
    wanted = jax.tree.map(lambda x: x[::-1], sequential(decay, *flipped, start))
    close(jax.jit(lambda *a: scan(*a, True))(*inputs), wanted)


def scalar(scan):
    weights = np.random.default_rng(9).normal(size=(2, T, N, P)).astype(np.float32)

    def loss(differentiable, resets):
        decay, driving, start = differentiable
        real, imaginary = scan(decay, driving, resets, start)
        return jnp.sum(weights[0] * real + weights[1] * imaginary + 0.5 * real * imaginary)

    return loss


@pytest.mark.parametrize("scan", [associative, recurrence])
def test_gradient_of_every_input_equals_autodiff(scan, inputs):
    decay, driving, resets, start = inputs
    wanted = jax.jit(jax.grad(scalar(sequential)))((decay, driving, start), resets)
    assert all(float(jnp.abs(leaf).max()) > 0.05 for leaf in jax.tree.leaves(wanted))
    close(jax.jit(jax.grad(scalar(scan)))((decay, driving, start), resets), wanted)


def test_second_order_equals_autodiff(inputs):
    """A gradient of a function of a gradient, as in MAML: reverse over reverse."""
    decay, driving, resets, start = inputs

    def outer(scan):
        def adapted(x, resets):
            inner = jax.grad(scalar(scan))(x, resets)
            return scalar(scan)(jax.tree.map(lambda a, g: a - 0.01 * g, x, inner), resets)

        return adapted

    wanted, found = (
        jax.jit(jax.grad(outer(scan)))((decay, driving, start), resets) for scan in (sequential, recurrence)
    )
    close(found, wanted, 3e-4)


def test_cpus_scan_step_by_step_and_others_in_parallel(inputs):
    programs = {
        platform: jax.jit(recurrence).trace(*inputs).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    assert {platform: "stablehlo.while" in text for platform, text in programs.items()} == {
        "cpu": True,
        "cuda": False,
        "tpu": False,
    }


def test_hippo_eigenvalues():
    """Of the normal part of HiPPO-LegS, ``A + p p^T`` with ``p = sqrt(n + 1/2)``."""
    order = 16
    n = np.arange(order)
    legs = -np.sqrt(np.outer(2 * n + 1, 2 * n + 1)) * (n[:, None] > n) - np.diag(n + 1.0)
    p = np.sqrt(n + 0.5)
    wanted = np.linalg.eigvals(legs + np.outer(p, p))
    np.testing.assert_allclose(wanted.real, -0.5, atol=1e-8)
    found = hippo_eigenvalues(order)
    np.testing.assert_allclose(found, np.sort(wanted.imag)[order // 2 :], rtol=1e-6)
    assert (found > 0).all()


def test_states_start_stable_and_of_unit_variance():
    size, block = 64, Block(64)
    assert (num_pairs(64), num_pairs(7)) == (32, 4)
    x = jax.random.normal(jax.random.key(1), (8000, size))
    state = (jnp.zeros(num_pairs(size)),) * 2
    params = jax.jit(lambda key: block.init(key, state, x[0], jnp.bool_(True), method="step"))(jax.random.key(0))
    _, driving, decay = jax.jit(lambda x: block.apply(params, x, method="project"))(x)
    assert np.abs(as_complex(decay)).max() < 1.0
    states = as_complex(jax.jit(recurrence)(decay, driving, jnp.zeros(8000, bool), state))
    assert 0.8 < float((np.abs(states[4000:]) ** 2).mean()) < 1.2
