"""One thing that is meta-learned in several task distributions at once, whose spaces may differ."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.config import ConfigError, check
from metarl_jax.meta_gradients import STRATEGIES
from metarl_jax.records import Algorithm, Key, MetaGradient, PyTree, TaskAgnostic, TaskDistribution


class ExtraDistribution(NamedTuple):
    """Where else an algorithm learns at the same time.

    Attributes:
      name: before its metrics.
      algorithm: made for ``tasks``.
      tasks: the distribution.
    """

    name: str
    algorithm: Algorithm
    tasks: TaskDistribution


def multi_distribution(
    algorithm: Algorithm, others: Sequence[ExtraDistribution], place: Callable[[PyTree], PyTree] = lambda tasks: tasks
) -> Algorithm:
    """An algorithm whose meta-gradient is the mean of its own and the others', each from as many tasks of theirs.

    The outer step, what is adapted at meta-test and the outcome are ``algorithm``'s.

    Args:
      algorithm: the first one.
      others: where else it learns.
      place: spreads tasks ``[N]`` over devices.

    Returns:
      The Algorithm.

    Raises:
      ConfigError: what is learned depends on the tasks' spaces, or is not the same everywhere.
    """
    home, guests = _ported("the algorithm", algorithm), [_ported(f"also={x.name!r}", x.algorithm) for x in others]
    for other, guest in zip(others, guests, strict=True):
        _check_alike(other.name, home, guest)
        if _shapes_learned(other.algorithm) != _shapes_learned(algorithm):
            raise ConfigError(
                f"also={other.name!r}: learns other weights: give it the sizes of the first algorithm's networks"
            )
    estimators = [home.estimator, *(guest.estimator for guest in guests)]
    together = MetaGradient(
        functools.partial(begin, estimators, others), functools.partial(estimate, estimators, others, place)
    )
    init, update = home.learner(together)
    parts = [algorithm, *(other.algorithm for other in others)]
    return algorithm._replace(
        init=init,
        update=update,
        steps=sum(part.steps for part in parts),
        check=functools.partial(check_all, parts),
        portable=home._replace(estimator=together),
    )


def _ported(name: str, algorithm: Algorithm) -> TaskAgnostic:
    if algorithm.portable is None:
        fix = "give lpg, learned-optimizer or self-tuning, or learn in one task distribution alone"
        raise ConfigError(f"also: {name} learns what fits the spaces of its own tasks: {fix}")
    return algorithm.portable


def _check_alike(name: str, home: TaskAgnostic, guest: TaskAgnostic) -> None:
    options, others = dict(home.alike), dict(guest.alike)
    for field in options | others:
        here, there = options.get(field), others.get(field)
        if here != there:
            raise ConfigError(
                f"also={name!r}: {field}={there!r} must be {here!r} there too, for the same to be learned"
            )
    gradient = options["gradient"]
    check(gradient not in STRATEGIES, "gradient", gradient, "takes steps of its own, which also= has no mean of")


def _shapes_learned(algorithm: Algorithm) -> PyTree:
    meta = jax.eval_shape(lambda key: algorithm.init(key, 1), jax.random.key(0)).meta
    return jax.tree.structure(meta), [(x.shape, x.dtype) for x in jax.tree.leaves(meta)]


def check_all(parts: Sequence[Algorithm], num_tasks: int) -> None:
    """Raises where an update of one of the algorithms could not be run.

    Args:
      parts: the algorithms.
      num_tasks: of an update.
    """
    for part in parts:
        part.check(num_tasks)


def begin(
    estimators: Sequence[MetaGradient], others: Sequence[ExtraDistribution], key: Key, task: PyTree, num_tasks: int
) -> tuple[PyTree, ...]:
    """The states of all estimators.

    Args:
      estimators: one for each distribution.
      others: all but the first.
      key: of the draws.
      task: shapes of a task of the first.
      num_tasks: of an update.

    Returns:
      A tuple of states.
    """
    keys = jax.random.split(key, len(estimators))
    shapes = [task, *(jax.eval_shape(other.tasks.sample, key) for other in others)]
    triples = zip(estimators, keys, shapes, strict=True)
    return tuple(estimator.init(key, shape, num_tasks) for estimator, key, shape in triples)


def estimate(
    estimators: Sequence[MetaGradient],
    others: Sequence[ExtraDistribution],
    place: Callable[[PyTree], PyTree],
    key: Key,
    meta: PyTree,
    kept: tuple[PyTree, ...],
    tasks: PyTree,
):
    """The mean gradient; the outcome of the first, with the others' metrics by their names.

    Args:
      estimators: one for each distribution.
      others: all but the first.
      place: spreads tasks over devices.
      key: of the draws.
      meta: the meta-parameters.
      kept: the estimators' states.
      tasks: of the first distribution, leaves ``[N, ...]``.

    Returns:
      ``(gradient, states, Outcome)``.
    """
    count = jax.tree.leaves(tasks)[0].shape[0]
    keys = jax.random.split(key, len(estimators))
    gradient, first, outcome = estimators[0].estimate(keys[0], meta, kept[0], tasks)
    gradients, after, metrics = [gradient], [first], dict(outcome.metrics)
    for i, other in enumerate(others, start=1):
        draw_key, live_key = jax.random.split(keys[i])
        batch = place(jax.vmap(other.tasks.sample)(jax.random.split(draw_key, count)))
        gradient, its, told = estimators[i].estimate(live_key, meta, kept[i], batch)
        gradients.append(gradient)
        after.append(its)
        metrics |= {f"{other.name}_{name}": value for name, value in told.metrics.items()}
    mean = jax.tree.map(lambda *leaves: jnp.stack(leaves).mean(axis=0), *gradients)
    return mean, tuple(after), outcome._replace(metrics=metrics)
