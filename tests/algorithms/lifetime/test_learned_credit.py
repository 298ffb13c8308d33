"""Learned credit assignment, learned: probes with known answers, and what the methods share with plain ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.sharing import programs_once

import metarl_jax as mrl
from metarl_jax.algorithms.lifetime.meta_learner import LearnerState

# The best of three actions is drawn with the task, in two states whose order is fixed: whoever learns gets 1 a step.
TASKS = functools.partial(
    mrl.tasks.from_arrays,
    np.tile(np.array([[[0.0, 1.0]] * 3, [[1.0, 0.0]] * 3]), (9, 1, 1, 1)),
    np.stack([np.eye(3)[[i, j]] for i in range(3) for j in range(3)]),
    horizon=4,
    num_episodes=64,
)
LIVES = dict(episodes=4, life=16, window=4)


def late_reward(algorithm, tasks):
    """``state -> mean reward`` of the last 4 updates in the lives of newborn agents, over all tasks and many lives."""
    keys = jax.random.split(jax.random.key(7), 90)
    many = jax.tree.map(lambda x: jnp.tile(x, (10,) + (1,) * (x.ndim - 1)), tasks.tasks)
    one = lambda state, key, task: algorithm.adapt(key, state, task, 256).mean_reward
    adapt = jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))
    return lambda state: np.asarray(adapt(state, keys, many))[:, -64:].mean()


def test_an_update_rule_is_found():
    """Born knowing nothing, the rule pushes at random; after seconds agents learn with it, as none could before."""
    tasks = TASKS()
    recipe = mrl.algorithms.lpg(**LIVES, memory_size=16, predictions=4)
    with programs_once():
        runs = [mrl.train(recipe, tasks, num_updates=n, num_tasks=36, quiet=True) for n in (1, 80)]
    reward = late_reward(runs[0].algorithm, tasks)
    late = [reward(run.state_of(0)) for run in runs]
    print(late)
    assert late[0] < 0.6 and late[1] > 0.9


@pytest.mark.parametrize("name", ["intrinsic-reward", "pairwise-weights"])
def test_rules_that_say_nothing_leave_actor_critics_as_they_are(name):
    """No intrinsic reward, and all of every later reward owed to each action: plain agents of the same settings."""
    tasks = TASKS()
    one = 1.0 - 1e-9  # in single precision, as the agents have it
    plain = mrl.algorithms.self_tuning(**LIVES, discount=one, trace=one).build(tasks)
    state = jax.jit(plain.init, static_argnums=1)(jax.random.key(0), 2)
    options = LIVES | dict(discount=1.0, trace=1.0)
    options |= dict(weighted="errors", weight=0.5) if name == "pairwise-weights" else {}
    learned = mrl.algorithms.REGISTRY[name](**options).build(tasks)
    shapes = jax.eval_shape(lambda key: learned.init(key, 2).meta, jax.random.key(0))
    meta = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    if name == "pairwise-weights":
        meta["gap"]["bias"] = jnp.full(1, 50.0)
    task = jax.tree.map(lambda x: x[4], tasks.tasks)
    trajectory = [
        jax.jit(lambda key, a=algorithm, m=numbers: a.adapt(key, LearnerState(m, (), ()), task, 256))(jax.random.key(1))
        for algorithm, numbers in ((plain, state.meta), (learned, meta))
    ]
    np.testing.assert_array_equal(trajectory[0].action, trajectory[1].action)
    np.testing.assert_allclose(trajectory[0].outputs[0], trajectory[1].outputs[0], rtol=1e-3, atol=1e-3)
    assert trajectory[0].mean_reward[-64:].mean() > trajectory[0].mean_reward[:64].mean()  # and they learn
