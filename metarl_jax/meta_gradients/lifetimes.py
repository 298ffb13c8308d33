"""Lives: agents that learn in a task, window after window, and begin anew when a life has ended.

Axis letters: ``[N]`` tasks, ``[K]`` inner updates of a window, ``[T, E]`` steps and the episodes lived side by side.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.estimators.baselines import time_in_episode
from metarl_jax.records import Actor, Inner, Key, PyTree, Said, Task, Trajectory


class Life(NamedTuple):
    """``pending``: lived, and not learned from yet; ``age`` and ``end``: inner updates so far and in all; ``earned``:
    the return so far, a mean over ``E``; ``time [E]``: steps so far of the episodes under way."""

    task: Task
    agent: PyTree
    place: PyTree
    pending: Trajectory
    age: jax.Array
    end: jax.Array
    earned: jax.Array
    time: jax.Array


class Window(NamedTuple):
    """What the ``K`` inner updates of a window led to, leaves ``[K, T, E, ...]``; ``penalty [K]``; ``time [K, T, E]``:
    steps since the episode began."""

    lived: Trajectory
    said: Said
    penalty: jax.Array
    time: jax.Array


def unborn(actor: Actor, inner: Inner, task: Task, num_tasks: int, length: int, window: int) -> Life:
    """``[N]`` lives that ended before they began. The first ones will last ``length`` inner updates down to one
    ``window``, so that not all end at once."""
    born = jax.eval_shape(lambda key, task: begin(actor, inner, key, inner.meta(key), task), jax.random.key(0), task)
    lives = jax.tree.map(lambda x: jnp.zeros((num_tasks, *x.shape), x.dtype), born)
    shorter = (length // window - 1) * jnp.arange(num_tasks, dtype=jnp.int32) // max(1, num_tasks - 1)
    return lives._replace(end=-window * shorter)  # `renewed` takes it off the first life


def begin(actor: Actor, inner: Inner, key: Key, meta: PyTree, task: Task) -> Life:
    keys = jax.random.split(key)
    agent = inner.init(keys[0], meta, task)
    place = actor.enter(keys[1], task)
    shape = jax.eval_shape(actor.act, keys[0], agent, place, task)[1]
    pending = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
    time = jnp.zeros(pending.reward.shape[1:], jnp.int32)
    return Life(task, agent, place, pending, jnp.int32(0), jnp.int32(0), jnp.zeros(()), time)


def renewed(actor: Actor, inner: Inner, length: int, key: Key, meta: PyTree, life: Life, task: Task) -> Life:
    """A new life in ``task`` where ``life`` has ended. To be differentiated, since a birth may depend on ``meta``."""
    ended = life.age >= life.end
    born = begin(actor, inner, key, meta, task)._replace(end=length + jnp.minimum(life.end, 0))
    born = born._replace(pending=life.pending)  # never learned from, and of the right type
    return jax.tree.map(lambda new, old: jnp.where(ended, new, old), born, life)


def unroll(
    actor: Actor, inner: Inner, num_updates: int, key: Key, meta: PyTree, life: Life, remat: bool = False
) -> tuple[Life, Window]:
    """``num_updates`` times: learn from what is pending, live on with what was learned, say what it thinks of that.

    A newborn has nothing to learn from: its first update only lives. Nothing is differentiated through a life as it is
    lived: ``actor.act`` gets the agent as a constant.
    """

    def body(life: Life, key):
        keys = jax.random.split(key)
        learned, penalty = inner.learn(keys[0], meta, life.agent, life.pending)
        newborn = life.age == 0
        agent = jax.tree.map(lambda old, new: jnp.where(newborn, old, new), life.agent, learned)
        place, lived = actor.act(keys[1], jax.lax.stop_gradient(agent), life.place, life.task)
        lived = jax.lax.stop_gradient(lived)
        said = actor.said(agent, lived)
        earned = life.earned + lived.mean_reward.sum(axis=0).mean()
        time = time_in_episode(lived.timestep.episode_start, life.time)
        life = Life(life.task, agent, place, lived, life.age + 1, life.end, earned, time[-1] + 1)
        return life, Window(lived, said, jnp.where(newborn, 0.0, penalty), time)

    step: Callable = jax.checkpoint(body) if remat else body
    return jax.lax.scan(step, life, jax.random.split(key, num_updates))


def live_window(
    actor: Actor, inner: Inner, length: int, num_updates: int, key: Key, meta: PyTree, life: Life, task: PyTree
) -> tuple[Life, jax.Array]:
    """A life after its window, and the mean reward of a step of it."""
    keys = jax.random.split(key)
    life = renewed(actor, inner, length, keys[0], meta, life, task)
    life, seen = unroll(actor, inner, num_updates, keys[1], meta, life)
    return life, seen.lived.mean_reward.mean()


def finite(lives: Life) -> jax.Array:
    """Which members ``[P]`` have none but finite numbers, in all tasks; leaves ``[N, P, ...]``."""
    leaves = [x for x in jax.tree.leaves(lives) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(x).reshape(*x.shape[:2], -1).all(axis=(0, 2)) for x in leaves]).all(axis=0)
