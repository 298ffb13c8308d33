"""RL^2 (Duan et al. 2016; Wang et al. 2016): a recurrent policy trained by PPO on whole trials.

Memory is kept across the episodes of a trial and the encoder sees the last action, reward and episode end, so that
the recurrent dynamics become the learning algorithm. Without memory and these inputs the same code is ``ppo``, the
multi-task policy that shows what adapting is worth.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.config import check, check_all, preset, recipe
from metarl_jax.networks import actor_critic
from metarl_jax.rollout import replay, rollout
from metarl_jax.types import Algorithm, Outcome, Policy, TaskDistribution, TimeStep, Trajectory


class LearnerState(NamedTuple):
    params: optax.Params
    optimizer: optax.OptState


class Batch(NamedTuple):
    """What PPO's epochs learn from, leaves ``[T, N, ...]``."""

    timestep: TimeStep
    action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array


@recipe("rl2")
def rl2(
    tasks: TaskDistribution,
    *,
    memory: Literal["gru", "s5", "transformer", "none"] = "gru",
    memory_size: int = 128,
    memory_window: int = 0,
    encoder: tuple[int, ...] = (),
    meta_inputs: bool = True,
    across_episodes: bool = True,
    discount: float = 0.985,
    trace: float = 0.95,
    learning_rate: float = 2e-3,
    decay_updates: int = 0,
    num_epochs: int = 3,
    num_minibatches: int = 8,
    clip: float = 0.2,
    entropy_cost: float = 0.01,
    value_cost: float = 0.5,
    max_gradient_norm: float = 0.5,
) -> Algorithm:
    """RL^2: a recurrent policy trained by PPO on whole trials, memory kept across their episodes.

    Each update lives one whole trial in each of N tasks and makes ``num_epochs`` passes over them in minibatches of
    whole trials, unrolled from the trial's start.

    Args:
      memory: a recurrent cell (``gru``), a state space layer (``s5``: its steps of learning are parallel in time), a
        causal ``transformer``, or none.
      memory_size: its units; for a transformer a multiple of 8.
      memory_window: steps that a transformer attends to, the last ones of the trial; a longer trial is forgotten from
        its start (0: as many as a training trial has).
      encoder: sizes of tanh layers before the memory.
      meta_inputs: show the encoder the last action, reward and episode end besides the observation.
      across_episodes: the end of an episode does not cut the discount (RL^2), only the end of the trial does; else
        each episode is its own problem: termination cuts, truncation bootstraps (needs ``memory="none"``).
      discount: gamma, a step.
      trace: lambda of the generalised advantages, a step.
      learning_rate: Adam's.
      decay_updates: updates over which the learning rate falls linearly to a tenth (0: constant).
      num_epochs: passes over the trials of an update.
      num_minibatches: gradient steps a pass; must divide the number of tasks.
      clip: how far PPO lets a probability ratio move from 1.
      entropy_cost: weight of the entropy bonus.
      value_cost: weight of the value loss, which is divided by the variance of its targets: that frees it of the
        rewards' scale (our addition).
      max_gradient_norm: of all gradients together.
    """
    sizes = dict(memory_size=memory_size, num_epochs=num_epochs, num_minibatches=num_minibatches)
    positive = sizes | dict(learning_rate=learning_rate, clip=clip, max_gradient_norm=max_gradient_norm)
    check_all(positive, lambda x: x > 0, "must be above 0")
    costs = dict(entropy_cost=entropy_cost, value_cost=value_cost, decay_updates=decay_updates)
    check_all(costs, lambda x: x >= 0, "must not be negative")
    check(all(size > 0 for size in encoder), "encoder", encoder, "each layer needs at least one unit")
    check_all(dict(discount=discount, trace=trace), lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check(across_episodes or memory == "none", "across_episodes", False, 'needs memory="none"')
    check(memory_window >= 0, "memory_window", memory_window, "must not be negative")
    check(memory == "transformer" or not memory_window, "memory_window", memory_window, 'needs memory="transformer"')
    window = memory_window or tasks.trial_steps
    policy = actor_critic(tasks.env.spec, memory, memory_size, encoder, meta_inputs, window)
    steps = num_epochs * num_minibatches * decay_updates
    rate = optax.linear_schedule(learning_rate, learning_rate / 10, steps) if steps else learning_rate
    optimizer = optax.chain(optax.clip_by_global_norm(max_gradient_norm), optax.adam(rate, eps=1e-5))

    def init(key):
        params = policy.init(key)
        return LearnerState(params, optimizer.init(params))

    loss = functools.partial(ppo_loss, policy, (clip, value_cost, entropy_cost))

    def update(key, state: LearnerState, batch_tasks):
        live_key, epoch_key = jax.random.split(key)
        _, lived = rollout(live_key, tasks.env, policy, state.params, batch_tasks, tasks.trial_steps)
        batch = learning_batch(policy, state.params, lived, discount, trace, across_episodes)
        params, optimizer_state, metrics = estimators.minibatch_epochs(
            epoch_key, state.params, state.optimizer, batch, loss, optimizer, num_epochs, num_minibatches
        )
        trial_return = lived.mean_reward.sum(axis=0)
        outcome = Outcome(batch_tasks, trial_return, jnp.ones_like(trial_return, bool), metrics)
        return LearnerState(params, optimizer_state), outcome

    def adapt(key, state: LearnerState, task, trial_steps: int, forget: bool = False, greedy: bool = False):
        one = jax.tree.map(lambda x: x[None], task)
        _, lived = rollout(key, tasks.env, policy, state.params, one, trial_steps, forget=forget, greedy=greedy)
        return jax.tree.map(lambda x: x[:, 0], lived)

    def check_tasks(num_tasks: int):
        fits = num_tasks % num_minibatches == 0
        check(fits, "num_minibatches", num_minibatches, f"must divide num_tasks={num_tasks}")

    return Algorithm(init, update, adapt, steps=tasks.trial_steps, check=check_tasks)


ppo = preset(
    "ppo",
    rl2,
    "Multi-task PPO without memory: what a policy reaches that does not adapt.",
    memory="none",
    encoder=(64, 64),
    meta_inputs=False,
    across_episodes=False,
)


def ppo_loss(policy: Policy, weights: tuple[float, float, float], params, batch: Batch):
    """PPO's loss on whole trials, replayed from their start, and its parts; ``weights``: clip, value, entropy."""
    clip, value_cost, entropy_cost = weights
    parameters, value = replay(policy, params, batch.timestep)
    log_prob = policy.actions.log_prob(parameters, batch.action)
    policy_loss = estimators.clipped_surrogate(log_prob, batch.log_prob, batch.advantage, clip).mean()
    value_loss = estimators.squared_error(value, batch.target).mean() / (batch.target.var() + 1e-4)
    entropy = policy.actions.entropy(parameters).mean()
    kl = (batch.log_prob - log_prob).mean()
    metrics = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy, "kl": kl}
    return policy_loss + value_cost * value_loss - entropy_cost * entropy, metrics


def learning_batch(
    policy: Policy, params, lived: Trajectory, discount: float, trace: float, across_episodes: bool
) -> Batch:
    """Advantages and value targets of whole trials ``[T, N]``; advantages are standardised over the batch."""
    parameters, values = lived.outputs
    log_prob = policy.actions.log_prob(parameters, lived.action)
    following = jnp.concatenate([values[1:], jnp.zeros_like(values[:1])])
    discounts, traces = jnp.full_like(values, discount), jnp.full_like(values, trace)
    if not across_episodes:
        flags = jnp.zeros_like(lived.terminated)
        after_step = TimeStep(lived.next_observation, lived.action, lived.reward, flags, flags)
        _, after = replay(policy, params, after_step)
        last = jnp.arange(values.shape[0])[:, None] == values.shape[0] - 1
        cut = lived.truncated | last
        following = jnp.where(cut, after, following)
        traces = jnp.where(cut, 0.0, traces)
        discounts = jnp.where(lived.terminated, 0.0, discounts)
    advantages = estimators.generalised_advantages(lived.reward, values, following, discounts, traces)
    standard = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    return Batch(lived.timestep, lived.action, log_prob, standard, advantages + values)
