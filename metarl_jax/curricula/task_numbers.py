"""Tasks of real numbers, as vectors and back."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metarl_jax.config import check
from metarl_jax.records import Task, TaskDistribution
from metarl_jax.storage.files import on_host
from metarl_jax.tasks.features import examples


def as_numbers(
    tasks: TaskDistribution, curriculum: str
) -> tuple[Callable[[Task], jax.Array], Callable[[jax.Array], Task]]:
    """Functions that turn tasks into vectors of their real numbers and back.

    Leaves that are not real numbers and the same in all tasks are left out of the vector, and put back.

    Args:
      tasks: the distribution.
      curriculum: name that errors give.

    Returns:
      ``(task -> [F], [F] -> task)``.

    Raises:
      ConfigError: if the tasks differ in leaves that are not real numbers, or have no real numbers.
    """
    shapes, structure = jax.tree.flatten(jax.eval_shape(tasks.sample, jax.random.key(0)))
    real = [jnp.issubdtype(shape.dtype, jnp.floating) for shape in shapes]
    first = shapes if all(real) else constants(tasks, real, curriculum)
    split = ravel_pytree([jnp.zeros(x.shape, x.dtype) for x, is_real in zip(shapes, real, strict=True) if is_real])[1]

    def flat(task: Task) -> jax.Array:
        numbers = [x for x, is_real in zip(jax.tree.leaves(task), real, strict=True) if is_real]
        return ravel_pytree(numbers)[0]

    def unflatten(vector: jax.Array) -> Task:
        numbers = iter(split(vector))
        parts = [next(numbers) if is_real else jnp.asarray(x) for x, is_real in zip(first, real, strict=True)]
        return jax.tree.unflatten(structure, parts)

    return flat, unflatten


def constants(tasks: TaskDistribution, real: list[bool], curriculum: str) -> list[Any]:
    """The leaves of one task, for those that the vectors leave out.

    Args:
      tasks: the distribution.
      real: of each leaf, whether it is of real numbers.
      curriculum: name that errors give.

    Returns:
      The leaves, as numpy arrays.

    Raises:
      ConfigError: unless leaves that are not real are the same in all samples (``examples``), and some are real.
    """
    drawn = examples(tasks)
    if tasks.target is not None:
        goals = examples(tasks._replace(sample=tasks.target, tasks=None))
        drawn = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), drawn, goals)
    for (path, leaf), is_real in zip(jax.tree_util.tree_leaves_with_path(drawn), real, strict=True):
        fix = f"needs tasks of real numbers; {jax.tree_util.keystr(path)} of {tasks.name} differs and is not"
        check(is_real or bool((leaf == leaf[:1]).all()), "curriculum", curriculum, fix)
    check(any(real), "curriculum", curriculum, f"needs tasks of real numbers; {tasks.name} has none")
    return [on_host(leaf[0]) for leaf in jax.tree.leaves(drawn)]
