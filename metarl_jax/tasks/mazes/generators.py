"""Generators of mazes with a view: walls (in random cells, or corridors), start, heading, goal; and small changes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.records import Key
from metarl_jax.tasks.layouts import choose_cell, generate

Bounds = tuple[int, int]  # least, most
Walls = Callable[[Key, Key, jax.Array | int], jax.Array]  # (two keys, cells a side that are used) -> [size, size]


class ViewTask(NamedTuple):
    """A maze with a view; outside of its cells all is wall.

    Attributes:
      walls: bool ``[size, size]``.
      start: the cell where episodes begin, row-major int32.
      heading: where the agent looks at first: 0 right, 1 down, 2 left, 3 up.
      goal: a cell, row-major int32.
    """

    walls: jax.Array
    start: jax.Array
    heading: jax.Array
    goal: jax.Array


def between(key: Key, bounds: Bounds) -> jax.Array | int:
    """A uniformly random whole number within bounds; a Python number where there is no choice.

    Args:
      key: a random key.
      bounds: the least and the greatest value.

    Returns:
      A scalar.
    """
    least, most = bounds
    return most if least == most else jax.random.randint(key, (), least, most + 1)


def scattered(size: int, num_walls: Bounds, count_key: Key, key: Key, inner: jax.Array | int) -> jax.Array:
    """Walls in random cells of the ``inner x inner`` at the top left, drawn with replacement; all else is wall.

    There are as many as are due to these cells' share of all, but two cells stay free.

    Args:
      size: cells a side.
      num_walls: the least and the greatest number of walls in a maze of ``size x size`` cells.
      count_key: random key of their number.
      key: random key of their places.
      inner: cells a side that are used.

    Returns:
      Walls, bool ``[size, size]``.
    """
    places = jax.random.randint(key, (num_walls[1],), 0, inner * inner)
    count = jnp.minimum(between(count_key, num_walls) * inner * inner // size**2, inner * inner - 2)
    cell = places // inner * size + places % inner
    cell = jnp.where(jnp.arange(num_walls[1]) < count, cell, size * size)  # out of bounds: dropped
    walls = jnp.zeros(size * size, bool).at[cell].set(True, mode="drop").reshape(size, size)
    return walls | _outside(size, inner)


def corridors(size: int, loops: float, first_key: Key, key: Key, inner: jax.Array | int) -> jax.Array:
    """Corridors: a random spanning tree of the rooms at even rows and columns of ``inner x inner`` cells.

    Then each wall left between two rooms is opened with probability ``loops``. These cells are at the top left; all
    else is wall.

    Args:
      size: cells a side.
      loops: probability that a wall between two rooms is opened.
      first_key: random key of the room from which the tree grows.
      key: random key of the tree and of the walls that are opened.
      inner: cells a side that are used.

    Returns:
      Walls, bool ``[size, size]``.
    """
    across, rooms = (size + 1) // 2, (inner + 1) // 2
    row, column = jax.random.randint(first_key, (2,), 0, rooms)
    outer = 2 * across + 1  # with a border, which is left out here
    walls = generate(key, outer, outer, loops, rooms, row * across + column)[1:-1, 1:-1]
    return jnp.pad(walls, ((0, size + 2 - outer),) * 2, constant_values=True)


def _outside(size: int, inner: jax.Array | int) -> jax.Array:
    beyond = jnp.arange(size) >= inner
    return beyond[:, None] | beyond[None, :]


def drawn(size: int, sizes: Bounds, lay: Walls, key: Key) -> ViewTask:
    """A random maze: walls, two different free cells for start and goal, and a heading, each uniformly random.

    Args:
      size: cells a side.
      sizes: the least and the greatest number of cells a side that are used.
      lay: the walls, ``(two keys, cells a side that are used) -> bool [size, size]``.
      key: a random key.

    Returns:
      A task; its goal may be out of reach.
    """
    wall_key, start_key, heading_key, goal_key = jax.random.split(key, 4)
    inner_key, extra_key = (jax.random.fold_in(key, i) for i in (5, 6))  # apart from the four, and from 4 (below)
    walls = lay(extra_key, wall_key, between(inner_key, sizes)).reshape(-1)
    start = choose_cell(start_key, ~walls)
    goal = choose_cell(goal_key, ~walls & (jnp.arange(size * size) != start))
    return ViewTask(walls.reshape(size, size), start, jax.random.randint(heading_key, (), 0, 4), goal)


def drawn_until(fits: Callable[[ViewTask], jax.Array], draw: Callable[[Key], ViewTask], key: Key) -> ViewTask:
    """Draws mazes until one passes a test.

    Args:
      fits: the test, ``task -> bool``.
      draw: ``key -> task``.
      key: a random key.

    Returns:
      The first task that passes.
    """

    def again(carry):
        key = jax.random.fold_in(carry[0], 4)  # apart from the keys of a draw
        return key, draw(key)

    return jax.lax.while_loop(lambda carry: ~fits(carry[1]), again, (key, draw(key)))[1]


def edited(key: Key, task: ViewTask) -> ViewTask:
    """Flips one cell between wall and floor, or moves the goal to another free cell (Parker-Holder et al. 2022).

    Args:
      key: a random key.
      task: the maze.

    Returns:
      The changed maze; its goal may be out of reach.
    """
    kind_key, cell_key, goal_key = jax.random.split(key, 3)
    cells = jnp.arange(task.walls.size).reshape(task.walls.shape)
    flipped = choose_cell(cell_key, (cells != task.start) & (cells != task.goal))
    free = ~task.walls & (cells != task.start) & (cells != task.goal)
    goal = choose_cell(goal_key, free)
    move = jax.random.bernoulli(kind_key) & free.any()
    return task._replace(walls=task.walls ^ (~move & (cells == flipped)), goal=jnp.where(move, goal, task.goal))
