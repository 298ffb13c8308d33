"""A task as a vector, ``vectors(tasks)(task) -> [F]``: for what may look at tasks in meta-training, or is told them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.algorithms._held_noise import untold
from metarl_jax.types import Environment, Key, PyTree, Spec, State, Task, TaskDistribution, Trajectory

SAMPLES = 256  # from which the spread of each number is told
LARGEST = 256  # whole numbers from a range of at most this many become one-hot


def vectors(tasks: TaskDistribution) -> tuple[Callable[[Task], jax.Array], int]:
    """``(task -> [F], F)`` for the tasks of a distribution, whatever their pytree.

    What is the same in all tasks is left out. A whole number by itself (a goal cell, say) becomes one-hot; all other
    numbers are standardised by the mean and standard deviation of ``SAMPLES`` draws (of the whole set, if finite).
    """
    drawn = examples(tasks)
    encoders = [encoder(np.asarray(leaf)) for leaf in jax.tree.leaves(drawn)]

    def vector(task: Task) -> jax.Array:
        parts = [encode(leaf) for encode, leaf in zip(encoders, jax.tree.leaves(task), strict=True)]
        return jnp.concatenate(parts)

    one = jax.tree.map(lambda x: x[0], drawn)
    return vector, jax.eval_shape(vector, one).size


def examples(tasks: TaskDistribution) -> Task:
    """``SAMPLES`` draws, the whole set if it is finite: leaves ``[N, ...]``."""
    if tasks.tasks is not None:
        return tasks.tasks
    return jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), SAMPLES))


def encoder(drawn: np.ndarray) -> Callable[[jax.Array], jax.Array]:
    """``leaf -> [F]`` for a leaf of which ``drawn [N, ...]`` are examples."""
    if drawn.ndim == 1 and drawn.dtype.kind == "i":
        low, count = int(drawn.min()), int(drawn.max() - drawn.min()) + 1
        if 1 < count <= LARGEST:
            return lambda leaf: jax.nn.one_hot(leaf - low, count)
    flat = drawn.reshape(len(drawn), -1).astype(np.float32)
    mean, std = flat.mean(axis=0), flat.std(axis=0)
    varies = np.flatnonzero(std > 1e-6 * (1.0 + np.abs(mean)))
    return lambda leaf: (leaf.astype(jnp.float32).reshape(-1)[varies] - mean[varies]) / std[varies]


class SeenTask:
    """``env`` with observations ``(o, vector of the task)``: what an agent sees that is told its task."""

    def __init__(self, tasks: TaskDistribution):
        self.env: Environment = tasks.env
        self.describe, self.width = vectors(tasks)
        features = int(np.prod(tasks.env.spec.observation_shape))
        self.spec: Spec = tasks.env.spec._replace(observation_shape=(features + self.width,))

    def draw(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        return self.env.draw(key, shape)

    def begin(self, noise: PyTree, task: Task) -> State:
        return self.env.begin(noise, task)

    def advance(self, noise: PyTree, state: State, action: jax.Array, task: Task):
        return self.env.advance(noise, state, action, task)

    def observe(self, state: State, task: Task) -> jax.Array:
        seen = self.env.observe(state, task).astype(jnp.float32).reshape(-1)
        return jnp.concatenate([seen, self.describe(task)])

    def is_truncated(self, state: State, task: Task) -> jax.Array:
        return self.env.is_truncated(state, task)

    def untold(self, lived: Trajectory) -> Trajectory:
        """A trajectory as the environment itself would tell it."""
        return untold(lived, self.env.spec.observation_shape, self.width)
