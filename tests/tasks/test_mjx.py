"""The adapters to MJX and Brax: a task's fields are what moves, as in MuJoCo's C library; wrong fields are named."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import metarl_jax as mrl

TEXT = """<mujoco><option timestep="0.01"/><worldbody><body><joint name="hinge" axis="0 1 0" damping="0.1"/>
    <geom type="capsule" fromto="0 0 0 0 0 -1" size="0.05" mass="2"/></body></worldbody>
    <actuator><motor joint="hinge" gear="5" {}/></actuator></mujoco>"""
BOUNDED = 'ctrllimited="true" ctrlrange="-2 1"'


def pendulum(sample, text: str = TEXT.format(BOUNDED), **options):
    model = mujoco.MjModel.from_xml_string(text)
    upright = lambda before, after, action, task: -jnp.cos(after.qpos[0])
    return mrl.tasks.from_mjx(model, sample, upright, **dict(name="pendulum", horizon=20, spread=0.2) | options)


def heavier(key):
    return {"body_mass": jnp.stack([0.0, jax.random.uniform(key, minval=1.0, maxval=4.0)])}


def test_a_task_moves_as_mujocos_model_of_its_fields():
    distribution = pendulum(heavier, frame_skip=3)
    env, spec = distribution.env, distribution.env.spec
    assert (spec.action_low, spec.action_high, distribution.trial_steps) == ((-2.0,), (1.0,), 40)
    step, ends = jax.jit(env.step), []
    for seed in range(2):
        task = distribution.sample(jax.random.key(seed))
        state = env.reset(env.sample_noise(jax.random.key(7), ()), task)
        model = mujoco.MjModel.from_xml_string(TEXT.format(BOUNDED))
        model.body_mass[:] = task["body_mass"]
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = state.qpos, state.qvel
        for t in range(20):
            action = jnp.array([np.sin(t) - 0.5], jnp.float32)
            state, reward, terminated, _ = step(None, state, action, task)
            data.ctrl[:] = action
            mujoco.mj_step(model, data, 3)
            np.testing.assert_allclose(reward, -np.cos(data.qpos[0]), atol=1e-4)
            assert not terminated
        np.testing.assert_allclose(state.qpos, data.qpos, atol=1e-4)
        np.testing.assert_allclose(env.observe(state, task), [*data.qpos, *data.qvel], atol=1e-3)
        ends.append(float(state.qpos[0]))
    assert abs(ends[0] - ends[1]) > 1e-2 and bool(env.is_truncated(state, task))


def test_wrong_models_and_fields_are_named():
    for sample, word in (
        (lambda key: {"body_weight": jnp.ones(2)}, "body_weight.*no field"),
        (lambda key: {"body_mass": jnp.ones(3)}, r"body_mass \(3,\).*of shape \(2,\)"),
        (lambda key: jnp.ones(2), "must return"),
        (lambda key: {"nq": jnp.int32(1)}, "nq.*no field of numbers"),
        (lambda: {}, "sample: cannot be traced.*TypeError"),
        (lambda key: {"body_mas": jnp.ones(2)}, "did you mean 'body_mass'"),
        (lambda key: {"body_mass": jnp.ones(2, complex)}, "real numbers"),
        (lambda key: {"body_mass": [0.0, 2.0]}, "must be real numbers"),
        (lambda key: {3: jnp.ones(2)}, "must return"),
        (lambda key: {"body_mass": {}["typo"]}, "sample: cannot be traced.*KeyError"),
    ):
        with pytest.raises(mrl.ConfigError, match=word):
            pendulum(sample)
    wrong = (
        ({"horizon": 0}, "horizon=0"),
        ({"spread": -1.0}, "spread=-1.0"),
        ({"spread": "0.1"}, "spread='0.1'"),
        ({"observe": lambda state: state.qpos[0]}, "must return a vector"),
        ({"spread": np.inf}, "spread=inf"),
        ({"name": ""}, "name=''"),
        ({"observe": lambda state: state.xpos}, "observe: cannot be traced.*xpos"),
        ({"observe": lambda state, task: state.qpos}, "observe: cannot be traced"),
        ({"terminated": lambda state: False}, "terminated: cannot be traced"),
        ({"terminated": lambda state, task: state.qpos > 1}, "terminated.*must return a scalar"),
        ({"terminated": lambda state, task: None}, "terminated='nothing'.*must return a scalar"),
    )
    for options, word in wrong:
        with pytest.raises(mrl.ConfigError, match=word):
            pendulum(heavier, **options)
    with pytest.raises(mrl.ConfigError, match="all of them bounded"):
        pendulum(heavier, text=TEXT.format(""))
    with pytest.raises(mrl.ConfigError, match=r"give a mujoco.MjModel"):
        mrl.tasks.from_mjx("model.xml", heavier, lambda *_: 0.0, name="no", horizon=3)
    with pytest.raises(mrl.ConfigError, match="get_environment"):
        mrl.tasks.from_brax(object(), heavier, name="no", horizon=3)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Brax is no longer maintained
def test_a_brax_environment_is_a_task_distribution():
    """Not among the test's dependencies: runs where Brax is installed."""
    envs = pytest.importorskip("brax.envs")
    env = envs.get_environment("inverted_pendulum", backend="generalized")
    mass = jnp.asarray(env.sys.link.inertia.mass)
    sample = lambda key: {"link.inertia.mass": mass * jax.random.uniform(key, minval=0.5, maxval=3.0)}
    distribution = mrl.tasks.from_brax(env, sample, name="brax", horizon=5)
    run = mrl.train("rl2", distribution, num_updates=1, num_tasks=8, quiet=True)
    step, starts = jax.jit(distribution.env.step), distribution.env.sample_noise(jax.random.key(0), ())
    moved = []
    for seed in range(2):
        task = distribution.sample(jax.random.key(seed))
        state = distribution.env.reset(starts, task)
        for _ in range(4):
            state, *_ = step(starts, state, jnp.ones(1), task)
        moved.append(np.asarray(distribution.env.observe(state, task)))
    assert np.abs(moved[0] - moved[1]).max() > 1e-3
    assert np.isfinite(run.metrics["trial_return"]).all()
    with pytest.raises(mrl.ConfigError, match="no field"):
        mrl.tasks.from_brax(env, lambda key: {"link.mass": mass}, name="no", horizon=3)
    wrappers = pytest.importorskip("brax.envs.wrappers.training")
    with pytest.raises(mrl.ConfigError, match="without wrappers"):  # else all tasks would be alike
        mrl.tasks.from_brax(wrappers.EpisodeWrapper(env, 5, 1), sample, name="no", horizon=3)
