"""The GRU against flax's, against a plain scan, and its hand-written gradient against autodiff's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.networks.gru import GRU, gru_gates, gru_sequence

T, N, H, F = 6, 3, 5, 4


@pytest.fixture(scope="module")
def inputs():
    """Projections [T, N, H] of three gates, resets, h0, kernels, bias."""
    normal = np.random.default_rng(0).normal
    projections = tuple(np.float32(normal(size=(3, T, N, H))))
    kernels = tuple(np.float32(0.6 * normal(size=(3, H, H))))
    resets = np.zeros((T, N), bool)
    resets[0, 0] = resets[3, 1] = resets[2, 2] = resets[5, 2] = True
    inputs = projections, resets, np.float32(normal(size=(N, H))), kernels, np.float32(0.3 * normal(size=H))
    return jax.tree.map(jnp.asarray, inputs)


def plain(projections, resets, h0, kernels, bias):
    """The textbook loop: nothing hoisted, nothing by hand."""

    def step(h, inputs):
        (xr, xz, xn), reset = inputs
        h = h * (1.0 - reset[:, None])
        r, z = jax.nn.sigmoid(xr + h @ kernels[0]), jax.nn.sigmoid(xz + h @ kernels[1])
        n = jnp.tanh(xn + r * (h @ kernels[2] + bias[None]))
        h = (1 - z) * n + z * h
        return h, h

    return jax.lax.scan(step, h0, (projections, resets))[1]


def close(found, wanted, tolerance=2e-5):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, wanted)


def test_sequence_equals_the_plain_scan(inputs):
    close(sequence(*inputs), jax.jit(plain)(*inputs))


def test_sequence_equals_steps(inputs):
    projections, resets, h, kernels, bias = inputs
    states = sequence(*inputs)
    for t in range(T):
        h = jnp.where(resets[t][:, None], 0.0, h)
        h, _ = gru_gates(tuple(p[t] for p in projections), h, kernels, bias)
        close(states[t], h)


sequence = jax.jit(gru_sequence)


def scalar(sequence):
    weights = np.random.default_rng(9).normal(size=(T, N, H)).astype(np.float32)

    def loss(differentiable, resets):
        projections, h0, kernels, bias = differentiable
        states = sequence(projections, resets, h0, kernels, bias)
        return jnp.sum(weights * states + 0.5 * states**2)

    return loss


def test_gradient_of_every_input_equals_autodiff(inputs):
    projections, resets, h0, kernels, bias = inputs
    differentiable = (projections, h0, kernels, bias)
    wanted = jax.jit(jax.grad(scalar(plain)))(differentiable, resets)
    assert all(float(jnp.abs(leaf).max()) > 0.05 for leaf in jax.tree.leaves(wanted))
    close(jax.jit(jax.grad(scalar(gru_sequence)))(differentiable, resets), wanted)


def test_second_order_equals_autodiff(inputs):
    """A gradient of a function of a gradient, as in MAML: reverse over reverse."""
    projections, resets, h0, kernels, bias = inputs
    differentiable = (projections, h0, kernels, bias)

    def outer(sequence):
        def adapted(x, resets):
            inner = jax.grad(scalar(sequence))(x, resets)
            return scalar(sequence)(jax.tree.map(lambda a, g: a - 0.1 * g, x, inner), resets)

        return adapted

    wanted = jax.jit(jax.grad(outer(plain)))(differentiable, resets)
    first_order = jax.jit(jax.grad(scalar(plain)))(differentiable, resets)
    assert float(jnp.abs(wanted[1] - first_order[1]).max()) > 0.1
    close(jax.jit(jax.grad(outer(gru_sequence)))(differentiable, resets), wanted, 1e-4)


def test_memory_depends_on_nothing_later(inputs):
    projections, resets, h0, kernels, bias = inputs
    changed = tuple(p.at[4:].add(3.0) for p in projections)
    first, second = sequence(*inputs), sequence(changed, resets.at[4:].set(True), h0, kernels, bias)
    np.testing.assert_array_equal(first[:4], second[:4])
    assert float(jnp.abs(first[4:] - second[4:]).min(axis=-1).max()) > 1e-3


def test_a_reset_cuts_values_and_gradients(inputs):
    projections, resets, h0, kernels, bias = inputs

    def late(projections, h0):
        return gru_sequence(projections, resets, h0, kernels, bias)[3:, 1].sum()  # trial 1 restarts at step 3

    d_projections, d_h0 = jax.jit(jax.grad(late, argnums=(0, 1)))(projections, h0)
    for gradient in d_projections:
        gradient = np.asarray(gradient)
        assert np.abs(gradient[:3]).max() == 0.0
        assert np.abs(gradient[3:, 1]).min() > 0.0
        assert np.abs(gradient[:, [0, 2]]).max() == 0.0  # and no trial sees another
    assert np.abs(d_h0).max() == 0.0
    moved = sequence(tuple(p.at[:3].add(2.0) for p in projections), resets, h0 + 1.0, kernels, bias)
    np.testing.assert_array_equal(moved[3:, 1], sequence(*inputs)[3:, 1])
    unbroken = sequence(projections, jnp.zeros_like(resets), h0 + 1.0, kernels, bias)
    assert np.abs(unbroken[3:, 1] - sequence(*inputs)[3:, 1]).max() > 1e-3  # what would have come through


@pytest.fixture(scope="module")
def layer():
    module, generator = GRU(H), np.random.default_rng(1)
    x = jnp.asarray(generator.normal(size=(T, N, F)), jnp.float32)
    init = lambda: module.init(jax.random.key(2), jnp.zeros((N, H)), x[0], jnp.zeros(N, bool), method="step")
    shapes = jax.eval_shape(init)["params"]
    params = jax.tree.map(lambda s: jnp.asarray(0.6 * generator.normal(size=s.shape), jnp.float32), shapes)
    return module, params, x


def test_layer_equals_flax(layer):
    module, params, x = layer
    cell = nn.GRUCell(H)
    theirs = {f"i{g}": {"kernel": params[f"input_{g}"]["kernel"], "bias": params[f"input_{g}"]["bias"]} for g in "rzn"}
    theirs |= {f"h{g}": {"kernel": params[f"recurrent_{g}"]} for g in "rz"}
    theirs["hn"] = {"kernel": params["recurrent_n"], "bias": params["recurrent_bias"]}
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), jnp.zeros((N, H)), x[0]))["params"]
    assert jax.tree.map(jnp.shape, theirs) == jax.tree.map(lambda s: s.shape, shapes)
    h = jax.random.normal(jax.random.key(4), (N, H))
    found = module.apply({"params": params}, h, x, jnp.zeros((T, N), bool), method="unroll")
    for t in range(T):
        h, _ = cell.apply({"params": theirs}, h, x[t])
        close(found[t], h)


def test_layer_unroll_equals_step(layer, inputs):
    module, params, x = layer
    resets = inputs[1]
    h = jax.random.normal(jax.random.key(4), (N, H))
    found = module.apply({"params": params}, h, x, resets, method="unroll")
    for t in range(T):
        h, out = module.apply({"params": params}, h, x[t], resets[t], method="step")
        close(out, h)
        close(found[t], out)


def test_no_batch_axis_and_two(layer):
    module, params, x = layer
    unroll = lambda h, x, reset: module.apply({"params": params}, h, x, reset, method="unroll")
    found = unroll(jnp.zeros((N, H)), x, jnp.zeros((T, N), bool))
    close(unroll(jnp.zeros(H), x[:, 1], jnp.zeros(T, bool)), found[:, 1])
    two = unroll(jnp.zeros((1, N, H)), x[:, None], jnp.zeros((T, 1, N), bool))
    close(two[:, 0], found)
