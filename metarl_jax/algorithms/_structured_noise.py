"""Exploration by noise that is held through an episode: a latent is drawn as it begins, and acted on throughout.

Gupta et al. 2018 (MAESN). The latent is ``z = mean + exp(log_std) e`` with ``e ~ N(0, I)``, and the policy acts on
``(o, z)``. A wrapped environment draws ``e`` and shows it, so that whatever lives in it (``rollout``) and re-reads its
records (``replay``) needs to know nothing of latents; the policy turns ``e`` into ``z``. Axis letters: ``[Z]`` latents.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.networks import actor
from metarl_jax.types import Environment, Key, Policy, PyTree, Spec, State, Task, TimeStep, Trajectory


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


class HeldState(NamedTuple):
    """The environment's own state, the noise ``[Z]`` that is held, and for how many steps it has been."""

    plain: State
    noise: jax.Array
    age: jax.Array


class HeldNoise:
    """``env`` with observations ``(o, e)``: ``e ~ N(0, I)`` of ``size`` is drawn as an episode begins and held for
    ``hold`` steps (0: to its end), then drawn anew."""

    def __init__(self, env: Environment, size: int, hold: int = 0):
        self.env, self.size, self.hold = env, size, hold
        self.features = int(np.prod(env.spec.observation_shape))
        self.spec: Spec = env.spec._replace(observation_shape=(self.features + size,))

    def draw(self, key: Key, shape: tuple[int, ...]) -> PyTree:
        plain_key, noise_key = jax.random.split(key)
        return self.env.draw(plain_key, shape), jax.random.normal(noise_key, (*shape, self.size))

    def begin(self, noise: PyTree, task: Task) -> HeldState:
        return HeldState(self.env.begin(noise[0], task), noise[1], jnp.int32(0))

    def advance(self, noise: PyTree, state: HeldState, action: jax.Array, task: Task):
        plain, *told = self.env.advance(noise[0], state.plain, action, task)
        age = state.age + 1
        if self.hold:
            old = age >= self.hold
            return HeldState(plain, jnp.where(old, noise[1], state.noise), jnp.where(old, 0, age)), *told
        return HeldState(plain, state.noise, age), *told

    def observe(self, state: HeldState, task: Task) -> jax.Array:
        seen = self.env.observe(state.plain, task).astype(jnp.float32).reshape(-1)
        return jnp.concatenate([seen, state.noise])

    def is_truncated(self, state: HeldState, task: Task) -> jax.Array:
        return self.env.is_truncated(state.plain, task)


def held(observation: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """``(o [..., F], e [..., Z])`` of a wrapped environment's observation."""
    return observation[..., :-size], observation[..., -size:]


def fresh(timestep: TimeStep, size: int) -> jax.Array:
    """Where a latent was drawn, 1.0 or 0.0: ``[T, E]``. Those held at the window's start were drawn there."""
    _, noise = held(timestep.observation, size)
    changed = (noise[1:] != noise[:-1]).any(axis=-1)
    return timestep.episode_start.at[1:].max(changed).astype(jnp.float32)


def without_noise(lived: Trajectory, shape: tuple[int, ...], size: int) -> Trajectory:
    """A wrapped environment's trajectory as the environment itself would tell it."""
    plain = lambda observation: held(observation, size)[0].reshape(*observation.shape[:-1], *shape)
    return lived._replace(
        timestep=lived.timestep._replace(observation=plain(lived.timestep.observation)),
        next_observation=plain(lived.next_observation),
        env_state=lived.env_state.plain,
        next_env_state=lived.next_env_state.plain,
    )


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
