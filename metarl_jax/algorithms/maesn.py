"""MAESN (Gupta et al. 2018): exploration by latents held through an episode, which the inner loop adapts.

Their latents ``z ~ N(mean, std)`` are drawn once an episode, so that exploration is one purposeful walk, not a jitter;
in meta-training each task owns its ``(mean, std)``, kept near ``N(0, I)``, from which meta-test starts. What we do
otherwise, and why, is in ``maesn``.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.algorithms import _adaptation as adaptation
from metarl_jax.algorithms import _latent_learning as latent_learning
from metarl_jax.algorithms import _structured_noise as structured
from metarl_jax.algorithms._held_noise import HeldNoise, without_noise
from metarl_jax.algorithms._structured_noise import Agent
from metarl_jax.algorithms._task_vectors import vectors
from metarl_jax.config import check, check_all, check_divides, recipe
from metarl_jax.networks import mlp
from metarl_jax.types import Algorithm, Outcome, TaskDistribution


class LearnerState(NamedTuple):
    meta: structured.Meta
    optimizer: optax.OptState


@recipe("maesn")
def maesn(
    tasks: TaskDistribution,
    *,
    latents: int = 6,
    hold: int = 0,
    episodes: int = 1,
    inner_steps: int = 0,
    inner_discount: float = 0.9,
    informed: int = 3,
    informed_weight: float = 3.0,
    prior_cost: float = 0.01,
    match_cost: float = 0.0,
    discount: float = 0.99,
    trace: float = 0.95,
    learning_rate: float = 2e-3,
    num_epochs: int = 3,
    num_minibatches: int = 4,
    clip: float = 0.2,
    value_cost: float = 0.5,
    entropy_cost: float = 0.0,
    encoder: tuple[int, ...] = (64, 64),
    spread: float = 1.0,
    rate_decay: float = 1.0,
) -> Algorithm:
    """MAESN: structured exploration by latents held through an episode, adapted by gradient in the inner loop.

    An agent acts on ``(o, z, log std)``, where ``z = mean + std e`` and ``e ~ N(0, I)`` is drawn as an episode begins
    and held in it. A trial starts from ``N(0, I)``; after every ``episodes`` episodes an inner step (``learn``) moves
    ``mean`` and ``std`` along the policy gradient, by meta-learned steps. Where we differ from the paper:

    - Trials are lived in meta-training as they are tested, from ``N(0, I)``, and the outer loss is PPO's on whole
      trials (as in RL^2, the latents in place of the memory): an early episode has credit for all that is earned after
      it. The paper starts from the task's own latents and improves the episodes after the last inner step, which never
      trains the search for what the task is.
    - The paper keeps a ``(mean, std)`` for each training task. Tasks are drawn afresh here, so these are the output of
      a network that sees the task, ``q(z | task)``. Some episodes of an update are lived from it and add to the outer
      loss; ``KL(q || N(0, I))`` does as in the paper; and ``KL(q || adapted latents)``, which is ours, asks inner steps
      to lead where q is, once something was earned. q and the critic see the task: a privileged signal, in
      meta-training only. No reward is shaped.
    - Sigmas are visible to the policy, so that it may search where they are wide and settle where they are narrow.
    - ``learn`` is not the plain pathwise gradient; its docstring says what it is.

    Args:
      latents: Z, how many.
      hold: steps for which a draw is held (0: the episode, as in the paper). Shorter, an episode tries several things,
        and credit goes to the draw after which reward came.
      episodes: lived before each inner step.
      inner_steps: in a trial of meta-training (0: as many as leave a window after the last one in the distribution's
        trial). At meta-test as many as fit.
      inner_discount: gamma of the inner step's returns; they end with their episode.
      informed: episodes lived from ``q(z | task)`` in each task, at least 2 (each is the others' baseline).
      informed_weight: of these in the outer loss.
      prior_cost: weight of ``KL(q || N(0, I))``.
      match_cost: weight of ``KL(q || adapted latents)``.
      discount: gamma of the outer loss, a step; an episode's end does not cut it.
      trace: lambda of the outer loss's generalised advantages, a step.
      learning_rate: Adam's.
      num_epochs: passes over the trials of an update.
      num_minibatches: gradient steps a pass; must divide the number of tasks.
      clip: how far PPO lets a probability ratio move from 1.
      value_cost: weight of the value loss, which is divided by the variance of its targets.
      entropy_cost: weight of the entropy bonus, in trials alone.
      encoder: sizes of the policy's tanh layers; the critic's are the same.
      spread: how far apart the behaviours of different latents are at birth.
      rate_decay: at meta-test, each inner step beyond those of training is this much smaller.
    """
    sizes = dict(latents=latents, episodes=episodes, num_epochs=num_epochs, num_minibatches=num_minibatches)
    positive = sizes | dict(learning_rate=learning_rate, clip=clip, spread=spread)
    check_all(positive, lambda x: x > 0, "must be above 0")
    weights = dict(prior_cost=prior_cost, match_cost=match_cost, value_cost=value_cost, entropy_cost=entropy_cost)
    costs = weights | dict(hold=hold, inner_steps=inner_steps, informed_weight=informed_weight)
    check_all(costs, lambda x: x >= 0, "must not be negative")
    shares = dict(inner_discount=inner_discount, discount=discount, trace=trace, rate_decay=rate_decay)
    check_all(shares, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check(informed >= 2, "informed", informed, "must be at least 2: each episode is the others' baseline")
    policy = structured.latent_actor(tasks.env.spec, latents, encoder, spread)
    describe, width = vectors(tasks)
    window_steps = tasks.horizon * episodes
    windows = 1 + (inner_steps or max(1, math.ceil(tasks.trial_steps / window_steps) - 1))
    noisy = tasks._replace(env=HeldNoise(tasks.env, latents, hold))
    inner = adaptation.Inner(
        live=functools.partial(adaptation.live, noisy, policy, episodes),
        window=functools.partial(structured.window, policy),
        said=functools.partial(adaptation.said, policy),
        learn=functools.partial(structured.learn, policy, inner_discount),
        start=lambda meta: Agent(meta.params, structured.standard_normal(latents)),
        num_steps=windows - 1,
    )
    seen = int(math.prod(tasks.env.spec.observation_shape))
    parts = latent_learning.Parts(
        inner=inner,
        live_informed=functools.partial(adaptation.live, noisy, policy, informed),
        proposal=mlp(width, (32,), 2 * latents, head_scale=0.3),
        critic=mlp(seen + 2 * latents + windows + 3 + width, encoder, 1, head_scale=0.1),
        options=latent_learning.Options(
            informed_weight, prior_cost, match_cost, value_cost, entropy_cost, clip, discount, trace
        ),
        entropy=policy.actions.entropy,
        horizon=tasks.horizon,
    )
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(learning_rate, eps=1e-5))

    def init(key):
        keys = jax.random.split(key, 3)
        critic = parts.critic.init(keys[2])
        meta = structured.Meta(
            policy.init(keys[0]), structured.first_step(latents), parts.proposal.init(keys[1]), critic
        )
        return LearnerState(meta, optimizer.init(meta))

    def update(key, state: LearnerState, batch_tasks):
        live_key, epoch_key = jax.random.split(key)
        keys = jax.random.split(live_key, jax.tree.leaves(batch_tasks)[0].shape[0])
        lived = jax.vmap(functools.partial(latent_learning.live_one, parts, describe), in_axes=(0, None, 0))
        batch, earned = lived(keys, state.meta, batch_tasks)
        batch = jax.tree.map(lambda x: x[None], latent_learning.standardised(batch))
        loss = functools.partial(latent_learning.outer_loss, parts)
        meta, optimizer_state, metrics = estimators.minibatch_epochs(
            epoch_key, state.meta, state.optimizer, batch, loss, optimizer, num_epochs, num_minibatches
        )
        trial_return = episodes * earned.sum(axis=1)
        told = {"return_before": earned[:, 0].mean(), "return_after": earned[:, -1].mean()}
        told["return_informed"] = batch.informed.reward.sum(axis=2).mean()
        outcome = Outcome(batch_tasks, trial_return, jnp.ones_like(trial_return, bool), metrics | told)
        return LearnerState(meta, optimizer_state), outcome

    def adapt(key, state: LearnerState, task, trial_steps: int, forget: bool = False, greedy: bool = False):
        lived = adaptation.trial(inner, rate_decay, key, state.meta, (), task, trial_steps, forget, greedy)
        return without_noise(lived, tasks.env.spec.observation_shape, latents)

    steps = windows * window_steps + informed * tasks.horizon
    return Algorithm(
        init, update, adapt, steps=steps, check=functools.partial(check_divides, "num_minibatches", num_minibatches)
    )
