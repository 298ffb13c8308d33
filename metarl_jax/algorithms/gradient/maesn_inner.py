"""An agent that acts on latents, and the inner step that adapts them (Gupta et al. 2018, MAESN).

The policy acts on ``(o, z)`` with ``z = mean + exp(log_std) e``; the environment draws ``e`` and appends it to the
observation (``SweptLatentWrapper``). Axis letters: ``[Z]`` latents, ``[T]`` steps, ``[E]`` episodes of a window.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metarl_jax import estimators
from metarl_jax.networks import actor, held, with_scaled_init
from metarl_jax.records import Policy, PyTree, Spec, TimeStep, Trajectory
from metarl_jax.rollout import replay

LOG_STD = (-3.0, 0.0)  # where latents' log standard deviations are kept
CORRECTIONS = 2  # natural gradient steps of an inner step


class Latent(NamedTuple):
    """A diagonal Gaussian over latents.

    Attributes:
      mean: ``[..., Z]``.
      log_std: ``[..., Z]``.
    """

    mean: jax.Array
    log_std: jax.Array


class Agent(NamedTuple):
    """An agent in one task.

    Attributes:
      params: of the policy.
      latent: that it acts on.
    """

    params: PyTree
    latent: Latent


def standard_normal(size: int) -> Latent:
    """The Gaussian at which a trial starts: mean 0, standard deviation 1.

    Args:
      size: ``Z``.

    Returns:
      Latent ``[Z]``.
    """
    return Latent(jnp.zeros(size), jnp.zeros(size))


def latent_actor(spec: Spec, size: int, encoder: tuple[int, ...], spread: float) -> Policy:
    """A Policy of ``Agent``s on the observations of ``SweptLatentWrapper``: an MLP on ``(o, z)``, no memory, no critic.

    ``init`` makes the network's parameters alone. At initialization different latents lead to different actions
    (``with_scaled_init``); other actors are indifferent then. Continuous actions vary little from step to step at
    first (a standard deviation of about ``exp(-0.7)``), since the latents explore.

    Args:
      spec: of the environment without latents.
      size: ``Z``.
      encoder: sizes of the hidden layers.
      spread: how far a unit of a latent moves the action parameters at initialization.

    Returns:
      The Policy.
    """
    features = int(np.prod(spec.observation_shape)) + size
    base = actor(spec._replace(observation_shape=(features,)), encoder, own_std=False)
    leading = with_scaled_init(base, spec, size, spread)

    def init(key):
        params = leading.init(key)
        if spec.num_actions is not None:
            return params
        bias = params["policy_head"]["bias"].at[spec.action_size :].set(-0.7)
        return params | {"policy_head": params["policy_head"] | {"bias": bias}}

    def seen(agent: Agent, timestep: TimeStep) -> TimeStep:
        plain, noise = held(timestep.observation, size)
        mean, log_std = (x.reshape((1,) * (noise.ndim - 1) + (-1,)) for x in agent.latent)
        return timestep._replace(observation=jnp.concatenate([plain, mean + jnp.exp(log_std) * noise], axis=-1))

    step: Any = lambda agent, memory, timestep: base.step(agent.params, memory, seen(agent, timestep))
    unroll: Any = lambda agent, memory, timesteps: base.unroll(agent.params, memory, seen(agent, timesteps))
    return base._replace(init=init, step=step, unroll=unroll)


class Step(NamedTuple):
    """The inner step's meta-learned parameters, see ``learn``.

    Attributes:
      actions: ``[Z, Z]``, A.
      draws: ``[Z, Z]``, D.
      log_widths: ``[Z]``, u.
      narrowing: scalar.
      log_scale: scalar, logarithm of C.
    """

    actions: jax.Array
    draws: jax.Array
    log_widths: jax.Array
    narrowing: jax.Array
    log_scale: jax.Array


class Meta(NamedTuple):
    """The meta-parameters.

    Attributes:
      params: of the policy.
      step: of the inner step.
      proposal: of ``q(z | task)``, used in meta-training alone.
    """

    params: optax.Params
    step: Step
    proposal: optax.Params


class Window(NamedTuple):
    """The data of one inner step: episodes of one agent.

    Attributes:
      timestep: ``[T, E, ...]``.
      action: ``[T, E, ...]``.
      log_prob: ``[T, E]``, of the actions under the policy that collected them.
      reward: ``[T, E]``.
      ended: ``[T, E]`` bool, whether the step was its episode's last.
    """

    timestep: TimeStep
    action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    ended: jax.Array


def first_step(latents: int) -> Step:
    """The inner step's initial parameters: it moves towards latents of high return and narrows there.

    Args:
      latents: ``Z``.

    Returns:
      Step.
    """
    number = lambda x: jnp.asarray(x, jnp.float32)
    return Step(jnp.eye(latents), jnp.eye(latents), jnp.zeros(latents), number(1.5), number(np.log(0.1)))


def window(policy: Policy, baseline: tuple, trajectory: Trajectory) -> Window:
    """The window of a trajectory; the inner step needs no baseline.

    Args:
      policy: of the agent.
      baseline: not used.
      trajectory: ``[T, E]``.

    Returns:
      Window ``[T, E]``.
    """
    del baseline  # the inner step knows what paid without one
    log_prob = policy.actions.log_prob(trajectory.outputs[0], trajectory.action)
    return Window(
        trajectory.timestep,
        trajectory.action,
        log_prob,
        trajectory.reward,
        trajectory.terminated | trajectory.truncated,
    )


def returns_of(seen: Window, discount: float) -> jax.Array:
    """Returns from each step to its episode's end.

    Args:
      seen: the window.
      discount: gamma, per step.

    Returns:
      ``[T, E]``.
    """
    return estimators.discounted_sums(seen.reward, discount * (1.0 - seen.ended.astype(seen.reward.dtype)))


def _credits(seen: Window, discount: float, log_scale: jax.Array) -> jax.Array:
    """Credit of each step, ``[T, E]`` with sum 1: ``w_t = c_t / sum c``, ``c_t = (G_t - G)+ / ((G_t - G)+ + C)``.

    ``G_t`` is the return from the step to the episode's end, ``G`` its mean over the window; the larger ``C``, the more
    sharply ``c`` separates high returns from medium ones. 0 everywhere where all returns are equal.
    """
    returns = returns_of(seen, discount)
    above = jax.nn.relu(returns - returns.mean())
    credit = above / (above + jnp.exp(log_scale))
    return credit / (credit.sum() + 1e-3)


def learn(policy: Policy, discount: float, meta: Meta, agent: Agent, seen: Window, scale: float | jax.Array) -> Agent:
    """An inner step: the latents' Gaussian moves towards those of high return in a window's episodes.

    With ``_credits`` ``w`` of the steps taken at ``z = mean + std e``:

    - ``s = sum w (z - mean)`` and ``v = sum w (e^2 - 1) / 2 - narrowing sum w``: the natural gradient of the weighted
      ``log N(z; mean, std)``, the latent as an action, with a learned preference for narrowing where returns are high:
      ``mean' = mean + s D`` and ``log std' = log std + exp(u) v``.
    - Then, ``CORRECTIONS`` times, ``mean' = mean' + d A`` with ``d`` the natural gradient of
      ``sum w log pi(a | o, z = mean')``: latents that make the credited actions likelier.

    ``A, D [Z, Z]``, ``u [Z]``, ``narrowing`` and ``C`` are meta-learned (matrices as in Park and Oliva 2019, where the
    paper learns one step size per latent). Policy parameters do not adapt.

    Args:
      policy: of the agent.
      discount: gamma of the returns, per step.
      meta: meta-parameters.
      agent: that collected the window.
      seen: the window.
      scale: of the step.

    Returns:
      The adapted agent.
    """
    (mean, log_std), step = agent.latent, meta.step
    plain, noise = held(seen.timestep.observation, mean.size)
    still = seen.timestep._replace(observation=jnp.concatenate([plain, jnp.zeros_like(noise)], axis=-1))
    weight = _credits(seen, discount, step.log_scale)
    moved = mean + scale * (jnp.exp(log_std) * jnp.einsum("te,tez->z", weight, noise)) @ step.draws
    wider = jnp.einsum("te,tez->z", weight, 0.5 * (jnp.square(noise) - 1.0)) - step.narrowing * weight.sum()
    told = lambda mean: replay(policy, Agent(agent.params, Latent(mean, log_std)), still)[0]
    for _ in range(CORRECTIONS):
        moved = moved + scale * _natural_gradient(policy, told, moved, weight, seen.action) @ step.actions
    return Agent(agent.params, Latent(moved, jnp.clip(log_std + scale * jnp.exp(step.log_widths) * wider, *LOG_STD)))


def _natural_gradient(policy: Policy, told: Any, mean: jax.Array, weight: jax.Array, action: jax.Array) -> jax.Array:
    """``d / sqrt(1 + |d|^2)``, ``d = (F + I)^-1 g``, where ``told(mean)`` gives the action parameters.

    ``g`` is the gradient by ``mean`` of ``sum weight log pi(action)``, ``F`` the weighted Fisher information of
    ``mean``, ``g [Z]`` and ``F [Z, Z]``. Outer gradients pass through ``g`` alone, not the metric.
    """
    gradient = jax.grad(lambda mean: (weight * policy.actions.log_prob(told(mean), action)).sum())(mean)
    parameters, push = jax.linearize(told, jax.lax.stop_gradient(mean))
    parameters = jax.lax.stop_gradient(parameters)
    slope = jax.grad(lambda new: (weight * policy.actions.kl(parameters, new)).sum())
    pushed = jax.vmap(push)(jnp.eye(mean.size))
    curved = jax.vmap(lambda tangent: jax.jvp(slope, (parameters,), (tangent,))[1])(pushed)
    fisher = jnp.einsum("itep,jtep->ij", pushed, curved)
    metric = jax.lax.stop_gradient(fisher) + jnp.eye(mean.size)
    direction = estimators.solve_positive(metric, gradient)
    return direction * jax.lax.rsqrt(1.0 + jnp.square(direction).sum())
