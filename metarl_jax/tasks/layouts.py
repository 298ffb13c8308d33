"""Layouts of mazes: from ASCII, from a seeded generator, and as tables for planners."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import check

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left, in (row, column)

# Both have 101 open cells: the start and 100 goals. Mean shortest paths 11.72 and 11.89 steps.
PILLARS = """
#############
#S..#.......#
###.#.##..#.#
#...#.....#.#
#.#.......#.#
#.#.........#
#...##......#
#...........#
#...##..#...#
#.......#...#
#....##.....#
#...........#
#############
"""
COLUMNS = """
#############
#S..........#
#####...#...#
#.......#...#
#...........#
#.#...#.....#
#.#.#.#.....#
#.#.#.......#
#.#.#...#...#
#.....#.#...#
#.#...#.....#
#...........#
#############
"""


def parse(text: str) -> tuple[np.ndarray, int, np.ndarray]:
    """Reads an ASCII maze.

    ``#`` wall, ``S`` start, ``G`` a goal, ``.`` or space floor. Without any ``G`` every floor cell that can be
    reached is a goal. Lines are as they stand; empty first and last lines are dropped.

    Args:
      text: the maze, a line a row.

    Returns:
      ``(walls, start, goals)``: bool ``[rows, columns]``, a cell, and cells ``[G]``, row-major.

    Raises:
      ConfigError: ragged lines, an open border, no start or several, an unknown letter, a goal out of reach.
    """
    lines = text.strip("\r\n").splitlines()
    check(bool(lines), "layout", text, "is empty: draw a maze of '#' walls, one 'S' start and floor")
    widths = {len(line) for line in lines}
    check(len(widths) == 1, "layout", text, f"all lines must have one length, these have {sorted(widths)}")
    letters = np.array([list(line) for line in lines])
    unknown = sorted(set(letters.ravel().tolist()) - set("#SG. "))
    check(not unknown, "layout", text, f"unknown letters {unknown}: use '#' wall, 'S' start, 'G' goal, '.' floor")
    walls = letters == "#"
    border = np.concatenate([walls[0], walls[-1], walls[:, 0], walls[:, -1]])
    check(bool(border.all()), "layout", text, "the whole border must be walls ('#')")
    starts = np.flatnonzero(letters == "S")
    check(len(starts) == 1, "layout", text, f"must have exactly one start 'S', has {len(starts)}")
    start, reached = int(starts[0]), np.array(reachable(jnp.asarray(walls), starts[0])).ravel()
    goals = np.flatnonzero(letters == "G")
    check(bool(reached[goals].all()), "layout", text, "every goal 'G' must be reachable from the start")
    if not len(goals):
        reached[start] = False
        goals = np.flatnonzero(reached)
    check(len(goals) > 0, "layout", text, "has no cell for a goal")
    return walls, start, goals.astype(np.int32)


def parse_all(layouts: Sequence[str]) -> list[tuple[np.ndarray, int, np.ndarray]]:
    """Reads several ASCII mazes of one outer size.

    Args:
      layouts: the mazes.

    Returns:
      ``parse`` of each.

    Raises:
      ConfigError: there are none, they differ in size, or what ``parse`` refuses.
    """
    check(len(layouts) > 0, "layouts", layouts, "give at least one ASCII maze")
    parsed = [parse(text) for text in layouts]
    sizes = sorted({walls.shape for walls, _, _ in parsed})
    check(len(sizes) == 1, "layouts", sizes, "must all have one outer size")
    return parsed


def reachable(walls: jax.Array, start: jax.Array) -> jax.Array:
    """Which cells can be reached.

    Args:
      walls: bool ``[rows, columns]``, True on the whole border.
      start: the cell from which, row-major.

    Returns:
      bool ``[rows, columns]``.
    """
    rows, columns = walls.shape
    first = (jnp.arange(rows * columns) == start).reshape(rows, columns) & ~walls

    def spread(carry):
        seen, _ = carry
        near = jnp.roll(seen, 1, 0) | jnp.roll(seen, -1, 0) | jnp.roll(seen, 1, 1) | jnp.roll(seen, -1, 1)
        grown = (seen | near) & ~walls
        return grown, (grown != seen).any()

    return jax.lax.while_loop(lambda carry: carry[1], spread, (first, jnp.bool_(True)))[0]


def generate(
    key: jax.Array,
    rows: int,
    columns: int,
    openness: float,
    rooms: jax.Array | int | None = None,
    first: jax.Array | int = 0,
) -> jax.Array:
    """A random maze, always connected.

    A recursive backtracker (depth-first search over the rooms at odd rows and columns) carves a spanning tree; then
    each wall left between two rooms is removed with probability ``openness``.

    Args:
      key: a random key.
      rows: odd, with the border.
      columns: odd, with the border.
      openness: probability that a wall between two rooms is removed.
      rooms: how many rooms down and across the maze has, from the top left one, all else being wall; None: as many as
        fit.
      first: the room from which it is dug, row-major; small mazes that are all dug from one room differ little.

    Returns:
      Walls, bool ``[rows, columns]``.
    """
    room_rows, room_columns = rows // 2, columns // 2
    num_rooms = room_rows * room_columns
    dig_key, open_key = jax.random.split(key)
    moves = jnp.array(MOVES, jnp.int32)
    limits = jnp.array([room_rows, room_columns]) if rooms is None else jnp.full(2, rooms)

    def dig(carry, noise):
        walls, visited, stack, depth = carry
        here = stack[depth]
        room = jnp.stack([here // room_columns, here % room_columns])
        ahead = room[None, :] + moves
        inside = ((ahead >= 0) & (ahead < limits[None])).all(1)
        index = jnp.where(inside, ahead[:, 0] * room_columns + ahead[:, 1], 0)
        free = inside & ~visited[index]
        choice = jnp.argmax(jnp.where(free, noise, -1.0))
        go = free.any()
        door = 2 * room + 1 + moves[choice]
        walls = walls.at[door[0], door[1]].set(jnp.where(go, False, walls[door[0], door[1]]))
        visited = visited.at[index[choice]].set(visited[index[choice]] | go)
        depth = jnp.where(go, depth + 1, jnp.maximum(depth - 1, 0))
        return (walls, visited, stack.at[depth].set(jnp.where(go, index[choice], stack[depth])), depth), None

    row, column = jnp.arange(rows)[:, None], jnp.arange(columns)[None, :]
    used = (row < 2 * limits[0]) & (column < 2 * limits[1])
    walls = (row % 2 == 0) | (column % 2 == 0) | ~used
    visited = jnp.arange(num_rooms) == first
    # Each room is entered once and left once.
    noise = jax.random.uniform(dig_key, (2 * num_rooms, 4))
    stack = jnp.zeros(num_rooms + 1, jnp.int32).at[0].set(first)
    start = (walls, visited, stack, jnp.int32(0))
    (walls, *_), _ = jax.lax.scan(dig, start, noise)
    between = (row % 2 == 1) ^ (column % 2 == 1)
    inner = (row > 0) & (column > 0) & used
    return walls & ~(between & inner & (jax.random.uniform(open_key, walls.shape) < openness))


def choose_cell(key: jax.Array, allowed: jax.Array) -> jax.Array:
    """A uniformly random cell.

    Args:
      key: a random key.
      allowed: bool ``[rows, columns]``, which cells may be chosen.

    Returns:
      The cell, row-major int32.
    """
    noise = jax.random.uniform(key, (allowed.size,))
    return jnp.argmax(jnp.where(allowed.reshape(-1), noise, -1.0)).astype(jnp.int32)


def successors(walls: jax.Array) -> jax.Array:
    """A maze as a table for planners.

    Args:
      walls: bool ``[rows, columns]``.

    Returns:
      ``next_state [cells, actions]``, int32: moves into a wall mean staying, and so do all from a wall.
    """
    rows, columns = walls.shape
    cells = jnp.arange(rows * columns, dtype=jnp.int32)
    offsets = jnp.asarray([row * columns + column for row, column in MOVES], jnp.int32)
    ahead = jnp.clip(cells[:, None] + offsets[None, :], 0, rows * columns - 1)
    blocked = walls.reshape(-1)[ahead] | walls.reshape(-1)[:, None]
    return jnp.where(blocked, cells[:, None], ahead)


def open_grid(size: int, moves: Sequence[tuple[int, int]]) -> np.ndarray:
    """Successors in a square without walls; along each axis, a move off it means staying.

    Args:
      size: cells a side.
      moves: ``(row, column)`` of each action.

    Returns:
      ``next_state [cells, actions]``, int32.
    """
    rows, columns = np.divmod(np.arange(size * size), size)
    ahead = [np.clip(rows + r, 0, size - 1) * size + np.clip(columns + c, 0, size - 1) for r, c in moves]
    return np.stack(ahead, axis=1).astype(np.int32)
