"""VariBAD (Zintgraf et al. 2020): a policy on an approximate belief over tasks, learned by variational inference."""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.algorithms.inference import elbo as beliefs
from metarl_jax.algorithms.inference.exploration_bonus import novelty
from metarl_jax.algorithms.recurrent.ppo import PPOConfig, proximal
from metarl_jax.config import check, check_all, check_divides, preset, recipe
from metarl_jax.networks import Bounding, actor_critic, asymmetric_critic, belief, mlp, window_of, with_scaled_init
from metarl_jax.networks import actor as mlp_actor
from metarl_jax.records import Algorithm, Outcome, PyTree, TaskDistribution
from metarl_jax.rollout import first_half, replay, rollout
from metarl_jax.tasks.features import vectors
from metarl_jax.wrappers.episode_noise import EpisodeNoiseWrapper, without_noise


class LearnerState(NamedTuple):
    """``params``: ``actor`` (with critic), ``encoder``, decoders and ``readout``; ``novelty``: () without bonuses."""

    params: dict
    optimizer: optax.OptState
    model_optimizer: optax.OptState
    novelty: PyTree


@recipe("varibad")
def varibad(
    tasks: TaskDistribution,
    *,
    memory: Literal["gru", "lstm", "s5", "transformer"] = "gru",
    memory_size: int = 64,
    memory_window: int = 0,
    latent_size: int = 5,
    encoder: tuple[int, ...] = (),
    actor: tuple[int, ...] = (64, 64),
    decoder: tuple[int, ...] = (32, 32),
    heads: int = 64,
    reward_cost: float = 1.0,
    transition_cost: float = 0.0,
    task_cost: float = 0.0,
    kl_cost: float = 0.01,
    num_beliefs: int = 64,
    model_rate: float = 2e-3,
    model_epochs: int = 3,
    model_minibatches: int = 8,
    acting: Literal["belief", "sample"] = "belief",
    standardised: bool = False,
    bounding: Bounding = "clip",
    critic: Literal["belief", "task"] = "belief",
    held_noise: int = 0,
    spread: float = 0.7,
    novelty_cost: float = 0.0,
    surprise_cost: float = 0.0,
    bonus_updates: int = 200,
    discount: float = 0.97,
    trace: float = 0.95,
    learning_rate: float = 2e-3,
    decay_updates: int = 0,
    num_epochs: int = 3,
    num_minibatches: int = 4,
    clip: float = 0.2,
    entropy_cost: float = 0.01,
    entropy_updates: int = 0,
    value_cost: float = 0.5,
    max_gradient_norm: float = 0.5,
) -> Algorithm:
    """VariBAD: a recurrent encoder's belief, decoded to what the task will pay, and a policy that sees the belief.

    Each update lives one whole trial in each of N tasks, improves the policy (on observation and belief) by PPO with
    beliefs as they were, then encoder and decoders by the evidence bound of the same trials. No gradient of the policy
    reaches the encoder. The paper replays old trials for the bound; with hundreds of tasks an update there is no need.

    Args:
      memory: the encoder's memory, by the names of ``rl2``.
      memory_size: its units.
      memory_window: steps that a transformer attends to (0: the whole trial).
      latent_size: dimensions of the Gaussian belief.
      encoder: sizes of tanh layers before the memory.
      actor: sizes of tanh layers of the policy and its critic.
      decoder: sizes of relu layers of each decoder and of the readout of the task.
      heads: of each decoder, ``f(m, x) = g(m) . h(x)``: what latents and steps are told in before they meet.
      reward_cost: weight of decoding rewards from (o, a, o'): half the squared error, summed over the trial.
      transition_cost: weight of decoding o' from (o, a), likewise.
      task_cost: weight of decoding the task itself, where it is known in training: which of a finite set, else its
        numbers. At 0 the task is still read out of the belief, for reports, and the belief does not know.
      kl_cost: weight of the KL divergence from each belief to the next.
      num_beliefs: beliefs a trial that are decoded; in longer trials so many are drawn for each gradient step.
      model_rate: Adam's, for encoder and decoders.
      model_epochs: passes of the evidence bound over the trials of an update.
      model_minibatches: its gradient steps a pass; must divide the number of tasks.
      acting: the policy sees the belief, or one latent drawn from it as an episode begins and held in it (posterior
        sampling).
      standardised: the policy sees beliefs less their mean, over their standard deviation, both followed from update to
        update (after HyperX's code, which counts where we average): a belief's numbers begin small and grow, and a
        policy that never felt them keeps not to.
      bounding: how continuous actions keep to their bounds: a clipped Gaussian (``clip``), one whose mean is a tanh
        besides (``mean``), or the tanh of a Gaussian (``tanh``).
      critic: sees what the policy sees, or the task too, which is known in training (an asymmetric actor-critic, Pinto
        et al. 2018; our addition): advantages without the noise of which task it is, of a network of its own.
      held_noise: numbers that the policy sees beside the belief, drawn as an episode begins and held through it (our
        addition, after MAESN's latents; 0: none). A policy is born to act otherwise for other numbers, so that episodes
        explore with a purpose where jitter would find nothing, and is free to unlearn that. Greedy actions see it, too.
      spread: how far a unit of held noise moves the action parameters at birth; of no use without it.
      novelty_cost: weight of HyperX's bonus for new (observation, belief), a step of the first update earning 1.
      surprise_cost: weight of its bonus for what the model did not expect, likewise.
      bonus_updates: updates over which both bonuses fall linearly to nothing.
      discount: gamma, a step.
      trace: lambda of the generalised advantages, a step.
      learning_rate: Adam's, for the policy.
      decay_updates: updates over which both learning rates fall linearly to a tenth (0: constant).
      num_epochs: PPO's passes over the trials of an update.
      num_minibatches: its gradient steps a pass; must divide the number of tasks.
      clip: how far PPO lets a probability ratio move from 1.
      entropy_cost: weight of the entropy bonus.
      entropy_updates: updates over which it falls linearly to a tenth (0: constant).
      value_cost: weight of the value loss (see ``rl2``).
      max_gradient_norm: of all gradients together, for policy and model alike (a readout for reports apart).

    Returns:
      The Algorithm.
    """
    sizes = dict(memory_size=memory_size, latent_size=latent_size, heads=heads, num_beliefs=num_beliefs)
    counts = dict(model_rate=model_rate, model_epochs=model_epochs, model_minibatches=model_minibatches)
    check_all(sizes | counts, lambda x: x > 0, "must be above 0")
    bonuses = dict(novelty_cost=novelty_cost, surprise_cost=surprise_cost)
    check_all(bonuses, lambda x: x >= 0, "must not be negative")
    check(bonus_updates > 0, "bonus_updates", bonus_updates, "must be above 0")
    costs = beliefs.Costs(reward=reward_cost, transition=transition_cost, task=task_cost, kl=kl_cost)
    check_all({f"{k}_cost": v for k, v in costs._asdict().items()}, lambda x: x >= 0, "must not be negative")
    check(held_noise >= 0, "held_noise", held_noise, "must not be negative")
    check(not held_noise or acting == "belief", "held_noise", held_noise, "acting='sample' brings its own noise")
    sampled = acting == "sample"
    check(not (standardised and sampled), "standardised", True, "acting='sample' sees no belief, but a draw from it")
    check(spread > 0, "spread", spread, "must be above 0")
    check(any(costs[:3]), "reward_cost", reward_cost, "decode something: rewards, transitions or tasks")
    for name, layers in dict(encoder=encoder, actor=actor, decoder=decoder).items():
        check(all(size > 0 for size in layers), name, layers, "each layer needs at least one unit")
    spec, home = tasks.env.spec, tasks.trained_on or tasks
    known_size = math.prod(spec.observation_shape) + (latent_size if sampled else 2 * latent_size)
    noise, seen = latent_size if sampled else held_noise, known_size + held_noise
    head_spec, features = spec._replace(observation_shape=(seen,)), None
    scatter = lambda head: with_scaled_init(head, spec, held_noise, spread) if held_noise else head
    head = learned = scatter(actor_critic(head_spec, "none", 0, actor, meta_inputs=False, bounding=bounding))
    if critic == "task":
        features = vectors(home)
        head, learned = asymmetric_critic(
            scatter(mlp_actor(head_spec, actor, bounding=bounding)), mlp(seen + features.size, actor, 1), seen
        )
    window = window_of(memory, memory_window, home.trial_steps)
    inference = belief.belief_encoder(spec, memory, memory_size, encoder, latent_size, window)
    if sampled:
        policy = belief.on_samples(inference, head, latent_size)
    else:
        policy = belief.on_beliefs(inference, head, noise, latent_size if standardised else 0)
    env = EpisodeNoiseWrapper(tasks.env, noise) if noise else tasks.env

    def live(key, params, some, num_steps: int, **how):
        _, trajectory = rollout(key, env, policy, params, some, num_steps, **how)
        return without_noise(trajectory, spec.observation_shape, noise) if noise else trajectory

    model = beliefs.belief_model(home, inference, costs, decoder, heads, latent_size, num_beliefs)
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
    learner = proximal(learned, config)
    falling = estimators.falling_rate(model_rate, model_epochs * model_minibatches * decay_updates)
    # A readout for reports must not set the encoder's pace: it is clipped apart.
    clipping = optax.clip_by_global_norm(max_gradient_norm)
    group = lambda params: {name: "readout" if name == "readout" and not task_cost else "model" for name in params}
    clipped = optax.partition({"model": clipping, "readout": clipping}, group)
    optimizer = optax.chain(clipped, optax.adam(falling, eps=1e-5))
    bonus = novelty(known_size, novelty_cost, surprise_cost, bonus_updates) if any(bonuses.values()) else None

    def init(key, num_tasks: int):
        del num_tasks
        policy_key, model_key, bonus_key = jax.random.split(key, 3)
        params = policy.init(policy_key) | model.init(model_key)
        models, actor_params, _ = _split_params(params)
        curious = () if bonus is None else bonus.init(bonus_key)
        return LearnerState(params, learner.init(actor_params), optimizer.init(models), curious)

    def update(key, state: LearnerState, batch_tasks):
        live_key, policy_key, model_key, loss_key = jax.random.split(key, 4)
        models, actor_params, scale = _split_params(state.params)
        trajectory = live(live_key, state.params, batch_tasks, tasks.trial_steps)
        *outputs, told, shown = trajectory.outputs
        trials = model.trials(trajectory, batch_tasks)
        known = trajectory._replace(timestep=trajectory.timestep._replace(observation=shown), outputs=tuple(outputs))
        if features is not None:
            code = jax.vmap(features.vector)(batch_tasks)[None]
            code = jnp.broadcast_to(code, (*shown.shape[:2], features.size))
            told_task = known.timestep._replace(observation=jnp.concatenate([shown, code], axis=-1))
            known = known._replace(timestep=told_task, outputs=replay(learned, actor_params, told_task))
        curious, metrics = (), {}
        if bonus is not None:
            following = jnp.concatenate([shown[1:], shown[-1:]])[..., :known_size]
            surprise = model.surprise(models, told, trials)
            curious, extra, metrics = bonus.update(state.novelty, following, surprise)
            known = known._replace(reward=known.reward + extra)
        actor_params, moments, policy_metrics = learner.improve(policy_key, actor_params, state.optimizer, known)
        models, model_moments, model_metrics = estimators.minibatch_epochs(
            model_key,
            models,
            state.model_optimizer,
            trials,
            model.loss,
            optimizer,
            num_epochs=model_epochs,
            num_minibatches=model_minibatches,
            loss_key=loss_key,
        )
        metrics |= policy_metrics | {f"model_{name}": x for name, x in model_metrics.items()}
        trial_return = trajectory.mean_reward.sum(axis=0)
        outcome = Outcome(batch_tasks, trial_return, jnp.ones_like(trial_return, bool), metrics, trajectory)
        params = models | {"actor": actor_params} | ({} if scale is None else {"scale": scale.followed(told)})
        return LearnerState(params, moments, model_moments, curious), outcome

    def adapt(key, state: LearnerState, task, trial_steps: int, forget=False, greedy: bool = False, first=None):
        one, other = (jax.tree.map(lambda x: x[None], some) for some in (task, first))
        half = None if first is None else (other, first_half(trial_steps, tasks.horizon))
        trajectory = live(key, state.params, one, trial_steps, forget=forget, greedy=greedy, first=half)
        return jax.tree.map(lambda x: x[:, 0], trajectory)

    def check_tasks(num_tasks: int):
        learner.check(num_tasks)
        check_divides("model_minibatches", model_minibatches, num_tasks)

    decode = lambda state, trajectory: model.decode(state.params, trajectory.outputs[2])
    valued = critic == "belief" and bonus is None  # else trials hold no values, or those of bonuses, too
    advantages = lambda state, trajectory: learner.advantages(
        state.params["actor"], trajectory._replace(outputs=trajectory.outputs[:2])
    )
    made = Algorithm(
        init, update, adapt, steps=tasks.trial_steps, check=check_tasks, decode=decode, returns_trajectories=True
    )
    if features is not None:
        made = made._replace(check_tasks=lambda name, some, learning: features.check(name, some) if learning else None)
    return made._replace(advantages=advantages) if valued else made


def _split_params(params: dict) -> tuple[dict, dict, belief.Scale | None]:
    """(encoder, decoders and readout; the actor; the scale of beliefs, which no gradient moves)."""
    models = {name: x for name, x in params.items() if name not in ("actor", "scale")}
    return models, params["actor"], params.get("scale")


varibad_task = preset(
    "varibad-task", varibad, "VariBAD that decodes the task itself, known in training.", reward_cost=0.0, task_cost=1.0
)
hyperx = preset(
    "hyperx",
    varibad,
    "HyperX: VariBAD with bonuses for novel beliefs and unexpected rewards.",
    novelty_cost=0.1,
    surprise_cost=0.1,
)
posterior_sampling = preset(
    "posterior-sampling",
    varibad,
    "Posterior sampling: acts on one draw from VariBAD's belief an episode.",
    acting="sample",
)
