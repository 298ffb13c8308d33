"""Exploration by noise that is held through an episode: a latent is drawn as it begins, and acted on throughout.

Gupta et al. 2018 (MAESN). The latent is ``z = mean + exp(log_std) e`` with ``e ~ N(0, I)``, and the policy acts on
``(o, z)``. A wrapped environment draws ``e`` and shows it, so that whatever lives in it (``rollout``) and re-reads its
records (``replay``) needs to know nothing of latents; the policy turns ``e`` into ``z``. Axis letters: ``[Z]`` latents.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl_jax import estimators
from metarl_jax.algorithms._held_noise import held
from metarl_jax.networks import actor
from metarl_jax.rollout import replay
from metarl_jax.types import Policy, PyTree, Spec, TimeStep, Trajectory

LOG_STD = (-3.0, 0.0)  # where latents' log standard deviations are kept


class Latent(NamedTuple):
    """A diagonal Gaussian over latents: ``mean`` and ``log_std [..., Z]``."""

    mean: jax.Array
    log_std: jax.Array


class Agent(NamedTuple):
    """What acts in one task: the policy's parameters and the latents that it acts on."""

    params: PyTree
    latent: Latent


def standard_normal(size: int) -> Latent:
    """The prior, ``N(0, I)``."""
    return Latent(jnp.zeros(size), jnp.zeros(size))


def divergence(p: Latent, q: Latent) -> jax.Array:
    """``KL(p || q) = sum log s_q / s_p + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1 / 2``; ``[...]``."""
    squares = jnp.exp(2 * p.log_std) + jnp.square(p.mean - q.mean)
    return jnp.sum(q.log_std - p.log_std + 0.5 * (squares * jnp.exp(-2 * q.log_std) - 1.0), axis=-1)


def fresh(timestep: TimeStep, size: int) -> jax.Array:
    """Where a latent was drawn, 1.0 or 0.0: ``[T, E]``. Those held at the window's start were drawn there."""
    _, noise = held(timestep.observation, size)
    changed = (noise[1:] != noise[:-1]).any(axis=-1)
    return timestep.episode_start.at[1:].max(changed).astype(jnp.float32)


def log_density(latent: Latent, z: jax.Array) -> jax.Array:
    """``log N(z; mean, std)`` of ``z [..., Z]``: ``[...]``."""
    mean, log_std = (x.reshape((1,) * (z.ndim - 1) + (-1,)) for x in latent)
    return jnp.sum(-0.5 * (jnp.square((z - mean) * jnp.exp(-log_std)) + np.log(2 * np.pi)) - log_std, axis=-1)


def latent_actor(spec: Spec, size: int, encoder: tuple[int, ...], spread: float) -> Policy:
    """A Policy of ``Agent``s on the observations of ``HeldNoise``: an MLP on ``(o, z, log std of z)``, no memory, no
    critic. ``init`` makes the network's parameters alone.

    ``spread`` is the scale of the last layer at birth. At 1 each latent is another behaviour from the first day; other
    actors are born indifferent, at 0.01. Continuous actions vary little from step to step then (a standard deviation
    about ``exp(-0.7)``, depending on what the network is told), since the latents explore.
    """
    features = int(np.prod(spec.observation_shape)) + 2 * size
    base = actor(spec._replace(observation_shape=(features,)), encoder, own_std=False)

    def init(key):
        params = dict(base.init(key))
        kernel, bias = params["policy_head"]["kernel"], params["policy_head"]["bias"]
        scale = jnp.full_like(bias, 100.0 * spread)
        if spec.num_actions is None:
            scale, bias = scale.at[spec.action_size :].mul(0.1), bias.at[spec.action_size :].set(-0.7)
        params["policy_head"] = {"kernel": kernel * scale[None], "bias": bias}
        # Being surer of a latent is no other behaviour yet: else what paid would not pay again.
        entrance = "encoder_0" if encoder else "policy_head"
        params[entrance] = params[entrance] | {"kernel": params[entrance]["kernel"].at[-size:].set(0.0)}
        return params

    def seen(agent: Agent, timestep: TimeStep) -> TimeStep:
        plain, noise = held(timestep.observation, size)
        mean, log_std = (x.reshape((1,) * (noise.ndim - 1) + (-1,)) for x in agent.latent)
        told = [plain, mean + jnp.exp(log_std) * noise, jnp.broadcast_to(log_std, noise.shape)]
        return timestep._replace(observation=jnp.concatenate(told, axis=-1))

    step: Any = lambda agent, memory, timestep: base.step(agent.params, memory, seen(agent, timestep))
    unroll: Any = lambda agent, memory, timesteps: base.unroll(agent.params, memory, seen(agent, timesteps))
    return base._replace(init=init, step=step, unroll=unroll)


