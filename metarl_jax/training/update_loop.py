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
from metarl_jax.records import Algorithm, Curriculum, Key, PyTree, Student, TaskDistribution, Trajectory
from metarl_jax.runtime.sharding import replicated, shard_tasks


class Learner(NamedTuple):
    """All that an update changes.

    Attributes:
      algorithm: its state.
      curriculum: its state.
    """

    algorithm: PyTree
    curriculum: PyTree


class Driver(NamedTuple):
    """The loop of updates of one algorithm, compiled.

    A seed whose update gives a NaN or Inf in its algorithm's state or its metrics stays as it was before that update
    and is active no more; the updates stop there. ``count`` is traced: chunks of any length up to ``capacity`` are
    one compiled program, so a chunk's length can change neither a bit of the result nor the time to compile.

    Attributes:
      init: ``(seeds [S]) -> Learner``, leaves ``[S, ...]``.
      advance: ``(seeds [S], learner, start, count, active [S]) -> (learner, metrics [capacity, S], done, active [S])``:
        up to ``count`` updates from number ``start`` of the seeds that are ``active`` (None: all); the others stay as
        they are. ``learner`` is donated.
      capacity: the most updates of one call.
      curriculum: which tasks come next.
      update: ``(seed, learner, index) -> (learner, metrics, Outcome)``: one update of one seed.
    """

    init: Any
    advance: Any
    capacity: int
    curriculum: Curriculum
    update: Any


