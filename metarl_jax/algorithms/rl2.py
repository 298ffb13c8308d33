"""RL^2 (Duan et al. 2016; Wang et al. 2016): a recurrent policy trained by PPO on whole trials, memory kept across
episodes. Without memory and meta-inputs the same code is ``ppo``, the multi-task policy that shows what adapting is
worth."""

import jax
import jax.numpy as jnp
import optax
from typing import NamedTuple, Literal

from metarl_jax import estimators
from metarl_jax.config import check, recipe
from metarl_jax.networks import actor_critic
from metarl_jax.rollout import replay, rollout
from metarl_jax.types import Algorithm, Outcome, Policy, TaskDistribution, Trajectory


class LearnerState(NamedTuple):
    params: optax.Params
    optimizer: optax.OptState


def build(tasks, policy, cut, *, discount, trace, learning_rate, num_epochs, num_minibatches, clip, entropy_cost, value_cost, max_gradient_norm, decay_updates=0):
    env = tasks.env
    n_steps = num_epochs*num_minibatches
    lr = optax.linear_schedule(learning_rate, 0.1*learning_rate, decay_updates*n_steps) if decay_updates else learning_rate
    optimizer = optax.chain(optax.clip_by_global_norm(max_gradient_norm), optax.adam(lr, eps=1e-5))

    def init(key):
        params = policy.init(key)
        return LearnerState(params, optimizer.init(params))

    def loss(params, batch):
        timesteps, action, old_log_prob, advantage, target = batch
        parameters, value = replay(policy, params, timesteps)
        log_prob = policy.actions.log_prob(parameters, action)
        policy_loss = estimators.clipped_surrogate(log_prob, old_log_prob, advantage, clip).mean()
        value_loss = estimators.squared_error(value, target).mean()
        entropy = policy.actions.entropy(parameters).mean()
        total = policy_loss + value_cost * value_loss - entropy_cost * entropy
        metrics = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}
        return total, metrics

    def update(key, state, tasks_batch):
        rollout_key, epoch_key = jax.random.split(key)
        _, trajectory = rollout(rollout_key, env, policy, state.params, tasks_batch, tasks.trial_steps)
        parameters, values = trajectory.outputs
        next_values = jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
        discounts = jnp.full_like(values, discount)
        advantages = estimators.generalised_advantages(trajectory.reward, values, next_values, discounts, trace)
        targets = advantages + values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        old = policy.actions.log_prob(parameters, trajectory.action)
        batch = (trajectory.timestep, trajectory.action, old, advantages, targets)
        params, opt, metrics = estimators.minibatch_epochs(epoch_key, state.params, state.optimizer, batch, loss, optimizer, num_epochs, num_minibatches)
        ret = trajectory.mean_reward.sum(0)
        return LearnerState(params, opt), Outcome(tasks_batch, ret, jnp.ones_like(ret, bool), metrics | {"trial_return": ret.mean()})
    return init, update
