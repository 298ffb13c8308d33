"""Search in a known maze: the bracket holds the exact optimum of tiny mazes and is narrow on a large one."""

import itertools

import jax
import numpy as np
import pytest

from metarl_jax import planning
from metarl_jax.config import ConfigError

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
TREE = "S.. #.# ..."  # a corridor with branches: most cells are dead ends or lead to one


def maze(text):
    """``(next_state [cells, 4], start, goals)``: all floor cells but the start are goals."""
    rows = text.split()
    height, width = len(rows), len(rows[0])
    floor = {(x, y) for x in range(height) for y in range(width) if rows[x][y] != "#"}
    table = np.zeros((height * width, 4), np.int32)
    for x, y in itertools.product(range(height), range(width)):
        for a, after in enumerate(((x - 1, y), (x, y + 1), (x + 1, y), (x, y - 1))):
            u, v = after if after in floor else (x, y)
            table[x * width + y, a] = u * width + v
    start = "".join(rows).index("S")
    return table, start, [x * width + y for x, y in sorted(floor) if x * width + y != start]


def random_maze(seed, size=4, num_goals=6):
    rng = np.random.default_rng(seed)
    while True:
        cells = np.where(rng.random(size * size) < 0.35, "#", ".")
        cells[0] = "S"
        table, start, goals = maze(" ".join("".join(row) for row in cells.reshape(size, size)))
        near = np.asarray(planning.shortest_paths(table, start))[goals] < planning.UNREACHABLE
        goals = [goal for goal, can in zip(goals, near, strict=True) if can]
        if len(goals) >= num_goals:
            return table, start, goals[: num_goals - 1] + goals[-1:]


def all_orders(table, start, goals):
    """Times ``[orders, G]`` at which each goal is visited, for every order."""
    distance = np.asarray(jax.vmap(planning.shortest_paths, (None, 0))(table, np.arange(len(table))))
    orders = np.array(list(itertools.permutations(range(len(goals)))))
    cells = np.concatenate([np.full((len(orders), 1), start), np.asarray(goals)[orders]], axis=1)
    times = np.cumsum(distance[cells[:, :-1], cells[:, 1:]], axis=1)
    return np.take_along_axis(times, np.argsort(orders, axis=1), axis=1)


INSTANCES = [maze(TREE)] + [random_maze(seed) for seed in range(6)]


@pytest.mark.parametrize("instance", INSTANCES)
def test_bracket_holds_the_exact_optimum(instance):
    exact = all_orders(*instance).mean(axis=1).min()
    bracket = planning.search_bounds(*instance, rounds=100)
    assert bracket.lower <= exact + 1e-9
    np.testing.assert_allclose(bracket.upper, exact)


@pytest.mark.parametrize("seed", [0, 4, 16])
def test_no_order_visits_sooner_than_the_bound_where_moves_lead_one_way(seed):
    rng = np.random.default_rng(seed)
    table = np.stack([rng.permutation(8) for _ in range(2)], axis=1).astype(np.int32)
    goals = (1 + np.random.default_rng(seed + 1000).permutation(7)[:4]).tolist()
    times = np.sort(all_orders(table, 0, goals), axis=1)
    bracket = planning.search_bounds(table, 0, goals, rounds=10)
    assert (bracket.earliest <= times.min(axis=0)).all()
    np.testing.assert_allclose(bracket.upper, times.mean(axis=1).min())


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("trial_steps", [7, 20, 61])
def test_no_order_returns_more_than_the_upper_bound_of_a_trial(instance, trial_steps):
    weights = np.arange(1, len(instance[2]) + 1)
    times, distance = all_orders(*instance), np.asarray(planning.shortest_paths(*instance[:2]))[instance[2]]
    reached = np.where(times <= trial_steps, 1 + (trial_steps - times) // distance, 0)
    for share in (np.ones_like(weights), weights):
        upper = planning.trial_upper(*instance, trial_steps, share)
        known = np.average(trial_steps // distance, weights=share)
        assert (reached @ share).max() / share.sum() - 1e-9 <= upper <= known + 1e-9


def test_goals_far_from_one_another_are_not_found_one_step_apart():
    table, start, _ = maze("S.........")
    bracket = planning.search_bounds(table, start, [3, 6, 9])
    np.testing.assert_array_equal(bracket.earliest, [3, 6, 9])


def test_a_corridor_is_solved_exactly():
    bracket = planning.search_bounds(*maze("S....."))
    assert bracket.lower == bracket.upper == 3.0
    np.testing.assert_array_equal(bracket.walk, np.arange(6))


def test_dead_ends_raise_the_lower_bound():
    # A star with four arms of length two: each arm but the last must be left again.
    bracket = planning.search_bounds(*maze("##.## ##.## ..S.. ##.## ##.##"))
    np.testing.assert_allclose(bracket.upper, np.mean([1, 2, 5, 6, 9, 10, 13, 14]))
    np.testing.assert_array_equal(bracket.earliest, [1, 2, 4, 6, 8, 10, 12, 14])


def test_a_large_maze_is_bracketed_within_three_percent():
    table, start, goals = maze(PILLARS)
    assert len(goals) == 100
    bracket = planning.search_bounds(table, start, goals)
    np.testing.assert_allclose(bracket.distance.mean(), 11.72)
    assert 50.5 == bracket.lower <= bracket.upper <= 1.03 * bracket.lower
    assert np.all(np.any(table[bracket.walk[:-1]] == bracket.walk[1:, None], axis=1)), "an illegal move"
    np.testing.assert_array_equal(bracket.walk[bracket.find_time], goals)


def test_the_start_may_be_a_goal_of_a_search_but_not_of_a_trial():
    table, start, goals = maze("S....")
    bracket = planning.search_bounds(table, start, [start, *goals])
    assert bracket.lower == bracket.upper == 2.0
    with pytest.raises(ConfigError, match="start"):
        planning.trial_upper(table, start, [start, *goals], 10)


def test_mistakes_are_named():
    table, start, goals = maze("S.#.")
    with pytest.raises(ConfigError, match="reached"):
        planning.search_bounds(table, start, goals)
    with pytest.raises(ConfigError, match="distinct"):
        planning.search_bounds(table, start, [1, 1])