class Step(NamedTuple):
    """An inner step's size, meta-learned; see ``learn``."""

    actions: jax.Array  # [Z, Z]
    draws: jax.Array  # [Z, Z]
    log_widths: jax.Array  # [Z]
    narrowing: jax.Array
    threshold: jax.Array
    log_scale: jax.Array


class Meta(NamedTuple):
    """All that is meta-learned; ``proposal`` (of a task's latents) and ``critic`` serve meta-training alone."""

    params: optax.Params
    step: Step
    proposal: optax.Params
    critic: optax.Params


class Window(NamedTuple):
    """Episodes lived with one agent, ``[T, E, ...]``; ``ended``: the step was its episode's last."""

    timestep: TimeStep
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    ended: jax.Array


def first_step(latents: int) -> Step:
    """Where the inner step starts to be learned: about to where a draw paid, and somewhat narrower there."""
    number = lambda x: jnp.asarray(x, jnp.float32)
    widths = jnp.zeros(latents)
    return Step(0.3 * jnp.eye(latents), jnp.eye(latents), widths, number(1.5), number(0.1), number(jnp.log(0.1)))


def window(policy: Policy, baseline: tuple, lived: Trajectory) -> Window:
    del baseline  # the inner step has a threshold instead
    log_prob = policy.actions.log_prob(lived.outputs[0], lived.action)
    return Window(lived.timestep, lived.action, log_prob, lived.reward, lived.terminated | lived.truncated)


def learn(policy: Policy, discount: float, meta: Meta, agent: Agent, seen: Window, scale: float | jax.Array) -> Agent:
    """An inner step: the latents' Gaussian moves along the policy gradient of a window's episodes.

    With the return ``G_t`` of the rest of the episode, credit is ``c_t = G_t / (|G_t| + C) - B``: bounded, so that one
    step's size serves hits of all sizes, and negative for what earned too little. Then, over the window,

    - ``g = grad_mean  E[c_t log pi(a_t | o_t, z = mean)]``: how the mean should move to make what paid likelier. At
      the mean and not at the latent that acted, as the plain pathwise gradient would have it: there the score has
      expectation zero whatever came of it, and a few episodes tell next to nothing; here it also tells how those who
      were paid behaved otherwise than the mean does. It is divided by ``sqrt(1 + |g|^2)``.
    - ``s = E[c_0 (z - mean)]``, over the episodes: the natural gradient of ``log N(z; mean, std)``, the drawn latent as
      an action, and ``v = E[c_0 ((e^2 - 1) / 2 - narrowing)]``, the same for ``log std`` with a learned preference for
      narrowing where it paid.

    ``mean' = mean + g A + s D`` and ``log std' = log std + exp(w) v`` with ``A, D [Z, Z]``, ``w``, ``narrowing``, ``B``
    and ``C`` meta-learned (a matrix as in Park and Oliva 2019, where the paper learns a step size a latent). Policy
    parameters do not adapt.
    """
    mean, log_std = agent.latent
    step, size = meta.step, agent.latent.mean.size
    plain, noise = held(seen.timestep.observation, size)
    still = jnp.concatenate([plain, jnp.zeros_like(noise)], axis=-1)
    timestep = seen.timestep._replace(observation=still)
    returns = estimators.discounted_sums(seen.reward, discount * (1.0 - seen.ended.astype(seen.reward.dtype)))
    credit = returns / (jnp.abs(returns) + jnp.exp(step.log_scale)) - step.threshold

    def likelihood(mean):
        parameters, _ = replay(policy, Agent(agent.params, Latent(mean, log_std)), timestep)
        return (credit * policy.actions.log_prob(parameters, seen.action)).mean()

    towards = jax.grad(likelihood)(mean)
    towards = towards * jax.lax.rsqrt(1.0 + jnp.square(towards).sum())
    first = fresh(seen.timestep, size)
    weight = credit * first / first.sum()
    draws = jnp.exp(log_std) * jnp.einsum("te,tez->z", weight, noise)
    widths = jnp.einsum("te,tez->z", weight, 0.5 * (jnp.square(noise) - 1.0) - step.narrowing)
    moved = mean + scale * (towards @ step.actions + draws @ step.draws)
    return Agent(agent.params, Latent(moved, jnp.clip(log_std + scale * jnp.exp(step.log_widths) * widths, *LOG_STD)))
