"""Decoded beliefs beside exact ones: an oracle is calibrated, a stubborn agent is not; pictures of both."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax import beliefs, viz
from metarl_jax.config import ConfigError
from metarl_jax.evaluation.report import Report
from metarl_jax.viz.beliefs import differences, heat_map

HORIZON, EPISODES = 4, 3


@pytest.fixture(scope="module")
def run():
    tasks = mrl.tasks.gridnavi(size=3, horizon=HORIZON, num_episodes=EPISODES)
    agent = mrl.algorithms.varibad(memory_size=8, num_minibatches=1, num_epochs=1, model_minibatches=1)
    return mrl.train(agent, tasks, num_updates=1, num_tasks=8, quiet=True)


def saying(run, decode):
    """The run with another belief."""
    return dataclasses.replace(run, algorithm=run.algorithm._replace(decode=decode))


@pytest.fixture(scope="module")
def oracle(run):
    """Says the exact posterior as it was before each step."""
    exact = beliefs.exact_belief(run.tasks)

    def decode(state, trajectory):
        return jnp.concatenate([jnp.full((1, 5), 0.2), exact.posterior(trajectory)[:-1]])

    return saying(run, decode)


def test_an_oracle_is_as_good_as_can_be(oracle):
    report = mrl.evaluate(oracle, trials_per_task=200, quiet=True)
    told = report.belief
    by_step = {name: np.array(values) for name, values in told["by_step"].items()}
    assert told["candidates"] == 5 and all(values.shape == (HORIZON * EPISODES - 1,) for values in by_step.values())
    np.testing.assert_allclose(by_step["divergence"], 0.0, atol=1e-6)
    np.testing.assert_allclose(by_step["confidence"], by_step["best"], atol=1e-6)
    np.testing.assert_allclose(by_step["log_loss"], by_step["exact_log_loss"], atol=1e-6)
    # Equally likely goals are named in order: right as often as sure, over the whole set.
    np.testing.assert_allclose(by_step["right"], by_step["best"], atol=0.04)
    assert told["calibration_error"] < 0.02 and max(by_step["calibration_error"]) < 0.06
    assert (np.diff(by_step["exact_log_loss"]) < 1e-6).all()  # more is known, never less
    # An episode's end is the last step of it.
    ends = [by_step["best"][HORIZON - 1], by_step["best"][2 * HORIZON - 1], by_step["best"][-1]]
    np.testing.assert_allclose(told["by_episode"]["best"], ends, atol=1e-6)


def test_an_agent_that_is_sure_of_one_goal_is_told_so(run):
    stubborn = saying(run, lambda state, trajectory: jnp.tile(jnp.eye(5)[2][None], (trajectory.reward.shape[0], 1)))
    told = mrl.evaluate(stubborn, trials_per_task=20, quiet=True).belief
    np.testing.assert_allclose(told["by_step"]["right"], 0.2, atol=1e-6)
    np.testing.assert_allclose(told["by_step"]["confidence"], 1.0)
    assert told["calibration_error"] == pytest.approx(0.8)
    for name in ("by_step", "by_episode"):
        np.testing.assert_allclose(told[name]["calibration_error"], 0.8, atol=1e-6)
    assert told["calibration"]["share"][-1] == 1.0 and told["calibration"]["right"][-1] == pytest.approx(0.2)
    assert told["calibration"]["right"][0] is None  # nothing was said with so little confidence
    assert min(told["by_step"]["divergence"]) > 1.0


def test_the_report_tells_and_keeps_the_belief(run, tmp_path):
    report = mrl.evaluate(run, trials_per_task=5, quiet=True)
    assert "Belief at the end of an episode" in str(report) and "One of 5 tasks" in str(report)
    again = Report.load(report.save(tmp_path / "report.json"))
    assert again.belief == report.belief and again.by_adaptation == report.by_adaptation
    panels = [axes.get_title(loc="left") for axes in viz.plot_report(report).axes]
    assert "Belief over tasks" in panels
    # Other agents hold no belief, and elsewhere the exact one may not be known.
    plain = mrl.train(
        mrl.algorithms.rl2(memory_size=4, num_minibatches=1), run.tasks, num_updates=1, num_tasks=2, quiet=True
    )
    assert mrl.evaluate(plain, trials_per_task=2, quiet=True).belief is None
    held_out = mrl.tasks.gridnavi(size=3, horizon=HORIZON, num_episodes=2)
    assert mrl.evaluate(run, held_out, trials_per_task=2, quiet=True).belief is None


def test_numbers_are_told_as_errors():
    tasks = mrl.tasks.bandit(num_arms=2, num_pulls=5)
    agent = mrl.algorithms.varibad(memory_size=8, num_minibatches=1, num_epochs=1, model_minibatches=1)
    bandit = mrl.train(agent, tasks, num_updates=1, num_tasks=4, quiet=True)
    half = saying(bandit, lambda state, trajectory: jnp.full((5, 2), 0.5))
    report = mrl.evaluate(half, num_tasks=4000, quiet=True)
    by_step = report.belief["by_step"]
    wanted = np.mean(np.sqrt(np.square(np.random.default_rng(0).uniform(-0.5, 0.5, (100_000, 2))).mean(axis=1)))
    np.testing.assert_allclose(by_step["error"], wanted, rtol=0.03)
    assert by_step["exact_error"][-1] < by_step["exact_error"][0] < wanted
    assert "Root mean squares" in str(report) and "calibration" not in report.belief


def test_marks_are_where_tasks_differ_and_heat_is_where_they_are_likely(run):
    tasks = run.tasks
    bare, marks = differences(tasks, 5, 0)
    assert bare.shape == (3, 3, 3) and marks.shape == (5, 3, 3)
    np.testing.assert_array_equal([np.flatnonzero(mark).tolist() for mark in marks], tasks.tasks.goal[:, None])
    belief = np.array([0.6, 0.1, 0.3, 0.0, 0.0])
    red = heat_map(belief, bare, marks).reshape(9, 3)
    away = np.abs(red.astype(int) - bare.reshape(9, 3)).sum(axis=1)  # how far from the bare picture
    goals = np.asarray(tasks.tasks.goal)
    assert (np.argsort(-away[goals])[:3] == [0, 2, 1]).all() and away[goals[3:]].max() == 0
    assert away[[c for c in range(9) if c not in goals]].max() == 0


def test_another_layout_has_no_place_in_the_picture():
    tasks = mrl.tasks.maze_200()
    for index, shown in ((0, range(100)), (150, range(100, 200))):
        _, marks = differences(tasks, 200, index)
        size = marks.sum(axis=(1, 2))
        assert [n for n in range(200) if size[n]] == list(shown) and len(set(size[list(shown)])) == 1


def test_pictures_of_beliefs(run, oracle, tmp_path):
    assert viz.has_belief(run)
    figure = viz.draw_belief(oracle, tmp_path / "belief.png", task_index=3, num_moments=4)
    assert len(figure.axes) == 8 and (tmp_path / "belief.png").stat().st_size > 1000
    decoded, exact = ([axes.images[0].get_array() for axes in figure.axes[i : i + 4]] for i in (0, 4))
    np.testing.assert_array_equal(decoded, exact)  # an oracle's
    assert (np.asarray(decoded[0]) != np.asarray(decoded[-1])).any()
    assert viz.animate_belief(run, tmp_path / "belief.gif", task_index=1).stat().st_size > 1000
    plain = saying(run, None)
    assert not viz.has_belief(plain)
    with pytest.raises(ConfigError, match="beliefs are drawn of agents that hold one"):
        viz.draw_belief(plain)


def test_a_second_evaluation_compiles_nothing(run):
    """The exact belief is made once a run: a second evaluation finds its program."""
    from metarl_jax.evaluation.evaluate import compiled

    mrl.evaluate(run, trials_per_task=3, quiet=True)
    before = compiled.cache_info().misses
    mrl.evaluate(run, trials_per_task=3, seed=1, quiet=True)
    assert compiled.cache_info().misses == before
    assert run.belief is run.belief
