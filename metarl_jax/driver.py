"""The compiled side of training: many updates of many seeds in one program, nothing in it talks to the host."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from metarl_jax.config import Recipe
from metarl_jax.curricula import uniform
from metarl_jax.sharding import replicated, shard_tasks
from metarl_jax.types import Algorithm, Curriculum, Key, PyTree, Student, TaskDistribution, Trajectory


class Learner(NamedTuple):
    """All that an update changes."""

    algorithm: PyTree
    curriculum: PyTree


class Driver(NamedTuple):
    """``init(seeds) -> Learner [S, ...]``;
    ``advance(seeds, learner, start, count) -> (learner, metrics [capacity, S], done, finite)``: up to ``count``
    updates from number ``start``; it stops early, with ``finite`` false, when a number in the learner or the metrics
    is NaN or Inf. ``learner`` is donated. ``count`` is traced: chunks of any length up to ``capacity`` are one
    compiled program, so a chunk's length can change neither a bit of the result nor the time to compile.
    """

    init: Any
    advance: Any
    capacity: int
    curriculum: Curriculum


def driver(
    algorithm: Algorithm,
    tasks: TaskDistribution,
    num_tasks: int,
    mesh: Mesh | None = None,
    teaching: Recipe | None = None,
    capacity: int = 64,
) -> Driver:
    """Update ``i`` of a seed depends on (seed, i) and the learner alone: keys are ``fold_in(key(seed), i)``.

    Args:
      teaching: the recipe of the curriculum; None: uniform.
    """
    curriculum = (teaching or uniform()).build(tasks, student_of(algorithm, tasks, num_tasks, mesh))

    def update(seed: jax.Array, learner: Learner, index: jax.Array):
        key = jax.random.fold_in(jax.random.split(jax.random.key(seed))[1], index)
        task_key, update_key = jax.random.split(key)
        score_key = jax.random.fold_in(key, 2)  # apart, so that uniform runs stay what they were
        tasks_state, batch = curriculum.sample(task_key, index, learner.curriculum, learner.algorithm)
        state, outcome = algorithm.update(update_key, learner.algorithm, shard_tasks(batch, mesh))
        tasks_state, told = curriculum.update(score_key, index, tasks_state, state, outcome)
        metrics = outcome.metrics | {"trial_return": outcome.trial_return.mean()}
        return Learner(state, tasks_state), metrics | {f"curriculum_{name}": x for name, x in told.items()}

    updates = jax.jit(jax.vmap(update, in_axes=(0, 0, None)))  # jit: traced once, for its shapes and in the loop

    def init_one(seed: jax.Array) -> Learner:
        keys = jax.random.split(jax.random.split(jax.random.key(seed))[0])
        return Learner(algorithm.init(keys[0], num_tasks), curriculum.init(keys[1]))

    # Not vmap: on CPU, jaxlib's batched QR (orthogonal initialisers) waits inside XLA's thread pool for that same pool,
    # and several of them at once leave no thread to wait for (seen in 0.10.2: training hung in init).
    init = functools.partial(jax.lax.map, init_one)
    run = functools.partial(advance, updates, capacity)
    if mesh is None:
        return Driver(jax.jit(init), jax.jit(run, donate_argnums=1), capacity, curriculum)
    # Said once and for all: else the first call, on a learner fresh from one device, is compiled apart from the next.
    place = replicated(mesh)
    first = jax.jit(init, out_shardings=place)
    return Driver(first, jax.jit(run, donate_argnums=1, in_shardings=place, out_shardings=place), capacity, curriculum)


def student_of(algorithm: Algorithm, tasks: TaskDistribution, num_tasks: int, mesh: Mesh | None = None) -> Student:
    """The algorithm, as a curriculum knows it."""

    def live(key: Key, learner: PyTree, batch: PyTree, steps: int = tasks.trial_steps) -> Trajectory:
        count = jax.tree.leaves(batch)[0].shape[0]
        one = lambda key, task: algorithm.adapt(key, learner, task, steps)
        return jax.vmap(one, out_axes=1)(jax.random.split(key, count), shard_tasks(batch, mesh))

    return Student(live, num_tasks, algorithm.tells_trials, algorithm.advantages, algorithm.episodic)


def advance(
    updates: Callable, capacity: int, seeds: jax.Array, learner: Learner, start: jax.Array, count: jax.Array
) -> tuple[Learner, dict[str, jax.Array], jax.Array, jax.Array]:
    """``Driver.advance``: a loop over ``updates(seeds, learner, index) -> (learner, metrics)``."""

    def body(carry):
        learner, metrics, done, _ = carry
        learner, new = updates(seeds, learner, start + done)
        metrics = jax.tree.map(lambda all, one: all.at[done].set(one), metrics, new)
        return learner, metrics, done + 1, all_finite((learner.algorithm, new))

    start = jax.lax.convert_element_type(start, jnp.int32)
    _, shapes = jax.eval_shape(updates, seeds, learner, start)
    metrics = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), shapes)
    carry = (learner, metrics, jnp.int32(0), jnp.bool_(True))
    return jax.lax.while_loop(lambda carry: (carry[2] < count) & carry[3], body, carry)


def all_finite(tree: PyTree) -> jax.Array:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()


def first_bad_leaf(tree: PyTree) -> str | None:
    """The path of the first leaf that holds NaN or Inf, with what it holds."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) and not bool(jnp.isfinite(leaf).all()):
            kind = "NaN" if bool(jnp.isnan(leaf).any()) else "Inf"
            return f"{jax.tree_util.keystr(path, simple=True, separator='.')} ({kind})"
    return None


def chunk_length(seconds: float, updates: int, capacity: int, target: float = 1.0) -> int:
    """How many updates to run next, so that the host looks in about every ``target`` seconds."""
    rate = updates / max(seconds, 1e-9)
    return max(1, min(capacity, math.floor(rate * target), 4 * updates))
