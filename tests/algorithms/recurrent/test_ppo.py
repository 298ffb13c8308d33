"""PPO's schedules, update by update what a constant would be; memory within an episode alone; and what an agent does
that is told its task."""

import functools

import jax
import numpy as np
import pytest

from metarl_jax import algorithms, tasks
from metarl_jax.networks import actor_critic
from metarl_jax.tasks.features import vectors


def test_the_entropy_bonus_falls_linearly_to_a_tenth():
    distribution = tasks.bandit(num_arms=3, num_pulls=5)
    batch = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 4))

    @functools.cache
    def updates(**options):
        algorithm = algorithms.rl2(memory_size=4, num_minibatches=2, num_epochs=1, **options).build(distribution)
        return algorithm.init(jax.random.key(1), 1), jax.jit(algorithm.update)

    state, falling = updates(entropy_cost=0.5, entropy_updates=2)
    for i, cost in enumerate((0.5, 0.275, 0.05, 0.05)):
        _, constant = updates(entropy_cost=cost)
        key = jax.random.key(i + 2)
        (state, _), (wanted, _) = falling(key, state, batch), constant(key, state, batch)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state, wanted)
    _, other = updates(entropy_cost=0.5)
    differs = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), other(key, state, batch)[0], wanted)
    assert max(jax.tree.leaves(differs)) > 1e-4


@pytest.mark.parametrize("memory", ["gru", "lstm", "s5", "transformer"])
def test_memory_within_an_episode_alone_says_of_each_what_it_would_say_if_it_were_the_first(memory):
    """Goals are hidden and stay: what an earlier episode found would help, and is forgotten, in acting and learning."""
    distribution = tasks.gridnavi(size=3, horizon=4, num_episodes=3)
    options = dict(memory=memory, memory_size=8, num_minibatches=1, num_epochs=1)
    agent, remembers = (
        algorithms.rl2(across_episodes=across, **options).build(distribution) for across in (False, True)
    )
    state = agent.init(jax.random.key(0), 1)
    task = jax.tree.map(lambda x: x[3], distribution.tasks)
    live = lambda algorithm: jax.jit(algorithm.adapt, static_argnums=3)(jax.random.key(1), state, task, 12)
    trajectory, whole = live(agent), live(remembers)
    np.testing.assert_array_equal(trajectory.timestep.trial_start, trajectory.timestep.episode_start)
    assert trajectory.timestep.episode_start.sum() == 3
    policy = actor_critic(distribution.env.spec, memory, 8, (), True, 12)
    alone = jax.jit(lambda timesteps: policy.unroll(state.params, None, timesteps))
    for begin in (0, 4, 8):
        record = lambda tree, begin=begin: jax.tree.map(lambda x: x[begin : begin + 4], tree)
        for found, wanted in zip(record(trajectory.outputs), alone(record(trajectory.timestep)), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(whole.outputs[1][4:] - trajectory.outputs[1][4:]).max() > 1e-4
    batch = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(2), 4))
    _, outcome = jax.jit(agent.update)(jax.random.key(3), state, batch)
    np.testing.assert_allclose(outcome.metrics["kl"], 0.0, atol=1e-6)  # learning replays what was lived


def test_who_is_told_the_task_acts_by_it_and_tells_it_no_further():
    """Where the actor reads the task alone, its actions are those of the task's number; the record shows neither."""
    distribution = tasks.gridnavi(size=3, horizon=4, num_episodes=2)
    agent = algorithms.ppo_oracle(encoder=()).build(distribution)
    state = agent.init(jax.random.key(0), 1)
    describe, width, _ = vectors(distribution)
    kernel = np.zeros((6 + width, 5), np.float32)
    for number in range(width):
        kernel[6 + number, number % 5] = 1e3
    params = state.params | {"policy_head": {"kernel": jax.numpy.asarray(kernel), "bias": np.zeros(5, np.float32)}}
    for goal in range(len(distribution.tasks.goal)):
        task = jax.tree.map(lambda x, goal=goal: x[goal], distribution.tasks)
        trajectory = agent.adapt(jax.random.key(1), state._replace(params=params), task, 8)
        assert (trajectory.action == int(np.argmax(describe(task))) % 5).all()
        assert trajectory.timestep.observation.shape == trajectory.next_observation.shape == (8, 6)
        np.testing.assert_array_equal(trajectory.timestep.observation.sum(axis=1), 2.0)
