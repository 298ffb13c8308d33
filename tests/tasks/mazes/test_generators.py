"""Drawn mazes against counts by hand and a search in plain Python."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import planning, tasks
from metarl_jax.config import ConfigError


@functools.cache
def batch_of(count: int = 200, seed: int = 0, **options):
    family = tasks.view_maze(**options)
    drawn = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(seed), count))
    return family, jax.tree.map(np.asarray, drawn)


def reached(walls: np.ndarray, start: int) -> np.ndarray:
    size = len(walls)
    seen, left = np.zeros(walls.shape, bool), [divmod(int(start), size)]
    while left:
        row, column = left.pop()
        if 0 <= row < size and 0 <= column < size and not walls[row, column] and not seen[row, column]:
            seen[row, column] = True
            left += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return seen


def check_cells(batch) -> None:
    rows = np.arange(len(batch.start))
    flat = batch.walls.reshape(len(rows), -1)
    assert not flat[rows, batch.start].any() and not flat[rows, batch.goal].any() and (batch.start != batch.goal).all()
    assert set(batch.heading.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("solvable", [False, True])
def test_mazes_are_those_that_they_were(solvable):
    """Bit for bit, by the rule as it was before there was a choice."""

    def choose(key, allowed):
        return jnp.argmax(jnp.where(allowed, jax.random.uniform(key, (allowed.size,)), -1.0))

    def drawn(key):
        wall_key, start_key, heading_key, goal_key = jax.random.split(key, 4)
        walls = jnp.zeros(49, bool).at[jax.random.randint(wall_key, (20,), 0, 49)].set(True)
        start = choose(start_key, ~walls)
        goal = choose(goal_key, ~walls & (jnp.arange(49) != start))
        return walls.reshape(7, 7), start, jax.random.randint(heading_key, (), 0, 4), goal

    _, batch = batch_of(60, size=7, num_walls=20, solvable=solvable)
    draw, redrawn = jax.jit(drawn), 0
    for i, key in enumerate(jax.random.split(jax.random.key(0), 60)):
        wanted = draw(key)
        while solvable and not reached(np.asarray(wanted[0]), int(wanted[1])).flat[int(wanted[3])]:
            key, redrawn = jax.random.fold_in(key, 4), redrawn + 1
            wanted = draw(key)
        for leaf, other in zip(batch, wanted, strict=True):
            np.testing.assert_array_equal(leaf[i], other)
    assert redrawn > 5 or not solvable


def test_corridors_are_a_spanning_tree():
    _, batch = batch_of(size=8, walls="corridors")
    for walls in batch.walls:
        assert not walls[:7:2, :7:2].any() and walls[1:7:2, 1:7:2].all() and walls[7:].all() and walls[:, 7:].all()
        assert reached(walls, 0).sum() == (~walls).sum() == 16 + 15  # 4 x 4 rooms, all connected, by one door less
    assert len(np.unique(batch.walls, axis=0)) > 165  # of 200
    doors = (~batch.walls)[:, :7, :7].mean(axis=0)[np.add.outer(np.arange(7), np.arange(7)) % 2 == 1]
    assert doors.mean() == pytest.approx(15 / 24) and doors.min() > 0.35 and doors.max() < 0.9
    check_cells(batch)


def test_loops_open_what_is_left():
    _, batch = batch_of(size=7, walls="corridors", loops=1.0)
    np.testing.assert_array_equal((~batch.walls).sum(axis=(1, 2)), 16 + 24)  # all doors


def test_as_many_walls_as_were_drawn_for_each_task():
    _, batch = batch_of(4000, num_walls=(10, 60))
    found = batch.walls.sum(axis=(1, 2))
    count = np.arange(10, 61)
    expected = 169 * (1 - (1 - 1 / 169) ** count)  # with replacement
    assert found.mean() == pytest.approx(expected.mean(), rel=0.02) and found.max() <= 60
    assert found.std() == pytest.approx(expected.std(), rel=0.1)
    assert (found < 15).mean() > 0.05 and (found > 45).mean() > 0.05
    check_cells(batch)


def used_cells(batch) -> np.ndarray:
    return np.array([1 + np.argwhere(~walls).max() for walls in batch.walls])


def test_random_walls_are_as_dense_in_small_mazes_as_in_large_ones():
    _, batch = batch_of(1000, size=9, sizes=(4, 8), num_walls=(0, 30))
    used = used_cells(batch)  # nothing is free beyond
    assert np.bincount(used)[4:] / 1000 == pytest.approx([0.2] * 5, abs=0.05)
    share = [batch.walls[used == n][:, :n, :n].mean() for n in (4, 8)]
    assert share[0] == pytest.approx(share[1], abs=0.04)
    check_cells(batch)


def test_corridors_of_each_size():
    _, batch = batch_of(1000, size=9, sizes=(3, 8), walls="corridors", loops=0.3)
    used, free = used_cells(batch), (~batch.walls).sum(axis=(1, 2))
    assert np.bincount(used)[[3, 5, 7]] / 1000 == pytest.approx([1 / 3] * 3, abs=0.05)  # rooms in every other row
    assert all(reached(walls, 0).sum() == (~walls).sum() for walls in batch.walls[:100])
    for n, tree, left in ((3, 4 + 3, 1), (5, 9 + 8, 12 - 8), (7, 16 + 15, 24 - 15)):  # and doors that a tree leaves
        opened = free[used == n] - tree
        assert opened.min() == 0 and opened.mean() == pytest.approx(0.3 * left, abs=0.3)
    check_cells(batch)


def test_the_smallest_and_fullest_have_room_for_start_and_goal():
    check_cells(batch_of(500, size=4, num_walls=14, sizes=(2, 4))[1])


def test_solvable_ones_are_solvable():
    family, batch = batch_of(100, size=6, view=3, num_walls=(10, 20), sizes=(4, 6), solvable=True)
    for i in range(100):
        assert reached(batch.walls[i], batch.start[i]).flat[batch.goal[i]]
    loose, some = batch_of(100, size=6, view=3, num_walls=(10, 20), sizes=(4, 6))
    assert (np.asarray(jax.vmap(loose.env.distance)(some)) == planning.UNREACHABLE).any()
    assert family.mutate is not None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_walls": (5, 3)}, r"num_walls=\(5, 3\): must lie between 0 and 167, the least first"),
        ({"num_walls": 168}, "num_walls=168: must lie between 0 and 167"),
        ({"loops": 0.5}, "loops=0.5: only for walls='corridors'"),
        ({"walls": "corridors", "loops": 1.5}, "loops=1.5: must lie between 0 and 1"),
        ({"sizes": (5, 14)}, r"sizes=\(5, 14\): must lie between 2 and size=13"),
        ({"walls": "corridors", "sizes": (2, 5)}, r"sizes=\(2, 5\): must lie between 3 and size=13"),
        ({"walls": "tree"}, "walls='tree': choose one of 'random', 'corridors'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, says):
    with pytest.raises(ConfigError, match=says):
        tasks.view_maze(**options)
