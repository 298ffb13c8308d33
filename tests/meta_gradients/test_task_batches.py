"""Blocks of tasks change neither what is estimated nor where tasks lie, only the memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.walk import LIFE, META, WINDOW, walker

from metarl_jax.meta_gradients import OuterLoss, backprop, evolution, over_blocks, over_tasks, regressed_critic
from metarl_jax.meta_gradients.task_batches import candidate_batch_sizes
from metarl_jax.records import ActionEvaluation
from metarl_jax.runtime.sharding import shard_tasks, task_mesh

NUM_TASKS = 12


def speaking():
    """The walker of ``test_evolution``, with a policy whose log-probabilities depend on the agent."""
    actor, inner = walker()
    said = lambda agent, trajectory: ActionEvaluation(
        *[agent * x + jnp.ones_like(trajectory.reward) * agent**2 for x in (1.0, 0.1, 0.2, 0.3)]
    )
    return actor._replace(said=said), inner


LEVEL = regressed_critic(
    init=lambda key: {"level": jnp.array(0.5)},
    apply=lambda params, x: params["level"] + x * 0,
    inputs=lambda trajectory, time: (trajectory.reward, trajectory.reward),
    learning_rate=0.1,
)
ESTIMATORS = {
    "backprop": functools.partial(backprop, *speaking(), LIFE, WINDOW, OuterLoss(0.9, 0.9, 0.1), LEVEL),
    "without a critic": functools.partial(backprop, *speaking(), LIFE, WINDOW, OuterLoss(), None, True),
    "persistent": functools.partial(evolution, *walker(), LIFE, WINDOW),
    "truncated": functools.partial(evolution, *walker(), LIFE, WINDOW, persistent=False),
}


def estimated(make, block: int):
    """Two windows in a row: gradients, what is kept, outcomes."""
    estimator, found = make(block=block), []
    tasks = jnp.linspace(0.5, 2.0, NUM_TASKS)
    kept = estimator.init(jax.random.key(0), tasks[0], NUM_TASKS)
    step = jax.jit(estimator.estimate)
    for i in range(2):
        gradient, kept, outcome = step(jax.random.key(i), META, kept, tasks)
        found.append((gradient, kept, outcome))
    return found


@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimates_in_blocks_are_those_of_all_at_once(name):
    whole, *others = (estimated(ESTIMATORS[name], block) for block in (0, 3, 1))
    assert min(float(jnp.abs(x)) for x in whole[0][0].values()) > 1e-3
    for other in others:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), whole, other)


@pytest.mark.parametrize("block", [0, 4, NUM_TASKS, 5])
def test_means_are_of_all_tasks_and_each_keeps_its_place(block):
    spread = jnp.arange(2.0 * NUM_TASKS).reshape(NUM_TASKS, 2)
    sizes = []

    def function(x):
        sizes.append(len(x))
        return x.mean(axis=0), -x

    mean, led = over_blocks(function, block, spread)
    np.testing.assert_allclose(mean, spread.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(led, -spread)
    assert set(sizes) == {4 if block == 4 else NUM_TASKS}
    np.testing.assert_array_equal(
        over_tasks(lambda x, y: x + y.sum(), block, spread, spread), spread + spread.sum(1)[:, None]
    )


def test_a_block_takes_an_equal_share_of_each_device():
    """Nothing moves between devices in the loop but the sum that is asked for."""
    mesh = task_mesh(2)

    def function(tasks):
        tasks = shard_tasks(tasks, mesh)
        return over_blocks(lambda x: ((), jnp.sin(x @ jnp.ones((64, 64)))), 4, tasks)[1]

    tasks = jax.device_put(jnp.ones((8, 64)), jax.NamedSharding(mesh, jax.P("tasks")))
    compiled = jax.jit(function).lower(tasks).compile()
    text = compiled.as_text()
    assert "f32[2,64]" in text and not [word for word in ("all-gather", "all-to-all", "permute(") if word in text]
    np.testing.assert_allclose(compiled(tasks), np.sin(np.full((8, 64), 64.0)), rtol=1e-4)


def test_blocks_halve_and_are_shared_evenly():
    assert candidate_batch_sizes(256, 2) == (0, 128, 64, 32, 16, 8, 4, 2)
    assert candidate_batch_sizes(100) == (0, 50, 25, 10, 5, 2, 1)
    assert candidate_batch_sizes(7) == (0, 1) and candidate_batch_sizes(8, 8) == (0,)
