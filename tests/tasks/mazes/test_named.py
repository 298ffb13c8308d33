"""The mazes to be tested in: what they are said to be, by searches in plain Python."""

import collections
import re

import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax import tasks
from metarl_jax.tasks.mazes import named as _named_mazes

FAMILY, NAMES = tasks.named_mazes(), tasks.maze_names()
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))  # right, down, left, up
SHORTEST = {  # actions
    "open": 26,
    "four-rooms": 21,
    "sixteen-rooms": 29,
    "few-doors": 43,
    "small-corridor": 12,
    "large-corridor": 17,
    "branching-1": 58,
    "branching-2": 34,
    "branching-3": 30,
    "labyrinth": 93,
    "labyrinth-mirrored": 93,
    "labyrinth-upside-down": 93,
}


def maze(name: str) -> tuple[np.ndarray, int, int, int]:
    i = NAMES.index(name)
    return (np.asarray(FAMILY.tasks.walls[i]), *(int(x[i]) for x in FAMILY.tasks[1:]))


def ways(walls: np.ndarray, row: int, column: int) -> list[tuple[int, int]]:
    ahead = [(row + r, column + c) for r, c in STEPS]
    return [(r, c) for r, c in ahead if 0 <= r < 13 and 0 <= c < 13 and not walls[r, c]]


def actions(walls: np.ndarray, start: int, heading: int, goal: int) -> int:
    """Of a shortest way, breadth first over cells and headings."""
    first = (*divmod(start, 13), heading)
    queue, known = collections.deque([first]), {first: 0}
    while queue:
        row, column, heading = place = queue.popleft()
        if row * 13 + column == goal:
            return known[place]
        ahead = (row + STEPS[heading][0], column + STEPS[heading][1])
        after = [(row, column, (heading + turn) % 4) for turn in (1, -1)]
        after += [(*ahead, heading)] if ahead in ways(walls, row, column) else []
        for following in after:
            if following not in known:
                known[following] = known[place] + 1
                queue.append(following)
    raise AssertionError("no way leads to the goal")


@pytest.mark.parametrize("name", SHORTEST)
def test_shortest_ways_are_as_long_as_the_table_says(name):
    walls, start, heading, goal = maze(name)
    assert actions(walls, start, heading, goal) == SHORTEST[name]
    assert re.search(rf"^{name} +{SHORTEST[name]}  ", str(_named_mazes.__doc__), re.MULTILINE)
    assert not walls.flat[start] and not walls.flat[goal] and start != goal


def test_references_are_what_shortest_ways_earn():
    assert tuple(SHORTEST) == NAMES
    length = np.array(list(SHORTEST.values()))
    (best,) = FAMILY.references(FAMILY.tasks, 250)
    np.testing.assert_allclose(best.trial_return, 250 // length * (1 - 0.9 * length / 250), rtol=1e-5)


def test_they_are_of_the_kinds_that_their_names_say():
    cells = {name: np.argwhere(~maze(name)[0]) for name in NAMES}
    edges = {name: sum(len(ways(maze(name)[0], *cell)) for cell in cells[name]) // 2 for name in NAMES}
    for name in ("branching-1", "branching-2", "branching-3", "small-corridor", "large-corridor"):
        assert edges[name] == len(cells[name]) - 1  # a tree: no loops
        ends = sum(len(ways(maze(name)[0], *cell)) == 1 for cell in cells[name])
        assert ends >= 7  # and many dead ends
    assert len(cells["open"]) == 169 and len(cells["four-rooms"]) == 4 * 36 + 4
    assert len(cells["sixteen-rooms"]) == 100 + 24 and len(cells["few-doors"]) == 100 + 16  # rooms and doors
    assert (maze("sixteen-rooms")[0] <= maze("few-doors")[0]).all()  # the others are shut
    labyrinth, mirrored, turned = (maze(name) for name in NAMES[-3:])
    np.testing.assert_array_equal(mirrored[0], labyrinth[0][:, ::-1])
    np.testing.assert_array_equal(turned[0], labyrinth[0][::-1])
    assert [m[2] for m in (labyrinth, mirrored, turned)] == [2, 0, 2]
    assert labyrinth[3] == mirrored[3] == turned[3] == 6 * 13 + 6  # the middle
    assert len({walls.tobytes() for walls, *_ in map(maze, NAMES)}) == len(NAMES) == 12


def test_agents_of_other_sizes_fit_in():
    assert tasks.view_maze(size=5, view=3, num_walls=4).env.spec == tasks.named_mazes(view=3).env.spec


@pytest.mark.slow
def test_an_agent_that_learned_in_other_mazes_is_tested_in_them():
    small = tasks.view_maze(size=5, view=3, num_walls=4, horizon=10)
    run = mrl.train(mrl.algorithms.ppo(encoder=(8,)), small, num_updates=1, num_tasks=8, quiet=True)
    report = mrl.evaluate(run, tasks.named_mazes(view=3, horizon=30), trials_per_task=3, quiet=True)
    assert report.task_means is not None and len(report.task_means) == 12
    (best,) = (r for r in report.references if r["role"] == "optimal")
    assert best["kind"] == "exact"
