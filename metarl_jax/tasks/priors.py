"""Priors that are finite sets of tasks: the distinct ones and their weights, and references that are not of them."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from metarl_jax.records import Reference, Task
from metarl_jax.storage.files import key_data

DRAWN_FROM = "the distribution that it was drawn from"


class Prior(NamedTuple):
    """``tasks [G]``, all distinct; ``weight [G]``, their chances, float64; ``row [M]``: which of them each row was."""

    tasks: Task
    weight: np.ndarray
    row: np.ndarray


def prior_of(batch: Task) -> Prior:
    """The prior that draws each row of ``batch``, leaves ``[M, ...]``, equally often; tasks in order of appearance."""
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
    """Whether two batches, leaves ``[N, ...]`` and ``[M, ...]``, hold the same tasks in the same proportions."""
    sizes = [jax.tree.leaves(batch)[0].shape[0] for batch in (some, other)]
    row = prior_of(jax.tree.map(lambda a, b: np.concatenate([key_data(a), key_data(b)]), some, other)).row
    counts = [np.bincount(part, minlength=row.max() + 1) for part in (row[: sizes[0]], row[sizes[0] :])]
    return bool((counts[0] * sizes[1] == counts[1] * sizes[0]).all())


def of_these(found: Sequence[Reference], tasks: Task, prior: Task) -> list[Reference]:
    """``found``, planned for ``prior``: where ``tasks`` are others, or held in other proportions, what is a mean over
    the prior and not a value of each task is marked so."""
    if same_prior(tasks, prior):
        return list(found)
    return elsewhere(found, "the prior, which these tasks are not", scalars=True)


def elsewhere(found: Sequence[Reference], of: str = DRAWN_FROM, scalars: bool = False) -> list[Reference]:
    """``found``, marked as not of the tasks asked about: all, or with ``scalars`` those that are one number."""
    return [r if scalars and np.ndim(r.trial_return) else r._replace(of=r.of or of) for r in found]
