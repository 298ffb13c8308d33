"""Environments of other suites as task distributions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import ConfigError, check, whole
from metarl_jax.records import Key, Spec, Task, TaskDistribution
from metarl_jax.runtime.devices import use_cpu_cores
from metarl_jax.tasks.checks import check_tasks, unjitted
from metarl_jax.tasks.environment import Environment, strong
from metarl_jax.tasks.gymnax_stepping import going_on, name_of
from metarl_jax.tasks.shapes import a_key, depends_on_input, traced

LIMIT = "max_steps_in_episode"  # gymnax's name


class GymnaxState(NamedTuple):
    """A gymnax environment's state, with what its step returned beside it.

    gymnax returns observations and truncation with its states; they may be random, so they are stored with them.

    Attributes:
      state: gymnax's.
      observation: what the agent sees.
      truncated: whether the environment's own time limit ends the episode.
      time: steps since the episode began.
    """

    state: Any
    observation: jax.Array
    truncated: jax.Array
    time: jax.Array


class GymnaxEnv(Environment):
    """A gymnax 1.x environment, wrappers included, in the trial loop; discrete observations are one-hot.

    Episodes restart in the same task; ``horizon`` truncates them, and so does the environment's own limit.
    """

    def __init__(self, env: Any, params: Any, horizon: int):
        self.env, self.horizon = going_on(env), horizon
        observation, action = (_space_of(env, of, params) for of in ("observation", "action"))
        self.categories = _categories("observation", observation)
        shape = (self.categories,) if self.categories else _shape_of_box("observation", observation)
        if count := _categories("action", action):
            self.spec, self.scalar_action = Spec(shape, num_actions=count), False
            return
        low, high = _bounds(action)
        self.spec = Spec(shape, action_size=len(low), action_low=low, action_high=high)
        self.scalar_action = _shape_of_box("action", action) == ()

    def sample_noise(self, key: Key, shape: tuple[int, ...]):
        return jax.random.split(key, (*shape, 2))

    def reset(self, noise, task: Task):
        observation, state = self.env.reset(noise[0], task)
        return strong(GymnaxState(state, self.seen(observation), jnp.bool_(False), jnp.int32(0)))

    def step(self, noise, state: GymnaxState, action, task: Task):
        action = action[0] if self.scalar_action else action
        observation, new, reward, terminated, truncated, info = self.env.step(noise[1], state.state, action, task)
        if not self.env.stepped:  # it restarts by itself, and shows the next episode
            fix = "its step must call that of the environment that it wraps, or return info['final_observation']"
            check("final_observation" in info, "env", name_of(self.env), fix)
            observation = info["final_observation"]
        reward, terminated, truncated = jnp.asarray(reward, jnp.float32), _as_flag(terminated), _as_flag(truncated)
        reached = GymnaxState(new, self.seen(observation), truncated, state.time + 1)
        return strong(reached), reward.reshape(()), terminated, {}

    def seen(self, observation: Any) -> Any:
        """The observation as the agent sees it.

        Args:
          observation: gymnax's: an array, or the index of a discrete observation.

        Returns:
          An array; discrete observations one-hot ``[categories]``.
        """
        return jax.nn.one_hot(observation, self.categories) if self.categories else observation

    def observe(self, state: GymnaxState, task: Task):
        return state.observation

    def is_truncated(self, state: GymnaxState, task: Task):
        return state.truncated | (state.time >= self.horizon)


def _space_of(env: Any, of: str, params: Any) -> Any:
    try:
        return getattr(env, f"{of}_space")(params)
    except Exception as error:  # whatever a user's function may raise
        told = f"{type(error).__name__}: {error}"
        raise ConfigError(f"sample: must return params of {name_of(env)}: {of}_space fails ({told})") from None


def _as_flag(x: Any) -> jax.Array:
    """Any number but 0 is true, as for gymnax."""
    return jnp.asarray(x).astype(bool).reshape(())


def _categories(of: str, space: Any) -> int:
    """How many values a Discrete space has; 0 where it is another."""
    if not hasattr(space, "n"):
        return 0
    check(int(space.n) >= 1, f"{of}_space", space, "must have at least one value")
    return int(space.n)


def _shape_of_box(of: str, space: Any) -> tuple[int, ...]:
    box = hasattr(space, "low") and hasattr(space, "shape")
    check(box, f"{of}_space", space, "must be a Box or Discrete: wrap the environment so that it is one array")
    return tuple(int(n) for n in np.atleast_1d(space.shape))


def _bounds(space: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The least and the greatest value of each action of a Box."""
    shape = _shape_of_box("action", space)
    check(len(shape) <= 1, "action_space", space, "must be a vector of real numbers, or Discrete")
    real = jnp.issubdtype(np.dtype(space.dtype), jnp.floating)
    fix = "holds whole numbers, and actions are real or Discrete: make it a Discrete space of all their combinations"
    check(real, "action_space", space, fix)
    low, high = (np.broadcast_to(np.asarray(x, float), shape or (1,)) for x in (space.low, space.high))
    check(bool(np.isfinite([low, high]).all()), "action_space", space, "must be bounded")
    return tuple(low.tolist()), tuple(high.tolist())


