"""Scores against sums by hand, and against what exact planners say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import algorithms, tasks
from metarl_jax.config import ConfigError
from metarl_jax.curricula.scores import (
    best_return,
    chosen,
    episodes,
    learnability,
    max_mc,
    mean_return,
    regret,
    scorer,
    solved,
)
from metarl_jax.records import Student, TimeStep, Trajectory
from metarl_jax.training.update_loop import student_of


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


def test_the_mean_return_is_that_of_episodes_that_ended():
    np.testing.assert_allclose(mean_return(LIVED), [1.5, 0.0, 2.5])
    never = LIVED._replace(terminated=jnp.zeros_like(LIVED.terminated), truncated=jnp.zeros_like(LIVED.truncated))
    np.testing.assert_allclose(mean_return(never), [6.0, 0.0, 5.0])


def test_the_best_return_is_that_of_an_episode_that_ended():
    np.testing.assert_allclose(best_return(LIVED), [2.0, 0.0, 5.0])
    np.testing.assert_allclose(max_mc(LIVED, jnp.array([2.0, 0.0, 5.0])), [2 - 4 / 6, 0.0, 5 - 1 / 6], rtol=1e-6)


def rests(trajectory: Trajectory, discount: float, across: bool) -> np.ndarray:
    """Discounted returns of what is left of the trial, or of the episode, ``[T, M]``."""
    total, found = 0.0, []
    for reward, ended in zip(
        trajectory.reward[::-1], (trajectory.terminated | trajectory.truncated)[::-1], strict=True
    ):
        total = np.asarray(reward) + discount * np.where(ended & (not across), 0.0, total)
        found.append(total)
    return np.stack(found[::-1])


def solved_rest(trajectory: Trajectory) -> np.ndarray:
    """Whether the episode of each step ended at the goal, ``[T, M]``."""
    found, going = [], np.zeros(trajectory.reward.shape[1], bool)
    for terminated, truncated in zip(trajectory.terminated[::-1], trajectory.truncated[::-1], strict=True):
        going = np.where(terminated | truncated, terminated, going)
        found.append(going)
    assert np.any(found)
    return np.stack(found[::-1])


@pytest.mark.parametrize("name", ["rl2", "varibad", "ppo"])
def test_positive_value_loss_is_of_advantages_in_the_learners_own_terms(name):
    """Lambda 1: what the rest of the trial (PPO: of the episode) brings, discounted, less the value."""
    family = tasks.view_maze(size=3, view=3, num_walls=1, horizon=20, num_episodes=2)
    options = dict(discount=0.5, trace=1.0) | (dict(encoder=(8,)) if name == "ppo" else dict(memory_size=8))
    algorithm = algorithms.REGISTRY[name](**options).build(family)
    student = student_of(algorithm, family, 6)
    learner = jax.jit(algorithm.init, static_argnums=1)(jax.random.key(0), 6)
    batch = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(1), 6))
    trajectory = jax.jit(student.live)(jax.random.key(2), learner, batch)
    wanted = rests(trajectory, 0.5, name != "ppo") - np.asarray(trajectory.outputs[1])
    advantages = jax.jit(student.advantages)(learner, trajectory)
    told = slice(None) if name != "ppo" else solved_rest(trajectory)  # after truncation a value says what the rest is
    np.testing.assert_allclose(advantages[told], wanted[told], rtol=1e-4, atol=1e-5)
    score = jax.jit(scorer(family, student, "positive-value-loss", None))(learner, batch, trajectory, jnp.zeros(6))
    np.testing.assert_allclose(score, np.asarray(jnp.maximum(advantages, 0.0)).mean(axis=0), rtol=1e-6)
    assert float(score.std()) > 0


def test_regret_of_the_shortest_way_is_nothing():
    family = tasks.view_maze(size=4, view=3, num_walls=4, horizon=12, solvable=True)
    batch = jax.jit(jax.vmap(family.sample))(jax.random.split(jax.random.key(0), 20))
    distance = np.asarray(jax.jit(jax.vmap(family.env.distance))(batch))
    best = 1.0 - 0.9 * distance / 12
    ends = (np.arange(12)[None] + 1) % distance[:, None] == 0  # there and there again, as often as time allows
    np.testing.assert_allclose(regret(family, batch, trial(ends * best[:, None], ends)), 0.0, atol=1e-6)
    nothing = trial(np.zeros((20, 12)), np.zeros((20, 12)))
    np.testing.assert_allclose(regret(family, batch, nothing), best, rtol=1e-6)
    trials = family.references(batch, 12)[0].trial_return
    np.testing.assert_allclose(trials, (ends * best[:, None]).sum(axis=1), rtol=1e-6)
    assert best.min() > 0 and trials.max() > 2


VALUED = Student(lambda *args: LIVED, 4, True, lambda learner, trajectory: trajectory.reward)


@pytest.mark.parametrize(
    ("score", "student", "above", "says"),
    [
        ("max-mc", VALUED._replace(advantages=None), None, "score='max-mc': needs an algorithm that learns values"),
        ("max-mc", VALUED, None, "score='max-mc': needs values of an episode"),
        ("positive-value-loss", VALUED._replace(advantages=None), None, "needs an algorithm that learns values"),
        ("regret", VALUED, None, "score='regret': needs the exact optimum, which gate does not trace"),
        ("regret", VALUED, 0.5, "solved_above=0.5: score='regret' has no use"),
        ("learnability", VALUED, None, "solved_above=None: say the return above which an episode of bandit is solved"),
    ],
)
def test_a_score_that_cannot_be_told_is_refused(score, student, above, says):
    with pytest.raises(ConfigError, match="(?s)" + says.replace("(", r"\(")):
        scorer(tasks.gate() if score == "regret" else tasks.bandit(), student, score, above)


def test_the_score_left_open_is_the_best_that_can_be_told():
    assert chosen(tasks.view_maze(), VALUED) == "regret"
    assert chosen(tasks.bandit(), VALUED) == "positive-value-loss"  # its optimum is that of a trial
    assert chosen(tasks.gate(), VALUED._replace(values_per_episode=True)) == "max-mc"


def test_max_mc_is_told_of_values_of_an_episode():
    told = scorer(tasks.bandit(), VALUED._replace(values_per_episode=True), "max-mc", None)
    best = jnp.array([2.0, 0.0, 5.0])
    np.testing.assert_array_equal(told((), (), LIVED, best), max_mc(LIVED, best))
