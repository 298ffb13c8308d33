"""What a run is: its environment too; and what belongs to a process: precision, home folders, pickles."""

import json
import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metarl_jax as mrl
from metarl_jax.config import ConfigError
from metarl_jax.records import Spec, TaskDistribution
from metarl_jax.training.identity import describe_tasks, short_rollout
from metarl_jax.training.run_folder import differences, flatten

AGENT = mrl.algorithms.ppo(encoder=(8,), num_minibatches=1, num_epochs=1)


class State(NamedTuple):
    time: jax.Array


class Env(mrl.tasks.Environment):
    horizon = 3

    def __init__(self, gain: float = 1.0, scale: float = 1.0, low: float = -1.0):
        self.gain, self.scale = gain, scale
        self.spec = Spec((1,), action_size=1, action_low=low)

    def reset(self, noise, task):
        return State(jnp.int32(0))

    def step(self, noise, state, action, task):
        return State(state.time + 1), self.gain * (1.0 + 0.0 * action.sum()), jnp.bool_(False), {}

    def observe(self, state, task):
        return self.scale * jnp.ones(1)


def tasks(horizon: int = 3, **options) -> TaskDistribution:
    env = Env(**options)
    env.horizon = horizon
    return TaskDistribution("own", env, jax.random.uniform, horizon, 2 * horizon)


def train(distribution, **options):
    return mrl.train(AGENT, distribution, **(dict(num_updates=1, num_tasks=8, quiet=True) | options))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("identity") / "run"
    train(tasks(), out=path)
    return path


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        (dict(gain=-100.0), r"tasks.rollout.reward: \[1.0, .* there, \[-100.0"),
        (dict(scale=2.0), r"tasks.rollout.observation: \[1.0, .* there, \[2.0"),
        (dict(low=-2.0), r"tasks.spec: \[\[1\], None, 1, -1.0, 1.0\] there, \[\[1\], None, 1, -2.0, 1.0\]"),
        (dict(horizon=4), "tasks.horizon: 3 there, 4 asked for"),
    ],
)
def test_an_environment_that_was_edited_is_another_run(folder, edited, words):
    """The reward was edited and the same command started again: one curve would hold two environments."""
    before = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=words):
        train(tasks(**edited), out=folder, num_updates=2)
    with pytest.raises(ConfigError, match=rf"(?s)tasks='own': not those of the run in .*{words}"):
        mrl.load(folder, algorithm=AGENT, tasks=tasks(**edited))
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert mrl.load(folder, algorithm=AGENT, tasks=tasks()).num_updates == 1


def test_rounding_and_what_older_versions_did_not_keep_are_no_difference(folder, tmp_path):
    saved = json.loads((folder / "config.json").read_text())
    rewards = saved["config"]["tasks"]["rollout"]["reward"]
    assert rewards == [1.0] * 12 == short_rollout(tasks())["reward"]
    assert mrl.load(folder, algorithm=AGENT, tasks=tasks(gain=1.0 + 1e-5)).num_updates == 1
    copy = tmp_path / "run"
    train(tasks(), out=copy)
    older = json.loads((copy / "config.json").read_text())
    for name in ("spec", "rollout"):
        del older["config"]["tasks"][name]
    (copy / "config.json").write_text(json.dumps(older))
    assert train(tasks(), out=copy).num_updates == 1


def test_another_processor_draws_the_same_tasks_up_to_rounding(folder):
    """Which uses other instructions, whose last bits differ: that is no other run; a task that was edited is."""
    above = lambda key: jnp.nextafter(jax.random.uniform(key), jnp.float32(2.0))
    assert mrl.load(folder, algorithm=AGENT, tasks=tasks()._replace(sample=above)).num_updates == 1
    described = lambda some: flatten({"tasks": describe_tasks(some, rollout=True)})
    changes = lambda old, new: [line.split(":")[0].strip() for line in differences(described(old), described(new))]
    many = jax.random.uniform(jax.random.key(0), (1000,))
    of = lambda some: mrl.tasks.finite(tasks(), some)
    assert described(of(many))["tasks.digest"] != described(of(jnp.nextafter(many, 2.0)))["tasks.digest"]
    assert changes(of(many), of(jnp.nextafter(many, 2.0))) == []
    assert changes(of(many), of(many.at[500].add(0.5))) == ["tasks.rollout.draws"]
    kind = lambda number: tasks()._replace(sample=lambda key: {"x": jnp.float32(0.0), "kind": jnp.int32(number)})
    assert changes(kind(0), kind(1)) == ["tasks.rollout.draws_digest"]


