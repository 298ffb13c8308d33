"""Numbers that stop being finite: named by seed, task and cause; the other seeds end as they would have."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax.records import Spec, TaskDistribution
from metarl_jax.training.divergence import DivergedWarning

UPDATES, N = 6, 16
AGENT = mrl.algorithms.ppo(encoder=(8,), num_minibatches=1, num_epochs=1)


class State(NamedTuple):
    time: jax.Array


class Faulty(mrl.tasks.Environment):
    """Where ``task`` is below ``limit``, the reward or the observation is NaN from the second step on."""

    spec, horizon = Spec((1,), num_actions=2), 3

    def __init__(self, limit: float, what: str = "reward"):
        self.limit, self.what = limit, what

    def reset(self, noise, task):
        return State(jnp.int32(0))

    def bad(self, time, task):
        return (task < self.limit) & (time > 1)

    def step(self, noise, state, action, task):
        time = state.time + 1
        wrong = self.bad(time, task) & (self.what == "reward")
        return State(time), jnp.where(wrong, jnp.nan, task * action), jnp.bool_(False), {}

    def observe(self, state, task):
        return jnp.where(self.bad(state.time, task) & (self.what == "observation"), jnp.nan, task)[None]


def tasks(limit: float, what: str = "reward") -> TaskDistribution:
    return TaskDistribution("faulty", Faulty(limit, what), jax.random.uniform, 3, 6)


def train(distribution, **options):
    numbers = dict(num_updates=UPDATES, num_tasks=N, num_seeds=3, quiet=True) | options
    return mrl.train(AGENT, distribution, **numbers)


def draws() -> np.ndarray:
    """The tasks of each update of each seed ``[updates, S, N]``, as the driver's keys say."""

    def batch(seed, index):
        key = jax.random.split(jax.random.fold_in(jax.random.split(jax.random.key(seed))[1], index))[0]
        return jax.vmap(jax.random.uniform)(jax.random.split(key, N))

    return np.asarray(jax.jit(jax.vmap(jax.vmap(batch, (0, None)), (None, 0)))(jnp.arange(3), jnp.arange(UPDATES)))


@pytest.fixture(scope="module")
def smallest() -> tuple[float, int, int, int]:
    """(a limit that one seed alone meets, its index, the update and the place of the task in it)."""
    drawn = draws()
    by_seed = drawn.min(axis=(0, 2))
    seed = int(by_seed.argmin())
    limit = float(np.sort(by_seed)[:2].mean())
    update = int((drawn[:, seed] < limit).any(axis=1).argmax())
    return limit, seed, update, int((drawn[update, seed] < limit).argmax())


@pytest.mark.parametrize("what", ["reward", "observation"])
def test_the_seed_the_task_and_the_cause_are_named_and_the_other_seeds_go_on(tmp_path, smallest, what):
    limit, seed, update, place = smallest
    words = (
        rf"update {update}, seed {seed}: the {what} of task {place} of the update \(.*\) is not finite at step [12] "
    )
    folder = tmp_path / "run"
    with pytest.warns(DivergedWarning, match=words):
        run = train(tasks(limit, what), out=folder, num_updates=max(update + 1, 3))
    run = train(tasks(limit, what), out=folder)  # resumed: that seed is not tried again, nothing is warned of twice
    sound = train(tasks(-1.0, what))
    assert list(run.diverged) == [seed] and not sound.diverged
    for mine, other in zip(jax.tree.leaves(run.state), jax.tree.leaves(sound.state), strict=True):
        for index in set(range(3)) - {seed}:
            np.testing.assert_allclose(*(np.asarray(x[index], float) for x in (mine, other)), rtol=1e-4, atol=1e-6)
        assert np.isfinite(np.asarray(mine[seed], float)).all()
    returns = run.metrics["trial_return"]
    assert np.isfinite(np.delete(returns, seed, axis=1)).all() and np.isnan(returns[update + 1 :, seed]).all()
    loaded = mrl.load(folder, algorithm=AGENT, tasks=tasks(limit, what))
    assert loaded.diverged == run.diverged
    with pytest.warns(DivergedWarning, match=words + ".*; its agent is tested as it was before that update"):
        mrl.evaluate(loaded, tasks(-1.0), num_tasks=2, quiet=True)


def test_where_all_seeds_fail_each_is_told_why():
    with pytest.raises(mrl.Diverged) as caught:
        train(tasks(2.0))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for seed, line in enumerate(lines):
        assert line.startswith(f"update 0, seed {seed}: the reward of task 0 of the update (")


def test_debug_nans_names_the_operation():
    class Log(mrl.tasks.Environment):
        spec, horizon = Faulty.spec, 3

        def reset(self, noise, task):
            return State(jnp.int32(0))

        def step(self, noise, state, action, task):
            return State(state.time + 1), jnp.log(task - 2.0), jnp.bool_(False), {}

        def observe(self, state, task):
            return jnp.ones(1)

    distribution = TaskDistribution("log", Log(), jax.random.uniform, 3, 3)
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match="encountered in log"):
        train(distribution, num_updates=1, num_tasks=2, num_seeds=1)


def test_disable_jit_runs_uncompiled_to_the_same_result():
    options = dict(num_updates=1, num_tasks=2, num_seeds=1)
    compiled = train(tasks(-1.0), **options)
    with jax.disable_jit():
        plain = train(tasks(-1.0), **options)
    for a, b in zip(jax.tree.leaves(compiled.state), jax.tree.leaves(plain.state), strict=True):
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=1e-4, atol=1e-6)
