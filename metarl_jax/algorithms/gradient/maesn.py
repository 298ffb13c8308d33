"""MAESN (Gupta et al. 2018): exploration by latents drawn once per episode, which the inner loop adapts.

Their latents ``z ~ N(mean, std)`` are drawn once an episode, so that exploration is one purposeful walk, not a jitter;
in meta-training each task has its own ``(mean, std)``, regularised towards ``N(0, I)``, from which meta-test starts.
What we do otherwise, and why, is in ``maesn``.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.algorithms.gradient import inner_loop as adaptation
from metarl_jax.algorithms.gradient import maesn_inner as structured
from metarl_jax.algorithms.gradient import maesn_outer as latent_learning
from metarl_jax.algorithms.gradient.maesn_inner import Agent
from metarl_jax.config import check, check_all, check_divides, recipe
from metarl_jax.networks import mlp
from metarl_jax.records import Algorithm, Outcome, TaskDistribution
from metarl_jax.tasks.features import vectors
from metarl_jax.wrappers.episode_noise import SweptLatentWrapper, without_noise


class LearnerState(NamedTuple):
    """The state of the algorithm.

    Attributes:
      meta: meta-parameters.
      optimizer: Adam's state.
    """

    meta: structured.Meta
    optimizer: optax.OptState


@recipe("maesn")
def maesn(
    tasks: TaskDistribution,
    *,
    latents: int = 2,
    episodes: int = 4,
    inner_steps: int = 0,
    inner_discount: float = 0.7,
    informed: int = 4,
    informed_weight: float = 3.0,
    search_weight: float = 3.0,
    prior_cost: float = 0.01,
    discount: float = 0.99,
    learning_rate: float = 1e-3,
    num_epochs: int = 3,
    num_minibatches: int = 4,
    clip: float = 0.2,
    entropy_cost: float = 0.01,
    entropy_updates: int = 0,
    encoder: tuple[int, ...] = (64, 64),
    spread: float = 0.7,
    rate_decay: float = 1.0,
) -> Algorithm:
    """MAESN: structured exploration by latents drawn for an episode, adapted by gradient in the inner loop.

    An agent acts on ``(o, z)``, where ``z = mean + std e``. A trial starts from ``mean = 0, std = 1``; after every
    ``episodes`` episodes an inner step (``learn``) moves ``mean`` and ``std`` along natural policy gradients, by
    meta-learned steps. Where we differ from the paper:

    - ``e`` is not constant in an episode but makes half a turn of a curve around 0, and the episodes before an inner
      step start evenly spaced on it (``SweptLatentWrapper``): one walk tries many latents, the next one others. A
        constant
      draw finds a goal only where it happens to lead.
    - The paper has a ``(mean, std)`` for each training task. Tasks are drawn afresh here, so these are the output of
      a network that sees the task, ``q(z | task)``, its mean of length ``sqrt(Z)``. Some episodes of an update are
      collected with it and add to the outer loss; ``KL(q || N(0, I))`` does as in the paper, and with the mean's length
      fixed it moves the deviations alone. This signal is privileged, in meta-training only. No reward is shaped.
    - Trials of meta-training start as those of meta-test, from ``mean = 0, std = 1``; the paper starts from the task's
      own latents. The outer loss is PPO's: after an inner step that had a reward to learn from, on the returns of
        episodes;
      before it, on what each adds to the best of its window (``added``), so that they share the search. As with MAML,
      the mean return before adaptation does not count.
    - ``learn`` is not the plain pathwise gradient, whose expectation is zero wherever the action was the policy's own;
      see its docstring.

    Args:
      latents: Z, how many: at least 2.
      episodes: lived before each inner step, at least 2 (each is the others' baseline).
      inner_steps: in a trial of meta-training (0: as many as leave a window after the last one in the distribution's
        trial). At meta-test as many as fit.
      inner_discount: gamma of the inner step's returns; they end with their episode.
      informed: episodes lived from ``q(z | task)`` in each task, at least 2.
      informed_weight: of these in the outer loss.
      search_weight: of finding what the window's other episodes did not, where nothing was earned before.
      prior_cost: weight of ``KL(q || N(0, I))``.
      discount: gamma of the outer loss; returns end with their episode.
      learning_rate: Adam's.
      num_epochs: passes over the trials of an update.
      num_minibatches: gradient steps a pass; must divide the number of tasks.
      clip: how far PPO lets a probability ratio move from 1.
      entropy_cost: weight of the entropy bonus, in trials alone: tasks that nobody has solved yet teach nothing.
      entropy_updates: updates over which it falls linearly to a tenth (0: constant).
      encoder: sizes of the policy's tanh layers.
      spread: how far a unit of a latent moves the action parameters at birth.
      rate_decay: at meta-test, each inner step beyond those of training is this much smaller.

    Returns:
      The algorithm.
    """
    several = dict(latents=latents, episodes=episodes, informed=informed)
    check_all(several, lambda x: x >= 2, "must be at least 2")
    sizes = dict(num_epochs=num_epochs, num_minibatches=num_minibatches, learning_rate=learning_rate)
    check_all(sizes | dict(clip=clip, spread=spread), lambda x: x > 0, "must be above 0")
    weights = dict(informed_weight=informed_weight, search_weight=search_weight, prior_cost=prior_cost)
    counts = dict(inner_steps=inner_steps, entropy_updates=entropy_updates)
    check_all(weights | counts | dict(entropy_cost=entropy_cost), lambda x: x >= 0, "must not be negative")
    shares = dict(inner_discount=inner_discount, discount=discount, rate_decay=rate_decay)
    check_all(shares, lambda x: 0 <= x <= 1, "must lie between 0 and 1")
    check(all(size > 0 for size in encoder), "encoder", encoder, "each layer needs at least one unit")
    policy = structured.latent_actor(tasks.env.spec, latents, encoder, spread)
    home = tasks.trained_on or tasks
    features = vectors(home)
    window_steps = tasks.horizon * episodes
    windows = 1 + (inner_steps or max(1, math.ceil(home.trial_steps / (home.horizon * episodes)) - 1))
    noisy = tasks._replace(env=SweptLatentWrapper(tasks.env, latents, home.horizon))
    inner = adaptation.Inner(
        live=functools.partial(adaptation.live, noisy, policy, episodes),
        window=functools.partial(structured.window, policy),
        said=functools.partial(adaptation.said, policy),
        learn=functools.partial(structured.learn, policy, inner_discount),
        start=lambda meta: Agent(meta.params, structured.standard_normal(latents)),
        num_steps=windows - 1,
    )
    parts = latent_learning.Parts(
        inner=inner,
        live_informed=functools.partial(adaptation.live, noisy, policy, informed),
        proposal=mlp(features.size, (32,), 2 * latents, head_scale=0.3),
        options=latent_learning.Options(
            informed_weight=informed_weight,
            search_weight=search_weight,
            prior_cost=prior_cost,
            clip=clip,
            discount=discount,
        ),
        entropy=policy.actions.entropy,
    )
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(learning_rate, eps=1e-5))

    def init(key, num_tasks: int):
        del num_tasks
        keys = jax.random.split(key)
        meta = structured.Meta(policy.init(keys[0]), structured.first_step(latents), parts.proposal.init(keys[1]))
        return LearnerState(meta, optimizer.init(meta))

    def update(key, state: LearnerState, batch_tasks):
        live_key, epoch_key = jax.random.split(key)
        keys = jax.random.split(live_key, jax.tree.leaves(batch_tasks)[0].shape[0])
        live = jax.vmap(functools.partial(latent_learning.live_one, parts, features.vector), in_axes=(0, None, 0))
        batch, earned = live(keys, state.meta, batch_tasks)
        batch = jax.tree.map(lambda x: x[None], latent_learning.standardised(parts.options, batch))
        falling = num_epochs * num_minibatches * entropy_updates
        cost = estimators.falling_cost(entropy_cost, falling, state.optimizer)
        loss = functools.partial(latent_learning.outer_loss, parts, cost)
        meta, optimizer_state, metrics = estimators.minibatch_epochs(
            epoch_key,
            state.meta,
            state.optimizer,
            batch,
            loss,
            optimizer,
            num_epochs=num_epochs,
            num_minibatches=num_minibatches,
        )
        trial_return = episodes * earned.sum(axis=1)
        told = {"return_before": earned[:, 0].mean(), "return_after": earned[:, -1].mean()}
        told["return_informed"] = batch.informed.reward.sum(axis=2).mean()
        outcome = Outcome(batch_tasks, trial_return, jnp.ones_like(trial_return, bool), metrics | told)
        return LearnerState(meta, optimizer_state), outcome

    def adapt(key, state: LearnerState, task, trial_steps: int, forget=False, greedy: bool = False, first=None):
        trajectory = adaptation.trial(inner, rate_decay, key, state.meta, (), task, trial_steps, forget, greedy, first)
        return without_noise(trajectory, tasks.env.spec.observation_shape, latents)

    steps = windows * window_steps + informed * tasks.horizon
    check_num_tasks = functools.partial(check_divides, "num_minibatches", num_minibatches)
    made = Algorithm(init, update, adapt, steps=steps, check=check_num_tasks, window=window_steps)
    return made._replace(check_tasks=lambda name, some, learning: features.check(name, some) if learning else None)
