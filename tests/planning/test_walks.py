"""Orders of goals: the beam search and the local search against all orders of seven goals."""

import itertools

import numpy as np
import pytest

from metarl_jax.planning.walks import beam_search, improve, times_of

ORDERS = np.array(list(itertools.permutations(range(7))))
WAITED = lambda goal, time: -time


def random_distances(seed, num_goals=7):
    """``(from the start [G], between goals [G, G])``: shortest paths of random one-way distances."""
    between = np.random.default_rng(seed).integers(1, 10, size=(num_goals + 1, num_goals + 1))
    np.fill_diagonal(between, 0)
    for middle in range(num_goals + 1):
        between = np.minimum(between, between[:, [middle]] + between[[middle]])
    return between[0, 1:], between[1:, 1:]


@pytest.mark.parametrize("seed", [2, 3, 5, 19])
def test_a_beam_of_two_finds_the_best_order(seed):
    """What a state promises is all that is left to visit, not its mean."""
    legs = random_distances(seed)
    found = times_of(beam_search(*legs, WAITED, 2), *legs)
    assert found.sum() == times_of(ORDERS, *legs).sum(axis=1).min()


def test_the_six_nearest_goals_may_come_next():
    """On a star, 20 is paid for the nearest goal and, right after it, the sixth nearest from there."""
    arm = np.arange(1, 9)
    legs = arm, np.where(np.eye(8, dtype=bool), 0, arm[:, None] + arm)
    paid = lambda goal, time: 10 * (((goal == 0) & (time == 1)) | ((goal == 6) & (time == 1 + legs[1][0, 6])))
    order = beam_search(*legs, paid, 100)
    assert paid(order, times_of(order, *legs)).sum() == 20


def test_local_search_goes_on_over_orders_that_are_equally_good():
    legs = random_distances(18)
    found = times_of(improve(np.arange(7), *legs, WAITED, 30, moves=5), *legs)
    assert found.sum() == times_of(ORDERS, *legs).sum(axis=1).min()
