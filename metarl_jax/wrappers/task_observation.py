"""The task as a part of what is observed."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.records import Environment, Key, PyTree, Spec, State, Task, Trajectory
from metarl_jax.tasks.features import TaskFeatures
from metarl_jax.wrappers.episode_noise import strip_observation


class TaskObservationWrapper:
    """``env`` with observations ``(o, vector of the task)``: what an agent sees that is told its task."""

    def __init__(self, env: Environment, features: TaskFeatures):
        self.env, self.features = env, features
        size = int(np.prod(env.spec.observation_shape)) + features.size
        self.spec: Spec = env.spec._replace(observation_shape=(size,))

    def sample_noise(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        return self.env.sample_noise(key, shape)

    def reset(self, noise: PyTree, task: Task) -> State:
        return self.env.reset(noise, task)

    def step(self, noise: PyTree, state: State, action: jax.Array, task: Task):
        return self.env.step(noise, state, action, task)

    def observe(self, state: State, task: Task) -> jax.Array:
        seen = jnp.asarray(self.env.observe(state, task), jnp.float32).reshape(-1)
        return jnp.concatenate([seen, self.features.vector(task)])

    def is_truncated(self, state: State, task: Task) -> jax.Array:
        return self.env.is_truncated(state, task)

    def strip_observation(self, trajectory: Trajectory) -> Trajectory:
        """A trajectory as the environment itself would return it.

        Args:
          trajectory: of the wrapped one.

        Returns:
          The Trajectory.
        """
        return strip_observation(trajectory, self.env.spec.observation_shape, self.features.size)
