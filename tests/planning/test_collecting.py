"""The planner of objects that come and go, against the same rules written out as one dense MDP."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import planning

NEXT = np.array([[0, 1], [0, 2], [1, 2]], np.int32)  # three cells in a row: left, right
OBJECTS = planning.Objects(*map(jnp.asarray, ([2, 0], [1.0, -0.4], [0.5, 0.1], [0.3, 0.8])))


def dense(objects: planning.Objects, horizon: int):
    """``transition [X, A, X]``, ``reward [X, A]`` over (step of the episode, cell, set), and where it begins.

    Written outcome by outcome: who collects, does it end, who comes back.
    """
    position, reward, end, respawn = (np.asarray(x) for x in objects)
    count, cells = len(position), len(NEXT)
    states = list(itertools.product(range(horizon), range(cells), itertools.product([False, True], repeat=count)))
    index = {state: i for i, state in enumerate(states)}
    start = np.array([(k == 0 and all(present)) / cells for k, _, present in states])
    transition, mean = np.zeros((len(states), 2, len(states))), np.zeros((len(states), 2))
    for (i, (k, cell, present)), action in itertools.product(enumerate(states), range(2)):
        there = NEXT[cell, action]
        hit = [j for j in range(count) if present[j] and position[j] == there]
        ends = end[hit[0]] if hit else 0.0
        mean[i, action] = reward[hit[0]] if hit else 0.0
        transition[i, action] += ends * start
        kept = [present[j] and j not in hit for j in range(count)]
        for back in itertools.product([False, True], repeat=count):
            if any(kept[j] and back[j] for j in range(count)):
                continue
            chance = np.prod([1.0 if kept[j] else respawn[j] if back[j] else 1 - respawn[j] for j in range(count)])
            after = tuple(kept[j] or back[j] for j in range(count))
            follows = start if k + 1 == horizon else np.eye(len(states))[index[k + 1, there, after]]
            transition[i, action] += (1 - ends) * chance * follows
    return jnp.asarray(transition, jnp.float32), jnp.asarray(mean, jnp.float32), start


def answers(objects: planning.Objects, steps: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Best and random returns of 0, 1, ... ``steps`` steps, by the general planners."""
    transition, reward, start = dense(objects, horizon)
    best = planning.backward_induction(transition, reward, steps).value
    drift = planning.policy_value(transition, reward, jnp.full(reward.shape, 0.5), steps)
    return np.asarray(best @ start)[::-1], np.asarray(drift @ start)[::-1]


@pytest.mark.parametrize(("steps", "horizon"), [(9, 4), (9, 1), (4, 4), (5, 30)])
def test_against_the_dense_mdp(steps, horizon):
    best, drift = answers(OBJECTS, steps, horizon)
    np.testing.assert_allclose(planning.optimal_collection(NEXT, OBJECTS, steps, horizon), best, rtol=1e-5, atol=1e-6)
    episode = planning.random_episode(NEXT, OBJECTS, horizon)
    np.testing.assert_allclose(planning.renewed(*episode, steps), drift, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("end", [[0.5, 0.1], [0.0, 0.0], [1.0, 1.0]])
def test_the_gain_brackets_every_trial(end):
    objects, horizon, steps = OBJECTS._replace(end=jnp.asarray(end)), 6, 400
    best = np.asarray(planning.optimal_collection(NEXT, objects, steps, horizon))
    gain, low, high = map(float, jax.jit(planning.collecting_gain, static_argnums=2)(NEXT, objects, horizon))
    times = np.arange(steps + 1)
    assert (times * gain + low <= best + 1e-3).all() and (best <= times * gain + high + 1e-3).all()
    assert low <= 0 <= high < 2.0 + low
    np.testing.assert_allclose(best[400] - best[100], 300 * gain, rtol=0.02)


def test_by_hand():
    """One object at the right end that pays 1: reached from two of three starts in one step, from the third in two. It
    comes back at once, or never."""
    gone = planning.Objects(jnp.array([2]), jnp.array([1.0]), jnp.array([0.0]), jnp.array([0.0]))
    np.testing.assert_allclose(planning.optimal_collection(NEXT, gone, 3, 3), [0, 2 / 3, 1, 1], rtol=1e-6)
    back = gone._replace(respawn=jnp.array([1.0]))
    np.testing.assert_allclose(planning.optimal_collection(NEXT, back, 3, 3), [0, 2 / 3, 5 / 3, 8 / 3], rtol=1e-6)
    ends = gone._replace(end=jnp.array([1.0]))  # then a new episode begins, anywhere
    np.testing.assert_allclose(planning.optimal_collection(NEXT, ends, 2, 9)[2], 2 / 3 * (1 + 2 / 3) + 1 / 3, rtol=1e-6)


def test_an_object_that_is_nowhere_changes_nothing():
    more = planning.Objects(*(jnp.append(x, extra) for x, extra in zip(OBJECTS, (3, 5.0, 0.5, 0.5), strict=True)))
    two, three = (planning.optimal_collection(NEXT, some, 9, 4) for some in (OBJECTS, more))
    np.testing.assert_allclose(two, three, rtol=1e-6)
