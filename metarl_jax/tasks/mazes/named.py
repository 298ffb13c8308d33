"""Twelve mazes for tests alone, never trained on: drawn by us, of the kinds that the literature tests in.

``#`` wall, ``.`` floor, ``S`` start, ``G`` goal, 13 x 13 cells; all around is wall. Shortest paths, in actions (turns
and steps):

====================== ===== =========================================================================
open                     26   nothing in the way
four-rooms               21   one door in each of four walls
sixteen-rooms            29   a door between any two rooms side by side
few-doors                43   the same rooms, a third of the doors shut
small-corridor           12   a corridor with a niche on either side of every other cell
large-corridor           17   the same, each niche as long as the map allows
branching-1              58   corridors without loops
branching-2              34   likewise
branching-3              30   likewise
labyrinth                93   three rings around the goal, a dead end in each
labyrinth-mirrored       93   left and right exchanged
labyrinth-upside-down    93   up and down exchanged
====================== ===== =========================================================================
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from metarl_jax.tasks.mazes.generators import ViewTask

HEADINGS = ("right", "down", "left", "up")


class Drawing(NamedTuple):
    """``heading``: at the start, one of ``HEADINGS``."""

    text: str
    heading: str


OPEN = """
............G
.............
.............
.............
.............
.............
.............
.............
.............
.............
.............
.............
S............
"""
FOUR_ROOMS = """
......#......
......#......
.S...........
......#......
......#......
......#......
##.######.###
......#......
......#......
......#......
.............
......#...G..
......#......
"""
SIXTEEN_ROOMS = """
...#.....#...
.S....#..#...
...#..#......
##.#.###.##.#
......#..#...
...#.........
.####.#.####.
...#.....#...
......#......
#.###.##.#.##
......#..#...
...#..#......
...#.....#.G.
"""
FEW_DOORS = """
...#..#..#...
.S....#..#...
...#..#......
####.###.##.#
......#..#...
...#.....#...
.###########.
...#.....#...
......#......
#.######.#.##
...#..#..#...
...#..#..#...
...#.....#.G.
"""
SMALL_CORRIDOR = """
#############
#############
#############
#############
#############
.#.#.#.#.#.#.
S............
.#.#.#.#.#G#.
#############
#############
#############
#############
#############
"""
LARGE_CORRIDOR = """
.#.#.#.#.#G#.
.#.#.#.#.#.#.
.#.#.#.#.#.#.
.#.#.#.#.#.#.
.#.#.#.#.#.#.
.#.#.#.#.#.#.
S............
.#.#.#.#.#.#.
.#.#.#.#.#.#.
.#.#.#.#.#.#.
.#.#.#.#.#.#.
.#.#.#.#.#.#.
.#.#.#.#.#.#.
"""
BRANCHING_1 = """
S#..........G
.###.#####.#.
.#...#.....#.
.#######.#.##
...#.....#...
.#######.###.
.....#.....#.
####.#.###.#.
.....#.#...#.
.###.#######.
.#.....#...#.
.###.#.#.#.#.
...#.#...#...
"""
BRANCHING_2 = """
.#.....#.#..G
.#.###.#.###.
.#...#.....#.
.###.#####.#.
.#.#...#.#...
.#.#####.#.#.
.#.....#...#.
.#.###.###.#.
...#...#...#.
.#.###.#####.
.#.#.#.#...#.
####.#.#.#.#.
S........#...
"""
BRANCHING_3 = """
.#.........#.
.#######.###.
.......#.....
.#.#.#.#.###.
G#.#.#.#...#.
######.###.##
.#.#.#...#...
.#.#.###.#.##
.......#.....
.#.#.#.#.####
.#.#.#...#.#.
##.#####.#.#.
.....#......S
"""
LABYRINTH = """
.............
.###########.
.#.....#...#.
.#.#####.#.#.
.#.#.....#.#.
.#.#.###.#.#.
.#.#.#G#.#.#.
.#.#.#.#.#.#.
.#.#...#.#.#.
.#.#######.#.
.#.........#.
.#.#########.
...#..S......
"""

MAZES = {
    "open": Drawing(OPEN, "down"),
    "four-rooms": Drawing(FOUR_ROOMS, "up"),
    "sixteen-rooms": Drawing(SIXTEEN_ROOMS, "left"),
    "few-doors": Drawing(FEW_DOORS, "left"),
    "small-corridor": Drawing(SMALL_CORRIDOR, "right"),
    "large-corridor": Drawing(LARGE_CORRIDOR, "right"),
    "branching-1": Drawing(BRANCHING_1, "right"),
    "branching-2": Drawing(BRANCHING_2, "up"),
    "branching-3": Drawing(BRANCHING_3, "down"),
    "labyrinth": Drawing(LABYRINTH, "left"),
    "labyrinth-mirrored": Drawing("\n".join(line[::-1] for line in LABYRINTH.split()), "right"),
    "labyrinth-upside-down": Drawing("\n".join(reversed(LABYRINTH.split())), "left"),
}


def maze_names() -> tuple[str, ...]:
    """The names of the tasks of ``maze-view-named``.

    Returns:
      Twelve names, in the order of the tasks.
    """
    return tuple(MAZES)


def named_tasks() -> ViewTask:
    """The twelve named mazes.

    Returns:
      Tasks, leaves ``[12, ...]``, in the order of ``maze_names``.
    """
    letters = np.array([[list(line) for line in drawing.text.split()] for drawing in MAZES.values()])
    place = lambda letter: jnp.asarray(np.argmax((letters == letter).reshape(len(letters), -1), axis=1), jnp.int32)
    headings = [HEADINGS.index(drawing.heading) for drawing in MAZES.values()]
    return ViewTask(jnp.asarray(letters == "#"), place("S"), jnp.asarray(headings, jnp.int32), place("G"))
