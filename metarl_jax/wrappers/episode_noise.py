"""An environment that shows its agent noise, drawn as an episode begins and held, or turned, through it.

So whatever lives in it (``rollout``) and re-reads its records (``replay``) may act on that noise, and needs to know
nothing of it. Axis letters: ``[Z]`` numbers of noise, ``[E]`` episodes side by side.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.networks import held
from metarl_jax.records import Environment, Key, PyTree, Spec, State, Task, Trajectory


class HeldState(NamedTuple):
    """A state with the episode's noise.

    Attributes:
      plain: the environment's own state.
      noise: of this episode.
      age: steps since the noise was drawn.
    """

    plain: State
    noise: jax.Array
    age: jax.Array


class EpisodeNoiseWrapper:
    """``env`` with observations ``(o, e)``: ``e ~ N(0, I)`` is drawn at an episode's start and constant in it.

    Attributes:
      env: the wrapped environment.
      size: numbers of noise.
      features: numbers of the wrapped environment's observations.
      spec: the wrapped environment's, with observations ``[features + size]``.
    """

    def __init__(self, env: Environment, size: int):
        self.env, self.size = env, size
        self.features = int(np.prod(env.spec.observation_shape))
        self.spec: Spec = env.spec._replace(observation_shape=(self.features + size,))

    def noise(self, key: Key, shape: tuple[int, ...]) -> jax.Array:
        """The noise of an episode.

        Args:
          key: of the draw.
          shape: leading axes.

        Returns:
          ``[*shape, size]``.
        """
        return jax.random.normal(key, (*shape, self.size))

    def shown(self, state: HeldState) -> jax.Array:
        """What the agent sees of the noise.

        Args:
          state: in an episode.

        Returns:
          ``[size]``.
        """
        return state.noise

    def sample_noise(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        plain_key, noise_key = jax.random.split(key)
        return self.env.sample_noise(plain_key, shape), self.noise(noise_key, shape)

    def reset(self, noise: PyTree, task: Task) -> HeldState:
        return HeldState(self.env.reset(noise[0], task), noise[1], jnp.int32(0))

    def step(
        self, noise: PyTree, state: HeldState, action: jax.Array, task: Task
    ) -> tuple[HeldState, jax.Array, jax.Array, dict]:
        plain, reward, terminated, info = self.env.step(noise[0], state.plain, action, task)
        return HeldState(plain, state.noise, state.age + 1), reward, terminated, info

    def observe(self, state: HeldState, task: Task) -> jax.Array:
        seen = jnp.asarray(self.env.observe(state.plain, task), jnp.float32).reshape(-1)
        return jnp.concatenate([seen, self.shown(state)])

    def is_truncated(self, state: HeldState, task: Task) -> jax.Array:
        return self.env.is_truncated(state.plain, task)


class SweptLatentWrapper(EpisodeNoiseWrapper):
    """As ``EpisodeNoiseWrapper``, but ``e`` moves along a closed curve during the episode.

    ``e = sqrt(2) (cos x, sin x, cos 2x, sin 2x, ...) [Z]``, with ``x`` making half a turn in ``period`` steps, so that
    an episode goes through many latents, one beside the other. Episodes side by side (the last axis of what is drawn)
    start evenly spaced, all of them moved on by one draw: together they leave out little. Over a whole turn ``e`` has
    mean 0 and covariance I.

    Attributes:
      period: steps of half a turn.
    """

    def __init__(self, env: Environment, size: int, period: int):
        super().__init__(env, size)
        self.period = period

    def noise(self, key: Key, shape: tuple[int, ...]) -> jax.Array:
        """``x`` as each episode begins, in turns.

        Args:
          key: of one draw, which moves all.
          shape: leading axes, ``E`` the last.

        Returns:
          ``[..., E]``.
        """
        *batch, episodes = shape
        number = jnp.broadcast_to(jnp.arange(episodes), shape)
        return (number + jax.random.uniform(key, (*batch, 1))) / episodes

    def shown(self, state: HeldState) -> jax.Array:
        """The latent of this step.

        Args:
          state: in an episode.

        Returns:
          ``[size]``.
        """
        numbers = jnp.arange(self.size)
        angle = 2.0 * jnp.pi * (state.noise + 0.5 * state.age / self.period) * (1 + numbers // 2)
        return 2.0**0.5 * jnp.cos(angle - 0.5 * jnp.pi * (numbers % 2))


def without_noise(trajectory: Trajectory, shape: tuple[int, ...], size: int) -> Trajectory:
    """A wrapped environment's trajectory as the environment itself would return it.

    Args:
      trajectory: of the wrapped one.
      shape: of the environment's observations.
      size: numbers of noise.

    Returns:
      The Trajectory.
    """
    plain = strip_observation(trajectory, shape, size)
    return plain._replace(env_state=trajectory.env_state.plain, next_env_state=trajectory.next_env_state.plain)


def strip_observation(trajectory: Trajectory, shape: tuple[int, ...], size: int) -> Trajectory:
    """A trajectory without the numbers that its observations end in.

    Args:
      trajectory: observations ``[..., F + size]``.
      shape: of the environment's observations, F numbers.
      size: how many numbers go.

    Returns:
      The Trajectory.
    """
    plain = lambda seen: held(seen, size)[0].reshape(*seen.shape[:-1], *shape)
    timestep = trajectory.timestep._replace(observation=plain(trajectory.timestep.observation))
    return trajectory._replace(timestep=timestep, next_observation=plain(trajectory.next_observation))
