"""gymnax environments in the trial loop do what they do in gymnax: wrappers, time limits, observations."""

from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers import purerl

import metarl_jax as mrl
from metarl_jax.networks.actions import for_spec
from metarl_jax.records import Policy, Spec, TaskDistribution, Trajectory
from metarl_jax.rollout import rollout

N = 8


def trials(tasks: TaskDistribution) -> tuple[Any, Trajectory]:
    """``N`` tasks and a trial in each, all actions equally likely: leaves ``[T, N, ...]``."""
    actions = for_spec(tasks.env.spec)
    outputs = (jnp.zeros((N, actions.size)), jnp.zeros(N))
    policy = Policy(lambda key: (), lambda batch: (), lambda *_: ((), outputs), lambda *_: outputs, actions)

    @jax.jit
    def live(key):
        batch = jax.vmap(tasks.sample)(jax.random.split(key, N))
        return batch, rollout(key, tasks.env, policy, (), batch, tasks.trial_steps)[1]

    return jax.tree.map(np.asarray, live(jax.random.key(0)))


class Scaled(purerl.GymnaxWrapper):
    """gymnax's own way: a wrapper overrides ``reset`` and ``step``."""

    def step(self, key, state, action, params=None):
        observation, state, reward, *rest = self._env.step(key, state, action, params)
        return observation, state, 100.0 * reward, *rest


class Halved(purerl.GymnaxWrapper):
    """Sees half of everything, and leaves ``final_observation`` as it was."""

    def reset(self, key, params=None):
        observation, state = self._env.reset(key, params)
        return observation / 2, state

    def step(self, key, state, action, params=None):
        observation, *rest = self._env.step(key, state, action, params)
        return observation / 2, *rest


class Steps(type(gymnax.make("CartPole-v1")[0])):
    """An environment with a ``step`` of its own, on top of gymnax's."""

    def step(self, key, state, action, params=None):
        observation, state, reward, *rest = super().step(key, state, action, params)
        return observation, state, reward + 1.0, *rest


class Twice(purerl.GymnaxWrapper):
    """Overrides what is below gymnax's ``step``."""

    def step_env(self, key, state, action, params):
        observation, state, reward, *rest = self._env.step_env(key, state, action, params)
        return observation, state, 2.0 * reward, *rest


