"""Whether tasks are those of a distribution."""

import jax
import jax.numpy as jnp

from metarl_jax.config import check
from metarl_jax.records import Task, TaskDistribution
from metarl_jax.storage.files import on_host
from metarl_jax.tasks.checks import check_tasks
from metarl_jax.tasks.shapes import check_not_nan


def checked(tasks: TaskDistribution, batch: Task) -> Task:
    """Checks that tasks are those of a distribution.

    Args:
      tasks: the distribution.
      batch: its tasks, leaves ``[N, ...]``.

    Returns:
      ``batch`` as JAX's arrays.

    Raises:
      ConfigError: these are not tasks of it (another structure, shape or type), or none, or ``check_tasks`` refuses it.
    """
    check_tasks(tasks)
    wanted, leaves = jax.eval_shape(tasks.sample, jax.random.key(0)), list(map(on_host, jax.tree.leaves(batch)))
    size = len(leaves[0]) if leaves and leaves[0].ndim else 0
    told = lambda leaf: (*leaf.shape, leaf.dtype)
    same = jax.tree.structure(batch) == jax.tree.structure(wanted) and all(
        told(leaf) == (size, *told(like)) for leaf, like in zip(leaves, jax.tree.leaves(wanted), strict=True)
    )
    fix = f"give tasks of {tasks.name}, leaves [N, ...] of {wanted}"
    check(same and size > 0, "batch", [told(leaf) for leaf in leaves], fix)
    check_not_nan("batch", batch)
    return jax.tree.map(jnp.asarray, batch)
