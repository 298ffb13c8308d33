"""Optima of trials that end inside an episode, where references are silent (elsewhere: ``test_conformance``)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks

LAYOUT = "#######\n#T...T#\n#P#.#.#\n#MS.C.#\n#.#.#.#\n#T...T#\n#######"
SMALL = {
    "gridnavi": functools.partial(tasks.gridnavi, size=4),
    "treasure": functools.partial(tasks.treasure, layout=LAYOUT),
    "tabular": functools.partial(tasks.tabular, num_states=4, num_actions=3),
    "navigation": tasks.navigation,
    "navigation-sparse": tasks.sparse_navigation,
}


@pytest.mark.parametrize("name", SMALL)
def test_what_is_left_is_an_episode_that_is_shorter(name):
    """Three episodes of 12 steps and one of 7, by the references of each horizon."""
    long, short = (SMALL[name](horizon=horizon) for horizon in (12, 7))
    batch = jax.vmap(long.sample)(jax.random.split(jax.random.key(0), 50))
    known = lambda family, steps: next(r for r in family.references(batch, steps) if r.role == "optimal").trial_return
    wanted = known(long, 36) + known(short, 7)
    np.testing.assert_allclose(jax.vmap(lambda t: long.optimum(t, 43))(batch), wanted, rtol=1e-5, atol=1e-5)
    assert np.ptp(wanted) > 0.1 and np.abs(known(short, 7)).max() > 0.1


def test_rewards_that_come_late_may_not_come():
    late = tasks.gridnavi(size=4, horizon=10, pay_every=4)
    goal = late.tasks._replace(goal=jnp.int32(2))  # two steps away: -0.1, then 1 a step
    best = [float(late.optimum(goal, steps)) for steps in (3, 4, 7, 8, 9, 10, 14)]
    np.testing.assert_allclose(best, [0.0, 2.9, 2.9, 6.9, 6.9, 8.9, 8.9 + 2.9], rtol=1e-5)
    chain = tasks.discounting_chain(delays=(1, 3, 10), best=(2, 0))
    task = jax.tree.map(lambda x: x[0], chain.tasks)
    assert [float(chain.optimum(task, steps)) for steps in (1, 9, 10, 20, 25)] == pytest.approx([1, 1, 1.1, 2.2, 3.2])
    door = tasks.key_to_door(length=3, prize=2.0)
    task = jax.tree.map(lambda x: x[1], door.tasks)
    assert [float(door.optimum(task, steps)) for steps in (4, 5, 9, 10)] == [0.0, 2.0, 2.0, 4.0]


def test_long_trials_whose_optimum_is_only_bounded_have_none():
    assert tasks.grids(kind="dense", num_episodes=4).optimum is None
    assert tasks.grids(kind="sparse").optimum is not None and tasks.grids(kind="dense").optimum is not None
