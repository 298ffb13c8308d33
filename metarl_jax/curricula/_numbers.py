"""Tasks of real numbers, as vectors and back."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metarl_jax.config import check
from metarl_jax.types import Task, TaskDistribution


def as_numbers(
    tasks: TaskDistribution, curriculum: str
) -> tuple[Callable[[Task], jax.Array], Callable[[jax.Array], Task]]:
    """``(task -> [F], [F] -> task)``.

    Raises:
      ConfigError: tasks that are not made of real numbers, which ``curriculum`` needs.
    """
    shape = jax.eval_shape(tasks.sample, jax.random.key(0))
    real = all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(shape))
    check(real, "curriculum", curriculum, f"needs tasks of real numbers; those of {tasks.name} are not")
    unflatten = ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape))[1]
    return lambda task: ravel_pytree(task)[0], unflatten
