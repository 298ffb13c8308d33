"""Blocks of tasks: some of them side by side, the others after them, so that memory is that of a block.

Axis letters: ``[N]`` tasks, ``[B]`` those of a block. Without blocks (``block`` is 0, N, or does not divide N) the
program is the one that knows of none.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl_jax.records import PyTree


def over_tasks(function: Callable, block: int, *inputs: PyTree) -> PyTree:
    """``function`` of each task. On a CPU what a few tasks need stays in the cache.

    Args:
      function: of one task's inputs.
      block: tasks at a time, see ``over_blocks``.
      *inputs: leaves ``[N, ...]``.

    Returns:
      Leaves ``[N, ...]``.
    """
    return over_blocks(lambda *inputs: ((), jax.vmap(function)(*inputs)), block, *inputs)[1]


def over_blocks(function: Callable, block: int, *inputs: PyTree) -> tuple[PyTree, PyTree]:
    """``function`` of blocks of tasks, one after the other; the same as of all at once.

    What ``function`` differentiates is differentiated a block at a time, and only means are kept of it.

    Args:
      function: ``(*inputs [B, ...]) -> (means over its tasks, leaves [B, ...])``.
      block: B; 0, or no divisor of N: all at once.
      *inputs: leaves ``[N, ...]``.

    Returns:
      ``(means over all tasks, leaves [N, ...])``.
    """
    count = jax.tree.leaves(inputs)[0].shape[0]
    if not block or count % block or count == block:
        return function(*inputs)
    num_blocks = count // block
    # Tasks are spread over devices in runs of neighbours: a block takes one of every `num_blocks`, an equal share of
    # each device's, and the loop is never over the axis that is spread.
    split = lambda x: jnp.moveaxis(x.reshape(block, num_blocks, *x.shape[1:]), 1, 0)
    join = lambda x: jnp.moveaxis(x, 0, 1).reshape(count, *x.shape[2:])
    blocks = jax.tree.map(split, inputs)

    def body(total, inputs):
        means, led = function(*inputs)
        return jax.tree.map(jnp.add, total, means), led

    shapes, _ = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], blocks))
    total, led = jax.lax.scan(body, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), blocks)
    return jax.tree.map(lambda x: x / num_blocks, total), jax.tree.map(join, led)


def memory_options(name: str, block: int, remat: bool | None, num_tasks: int, num_devices: int) -> dict[str, tuple]:
    """``Algorithm.memory_options`` of the options ``remat`` and ``name``, a size of blocks.

    Args:
      name: the option that sets the size.
      block: its value (0: open).
      remat: its value (None: open).
      num_tasks: of an update.
      num_devices: over which tasks are spread.

    Returns:
      Values to try, by option, those that need most memory first.
    """
    found: dict[str, tuple] = {"remat": (False, True)} if remat is None else {}
    return found if block else found | {name: candidate_batch_sizes(num_tasks, num_devices)}


def candidate_batch_sizes(num_tasks: int, num_devices: int = 1) -> tuple[int, ...]:
    """Blocks from all tasks (0) down to one a device, each at most half of the one before; all can be shared evenly.

    Args:
      num_tasks: of an update.
      num_devices: over which they are spread.

    Returns:
      Sizes.
    """
    sizes, most = [], num_tasks // 2
    for size in range(most, 0, -1):
        if size <= most and num_tasks % size == 0 and size % num_devices == 0:
            sizes.append(size)
            most = size // 2
    return (0, *sizes)
