"""Beliefs over tasks: an encoder to a Gaussian over latents, decoders of what a latent predicts, a policy on beliefs.

VariBAD (Zintgraf et al. 2020).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.networks.memories import initial_memory
from metarl_jax.networks.mlp import MLP
from metarl_jax.networks.policy import Trunk, as_vector, flat, from_module, held
from metarl_jax.records import Policy, PyTree, Spec, TimeStep

FARTHEST = 5.0  # standard deviations that an actor sees of a standardised belief


class Belief(NamedTuple):
    """A diagonal Gaussian over latents.

    Attributes:
      mean: ``[..., L]``.
      log_var: ``[..., L]``.
    """

    mean: jax.Array
    log_var: jax.Array

    def vector(self) -> jax.Array:
        """The belief as the actor sees it.

        Returns:
          ``(mean, log_var) [..., 2 L]``.
        """
        return jnp.concatenate(self, axis=-1)


class Scale(NamedTuple):
    """By which an actor sees beliefs as vectors standardised.

    Attributes:
      mean: ``[2 L]``.
      std: ``[2 L]``.
    """

    mean: jax.Array
    std: jax.Array

    def __call__(self, vector: jax.Array) -> jax.Array:
        shape = (1,) * (vector.ndim - 1) + (-1,)
        standard = (vector - self.mean.reshape(shape)) / (self.std.reshape(shape) + 1e-6)
        return jnp.clip(standard, -FARTHEST, FARTHEST)

    def followed(self, belief: Belief, share: float = 0.1) -> "Scale":
        """A scale moved towards that of a batch of beliefs.

        Args:
          belief: ``[..., L]``.
          share: of the way.

        Returns:
          The Scale.
        """
        vector = belief.vector().reshape(-1, self.mean.size)
        move = lambda old, new: old + share * (new - old)
        return Scale(move(self.mean, vector.mean(axis=0)), move(self.std, vector.std(axis=0)))


class BeliefEncoder(Trunk):
    """A ``Trunk`` whose heads are a belief: ``q(m | tau_{:t})``."""

    latent_size: int

    def setup(self):
        super().setup()
        self.mean, self.log_var = (nn.Dense(self.latent_size, name=name) for name in ("mean", "log_var"))

    def heads(self, x: jax.Array) -> Belief:
        return Belief(self.mean(x), jnp.clip(self.log_var(x), -12.0, 4.0))


class Decoder(nn.Module):
    """``f(m, x) = g(m) . h(x)``: an inner product of heads, of every latent with every fact.

    ``g`` and ``h`` are MLPs of relu layers, so that the cost of a pair is one product a head, in a matmul, instead of a
    network: beliefs times steps are many. With ``h`` one-hot in the state this is VariBAD's multi-headed decoder.
    """

    sizes: Sequence[int]
    heads: int
    size: int

    @nn.compact
    def __call__(self, latents: jax.Array, facts: jax.Array) -> jax.Array:
        """Latents ``[B, ..., L]``, facts ``[T, ..., F]`` -> ``[B, T, ..., size]``."""
        g = MLP(self.sizes, self.heads, name="latent")(latents)
        h = MLP(self.sizes, self.heads * self.size, name="facts")(facts).reshape(*facts.shape[:-1], self.heads, -1)
        return jnp.einsum("b...h,t...hd->bt...d", g, h) * self.heads**-0.5


def belief_encoder(
    spec: Spec, memory: str, memory_size: int, encoder_sizes: Sequence[int], latent_size: int, window: int
) -> Policy:
    """``BeliefEncoder`` with the interface of a Policy: its outputs are a Belief.

    Args:
      spec: of the environment.
      memory: the kind, a name of ``MEMORIES``.
      memory_size: its units.
      encoder_sizes: tanh layers before it.
      latent_size: L.
      window: steps that a transformer attends to.

    Returns:
      The Policy.
    """
    module = BeliefEncoder(spec, memory, memory_size, tuple(encoder_sizes), True, window, latent_size)
    return from_module(module, spec, initial_memory(memory, memory_size, window))


def facts(spec: Spec, observation: jax.Array, action: jax.Array, next_observation: jax.Array) -> jax.Array:
    """What a transition's reward is predicted from: ``(o, a, o')`` as vectors.

    Args:
      spec: of the environment.
      observation: ``[..., *observation_shape]``.
      action: ``[...]`` or ``[..., D]``.
      next_observation: like ``observation``.

    Returns:
      ``[..., F]``.
    """
    batch = action.shape if spec.num_actions is not None else action.shape[:-1]
    return jnp.concatenate([flat(observation, batch), as_vector(spec, action), flat(next_observation, batch)], axis=-1)


def on_beliefs(encoder: Policy, actor: Policy, noise: int = 0, scaled: int = 0) -> Policy:
    """A Policy that acts on ``(o, belief)``.

    Its outputs are ``(action parameters, value, Belief, what the actor saw [..., F])``; its parameters ``{"encoder",
    "actor"}``.

    Args:
      encoder: whose outputs are a Belief.
      actor: a policy without memory.
      noise: observations end in so many numbers that the actor sees last, and the encoder not at all.
      scaled: how many latents beliefs have that the actor sees through a ``Scale``, which is then in the parameters,
        too (0: as they are).

    Returns:
      The Policy.
    """
    told = lambda params, belief: params["scale"](belief.vector()) if scaled else belief.vector()

    def init(key):
        unit = Scale(jnp.zeros(2 * scaled), jnp.ones(2 * scaled))
        return _init_both(encoder, actor, key) | ({"scale": unit} if scaled else {})

    def split(timestep):
        if not noise:
            return timestep, []
        plain, shown = held(timestep.observation, noise)
        return timestep._replace(observation=plain), [shown]

    def step(params, memory, timestep):
        plain, shown = split(timestep)
        memory, belief = encoder.step(params["encoder"], memory, plain)
        seen = timestep._replace(observation=beside(plain, told(params, belief), *shown))
        _, outputs = actor.step(params["actor"], (), seen)
        return memory, (*outputs, belief, seen.observation)

    def unroll(params, memory, timesteps):
        plain, shown = split(timesteps)
        belief = encoder.unroll(params["encoder"], memory, plain)
        seen = timesteps._replace(observation=beside(plain, told(params, belief), *shown))
        return *actor.unroll(params["actor"], (), seen), belief, seen.observation

    return Policy(init, encoder.carry, step, unroll, actor.actions)


def on_samples(encoder: Policy, actor: Policy, latent_size: int) -> Policy:
    """As ``on_beliefs``, but the actor sees one latent, drawn from the belief as an episode begins and held in it.

    Args:
      encoder: whose outputs are a Belief.
      actor: a policy without memory.
      latent_size: L; observations end in the noise that the latent is drawn with, ``[..., L]``, the same throughout an
        episode; the encoder does not see it.

    Returns:
      The Policy.
    """

    def step(params, memory, timestep):
        memory, latent = memory
        plain, noise = held(timestep.observation, latent_size)
        timestep = timestep._replace(observation=plain)
        memory, belief = encoder.step(params["encoder"], memory, timestep)
        drawn = belief.mean + jnp.exp(0.5 * belief.log_var) * noise
        latent = jnp.where(timestep.episode_start[..., None], drawn, latent)
        seen = timestep._replace(observation=beside(timestep, latent))
        _, outputs = actor.step(params["actor"], (), seen)
        return (memory, latent), (*outputs, belief, seen.observation)

    carry = lambda batch: (encoder.carry(batch), jnp.zeros((*batch, latent_size)))

    def unroll(params, memory: PyTree, timesteps):
        memory = carry(timesteps.last_reward.shape[1:]) if memory is None else memory
        return jax.lax.scan(functools.partial(step, params), memory, timesteps)[1]

    return Policy(functools.partial(_init_both, encoder, actor), carry, step, unroll, actor.actions)


def _init_both(encoder: Policy, actor: Policy, key: jax.Array) -> dict:
    keys = jax.random.split(key)
    return {"encoder": encoder.init(keys[0]), "actor": actor.init(keys[1])}


def beside(timestep: TimeStep, *vectors: jax.Array) -> jax.Array:
    """An observation with vectors beside it.

    Args:
      timestep: ``[...]``.
      *vectors: each ``[..., V]``.

    Returns:
      ``(o, *vectors) [..., F]``.
    """
    return jnp.concatenate([flat(timestep.observation, timestep.last_reward.shape), *vectors], axis=-1)
