"""Finite sets of tasks as priors: the distinct tasks and their weights, and references that hold for other priors."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from metarl_jax.records import Reference, Task
from metarl_jax.storage.files import key_data

DRAWN_FROM = "the distribution that it was drawn from"


class Prior(NamedTuple):
    """A prior over a finite set of tasks.

    Attributes:
      tasks: leaves ``[G, ...]``, all distinct.
      weight: float64 ``[G]``, their probabilities.
      row: ``[M]``, the index in ``tasks`` of each row of the batch that the prior was made from.
    """

    tasks: Task
    weight: np.ndarray
    row: np.ndarray


def prior_of(batch: Task) -> Prior:
    """The prior that draws each row of a batch equally often.

    Args:
      batch: leaves ``[M, ...]``.

    Returns:
      The distinct tasks in order of appearance, and their probabilities.
    """
    leaves = [key_data(leaf) for leaf in jax.tree.leaves(batch)]
    count = len(leaves[0])
    flat = [leaf.reshape(count, -1) + np.zeros((), leaf.dtype) for leaf in leaves]  # 0 has one sign
    rows = np.concatenate([np.ascontiguousarray(leaf).view(np.uint8).reshape(count, -1) for leaf in flat], axis=1)
    _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    row = np.argsort(order)[which.reshape(-1)]
    chosen = first[order]
    tasks = jax.tree.map(lambda leaf: leaf[chosen], batch)
    return Prior(tasks, np.bincount(row, minlength=len(chosen)) / count, row)


def same_prior(some: Task, other: Task) -> bool:
    """Whether two batches hold the same tasks in the same proportions.

    Args:
      some: leaves ``[N, ...]``.
      other: leaves ``[M, ...]``.

    Returns:
      A boolean.
    """
    sizes = [jax.tree.leaves(batch)[0].shape[0] for batch in (some, other)]
    row = prior_of(jax.tree.map(lambda a, b: np.concatenate([key_data(a), key_data(b)]), some, other)).row
    counts = [np.bincount(part, minlength=row.max() + 1) for part in (row[: sizes[0]], row[sizes[0] :])]
    return bool((counts[0] * sizes[1] == counts[1] * sizes[0]).all())


def of_these(found: Sequence[Reference], tasks: Task, prior: Task) -> list[Reference]:
    """Marks references that were computed for a prior where the tasks are not those of the prior.

    Where ``tasks`` are others, or held in other proportions, what is a mean over the prior and not a value of each task
    is marked.

    Args:
      found: references computed for ``prior``.
      tasks: leaves ``[N, ...]``.
      prior: leaves ``[M, ...]``.

    Returns:
      The references.
    """
    if same_prior(tasks, prior):
        return list(found)
    return elsewhere(found, "the prior, which these tasks are not", scalars=True)


def elsewhere(found: Sequence[Reference], of: str = DRAWN_FROM, scalars: bool = False) -> list[Reference]:
    """Marks references as values of other tasks than those asked about.

    Args:
      found: the references.
      of: what they are of, in words.
      scalars: mark those alone that are one number, not one for each task.

    Returns:
      The references, ``of`` set where it was not.
    """
    return [r if scalars and np.ndim(r.trial_return) else r._replace(of=r.of or of) for r in found]
