"""Finite sets of tasks: samples of a distribution, or a curriculum's buffer; saved and loaded."""

import functools
import inspect
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import ConfigError, check
from metarl_jax.records import Reference, Task, TaskDistribution
from metarl_jax.storage.files import is_key, key_data, user_path
from metarl_jax.tasks.batches import checked
from metarl_jax.tasks.checks import check_tasks
from metarl_jax.tasks.environment import one_of


def finite(tasks: TaskDistribution, batch: Task) -> TaskDistribution:
    """The distribution that draws from a batch of tasks alone.

    Each row is drawn equally often; a task that is held twice is one task of twice the weight. References are those of
    an agent that knows this set: it is their prior. All else is that of ``tasks``.

    Args:
      tasks: the distribution that they are of.
      batch: leaves ``[N, ...]``.

    Returns:
      The distribution, a finite set.

    Raises:
      ConfigError: these are not tasks of it (another structure, shape or type), or none; its references take no prior.

    Example:
      ``finite(tasks, jax.vmap(tasks.sample)(jax.random.split(jax.random.key(0), 64)))``
    """
    batch = checked(tasks, batch)
    sample = functools.partial(one_of, batch)
    references = tasks.references and _of_prior(tasks.references, tasks, batch)
    return tasks._replace(
        name=f"{tasks.name}-set",
        sample=sample,
        tasks=batch,
        references=references,
        recipe=None,
        belief=None,
        target=None,
    )


def _of_prior(
    references: Callable[..., list[Reference]], tasks: TaskDistribution, batch: Task
) -> Callable[..., list[Reference]]:
    """The references of ``tasks`` with ``batch`` for their prior."""
    try:
        inspect.signature(references).bind(batch, tasks.trial_steps, prior=batch)
    except TypeError as error:
        fix = "write references(tasks, trial_steps, prior=None): a finite set is its own prior"
        raise ConfigError(f"tasks={tasks.name!r}: its references take no prior ({error}): {fix}") from error
    return functools.partial(references, prior=batch)


def save_tasks(path: str | os.PathLike, tasks: TaskDistribution) -> Path:
    """Writes the tasks of a finite set to a ``.npz`` file (NumPy's), leaf by leaf.

    Args:
      path: the file; it is replaced where there is one.
      tasks: the distribution.

    Returns:
      The file's path.

    Raises:
      ConfigError: the set is not finite, the file's name does not end in ``.npz``, or it cannot be written.
    """
    path = named(path)
    check_tasks(tasks)
    if tasks.tasks is None:
        raise ConfigError(f"tasks={tasks.name!r}: is no finite set: make one, tasks.finite(tasks, batch)")
    partial = path.with_name(f".{path.name}.partial.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(partial, *map(key_data, jax.tree.leaves(tasks.tasks)))
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(f"path={str(path)!r}: cannot be written ({error.strerror}): give another") from None
    return path


def load_tasks(path: str | os.PathLike, tasks: TaskDistribution) -> TaskDistribution:
    """Reads the finite set that ``save_tasks`` wrote.

    Args:
      path: the file.
      tasks: the distribution that its tasks are of.

    Returns:
      The distribution that draws from these tasks alone.

    Raises:
      ConfigError: no such file, or not of such tasks.
    """
    path = named(path)
    check_tasks(tasks)
    if not path.exists():
        raise ConfigError(f"path={str(path)!r}: there is no such file: save_tasks writes one")
    try:
        with np.load(path) as saved:
            leaves = [saved[f"arr_{i}"] for i in range(len(saved.files))]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # whatever NumPy says of what is none of its
        raise ConfigError(f"path={str(path)!r}: is no file of save_tasks, or damaged: write it again") from None
    one = tasks.sample(jax.random.key(0))
    kind = jax.tree.structure(one)
    fits = len(leaves) == kind.num_leaves
    check(fits, "path", str(path), f"holds {len(leaves)} arrays, a task of {tasks.name} has {kind.num_leaves}")
    typed = lambda leaf, like: jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(like)) if is_key(like) else leaf
    return finite(tasks, jax.tree.map(typed, jax.tree.unflatten(kind, leaves), one))


def named(path: str | os.PathLike) -> Path:
    """Checks the name of a ``.npz`` file.

    Args:
      path: the name.

    Returns:
      Its path.

    Raises:
      ConfigError: it does not end in ``.npz``.
    """
    fits = isinstance(path, str | os.PathLike) and Path(path).suffix == ".npz"
    check(fits, "path", path, "give the name of a .npz file")
    return user_path(path)


def which(candidates: Task, task: Task) -> jax.Array:
    """Which of some distinct tasks a task is.

    Args:
      candidates: leaves ``[G, ...]``, all distinct.
      task: one task.

    Returns:
      float32 ``[G]``, one-hot; all 0 where it is none of them.
    """
    equal = lambda some, one: (some == jnp.asarray(one)[None]).reshape(some.shape[0], -1).all(axis=1)
    same = jax.tree.leaves(jax.tree.map(equal, candidates, task))
    return jnp.stack(same).all(axis=0).astype(jnp.float32)
