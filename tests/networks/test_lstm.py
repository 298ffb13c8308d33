"""The LSTM against flax's, and its hand-written gradient against autodiff's of a plain loop, in both directions."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.networks.lstm import lstm_sequence

T, N, H = 6, 3, 5


@pytest.fixture(scope="module")
def inputs():
    normal = np.random.default_rng(0).normal
    projections = tuple(jnp.asarray(np.float32(normal(size=(4, T, N, H)))))
    kernels = tuple(jnp.asarray(np.float32(0.6 * normal(size=(4, H, H)))))
    resets = np.zeros((T, N), bool)
    resets[0, 0] = resets[3, 1] = resets[2, 2] = resets[5, 2] = True
    return projections, jnp.asarray(resets), kernels


def plain(projections, resets, kernels, reverse):
    """The textbook loop, a step at a time."""
    h = c = jnp.zeros((N, H))
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
