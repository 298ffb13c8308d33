"""Proximal policy optimisation (Schulman et al. 2017) on whole trials: what RL^2 and VariBAD share."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.config import check_all, check_divides
from metarl_jax.records import Policy, TimeStep, Trajectory
from metarl_jax.rollout import after_steps, replay


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """The options of ``rl2`` by the same names."""

    discount: float
    trace: float
    learning_rate: float
    decay_updates: int
    num_epochs: int
    num_minibatches: int
    clip: float
    entropy_cost: float
    entropy_updates: int
    value_cost: float
    max_gradient_norm: float


class PPO(NamedTuple):
    """Proximal policy optimisation of a policy.

    Attributes:
      init: ``(params) -> optimiser state``.
      improve: ``(key, params, optimiser state, trajectory [T, N]) -> (params, optimiser state, metrics)``.
      advantages: ``(params, trajectory [T, N]) -> [T, N]``.
      check: ``(num_tasks)``, raises ConfigError where minibatches do not divide the tasks.
    """

    init: Callable
    improve: Callable
    advantages: Callable[[optax.Params, Trajectory], jax.Array]
    check: Callable[[int], None]


class Batch(NamedTuple):
    """The data of an update's epochs.

    Attributes:
      timestep: ``[T, N, ...]``.
      action: ``[T, N, ...]``.
      log_prob: ``[T, N]``, under the policy that collected them.
      advantage: ``[T, N]``, standardised.
      target: ``[T, N]``, of the values.
    """

    timestep: TimeStep
    action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array


def proximal(policy: Policy, config: PPOConfig, across_episodes: bool = True) -> PPO:
    """PPO for a policy on whole trials.

    Args:
      policy: to be trained; the ``outputs`` of its trajectories are ``(action parameters, value)``.
      config: options.
      across_episodes: see ``rl2``.

    Returns:
      PPO.

    Raises:
      ConfigError: where an option is out of its range.
    """
    numbers = vars(config)
    names = ("learning_rate", "num_epochs", "num_minibatches", "clip", "max_gradient_norm")
    check_all({name: numbers[name] for name in names}, lambda x: x > 0, "must be above 0")
    names = ("entropy_cost", "value_cost", "decay_updates", "entropy_updates")
    check_all({name: numbers[name] for name in names}, lambda x: x >= 0, "must not be negative")
    names = ("discount", "trace")
    check_all({name: numbers[name] for name in names}, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    per_update = config.num_epochs * config.num_minibatches
    rate = estimators.falling_rate(config.learning_rate, per_update * config.decay_updates)
    optimizer = optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optax.adam(rate, eps=1e-5))
    judge = functools.partial(advantages_of, policy, config.discount, config.trace, across_episodes)

    def improve(key, params, optimizer_state, trajectory: Trajectory):
        steps = per_update * config.entropy_updates
        entropy_cost = estimators.falling_cost(config.entropy_cost, steps, optimizer_state)
        loss = functools.partial(ppo_loss, policy, dataclasses.replace(config, entropy_cost=entropy_cost))
        batch = learning_batch(policy, trajectory, judge(params, trajectory))
        return estimators.minibatch_epochs(
            key,
            params,
            optimizer_state,
            batch,
            loss,
            optimizer,
            num_epochs=config.num_epochs,
            num_minibatches=config.num_minibatches,
        )

    check = functools.partial(check_divides, "num_minibatches", config.num_minibatches)
    return PPO(optimizer.init, improve, judge, check)


def ppo_loss(policy: Policy, config: PPOConfig, params, batch: Batch):
    """PPO's loss on whole trials, replayed from their start, and its parts.

    Args:
      policy: that is trained.
      config: options.
      params: of the policy.
      batch: ``[T, N]``.

    Returns:
      ``(loss, metrics)``.
    """
    parameters, value = replay(policy, params, batch.timestep)
    log_prob = policy.actions.log_prob(parameters, batch.action)
    policy_loss = estimators.clipped_surrogate(log_prob, batch.log_prob, batch.advantage, config.clip).mean()
    value_loss = estimators.value_loss(value, batch.target)
    entropy = policy.actions.entropy(parameters).mean()
    kl = (batch.log_prob - log_prob).mean()
    metrics = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy, "kl": kl}
    return policy_loss + config.value_cost * value_loss - config.entropy_cost * entropy, metrics


def learning_batch(policy: Policy, trajectory: Trajectory, advantages: jax.Array) -> Batch:
    """The batch that an update's epochs learn from: whole trials with value targets and standardised advantages.

    Args:
      policy: that collected the trials.
      trajectory: ``[T, N]``.
      advantages: ``[T, N]``.

    Returns:
      Batch ``[T, N]``.
    """
    parameters, values = trajectory.outputs
    log_prob = policy.actions.log_prob(parameters, trajectory.action)
    targets = advantages + values
    standard = estimators.standardised(advantages, estimators.ROUNDING * estimators.root_mean_square(targets))
    return Batch(trajectory.timestep, trajectory.action, log_prob, standard, targets)


def advantages_of(
    policy: Policy, discount: float, trace: float, across_episodes: bool, params, trajectory: Trajectory
) -> jax.Array:
    """Generalised advantages of whole trials.

    Args:
      policy: that collected the trials.
      discount: gamma, per step.
      trace: lambda, per step.
      across_episodes: see ``rl2``.
      params: of the policy.
      trajectory: ``[T, N]``.

    Returns:
      ``[T, N]``.
    """
    values = trajectory.outputs[1]
    following = jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
    discounts, traces = jnp.full_like(values, discount), jnp.full_like(values, trace)
    rewards, last = trajectory.reward, jnp.arange(values.shape[0])[:, None] == values.shape[0] - 1
    if not across_episodes and jax.tree.leaves(policy.carry(())):
        done = trajectory.terminated | trajectory.truncated
        rewards = jnp.where(last & ~done, values, rewards)  # what the episode is worth from there on
        discounts = jnp.where(last | done, 0.0, discounts)
    elif not across_episodes:
        _, after = replay(policy, params, after_steps(trajectory))
        cut = trajectory.truncated | last
        following = jnp.where(cut, after, following)
        traces = jnp.where(cut, 0.0, traces)
        ended = (
            trajectory.terminated | trajectory.truncated if discount == 1 else trajectory.terminated
        )  # else values have no bound
        discounts = jnp.where(ended, 0.0, discounts)
    return estimators.generalised_advantages(rewards, values, following, discounts, traces)
