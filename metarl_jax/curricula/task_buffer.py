"""A buffer of tasks with scores, from which tasks are replayed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.records import Key, Task
from metarl_jax.tasks.fingerprints import fingerprints


class Buffer(NamedTuple):
    """Tasks and what is known of each, leaves ``[B, ...]``.

    Attributes:
      tasks: ``[B]``.
      score: ``[B]``, of each task; -inf where the place is empty.
      best: ``[B]``, highest return of an episode seen in it.
      last: ``[B]`` int, update in which it was last scored.
      replayed: ``[B]`` int, trials that the agent learned from in it since it entered the buffer.
    """

    tasks: Task
    score: jax.Array
    best: jax.Array
    last: jax.Array
    replayed: jax.Array


def places_for(task: Task, capacity: int) -> Task:
    """Zeros for ``capacity`` tasks.

    Args:
      task: arrays or shapes of one task.
      capacity: ``B``.

    Returns:
      Leaves ``[B, ...]``.
    """
    return jax.tree.map(lambda x: jnp.zeros((capacity, *x.shape), x.dtype), task)


def empty(task: Task, capacity: int) -> Buffer:
    """An empty buffer.

    Args:
      task: arrays or shapes of one task.
      capacity: ``B``.

    Returns:
      Buffer of no tasks.
    """
    low = jnp.full(capacity, -jnp.inf)
    return Buffer(places_for(task, capacity), low, low, jnp.zeros(capacity, jnp.int32), jnp.zeros(capacity, jnp.int32))


def first_replaced(batch: Task, other: Task, when: jax.Array | bool = True) -> Task:
    """A batch of tasks whose first ones are replaced.

    Args:
      batch: tasks ``[N]``.
      other: tasks ``[M]``, ``M <= N``.
      when: bool or ``[M]`` bool, which of the replacements are made.

    Returns:
      Tasks ``[N]``.
    """

    def swap(old: jax.Array, new: jax.Array) -> jax.Array:
        replaced = jnp.broadcast_to(when, (len(new),)).reshape(-1, *(1,) * (new.ndim - 1))
        return old.at[: len(new)].set(jnp.where(replaced, new, old[: len(new)]))

    return jax.tree.map(swap, batch, other)


def filled(buffer: Buffer) -> jax.Array:
    """The share of the buffer's places that hold a task.

    Args:
      buffer: of tasks.

    Returns:
      Scalar in [0, 1].
    """
    return jnp.isfinite(buffer.score).mean()


def weights(buffer: Buffer, update: jax.Array, temperature: float, staleness: float) -> jax.Array:
    """The probability that each task is replayed (Jiang et al. 2021).

    ``(1 - c) rank(score)^(-1 / temperature) + c age``, each normalised, with ``c`` the ``staleness``; 0 for empty
    places.

    Args:
      buffer: of tasks.
      update: scalar int, number of the current update.
      temperature: of the ranks; the lower, the more the highest scores are replayed.
      staleness: share of the probability that goes by the updates since a task was last scored.

    Returns:
      ``[B]``.
    """
    held = jnp.isfinite(buffer.score)
    order = jnp.argsort(-buffer.score)
    rank = jnp.zeros_like(order).at[order].set(jnp.arange(1, len(order) + 1, dtype=order.dtype))
    ranked = jnp.where(held, rank.astype(jnp.float32) ** (-1.0 / temperature), 0.0)
    age = jnp.where(held, update - buffer.last, 0).astype(jnp.float32)
    share = lambda x: x / jnp.maximum(x.sum(), 1e-9)
    age = jnp.where(age.sum() > 0, age, held.astype(jnp.float32))
    mixed = (1.0 - staleness) * share(ranked) + staleness * share(age)
    return jnp.where(held, jnp.maximum(mixed, 1e-30), 0.0)  # low ranks are not to vanish among empty places


def draw(key: Key, chances: jax.Array, count: int) -> jax.Array:
    """Draws places without replacement (Gumbel's top k); those of probability 0 come last.

    Args:
      key: PRNG key.
      chances: ``[B]``, proportional to the probabilities.
      count: how many, at most ``B``; static.

    Returns:
      ``[count]`` int, different places.
    """
    noise = jax.random.gumbel(key, chances.shape)
    return jax.lax.top_k(jnp.where(chances > 0, jnp.log(chances) + noise, -jnp.inf), count)[1]


def draw_for_replay(key: Key, chances: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Draws places without replacement, as far as there are as many.

    Where ``count`` is above the capacity, a full buffer fills the rest with further draws, with replacement.

    Args:
      key: PRNG key.
      chances: ``[B]``, proportional to the probabilities; 0 for empty places.
      count: how many, static.

    Returns:
      ``(places [count], holds [count])``: the places and which of them hold a task.
    """
    capacity = len(chances)
    once_key, again_key = jax.random.split(key)
    places = draw(once_key, chances, min(count, capacity))
    holds = chances[places] > 0
    if count <= capacity:
        return places, holds
    again = jax.random.categorical(again_key, jnp.log(chances), shape=(count - capacity,))
    full = jnp.broadcast_to((chances > 0).all(), again.shape)
    return jnp.concatenate([places, again]), jnp.concatenate([holds, full])


def _places_of(buffer: Buffer, batch: Task) -> jax.Array:
    """The place of each of ``batch [M]`` in the buffer, -1 where it is not there."""
    same = (fingerprints(batch)[:, None] == fingerprints(buffer.tasks)[None]) & jnp.isfinite(buffer.score)[None]
    return jnp.where(same.any(axis=1), jnp.argmax(same, axis=1), -1)


def best_of(buffer: Buffer, batch: Task) -> jax.Array:
    """The highest return of an episode seen in each task.

    Args:
      buffer: of tasks.
      batch: tasks ``[M]``.

    Returns:
      ``[M]``, -inf for those that are not in the buffer.
    """
    places = _places_of(buffer, batch)
    return jnp.where(places >= 0, buffer.best[places], -jnp.inf)


def count(buffer: Buffer, batch: Task, ended: jax.Array) -> Buffer:
    """The buffer with the trials of a batch counted in ``replayed``.

    Args:
      buffer: of tasks.
      batch: tasks ``[N]``; those that are not in the buffer are ignored.
      ended: ``[N]`` bool, whether a trial ended in each.

    Returns:
      The new buffer.
    """
    places = _places_of(buffer, batch)
    known = jnp.where(ended & (places >= 0), places, len(buffer.score))  # out of bounds: dropped
    return buffer._replace(replayed=buffer.replayed.at[known].add(1, mode="drop"))


def put(
    buffer: Buffer,
    batch: Task,
    score: jax.Array,
    best: jax.Array,
    update: jax.Array,
    chances: jax.Array,
    allowed: jax.Array | bool = True,
) -> Buffer:
    """The buffer with new scores.

    Scores of tasks in the buffer replace the old ones. A new task replaces the one least likely to be replayed, if its
    score is higher, the best of the new ones first.

    Args:
      buffer: of tasks.
      batch: tasks ``[M]``; of equal ones the first counts.
      score: ``[M]``; those that are not finite are ignored.
      best: ``[M]``, highest return of an episode seen in each.
      update: scalar int, number of the current update.
      chances: ``[B]``, probability that each task of the buffer is replayed.
      allowed: bool or ``[M]`` bool, which of the batch may enter.

    Returns:
      The new buffer.
    """
    count, capacity = len(score), len(buffer.score)
    marks = fingerprints(batch)
    twin = (jnp.tril(marks[:, None] == marks[None], -1) & jnp.broadcast_to(allowed, (count,))[None]).any(axis=1)
    usable = allowed & ~twin & jnp.isfinite(score)
    places = _places_of(buffer, batch)
    known = jnp.where(usable & (places >= 0), places, capacity)  # out of bounds: dropped
    buffer = buffer._replace(
        score=buffer.score.at[known].set(score, mode="drop"),
        best=buffer.best.at[known].max(best, mode="drop"),
        last=buffer.last.at[known].set(update, mode="drop"),
    )
    fresh = usable & (places < 0)
    first = jnp.argsort(jnp.where(fresh, -score, jnp.inf))[:capacity]
    held = jnp.isfinite(buffer.score)
    poorest = jnp.argsort(jnp.where(held, chances, -1.0))[: len(first)]
    better = fresh[first] & (score[first] > buffer.score[poorest])
    place = jnp.where(better, poorest, capacity)
    put_in = lambda old, new: old.at[place].set(new[first], mode="drop")
    return Buffer(
        jax.tree.map(put_in, buffer.tasks, batch),
        put_in(buffer.score, score),
        put_in(buffer.best, best),
        buffer.last.at[place].set(update, mode="drop"),
        buffer.replayed.at[place].set(0, mode="drop"),
    )
