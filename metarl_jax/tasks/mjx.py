"""MuJoCo models in MJX, and Brax environments, whose named fields differ from task to task.

For those who want the standard physics (our own walkers: ``metarl_jax.physics``). Needs ``metarl-jax[mjx]`` (Brax you
bring yourself). Beware of what a model derives from its fields when it is compiled (subtree masses, inverse weights):
it stays that of the model given, unless you override it, too.
"""

import copy
import difflib
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import ConfigError, check, check_all, not_installed, whole
from metarl_jax.records import Key, Spec, TaskDistribution
from metarl_jax.runtime.devices import use_cpu_cores
from metarl_jax.tasks.environment import Environment, strong
from metarl_jax.tasks.shapes import traced

Fields = Mapping[str, jax.Array]  # a task: what replaces fields of the model, by name


class Physical(NamedTuple):
    """What of MJX's data lasts from step to step.

    Attributes:
      qpos: positions.
      qvel: velocities.
      act: activations of actuators.
      warmstart: the solver's accelerations, from which it starts.
      time: control steps since the episode began.
    """

    qpos: jax.Array
    qvel: jax.Array
    act: jax.Array
    warmstart: jax.Array
    time: jax.Array


Reward = Callable[[Physical, Physical, jax.Array, Fields], jax.Array]


