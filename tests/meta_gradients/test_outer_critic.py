"""The outer critic against exact values: agents that never change, in tasks that are small enough to enumerate."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax import tasks as families
from metarl_jax.algorithms.lifetime.actor_critic import Hyperparameters, generalised
from metarl_jax.algorithms.lifetime.meta_learner import Agent, actor_of, outer_critic, with_rollout_length
from metarl_jax.algorithms.recurrent.ppo import advantages_of
from metarl_jax.meta_gradients import OuterLoss, backprop
from metarl_jax.meta_gradients.backprop import outer_advantages
from metarl_jax.meta_gradients.outer_critic import Critic, CriticState, regressed_critic
from metarl_jax.networks import actor_critic, variance_scaled_init
from metarl_jax.records import ActionEvaluation, Inner, Spec, TimeStep, Trajectory

STATES, ACTIONS, HORIZON, NUM_TASKS, EPISODES, UPDATES = 3, 2, 5, 4, 16, 600
RANDOM = np.random.default_rng(5)
TRANSITION = RANDOM.dirichlet(np.ones(STATES), (NUM_TASKS, STATES, ACTIONS)).astype(np.float32)
REWARD = RANDOM.normal(1.0, 1.0, (NUM_TASKS, STATES, ACTIONS)).astype(np.float32)


def known_values(scale: float, discount: float) -> tuple[np.ndarray, np.ndarray]:
    """Of the uniform policy, by enumeration of what may follow: (values ``[T, S]``, the mean over the tasks of who is
    there; the range of an episode's undiscounted returns over tasks and policies)."""
    earned, total = np.zeros((HORIZON, STATES)), np.zeros((HORIZON, STATES))
    extremes = []
    for transition, reward in zip(TRANSITION.astype(float), scale * REWARD.astype(float), strict=True):
        moves, pay = transition.mean(axis=1), reward.mean(axis=1)
        there = np.eye(STATES)[0]
        for time in range(HORIZON):
            later, going = np.zeros(STATES), np.eye(STATES)
            for step in range(HORIZON - time):
                later += discount**step * going @ pay
                going = going @ moves
            earned[time] += there * later
            total[time] += there
            there = there @ moves
        for sign in (1, -1):
            best = np.zeros(STATES)
            for _ in range(HORIZON):
                best = (sign * reward + transition @ best).max(axis=1)
            extremes.append(sign * best[0])
    return earned / np.where(total > 0, total, 1), np.asarray(max(extremes) - min(extremes))


def learned_values(scale: float, loss: OuterLoss, steps: int = 0) -> np.ndarray:
    """``[T, S]`` after ``UPDATES`` outer updates of agents that never learn, whose policy is uniform."""
    whole = families.from_arrays(TRANSITION, scale * REWARD, horizon=HORIZON)
    tasks = with_rollout_length(whole, steps)
    policy = actor_critic(tasks.env.spec, "none", 0, (), False, scaled=variance_scaled_init)
    agent = Agent(jax.tree.map(jnp.zeros_like, policy.init(jax.random.key(0))), ())
    still = Inner(
        lambda key: {}, lambda key, meta, task: agent, lambda key, meta, agent, trajectory: (agent, jnp.zeros(()))
    )
    critic = outer_critic(tasks.env.spec, (32,), 1e-2, whole.horizon, loss.discount)
    estimator = backprop(actor_of(tasks, policy, EPISODES), still, 60, 1, loss, critic)
    kept = estimator.init(jax.random.key(1), jax.tree.map(lambda x: x[0], whole.tasks), NUM_TASKS)

    def body(i, kept):
        return estimator.estimate(jax.random.fold_in(jax.random.key(2), i), {}, kept, whole.tasks)[1]

    kept = jax.jit(lambda kept: jax.lax.fori_loop(0, UPDATES, body, kept))(kept)
    seen = jnp.broadcast_to(jnp.eye(STATES), (HORIZON, STATES, STATES))
    time = jnp.broadcast_to(jnp.arange(HORIZON)[:, None], (HORIZON, STATES))
    none = jnp.zeros((HORIZON, STATES))
    trajectory = Trajectory(TimeStep(seen, none, none, none, none), none, none, none, none, none, seen, (), (), ())
    return np.asarray(critic.values(kept.critic, trajectory, time)[0])


@pytest.mark.parametrize(
    ("scale", "loss", "steps"),
    [
        pytest.param(1.0, OuterLoss(1.0, 1.0), 0, id="whole returns"),
        pytest.param(1.0, OuterLoss(1.0, 0.0), 2, id="one step, stretches"),  # windows end inside of episodes
        pytest.param(1e-4, OuterLoss(0.9, 0.95), 0, id="discounted, small rewards"),
    ],
)
def test_the_outer_critic_has_the_exact_values_of_agents_that_never_change(scale, loss, steps):
    """At most 5 % of the range of returns, over visited states and remaining times: every episode here is cut short by
    its time limit, through which a value of discount 1 has no bound."""
    values, spread = known_values(scale, loss.discount)
    visited = np.ones((HORIZON, STATES), bool)
    visited[0, 1:] = False
    error = (learned_values(scale, loss, steps) - values)[visited]
    assert np.sqrt(np.square(error).mean()) <= 0.05 * spread
    assert np.ptp(values[visited]) > 0.3 * spread  # values differ by much more than that


def regressed(targets: np.ndarray) -> tuple[Critic, CriticState]:
    """After an update on each of ``targets [U, T]``."""
    facts = jnp.asarray(np.random.default_rng(1).normal(size=(targets.shape[1], 2)), jnp.float32)
    init = lambda key: jax.random.normal(key, (2,))
    critic = regressed_critic(init, lambda params, x: x @ params, lambda *_: (facts, facts), 1e-2)
    state = critic.init(jax.random.key(0))
    step = jax.jit(lambda state, target: critic.update(state, critic.error(state, None, None, target)[1]))
    for target in targets:
        state = step(state, target)
    return critic, state


def test_the_running_deviation_is_that_of_the_targets_from_the_second_update_on():
    """However far they are from 0."""
    targets = np.random.default_rng(2).normal(100.0, 1.0, (3, 64)).astype(np.float32)
    _, state = regressed(targets)
    later, centre = targets[1:].astype(float), np.array([targets[0].mean(), targets[:2].mean()])
    np.testing.assert_allclose(state.mean, targets.mean(), rtol=1e-6)
    np.testing.assert_allclose(state.square, np.square(later - centre[:, None]).mean(), rtol=1e-3)


@pytest.mark.parametrize("unit", [2.0**-50, 2.0**40])
def test_an_outer_critic_does_not_depend_on_the_rewards_unit(unit):
    """Values are ``unit`` times as large, to the last bit; where the first rewards come after none, too."""
    targets = np.random.default_rng(2).normal(1.0, 1.0, (5, 64)).astype(np.float32)
    targets[:2] = 0.0
    small, large = (critic.values(state, None, None)[0] for critic, state in map(regressed, (targets, unit * targets)))
    assert np.isfinite(small).all() and np.ptp(small) > 0.1
    np.testing.assert_array_equal(unit * small, large)


def cut_short(num_steps: int = 4) -> Trajectory:
    """Two episodes ``[T, 1]``, the first cut short after half of the steps; the window ends inside the second."""
    reward = jnp.asarray(RANDOM.normal(size=(num_steps, 1)))
    truncated = jnp.arange(num_steps)[:, None] == num_steps // 2 - 1
    none = jnp.zeros_like(reward)
    step = TimeStep(none, none, none, none, none)
    return Trajectory(step, none, reward, reward, truncated & False, truncated, none, (), (), ())


def test_outer_advantages_end_with_the_episode_and_go_on_after_the_window():
    trajectory, value, following = cut_short(), jnp.full((4, 1), 0.5), jnp.array([[0.5], [7.0], [0.5], [7.0]])
    found = outer_advantages(OuterLoss(0.5, 1.0), trajectory, value, following)[:, 0]
    r = np.asarray(trajectory.reward)[:, 0]
    wanted = [r[0] + 0.5 * r[1], r[1], r[2] + 0.5 * (r[3] + 0.5 * 7.0), r[3] + 0.5 * 7.0]
    np.testing.assert_allclose(found, np.array(wanted) - 0.5, rtol=1e-5)


@pytest.mark.parametrize(("discount", "counted"), [(0.9, 0.9 * 7.0), (1.0, 0.0)])
def test_agents_values_go_on_through_a_truncation_but_at_discount_1(discount, counted):
    trajectory, told = cut_short(), ActionEvaluation(*jnp.zeros((3, 4, 1)), jnp.full((4, 1), 7.0))
    numbers = Hyperparameters(*jnp.array([discount, 0.6, 0.0, 0.0, 0.0]))
    advantage, _ = generalised(trajectory.reward, numbers, trajectory, told)
    np.testing.assert_allclose(advantage[1, 0], trajectory.reward[1, 0] + counted, rtol=1e-5)


def test_pairs_weigh_the_errors_of_agents_values(monkeypatch):
    """With weights of steps with themselves alone: ``r + discount V' - V``; the targets are lambda returns."""
    module = importlib.import_module("metarl_jax.algorithms.lifetime.pairwise_credit")
    monkeypatch.setattr(module.pairwise, "pair_weights", lambda meta, inputs, ended: jnp.eye(4)[..., None])
    monkeypatch.setattr(module, "step_inputs", lambda spec, trajectory: ())
    trajectory, told = (
        cut_short(),
        ActionEvaluation(*jnp.zeros((2, 4, 1)), jnp.full((4, 1), 2.0), jnp.full((4, 1), 7.0)),
    )
    numbers = Hyperparameters(*jnp.array([0.9, 0.6, 0.0, 0.0, 0.0]))
    found = module.pairs(None, True, (), numbers, (), trajectory, told)
    np.testing.assert_allclose(found.advantage, trajectory.reward + 0.9 * 7.0 - 2.0, rtol=1e-5)
    np.testing.assert_allclose(found.target, generalised(trajectory.reward, numbers, trajectory, told)[1], rtol=1e-6)
    found = module.pairs(None, False, (), numbers, (), trajectory, told)
    np.testing.assert_allclose(found.advantage, trajectory.reward - 2.0, rtol=1e-5)


@pytest.mark.parametrize(("discount", "counted"), [(0.9, 0.9 * 7.0), (1.0, 0.0)])
def test_so_do_those_of_ppo_without_memory(discount, counted):
    policy = actor_critic(Spec((1,), 2), "none", 0, (), False)._replace(
        unroll=lambda params, memory, timestep: (None, jnp.full((4, 1), 7.0))
    )
    trajectory = cut_short()._replace(outputs=(None, jnp.zeros((4, 1))))
    advantage = advantages_of(policy, discount, 0.6, False, {}, trajectory)
    np.testing.assert_allclose(advantage[1, 0], trajectory.reward[1, 0] + counted, rtol=1e-5)