def test_a_report_that_cannot_be_written_is_not_lost(folder, monkeypatch):
    run = mrl.load(folder, algorithm=AGENT, tasks=tasks())

    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mrl.Report, "save", full)
    with pytest.warns(UserWarning, match="report.json could not be written .No space left on device"):
        assert mrl.evaluate(run, num_tasks=4, quiet=True).mean == pytest.approx(6.0)


def test_the_home_folder_is_found_in_paths(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    run = mrl.load("~/run", algorithm=AGENT, tasks=tasks())
    assert run.path == folder
    assert train(tasks(), out="~/run").path == folder
    report = mrl.evaluate(run, num_tasks=4, quiet=True, save=False)
    assert report.save("~/r.json") == folder.parent / "r.json" and mrl.Report.load("~/r.json").mean == report.mean
    for call in (mrl.load, lambda path: train(tasks(), out=path), report.save, mrl.Report.load):
        with pytest.raises(ConfigError, match="path='~no-such-user/run': ~no-such-user is no home folder"):
            call("~no-such-user/run")


def test_double_precision_is_refused_in_words_and_the_optimizer_works_in_it():
    with jax.enable_x64(True):
        for call in (lambda: train(tasks()), lambda: mrl.load("nowhere")):
            with pytest.raises(ConfigError, match="jax_enable_x64=True: training and evaluation are in single"):
                call()
        double = losses(jnp.float32)
    np.testing.assert_allclose(double, losses(jnp.float32), rtol=1e-5)


def losses(dtype):
    """Three steps of the shipped optimizer; its state keeps its types, as a scan asks."""
    params, optimizer = jnp.ones(3, dtype), mrl.learned.optimizers.load("small-mazes", total_updates=3)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(2 * params, state, params)
        return (optax.apply_updates(params, updates), state), (params**2).sum()

    return np.asarray(jax.lax.scan(step, (params, optimizer.init(params)), None, 3)[1])


def test_recipes_pickle():
    for recipe in (mrl.algorithms.rl2(memory_size=8), mrl.algorithms.ppo(), mrl.curricula.accel(capacity=9)):
        again = pickle.loads(pickle.dumps(recipe))
        assert again.describe() == recipe.describe() and again.function is recipe.function


def test_adapt_says_that_it_takes_the_state_of_one_seed():
    run = train(tasks())
    task = jnp.float32(0.5)
    with pytest.raises(ConfigError, match=r"state: has a leading axis of seeds.*run.state_of\(seed_index\)"):
        run.algorithm.adapt(jax.random.key(0), run.state, task, 3, False)
    trial = run.algorithm.adapt(jax.random.key(0), run.state_of(0), task, 3, False)
    np.testing.assert_array_equal(trial.reward, 1.0)
    with pytest.raises(ConfigError, match="seed_index=1: must be a whole number from 0 to 0"):
        run.state_of(1)


def test_typed_keys_may_be_part_of_a_task(tmp_path):
    sample = lambda key: {"key": key, "x": jax.random.uniform(key)}
    own = tasks()._replace(sample=sample)
    run = train(own, curriculum=mrl.curricula.prioritised_replay(capacity=4, score="positive-value-loss"), out=tmp_path)
    assert np.isfinite(run.task_buffer["score"]).all()
    assert mrl.evaluate(run, num_tasks=4, quiet=True).mean == pytest.approx(6.0)
    few = mrl.tasks.finite(own, jax.vmap(sample)(jax.random.split(jax.random.key(0), 3)))
    saved = mrl.tasks.load_tasks(mrl.tasks.save_tasks(tmp_path / "few.npz", few), own)
    assert (jax.random.key_data(saved.tasks["key"]) == jax.random.key_data(few.tasks["key"])).all()
