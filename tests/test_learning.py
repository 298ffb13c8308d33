"""Learning what is trivial, in seconds: each probe can be failed in one way only."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax import algorithms, tasks
from metarl_jax.records import Spec, TaskDistribution
from metarl_jax.tasks.bandit import BanditEnv, BanditTask

QUICK = {"learning_rate": 1e-2, "num_minibatches": 2, "num_epochs": 2, "discount": 0.9}


def rl2(**options):
    return algorithms.rl2(**QUICK | {"memory_size": 16} | options)


def ppo(**options):
    return algorithms.ppo(**QUICK | {"encoder": (16,)} | options)


def train(recipe, family: TaskDistribution, num_updates: int) -> mrl.Run:
    return mrl.train(recipe, family, num_updates=num_updates, num_tasks=64, quiet=True)


def late(run: mrl.Run) -> float:
    """The mean return of the last updates."""
    return float(run.metrics["trial_return"][-5:].mean())


def bandit(sample, num_pulls: int) -> TaskDistribution:
    env = BanditEnv(len(jax.eval_shape(sample, jax.random.key(0)).probability))
    return TaskDistribution("probe", env, sample, horizon=1, trial_steps=num_pulls)


# The best arm is always the first.
SAME = bandit(lambda key: BanditTask(jnp.array([1.0, 0.0, 0.0])), num_pulls=6)
# It is one of two for the whole trial: the first pull tells.
HIDDEN = bandit(lambda key: BanditTask(jax.nn.one_hot(jax.random.randint(key, (), 0, 2), 2)), num_pulls=6)


class CueState(NamedTuple):
    time: jax.Array
    cue: jax.Array


class Cue(tasks.Environment):
    """Two steps an episode: a cue is shown at the first and must be answered at the second, when it is gone."""

    horizon = 2
    spec = Spec(observation_shape=(3,), num_actions=2)

    def sample_noise(self, key, shape):
        return jax.random.bernoulli(key, 0.5, shape).astype(jnp.int32)

    def reset(self, noise, task):
        return CueState(jnp.int32(0), noise)

    def step(self, noise, state, action, task):
        reward = jnp.where((state.time == 1) & (action == state.cue), 1.0, 0.0)
        return CueState(state.time + 1, state.cue), reward, state.time == 1, {}

    def observe(self, state, task):
        shown = (jnp.arange(2) == state.cue) & (state.time == 0)
        return jnp.concatenate([shown, (state.time == 1)[None]]).astype(jnp.float32)


CUE = TaskDistribution("cue", Cue(), lambda key: jax.random.uniform(key), horizon=2, trial_steps=8)


@functools.cache
def trained(name: str) -> mrl.Run:
    return {
        "rl2 same": lambda: train(rl2(), SAME, 40),
        "ppo same": lambda: train(ppo(), SAME, 40),
        "rl2 hidden": lambda: train(rl2(), HIDDEN, 60),
        "ppo hidden": lambda: train(ppo(), HIDDEN, 40),
        # Without meta-inputs: the last action must not carry the cue over.
        "rl2 cue": lambda: train(rl2(meta_inputs=False), CUE, 80),
        "ppo cue": lambda: train(ppo(), CUE, 40),
    }[name]()


@pytest.mark.parametrize("name", ["rl2", "ppo"])
def test_the_best_arm_is_always_the_first(name):
    run = trained(f"{name} same")
    assert run.metrics["trial_return"][0].mean() < 0.6 * 6
    assert late(run) > 0.95 * 6


def test_rl2_finds_the_arm_and_keeps_to_it():
    """1/2 for the first pull and 1 for each later one."""
    assert late(trained("rl2 hidden")) > 0.95 * 5.5
    report = mrl.evaluate(trained("rl2 hidden"), num_tasks=300)
    assert report.adapted and report.swap_gain is not None and report.swap_interval[0] > 0
    assert abs(report.by_episode["return"][0] - 0.5) < 0.12
    assert min(report.by_episode["return"][1:]) > 0.9
    assert abs(report.control_mean - 3.0) < 0.3  # memory wiped before each pull: a coin


def test_ppo_cannot():
    """What it would need is not in its inputs: any score above one half would be a leak of the task."""
    assert abs(late(trained("ppo hidden")) - 3.0) < 0.25
    report = mrl.evaluate(trained("ppo hidden"), num_tasks=300)
    assert not report.adapted and "did not adapt" in report.verdict
    assert report.mean == report.control_mean


def test_memory_answers_the_cue_and_no_memory_guesses():
    assert late(trained("rl2 cue")) > 0.95 * 4
    assert abs(late(trained("ppo cue")) - 2.0) < 0.25


def test_the_critic_learns_what_is_coming():
    """After learning, 1 a pull: the value is the discounted sum of what is left, and PPO's that of one pull."""
    run = trained("ppo same")
    params, task = jax.tree.map(lambda x: x[0], run.state), SAME.sample(jax.random.key(0))
    trajectory = jax.jit(lambda key: run.algorithm.adapt(key, params, task, 6, False))(jax.random.key(1))
    np.testing.assert_allclose(trajectory.outputs[1], np.ones(6), atol=0.15)
    run = trained("rl2 same")
    params = jax.tree.map(lambda x: x[0], run.state)
    trajectory = jax.jit(lambda key: run.algorithm.adapt(key, params, task, 6, False))(jax.random.key(1))
    left = (1 - 0.9 ** np.arange(6, 0, -1)) / 0.1
    np.testing.assert_allclose(trajectory.outputs[1], left, atol=0.8)
    assert trajectory.outputs[1][0] > trajectory.outputs[1][-1] + 1.5  # it counts the pulls


@pytest.mark.slow
def test_rl2_on_bandits_is_near_bayes_optimal():
    """Five arms, ten pulls: 0.97 of the exact 6.659988, where the best that forgets earns 5."""
    recipe = algorithms.rl2(memory_size=48, learning_rate=3e-3, num_minibatches=4, discount=0.99, trace=0.3)
    run = mrl.train(recipe, "bandit", num_updates=400, num_tasks=512, quiet=True)
    report = mrl.evaluate(run, num_tasks=20_000)
    (bayes,) = [r for r in report.references if r["role"] == "bayes"]
    assert bayes["kind"] == "exact" and bayes["value"] == pytest.approx(6.659988, abs=1e-4)
    assert 0.97 * bayes["value"] < report.mean < bayes["value"] + 0.05
    assert report.adapted and abs(report.control_mean - 5.0) < 0.1
