"""The one adapter that turns a flax.linen module into a Policy."""

import functools
import itertools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import scipy.linalg

from metarl_jax.networks import actions
from metarl_jax.networks.convolution import check_filters, patches
from metarl_jax.networks.memories import MEMORIES, initial_memory
from metarl_jax.networks.mlp import Network
from metarl_jax.records import Policy, PyTree, Spec, TimeStep, Trajectory


class Trunk(nn.Module):
    """Encoder (MLP) -> memory -> ``heads``, which a subclass brings.

    Its inputs are the observation, or with ``meta_inputs`` ``(o_t, a_{t-1}, r_{t-1}, episode start)`` as in RL^2
    (Duan et al. 2016, Wang et al. 2016).

    Attributes:
      spec: shapes of observations and actions.
      memory: a name of ``MEMORIES``.
      memory_size: H, units of the memory.
      encoder_sizes: widths of the encoder's tanh layers.
      meta_inputs: see above.
      window: steps that a transformer attends to; other memories have none.
    """

    spec: Spec
    memory: str
    memory_size: int
    encoder_sizes: Sequence[int]
    meta_inputs: bool
    window: int

    def setup(self):
        wide = self.weights(2**0.5)
        self.encoder = [nn.Dense(n, kernel_init=wide, name=f"encoder_{i}") for i, n in enumerate(self.encoder_sizes)]
        self.core = MEMORIES[self.memory].module(self.memory_size, self.window)

    def weights(self, scale: float) -> nn.initializers.Initializer:
        return nn.initializers.orthogonal(scale)

    def step(self, h, timestep: TimeStep):
        h, x = self.core.step(h, self.encode(timestep), timestep.trial_start)
        return h, self.heads(x)

    def unroll(self, h, timesteps: TimeStep):
        return self.heads(self.core.unroll(h, self.encode(timesteps), timesteps.trial_start))

    def encode(self, timestep: TimeStep) -> jax.Array:
        """What the memory is fed.

        Args:
          timestep: leaves ``[..., ...]`` with common leading axes.

        Returns:
          ``[..., F]``, the encoder's last layer, or its inputs where it has no layers.
        """
        x = self.seen(timestep)
        for layer in self.encoder:
            x = jnp.tanh(layer(x))
        return x

    def seen(self, timestep: TimeStep) -> jax.Array:
        return inputs(self.spec, timestep, self.meta_inputs)

    def heads(self, x: jax.Array) -> PyTree:
        raise NotImplementedError


class ActorCritic(Trunk):
    """A ``Trunk`` with linear heads for the action parameters and the value.

    Without ``critic`` there is no value head and values are 0. With ``own_std`` the standard deviations of continuous
    actions are parameters of their own, the same in every state. ``context [context_size]`` is a parameter that the
    encoder sees beside its inputs, zeros at first. ``scaled``: how weights are drawn. With ``filters`` the observation
    passes through 3 x 3 convolutions of as many channels first, without padding, each with a relu.
    """

    critic: bool = True
    own_std: bool = False
    context_size: int = 0
    scaled: Callable[[float], nn.initializers.Initializer] = nn.initializers.orthogonal
    filters: Sequence[int] = ()

    def weights(self, scale: float) -> nn.initializers.Initializer:
        return self.scaled(scale)

    def setup(self):
        super().setup()
        self.convolutions = [
            nn.Dense(n, kernel_init=self.weights(2**0.5), name=f"convolution_{i}") for i, n in enumerate(self.filters)
        ]
        if self.context_size:
            self.context = self.param("context", nn.initializers.zeros, (self.context_size,))
        size = actions.for_spec(self.spec).size
        self.apart = self.own_std and self.spec.num_actions is None
        if self.apart:
            size = self.spec.action_size
            self.log_std = self.param("log_std", nn.initializers.zeros, (size,))
        self.policy_head = nn.Dense(size, kernel_init=self.weights(0.01), name="policy_head")
        if self.critic:
            self.value_head = nn.Dense(1, kernel_init=self.weights(1.0), name="value_head")

    def seen(self, timestep: TimeStep) -> jax.Array:
        image = timestep.observation
        for layer in self.convolutions:
            image = nn.relu(layer(patches(image)))
        x = super().seen(timestep._replace(observation=image))
        if not self.context_size:
            return x
        context = self.context.reshape((1,) * (x.ndim - 1) + (-1,))
        return jnp.concatenate([x, jnp.broadcast_to(context, (*x.shape[:-1], self.context_size))], axis=-1)

    def heads(self, x: jax.Array):
        parameters = self.policy_head(x)
        if self.apart:
            log_std = self.log_std.reshape((1,) * (x.ndim - 1) + (-1,))
            parameters = jnp.concatenate([parameters, jnp.broadcast_to(log_std, parameters.shape)], axis=-1)
        return parameters, self.value_head(x)[..., 0] if self.critic else jnp.zeros(x.shape[:-1])


