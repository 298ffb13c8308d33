"""A task as a vector: for curricula and task encoders, and for agents whose observation has the vector."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import ConfigError
from metarl_jax.records import Task, TaskDistribution

SAMPLES = 256  # draws from which the mean and the standard deviation of each number are computed
LARGEST = 256  # whole numbers of at most this many values become one-hot


class TaskFeatures(NamedTuple):
    """How tasks become vectors.

    Attributes:
      vector: ``task -> [size]``.
      size: of the vector.
      check: ``(name, tasks [N])``: raises ConfigError for tasks of the distribution ``name`` which the vector does not
        describe as it describes those that it was made for.
    """

    vector: Callable[[Task], jax.Array]
    size: int
    check: Callable[[str, Task], None]


class Coder(NamedTuple):
    """How one leaf of a task becomes part of a vector.

    Attributes:
      encode: ``leaf -> [F]``.
      fault: ``leaves [N, ...] ->`` why some have no code, "" where all have.
    """

    encode: Callable[[jax.Array], jax.Array]
    fault: Callable[[jax.Array], str]


def vectors(tasks: TaskDistribution) -> TaskFeatures:
    """The features of the tasks of a distribution, whatever their pytree.

    What is the same in all tasks is left out. A whole number by itself (a goal cell, say) becomes one-hot where its
    range is known: the set is finite, or the distribution declares it (``TaskDistribution.counts``). All other numbers
    are standardised by the mean and the standard deviation of ``SAMPLES`` samples (of the whole set, if finite).

    Args:
      tasks: the distribution.

    Returns:
      The features.
    """
    drawn = examples(tasks)
    named = jax.tree_util.tree_leaves_with_path(drawn)
    counts = [0] * len(named) if tasks.counts is None else jax.tree.leaves(tasks.counts)
    names = [jax.tree_util.keystr(path).lstrip(".") or "the task" for path, _ in named]
    pairs = zip(named, counts, strict=True)
    coders = [_coder(leaf, int(count), tasks.tasks is not None) for (_, leaf), count in pairs]

    def vector(task: Task) -> jax.Array:
        leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(task)]
        return jnp.concatenate([coder.encode(leaf) for coder, leaf in zip(coders, leaves, strict=True)])

    one = jax.tree.map(lambda x: x[0], drawn)
    return TaskFeatures(vector, jax.eval_shape(vector, one).size, functools.partial(_check_coded, names, coders))


def examples(tasks: TaskDistribution) -> Task:
    """Examples of a distribution's tasks: ``SAMPLES`` samples, or the whole set if it is finite.

    Args:
      tasks: the distribution.

    Returns:
      Tasks, leaves ``[N, ...]``; the same at every call.
    """
    if tasks.tasks is not None:
        return tasks.tasks
    return jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(0), SAMPLES))


def _coder(some: jax.Array, count: int, whole_set: bool) -> Coder:
    """How a leaf of which there are examples is encoded (a typed PRNG key is no number, and is left out).

    Args:
      some: ``[N, ...]``, the examples.
      count: of the values, from 0 on, that a whole number is declared to have; 0: none are declared.
      whole_set: ``some`` are all that there are.
    """
    if jnp.issubdtype(some.dtype, jax.dtypes.prng_key):
        return Coder(lambda leaf: jnp.zeros(0), lambda leaves: "")
    drawn = np.asarray(some)
    if drawn.ndim == 1 and drawn.dtype.kind in "iu" and (count or whole_set):
        low, count = (0, count) if count else (int(drawn.min()), int(drawn.max()) - int(drawn.min()) + 1)
        if 1 < count <= LARGEST:
            values = np.unique(drawn) if whole_set else np.arange(count)
            return Coder(lambda leaf: jax.nn.one_hot(leaf - low, count), functools.partial(_other_value, values))
    flat = drawn.reshape(len(drawn), -1).astype(np.float32)
    mean, std = flat.mean(axis=0), flat.std(axis=0)
    varies = std > 1e-6 * np.abs(mean)  # less is rounding
    place = np.flatnonzero(varies)
    standardised = lambda leaf: (leaf.astype(jnp.float32).reshape(-1)[place] - mean[place]) / std[place]
    return Coder(standardised, functools.partial(_change_of_constant, flat[0], ~varies))


def _other_value(values: np.ndarray, leaves: jax.Array) -> str:
    """A value ``[N]`` that is none of ``values``."""
    other = np.setdiff1d(np.asarray(leaves), values)
    return f"is {other[0]} in some of them and in none of those learned in" if other.size else ""


def _change_of_constant(constant: np.ndarray, same: np.ndarray, leaves: jax.Array) -> str:
    """A number of ``leaves [N, ...]`` that differs from ``constant [F]`` where all examples were the ``same [F]``."""
    flat = np.asarray(leaves).reshape(len(leaves), -1).astype(np.float32)
    changed = (np.abs(flat - constant) > 1e-5 * np.abs(constant)) & same
    if not changed.any():
        return ""
    task, place = np.argwhere(changed)[0]
    where = f" at {tuple(map(int, np.unravel_index(place, leaves.shape[1:])))}" if leaves.ndim > 1 else ""
    return f"is {flat[task, place]:g}{where} in some of them and {constant[place]:g} in all of those learned in"


def _check_coded(names: list[str], coders: list[Coder], name: str, tasks: Task) -> None:
    """Checks tasks as ``TaskFeatures.check`` does."""
    for leaf_name, coder, leaf in zip(names, coders, jax.tree.leaves(tasks), strict=True):
        fault = coder.fault(leaf)
        if fault:
            raise ConfigError(
                f"tasks={name!r}: {leaf_name} {fault}, so that the features of training do not describe these tasks: "
                f"give tasks in which it is as in training, or train where {leaf_name} takes such values"
            )
