"""How MAESN is meta-learned: trials from the prior, episodes from ``q(z | task)``, and the outer loss on both."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax import estimators
from metarl_jax.algorithms import _adaptation as adaptation
from metarl_jax.algorithms import _structured_noise as structured
from metarl_jax.algorithms._held_noise import held
from metarl_jax.algorithms._structured_noise import LOG_STD, Agent, Latent, Meta, Window
from metarl_jax.networks import Network
from metarl_jax.types import Task, TimeStep, Trajectory


class Draws(NamedTuple):
    """Latents ``[..., T, E, Z]``, how likely they were and where they were drawn, ``[..., T, E]``: a draw is one more
    action of the agent, taken before that step's own."""

    latent: jax.Array
    log_prob: jax.Array
    fresh: jax.Array


class Batch(NamedTuple):
    """What the epochs learn from, leaves ``[1, N, ...]``: whole trials and the episodes of agents who knew the task."""

    windows: Window  # [K, T, E]
    draws: Draws  # [K, T, E]
    facts: jax.Array  # [K, T, E, F], what the critic sees
    advantage: jax.Array  # [K, T, E]
    target: jax.Array  # [K, T, E]
    informed: Window  # [T, E]
    informed_draws: Draws  # [T, E]
    informed_advantage: jax.Array  # [T, E]
    informed_return: jax.Array  # [T, E]
    task: jax.Array  # [F]


class Options(NamedTuple):
    """Of the outer loss, by the names under which ``maesn`` documents them."""

    informed_weight: float
    prior_cost: float
    match_cost: float
    value_cost: float
    entropy_cost: float
    clip: float
    discount: float
    trace: float


class Parts(NamedTuple):
    """What an update is made of."""

    inner: adaptation.Inner
    live_informed: Callable[..., Trajectory]
    proposal: Network
    critic: Network
    options: Options
    entropy: Callable[[jax.Array], jax.Array]
    horizon: int


def relive(parts: Parts, meta: Meta, windows: Window) -> tuple[Latent, tuple[jax.Array, jax.Array]]:
    """(latents ``[K]``, (action parameters, log-probabilities of the actions taken) ``[K, T, E]``): a trial adapted
    anew from its windows."""

    def body(agent, seen):
        return parts.inner.learn(meta, agent, seen, 1.0), (agent.latent, parts.inner.said(agent, seen))

    return jax.lax.scan(body, parts.inner.start(meta), windows)[1]


def proposed(parts: Parts, meta: Meta, task: jax.Array) -> Latent:
    """``q(z | task)``."""
    mean, log_std = jnp.split(parts.proposal.apply(meta.proposal, task), 2)
    return Latent(mean, jnp.clip(log_std - 1.0, *LOG_STD))


def drawn(latent: Latent, timestep: TimeStep) -> Draws:
    """What was drawn from ``latent`` in ``[T, E]`` steps."""
    size = latent.mean.size
    _, noise = held(timestep.observation, size)
    z = latent.mean[None, None] + jnp.exp(latent.log_std)[None, None] * noise
    return Draws(z, structured.log_density(latent, z), structured.fresh(timestep, size))


def live_one(parts: Parts, describe: Callable, key, meta: Meta, task: Task) -> tuple[Batch, jax.Array]:
    """A trial in one task and the episodes of an agent who knows it: (its part of the batch, earned ``[K]``)."""
    keys = jax.random.split(key)
    code, o = describe(task), parts.options
    windows = adaptation.lifetime(parts.inner, keys[0], meta, (), task)
    latents, _ = relive(parts, meta, windows)
    facts = critics_facts(parts, windows, latents, code)
    flat = lambda x: x.reshape(-1, *x.shape[2:])  # windows one after the other: [K T, E]
    reward, value = flat(windows.reward), flat(values(parts, meta, facts))
    following = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
    advantage = estimators.generalised_advantages(reward, value, following, jnp.full_like(value, o.discount), o.trace)
    known = proposed(parts, meta, code)
    informed = parts.inner.window((), parts.live_informed(keys[1], Agent(meta.params, known), task))
    returns = estimators.discounted_sums(informed.reward, o.discount * (1.0 - informed.ended.astype(jnp.float32)))
    others = (returns.sum(axis=1, keepdims=True) - returns) / (returns.shape[1] - 1)
    batch = Batch(
        windows=windows,
        draws=jax.vmap(drawn)(latents, windows.timestep),
        facts=facts,
        advantage=advantage.reshape(windows.reward.shape),
        target=(advantage + value).reshape(windows.reward.shape),
        informed=informed,
        informed_draws=drawn(known, informed.timestep),
        informed_advantage=returns - others,
        informed_return=returns,
        task=code,
    )
    return batch, windows.reward.sum(axis=1).mean(axis=1)


