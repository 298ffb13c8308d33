"""The maze with a view: against a walk of the map in plain Python."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import planning, tasks
from metarl_jax.tasks.mazes.view_maze import FORWARD, LEFT, RIGHT, ViewState, ViewTask

STEPS = {0: (0, 1), 1: (1, 0), 2: (0, -1), 3: (-1, 0)}  # right, down, left, up
FAMILY = tasks.view_maze(size=6, view=5, num_walls=14, horizon=40)
BATCH = jax.tree.map(np.asarray, jax.vmap(FAMILY.sample)(jax.random.split(jax.random.key(0), 60)))


def one(i: int) -> ViewTask:
    return jax.tree.map(lambda x: x[i], BATCH)


def is_wall(walls: np.ndarray, row: int, column: int) -> bool:
    inside = 0 <= row < walls.shape[0] and 0 <= column < walls.shape[1]
    return not inside or bool(walls[row, column])


def moved(walls: np.ndarray, place: tuple[int, int, int], action: int) -> tuple[int, int, int]:
    row, column, heading = place
    if action != FORWARD:
        return row, column, (heading + (1 if action == RIGHT else -1)) % 4
    ahead = row + STEPS[heading][0], column + STEPS[heading][1]
    return place if is_wall(walls, *ahead) else (*ahead, heading)


def shortest(task: ViewTask) -> list[int] | None:
    """Actions of a shortest way, breadth first."""
    size = len(task.walls)
    start = (*divmod(int(task.start), size), int(task.heading))
    queue, ways = collections.deque([start]), {start: []}
    while queue:
        place = queue.popleft()
        if place[0] * size + place[1] == task.goal:
            return ways[place]
        for action in (LEFT, RIGHT, FORWARD):
            following = moved(task.walls, place, action)
            if following not in ways:
                ways[following] = [*ways[place], action]
                queue.append(following)
    return None


def test_distances_are_those_of_a_search_breadth_first():
    ways = [shortest(one(i)) for i in range(60)]
    found = [None if way is None else len(way) for way in ways]
    assert None in found and sum(x is not None for x in found) > 20
    distance = np.asarray(jax.vmap(FAMILY.env.distance)(BATCH))
    assert [int(x) if x < planning.UNREACHABLE else None for x in distance] == found


def test_the_optimum_is_what_shortest_ways_earn():
    """Lived in the environment itself, again and again."""
    advance, steps = jax.jit(FAMILY.env.step), 100
    best = FAMILY.references(BATCH, steps)[0].trial_return
    for i in range(12):
        task, way, earned, t = one(i), shortest(one(i)), 0.0, 0
        while way is not None and t + len(way) <= steps:
            state, ended = FAMILY.env.reset((), task), False
            for action in way:
                assert not ended
                state, reward, ended, _ = advance((), state, jnp.int32(action), task)
                earned, t = earned + float(reward), t + 1
            assert ended
        assert earned == pytest.approx(best[i], rel=1e-5)


def test_steps_and_rewards_are_those_of_the_map():
    env, rng = FAMILY.env, np.random.default_rng(1)
    advance = jax.jit(lambda state, action, task: env.step((), state, action, task))
    paid = 0
    for i in range(30):
        task = one(i)
        place = (*divmod(int(task.start), 6), int(task.heading))
        state = env.reset((), task)
        for t in range(40):
            action = int(rng.choice([LEFT, RIGHT, FORWARD, FORWARD]))
            place = moved(task.walls, place, action)
            state, reward, terminated, _ = advance(state, jnp.int32(action), task)
            assert (int(state.cell), int(state.heading)) == (place[0] * 6 + place[1], place[2])
            on_goal = place[0] * 6 + place[1] == task.goal
            assert bool(terminated) == on_goal
            assert float(reward) == pytest.approx(1 - 0.9 * (t + 1) / 40 if on_goal else 0.0)
            if on_goal:
                paid += 1
                break
    assert paid > 3


def test_the_view_is_what_lies_ahead():
    env = FAMILY.env
    for i in range(40):
        task = one(i)
        for heading in range(4):
            state = ViewState(jnp.int32(task.start), jnp.int32(heading), jnp.int32(0))
            seen = np.asarray(env.observe(state, task))
            assert seen.shape == (5, 5, 6)
            row, column = divmod(int(task.start), 6)
            forward, right = STEPS[heading], STEPS[(heading + 1) % 4]
            for y in range(5):  # the last row is the agent's own
                for x in range(5):
                    far, aside = 4 - y, x - 2
                    r = row + far * forward[0] + aside * right[0]
                    c = column + far * forward[1] + aside * right[1]
                    assert seen[y, x, 0] == is_wall(task.walls, r, c)
                    inside = 0 <= r < 6 and 0 <= c < 6
                    assert seen[y, x, 1] == (inside and r * 6 + c == task.goal)
            np.testing.assert_array_equal(seen[..., 2:], np.broadcast_to(np.eye(4)[heading], (5, 5, 4)))


def test_solvable_ones_are_solvable_and_stay_so():
    family = tasks.view_maze(size=6, view=3, num_walls=20, solvable=True)
    batch = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(2), 100))
    assert np.asarray(jax.vmap(family.env.distance)(batch)).max() < planning.UNREACHABLE
    for step in range(5):
        changed = jax.jit(jax.vmap(family.mutate))(jax.random.split(jax.random.key(step), 100), batch)
        assert np.asarray(jax.vmap(family.env.distance)(changed)).max() < planning.UNREACHABLE
        assert (np.asarray(changed.walls) != np.asarray(batch.walls)).any()
        assert (np.asarray(changed.goal) != np.asarray(batch.goal)).any()
        batch = changed


def test_as_many_walls_as_were_drawn():
    many = jax.vmap(tasks.view_maze().sample)(jax.random.split(jax.random.key(0), 2000))
    walls = np.asarray(many.walls).reshape(2000, -1)
    expected = 169 * (1 - (1 - 1 / 169) ** 25)  # with replacement
    assert walls.sum(axis=1).mean() == pytest.approx(expected, rel=0.01)
    rows = np.arange(2000)
    assert not walls[rows, many.start].any() and not walls[rows, many.goal].any() and (many.start != many.goal).all()
