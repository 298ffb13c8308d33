"""How MAESN is meta-trained: trials from the prior, episodes from ``q(z | task)``, and the outer loss on both."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax import estimators
from metarl_jax.algorithms.gradient import inner_loop as adaptation
from metarl_jax.algorithms.gradient import maesn_inner as structured
from metarl_jax.algorithms.gradient.maesn_inner import LOG_STD, Agent, Latent, Meta, Window
from metarl_jax.networks import Network
from metarl_jax.networks.actions import normal_divergence
from metarl_jax.records import Task, Trajectory


class Batch(NamedTuple):
    """The data of an update: whole trials, and the episodes of informed agents, who know the task.

    Attributes:
      windows: ``[1, N, K, T, E]``, of the trials.
      advantage: ``[1, N, K, T, E]``; before ``standardised``, returns.
      informed: ``[1, N, T, E]``.
      informed_advantage: ``[1, N, T, E]``; before ``standardised``, returns.
      task: ``[1, N, F]``, features of the tasks.
    """

    windows: Window
    advantage: jax.Array
    informed: Window
    informed_advantage: jax.Array
    task: jax.Array


class Options(NamedTuple):
    """Options of the outer loss by the names under which ``maesn`` documents them."""

    informed_weight: float
    search_weight: float
    prior_cost: float
    clip: float
    discount: float


class Parts(NamedTuple):
    """The parts of an update.

    Attributes:
      inner: how an agent acts and adapts in one task.
      live_informed: as ``inner.live``, for the informed agent.
      proposal: network of ``q(z | task)``.
      options: of the outer loss.
      entropy: ``(action parameters [..., P]) -> [...]``.
    """

    inner: adaptation.Inner
    live_informed: Callable[..., Trajectory]
    proposal: Network
    options: Options
    entropy: Callable[[jax.Array], jax.Array]


def proposed(parts: Parts, meta: Meta, task: jax.Array) -> Latent:
    """``q(z | task)``, its mean of length ``sqrt(Z)``: for two latents, where exploration looks
    (``SweptLatentWrapper``).

    Args:
      parts: of the method.
      meta: the meta-parameters.
      task: its features.

    Returns:
      The Latent.
    """
    mean, log_std = jnp.split(parts.proposal.apply(meta.proposal, task), 2)
    mean = mean * jax.lax.rsqrt(jnp.square(mean).mean() + 1e-6)
    return Latent(mean, jnp.clip(log_std - 1.0, *LOG_STD))


def live_one(parts: Parts, describe: Callable, key, meta: Meta, task: Task) -> tuple[Batch, jax.Array]:
    """Collects a trial in one task and the episodes of an informed agent there.

    Args:
      parts: of the update.
      describe: ``(task) -> features [F]``.
      key: PRNG key.
      meta: meta-parameters.
      task: one task.

    Returns:
      ``(batch, earned [K])``: the task's part of the batch, without its leading axes and with returns in the place of
      advantages; mean total reward of the ``E`` lanes of each window.
    """
    keys = jax.random.split(key)
    code = describe(task)
    windows = adaptation.lifetime(parts.inner, keys[0], meta, (), task)
    known = Agent(meta.params, proposed(parts, meta, code))
    informed = parts.inner.window((), parts.live_informed(keys[1], known, task))
    told = functools.partial(structured.returns_of, discount=parts.options.discount)
    batch = Batch(windows, jax.vmap(told)(windows), informed, told(informed), code)
    return batch, windows.reward.sum(axis=1).mean(axis=1)


def standardised(options: Options, batch: Batch) -> Batch:
    """A batch with advantages in the place of returns, divided by the size of returns.

    That size is the root mean square of the informed agents' returns, or of the others' where it is larger. After a
    window in which a reward was found, and for informed agents: the return from a step to the episode's end less its
    mean over the window's episodes. Before one: ``search_weight`` times what an episode adds to the best of its
    window.

    Args:
      options: of the outer loss.
      batch: with returns.

    Returns:
      The batch with advantages.
    """
    rms = estimators.root_mean_square
    size = jnp.maximum(rms(batch.informed_advantage), rms(batch.advantage))
    size = jnp.where(size > 0, size, 1.0)
    above = lambda x: (x - x.mean(axis=-1, keepdims=True)) * (x.shape[-1] / (x.shape[-1] - 1) / size)
    alone = jax.vmap(jax.vmap(functools.partial(added, discount=options.discount)))(batch.windows.reward)
    found = jax.vmap(after_a_find)(batch.windows.reward)[..., None, None]
    advantage = jnp.where(found, above(batch.advantage), alone * (options.search_weight / size))
    return batch._replace(advantage=advantage, informed_advantage=above(batch.informed_advantage))


def after_a_find(reward: jax.Array) -> jax.Array:
    """Which windows came after one in which some reward was not zero.

    Args:
      reward: ``[K, T, E]``.

    Returns:
      ``[K]`` bool.
    """
    earned = jnp.abs(reward).sum(axis=(1, 2)) > 0
    return jnp.cumsum(earned) - earned > 0


def added(reward: jax.Array, discount: float) -> jax.Array:
    """What each lane adds from step ``t`` on to the best of all lanes: ``(R_i - M_i)+ - (P_it - M_i)+``.

    ``R_i = sum_t discount^t r_it``, ``P_it`` is the part of it before ``t``, ``M_i = max_{j != i} R_j``. Times the
    scores of the actions, summed, its expectation is the gradient of ``E[max_i R_i]``: lanes share the search.

    Args:
      reward: ``[T, E]``.
      discount: gamma, per step.

    Returns:
      ``[T, E]``.
    """
    worth = jnp.power(discount, jnp.arange(reward.shape[0], dtype=reward.dtype))[:, None] * reward
    through = jnp.cumsum(worth, axis=0)
    others = _best_of_others(through[-1:])
    return jax.nn.relu(through[-1:] - others) - jax.nn.relu(through - worth - others)


def _best_of_others(returns: jax.Array) -> jax.Array:
    """``max_{j != i} x_j`` over the last axis: ``[..., E]``."""
    apart = jnp.where(jnp.eye(returns.shape[-1], dtype=bool), -jnp.inf, returns[..., None, :])
    return apart.max(axis=-1)


def outer_loss(
    parts: Parts, entropy_cost: float | jax.Array, meta: Meta, minibatch: Batch
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """PPO's loss on trials and on informed episodes, plus ``KL(q || N(0, I))``, less the entropy bonus.

    Args:
      parts: of the update.
      entropy_cost: weight of the entropy bonus.
      meta: meta-parameters.
      minibatch: with advantages.

    Returns:
      ``(loss, metrics)``.
    """
    batch, o = jax.tree.map(lambda x: x[0], minibatch), parts.options

    def one(windows: Window, informed: Window, task):
        said = adaptation.adapt(parts.inner, meta, windows, before=True)[1]
        known = proposed(parts, meta, task)
        prior = structured.standard_normal(known.mean.size)
        return said, parts.inner.said(Agent(meta.params, known), informed)[1], normal_divergence(*known, *prior)

    (parameters, log_prob), said, prior = jax.vmap(one)(batch.windows, batch.informed, batch.task)
    surrogate = functools.partial(estimators.clipped_surrogate, clip=o.clip)
    policy_loss = surrogate(log_prob, batch.windows.log_prob, batch.advantage).mean()
    informed_loss = surrogate(said, batch.informed.log_prob, batch.informed_advantage).mean()
    entropy = parts.entropy(parameters).mean()
    metrics = {"policy_loss": policy_loss, "informed_loss": informed_loss}
    metrics |= {"kl_prior": prior.mean(), "entropy": entropy}
    loss = policy_loss + o.informed_weight * informed_loss - entropy_cost * entropy
    return loss + o.prior_cost * metrics["kl_prior"], metrics
