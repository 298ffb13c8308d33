"""Strategies of evosax on the closed form of ``test_evolution``: they lead to the best meta-parameters there are."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.walk import KEEP, LIFE, META, TARGET, walker

import metarl_jax as mrl
from metarl_jax.meta_gradients import STRATEGIES, strategy
from metarl_jax.records import Inner

BEST = {"push": TARGET * (1 - KEEP), "start": TARGET}  # there from the start, and staying


def searched(name: str, inner: Inner, updates: int):
    actor, _ = walker()
    estimator = strategy(name, actor, inner, LIFE, members=16, sigma=0.3)
    task, step = jnp.ones(4), jax.jit(estimator.estimate)
    meta = {name: jnp.float32(x) for name, x in META.items()}
    kept = estimator.init(jax.random.key(0), task[0], 4)
    for i in range(updates):
        gradient, kept, outcome = step(jax.random.key(i), meta, kept, task)
        meta = optax.tree.sub(meta, gradient)
    assert step._cache_size() == 1 and outcome.ended.all() and estimator.lives == 16
    return meta, outcome


@pytest.mark.parametrize("name", STRATEGIES)
def test_they_find_the_best(name):
    meta, outcome = searched(name, walker()[1], 120)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02), meta, BEST)
    np.testing.assert_allclose(outcome.metrics["step_reward"], 0.0, atol=0.02)


def test_members_that_are_not_finite_rank_last():
    _, inner = walker()
    broken = lambda key, meta, task: jnp.where(meta["start"] > 1.0, jnp.nan, meta["start"])
    meta, outcome = searched("snes", inner._replace(init=broken), 120)
    assert jnp.isfinite(outcome.metrics["step_reward"]) and 0.7 < meta["start"] < 1.01


@pytest.mark.parametrize("tasks", [mrl.tasks.bandit(num_arms=2, num_pulls=16), mrl.tasks.navigation(horizon=4)])
def test_agents_that_diverge_do_not_end_the_search(tasks):
    """NaN parameters earn finite rewards where actions are discrete, and NaN where they are numbers."""
    wild = dict(optimizer="sgd", learning_rate=1e25, sigma=60.0, episodes=2, life=4, window=4)
    recipe = mrl.algorithms.self_tuning(gradient="snes", tuned=("learning_rate",), **wild)
    run = mrl.train(recipe, tasks, num_updates=3, num_tasks=4, quiet=True)
    assert all(np.isfinite(x).all() for x in run.metrics.values())
    assert run.metrics["learning_rate"][-1, 0] < 1e25


def test_wrong_options_and_a_missing_evosax_are_told(monkeypatch):
    tasks = mrl.tasks.bandit(num_arms=2, num_pulls=64)
    with pytest.raises(mrl.ConfigError, match="window=1: must be 16, a whole life, for gradient='snes'"):
        mrl.algorithms.self_tuning(gradient="snes").build(tasks)
    with pytest.raises(mrl.ConfigError, match=r"decay_updates=3.*its own steps"):
        mrl.algorithms.learned_optimizer(gradient="snes", decay_updates=3).build(tasks)
    with pytest.raises(mrl.ConfigError, match="remat=True"):
        mrl.algorithms.self_tuning(gradient="es", remat=True).build(tasks)
    with pytest.raises(mrl.ConfigError, match="members=2"):
        mrl.algorithms.learned_optimizer(gradient="sep-cma-es", members=2).build(tasks)
    monkeypatch.setitem(sys.modules, "evosax", None)
    with pytest.raises(mrl.ConfigError, match=r"pip install '.\[es\]'"):
        mrl.algorithms.learned_optimizer(gradient="snes").build(tasks)
