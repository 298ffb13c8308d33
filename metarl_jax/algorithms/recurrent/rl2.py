"""RL^2 (Duan et al. 2016; Wang et al. 2016): a recurrent policy trained by PPO on whole trials.

Memory persists across the episodes of a trial and the encoder sees the last action, reward and episode end, so that
the recurrent dynamics become the learning algorithm. Without memory and these inputs the same code is ``ppo``, the
multi-task policy that does not adapt.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.algorithms.recurrent.ppo import PPOConfig, proximal
from metarl_jax.config import check, preset, recipe
from metarl_jax.networks import Bounding, actor_critic, window_of
from metarl_jax.records import Algorithm, Outcome, TaskDistribution
from metarl_jax.rollout import first_half, rollout
from metarl_jax.tasks.features import vectors
from metarl_jax.wrappers.task_observation import TaskObservationWrapper


class LearnerState(NamedTuple):
    """The state of the algorithm.

    Attributes:
      params: of the policy.
      optimizer: state of PPO's optimiser.
    """

    params: optax.Params
    optimizer: optax.OptState


@recipe("rl2")
def rl2(
    tasks: TaskDistribution,
    *,
    memory: Literal["gru", "lstm", "s5", "transformer", "none"] = "gru",
    memory_size: int = 128,
    memory_window: int = 0,
    filters: tuple[int, ...] = (),
    encoder: tuple[int, ...] = (),
    meta_inputs: bool = True,
    bounding: Bounding = "clip",
    across_episodes: bool = True,
    sees_task: bool = False,
    discount: float = 0.985,
    trace: float = 0.95,
    learning_rate: float = 2e-3,
    decay_updates: int = 0,
    num_epochs: int = 3,
    num_minibatches: int = 8,
    clip: float = 0.2,
    entropy_cost: float = 0.01,
    entropy_updates: int = 0,
    value_cost: float = 0.5,
    max_gradient_norm: float = 0.5,
) -> Algorithm:
    """RL^2: a recurrent policy trained by PPO on whole trials, its memory carried across their episodes.

    Each update collects one whole trial in each of N tasks and makes ``num_epochs`` passes over them in minibatches of
    whole trials, unrolled from the trial's start.

    Args:
      memory: a recurrent cell (``gru``, ``lstm``), a state space layer (``s5``: its steps of learning are parallel in
        time), a causal ``transformer``, or none.
      memory_size: its units; for a transformer a multiple of 8.
      memory_window: steps that a transformer attends to, the last ones of the trial; a longer trial is forgotten from
        its start (0: as many as a training trial has).
      filters: channels of 3 x 3 convolutions with relus, without padding, that an observation ``[rows, columns,
        layers]`` passes through first.
      encoder: sizes of tanh layers before the memory.
      meta_inputs: show the encoder the last action, reward and episode end besides the observation.
      bounding: how continuous actions keep to their bounds: a clipped Gaussian (``clip``), one whose mean is a tanh
        besides (``mean``), or the tanh of a Gaussian (``tanh``).
      across_episodes: the end of an episode does not cut the discount (RL^2), only the end of the trial does; else
        each episode is its own problem. Without memory termination cuts then, truncation bootstraps (at discount 1 it
        cuts, too); a memory is wiped at each episode's start (in ``adapt``, too), either end cuts (what followed is not
        looked at), and an episode that the trial's end leaves unfinished bootstraps from its last step, of which
        nothing is learned.
      sees_task: the observation ends in the task itself, as a vector (one-hot, or standardised numbers): what an agent
        reaches that need not adapt.
      discount: gamma, a step.
      trace: lambda of the generalised advantages, a step.
      learning_rate: Adam's.
      decay_updates: updates over which the learning rate falls linearly to a tenth (0: constant).
      num_epochs: passes over the trials of an update.
      num_minibatches: gradient steps a pass; must divide the number of tasks.
      clip: how far PPO lets a probability ratio move from 1.
      entropy_cost: weight of the entropy bonus.
      entropy_updates: updates over which it falls linearly to a tenth (0: constant).
      value_cost: weight of the value loss, which is divided by the variance of its targets, and at most 5: it does
        not depend on the unit of rewards and values (our addition).
      max_gradient_norm: of all gradients together.

    Returns:
      The algorithm.
    """
    check(all(size > 0 for size in encoder), "encoder", encoder, "each layer needs at least one unit")
    home = tasks.trained_on or tasks
    window = window_of(memory, memory_window, home.trial_steps)
    features = vectors(home) if sees_task else None
    told = TaskObservationWrapper(tasks.env, features) if features else None
    env = told or tasks.env
    policy = actor_critic(env.spec, memory, memory_size, encoder, meta_inputs, window, bounding, filters=filters)
    wiped = not across_episodes and memory != "none"
    config = PPOConfig(
        discount=discount,
        trace=trace,
        learning_rate=learning_rate,
        decay_updates=decay_updates,
        num_epochs=num_epochs,
        num_minibatches=num_minibatches,
        clip=clip,
        entropy_cost=entropy_cost,
        entropy_updates=entropy_updates,
        value_cost=value_cost,
        max_gradient_norm=max_gradient_norm,
    )
    learner = proximal(policy, config, across_episodes)

    def init(key, num_tasks: int):
        del num_tasks
        params = policy.init(key)
        return LearnerState(params, learner.init(params))

    def update(key, state: LearnerState, batch_tasks):
        live_key, epoch_key = jax.random.split(key)
        _, trajectory = rollout(live_key, env, policy, state.params, batch_tasks, tasks.trial_steps, forget=wiped)
        params, optimizer, metrics = learner.improve(epoch_key, state.params, state.optimizer, trajectory)
        trial_return = trajectory.mean_reward.sum(axis=0)
        outcome = Outcome(batch_tasks, trial_return, jnp.ones_like(trial_return, bool), metrics, trajectory)
        return LearnerState(params, optimizer), outcome

    def adapt(key, state: LearnerState, task, trial_steps: int, forget=False, greedy: bool = False, first=None):
        one, other = (jax.tree.map(lambda x: x[None], some) for some in (task, first))
        half = None if first is None else (other, first_half(trial_steps, tasks.horizon))
        forget = jnp.maximum(forget, 1) if wiped else forget
        _, trajectory = rollout(key, env, policy, state.params, one, trial_steps, None, forget, greedy, half)
        trajectory = told.strip_observation(trajectory) if told else trajectory
        return jax.tree.map(lambda x: x[:, 0], trajectory)

    return Algorithm(
        init,
        update,
        adapt,
        steps=tasks.trial_steps,
        check=learner.check,
        advantages=lambda state, trajectory: learner.advantages(state.params, trajectory),
        values_per_episode=not across_episodes,
        returns_trajectories=True,
        check_tasks=None if features is None else lambda name, some, learning: features.check(name, some),
    )


ppo = preset(
    "ppo",
    rl2,
    "Multi-task PPO without memory: what a policy reaches that does not adapt.",
    memory="none",
    encoder=(64, 64),
    meta_inputs=False,
    across_episodes=False,
)


recurrent_ppo = preset(
    "recurrent-ppo",
    rl2,
    "PPO with memory within an episode alone: what a policy reaches that learns where it is, but not its task.",
    memory="lstm",
    memory_size=256,
    meta_inputs=False,
    across_episodes=False,
)


ppo_oracle = preset(
    "ppo-oracle",
    ppo,
    "Multi-task PPO that is told its task: what a policy reaches that need not adapt.",
    sees_task=True,
)
