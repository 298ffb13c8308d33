"""Bernoulli bandits: the exact programs against hand values and published ones, Gittins against the exact programs."""

import numpy as np
import pytest

from metarl_jax import planning
from metarl_jax.config import ConfigError
from metarl_jax.planning import bandits


@pytest.mark.parametrize(
    ("arms", "pulls", "value"),
    [(2, 10, 6.021786), (5, 10, 6.659988), (10, 10, 6.713951), (2, 100, 64.918421)],
)
def test_exact_references(arms, pulls, value):
    reference = planning.bernoulli_reference(arms, pulls)
    assert reference.kind == "exact" and reference.standard_error == 0.0
    np.testing.assert_allclose(reference.value, value, atol=1e-6)
    assert reference.by_pull.shape == (pulls,)
    np.testing.assert_allclose(reference.by_pull.sum(), value, atol=0.12)


def test_two_arms_are_exact_to_200_pulls_and_more_arms_to_12(monkeypatch):
    monkeypatch.setattr(bandits, "gittins_value", lambda arms, pulls: (1.0, 0.1, np.zeros(pulls)))
    reference = bandits.bernoulli_reference.__wrapped__
    assert abs(200 * 2 / 3 - reference(2, 200).value - 2.239) < 6e-4
    kinds = [reference(arms, pulls).kind for arms, pulls in ((2, 200), (2, 201), (3, 12), (3, 13))]
    assert kinds == ["exact", "lower", "exact", "lower"]


def test_the_two_exact_programs_agree_and_match_hand_values():
    for pulls in range(1, 11):
        np.testing.assert_allclose(planning.two_armed_value(pulls), planning.many_armed_value(2, pulls), rtol=1e-12)
    np.testing.assert_allclose(planning.many_armed_value(2, 2), 13 / 12)  # 1/2 + 1/2 (2/3 + 1/2)
    np.testing.assert_allclose(planning.many_armed_value(7, 2), 13 / 12)
    assert planning.bernoulli_reference(50, 10).value == planning.bernoulli_reference(10, 10).value
    assert planning.bernoulli_reference(1, 7).value == 3.5


def test_gittins_index_by_definition():
    # One pull left: the mean. Two left, nothing known: c solves 1/2 - c + 1/2 (2/3 - c) = 0, so c = 5/9.
    indices = np.asarray(planning.gittins_indices(6, 512))
    pulls, successes = np.tril_indices(6)
    np.testing.assert_allclose(indices[0], (successes + 1) / (pulls + 2), atol=1e-4)
    np.testing.assert_allclose(indices[1, 0], 5 / 9, atol=1e-4)
    assert np.all(np.diff(indices[:, 0]) > 0), "more pulls left are worth more exploration"


def test_gittins_policy_is_near_the_exact_value():
    for arms, pulls in ((2, 100), (5, 10)):
        value, error, by_pull = planning.gittins_value(arms, pulls)
        exact = planning.bernoulli_reference(arms, pulls).value
        assert exact - 3.5 * error - 5e-4 * exact < value < exact + 3.5 * error
        np.testing.assert_allclose(by_pull.sum(), value, rtol=1e-5)
        assert by_pull[-1] > by_pull[0]


@pytest.mark.parametrize(("arms", "value", "error"), [(5, 78.669, 0.035), (10, 83.758, 0.025), (50, 85.561, 0.019)])
def test_gittins_references(arms, value, error):
    reference = planning.bernoulli_reference(arms, 100)
    assert reference.kind == "lower" and "Gittins" in reference.note
    assert abs(reference.value - value) < 3.5 * np.hypot(error, reference.standard_error)


@pytest.mark.parametrize(("arms", "value", "error"), [(5, 408.87, 0.37), (10, 442.49, 0.23), (50, 464.90, 0.15)])
def test_gittins_references_of_long_trials(arms, value, error):
    reference = planning.bernoulli_reference(arms, 500)
    assert abs(reference.value - value) < 3.5 * np.hypot(error, reference.standard_error)
    assert reference.by_pull.shape == (500,)


@pytest.mark.slow
@pytest.mark.parametrize(("arms", "pulls"), [(10, 100), (50, 100), (5, 500)])
def test_stored_values_can_be_recomputed(arms, pulls):
    stored = planning.bernoulli_reference(arms, pulls)
    value, error, by_pull = planning.gittins_value(arms, pulls, seed=17)
    assert abs(value - stored.value) < 3.5 * np.hypot(error, stored.standard_error)
    np.testing.assert_allclose(by_pull, stored.by_pull, atol=0.02)


@pytest.mark.parametrize(
    ("probabilities", "regret"), [((0.1, 0.9), 0.625), ((0.25, 0.75), 1.0), ((0.4, 0.6), 2.312), (None, 1.221)]
)
def test_dependent_bandits(probabilities, regret):
    reference = planning.dependent_reference(probabilities, 100)
    assert abs(reference.regret - regret) < 6e-4
    np.testing.assert_allclose(reference.by_pull.sum(), reference.value)


def test_dependent_bandit_by_enumeration():
    # p in {0.2, 0.8}: the first pull earns 1/2, the second follows the evidence: 0.8 * 0.8 + 0.2 * 0.2 = 0.68
    np.testing.assert_allclose(planning.dependent_reference([0.2, 0.8], 2).by_pull, [0.5, 0.68])
    # p uniform: after a success p ~ Beta(2, 1), mean 2/3
    np.testing.assert_allclose(planning.dependent_reference(None, 2).by_pull, [0.5, 2 / 3])
    np.testing.assert_allclose(planning.dependent_reference(None, 2).regret, 1.5 - 0.5 - 2 / 3)


def test_independent_arms_regret():
    assert abs(100 * 2 / 3 - planning.two_armed_value(100) - 1.748) < 6e-4


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="num_arms=0"):
        planning.bernoulli_reference(0, 5)
    with pytest.raises(ConfigError, match="probabilities"):
        planning.dependent_reference([0.2, 1.8], 5)