def driver(
    algorithm: Algorithm,
    tasks: TaskDistribution,
    num_tasks: int,
    mesh: Mesh | None = None,
    teaching: Recipe | None = None,
    capacity: int = 64,
) -> Driver:
    """The loop of updates of one algorithm.

    Update ``i`` of a seed depends on (seed, i) and the learner alone: keys are ``fold_in(key(seed), i)``.

    Args:
      algorithm: that learns.
      tasks: from which it learns.
      num_tasks: of an update.
      mesh: over which tasks are spread.
      teaching: the recipe of the curriculum; None: uniform.
      capacity: updates of a chunk at most.

    Returns:
      The Driver.
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
        metrics |= {f"curriculum_{name}": x for name, x in told.items()}
        return Learner(state, tasks_state), metrics, outcome

    without_outcome = lambda seed, learner, index: update(seed, learner, index)[:2]
    updates = jax.jit(jax.vmap(without_outcome, in_axes=(0, 0, None)))  # jit: traced once, for shapes and in the loop

    def init_one(seed: jax.Array) -> Learner:
        keys = jax.random.split(jax.random.split(jax.random.key(seed))[0])
        return Learner(algorithm.init(keys[0], num_tasks), curriculum.init(keys[1]))

    # Not vmap: on CPU, jaxlib's batched QR (orthogonal initialisers) waits inside XLA's thread pool for that same pool,
    # and several of them at once leave no thread to wait for (seen in 0.10.2: training hung in init).
    init = functools.partial(jax.lax.map, init_one)
    run = functools.partial(advance, updates, capacity)
    if debugging():
        return Driver(jax.jit(init), _debuggable(run), capacity, curriculum, update)
    if mesh is None:
        return Driver(jax.jit(init), jax.jit(run, donate_argnums=1), capacity, curriculum, update)
    # Said once and for all: else the first call, on a learner fresh from one device, is compiled apart from the next.
    place = replicated(mesh)
    first = jax.jit(init, out_shardings=place)
    run = jax.jit(run, donate_argnums=1, in_shardings=place, out_shardings=place)
    return Driver(first, run, capacity, curriculum, update)


def debugging() -> bool:
    """Whether the user asked JAX to name operations that give NaN or Inf, or to run without compiling.

    Returns:
      A bool.
    """
    values = jax.config.values
    return any(values[name] for name in ("jax_debug_nans", "jax_debug_infs", "jax_disable_jit"))


def _debuggable(run: Callable) -> Callable:
    """``run`` such that an operation that gives a NaN is named, as in a jitted function of the user's own.

    What is inside a compiled loop can only be named by running it again without compiling.
    """
    compiled = jax.jit(run)

    def advance(seeds, learner, start, count, active=None):
        try:
            return compiled(seeds, learner, start, min(count, 1), active)
        except FloatingPointError:
            with jax.disable_jit():
                return run(seeds, learner, start, 1, active)

    return advance


def student_of(algorithm: Algorithm, tasks: TaskDistribution, num_tasks: int, mesh: Mesh | None = None) -> Student:
    """The algorithm, as a curriculum knows it.

    Args:
      algorithm: that learns.
      tasks: for the length of a trial.
      num_tasks: of an update.
      mesh: over which tasks are spread.

    Returns:
      The Student.
    """

    def live(key: Key, learner: PyTree, batch: PyTree, steps: int = tasks.trial_steps) -> Trajectory:
        count = jax.tree.leaves(batch)[0].shape[0]
        one = lambda key, task: algorithm.adapt(key, learner, task, steps)
        return jax.vmap(one, out_axes=1)(jax.random.split(key, count), shard_tasks(batch, mesh))

    return Student(live, num_tasks, algorithm.returns_trajectories, algorithm.advantages, algorithm.values_per_episode)


def advance(
    updates: Callable,
    capacity: int,
    seeds: jax.Array,
    learner: Learner,
    start: jax.Array,
    count: jax.Array,
    active: jax.Array | None = None,
) -> tuple[Learner, dict[str, jax.Array], jax.Array, jax.Array]:
    """``Driver.advance``: a loop over ``updates(seeds, learner, index) -> (learner, metrics)``.

    Args:
      updates: one update of all seeds.
      capacity: rows of metrics.
      seeds: ``[S]``.
      learner: leaves ``[S, ...]``.
      start: the first update's number.
      count: updates at most.
      active: ``[S]`` bool, which seeds go on (all).

    Returns:
      ``(learner, metrics [capacity, S], done, active [S])``.
    """

    def body(carry):
        learner, metrics, done, active = carry
        updated, new = updates(seeds, learner, start + done)
        finite = active & _all_finite((updated.algorithm, new))
        learner = jax.tree.map(functools.partial(_select_seeds, finite), updated, learner)
        shown = jax.tree.map(lambda x: _select_seeds(active, x, jnp.nan) if is_real(x) else x, new)
        metrics = jax.tree.map(lambda all, one: all.at[done].set(one), metrics, shown)
        return learner, metrics, done + 1, finite

    start = jax.lax.convert_element_type(start, jnp.int32)
    active = jnp.ones(seeds.shape, bool) if active is None else jnp.asarray(active)
    _, shapes = jax.eval_shape(updates, seeds, learner, start)
    metrics = jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), shapes)
    carry = (learner, metrics, jnp.int32(0), active)
    return jax.lax.while_loop(lambda carry: (carry[2] < count) & (carry[3] == active).all(), body, carry)


def _select_seeds(which: jax.Array, new: jax.Array, old: jax.Array | float) -> jax.Array:
    """``new [S, ...]`` of the seeds ``which [S]``, ``old`` of the others."""
    return jnp.where(which.reshape(-1, *(1,) * (new.ndim - 1)), new, old)


def is_real(x: jax.Array) -> bool:
    """Whether an array is of real numbers.

    Args:
      x: any array.

    Returns:
      A bool.
    """
    return jnp.issubdtype(x.dtype, jnp.inexact)


def _all_finite(tree: PyTree) -> jax.Array:
    """Of leaves ``[S, ...]``: which seeds have no NaN nor Inf, ``[S]``."""
    finite = lambda x: jnp.isfinite(x).reshape(x.shape[0], -1).all(axis=1)
    return jnp.stack([finite(x) for x in jax.tree.leaves(tree) if is_real(x)]).all(axis=0)


def chunk_length(seconds: float, updates: int, capacity: int, target: float = 1.0) -> int:
    """How many updates to run next, so that the host looks in about every ``target`` seconds.

    Args:
      seconds: that the last chunk took.
      updates: in it.
      capacity: at most.
      target: seconds of a chunk.

    Returns:
      Updates.
    """
    rate = updates / max(seconds, 1e-9)
    return max(1, min(capacity, math.floor(rate * target), 4 * updates))
