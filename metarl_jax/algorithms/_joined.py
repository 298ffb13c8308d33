"""One thing that is meta-learned in several task distributions at once, whose spaces may differ."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import ConfigError
from metarl_jax.types import Algorithm, Key, MetaGradient, Portable, PyTree, TaskDistribution


class Elsewhere(NamedTuple):
    """``name``: of what its metrics are; ``algorithm``: made for ``tasks``."""

    name: str
    algorithm: Algorithm
    tasks: TaskDistribution


def joined(
    algorithm: Algorithm, others: Sequence[Elsewhere], place: Callable[[PyTree], PyTree] = lambda tasks: tasks
) -> Algorithm:
    """``algorithm``, whose meta-gradient is the mean of its own and the others', each from as many tasks of theirs.

    The outer step, what is adapted at meta-test and the outcome are ``algorithm``'s.

    Args:
      place: spreads tasks ``[N]`` over devices.

    Raises:
      ConfigError: what is learned depends on the tasks' spaces, or is not of the same shapes everywhere.
    """
    parts = [algorithm, *(other.algorithm for other in others)]
    wanted = learned_by(algorithm)
    for name, other, _ in others:
        if other.portable is None or wanted is None:
            raise ConfigError(f"also={name!r}: what is learned fits the spaces that it was learned in alone")
        if learned_by(other) != wanted:
            raise ConfigError(f"also={name!r}: learns other weights: give the same algorithm, with networks as large")
    estimators = [part.portable.estimator for part in parts if part.portable is not None]
    together = MetaGradient(
        functools.partial(begin, estimators, others), functools.partial(estimate, estimators, others, place)
    )
    assert algorithm.portable is not None
    learner = algorithm.portable.learner
    init, update = learner(together)
    return algorithm._replace(
        init=init,
        update=update,
        steps=sum(part.steps for part in parts),
        check=functools.partial(check_all, parts),
        portable=Portable(together, learner),
    )


def learned_by(algorithm: Algorithm) -> PyTree | None:
    """Shapes of what is meta-learned, None where it depends on the spaces."""
    if algorithm.portable is None:
        return None
    meta = jax.eval_shape(lambda key: algorithm.init(key, 1), jax.random.key(0)).meta
    return jax.tree.structure(meta), [(x.shape, x.dtype) for x in jax.tree.leaves(meta)]


def check_all(parts: Sequence[Algorithm], num_tasks: int) -> None:
    for part in parts:
        part.check(num_tasks)


def begin(
    estimators: Sequence[MetaGradient], others: Sequence[Elsewhere], key: Key, task: PyTree, num_tasks: int
) -> tuple[PyTree, ...]:
    shapes = [task, *(jax.eval_shape(other.tasks.sample, key) for other in others)]
    keys = [key, *(jax.random.fold_in(key, i) for i in range(len(others)))]
    pairs = zip(estimators, keys, shapes, strict=True)
    return tuple(estimator.init(key, shape, num_tasks) for estimator, key, shape in pairs)


def estimate(
    estimators: Sequence[MetaGradient],
    others: Sequence[Elsewhere],
    place: Callable[[PyTree], PyTree],
    key: Key,
    meta: PyTree,
    kept: tuple[PyTree, ...],
    tasks: PyTree,
):
    """The mean gradient; the outcome of the first, with the others' metrics by their names."""
    count = jax.tree.leaves(tasks)[0].shape[0]
    gradient, first, outcome = estimators[0].estimate(key, meta, kept[0], tasks)
    gradients, after, metrics = [gradient], [first], dict(outcome.metrics)
    for i, (estimator, other) in enumerate(zip(estimators[1:], others, strict=True)):
        keys = jax.random.split(jax.random.fold_in(key, i))
        batch = place(jax.vmap(other.tasks.sample)(jax.random.split(keys[0], count)))
        gradient, its, told = estimator.estimate(keys[1], meta, kept[i + 1], batch)
        gradients.append(gradient)
        after.append(its)
        metrics |= {f"{other.name}_{name}": value for name, value in told.metrics.items()}
    mean = jax.tree.map(lambda *leaves: jnp.stack(leaves).mean(axis=0), *gradients)
    return mean, tuple(after), outcome._replace(metrics=metrics)
