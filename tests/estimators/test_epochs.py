"""Minibatch epochs: plain optax steps, every row exactly once an epoch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metarl_jax.estimators import falling_cost, minibatch_epochs

T, N, F = 4, 6, 3
epochs = functools.partial(jax.jit, static_argnums=(4, 5, 6, 7))(minibatch_epochs)


@pytest.fixture
def batch():
    x, y = np.random.default_rng(0).normal(size=(2, T, N, F)).astype(np.float32)
    return {"x": jnp.asarray(x), "y": jnp.asarray(y.sum(-1))}


def loss(params, batch):
    error = batch["x"] @ params["w"] + params["b"] - batch["y"]
    return jnp.mean(error**2), {"error": jnp.mean(jnp.abs(error))}


PARAMS = {"w": jnp.zeros(F), "b": jnp.float32(0.5)}


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1), optax.adam(0.1)])
def test_one_epoch_of_one_minibatch_is_one_optax_step(batch, optimizer):
    state = optimizer.init(PARAMS)
    params, new_state, metrics = epochs(jax.random.key(0), PARAMS, state, batch, loss, optimizer, 1, 1)
    gradients = jax.jit(jax.grad(lambda p: loss(p, batch)[0]))(PARAMS)
    updates, wanted_state = optimizer.update(gradients, state, PARAMS)
    wanted = optax.apply_updates(PARAMS, updates)
    assert float(jnp.abs(wanted["w"] - PARAMS["w"]).max()) > 1e-3
    for found, right in ((params, wanted), (new_state, wanted_state)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, right)
    np.testing.assert_allclose(metrics["error"], loss(PARAMS, batch)[1]["error"], rtol=1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(gradients), rtol=1e-6)


def test_epochs_are_steps_in_a_row(batch):
    optimizer = optax.adam(0.05)
    params, _, metrics = epochs(jax.random.key(0), PARAMS, optimizer.init(PARAMS), batch, loss, optimizer, 5, 1)
    wanted, state, errors = PARAMS, optimizer.init(PARAMS), []
    gradient = jax.jit(jax.grad(loss, has_aux=True))
    for _ in range(5):
        gradients, aux = gradient(wanted, batch)
        updates, state = optimizer.update(gradients, state, wanted)
        wanted = optax.apply_updates(wanted, updates)
        errors.append(float(aux["error"]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), params, wanted)
    np.testing.assert_allclose(metrics["error"], np.mean(errors), rtol=1e-5)


@pytest.mark.parametrize("num_minibatches", [1, 2, 3, 6])
def test_every_row_is_used_exactly_once_an_epoch(num_minibatches):
    """The gradient says which rows the minibatch holds; the optimiser writes them down."""
    num_epochs = 3
    counts = jnp.broadcast_to(jnp.eye(N), (T, N, N))  # row n is the n-th unit vector

    def counting(params, batch):
        seen = batch["row"][0].sum(0)  # [N]: how often each row is in this minibatch
        aligned = jnp.abs(batch["row"] - batch["row"][:1]).sum()  # all steps of a trial stay together
        return params["count"] @ seen, {"size": seen.sum(), "aligned": aligned}

    def keep(updates, state, params):
        del params
        step, history = state
        return updates, (step + 1, history.at[step].set(updates["count"]))

    recorder = optax.GradientTransformation(
        lambda params: (jnp.int32(0), jnp.zeros((num_epochs * num_minibatches, N))), keep
    )
    params = {"count": jnp.zeros(N)}
    _, (steps, history), metrics = epochs(
        jax.random.key(1),
        params,
        recorder.init(params),
        {"row": counts},
        counting,
        recorder,
        num_epochs,
        num_minibatches,
    )
    assert int(steps) == num_epochs * num_minibatches
    assert float(metrics["size"]) == N / num_minibatches and float(metrics["aligned"]) == 0
    by_epoch = np.asarray(history).reshape(num_epochs, num_minibatches, N)
    np.testing.assert_array_equal(by_epoch.sum(1), np.ones((num_epochs, N)))
    assert set(np.unique(by_epoch)) <= {0.0, 1.0}
    if num_minibatches > 1:  # each epoch is shuffled anew
        assert any((by_epoch[0] != epoch).any() for epoch in by_epoch[1:])


def test_the_key_sets_the_order(batch):
    optimizer = optax.sgd(0.1)
    ends = [
        epochs(jax.random.key(seed), PARAMS, optimizer.init(PARAMS), batch, loss, optimizer, 1, 3)[0]["w"]
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 1e-6


def test_a_loss_with_a_key_gets_another_one_at_each_step(batch):
    seen = lambda params, batch, key: (loss(params, batch)[0], {"noise": jax.random.uniform(key)})
    order, keys = jax.random.key(3), jax.random.key(4)
    run = functools.partial(minibatch_epochs, order, PARAMS, optax.sgd(0.1).init(PARAMS), batch)
    plain = run(loss, optax.sgd(0.1), 2, 3)[0]
    params, _, metrics = run(seen, optax.sgd(0.1), 2, 3, loss_key=keys)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, plain)  # the order is the same
    drawn = np.asarray(jax.vmap(jax.random.uniform)(jax.random.split(keys, 6)))
    assert len(set(drawn.tolist())) == 6
    np.testing.assert_allclose(metrics["noise"], drawn.mean(), rtol=1e-6)


def test_a_cost_falls_to_a_tenth_with_the_steps_that_the_optimiser_counted():
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))
    state, costs = optimizer.init(PARAMS), []
    for _ in range(7):
        costs.append(float(falling_cost(2.0, 4, state)))
        state = optimizer.update(PARAMS, state, PARAMS)[1]
    np.testing.assert_allclose(costs, [2.0, 1.55, 1.1, 0.65, 0.2, 0.2, 0.2], rtol=1e-6)
    assert falling_cost(2.0, 0, state) == 2.0
