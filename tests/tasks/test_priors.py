"""Priors that are finite sets, and references that are not of the tasks asked about."""

import jax
import jax.numpy as jnp
import numpy as np

import metarl_jax as mrl
from metarl_jax.tasks._priors import elsewhere, of_these, prior_of, same_prior
from metarl_jax.types import Reference

TASKS = {"a": jnp.array([[3.0, 0.0], [1.0, 2.0], [3.0, -0.0], [1.0, 2.0], [3.0, 0.0]]), "b": jnp.array([7, 1, 7, 2, 7])}


def test_a_task_held_twice_is_one_task_of_twice_the_weight():
    prior = prior_of(TASKS)
    np.testing.assert_array_equal(prior.tasks["a"], [[3.0, 0.0], [1.0, 2.0], [1.0, 2.0]])
    np.testing.assert_array_equal(prior.tasks["b"], [7, 1, 2])
    np.testing.assert_allclose(prior.weight, [0.6, 0.2, 0.2])
    np.testing.assert_array_equal(prior.row, [0, 1, 0, 2, 0])


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
    from metarl_jax import tables, verdict
    from metarl_jax.trials import Trials, describe

    ones = np.ones((1, 2, 1, 3))
    trials = Trials(ones, ones, ones > 0, np.full((1, 2, 1), 3.0))
    known = [
        describe(r, 3.0, trials)
        for r in (Reference("bayes", "exact", 4.0, of="others"), Reference("optimal", "exact", np.array([5.0, 7.0])))
    ]
    assert (known[0]["share"], known[0]["regret"], known[0]["value"]) == (None, None, 4.0)
    assert tables.label(known[0]) == "Bayes-optimal of others, exact" and tables.label(known[1]).endswith(
        "known, exact"
    )
    share, words = verdict.gap(3.0, 2.0, known)
    assert share == 0.25 and "Bayes" not in words  # from the control's 2 to 6
    assert verdict.gap(3.0, 2.0, known[:1])[0] is None


def test_sets_of_a_family_are_asked_about_by_themselves():
    """No mean over the family's prior is left unmarked in a set of other tasks."""
    family = mrl.tasks.bandit(num_arms=2)
    batch = jax.vmap(family.sample)(jax.random.split(jax.random.key(0), 3))
    some = mrl.tasks.finite(family, batch)
    again = mrl.tasks.finite(mrl.tasks.finite(family, jax.tree.map(lambda x: x[:1], batch)), batch)
    assert some.references is not None and again.references is not None
    compare = lambda a, b: (a.role, a.kind, a.of) == (b.role, b.kind, b.of) and np.all(a.trial_return == b.trial_return)
    pairs = zip(some.references(batch, 10), again.references(batch, 10), strict=True)
    assert all(compare(a, b) for a, b in pairs)
