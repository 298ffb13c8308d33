"""Updates do not depend on the unit of the rewards, and all-zero rewards blow up no loss."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks
from metarl_jax.algorithms.gradient import inner_loop as adaptation
from metarl_jax.algorithms.gradient.baseline import critic, linear
from metarl_jax.algorithms.recurrent.ppo import PPOConfig, proximal
from metarl_jax.networks import actor_critic
from metarl_jax.rollout import replay, rollout

GRID = tasks.gridnavi(size=3, horizon=4, num_episodes=2)
NUM_TASKS = 8
NUMBERS: dict[str, Any] = {
    **dict(discount=0.985, trace=0.95, learning_rate=2e-3, decay_updates=0, num_epochs=2, num_minibatches=2),
    **dict(clip=0.2, entropy_cost=0.01, entropy_updates=0, value_cost=0.5, max_gradient_norm=0.5),
}


@pytest.fixture(scope="module")
def ppo():
    """(policy, learner, parameters, a batch of trials ``[T, N]`` with rewards between -0.1 and 1)."""
    policy = actor_critic(GRID.env.spec, "gru", 8, (), True)
    learner = proximal(policy, PPOConfig(**NUMBERS))
    batch = jax.vmap(GRID.sample)(jax.random.split(jax.random.key(0), NUM_TASKS))
    params = jax.jit(policy.init)(jax.random.key(1))
    act = jax.jit(lambda: rollout(jax.random.key(2), GRID.env, policy, params, batch, GRID.trial_steps)[1])
    return policy, learner, params, act()


def test_a_policy_update_of_ppo_is_the_same_whatever_the_rewards_unit(ppo):
    """Where values have no unit (they are 0) and no weight: advantages are standardised by their own size alone."""
    policy, _, params, trajectory = ppo
    learner = proximal(policy, PPOConfig(**NUMBERS | {"value_cost": 0.0}))
    silent = trajectory._replace(outputs=(trajectory.outputs[0], jnp.zeros_like(trajectory.reward)))

    @jax.jit
    def improve(scale):
        scaled = silent._replace(reward=scale * trajectory.reward)
        return learner.improve(jax.random.key(3), params, learner.init(params), scaled)[0]

    exact = improve(1.0)
    moved = [float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (exact, params)), strict=True)]
    assert max(moved) > 1e-3
    for scale in (1e-25, 1e-9, 1e-3, 1e3, 1e6):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=3e-5), improve(scale), exact)


def test_all_zero_rewards_leave_the_value_loss_small(ppo):
    """While values shrink to what they should be: their targets' variance shrinks faster."""
    policy, learner, params, trajectory = ppo

    @jax.jit
    def step(key, params, moments):
        now = trajectory._replace(
            reward=jnp.zeros_like(trajectory.reward), outputs=replay(policy, params, trajectory.timestep)
        )
        return learner.improve(key, params, moments, now)

    moments, losses = learner.init(params), []
    for i in range(60):
        params, moments, told = step(jax.random.key(i), params, moments)
        losses.append(float(told["value_loss"]))
    assert max(losses) <= 5.0 * (1 + 1e-5)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))


@pytest.mark.parametrize("kind", ["linear", "critic"])
def test_what_maml_learns_from_is_the_same_whatever_the_rewards_unit(ppo, kind):
    """Advantages of inner and outer loop, before a critic has learned anything and after it has."""
    policy, _, _, trajectory = ppo
    baseline = linear() if kind == "linear" else critic(GRID, (4,), 1e-2, 3)
    begun = baseline.init(jax.random.key(0))

    @jax.jit
    def windows(scale):
        seen = functools.partial(adaptation.window, policy.actions, baseline, 0.99, 1.0)
        scaled = trajectory._replace(reward=scale * trajectory.reward)
        first = seen(begun, scaled)
        whole = jax.tree.map(lambda x: x[None, None], (first.timestep, first.returns))  # [K, N, T, E]
        return first.advantage, seen(baseline.learn(jax.random.key(1), begun, *whole), scaled).advantage

    exact = windows(1.0)
    for scale in (1e-25, 1e-6, 1e-3, 1e3, 1e6):
        for found, wanted in zip(windows(scale), exact, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    for found in windows(0.0):
        np.testing.assert_array_equal(found, 0.0)
