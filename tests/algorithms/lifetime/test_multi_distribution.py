"""What is meta-learned in several task distributions at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.sharing import programs_once

import metarl_jax as mrl
from metarl_jax.algorithms.lifetime.multi_distribution import ExtraDistribution, multi_distribution
from metarl_jax.runtime.sharding import task_mesh
from metarl_jax.training.build import build_program
from metarl_jax.training.experiment import resolve

SMALL = dict(memory_size=4, predictions=3, window=2)
LPG = mrl.algorithms.lpg(episodes=2, steps=5, life=4, **SMALL)
# Meta-learned where what is compiled must be small.
PLAIN = functools.partial(
    mrl.algorithms.self_tuning,
    life=4,
    window=2,
    encoder=(),
    optimizer="sgd",
    gradient="pes",
    sigma=1.0,
    outer_critic=False,
)
HOME = PLAIN(episodes=2, steps=5)
MDPS = functools.partial(mrl.tasks.tabular, num_states=4, num_actions=3, horizon=10, num_episodes=4)
ALSO = [(PLAIN(episodes=4), mrl.tasks.tabular(num_states=3, horizon=4))]
train = functools.partial(mrl.train, HOME, MDPS(), also=ALSO, num_tasks=4, quiet=True)


def same(one, other) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_the_meta_gradient_is_the_mean_of_all():
    tasks, pairs, placed = MDPS(), [*ALSO, (ALSO[0][0], mrl.tasks.tabular(num_states=2, horizon=4))], []
    home, guests = HOME.build(tasks), [recipe.build(others) for recipe, others in pairs]
    others = [ExtraDistribution(name, guest, pair[1]) for name, guest, pair in zip("ab", guests, pairs, strict=True)]
    together = multi_distribution(home, others, lambda batch: placed.append(batch) or batch)
    key = jax.random.key(0)
    state = together.init(key, 3)
    assert same(state.meta, home.init(key, 3).meta)
    assert together.steps == sum(part.steps for part in (home, *guests)) == 2 * (2 * 2 * 5 + 2 * (2 * 4 * 4))  # pairs
    batch = jax.vmap(tasks.sample)(jax.random.split(key, 3))
    estimate = jax.jit(together.portable.estimator.estimate)

    @jax.jit
    def apart(key, meta, kept):
        keys = jax.random.split(key, 3)
        found = [home.portable.estimator.estimate(keys[0], meta, kept[0], batch)]
        for j, other in enumerate(others, start=1):
            draw, live = jax.random.split(keys[j])
            drawn = jax.vmap(other.tasks.sample)(jax.random.split(draw, 3))
            assert placed[j - 1].transition.shape == drawn.transition.shape
            found.append(other.algorithm.portable.estimator.estimate(live, meta, kept[j], drawn))
        return found

    moved = []
    for i in range(6):  # a pair whose agents act alike tells nothing
        gradient, kept, outcome = estimate(jax.random.key(i), state.meta, state.kept, batch)
        found = apart(jax.random.key(i), state.meta, state.kept)
        moved.append([float(optax.tree.norm(one)) > 1e-5 for one, _, _ in found])
        mean = jax.tree.map(lambda *leaves: sum(leaves) / 3, *(one for one, _, _ in found))
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7), gradient, mean)
        for prefix, mine, (_, its, told) in zip(("", "a_", "b_"), kept, found, strict=True):
            np.testing.assert_allclose(mine.lives.earned, its.lives.earned, rtol=1e-4, atol=1e-5)
            assert told.metrics
            for name, value in told.metrics.items():
                np.testing.assert_allclose(outcome.metrics[prefix + name], value, rtol=1e-4, atol=1e-6)
        state = state._replace(kept=kept)
    assert len(placed) == 2 and np.any(moved, axis=0).all()


def test_a_run_goes_on_where_it_stopped_and_is_loaded(tmp_path):
    with programs_once():  # what is resumed is built anew
        whole = train(num_updates=3)
        train(num_updates=1, out=tmp_path / "run")
    resumed = train(num_updates=3, out=tmp_path / "run")
    assert same(whole.state, resumed.state) and same(dict(whole.metrics), dict(resumed.metrics))
    loaded = mrl.load(tmp_path / "run")
    assert same(loaded.state, whole.state) and loaded.algorithm.steps == whole.algorithm.steps
    other = [(ALSO[0][0], mrl.tasks.tabular(num_states=3, horizon=5))]
    for also, words in ((other, r"also\.0\.tasks\.options\.horizon: 4 there, 5 asked"), ((), "also")):
        with pytest.raises(mrl.ConfigError, match=words):
            mrl.train(HOME, MDPS(), also=also, num_tasks=4, num_updates=3, quiet=True, out=tmp_path / "run")
    with pytest.raises(mrl.ConfigError, match="all of the run's, 1 pairs"):
        mrl.load(tmp_path / "run", also=[*ALSO, *ALSO])
    report = mrl.evaluate(loaded, num_tasks=2, quiet=True)
    assert np.isfinite(report.mean)


def test_tasks_of_ones_own_are_given_again(tmp_path):
    own = [(ALSO[0][0], ALSO[0][1]._replace(recipe=None))]
    train(also=own, num_updates=1, out=tmp_path)
    with pytest.raises(mrl.ConfigError, match=r"load\(path, also=...\)"):
        mrl.load(tmp_path)
    assert mrl.load(tmp_path, also=own).num_updates == 1


def test_tasks_elsewhere_are_spread_over_devices():
    setting = resolve(HOME, MDPS(), "uniform", ALSO)
    seeds = jnp.arange(1)
    found = []
    for mesh in (None, task_mesh()):
        driver = build_program(setting, 4, mesh).driver
        learner, *_ = driver.advance(seeds, driver.init(seeds), 0, 2)
        found.append(jax.tree.map(np.asarray, learner.algorithm.meta))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), *found)


@pytest.mark.parametrize(
    ("algorithm", "also", "words"),
    [
        (LPG, ["lpg"], "list of pairs"),
        (LPG, "lpg", "list of pairs"),
        (LPG, [("lpg", "nowhere")], r"also\[0\]: unknown task distribution"),
        (LPG, [(LPG, "tabular"), ("lgp", "tabular")], r"also\[1\]: unknown algorithm"),
        (LPG, [(mrl.algorithms.lpg(life=1), "tabular")], "also='tabular': life=1"),
        (LPG, [("rl2", "tabular")], "also='tabular'.*spaces of its own"),
        ("rl2", [(LPG, "tabular")], "the algorithm.*spaces of its own"),
        (LPG, [(mrl.algorithms.lpg(memory_size=5, predictions=3), "tabular")], "other weights"),
        (LPG, [("self-tuning", "tabular")], "algorithm='self-tuning' must be 'lpg'"),
        (LPG, [(mrl.algorithms.lpg(**SMALL, lifetime=True), "tabular")], "lifetime=True must be False"),
        (LPG, [(mrl.algorithms.lpg(**SMALL, gradient="pes"), "tabular")], "gradient='pes' must be 'backprop'"),
    ],
)
def test_what_cannot_be_joined_is_told_before_anything_compiles(algorithm, also, words):
    with pytest.raises(mrl.ConfigError, match=words):
        mrl.train(algorithm, MDPS(), also=also, num_tasks=4, num_updates=1, quiet=True)


def test_steps_of_strategies_are_not_averaged():
    pytest.importorskip("evosax")
    own = mrl.algorithms.lpg(memory_size=4, predictions=3, life=4, window=4, gradient="snes")
    with pytest.raises(mrl.ConfigError, match="gradient='snes': takes steps of its own"):
        mrl.train(own, MDPS(), also=[(own, "tabular")], num_tasks=4, num_updates=1, quiet=True)


@pytest.mark.parametrize(("name", "options"), [("lpg", SMALL), ("learned-optimizer", {})])
def test_whatever_is_portable_is_learned_in_several(name, options):
    made = mrl.algorithms.REGISTRY[name](life=4, episodes=2, **options)
    home, others = mrl.tasks.tabular(num_states=3, num_episodes=8, horizon=3), mrl.tasks.bandit(num_pulls=2)
    together = multi_distribution(made.build(home), [ExtraDistribution("bandit", made.build(others), others)])
    state = together.init(jax.random.key(0), 2)
    batch = jax.vmap(home.sample)(jax.random.split(jax.random.key(1), 2))
    update = jax.jit(together.update)
    for i in range(4):
        before, (state, outcome) = state, update(jax.random.key(i), state, batch)
    ages = [kept.lives.age for kept in state.kept]
    assert all((age > 0).all() for age in ages)
    assert not same(state.meta, before.meta) and int(outcome.metrics["skipped"]) == 0
    assert np.isfinite([float(x) for x in outcome.metrics.values()]).all()