class MjxEnv(Environment):
    """An MJX model with one task's fields; the observation is ``observe(state)``, else all of ``qpos`` and ``qvel``."""

    random_start = True

    def __init__(self, model: Any, reward: Reward, observe, terminated, horizon: int, frame_skip: int, spread: float):
        self.mjx = importlib.import_module("mujoco.mjx")
        self.model, self.data = self.mjx.put_model(model), self.mjx.make_data(model)
        self.reward, self.seen, self.terminated = reward, observe, terminated
        self.horizon, self.frame_skip, self.spread = horizon, frame_skip, spread
        low, high = np.asarray(model.actuator_ctrlrange, float).T
        data = self.data
        self.start = Physical(jnp.asarray(model.qpos0, float), data.qvel, data.act, data.qacc_warmstart, jnp.int32(0))
        seen = _shape_of("observe", lambda start: self.observe(start, {}), self.start) or ()
        check(len(seen) == 1, "observe", seen, "must return a vector")
        self.spec = Spec(seen, action_size=model.nu, action_low=tuple(low.tolist()), action_high=tuple(high.tolist()))

    def sample_noise(self, key: Key, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
        keys, sizes = jax.random.split(key), (self.start.qpos.size, self.start.qvel.size)
        qpos, qvel = (jax.random.uniform(k, (*shape, n), minval=-1.0) for k, n in zip(keys, sizes, strict=True))
        return self.spread * qpos, self.spread * qvel

    def reset(self, noise, task: Fields) -> Physical:
        return self.start._replace(qpos=self.start.qpos + noise[0], qvel=self.start.qvel + noise[1])

    def step(self, noise, state: Physical, action, task: Fields):
        model = self.model.tree_replace(dict(task))
        data = self.data.replace(
            qpos=state.qpos, qvel=state.qvel, act=state.act, qacc_warmstart=state.warmstart, ctrl=action
        )
        with jax.numpy_rank_promotion("allow"):  # MJX counts on it
            data = jax.lax.fori_loop(0, self.frame_skip, lambda _, data: self.mjx.step(model, data), data)
        after = Physical(data.qpos, data.qvel, data.act, data.qacc_warmstart, state.time + 1)
        reward = jnp.asarray(self.reward(state, after, action, task), jnp.float32)
        return after, reward, jnp.asarray(self.terminated(after, task), bool), {}

    def observe(self, state: Physical, task: Fields) -> jax.Array:
        seen = jnp.concatenate([state.qpos, state.qvel]) if self.seen is None else self.seen(state)
        return jnp.asarray(seen, jnp.float32)


class BraxState(NamedTuple):
    """A Brax environment's state.

    Attributes:
      state: Brax's.
      time: steps since the episode began.
    """

    state: Any
    time: jax.Array


class BraxEnv(Environment):
    """A Brax environment whose system is swapped for the task's while it is traced."""

    random_start = True

    def __init__(self, env: Any, horizon: int):
        self.env, self.horizon = env, horizon
        self.spec = Spec((int(env.observation_size),), action_size=int(env.action_size))

    def under(self, task: Fields) -> Any:
        """The environment with the task's fields in its system.

        Args:
          task: fields of the system, by name.

        Returns:
          A copy of the environment.
        """
        env = copy.copy(self.env)
        env.sys = env.sys.tree_replace(dict(task))
        return env

    def sample_noise(self, key: Key, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.split(key, shape)

    def reset(self, noise, task: Fields) -> BraxState:
        with jax.numpy_rank_promotion("allow"):  # Brax counts on it
            return strong(BraxState(self.under(task).reset(noise), jnp.int32(0)))

    def step(self, noise, state: BraxState, action, task: Fields):
        with jax.numpy_rank_promotion("allow"):
            new = self.under(task).step(state.state, action)
        reward, done = jnp.asarray(new.reward, jnp.float32), new.done > 0.5
        return strong(BraxState(new, state.time + 1)), reward, done, {}

    def observe(self, state: BraxState, task: Fields) -> jax.Array:
        return jnp.asarray(state.state.obs, jnp.float32)


def from_mjx(
    model: Any,
    sample: Callable[[Key], Fields],
    reward: Reward,
    *,
    name: str,
    horizon: int,
    num_episodes: int = 2,
    frame_skip: int = 1,
    spread: float = 0.0,
    observe: Callable[[Physical], jax.Array] | None = None,
    terminated: Callable[[Physical, Fields], jax.Array] = lambda state, task: jnp.bool_(False),
) -> TaskDistribution:
    """A MuJoCo model in MJX of which named fields differ from task to task.

    Args:
      model: a ``mujoco.MjModel`` with bounded controls.
      sample: ``key -> {field of mjx.Model: array}``, e.g. ``body_mass`` or ``opt.gravity``.
      reward: ``(before, after, action, task) -> scalar``, of ``Physical`` states.
      name: of the distribution.
      horizon: control steps in an episode.
      num_episodes: episodes in a trial.
      frame_skip: physics steps a control step.
      spread: an episode begins at ``qpos0`` and rest, each number moved by up to this much.
      observe: ``state -> vector``; all positions and velocities by default.
      terminated: ``(state, task) -> bool``; never, by default.

    Returns:
      The distribution; a task is the fields that replace the model's.

    Raises:
      ConfigError: MJX is missing, unbounded controls, or a field that the model does not have in that shape.
    """
    use_cpu_cores()
    counts = dict(horizon=horizon, num_episodes=num_episodes, frame_skip=frame_skip)
    check_all(counts, lambda x: whole(x) and x >= 1, "must be a whole number of at least 1")
    finite = isinstance(spread, int | float) and not isinstance(spread, bool) and 0 <= spread < np.inf
    check(finite, "spread", spread, "must be a number of at least 0")
    _check_name(name)
    try:
        importlib.import_module("mujoco.mjx")
        mujoco: Any = importlib.import_module("mujoco")
    except ImportError as error:
        raise not_installed("from_mjx", "MJX", "mjx", error) from error
    check(isinstance(model, mujoco.MjModel), "model", model, "give a mujoco.MjModel")
    bounded = model.nu > 0 and bool(np.all(model.actuator_ctrllimited))
    check(bounded, "model", name, "needs controls, all of them bounded (ctrlrange)")
    env = MjxEnv(model, reward, observe, terminated, horizon, frame_skip, spread)
    _check_fields(sample, env.model)
    task = lambda key: strong(arrays(sample(key)))
    _check_functions(env, task)
    return TaskDistribution(name, env, task, horizon, horizon * num_episodes)


def _check_name(name: str) -> None:
    check(isinstance(name, str) and name != "", "name", name, "must be a name")


def arrays(fields: Fields) -> dict[str, jax.Array]:
    """Makes a task's fields arrays.

    Args:
      fields: numbers or arrays, by name.

    Returns:
      The same, as JAX's arrays.
    """
    return {field: jnp.asarray(value) for field, value in fields.items()}


def _shape_of(field: str, function: Callable, *inputs: Any) -> tuple[int, ...] | None:
    """The shape of the array (or number) that a user's function returns; None where it returns no such thing."""
    return getattr(traced(field, lambda *x: jax.tree.map(jnp.asarray, function(*x)), *inputs), "shape", None)


def _check_functions(env: MjxEnv, sample: Callable[[Key], Fields]) -> None:
    """ConfigError unless reward and terminated give what they should."""
    key = jax.random.key(0)
    task, before = jax.eval_shape(sample, key), env.start
    action = jnp.zeros(env.spec.action_size)
    calls = {"reward": (env.reward, before, before, action, task), "terminated": (env.terminated, before, task)}
    for field, call in calls.items():
        shape = _shape_of(field, *call)
        check(shape == (), field, "nothing" if shape is None else shape, "must return a scalar")


def from_brax(
    env: Any, sample: Callable[[Key], Fields], *, name: str, horizon: int, num_episodes: int = 2
) -> TaskDistribution:
    """A Brax environment of which named fields of the system differ from task to task.

    Args:
      env: as ``brax.envs.get_environment`` returns it, without wrappers.
      sample: ``key -> {field of brax.System: array}``, e.g. ``link.inertia.mass`` or ``dof.damping``.
      name: of the distribution.
      horizon: steps in an episode.
      num_episodes: episodes in a trial.

    Returns:
      The distribution; a task is the fields that replace the system's.

    Raises:
      ConfigError: another kind of environment, or a field that the system does not have in that shape.
    """
    use_cpu_cores()
    counts = dict(horizon=horizon, num_episodes=num_episodes)
    check_all(counts, lambda x: whole(x) and x >= 1, "must be a whole number of at least 1")
    _check_name(name)
    brax = hasattr(env, "sys") and hasattr(env, "action_size")
    check(brax, "env", env, "give what brax.envs.get_environment returns")
    # A wrapper would show the task's system and step the environment inside it, which keeps its own.
    check(getattr(env, "unwrapped", env) is env, "env", env, "give it without wrappers: env.unwrapped")
    _check_fields(sample, env.sys)
    task = lambda key: strong(arrays(sample(key)))
    return TaskDistribution(name, BraxEnv(env, horizon), task, horizon, horizon * num_episodes)


def _check_fields(sample: Callable[[Key], Fields], model: Any) -> None:
    """ConfigError unless every field that ``sample`` draws is one of the model's, in its shape."""
    drawn = traced("sample", lambda key: sample(key), jax.random.key(0))
    named = isinstance(drawn, Mapping) and len(drawn) > 0 and all(isinstance(field, str) for field in drawn)
    check(named, "sample", drawn, "must return {field: array} of the model")
    for field, value in drawn.items():
        owner, _, last = field.rpartition(".")
        near = functools.reduce(lambda x, part: getattr(x, part, None), owner.split(".") if owner else [], model)
        own: Any = getattr(near, last, None)
        if not (hasattr(own, "dtype") and own.dtype.kind == "f"):
            guess = difflib.get_close_matches(last, dir(near), n=1)
            hint = f", did you mean {guess[0]!r}?" if guess else ""
            raise ConfigError(f"sample={field!r}: is no field of numbers of the model{hint}")
        known = hasattr(value, "dtype") and value.dtype.kind in "fiu" and value.shape == jnp.shape(own)
        given = f"{field} {getattr(value, 'shape', value)} {getattr(value, 'dtype', '')}"
        check(known, "sample", given, f"must be real numbers of shape {jnp.shape(own)}")
