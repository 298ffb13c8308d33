"""Environments of other suites as task distributions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import ConfigError, check
from metarl_jax.devices import use_cpu_cores
from metarl_jax.tasks.environment import Environment, strong
from metarl_jax.types import Key, Spec, Task, TaskDistribution


class GymnaxState(NamedTuple):
    """gymnax returns observations with its states; they may be random, so they are kept with them."""

    state: Any
    observation: jax.Array


class GymnaxEnv(Environment):
    """A gymnax 1.x environment in the trial loop: episodes restart in the same task, the time limit truncates."""

    def __init__(self, env: Any, params: Any, horizon: int):
        self.env, self.horizon = env, horizon
        observation, action = env.observation_space(params), env.action_space(params)
        shape = getattr(observation, "shape", ())
        check(hasattr(observation, "shape"), "env", env.name, "must have an observation space with a shape")
        if hasattr(action, "n"):
            self.spec = Spec(shape, num_actions=int(action.n))
        else:
            check(len(action.shape) <= 1, "env", env.name, "must have a vector of continuous actions, or discrete ones")
            low, high = (tuple(np.broadcast_to(x, action.shape or (1,)).tolist()) for x in (action.low, action.high))
            check(bool(np.isfinite([low, high]).all()), "env", env.name, "must have bounded actions")
            self.spec = Spec(shape, action_size=len(low), action_low=low, action_high=high)
        self.scalar_action = getattr(action, "shape", ()) == () and self.spec.num_actions is None

    def draw(self, key: Key, shape: tuple[int, ...]):
        return jax.random.split(key, (*shape, 2))

    def begin(self, noise, task: Task):
        observation, state = self.env.reset_env(noise[0], task)
        return strong(GymnaxState(state, observation))

    def advance(self, noise, state: GymnaxState, action, task: Task):
        action = action[0] if self.scalar_action else action
        observation, new, reward, terminated, _ = self.env.step_env(noise[1], state.state, action, task)
        reward = jnp.asarray(reward, jnp.float32).reshape(())
        return strong(GymnaxState(new, observation)), reward, jnp.asarray(terminated), {}

    def observe(self, state: GymnaxState, task: Task):
        return state.observation

    def is_truncated(self, state: GymnaxState, task: Task):
        return self.env.is_truncated(state.state, task)


def from_gymnax(
    env: Any, sample: Callable[[Key], Any], *, name: str, horizon: int | None = None, num_episodes: int = 4
) -> TaskDistribution:
    """A gymnax 1.x environment whose params differ from task to task.

    Args:
      env: as ``gymnax.make`` returns it.
      sample: ``key -> params``, e.g. ``lambda key: params.replace(gravity=jax.random.uniform(key, ...))``. Beware of
        params that hold derived values (CartPole's do): change those with them.
      horizon: longest episode; sets ``max_steps_in_episode``, whose default holds otherwise.
      num_episodes: a trial lasts ``num_episodes * horizon`` steps.

    Raises:
      ConfigError: no time limit, or spaces that are no box of numbers.
    """
    use_cpu_cores()
    made = all(hasattr(env, method) for method in ("reset_env", "step_env", "is_truncated", "observation_space"))
    check(made, "env", env, "give the environment that gymnax.make returns (the first of the two)")
    check(callable(sample), "sample", sample, "give a function key -> params")
    check(horizon is None or isinstance(horizon, int), "horizon", horizon, "must be a whole number")
    check(isinstance(num_episodes, int), "num_episodes", num_episodes, "must be a whole number")
    try:
        params = sample(jax.random.key(0))
        jax.eval_shape(env.reset_env, jax.random.key(0), params)
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"sample={sample!r}: must take a key and return params of {name} ({error})") from error
    limit = int(getattr(params, "max_steps_in_episode", 0) if horizon is None else horizon)
    own = "" if horizon is not None or limit else f": {name} has no max_steps_in_episode of its own, give one"
    check(
        limit >= 1 and num_episodes >= 1, "horizon, num_episodes", (horizon, num_episodes), "must be at least 1" + own
    )

    def task(key):
        drawn = sample(key)
        if hasattr(drawn, "max_steps_in_episode"):
            drawn = drawn.replace(max_steps_in_episode=limit)
        return strong(drawn)

    return TaskDistribution(
        name=name,
        env=GymnaxEnv(env, params, limit),
        sample=task,
        horizon=limit,
        trial_steps=limit * num_episodes,
    )
