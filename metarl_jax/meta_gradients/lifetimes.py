"""Lifetimes: agents that learn in a task, window after window, and start anew when a lifetime has ended.

Axis letters: ``[N]`` tasks, ``[K]`` inner updates of a window, ``[T, E]`` steps and the episodes side by side.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.estimators.baselines import time_in_episode
from metarl_jax.records import ActionEvaluation, Actor, Inner, Key, PyTree, Task, Trajectory


class Lifetime(NamedTuple):
    """An agent under way in its task.

    Attributes:
      task: where it is.
      agent: its parameters, and whatever else it learns with.
      place: where its episodes are.
      pending: ``Trajectory [T, E]``, not learned from yet.
      age: int32, inner updates so far.
      end: int32, inner updates in all.
      earned: the return so far, a mean over ``E``.
      time: ``[E]`` int32, steps so far of the episodes under way.
    """

    task: Task
    agent: PyTree
    place: PyTree
    pending: Trajectory
    age: jax.Array
    end: jax.Array
    earned: jax.Array
    time: jax.Array


class Window(NamedTuple):
    """What the ``K`` inner updates of a window led to.

    Attributes:
      trajectory: ``[K, T, E]``.
      said: what the agent's policy computes on it, ``[K, T, E]``.
      penalty: ``[K]``.
      time: ``[K, T, E]`` int32, steps since the episode began.
    """

    trajectory: Trajectory
    said: ActionEvaluation
    penalty: jax.Array
    time: jax.Array


def empty_lifetimes(actor: Actor, inner: Inner, task: Task, num_tasks: int, length: int, window: int) -> Lifetime:
    """``[N]`` lifetimes that ended before they began.

    The first ones will last ``length`` inner updates down to one ``window``, so that not all end at once.

    Args:
      actor: how agents act.
      inner: how they learn.
      task: one task's shapes.
      num_tasks: N.
      length: inner updates of a lifetime.
      window: of an outer update.

    Returns:
      A Lifetime with leaves ``[N, ...]``.
    """
    fresh = jax.eval_shape(
        lambda key, task: _init_lifetime(actor, inner, key, inner.meta(key), task), jax.random.key(0), task
    )
    lives = jax.tree.map(lambda x: jnp.zeros((num_tasks, *x.shape), x.dtype), fresh)
    shorter = (length // window - 1) * jnp.arange(num_tasks, dtype=jnp.int32) // max(1, num_tasks - 1)
    return lives._replace(end=-window * shorter)  # `reset_if_done` takes it off the first life


def _init_lifetime(actor: Actor, inner: Inner, key: Key, meta: PyTree, task: Task) -> Lifetime:
    keys = jax.random.split(key)
    agent = inner.init(keys[0], meta, task)
    place = actor.enter(keys[1], task)
    shape = jax.eval_shape(actor.act, keys[0], agent, place, task)[1]
    pending = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
    time = jnp.zeros(pending.reward.shape[1:], jnp.int32)
    return Lifetime(task, agent, place, pending, jnp.int32(0), jnp.int32(0), jnp.zeros(()), time)


def reset_if_done(
    actor: Actor, inner: Inner, length: int, key: Key, meta: PyTree, life: Lifetime, task: Task
) -> Lifetime:
    """A new lifetime in ``task`` where ``life`` has ended.

    To be differentiated, since its start may depend on ``meta``.

    Args:
      actor: how agents act.
      inner: how they learn.
      length: inner updates of a lifetime.
      key: of the new agent.
      meta: the meta-parameters.
      life: the lifetime under way.
      task: that of the new one.

    Returns:
      One of the two.
    """
    ended = life.age >= life.end
    fresh = _init_lifetime(actor, inner, key, meta, task)._replace(end=length + jnp.minimum(life.end, 0))
    fresh = fresh._replace(pending=life.pending)  # never learned from, and of the right type
    return jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, life)


def unroll(
    actor: Actor, inner: Inner, num_updates: int, key: Key, meta: PyTree, life: Lifetime, remat: bool = False
) -> tuple[Lifetime, Window]:
    """``num_updates`` times: learn from what is pending, act with what was learned, evaluate the actions.

    A new agent has nothing to learn from: its first update only acts. Nothing is differentiated through acting:
    ``actor.act`` gets the agent as a constant.

    Args:
      actor: how agents act.
      inner: how they learn.
      num_updates: K.
      key: of learning and acting.
      meta: the meta-parameters.
      life: the lifetime under way.
      remat: compute updates again for the gradient instead of keeping what they computed.

    Returns:
      The lifetime after its window, and the Window.
    """

    def body(life: Lifetime, key):
        keys = jax.random.split(key)
        learned, penalty = inner.learn(keys[0], meta, life.agent, life.pending)
        newborn = life.age == 0
        agent = jax.tree.map(lambda old, new: jnp.where(newborn, old, new), life.agent, learned)
        place, trajectory = actor.act(keys[1], jax.lax.stop_gradient(agent), life.place, life.task)
        trajectory = jax.lax.stop_gradient(trajectory)
        said = actor.said(agent, trajectory)
        earned = life.earned + trajectory.mean_reward.sum(axis=0).mean()
        time = time_in_episode(trajectory.timestep.episode_start, life.time)
        life = Lifetime(life.task, agent, place, trajectory, life.age + 1, life.end, earned, time[-1] + 1)
        return life, Window(trajectory, said, jnp.where(newborn, 0.0, penalty), time)

    step: Callable = jax.checkpoint(body) if remat else body
    return jax.lax.scan(step, life, jax.random.split(key, num_updates))


def live_window(
    actor: Actor, inner: Inner, length: int, num_updates: int, key: Key, meta: PyTree, life: Lifetime, task: PyTree
) -> tuple[Lifetime, jax.Array]:
    """A lifetime after its window, and the mean reward of a step of it.

    Args:
      actor: how agents act.
      inner: how they learn.
      length: inner updates of a lifetime.
      num_updates: of the window.
      key: of learning and acting.
      meta: the meta-parameters.
      life: the lifetime under way.
      task: that of a new one, where it has ended.

    Returns:
      ``(lifetime, scalar)``.
    """
    keys = jax.random.split(key)
    life = reset_if_done(actor, inner, length, keys[0], meta, life, task)
    life, seen = unroll(actor, inner, num_updates, keys[1], meta, life)
    return life, seen.trajectory.mean_reward.mean()


def finite(lives: Lifetime) -> jax.Array:
    """Which members of a population have none but finite numbers, in all tasks.

    Args:
      lives: leaves ``[N, P, ...]``.

    Returns:
      ``[P]`` bool.
    """
    leaves = [x for x in jax.tree.leaves(lives) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(x).reshape(*x.shape[:2], -1).all(axis=(0, 2)) for x in leaves]).all(axis=0)