def from_gymnax(
    env: Any, sample: Callable[[Key], Any], *, name: str, horizon: int | None = None, num_episodes: int = 4
) -> TaskDistribution:
    """A gymnax 1.x environment whose params differ from task to task.

    Wrappers (gymnax's, or classes of your own that override ``reset`` and ``step``) do what they do in gymnax.

    Args:
      env: as ``gymnax.make`` returns it, or wrapped.
      sample: ``key -> params``, e.g. ``lambda key: params.replace(gravity=jax.random.uniform(key, ...))``. Beware of
        params that hold derived values (CartPole's do): change those with them.
      name: of the distribution.
      horizon: longest episode. It replaces ``max_steps_in_episode`` where that is the same in all tasks, and is its
        default; where the params' differ from task to task, episodes end at their own limit, or here.
      num_episodes: a trial lasts ``num_episodes * horizon`` steps.

    Returns:
      The distribution; a task is the environment's params.

    Raises:
      ConfigError: no time limit; spaces that are neither Discrete nor a box of numbers, or that differ from task to
        task; a wrapper that reaches past gymnax's ``step``; or what ``check_tasks`` refuses.
    """
    use_cpu_cores()
    env = env.as_gymnax() if isinstance(env, Environment) else env
    made = all(hasattr(env, method) for method in ("reset_env", "step_env", "is_truncated", "observation_space"))
    check(made, "env", env, "give the environment that gymnax.make returns (the first of the two)")
    check(callable(sample), "sample", sample, "give a function key -> params")
    check(isinstance(name, str) and name != "", "name", name, "must be a name")
    check(horizon is None or whole(horizon), "horizon", horizon, "must be a whole number")
    check(whole(num_episodes) and num_episodes >= 1, "num_episodes", num_episodes, "must be at least 1")
    sample = unjitted(sample)
    _check_params(env, sample)
    params = sample(jax.random.key(0))
    own = hasattr(params, LIMIT)
    differs = own and depends_on_input(lambda key: getattr(sample(key), LIMIT), a_key())
    if horizon is None:
        check(own, "horizon", horizon, f"{name} has no {LIMIT} of its own: give one")
        check(not differs, "horizon", horizon, f"{LIMIT} differs from task to task: give the longest")
    limit = int(getattr(params, LIMIT, 0) if horizon is None else horizon)
    check(limit >= 1, "horizon", limit, "must be at least 1")

    def task(key):
        drawn = sample(key)
        return strong(drawn.replace(**{LIMIT: limit}) if own and not differs else drawn)

    distribution = TaskDistribution(
        name, GymnaxEnv(env, params, limit), task, horizon=limit, trial_steps=limit * num_episodes
    )
    check_tasks(distribution)
    return distribution


def _check_params(env: Any, sample: Callable[[Key], Any]) -> None:
    """ConfigError unless the environment starts with such params, and actions have the same bounds in all tasks."""
    shapes = traced("sample", sample, a_key())
    traced(f"sample: must return params of {name_of(env)}: reset_env", env.reset_env, a_key(), shapes)

    def edges(key):
        space = _space_of(env, "action", sample(key))
        return [jnp.asarray(edge) for edge in (getattr(space, "low", 0), getattr(space, "high", 0))]

    fix = "must be the same in all tasks: let them be the widest"
    check(not depends_on_input(edges, a_key()), "action_space", "bounds that differ from task to task", fix)
