"""An environment that shows its agent noise, drawn as an episode begins and held through it.

So whatever lives in it (``rollout``) and re-reads its records (``replay``) may act on a draw that is held, and needs to
know nothing of it. Axis letters: ``[Z]`` numbers of noise.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.types import Environment, Key, PyTree, Spec, State, Task, Trajectory


class HeldState(NamedTuple):
    """The environment's own state, the noise ``[Z]`` that is held, and for how many steps it has been."""

    plain: State
    noise: jax.Array
    age: jax.Array


class HeldNoise:
    """``env`` with observations ``(o, e)``: ``e ~ N(0, I)`` of ``size`` is drawn as an episode begins and held for
    ``hold`` steps (0: to its end), then drawn anew."""

    def __init__(self, env: Environment, size: int, hold: int = 0):
        self.env, self.size, self.hold = env, size, hold
        self.features = int(np.prod(env.spec.observation_shape))
        self.spec: Spec = env.spec._replace(observation_shape=(self.features + size,))

    def draw(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        plain_key, noise_key = jax.random.split(key)
        return self.env.draw(plain_key, shape), jax.random.normal(noise_key, (*shape, self.size))

    def begin(self, noise: PyTree, task: Task) -> HeldState:
        return HeldState(self.env.begin(noise[0], task), noise[1], jnp.int32(0))

    def advance(
        self, noise: PyTree, state: HeldState, action: jax.Array, task: Task
    ) -> tuple[HeldState, jax.Array, jax.Array, dict]:
        plain, reward, terminated, info = self.env.advance(noise[0], state.plain, action, task)
        age = state.age + 1
        old = age >= self.hold if self.hold else jnp.bool_(False)
        state = HeldState(plain, jnp.where(old, noise[1], state.noise), jnp.where(old, 0, age))
        return state, reward, terminated, info

    def observe(self, state: HeldState, task: Task) -> jax.Array:
        seen = self.env.observe(state.plain, task).astype(jnp.float32).reshape(-1)
        return jnp.concatenate([seen, state.noise])

    def is_truncated(self, state: HeldState, task: Task) -> jax.Array:
        return self.env.is_truncated(state.plain, task)


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
