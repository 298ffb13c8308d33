"""Scores against sums by hand, and against what exact planners say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks
from metarl_jax.config import ConfigError
from metarl_jax.curricula._scores import (
    Scoring,
    best_return,
    episodes,
    learnability,
    max_mc,
    positive_value_loss,
    regret,
    scorer,
    solved,
)
from metarl_jax.types import Student, TimeStep, Trajectory


def trial(reward, terminated, truncated=None, values=None) -> Trajectory:
    """Of lists ``[M][T]``."""
    columns = lambda x, kind: jnp.asarray(np.asarray(x, kind).T)
    reward, terminated = columns(reward, np.float32), columns(terminated, bool)
    truncated = jnp.zeros_like(terminated) if truncated is None else columns(truncated, bool)
    values = jnp.zeros_like(reward) if values is None else columns(values, np.float32)
    timestep = TimeStep(reward, reward, reward, terminated, terminated)
    return Trajectory(timestep, reward, reward, reward, terminated, truncated, reward, (), (), (None, values))


LIVED = trial(
    reward=[[0, 1, 0, 0, 2, 3], [0, 0, 0, 0, 0, 0], [1, -1, 0, 5, 0, 0]],
    terminated=[[0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]],
    truncated=[[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]],
    values=[[1, 0, 2, 0, 0, 1], [0, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]],
)


def test_returns_of_episodes_begin_anew_where_one_ends():
    earned = np.asarray(episodes(LIVED).earned).T
    np.testing.assert_allclose(earned, [[0, 1, 0, 0, 2, 3], [0] * 6, [1, 0, 0, 5, 0, 0]])


def test_an_episode_is_solved_that_ends_with_more_than_nothing():
    p = np.asarray(solved(LIVED, 0.0))
    np.testing.assert_allclose(p, [1.0, 0.0, 0.5])  # of two, of none, of two: what is under way does not count
    np.testing.assert_allclose(solved(LIVED, 1.5), [0.5, 0.0, 0.5])
    np.testing.assert_allclose(learnability(jnp.asarray(p)), [0.0, 0.0, 0.25])


def test_the_best_return_is_that_of_an_episode_that_ended():
    np.testing.assert_allclose(best_return(LIVED), [2.0, 0.0, 5.0])
    np.testing.assert_allclose(max_mc(LIVED, jnp.array([2.0, 0.0, 5.0])), [2 - 4 / 6, 0.0, 5 - 1 / 6], rtol=1e-6)


def test_positive_value_loss_by_hand():
    # Discount .5, lambda 1: an advantage is the discounted return of the episode's rest less the value.
    rest = [[0.5, 1, 0.5, 1, 2, 3], [0] * 6, [0.5, -1, 2.5, 5, 0, 0]]
    rest = np.asarray(rest)
    values = np.asarray(LIVED.outputs[1]).T
    wanted = np.maximum(rest - values, 0).mean(axis=1)
    np.testing.assert_allclose(positive_value_loss(LIVED, 0.5, 1.0), wanted, rtol=1e-6)


def test_regret_of_the_shortest_way_is_nothing():
    family = tasks.view_maze(size=4, view=3, num_walls=4, horizon=12, solvable=True)
    batch = jax.vmap(family.sample)(jax.random.split(jax.random.key(0), 20))
    best = family.references(batch, 12)[0].trial_return
    ideal = trial(np.concatenate([best[:, None], np.zeros((20, 11))], axis=1), np.zeros((20, 12)))
    np.testing.assert_allclose(regret(family.optimum, batch, ideal), 0.0, atol=1e-6)
    nothing = trial(np.zeros((20, 12)), np.zeros((20, 12)))
    np.testing.assert_allclose(regret(family.optimum, batch, nothing), best, rtol=1e-6)
    assert best.min() > 0


@pytest.mark.parametrize(
    ("score", "values", "says"),
    [
        ("max-mc", False, "score='max-mc': needs an algorithm that learns values"),
        ("positive-value-loss", False, "needs an algorithm that learns values"),
        ("regret", True, "score='regret': needs the exact optimum, which bandit does not trace"),
    ],
)
def test_a_score_that_cannot_be_told_is_refused(score, values, says):
    student = Student(lambda *args: LIVED, 4, values, True)
    with pytest.raises(ConfigError, match="(?s)" + says.replace("(", r"\(")):
        scorer(tasks.bandit(), student, Scoring(score, 0.9, 0.9, 0.0))
