"""Small sets of bandits, MDPs and one-step choices: each planner against a recursion over all histories."""

import numpy as np
import pytest

from metarl_jax import planning
from metarl_jax.config import ConfigError
from metarl_jax.planning import candidate_bandits, hidden_choice, hidden_mdp


def best_play(probability, pulls, joint):
    """The most that ``pulls`` more pulls earn, summed over candidates with weights ``joint [M]``."""
    if pulls == 0:
        return 0.0
    worth = []
    for chance in probability.T:
        pays, not_pays = joint * chance, joint * (1 - chance)
        worth.append(pays.sum() + best_play(probability, pulls - 1, pays) + best_play(probability, pulls - 1, not_pays))
    return max(worth)


@pytest.mark.parametrize(("candidates", "arms", "pulls"), [(2, 2, 6), (4, 3, 4), (1, 2, 3), (3, 1, 4)])
@pytest.mark.parametrize("kind", ["any", "certain", "a coin", "dependent"])
def test_bandits_of_which_one_is_the_true_one(candidates, arms, pulls, kind):
    rng = np.random.default_rng(candidates)
    probability, weight = rng.random((candidates, arms)).astype(np.float32).astype(float), 0.1 + rng.random(candidates)
    if kind == "certain":
        probability = probability.round()
    elif kind == "a coin":  # says nothing
        probability[:, 0] = 0.5
    elif kind == "dependent":
        probability[:, -1] = 1 - probability[:, 0]
    found = planning.candidate_bandits_return(probability, pulls, weight)
    assert found is not None and found.shape == (pulls,)
    np.testing.assert_allclose(found.sum(), best_play(probability, pulls, weight / weight.sum()), atol=1e-9)


def test_bandits_of_one_prior_by_two_planners():
    found = planning.candidate_bandits_return([[0.1, 0.9], [0.9, 0.1], [0.5, 0.5]], 40)
    assert found is not None
    np.testing.assert_allclose(found, planning.dependent_reference([0.1, 0.9, 0.5], 40).by_pull, atol=1e-9)
    assert planning.candidate_bandits_return(np.linspace(0, 1, 20).reshape(2, 10), 100) is None  # too many beliefs


def over_mdp(transition, reward, horizon, steps, joint, step=0, state=0):
    """The most that the steps from ``step`` on earn, summed over candidates with weights ``joint [G]``. The state that
    an episode ends in is not seen."""
    if step == steps:
        return 0.0
    state, best = (0 if step % horizon == 0 else state), -np.inf
    for action in range(reward.shape[2]):
        pays, total = reward[:, state, action], joint @ reward[:, state, action]
        for paid in set(pays.tolist()):
            follows = transition[:, state, action] if (step + 1) % horizon else np.ones((len(joint), 1))
            for after, chance in enumerate(follows.T):
                left = joint * (pays == paid) * chance
                total += over_mdp(transition, reward, horizon, steps, left, step + 1, after) if left.any() else 0.0
        best = max(best, total)
    return best


@pytest.mark.parametrize(("count", "states", "horizon", "episodes"), [(2, 2, 2, 2), (3, 2, 4, 1), (3, 3, 1, 3)])
@pytest.mark.parametrize("kind", ["any", "ties", "one reward"])
def test_mdps_of_which_one_is_the_true_one(count, states, horizon, episodes, kind):
    rng = np.random.default_rng(count)
    transition, weight = rng.dirichlet(np.ones(states), (count, states, 2)), 0.1 + rng.random(count)
    reward = rng.choice([0.0, 1.0], (count, states, 2)) if kind == "ties" else rng.normal(size=(count, states, 2))
    if kind == "ties":  # moves that are certain, too
        transition = np.eye(states)[transition.argmax(axis=-1)]
    elif kind == "one reward":
        reward[:] = reward[:1]
    found = planning.hidden_mdp_return(transition, reward, horizon, horizon * episodes, weight)
    exact = over_mdp(transition, reward, horizon, horizon * episodes, weight / weight.sum())
    assert found is not None
    np.testing.assert_allclose(found.sum(), exact, atol=1e-9)


