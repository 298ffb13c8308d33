"""An environment that shows its agent noise, drawn as an episode begins and held, or turned, through it.

So whatever lives in it (``rollout``) and re-reads its records (``replay``) may act on that noise, and needs to know
nothing of it. Axis letters: ``[Z]`` numbers of noise, ``[E]`` episodes side by side.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.types import Environment, Key, PyTree, Spec, State, Task, Trajectory


class HeldState(NamedTuple):
    """The environment's own state, the episode's noise, and how many steps old it is."""

    plain: State
    noise: jax.Array
    age: jax.Array


class HeldNoise:
    """``env`` with observations ``(o, e)``: ``e ~ N(0, I)`` of ``size`` is drawn as an episode begins and held to its
    end."""

    def __init__(self, env: Environment, size: int):
        self.env, self.size = env, size
        self.features = int(np.prod(env.spec.observation_shape))
        self.spec: Spec = env.spec._replace(observation_shape=(self.features + size,))

    def noise(self, key: Key, shape: tuple[int, ...]) -> jax.Array:
        return jax.random.normal(key, (*shape, self.size))

    def shown(self, state: HeldState) -> jax.Array:
        return state.noise

    def draw(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        plain_key, noise_key = jax.random.split(key)
        return self.env.draw(plain_key, shape), self.noise(noise_key, shape)

    def begin(self, noise: PyTree, task: Task) -> HeldState:
        return HeldState(self.env.begin(noise[0], task), noise[1], jnp.int32(0))

    def advance(
        self, noise: PyTree, state: HeldState, action: jax.Array, task: Task
    ) -> tuple[HeldState, jax.Array, jax.Array, dict]:
        plain, reward, terminated, info = self.env.advance(noise[0], state.plain, action, task)
        return HeldState(plain, state.noise, state.age + 1), reward, terminated, info

    def observe(self, state: HeldState, task: Task) -> jax.Array:
        seen = self.env.observe(state.plain, task).astype(jnp.float32).reshape(-1)
        return jnp.concatenate([seen, self.shown(state)])

    def is_truncated(self, state: HeldState, task: Task) -> jax.Array:
        return self.env.is_truncated(state.plain, task)


class TurningNoise(HeldNoise):
    """As ``HeldNoise``, but ``e`` makes half a turn of a circle of radius ``sqrt(Z)`` in ``period`` steps, so that an
    episode goes through many latents, one beside the other. At every step ``e`` has mean 0 and covariance I.

    Episodes side by side (the last axis of what is drawn) share the circle, itself drawn at random, and start evenly
    spaced on it: together they leave out little. ``size`` is at least 2: a circle lies in a plane.
    """

    def __init__(self, env: Environment, size: int, period: int):
        super().__init__(env, size)
        self.period = period

    def noise(self, key: Key, shape: tuple[int, ...]) -> jax.Array:
        """``[..., E, 2, Z]``: where each starts, and where it is a quarter of a turn later."""
        *batch, episodes = shape
        first, second = jnp.moveaxis(jax.random.normal(key, (*batch, 1, 2, self.size)), -2, 0)
        first = unit(first)
        second = unit(second - (second * first).sum(axis=-1, keepdims=True) * first)
        phase = 2.0 * jnp.pi * jnp.arange(episodes).reshape((1,) * len(batch) + (-1, 1)) / episodes
        cos, sin = jnp.cos(phase), jnp.sin(phase)
        return jnp.stack([cos * first + sin * second, cos * second - sin * first], axis=-2) * self.size**0.5

    def shown(self, state: HeldState) -> jax.Array:
        angle = jnp.pi * state.age / self.period
        return jnp.cos(angle) * state.noise[0] + jnp.sin(angle) * state.noise[1]


def unit(x: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.square(x).sum(axis=-1, keepdims=True) + 1e-12)


def held(observation: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """``(o [..., F], e [..., Z])`` of a wrapped environment's observation."""
    return observation[..., :-size], observation[..., -size:]


def without_noise(lived: Trajectory, shape: tuple[int, ...], size: int) -> Trajectory:
    """A wrapped environment's trajectory as the environment itself would tell it."""
    plain = lambda observation: held(observation, size)[0].reshape(*observation.shape[:-1], *shape)
    return lived._replace(
        timestep=lived.timestep._replace(observation=plain(lived.timestep.observation)),
        next_observation=plain(lived.next_observation),
        env_state=lived.env_state.plain,
        next_env_state=lived.next_env_state.plain,
    )
