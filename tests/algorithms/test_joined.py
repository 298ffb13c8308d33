"""What is meta-learned in several task distributions at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl_jax as mrl
from metarl_jax.algorithms._joined import Elsewhere, joined
from metarl_jax.program import program_of
from metarl_jax.setting import resolve
from metarl_jax.sharding import task_mesh

SMALL = dict(memory_size=4, predictions=3, window=2)
HOME = mrl.algorithms.lpg(episodes=2, steps=5, life=4, **SMALL)
GRIDS = functools.partial(mrl.tasks.grids, kind="random", size=4, horizon=10, num_episodes=4)
ALSO = [(mrl.algorithms.lpg(episodes=4, life=4, **SMALL), mrl.tasks.tabular(num_states=3, horizon=4))]
train = functools.partial(mrl.train, HOME, GRIDS(), also=ALSO, num_tasks=4, quiet=True)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_the_meta_gradient_is_the_mean_of_all():
    tasks, (recipe, others) = GRIDS(), ALSO[0]
    home, guest = HOME.build(tasks), recipe.build(others)
    together = joined(home, [Elsewhere("tabular", guest, others)])
    key = jax.random.key(0)
    state = together.init(key, 3)
    assert same(state.meta, home.init(key, 3).meta)
    assert together.steps == home.steps + guest.steps == 2 * 2 * 5 + 2 * 4 * 4
    batch = jax.vmap(tasks.sample)(jax.random.split(key, 3))
    estimate = jax.jit(together.portable.estimator.estimate)
    for i in range(2):  # in a life's first window nothing has been learned yet by some
        key = jax.random.key(i)
        gradient, kept, outcome = estimate(key, state.meta, state.kept, batch)
        first, kept_home, told = home.portable.estimator.estimate(key, state.meta, state.kept[0], batch)
        keys = jax.random.split(jax.random.fold_in(key, 0))
        drawn = jax.vmap(others.sample)(jax.random.split(keys[0], 3))
        second, kept_guest, told_guest = guest.portable.estimator.estimate(keys[1], state.meta, state.kept[1], drawn)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7), gradient, mean)
        assert float(optax.tree.norm(second)) > 1e-5
        np.testing.assert_allclose(outcome.metrics["step_reward"], told.metrics["step_reward"], rtol=1e-5)
        np.testing.assert_allclose(outcome.metrics["tabular_entropy"], told_guest.metrics["entropy"], rtol=1e-5)
        for mine, its in zip(kept, (kept_home, kept_guest), strict=True):
            np.testing.assert_allclose(mine.lives.earned, its.lives.earned, rtol=1e-4, atol=1e-5)
        state = state._replace(kept=kept)


def test_a_run_goes_on_where_it_stopped_and_is_loaded(tmp_path):
    whole = train(num_updates=3)
    train(num_updates=1, out=tmp_path / "run")
    resumed = train(num_updates=3, out=tmp_path / "run")
    assert same(whole.state, resumed.state) and same(dict(whole.metrics), dict(resumed.metrics))
    loaded = mrl.load(tmp_path / "run")
    assert same(loaded.state, whole.state) and loaded.algorithm.steps == whole.algorithm.steps
    with pytest.raises(mrl.ConfigError, match="also"):
        mrl.train(HOME, GRIDS(), num_tasks=4, num_updates=3, quiet=True, out=tmp_path / "run")
    report = mrl.evaluate(loaded, num_tasks=2, quiet=True)
    assert np.isfinite(report.mean)


def test_tasks_elsewhere_are_spread_over_devices():
    setting = resolve(HOME, GRIDS(), "uniform", ALSO)
    seeds = jnp.arange(1)
    found = []
    for mesh in (None, task_mesh()):
        driver = program_of(setting, 4, mesh).driver
        learner, *_ = driver.advance(seeds, driver.init(seeds), 0, 2)
        found.append(jax.tree.map(np.asarray, learner.algorithm.meta))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), *found)


@pytest.mark.parametrize(
    ("algorithm", "also", "words"),
    [
        (HOME, ["lpg"], "give pairs"),
        (HOME, "lpg", "give pairs"),
        (HOME, [("lpg", "nowhere")], "unknown task distribution"),
        (HOME, [("lgp", "tabular")], "unknown algorithm"),
        (HOME, [("rl2", "tabular")], "also='tabular'.*alone"),
        ("rl2", [(HOME, "tabular")], "also='tabular'.*alone"),
        (HOME, [(mrl.algorithms.lpg(memory_size=5, predictions=3), "tabular")], "other weights"),
        (HOME, [("self-tuning", "tabular")], "other weights"),
    ],
)
def test_what_cannot_be_joined_is_told_before_anything_compiles(algorithm, also, words):
    with pytest.raises(mrl.ConfigError, match=words):
        mrl.train(algorithm, GRIDS(), also=also, num_tasks=4, num_updates=1, quiet=True)


@pytest.mark.parametrize("name", ["self-tuning", "learned-optimizer"])
def test_whatever_is_portable_is_learned_in_several(name):
    made = mrl.algorithms.REGISTRY[name](life=4, episodes=2)
    home, others = mrl.tasks.tabular(num_states=3, num_episodes=8, horizon=3), mrl.tasks.bandit(num_pulls=2)
    together = joined(made.build(home), [Elsewhere("bandit", made.build(others), others)])
    state = together.init(jax.random.key(0), 2)
    batch = jax.vmap(home.sample)(jax.random.split(jax.random.key(1), 2))
    update = jax.jit(together.update)
    for i in range(4):
        before, (state, outcome) = state, update(jax.random.key(i), state, batch)
    ages = [kept.lives.age for kept in state.kept]
    assert all((age > 0).all() for age in ages)
    assert not same(state.meta, before.meta) and int(outcome.metrics["skipped"]) == 0
    assert np.isfinite([float(x) for x in outcome.metrics.values()]).all()