def critics_facts(parts: Parts, windows: Window, latents: Latent, code: jax.Array) -> jax.Array:
    """What the critic sees ``[K, T, E, F]``: the observation and the latents, where in the trial it is, what was earned
    in the window and before it (in logarithms), and the task."""
    count, length, lanes = windows.reward.shape
    spread = lambda x, axes: jnp.broadcast_to(jnp.expand_dims(x, axes), (count, length, lanes, x.shape[-1]))
    plain, _ = held(windows.timestep.observation, latents.mean.shape[-1])
    time = jax.vmap(estimators.time_in_episode)(windows.timestep.episode_start)[..., None] / parts.horizon
    so_far = jnp.cumsum(windows.reward, axis=1) - windows.reward
    total = windows.reward.sum(axis=1).mean(axis=1)
    before = spread((jnp.cumsum(total) - total)[:, None], (1, 2))
    squash = lambda x: jnp.sign(x) * jnp.log1p(jnp.abs(x))
    parted = [plain, spread(latents.mean, (1, 2)), spread(latents.log_std, (1, 2)), spread(jnp.eye(count), (1, 2))]
    return jnp.concatenate([*parted, time, squash(so_far)[..., None], squash(before), spread(code, (0, 1, 2))], axis=-1)


def values(parts: Parts, meta: Meta, facts: jax.Array) -> jax.Array:
    """In units of one reward a step through an episode."""
    return parts.horizon * parts.critic.apply(meta.critic, facts)[..., 0]


def standardised(batch: Batch) -> Batch:
    """Advantages over the batch; those of the informed over their returns' size: they fade as these are learned."""
    advantage = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    size = jnp.sqrt(jnp.square(batch.informed_return).mean()) + 1e-8
    return batch._replace(advantage=advantage, informed_advantage=batch.informed_advantage / size)


def outer_loss(parts: Parts, meta: Meta, minibatch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """PPO's loss on whole trials and on informed episodes, the divergences of ``q``, and the critic's loss."""
    batch, o = jax.tree.map(lambda x: x[0], minibatch), parts.options

    def one(windows: Window, draws: Draws, informed: Window, informed_draws: Draws, task):
        latents, (parameters, log_prob) = relive(parts, meta, windows)
        entropy = parts.entropy(parameters).mean()
        known = proposed(parts, meta, task)
        said = parts.inner.said(Agent(meta.params, known), informed)[1]
        of_draws = jax.vmap(structured.log_density)(latents, draws.latent)
        apart = divergence_after_a_find(known, latents, windows.reward)
        prior = structured.divergence(known, structured.standard_normal(known.mean.size))
        return log_prob, of_draws, said, structured.log_density(known, informed_draws.latent), prior, apart, entropy

    log_prob, of_draws, said, of_known, prior, apart, entropy = jax.vmap(one)(
        batch.windows, batch.draws, batch.informed, batch.informed_draws, batch.task
    )
    surrogate = functools.partial(estimators.clipped_surrogate, clip=o.clip)
    policy_loss = surrogate(log_prob, batch.windows.log_prob, batch.advantage).mean()
    chosen = lambda new, draws, advantage: (draws.fresh * surrogate(new, draws.log_prob, advantage)).mean()
    draw_loss = chosen(of_draws, batch.draws, batch.advantage)
    informed_loss = surrogate(said, batch.informed.log_prob, batch.informed_advantage).mean()
    informed_loss += chosen(of_known, batch.informed_draws, batch.informed_advantage)
    value = values(parts, meta, batch.facts)
    value_loss = estimators.squared_error(value, batch.target).mean() / (batch.target.var() + 1e-4)
    metrics = {"policy_loss": policy_loss, "informed_loss": informed_loss, "value_loss": value_loss}
    metrics |= {"kl_prior": prior.mean(), "kl_adapted": apart.mean(), "entropy": entropy.mean()}
    weights = (o.informed_weight, o.prior_cost, o.match_cost, o.value_cost, -o.entropy_cost)
    others = (informed_loss, prior.mean(), apart.mean(), value_loss, entropy.mean())
    return policy_loss + draw_loss + sum(w * x for w, x in zip(weights, others, strict=True)), metrics


def divergence_after_a_find(known: Latent, latents: Latent, reward: jax.Array) -> jax.Array:
    """``KL(q || latents)``, a mean over the windows before which something was earned; ``q`` is given, not led."""
    given = jax.tree.map(lambda x: jax.lax.stop_gradient(x)[None], known)
    told = (jnp.abs(reward).sum(axis=(1, 2)) > 0).astype(jnp.float32)
    after = (jnp.cumsum(told) - told > 0).astype(jnp.float32)
    return (structured.divergence(given, latents) * after).sum() / jnp.maximum(after.sum(), 1.0)
