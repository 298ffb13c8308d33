"""Hidden-goal grids: the belief search against an exhaustive one on tiny grids, and against the reference values."""

import functools

import numpy as np
import pytest

from metarl_jax import planning
from metarl_jax.config import ConfigError


def grid(size):
    """Successors [cells, 5] (stay, up, right, down, left) and the candidates: cells outside the start's 2x2 corner."""
    moves = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
    clip = functools.partial(np.clip, a_min=0, a_max=size - 1)
    cells = [(x, y) for x in range(size) for y in range(size)]
    table = np.array([[clip(x + dx) * size + clip(y + dy) for dx, dy in moves] for x, y in cells])
    return table, [x * size + y for x, y in cells if x > 1 or y > 1]


def exhaustive(next_state, start, candidates, horizon, episodes, weight=None, hit=1.0, miss=-0.1):
    """The Bayes-optimal total by recursion over (step, cell, goals that are still possible)."""
    weight = dict(
        zip(candidates, np.full(len(candidates), 1 / len(candidates)) if weight is None else weight, strict=True)
    )

    @functools.cache
    def value(step, cell, possible):  # summed over the possible goals, each by its chance
        if step == horizon * episodes:
            return 0.0
        if step % horizon == 0:
            cell = start
        best = -np.inf
        for after in set(next_state[cell].tolist()):
            others = possible - {after}
            total = miss * sum(weight[goal] for goal in others) + (value(step + 1, after, others) if others else 0.0)
            if after in possible:
                total += hit * weight[after] + value(step + 1, after, frozenset([after]))
            best = max(best, total)
        return best

    return value(0, start, frozenset(candidates))


@pytest.mark.parametrize(("size", "horizon", "episodes"), [(2, 3, 2), (3, 3, 2), (3, 4, 3), (3, 6, 1), (3, 2, 4)])
def test_against_exhaustive_search(size, horizon, episodes):
    next_state, candidates = grid(size)
    candidates = candidates or [1, 2, 3]
    solution = planning.hidden_goal_return(next_state, 0, candidates, horizon, episodes)
    exact = exhaustive(next_state, 0, candidates, horizon, episodes)
    np.testing.assert_allclose(solution.by_episode.sum(), exact, atol=1e-9)
    np.testing.assert_allclose(solution.upper, exact, atol=1e-9)
    assert solution.walk.shape == (horizon * episodes + 1,)


@pytest.mark.parametrize(("horizon", "episodes"), [(6, 1), (4, 2), (5, 2)])
def test_against_exhaustive_search_on_random_graphs(horizon, episodes):
    """No staying, one-way moves, unequal chances, and a beam too narrow to find the optimum: the exact search must."""
    for seed in (16, 26, 45):
        rng = np.random.default_rng(seed)
        next_state = np.stack([rng.permutation(9) for _ in range(2)], axis=1)
        goals, weight = (1 + rng.permutation(8)[:6]).tolist(), rng.dirichlet(np.ones(6))
        found = planning.hidden_goal_return(next_state, 0, goals, horizon, episodes, beam_width=1, weight=weight)
        exact = exhaustive(next_state, 0, goals, horizon, episodes, weight)
        np.testing.assert_allclose([found.by_episode.sum(), found.upper], exact, atol=1e-9)


def test_references_of_the_5x5_grid():
    next_state, candidates = grid(5)
    solution = planning.hidden_goal_return(next_state, 0, candidates, 15, 4)
    np.testing.assert_allclose(solution.by_episode, [4.0, 11.071429, 11.071429, 11.071429], atol=1e-5)
    for episodes, total in ((1, 4.0), (2, 15.071429), (3, 26.142857), (4, 37.214286)):
        solution = planning.hidden_goal_return(next_state, 0, candidates, 15, episodes)
        np.testing.assert_allclose(solution.by_episode.sum(), total, atol=1e-5)
        np.testing.assert_allclose(solution.upper, total, atol=1e-5)
    known = planning.known_goal_values(next_state, candidates, 15)
    np.testing.assert_allclose(known[:, 15, 0].mean(), 11.071429, atol=1e-5)


def test_walk_is_legal_and_finds_what_it_says():
    next_state, candidates = grid(4)
    solution = planning.hidden_goal_return(next_state, 0, candidates, 15, 2)
    for step in range(30):
        restart = (step + 1) % 15 == 0
        assert solution.walk[step + 1] == 0 if restart else solution.walk[step + 1] in next_state[solution.walk[step]]
    for goal, step in zip(candidates, solution.find_step, strict=True):
        if step % 15:
            assert list(solution.walk).index(goal) == step


def test_a_search_cut_short_says_so():
    next_state, candidates = grid(3)
    exact = planning.hidden_goal_return(next_state, 0, candidates, 3, 2).upper
    cut = planning.hidden_goal_return(next_state, 0, candidates, 3, 2, beam_width=1, max_beliefs=1)
    assert cut.by_episode.sum() <= exact + 1e-9 and cut.upper >= exact - 1e-9


def test_random_policy_against_simulation():
    next_state, candidates = grid(3)
    rng = np.random.default_rng(0)
    cell, total = np.zeros(50_000, int), np.zeros(50_000)
    goal = rng.choice(candidates, 50_000)
    for _ in range(8):
        cell = next_state[cell, rng.integers(5, size=50_000)]
        total += np.where(cell == goal, 1.0, -0.1)
    exact = planning.random_return(next_state, 0, candidates, 8).mean()
    assert abs(total.mean() - exact) < 4 * total.std() / 50_000**0.5


def test_posterior_sampling_of_the_5x5_grid():
    next_state, candidates = grid(5)
    by_episode, error = planning.posterior_sampling_return(next_state, 0, candidates, 15, 4)
    assert np.all(np.abs(by_episode - [0.49, 2.26, 3.81, 5.17]) < 4 * error + 0.02)


def test_mistakes_are_named():
    next_state, candidates = grid(3)
    with pytest.raises(ConfigError, match="candidates"):
        planning.hidden_goal_return(next_state, 0, [], 15, 1)
    with pytest.raises(ConfigError, match="candidates"):
        planning.hidden_goal_return(next_state, 0, [3, 3], 15, 1)
    with pytest.raises(ConfigError, match="hit"):
        planning.hidden_goal_return(next_state, 0, candidates, 15, 1, hit=-1.0)
