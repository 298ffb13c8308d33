"""gymnax's interface of our environments."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from metarl_jax.records import Environment, Key, State, Task


class GymnaxInterface:
    """An environment with gymnax 1.x's methods and spaces, whose params are the task.

    Attributes:
      env: the environment.
    """

    def __init__(self, env: Environment):
        self.env = env

    def reset_env(self, key: Key, params: Task) -> tuple[jax.Array, State]:
        """Starts an episode.

        Args:
          key: a random key.
          params: the task.

        Returns:
          ``(observation, state)``.
        """
        state = self.env.reset(self.env.sample_noise(key, ()), params)
        return self.env.observe(state, params), state

    def step_env(
        self, key: Key, state: State, action: jax.Array, params: Task
    ) -> tuple[jax.Array, State, jax.Array, jax.Array, dict[str, Any]]:
        """One step; an episode that ends is not restarted.

        Args:
          key: a random key.
          state: the environment's state.
          action: an index, or a vector ``[action_size]``.
          params: the task.

        Returns:
          ``(observation, state, reward, terminated, info)``.
        """
        state, reward, terminated, info = self.env.step(self.env.sample_noise(key, ()), state, action, params)
        return self.env.observe(state, params), state, reward, terminated, info

    def is_truncated(self, state: State, params: Task) -> jax.Array:
        """Whether the time limit ends the episode.

        Args:
          state: the environment's state after a step.
          params: the task.

        Returns:
          A boolean.
        """
        return self.env.is_truncated(state, params)

    @functools.partial(jax.jit, static_argnames=("self",))
    def reset(self, key: Key, params: Task) -> tuple[jax.Array, State]:
        """``reset_env``, compiled.

        Args:
          key: a random key.
          params: the task.

        Returns:
          ``(observation, state)``.
        """
        return self.reset_env(key, params)

    @functools.partial(jax.jit, static_argnames=("self",))
    def step(
        self, key: Key, state: State, action: jax.Array, params: Task
    ) -> tuple[jax.Array, State, jax.Array, jax.Array, jax.Array, dict[str, Any]]:
        """One step, compiled; an episode that ends is restarted.

        Args:
          key: a random key.
          state: the environment's state.
          action: an index, or a vector ``[action_size]``.
          params: the task.

        Returns:
          ``(observation, state, reward, terminated, truncated, info)``; where an episode has ended, observation and
          state are those of the next one, and ``info["final_observation"]`` is what it ended with.
        """
        step_key, reset_key = jax.random.split(key)
        observation, state, reward, terminated, info = self.step_env(step_key, state, action, params)
        truncated = self.is_truncated(state, params) & ~terminated
        info = info | {"terminated": terminated, "truncated": truncated, "final_observation": observation}
        first = self.reset_env(reset_key, params)
        ended = terminated | truncated
        observation, state = jax.tree.map(lambda a, b: jnp.where(ended, a, b), first, (observation, state))
        return observation, state, reward, terminated, truncated, info

    @property
    def name(self) -> str:
        """The environment's class."""
        return type(self.env).__name__

    @property
    def num_actions(self) -> int:
        """How many discrete actions there are, or the size of a continuous one."""
        return self.env.spec.num_actions or self.env.spec.action_size

    def action_space(self, params: Task = None) -> Any:
        """The space of actions, gymnax's.

        Args:
          params: the task; all tasks have the same.

        Returns:
          A ``Discrete``, or a ``Box`` with the bounds of the environment's spec.
        """
        from gymnax.environments import spaces  # loads pandas and matplotlib: only when asked for

        spec = self.env.spec
        if spec.num_actions is not None:
            return spaces.Discrete(spec.num_actions)
        shape = (spec.action_size,)
        low, high = (jnp.broadcast_to(jnp.asarray(x), shape) for x in (spec.action_low, spec.action_high))
        return spaces.Box(low, high, shape)

    def observation_space(self, params: Task = None) -> Any:
        """The space of observations, gymnax's.

        Args:
          params: the task; all tasks have the same.

        Returns:
          A ``Box`` without bounds.
        """
        from gymnax.environments import spaces

        return spaces.Box(-jnp.inf, jnp.inf, self.env.spec.observation_shape)
