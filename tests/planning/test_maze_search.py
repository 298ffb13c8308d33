"""Search where one of several mazes is the true one: planners against a recursion over beliefs in plain Python."""

import functools
import itertools

import numpy as np
import pytest

from metarl_jax import planning
from metarl_jax.planning import Candidates, maze_beliefs

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


def table_of(floor, size):
    """``next_state [cells, 4]``; what is no floor keeps."""
    table = np.zeros((size * size, 4), np.int32)
    for (x, y), (a, (dx, dy)) in itertools.product(itertools.product(range(size), repeat=2), enumerate(MOVES)):
        after = (x + dx, y + dy) if (x, y) in floor and (x + dx, y + dy) in floor else (x, y)
        table[x * size + y, a] = after[0] * size + after[1]
    return table


def random_candidates(seed, num_layouts, num_tasks, view, size=3):
    """Mazes on a small square, the start in a corner; with ``view`` the open neighbours of a cell are seen."""
    rng = np.random.default_rng(seed)
    cells = list(itertools.product(range(size), repeat=2))
    tables, tasks = [], []
    while len(tables) < num_layouts:
        floor = {(0, 0), (0, 1)} | {cell for cell in cells[2:] if rng.random() < 0.7 and cell != (1, 0)}
        table = table_of(floor, size)
        near = np.asarray(planning.shortest_paths(table, 0)) < planning.UNREACHABLE
        if near.sum() > 3 and all((table != other).any() for other in tables):
            tasks += [(len(tables), goal, int(rng.integers(1, 4))) for goal in np.flatnonzero(near)[1:]]
            tables.append(table)
    tables = np.stack(tables)
    chosen = sorted(rng.permutation(len(tasks))[:num_tasks])
    open_ = (tables != np.arange(size * size)[:, None]) @ (1 << np.arange(4))
    shown = np.arange(size * size) + size * size * open_ * view
    shown[:, 0] = 0
    return Candidates(tables, shown, 0, *np.array([tasks[i] for i in chosen]).T)


def brute_force(candidates, trial_steps, repeat=False):
    """The best mean number of goals: all that an agent may do, given what it was shown."""

    @functools.cache
    def best(step, cell, possible):
        if step == trial_steps:
            return 0.0
        return max(sum(outcome(step, cell, action, possible)) for action in range(4))

    def outcome(step, cell, action, possible):
        parts = {}
        for task in possible:
            after = int(candidates.next_state[candidates.layout[task], cell, action])
            found = after == candidates.goal[task]
            seen = "found" if found else (after, int(candidates.shown[candidates.layout[task], after]))
            parts.setdefault(seen, []).append(task)
        for seen, part in parts.items():
            weight = sum(int(candidates.weight[task]) for task in part)
            if seen != "found":
                yield best(step + 1, seen[0], tuple(part))
            elif repeat:
                yield weight * (trial_steps // (step + 1))
            else:
                yield weight + best(step + 1, candidates.start, tuple(part))

    return best(0, candidates.start, tuple(range(len(candidates.goal)))) / candidates.weight.sum()


CASES = [
    (seed, layouts, tasks, view)
    for seed, (layouts, tasks, view) in enumerate(itertools.product((1, 2, 3), (3, 6), (0, 1)))
]


@pytest.mark.parametrize("repeat", [False, True])
def test_beliefs_give_the_best_of_all_policies_and_the_search_no_more(repeat):
    attained = []
    for (seed, layouts, tasks, view), steps in itertools.product(CASES, (5, 12)):
        candidates = random_candidates(seed, layouts, tasks, view)
        truth = brute_force(candidates, steps, repeat)
        mean = lambda plan, weight=candidates.weight: np.average(plan.returns, weights=weight)
        exact = planning.belief_plan(candidates, steps, repeat)
        assert exact is not None
        assert mean(exact) == pytest.approx(truth, abs=1e-9)
        found = mean(planning.search_plan(candidates, steps, repeat, beam_width=20, rounds=20))
        assert found <= truth + 1e-9
        attained.append(found >= truth - 1e-9)
        if layouts == 1:
            assert attained[-1]
    assert np.mean(attained) > 0.7


@pytest.mark.parametrize(("seed", "view", "steps"), [(107, 1, 12), (106, 0, 18)])
@pytest.mark.parametrize("repeat", [False, True])
def test_the_search_tells_layouts_apart_where_they_first_differ(seed, view, steps, repeat):
    candidates = random_candidates(seed, 2, 6, view, size=4)
    exact = planning.belief_plan(candidates, steps, repeat)
    found = planning.search_plan(candidates, steps, repeat, beam_width=20, rounds=20)
    assert exact is not None
    assert np.dot(found.returns, candidates.weight) == np.dot(exact.returns, candidates.weight)


def test_a_goal_in_layouts_that_were_not_told_apart_is_reached_again_by_what_both_have():
    # The way through the middle is open in one of them only; on the way round the goal is found in both.
    floor = {(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0)}
    tables = np.stack([table_of(floor, 3), table_of(floor | {(1, 1)}, 3)])
    shown = np.broadcast_to(np.arange(9), (2, 9))
    candidates = Candidates(tables, shown, 0, np.array([0, 1]), np.array([7, 7]), np.array([1, 1]))
    for steps in (10, 15, 20, 25):
        truth = brute_force(candidates, steps)
        exact = planning.belief_plan(candidates, steps)
        assert exact is not None and exact.returns.mean() == truth
        assert planning.search_plan(candidates, steps).returns.mean() <= truth


def test_many_beliefs_are_left_to_the_search(monkeypatch):
    """Goals at both ends of three cells: 4 beliefs, 2 kinds of outcome, 2 moves, 3 cells, 5 steps."""
    corridor = np.array([[[0, 1], [0, 2], [1, 2]]])
    candidates = Candidates(corridor, np.arange(3)[None], 1, np.array([0, 0]), np.array([0, 2]), np.array([1, 1]))
    for most in (239, 240):
        monkeypatch.setattr(maze_beliefs, "MOST_WORK", most)
        assert (planning.belief_plan(candidates, 5) is None) == (most < 240)


def test_many_tasks_are_left_to_the_search():
    corridor = np.stack([np.maximum(np.arange(70) - 1, 0), np.minimum(np.arange(70) + 1, 69)], axis=1)[None]
    goals = np.arange(1, 70)
    ones = np.ones(69, int)
    candidates = Candidates(corridor, np.arange(70)[None], 0, 0 * ones, goals, ones)
    assert planning.belief_plan(candidates, 80) is None
    np.testing.assert_array_equal(planning.search_plan(candidates, 80).returns, 80 // goals)
