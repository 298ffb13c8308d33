"""What every memory promises: its two faces agree, nothing comes from later or from another trial."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.networks import MEMORIES, actor_critic, num_parameters, transformer
from metarl_jax.records import ConfigError, Spec

T, N, H, F, WINDOW = 11, 3, 8, 4, 5  # trials longer than the transformer's window
RECURRENT = [name for name in MEMORIES if name != "none"]


class Case(NamedTuple):
    module: Any
    params: Any
    h: Any  # not empty: after seven steps, in which trial 1 began anew
    x: jax.Array
    resets: jax.Array

    def unroll(self, params, h, x, resets):
        return self.module.apply({"params": params}, h, x, resets, method="unroll")

    def step(self, params, h, x, reset):
        return self.module.apply({"params": params}, h, x, reset, method="step")

    def scanned(self, params, h, x, resets):
        return jax.lax.scan(lambda h, at: self.step(params, h, *at), h, (x, resets))[1]


@functools.cache
def case(name: str) -> Case:
    module = MEMORIES[name].module(H, WINDOW)
    x = jax.random.normal(jax.random.key(1), (T + 7, N, F if name != "none" else H))
    empty = MEMORIES[name].carry(H, (N,), WINDOW)
    init = functools.partial(module.init, method="step")
    params = jax.jit(init)(jax.random.key(2), empty, x[0], jnp.zeros(N, bool)).get("params", {})
    # Away from what is zero or small at first, or nothing of it would be tested.
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(3), len(leaves)) if leaves else []
    leaves = [p + 0.3 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    made = Case(module, jax.tree.unflatten(structure, leaves), empty, x, jnp.zeros((T, N), bool))
    before = jnp.zeros((7, N), bool).at[5, 1].set(True)
    step = jax.jit(made.step)
    h = empty
    for t in range(7):
        h, _ = step(made.params, h, x[t], before[t])
    resets = jnp.zeros((T, N), bool).at[0, 0].set(True).at[3, 1].set(True).at[2, 2].set(True).at[9, 2].set(True)
    return made._replace(h=h, x=x[7:], resets=resets)


def close(found, wanted, tolerance=2e-5):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, wanted)


@pytest.fixture(params=MEMORIES)
def each(request) -> Case:
    return case(request.param)


@pytest.fixture(params=RECURRENT)
def recurrent(request) -> Case:
    return case(request.param)


def test_unroll_equals_step_scanned(each):
    arguments = (each.params, each.h, each.x, each.resets)
    found = jax.jit(each.unroll)(*arguments)
    assert found.shape == (T, N, H) and float(found.std()) > 0.1
    close(found, jax.jit(each.scanned)(*arguments))


@pytest.mark.parametrize("size", [4, 1])
def test_blocks_of_queries_change_nothing(size, monkeypatch):
    """Blocks smaller than the window and the sequence."""
    made = case("transformer")
    arguments = (made.params, made.h, made.x, made.resets)
    found = jax.jit(made.unroll)(*arguments)
    monkeypatch.setattr(transformer, "QUERIES", size)
    close(jax.jit(lambda *rest: made.unroll(*rest))(*arguments), found)


def test_gradient_equals_autodiff_of_the_scanned_step(recurrent):
    weights = jax.random.normal(jax.random.key(9), (T, N, H))

    def loss(unroll, differentiable, resets):
        states = unroll(*differentiable, resets)
        return jnp.sum(weights * states + 0.5 * states**2)

    gradient = jax.grad(loss, argnums=1, allow_int=True)
    arguments = ((recurrent.params, recurrent.h, recurrent.x), recurrent.resets)
    found, wanted = (
        [x for x in jax.tree.leaves(jax.jit(gradient, static_argnums=0)(f, *arguments)) if x.dtype == jnp.float32]
        for f in (recurrent.unroll, recurrent.scanned)
    )
    assert all(float(jnp.abs(leaf).max()) > 1e-3 for leaf in wanted)
    scale = max(float(jnp.abs(leaf).max()) for leaf in wanted)
    close([x / scale for x in found], [x / scale for x in wanted])


def test_without_memory_all_begin_a_trial(each):
    empty = jax.tree.map(jnp.zeros_like, each.h)
    unroll = jax.jit(each.unroll)
    close(unroll(each.params, None, each.x, each.resets), unroll(each.params, empty, each.x, each.resets))


def test_nothing_depends_on_what_is_later(each):
    unroll = jax.jit(each.unroll)
    first = unroll(each.params, each.h, each.x, each.resets)
    second = unroll(each.params, each.h, each.x.at[4:].add(3.0), each.resets.at[6:].set(True))
    np.testing.assert_array_equal(first[:4], second[:4])
    assert float(jnp.abs(first[4:] - second[4:]).max(axis=-1).min()) > 1e-4


def test_a_reset_cuts_all_that_came_before(recurrent):
    unroll = jax.jit(recurrent.unroll)
    found = unroll(recurrent.params, recurrent.h, recurrent.x, recurrent.resets)
    alone = unroll(recurrent.params, None, recurrent.x[3:], recurrent.resets[3:])
    close(found[3:, 1], alone[:, 1])  # trial 1 began at step 3
    other = jax.tree.map(lambda h: h + 1, recurrent.h)
    moved = unroll(recurrent.params, other, recurrent.x.at[:3].add(2.0), recurrent.resets)
    np.testing.assert_array_equal(moved[3:, 1], found[3:, 1])
    np.testing.assert_array_equal(moved[3:, 0] == found[3:, 0], False)  # what did not restart does see it
    whole = unroll(recurrent.params, recurrent.h, recurrent.x, jnp.zeros_like(recurrent.resets))
    assert np.abs(whole[3:5, 1] - found[3:5, 1]).max() > 1e-3  # what would have come through

    late = lambda x: unroll(recurrent.params, recurrent.h, x, recurrent.resets)[3:, 1].sum()
    gradient = np.asarray(jax.grad(late)(recurrent.x))
    assert np.abs(gradient[:3]).max() == 0.0 and np.abs(gradient[:, [0, 2]]).max() == 0.0
    assert np.abs(gradient[3:, 1]).max(axis=-1).min() > 0.0


def test_memory_is_used(recurrent):
    """The last output changes with the first input that it may depend on."""
    reach = min(T, WINDOW) if isinstance(recurrent.module, transformer.Transformer) else T
    reach *= getattr(recurrent.module, "num_blocks", 1)  # a block sees what those below it saw
    last = lambda x: recurrent.unroll(recurrent.params, None, x, jnp.zeros_like(recurrent.resets))[-1].sum()
    gradient = np.abs(jax.jit(jax.grad(last))(recurrent.x)).max(axis=(1, 2))
    assert (gradient[max(0, T - reach + 2) :] > 0).all()


def test_any_batch_and_vmap(each):
    unroll, step = jax.jit(each.unroll), jax.jit(each.step)
    found = unroll(each.params, each.h, each.x, each.resets)
    one = jax.tree.map(lambda h: h[1], each.h)
    close(unroll(each.params, one, each.x[:, 1], each.resets[:, 1]), found[:, 1])
    two = jax.tree.map(lambda h: h[None], each.h)
    close(unroll(each.params, two, each.x[:, None], each.resets[:, None])[:, 0], found)
    mapped = jax.jit(jax.vmap(each.unroll, in_axes=(None, 0, 1, 1), out_axes=1))
    close(mapped(each.params, each.h, each.x, each.resets), found)
    after, out = step(each.params, each.h, each.x[0], each.resets[0])
    mapped = jax.jit(jax.vmap(each.step, in_axes=(None, 0, 0, 0)))
    close(mapped(each.params, each.h, each.x[0], each.resets[0]), (after, out))
    after, _ = step(each.params, two, each.x[:1], each.resets[:1])
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, two)


@pytest.mark.parametrize("name", MEMORIES)
def test_carry_has_the_shapes_of_memory(name):
    made = case(name)
    for batch in ((), (N,), (2, N)):
        carry = MEMORIES[name].carry(H, batch, WINDOW)
        jax.tree.map(lambda a, b, batch=batch: np.testing.assert_equal(a.shape, (*batch, *b.shape[1:])), carry, made.h)
        assert not any(leaf.any() for leaf in jax.tree.leaves(carry))


@pytest.mark.parametrize(("size", "inputs"), [(8, 5), (48, 32)])
def test_numbers_of_parameters(size, inputs):
    h, f, p = size, inputs, size // 2
    assert num_parameters("none", f, h) == 0
    assert num_parameters("gru", f, h) == 3 * h * (h + f) + 4 * h
    assert num_parameters("lstm", f, h) == 4 * h * (h + f) + 4 * h
    assert num_parameters("s5", f, h) == h * (f + 1) + 2 * (4 * h * p + h * h + 2 * h + 3 * p)
    assert num_parameters("transformer", f, h) == h * (f + 3) + 2 * (8 * h * h + 7 * h)


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r'memory_size=12: must be a multiple of 8 for memory="transformer"'):
        actor_critic(Spec((2,), 3), "transformer", 12, (), True)
    actor_critic(Spec((2,), 3), "s5", 7, (), True)
    with pytest.raises(ConfigError, match="window=0: must be above 0"):
        actor_critic(Spec((2,), 3), "transformer", 16, (), True)
