"""Beliefs over a few deterministic tasks: against all histories of small problems and the hidden-goal search."""

import numpy as np
import pytest

from metarl_jax import planning
from metarl_jax.config import ConfigError
from metarl_jax.planning import hidden_task


def over_histories(next_state, start, reward, signal, horizon, episodes):
    """The best expected total by recursion over all histories: no beliefs, no merging, each task lived by itself.

    A policy may only tell tasks apart by what they have paid and shown: tasks with one history act as one.
    """

    def value(step, cell, alike):
        if step == horizon * episodes:
            return 0.0
        cell = start if step % horizon == 0 else cell
        best = -np.inf
        for after in next_state[cell]:
            seen = {}
            for task in alike:
                shown = signal[task, after] if (step + 1) % horizon else None  # else back at the start by then
                seen.setdefault((reward[task, after], shown), []).append(task)
            total = sum(len(part) * r + value(step + 1, after, part) for (r, _), part in seen.items())
            best = max(best, total)
        return best

    return value(0, start, list(range(len(reward)))) / len(reward)


@pytest.mark.parametrize("seed", range(8))
def test_against_all_histories_on_random_problems(seed):
    rng = np.random.default_rng(seed)
    horizon, episodes = [(3, 2), (2, 3), (6, 1), (1, 4)][seed % 4]
    next_state = rng.integers(5, size=(5, 3))
    reward = rng.choice([0.0, 0.0, 1.0, -0.5], size=(4, 5))  # many ties: cells that tell little
    signal = rng.choice([0, 0, 0, 1, 2], size=(4, 5))
    signal[:, 1] = 0
    found = planning.hidden_task_return(next_state, 1, reward, signal, horizon, episodes)
    assert found.shape == (episodes,)
    exact = over_histories(next_state.tolist(), 1, reward, signal, horizon, episodes)
    np.testing.assert_allclose(found.sum(), exact, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_task_that_is_likelier_is_one_held_more_often(seed):
    """Both planners with weights against all histories of the tasks repeated; a goal may be the start."""
    rng = np.random.default_rng(seed)
    horizon, episodes = [(3, 2), (2, 3), (6, 1), (1, 4)][seed]
    next_state, times = rng.integers(5, size=(5, 3)), np.array([3, 1, 2])
    reward = rng.choice([0.0, 0.0, 1.0, -0.5], size=(3, 5))
    signal = rng.choice([0, 0, 0, 1, 2], size=(3, 5))
    signal[:, 1] = 0
    exact = over_histories(next_state.tolist(), 1, reward.repeat(times, 0), signal.repeat(times, 0), horizon, episodes)
    found = planning.hidden_task_return(next_state, 1, reward, signal, horizon, episodes, times)
    np.testing.assert_allclose(found.sum(), exact, atol=1e-12)
    goals = np.array([1, 4, 2])
    reward = np.where(np.arange(5) == goals[:, None], 1.0, -0.1).repeat(times, 0)
    exact = over_histories(next_state.tolist(), 1, reward, np.zeros(reward.shape, int), horizon, episodes)
    found = planning.hidden_goal_return(next_state, 1, goals, horizon, episodes, weight=times)
    np.testing.assert_allclose((found.by_episode.sum(), found.upper), exact, atol=1e-8)


@pytest.mark.parametrize(("size", "horizon", "episodes"), [(3, 4, 3), (3, 6, 1), (4, 8, 2)])
def test_is_the_hidden_goal_search_where_nothing_is_shown(size, horizon, episodes):
    cells = np.arange(size * size).reshape(size, size)
    padded = np.pad(cells, 1, mode="edge")
    moves = [padded[1:-1, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[2:, 1:-1], padded[1:-1, :-2]]
    next_state = np.stack([ahead.ravel() for ahead in moves], axis=1)
    goals = np.array([c for c in cells.ravel() if c // size > 1 or c % size > 1])
    reward = np.where(np.arange(size * size) == goals[:, None], 1.0, -0.1)
    found = planning.hidden_task_return(next_state, 0, reward, np.zeros(reward.shape, int), horizon, episodes)
    known = planning.hidden_goal_return(next_state, 0, goals, horizon, episodes)
    np.testing.assert_allclose(found.sum(), known.by_episode.sum(), atol=1e-9)
    # Told the goal next to the start, from the second episode on it does as well as one that always knew.
    shown = np.where(np.arange(size * size) == 1, np.arange(len(goals))[:, None], 0)
    told = planning.hidden_task_return(next_state, 0, reward, shown, horizon, episodes)
    best = planning.known_goal_values(next_state, goals, horizon)[:, horizon, 0].mean()
    np.testing.assert_allclose(told[1:], best, atol=1e-9)
    assert found[0] < told[0] <= best


def test_by_episode_is_what_the_plan_earns_in_each():
    """Pay 1 in the first episode to learn which of two arms pays 3, by hand."""
    # Cells: 0 start, 1 oracle, 2 left, 3 right; actions lead from 0 to 1, 2, 3 and stay elsewhere.
    next_state = np.array([[1, 2, 3], [1, 2, 3], [2, 2, 2], [3, 3, 3]])
    reward = np.array([[0, -1, 3, -3], [0, -1, -3, 3.0]])
    signal = np.array([[0, 1, 0, 0], [0, 2, 0, 0]])
    found = planning.hidden_task_return(next_state, 0, reward, signal, 2, 3)
    # Ask, then the right arm once; afterwards two steps on the right arm.
    np.testing.assert_allclose(found, [2.0, 6.0, 6.0])
    # Without an oracle, an arm at random (0 in expectation, both steps) tells just as well.
    np.testing.assert_allclose(
        planning.hidden_task_return(next_state, 0, reward, 0 * signal, 2, 3), [0.0, 6.0, 6.0], atol=1e-12
    )


def test_mistakes_are_named(monkeypatch):
    next_state, reward = np.array([[0, 1], [1, 1]]), np.array([[0.0, 1.0], [0.0, 2.0]])
    with pytest.raises(ConfigError, match="horizon"):
        planning.hidden_task_return(next_state, 0, reward, 0 * reward, 0, 1)
    with pytest.raises(ConfigError, match="signal"):
        planning.hidden_task_return(next_state, 0, reward, np.array([[0, 0], [1, 0]]), 1, 1)
    monkeypatch.setattr(hidden_task, "MOST_BELIEFS", 2)
    with pytest.raises(ConfigError, match="beliefs"):
        planning.hidden_task_return(next_state, 0, reward, 0 * reward, 1, 1)