CARTPOLE, PARAMS = gymnax.make("CartPole-v1")
WRAPPED = {
    "none": CARTPOLE,
    "sticky": purerl.StickyActionWrapper(CARTPOLE, 0.5),
    "logged, scaled, sticky": purerl.LogWrapper(Scaled(purerl.StickyActionWrapper(CARTPOLE, 0.5))),
    "halved": Halved(CARTPOLE),
    "flat": Scaled(purerl.FlattenObservationWrapper(CARTPOLE)),
    "a step of its own": Steps(),
    "a restart of its own": Scaled(gymnax.make("DeepSea-bsuite")[0]),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_does_what_it_does_in_gymnax(name):
    """Steps of the adapter and of gymnax's own ``step``, with the same keys and actions, up to an episode's end."""
    env, limit = WRAPPED[name], 12
    params = env.default_params.replace(max_steps_in_episode=limit)
    tasks = mrl.tasks.from_gymnax(env, lambda key: params, name=name)

    def theirs(state, now):
        observation, state, reward, terminated, truncated, info = env.step(now[0], state, now[1], params)
        return state, (reward, terminated, truncated, observation, info["final_observation"])

    def ours(state, now):
        reached, reward, terminated, _ = tasks.env.step((now[0], now[0]), state, now[1], params)
        truncated = tasks.env.is_truncated(reached, params)
        return reached, (reward, terminated, truncated, tasks.env.observe(reached, params))

    @jax.jit
    def both(key):
        reset_key, action_key, *keys = jax.random.split(key, limit + 2)
        steps = (jnp.stack(keys), jax.random.randint(action_key, (limit,), 0, 2))
        observation, state = env.reset(reset_key, params)
        start = tasks.env.reset((reset_key, reset_key), params)
        first = (tasks.env.observe(start, params), observation)
        return first, jax.lax.scan(ours, start, steps)[1], jax.lax.scan(theirs, state, steps)[1]

    first, found, wanted = jax.tree.map(np.asarray, both(jax.random.key(3)))
    np.testing.assert_array_equal(*first)
    over = wanted[1] | wanted[2]
    end = int(np.argmax(over))
    assert over[end] and end >= 5
    for one, other in zip(found[:3], wanted[:3], strict=True):
        np.testing.assert_allclose(one[: end + 1], other[: end + 1], rtol=1e-6)
    np.testing.assert_allclose(found[3][:end], wanted[3][:end], rtol=1e-5, atol=1e-6)
    final = wanted[4][end] / (2 if name == "halved" else 1)  # which that wrapper forgot
    np.testing.assert_allclose(found[3][end], final, rtol=1e-5, atol=1e-6)


def test_a_wrapper_scales_the_rewards_of_a_whole_trial():
    tasks = mrl.tasks.from_gymnax(Scaled(CARTPOLE), lambda key: PARAMS, name="scaled", horizon=10, num_episodes=2)
    np.testing.assert_array_equal(trials(tasks)[1].reward.sum(axis=0), 2000.0)  # 20 steps, 100 a step


def test_what_is_overridden_below_gymnaxs_step_counts_too():
    tasks = mrl.tasks.from_gymnax(Twice(CARTPOLE), lambda key: PARAMS, name="twice", horizon=10)
    noise = tasks.env.sample_noise(jax.random.key(0), ())
    step = jax.jit(lambda: tasks.env.step(noise, tasks.env.reset(noise, PARAMS), jnp.int32(0), PARAMS)[1])
    assert step() == 2.0


@struct.dataclass
class Params:
    pay: float = 1.0  # no max_steps_in_episode


class Endless(environment.Environment):
    """Without a limit of its own."""

    def reset_env(self, key, params):
        return jnp.ones(1), environment.EnvState(time=0)

    def step_env(self, key, state, action, params):
        return jnp.ones(1), environment.EnvState(time=state.time + 1), params.pay, False, {}

    def is_truncated(self, state, params):
        return False

    def action_space(self, params):
        return spaces.Discrete(2)

    def observation_space(self, params):
        return spaces.Box(0, 1, (1,))


def ends(trajectory: Trajectory) -> list[list[int]]:
    """Steps at which each task's episodes ended by a limit."""
    assert not trajectory.terminated.any()
    return [np.flatnonzero(column).tolist() for column in trajectory.truncated.T]


def test_the_horizon_ends_episodes_where_the_environment_has_no_limit():
    tasks = mrl.tasks.from_gymnax(Endless(), lambda key: Params(), name="endless", horizon=5, num_episodes=2)
    assert ends(trials(tasks)[1]) == [[4, 9]] * N


class Limited(Endless):
    def is_truncated(self, state, params):
        return state.time >= params.max_steps_in_episode


def test_each_task_has_its_own_limit():
    sample = jax.jit(lambda key: environment.EnvParams(jax.random.randint(key, (), 1, 9)))
    tasks = mrl.tasks.from_gymnax(Limited(), paid(sample), name="limited", horizon=6, num_episodes=2)
    batch, trajectory = trials(tasks)
    limits = batch.max_steps_in_episode
    assert limits.min() < 6 < limits.max()  # some of their own, some of the distribution
    assert ends(trajectory) == [list(range(min(n, 6) - 1, 12, min(n, 6))) for n in limits]


@struct.dataclass
class Paid(environment.EnvParams):
    pay: float = 1.0


def paid(sample):
    return lambda key: Paid(sample(key).max_steps_in_episode)


@pytest.mark.parametrize(("horizon", "length"), [(None, 7), (3, 3), (9, 9)])
def test_one_limit_for_all_tasks_is_replaced_by_the_horizon(horizon, length):
    """Jitted or not: what of a task depends on its key is read from the program."""
    sample = jax.jit(lambda key: Paid(7, pay=jax.random.uniform(key)))
    tasks = mrl.tasks.from_gymnax(Limited(), sample, name="limited", horizon=horizon, num_episodes=2)
    assert (tasks.horizon, tasks.trial_steps) == (length, 2 * length)
    assert int(tasks.sample(jax.random.key(0)).max_steps_in_episode) == length
    assert ends(trials(tasks)[1]) == [[length - 1, 2 * length - 1]] * N


def test_a_discrete_observation_is_one_hot():
    env, params = gymnax.make("FrozenLake-misc")
    tasks = mrl.tasks.from_gymnax(env, lambda key: params, name="lake", horizon=20)
    assert tasks.env.spec.observation_shape == (16,)
    trajectory = trials(tasks)[1]
    cells = trajectory.env_state.state.position
    assert len(np.unique(cells)) > 4
    np.testing.assert_array_equal(trajectory.timestep.observation, np.eye(16)[cells])


def test_adr_leaves_alone_what_does_not_differ():
    """Of a pendulum's params only the mass is drawn; ``max_steps_in_episode``, a whole number, is the adapter's."""
    env, params = gymnax.make("Pendulum-v1")
    sample = lambda key: params.replace(m=jax.random.uniform(key, minval=0.5, maxval=2.0))
    tasks = mrl.tasks.from_gymnax(env, sample, name="masses", horizon=5, num_episodes=2)
    student = mrl.records.Student(lambda *_: pytest.fail("lived"), 64, True)
    adr = mrl.curricula.REGISTRY["adr"](start=0.1).build(tasks, student)
    batch = jax.jit(lambda key: adr.sample(key, 0, adr.init(key), ())[1])(jax.random.key(0))
    assert (batch.max_steps_in_episode == 5).all() and batch.max_steps_in_episode.dtype == jnp.int32
    for name in ("max_speed", "max_torque", "dt", "g", "l"):
        np.testing.assert_allclose(getattr(batch, name), getattr(params, name), rtol=1e-6)
    assert np.ptp(batch.m) > 0.1 and np.abs(batch.m - 1.25).max() < 0.1 * 0.75 + 0.03  # a tenth of the range


def test_an_environment_of_ours_is_taken_as_gymnaxs():
    own = mrl.tasks.gridnavi(size=3, horizon=4, num_episodes=2)
    adapted = mrl.tasks.from_gymnax(own.env, own.sample, name="again", horizon=4, num_episodes=2)
    (_, found), (_, wanted) = trials(adapted), trials(own)
    np.testing.assert_array_equal(found.timestep.observation, wanted.timestep.observation)
    np.testing.assert_array_equal(found.reward, wanted.reward)
    assert (found.next_observation != found.timestep.observation).any()


class State(NamedTuple):
    time: jax.Array


class Bounded(mrl.tasks.Environment):
    """Each step pays the sum of the two actions."""

    horizon = 5

    def __init__(self, low, high):
        self.spec = Spec((1,), action_size=2, action_low=low, action_high=high)

    def reset(self, noise, task):
        return State(jnp.int32(0))

    def step(self, noise, state, action, task):
        return State(state.time + 1), action.sum(), jnp.bool_(False), {}

    def observe(self, state, task):
        return jnp.ones(1)


def test_bounds_may_be_arrays():
    """``evaluate`` compares the spaces of the run and of the tasks held out."""
    seen, held_out, other = (
        TaskDistribution(name, Bounded(np.array([1.0, 3.0]), high), jax.random.uniform, 5, 10)
        for name, high in {"seen": np.array([1.5, 4.0]), "held-out": (1.5, 4.0), "other": 4.0}.items()
    )
    run = mrl.train("ppo", seen, num_updates=1, num_tasks=8, quiet=True)
    report = mrl.evaluate(run, held_out, num_tasks=4, quiet=True)
    assert 5 * 4.0 <= np.min(report.by_episode["return"]) <= np.max(report.by_episode["return"]) <= 5 * 5.5
    with pytest.raises(mrl.ConfigError, match="must have the run's spaces"):
        mrl.evaluate(run, other, num_tasks=4, quiet=True)


def test_specs_are_compared_by_what_they_mean():
    array, numbers = Spec((1,), None, 2, np.array([-1.0, -1.0]), 1.0), Spec((1,), None, 2, -1.0, jnp.ones(2))
    assert array == numbers and hash(array) == hash(numbers)
    assert array != numbers._replace(action_high=(1.0, 2.0)) and array != numbers._replace(observation_shape=(2,))
    assert Spec((1,), 2) == Spec((1,), 2, action_low=np.zeros(3)) != Spec((1,), 3) and array != ((1,), None, 2)
