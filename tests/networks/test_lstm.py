"""The LSTM against flax's, and its hand-written gradient against autodiff's of a plain loop, in both directions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.networks.lstm import LSTM, lstm_sequence

T, N, H = 6, 3, 5


@pytest.fixture(scope="module")
def inputs():
    normal = np.random.default_rng(0).normal
    projections = tuple(jnp.asarray(np.float32(normal(size=(4, T, N, H)))))
    kernels = tuple(jnp.asarray(np.float32(0.6 * normal(size=(4, H, H)))))
    resets = np.zeros((T, N), bool)
    resets[0, 0] = resets[3, 1] = resets[2, 2] = resets[5, 2] = True
    return projections, jnp.asarray(resets), kernels


def plain(projections, resets, kernels, reverse, start=None):
    """The textbook loop, a step at a time."""
    h, c = (jnp.zeros((N, H)),) * 2 if start is None else start
    states = [h] * T
    for t in reversed(range(T)) if reverse else range(T):
        h, c = (x * (1.0 - resets[t][:, None]) for x in (h, c))
        i, f, g, o = (x[t] + h @ kernel for x, kernel in zip(projections, kernels, strict=True))
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        states[t] = h
    return jnp.stack(states)


def close(found, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), found, wanted)


@pytest.mark.parametrize("reverse", [False, True])
def test_sequence_and_its_gradient_are_those_of_the_plain_loop(inputs, reverse):
    projections, resets, kernels = inputs
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(T, N, H)), jnp.float32)

    def value(function):
        return jax.jit(
            jax.value_and_grad(lambda p, k: (weights * function(p, resets, k, reverse)).sum(), argnums=(0, 1))
        )(projections, kernels)

    close(jax.jit(lstm_sequence, static_argnums=3)(*inputs, reverse), plain(*inputs, reverse))
    close(value(lstm_sequence), value(plain))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_start_and_its_gradient_are_those_of_the_plain_loop(inputs, reverse):
    projections, resets, kernels = inputs
    start = tuple(jnp.asarray(np.random.default_rng(3).normal(size=(2, N, H)), jnp.float32))

    def value(function):
        loss = lambda p, k, start: (function(p, resets, k, reverse, start) ** 2).sum()
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(projections, kernels, start)

    found = value(lstm_sequence)
    close(found, value(plain))
    assert all(float(jnp.abs(leaf).max()) > 1e-2 for leaf in jax.tree.leaves(found))
    anew = 2 if reverse else 0  # trial 2 begins anew at the last step, trial 0 at the first
    assert not any(d[anew].any() for d in found[1][2])


def test_layer_is_flax_s_cell():
    module, cell = LSTM(H), nn.OptimizedLSTMCell(H)
    normal = np.random.default_rng(4).normal
    x, h, c = (jnp.asarray(normal(size=shape), jnp.float32) for shape in ((T, N, 4), (N, H), (N, H)))
    init = lambda: module.init(jax.random.key(2), (h, c), x[0], jnp.zeros(N, bool), method="step")
    params = jax.tree.map(
        lambda s: jnp.asarray(0.6 * normal(size=s.shape), jnp.float32), jax.eval_shape(init)["params"]
    )
    theirs = {f"i{g}": {"kernel": params[f"input_{g}"]["kernel"]} for g in "ifgo"}
    theirs |= {f"h{g}": {"kernel": params[f"recurrent_{g}"], "bias": params[f"input_{g}"]["bias"]} for g in "ifgo"}
    resets = jnp.zeros((T, N), bool)
    found = module.apply({"params": params}, (h, c), x, resets, method="unroll")
    ours = carry = (h, c)
    for t in range(T):
        ours, out = module.apply({"params": params}, ours, x[t], resets[t], method="step")
        (c, h), wanted = cell.apply({"params": theirs}, (carry[1], carry[0]), x[t])
        carry = (h, c)
        close((ours, out, found[t]), (carry, wanted, wanted))


def test_it_is_flax_s_cell(inputs):
    cell = nn.OptimizedLSTMCell(H)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(T, N, 4)), jnp.float32)
    carry = cell.initialize_carry(jax.random.key(0), x.shape[1:])
    params = cell.init(jax.random.key(1), carry, x[0])["params"]
    states = []
    for t in range(T):
        carry, y = cell.apply({"params": params}, carry, x[t])
        states.append(y)
    bias = lambda g: params[f"h{g}"]["bias"].reshape(1, 1, -1)
    projections = tuple(x @ params[f"i{g}"]["kernel"] + bias(g) for g in "ifgo")
    kernels = tuple(params[f"h{g}"]["kernel"] for g in "ifgo")
    close(lstm_sequence(projections, jnp.zeros((T, N), bool), kernels), jnp.stack(states))
