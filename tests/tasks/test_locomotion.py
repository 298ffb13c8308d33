"""Task distributions of walkers: what varies, by how much; falls; references that are stored."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax.physics.randomize import BASES
from metarl_jax.tasks import stored as _stored
from metarl_jax.tasks.locomotion import WalkerEnv


def test_dynamics_stay_in_their_family_however_often_mutated():
    """Factors of the standard machine: log-uniform at first, never beyond the spread after many mutations."""
    tasks = mrl.tasks.hopper_dynamics()
    assert isinstance(tasks.env, WalkerEnv)
    standard = mrl.physics.standard(tasks.env.body)
    batch = jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), 500))
    mutate = jax.jit(jax.vmap(tasks.mutate))
    mutated = batch
    for i in range(60):
        mutated = mutate(jax.random.split(jax.random.key(i), 500), mutated)
    for some in (batch, mutated):
        factors = {name: np.asarray(getattr(some.physics, name) / getattr(standard, name)[None]) for name in BASES}
        factors["inertia"] = factors["inertia"] * factors["mass"]
        for name, factor in factors.items():
            power = np.log(factor) / np.log(BASES[name])
            assert np.abs(power).max() <= 3.001 and power.max() > 2.8 and power.min() < -2.8, name
            assert abs(power.mean()) < 0.3
            assert np.abs(np.corrcoef(power.T) - np.eye(power.shape[1])).max() < 0.25  # each entry its own


def test_who_falls_stays_down_and_earns_nothing():
    tasks = mrl.tasks.walker_slope(num_episodes=1)
    env, task = tasks.env, tasks.sample(jax.random.key(0))
    state, earned = env.reset(env.sample_noise(jax.random.key(1), ()), task), []
    state = state._replace(motion=state.motion._replace(velocity=state.motion.velocity.at[2].set(4.0)))
    step = jax.jit(env.step)
    for _ in range(100):
        before = state
        state, reward, terminated, _ = step((), state, jnp.ones(6), task)
        earned.append(float(reward))
        assert not terminated
    assert bool(state.fallen) and earned[-1] == 0.0 and earned[0] > 0.5
    jax.tree.map(np.testing.assert_array_equal, state.motion, before.motion)
    assert abs(float(state.motion.position[2])) > 1.0 or float(state.motion.position[1]) < 0.8


def test_rewards_are_the_published_ones():
    """Of one step, from the positions before and after it."""
    for name, effort, alive in (("cheetah-dir", 0.05, 0.0), ("walker-dynamics", 1e-3, 1.0)):
        tasks = mrl.tasks.REGISTRY[name]()
        env, task = tasks.env, tasks.sample(jax.random.key(3))
        state = env.reset(env.sample_noise(jax.random.key(1), ()), task)
        action = jnp.array([0.5, -1.0, 0.2, 0.0, 1.0, -0.3])
        after, reward, _, _ = jax.jit(env.step)((), state, action, task)
        seconds = {"cheetah-dir": 0.05, "walker-dynamics": 0.008}[name]
        speed = float(after.motion.position[0] - state.motion.position[0]) / seconds
        wanted = float(task.goal) * speed + alive - effort * float(jnp.square(action).sum())
        np.testing.assert_allclose(reward, wanted, rtol=1e-4, atol=1e-5)


def test_stored_references(tmp_path, monkeypatch):
    """For the options that they were measured with and no others; none where a trial ends inside an episode."""
    file = tmp_path / "references.json"
    known = {"options": {"fastest": 3.0, "horizon": 200}, "optimal": [-20.0, -25.0], "memoryless": [-90.0, -80.0]}
    file.write_text(json.dumps({"cheetah-vel": known}))
    monkeypatch.setattr(_stored, "FILE", file)
    _stored.stored.cache_clear()
    try:
        tasks = mrl.tasks.cheetah_vel()
        some = jax.vmap(tasks.sample)(jax.random.split(jax.random.key(0), 3))
        optimal, blind = tasks.references(some, 600)
        assert (optimal.role, optimal.kind, blind.role) == ("optimal", "lower", "memoryless")
        assert (optimal.trial_return, blind.trial_return) == (-60.0, -240.0)
        np.testing.assert_array_equal(optimal.by_episode, [-20.0] * 3)
        assert "-25 to -20" in optimal.note
        assert tasks.references(some, 500) == []
        assert mrl.tasks.cheetah_vel(fastest=2.0).references is None
        assert mrl.tasks.cheetah_vel(horizon=100).references is None
        known |= {"memoryless": [-15.0, -80.0]}  # whoever is told the task may do without
        file.write_text(json.dumps({"cheetah-vel": known}))
        _stored.stored.cache_clear()
        assert tasks.references(some, 200)[0].trial_return == -20.0  # read when the tasks were made
        assert mrl.tasks.cheetah_vel().references(some, 200)[0].trial_return == -15.0
    finally:
        _stored.stored.cache_clear()


def test_what_is_stored_tells_tasks_apart():
    """A family is stored only where who is told the task does better, seed by seed, than who is not."""
    known = _stored.stored()
    assert known
    for family, found in known.items():
        assert min(found["optimal"]) > max(found["memoryless"]), family
        assert mrl.tasks.REGISTRY[family](**found["options"]).references is not None, family


def test_wrong_options_are_named():
    for make, options, word in (
        (mrl.tasks.cheetah_dir, {"directions": ()}, "directions.*at least one"),
        (mrl.tasks.cheetah_dir, {"directions": (1.0, 1.0 + 1e-9)}, "directions.*once"),
        (mrl.tasks.walker_dynamics, {"spread": 300.0}, "spread=300.0"),
        (mrl.tasks.hopper_dynamics, {"spread": -1.0}, "spread=-1.0"),
        (mrl.tasks.walker_slope, {"steepest": 2.0}, "steepest=2.0"),
        (mrl.tasks.cheetah_vel, {"fastest": 0.0}, "fastest=0.0"),
        (mrl.tasks.cheetah_broken, {"horizon": 0}, "horizon=0"),
    ):
        with pytest.raises(mrl.ConfigError, match=word):
            make(**options)
