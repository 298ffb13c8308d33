"""Priors that are finite sets, and references that are not of the tasks asked about."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metarl_jax as mrl
from metarl_jax.evaluation import adaptation_test as verdict
from metarl_jax.evaluation import format
from metarl_jax.evaluation.report import summarize
from metarl_jax.evaluation.trials import Trials, describe
from metarl_jax.planning import candidate_bandits
from metarl_jax.records import Reference
from metarl_jax.tasks.environment import another_of
from metarl_jax.tasks.priors import DRAWN_FROM, elsewhere, of_these, prior_of, same_prior

TASKS = {"a": jnp.array([[3.0, 0.0], [1.0, 2.0], [3.0, -0.0], [1.0, 2.0], [3.0, 0.0]]), "b": jnp.array([7, 1, 7, 2, 7])}


def test_a_task_held_twice_is_one_task_of_twice_the_weight():
    prior = prior_of(TASKS)
    np.testing.assert_array_equal(prior.tasks["a"], [[3.0, 0.0], [1.0, 2.0], [1.0, 2.0]])
    np.testing.assert_array_equal(prior.tasks["b"], [7, 1, 2])
    np.testing.assert_allclose(prior.weight, [0.6, 0.2, 0.2])
    np.testing.assert_array_equal(prior.row, [0, 1, 0, 2, 0])
    keys = jax.random.split(jax.random.key(0), 2)[jnp.array([1, 0, 1])]  # what a task is made of may be a key
    assert prior_of(keys).row.tolist() == [0, 1, 0] and prior_of(keys).tasks.dtype == keys.dtype


def test_the_same_prior_holds_the_same_tasks_in_the_same_proportions():
    part = lambda *rows: jax.tree.map(lambda x: x[np.array(rows)], TASKS)
    assert same_prior(TASKS, part(1, 3, 0, 0, 0)) and same_prior(part(0, 1), part(1, 2, 4, 1))
    assert not same_prior(TASKS, part(0, 1, 3))
    assert not same_prior(part(0), part(1)) and not same_prior(part(1), part(3))


def test_what_is_one_number_is_not_of_other_tasks():
    part = jax.tree.map(lambda x: x[:2], TASKS)
    found = [Reference("optimal", "exact", np.zeros(2)), Reference("bayes", "exact", 1.0)]
    assert of_these(found, TASKS, TASKS) == found
    first, second = of_these(found, part, TASKS)
    assert not first.of and second.of and all(r.of for r in elsewhere(found))


def test_a_score_is_not_held_to_what_other_tasks_are_worth():
    ones = np.ones((1, 2, 1, 3))
    trials = Trials(ones, ones, ones > 0, np.full((1, 2, 1), 3.0))
    references = [Reference("bayes", "exact", 4.0, of="others"), Reference("optimal", "exact", np.array([5.0, 7.0]))]
    known = [describe(reference, 3.0, trials) for reference in references]
    assert (known[0]["share"], known[0]["regret"], known[0]["value"]) == (None, None, 4.0)
    assert format.label(known[0]) == "Bayes-optimal of others, exact" and format.label(known[1]).endswith(
        "known, exact"
    )
    scores, control = trials.trial_return, trials.trial_return - 1.0
    found = verdict.gap(scores, control, references, all_tasks=True)
    assert found.closed is not None and found.closed.mean == pytest.approx(0.25)  # from the control's 2 to 6
    assert "Bayes" not in found.note
    assert verdict.gap(scores, control, references[:1], all_tasks=True).closed is None


def known(tasks, steps: int | None = None) -> dict:
    return {r.role: r for r in tasks.references(tasks.tasks, steps or tasks.trial_steps)}


def test_a_set_is_its_own_prior(tmp_path):
    """Values by hand; a set of a set and a file keep them."""
    family = mrl.tasks.bandit(num_arms=2)
    arms = jax.eval_shape(family.sample, jax.random.key(0))._replace(probability=jnp.array([[0.9, 0.1], [0.8, 0.3]]))
    found = known(mrl.tasks.finite(family, arms))  # one arm is best in both: there is nothing to learn
    for role, value in (("non_adaptive", 8.5), ("bayes", 8.5), ("optimal", 8.5), ("random", 5.25)):
        assert (found[role].kind, found[role].of) == ("exact", "")
        np.testing.assert_allclose(np.mean(found[role].trial_return), value, rtol=1e-6)
    grid = mrl.tasks.gridnavi()
    corridor = mrl.tasks.finite(grid, grid.tasks._replace(goal=jnp.array([2, 3, 4], jnp.int32)))
    read = mrl.tasks.load_tasks(mrl.tasks.save_tasks(tmp_path / "corridor.npz", corridor), grid)
    for tasks in (corridor, mrl.tasks.finite(corridor, corridor.tasks), read):  # on the way to the last, all are met
        for role in ("bayes", "non_adaptive", "optimal"):
            np.testing.assert_allclose(np.mean(known(tasks)[role].trial_return), 51.2, rtol=1e-6)


def test_what_a_set_is_not_planned_for_is_of_its_distribution(monkeypatch):
    family = mrl.tasks.bandit(num_arms=2)
    batch = jax.vmap(family.sample)(jax.random.split(jax.random.key(0), 3))
    assert not any(r.of for r in family.references(batch, 10))  # draws of the prior
    monkeypatch.setattr(candidate_bandits, "MOST_WORK", 10)
    found = known(mrl.tasks.finite(family, batch))
    assert found["bayes"].of == DRAWN_FROM and found["bayes"].trial_return > 6 and not found["non_adaptive"].of
    noisy = mrl.tasks.tabular(num_states=2, num_actions=2, horizon=2)
    batch = jax.vmap(noisy.sample)(jax.random.split(jax.random.key(0), 3))
    found = known(mrl.tasks.finite(noisy, batch))
    assert found["non_adaptive"].of == DRAWN_FROM and not found["optimal"].of and not found["random"].of


def test_a_report_on_a_set_is_held_to_the_set():
    """The gap begins where one arm for both bandits ends."""
    family = mrl.tasks.bandit(num_arms=2)
    arms = jax.eval_shape(family.sample, jax.random.key(0))._replace(probability=jnp.array([[0.9, 0.1], [0.2, 0.6]]))
    tasks = mrl.tasks.finite(family, arms)
    returns = np.full((1, 2, 1, 10), 0.6)
    trials = Trials(returns, np.ones_like(returns), returns > 0, returns.sum(axis=-1))
    report = summarize(trials, trials, tasks.references(tasks.tasks, 10))
    assert {r["of"] for r in report.references} == {""}
    assert "from 5.500 (best non-adaptive, exact)" in report.gap_note
    assert report.gap_closed is not None and 0 < report.gap_closed < 1


def test_references_that_take_no_prior_are_named():
    family = mrl.tasks.gridnavi()
    with pytest.raises(mrl.ConfigError, match="its references take no prior"):
        mrl.tasks.finite(family._replace(references=lambda tasks, trial_steps: []), family.tasks)


def test_another_task_is_another_however_often_one_is_held():
    held, keys = {"a": jnp.array([1.0, 1.0, 2.0, 1.0, 3.0])}, jax.random.split(jax.random.key(0), 300)
    others = lambda one: np.asarray(jax.vmap(lambda key: another_of(held, key, {"a": jnp.float32(one)})["a"])(keys))
    for one, other, share in ((1, 2, 1 / 2), (2, 1, 3 / 4)):
        drawn = others(one)
        assert not (drawn == one).any() and abs((drawn == other).mean() - share) < 4 * np.sqrt(share / 4 / 300) + 0.01
    held = {"a": jnp.ones(2)}
    assert (others(1) == 1).all()  # there is no other