@pytest.mark.parametrize(("horizon", "steps", "best"), [(1, 2, 1.0), (2, 3, 2.5)])
def test_the_state_that_an_episode_ends_in_is_not_seen(horizon, steps, best):
    transition = np.zeros((2, 2, 3, 2))
    transition[0, :, :, 0] = transition[1, :, :, 1] = 1.0  # where any step leads tells of the task
    reward = np.tile(np.array([[0.5, 1.0, -1.0], [0.5, -1.0, 1.0]])[:, None], (1, 2, 1))
    found = planning.hidden_mdp_return(transition, reward, horizon, steps)
    exact = over_mdp(transition, reward, horizon, steps, np.array([0.5, 0.5]))
    assert found is not None
    np.testing.assert_allclose([found.sum(), exact], best, atol=1e-9)


def test_what_is_too_much_is_not_planned_for(monkeypatch):
    for most in (15, 16):  # the belief in 2 candidates, over 2 actions, 2 states and again the candidates
        monkeypatch.setattr(hidden_mdp, "MOST_NUMBERS", most)
        found = planning.hidden_mdp_return(np.full((2, 2, 2, 2), 0.5), np.zeros((2, 2, 2)), 2, 1)
        assert (found is None) == (most < 16)
    monkeypatch.setattr(hidden_choice, "MOST_CANDIDATES", 1)
    assert planning.hidden_choice_return([[1.0, 2.0], [3.0, 4.0]], np.zeros((2, 2)), 2) is None
    monkeypatch.setattr(candidate_bandits, "MOST_WORK", 10)
    assert planning.candidate_bandits_return([[0.1, 0.2], [0.3, 0.4]], 5) is None


def over_choices(payoff, signal, episodes, joint):
    if episodes == 0:
        return 0.0
    worth = []
    for pays, shown in zip(payoff.T, signal.T, strict=True):
        told = [(pays == r) & (shown == s) for r, s in set(zip(pays.tolist(), shown.tolist(), strict=True))]
        worth.append(joint @ pays + sum(over_choices(payoff, signal, episodes - 1, joint * part) for part in told))
    return max(worth)


@pytest.mark.parametrize("kind", ["one of its own", "its own, and signals", "any", "signals", "two alike"])
def test_one_choice_an_episode(kind):
    rng = np.random.default_rng(3)
    weight, signal = np.array([0.2, 0.5, 0.3]), np.zeros((3, 4), int)
    payoff = 1.0 + 0.5 * np.eye(4)[:3]
    if kind == "two alike":  # one action serves two of them
        payoff[2] = payoff[1]
    elif "its own" not in kind:
        payoff = rng.choice([0.0, 1.0, 3.0], (3, 4))
    if kind == "signals":
        signal[:, 2] = [0, 1, 1]
    elif "signals" in kind:  # the likeliest one's action tells all
        signal[:, 1] = [0, 1, 2]
    found = planning.hidden_choice_return(payoff, signal, 4, weight)
    assert found is not None
    np.testing.assert_allclose(found.sum(), over_choices(payoff, signal, 4, weight), atol=1e-12)


def test_of_many_candidates_with_an_action_each_the_likeliest_are_tried_first():
    weight = np.arange(1.0, 21.0)
    found = planning.hidden_choice_return(2.0 + 3.0 * np.eye(20), np.zeros((20, 20)), 3, weight)
    np.testing.assert_allclose(found, 2.0 + 3.0 * np.cumsum([20, 19, 18]) / 210)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="weight"):
        planning.candidate_bandits_return([[0.1, 0.2], [0.3, 0.4]], 5, [1.0, 0.0])
    with pytest.raises(ConfigError, match="probability"):
        planning.candidate_bandits_return([[0.1, 1.2]], 5)
    with pytest.raises(ConfigError, match="num_pulls=0"):
        planning.candidate_bandits_return([[0.1, 0.2]], 0)
