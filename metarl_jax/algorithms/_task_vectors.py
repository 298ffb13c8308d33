"""A task as a vector, for what may look at tasks in meta-training: ``vectors(tasks)(task) -> [F]``."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.types import Task, TaskDistribution

SAMPLES = 256  # from which the spread of each number is told
LARGEST = 256  # whole numbers from a range of at most this many become one-hot


def vectors(tasks: TaskDistribution) -> tuple[Callable[[Task], jax.Array], int]:
    """``(task -> [F], F)`` for the tasks of a distribution, whatever their pytree.

    What is the same in all tasks is left out. A whole number by itself (a goal cell, say) becomes one-hot; all other
    numbers are standardised by the mean and standard deviation of ``SAMPLES`` draws (of the whole set, if finite).
    """
    drawn = tasks.tasks
    if drawn is None:
        drawn = jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), SAMPLES))
    encoders = [encoder(np.asarray(leaf)) for leaf in jax.tree.leaves(drawn)]

    def vector(task: Task) -> jax.Array:
        parts = [encode(leaf) for encode, leaf in zip(encoders, jax.tree.leaves(task), strict=True)]
        return jnp.concatenate(parts)

    one = jax.tree.map(lambda x: x[0], drawn)
    return vector, jax.eval_shape(vector, one).size


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
