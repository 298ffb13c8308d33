"""The one adapter that turns a flax.linen module into a Policy."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.config import check
from metarl_jax.networks import actions
from metarl_jax.networks.gru import GRU
from metarl_jax.networks.s5 import S5
from metarl_jax.networks.transformer import NUM_HEADS, Transformer
from metarl_jax.types import Policy, PyTree, Spec, TimeStep

WINDOW = 256


class Memoryless(nn.Module):
    """The face of a memory with nothing in it."""

    def step(self, h, x, reset):
        return h, x

    def unroll(self, h, x, reset):
        return x


class Memory(NamedTuple):
    """A kind of memory, by its size and the ``window`` of steps that a transformer attends to (others have none).

    ``module(size, window)`` is a linen module with ``step(h, x, reset)`` and ``unroll(h, x, reset)``, in which h is
    None where all trials begin; ``carry(size, batch, window)`` its initial state. Sizes are multiples of ``multiple``.
    """

    module: Callable[..., nn.Module]
    carry: Callable[..., PyTree]
    multiple: int = 1


MEMORIES = {
    "gru": Memory(
        lambda size, window=WINDOW: GRU(size, name="memory"),
        lambda size, batch, window=WINDOW: jnp.zeros((*batch, size)),
    ),
    "s5": Memory(
        lambda size, window=WINDOW: S5(size, name="memory"),
        lambda size, batch, window=WINDOW: S5(size).carry(batch),
    ),
    "transformer": Memory(
        lambda size, window=WINDOW: Transformer(size, window, name="memory"),
        lambda size, batch, window=WINDOW: Transformer(size, window).carry(batch),
        multiple=2 * NUM_HEADS,
    ),
    "none": Memory(lambda size, window=WINDOW: Memoryless(name="memory"), lambda size, batch, window=WINDOW: ()),
}


def num_parameters(memory: str, inputs: int, size: int) -> int:
    """Parameters of a memory of ``size`` H on ``inputs`` F features, heads and encoder not counted.

    ``gru``: ``3 H (H + F) + 4 H``. ``s5``, with P = H / 2 rounded up, 2 blocks: ``H (F + 1) + 2 (4 H P + H^2 + 2 H +
    3 P)``. ``transformer``, 2 blocks: ``H (F + 3) + 2 (8 H^2 + 7 H)``, whatever its window.
    """
    module, h = MEMORIES[memory].module(size), MEMORIES[memory].carry(size, ())
    init = lambda key: module.init(key, h, jnp.zeros(inputs), jnp.zeros((), bool), method="step")
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


class ActorCritic(nn.Module):
    """Encoder (MLP) -> memory -> linear heads for the action parameters and the value.

    With ``meta_inputs`` the encoder sees ``(o_t, a_{t-1}, r_{t-1}, episode start)`` as in RL^2 (Duan et al. 2016,
    Wang et al. 2016), else the observation alone. Without ``critic`` there is no value head and values are 0. With
    ``own_std`` the standard deviations of continuous actions are parameters of their own, the same in every state.
    """

    spec: Spec
    memory: str
    memory_size: int
    encoder_sizes: Sequence[int]
    meta_inputs: bool
    critic: bool = True
    own_std: bool = False
    window: int = WINDOW

    def setup(self):
        wide = nn.initializers.orthogonal(2**0.5)
        self.encoder = [nn.Dense(n, kernel_init=wide, name=f"encoder_{i}") for i, n in enumerate(self.encoder_sizes)]
        self.core = MEMORIES[self.memory].module(self.memory_size, self.window)
        size = actions.for_spec(self.spec).size
        self.apart = self.own_std and self.spec.num_actions is None
        if self.apart:
            size = self.spec.action_size
            self.log_std = self.param("log_std", nn.initializers.zeros, (size,))
        self.policy_head = nn.Dense(size, kernel_init=nn.initializers.orthogonal(0.01), name="policy_head")
        if self.critic:
            self.value_head = nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0), name="value_head")

    def step(self, h, timestep: TimeStep):
        h, x = self.core.step(h, self.encode(timestep), timestep.trial_start)
        return h, self.heads(x)

    def unroll(self, h, timesteps: TimeStep):
        return self.heads(self.core.unroll(h, self.encode(timesteps), timesteps.trial_start))

    def encode(self, timestep: TimeStep) -> jax.Array:
        batch = timestep.last_reward.shape
        x = timestep.observation.astype(jnp.float32).reshape(*batch, -1)
        if self.meta_inputs:
            if self.spec.num_actions is not None:
                # No action came before the first step of a trial: all zeros.
                taken = jnp.where(timestep.trial_start, -1, timestep.last_action)
                last_action = jax.nn.one_hot(taken, self.spec.num_actions)
            else:
                last_action = timestep.last_action
            flags = jnp.stack([timestep.last_reward, timestep.episode_start.astype(jnp.float32)], axis=-1)
            x = jnp.concatenate([x, last_action, flags], axis=-1)
        for layer in self.encoder:
            x = jnp.tanh(layer(x))
        return x

    def heads(self, x: jax.Array):
        parameters = self.policy_head(x)
        if self.apart:
            log_std = self.log_std.reshape((1,) * (x.ndim - 1) + (-1,))
            parameters = jnp.concatenate([parameters, jnp.broadcast_to(log_std, parameters.shape)], axis=-1)
        return parameters, self.value_head(x)[..., 0] if self.critic else jnp.zeros(x.shape[:-1])


def actor_critic(
    spec: Spec,
    memory: str,
    memory_size: int,
    encoder_sizes: Sequence[int],
    meta_inputs: bool,
    window: int = WINDOW,
) -> Policy:
    """A Policy of ``ActorCritic``: with or without memory, one set of heads.

    Raises:
      ConfigError: the size does not fit the memory's kind.
    """
    kind = MEMORIES[memory]
    fits = memory_size % kind.multiple == 0
    check(fits, "memory_size", memory_size, f'must be a multiple of {kind.multiple} for memory="{memory}"')
    module = ActorCritic(spec, memory, memory_size, tuple(encoder_sizes), meta_inputs, window=window)
    return from_module(module, spec, functools.partial(kind.carry, memory_size, window=window))


def actor(spec: Spec, encoder_sizes: Sequence[int]) -> Policy:
    """A Policy without memory or critic: an MLP on the observation, standard deviations of their own."""
    module = ActorCritic(spec, "none", 0, tuple(encoder_sizes), meta_inputs=False, critic=False, own_std=True)
    return from_module(module, spec, functools.partial(MEMORIES["none"].carry, 0))


def from_module(module: nn.Module, spec: Spec, carry: Callable[[tuple[int, ...]], PyTree]) -> Policy:
    """A Policy from any linen module with methods ``step(h, timestep)`` and ``unroll(h, timesteps)``;
    ``carry(batch_shape)`` is its initial memory; ``unroll`` may get None for it."""

    def init(key):
        return module.init(key, carry(()), first_timestep(spec, ()), method="step")["params"]

    def step(params, h, timestep):
        return module.apply({"params": params}, h, timestep, method="step")

    def unroll(params, h, timesteps):
        return module.apply({"params": params}, h, timesteps, method="unroll")

    return Policy(init, carry, step, unroll, actions.for_spec(spec))


def first_timestep(spec: Spec, batch: tuple[int, ...], observation: jax.Array | None = None) -> TimeStep:
    """The start of a trial: no last action or reward, both flags set."""
    discrete = spec.num_actions is not None
    return TimeStep(
        observation=jnp.zeros((*batch, *spec.observation_shape)) if observation is None else observation,
        last_action=jnp.zeros(batch, jnp.int32) if discrete else jnp.zeros((*batch, spec.action_size)),
        last_reward=jnp.zeros(batch),
        episode_start=jnp.ones(batch, bool),
        trial_start=jnp.ones(batch, bool),
    )