def inputs(spec: Spec, timestep: TimeStep, meta_inputs: bool) -> jax.Array:
    """What the encoder sees, as a vector.

    Args:
      spec: of the environment.
      timestep: ``[...]``.
      meta_inputs: with the last action, reward and episode start besides the observation.

    Returns:
      ``[..., F]``.
    """
    x = flat(timestep.observation, timestep.last_reward.shape)
    if not meta_inputs:
        return x
    # No action came before the first step of a trial: all zeros.
    discrete = spec.num_actions is not None
    taken = jnp.where(timestep.trial_start, -1, timestep.last_action) if discrete else timestep.last_action
    flags = jnp.stack([timestep.last_reward, timestep.episode_start.astype(jnp.float32)], axis=-1)
    return jnp.concatenate([x, as_vector(spec, taken), flags], axis=-1)


def flat(observation: jax.Array, batch: tuple[int, ...]) -> jax.Array:
    """Observations as float vectors.

    Args:
      observation: ``[*batch, ...]``.
      batch: leading axes.

    Returns:
      ``[*batch, F]``.
    """
    return observation.astype(jnp.float32).reshape(*batch, -1)


def num_inputs(spec: Spec) -> int:
    """How long ``step_inputs`` are.

    Args:
      spec: of the environment.

    Returns:
      F.
    """
    return math.prod(spec.observation_shape) + (spec.num_actions or spec.action_size)


def step_inputs(spec: Spec, trajectory: Trajectory) -> jax.Array:
    """The observation and action of each step, as vectors.

    Args:
      spec: of the environment.
      trajectory: ``[T, ...]``.

    Returns:
      ``[T, ..., F]``.
    """
    seen = flat(trajectory.timestep.observation, trajectory.reward.shape)
    return jnp.concatenate([seen, as_vector(spec, trajectory.action).astype(seen.dtype)], axis=-1)


def as_vector(spec: Spec, action: jax.Array) -> jax.Array:
    """Actions as float vectors, discrete ones one-hot (zeros for -1).

    Args:
      spec: of the environment.
      action: ``[...]`` int32, or ``[..., D]``.

    Returns:
      ``[..., A]``.
    """
    return action if spec.num_actions is None else jax.nn.one_hot(action, spec.num_actions)


def variance_scaled_init(scale: float) -> nn.initializers.Initializer:
    """Normal weights as large as orthogonal ones of that scale.

    For agents that are made inside a ``vmap``: on CPU a batched QR decomposition may wait for XLA's own threads for
    ever.

    Args:
      scale: of the orthogonal weights.

    Returns:
      flax's initializer.
    """

    def init(key, shape, dtype=jnp.float32):
        return scale / max(shape) ** 0.5 * jax.random.normal(key, shape, dtype)

    return init


def actor_critic(
    spec: Spec,
    memory: str,
    memory_size: int,
    encoder_sizes: Sequence[int],
    meta_inputs: bool,
    window: int = 0,
    bounding: actions.Bounding = "clip",
    scaled: Callable[[float], nn.initializers.Initializer] = nn.initializers.orthogonal,
    filters: Sequence[int] = (),
) -> Policy:
    """A Policy of ``ActorCritic``: with or without memory, one set of heads.

    Args:
      spec: of the environment.
      memory: a name of ``MEMORIES``.
      memory_size: its units.
      encoder_sizes: tanh layers before the memory.
      meta_inputs: the encoder sees the last action, reward and episode start, too.
      window: steps that a transformer attends to.
      bounding: see ``actions.for_spec``.
      scaled: how weights are drawn, see ``variance_scaled_init``.
      filters: see ``ActorCritic``.

    Returns:
      The Policy.

    Raises:
      ConfigError: the size does not fit the memory's kind, the bounding the actions, or the filters the observation.
    """
    check_filters(filters, spec.observation_shape)
    sizes = tuple(encoder_sizes)
    module = ActorCritic(spec, memory, memory_size, sizes, meta_inputs, window, scaled=scaled, filters=tuple(filters))
    return from_module(module, spec, initial_memory(memory, memory_size, window), bounding)


def actor(
    spec: Spec,
    encoder_sizes: Sequence[int],
    context_size: int = 0,
    bounding: actions.Bounding = "clip",
    own_std: bool = True,
    scaled: Callable[[float], nn.initializers.Initializer] = nn.initializers.orthogonal,
) -> Policy:
    """A Policy without memory or critic: an MLP on observation and context.

    Args:
      spec: of the environment.
      encoder_sizes: its tanh layers.
      context_size: numbers beside the observation, which are parameters.
      bounding: see ``actions.for_spec``.
      own_std: see ``ActorCritic``.
      scaled: how weights are drawn, see ``variance_scaled_init``.

    Returns:
      The Policy.
    """
    sizes = tuple(encoder_sizes)
    module = ActorCritic(
        spec, "none", 0, sizes, False, 0, critic=False, own_std=own_std, context_size=context_size, scaled=scaled
    )
    return from_module(module, spec, functools.partial(MEMORIES["none"].carry, 0, window=0), bounding)


def with_scaled_init(actor: Policy, spec: Spec, size: int, spread: float) -> Policy:
    """``actor``, an MLP, initialised to behave otherwise for other ``n``, the last numbers of what it sees.

    At zero ``d action parameters / d n`` is ``spread`` times a matrix of orthonormal rows or columns (as there are more
    numbers or more actions; of logits, less their mean), so that numbers all around lead all around, whatever the key.
    Layers narrower than ``n`` let less of it through. Standard deviations stay as they were.

    Args:
      actor: a policy without memory.
      spec: of the environment.
      size: how many numbers ``n`` has.
      spread: see above.

    Returns:
      The Policy with another ``init``.
    """
    behaviours = spec.num_actions or spec.action_size

    def init(key):
        keys = jax.random.split(key)
        params = dict(actor.init(keys[0]))
        slope = jnp.eye(size)  # of what the last layer sees, by n
        for i in itertools.takewhile(lambda i: f"encoder_{i}" in params, itertools.count()):
            slope = slope @ params[f"encoder_{i}"]["kernel"][0 if i else -size :]
        kernel = params["policy_head"]["kernel"]
        slope = jnp.pad(slope, ((0, 0), (len(kernel) - slope.shape[1], 0)))  # without layers it sees more than n
        orthonormal = nn.initializers.orthogonal(spread)
        if spec.num_actions is None:
            wanted = orthonormal(keys[1], (size, behaviours))
        else:  # the mean of logits changes nothing
            wanted = orthonormal(keys[1], (size, behaviours - 1)) @ jnp.asarray(scipy.linalg.helmert(behaviours), float)
        kernel = kernel.at[:, :behaviours].add(jnp.linalg.pinv(slope) @ wanted)
        return params | {"policy_head": params["policy_head"] | {"kernel": kernel}}

    return actor._replace(init=init)


def held(observation: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Splits observations that end in held noise.

    Args:
      observation: ``[..., F + size]``.
      size: numbers of noise.

    Returns:
      ``(o [..., F], noise [..., size])``.
    """
    plain = observation.shape[-1] - size
    return observation[..., :plain], observation[..., plain:]


def asymmetric_critic(actor: Policy, critic: Network, size: int) -> tuple[Policy, Policy]:
    """A Policy that acts, and the one that learns beside a critic that sees more.

    Pinto et al. 2018, asymmetric actor-critic. A baseline may know all but the action: advantages stay unbiased.
    Parameters ``{"policy", "critic"}`` are shared.

    Args:
      actor: acts on observations of ``size`` numbers.
      critic: of observations ``(o [size], whatever only the critic sees)``.
      size: see above.

    Returns:
      The acting Policy, and the learning one.
    """

    def init(key):
        keys = jax.random.split(key)
        return {"policy": actor.init(keys[0]), "critic": critic.init(keys[1])}

    def unroll(params, h, timesteps):
        seen = timesteps._replace(observation=timesteps.observation[..., :size])
        return actor.unroll(params["policy"], h, seen)[0], critic.apply(params["critic"], timesteps.observation)[..., 0]

    acting = actor._replace(
        init=init,
        step=lambda params, h, timestep: actor.step(params["policy"], h, timestep),
        unroll=lambda params, h, timesteps: actor.unroll(params["policy"], h, timesteps),
    )
    return acting, acting._replace(unroll=unroll)


def from_module(
    module: nn.Module, spec: Spec, carry: Callable[[tuple[int, ...]], PyTree], bounding: actions.Bounding = "clip"
) -> Policy:
    """A Policy from a linen module.

    Args:
      module: has methods ``step(h, timestep)`` and ``unroll(h, timesteps)``, which may get None for ``h``.
      spec: of the environment.
      carry: ``batch_shape -> h``, its initial memory.
      bounding: see ``actions.for_spec``.

    Returns:
      The Policy.
    """

    def init(key):
        return module.init(key, carry(()), first_timestep(spec, ()), method="step")["params"]

    def step(params, h, timestep):
        return module.apply({"params": params}, h, timestep, method="step")

    def unroll(params, h, timesteps):
        return module.apply({"params": params}, h, timesteps, method="unroll")

    return Policy(init, carry, step, unroll, actions.for_spec(spec, bounding))


def first_timestep(spec: Spec, batch: tuple[int, ...], observation: jax.Array | None = None) -> TimeStep:
    """The start of a trial: no last action or reward, both flags set.

    Args:
      spec: of the environment.
      batch: leading axes.
      observation: ``[*batch, *observation_shape]`` (zeros).

    Returns:
      The TimeStep.
    """
    discrete = spec.num_actions is not None
    return TimeStep(
        observation=jnp.zeros((*batch, *spec.observation_shape)) if observation is None else observation,
        last_action=jnp.zeros(batch, jnp.int32) if discrete else jnp.zeros((*batch, spec.action_size)),
        last_reward=jnp.zeros(batch),
        episode_start=jnp.ones(batch, bool),
        trial_start=jnp.ones(batch, bool),
    )
