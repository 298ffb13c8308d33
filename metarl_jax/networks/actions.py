"""Distributions over actions, as records of functions of their parameters ``[..., size]``."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import check
from metarl_jax.records import ActionDistribution, Spec

Bounding = Literal["clip", "mean", "tanh"]
MOST_LOG_STD = 2.0  # of continuous actions, in units where their bounds are -1 and 1


def for_spec(spec: Spec, bounding: Bounding = "clip") -> ActionDistribution:
    """The distribution of a policy's actions.

    Categorical for discrete actions; for continuous ones a diagonal Gaussian: clipped, clipped with its mean kept
    within the bounds by tanh, or squashed by tanh.

    Args:
      spec: of the environment.
      bounding: ``clip``, ``mean`` or ``tanh``, as above.

    Returns:
      The ActionDistribution.

    Raises:
      ConfigError: a bounding of discrete actions.
    """
    if spec.num_actions is not None:
        check(bounding == "clip", "bounding", bounding, "actions are discrete: leave it at 'clip'")
        return categorical(spec.num_actions)
    return _squashed(spec) if bounding == "tanh" else gaussian(spec, bounded_mean=bounding == "mean")


def categorical(num_actions: int) -> ActionDistribution:
    """Logits ``[..., A]``. Sampled by inverting the cumulative distribution: one uniform an action.

    Args:
      num_actions: A.

    Returns:
      The ActionDistribution.
    """

    def sample(logits, noise):
        cumulative = jnp.cumsum(jax.nn.softmax(logits), axis=-1)[..., :-1]
        return jnp.sum(noise[..., None] >= cumulative, axis=-1, dtype=jnp.int32)

    def log_prob(logits, action):
        # A compare and a sum instead of a gather: its gradient is no scatter.
        chosen = action[..., None] == jnp.arange(num_actions).reshape((1,) * action.ndim + (-1,))
        return jnp.sum(jnp.where(chosen, jax.nn.log_softmax(logits), 0.0), axis=-1)

    def entropy(logits):
        log_probs = jax.nn.log_softmax(logits)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)

    def kl(old, new):
        log_old = jax.nn.log_softmax(old)
        return jnp.sum(jnp.exp(log_old) * (log_old - jax.nn.log_softmax(new)), axis=-1)

    return ActionDistribution(
        size=num_actions,
        noise=jax.random.uniform,
        sample=sample,
        mode=lambda logits: jnp.argmax(logits, axis=-1).astype(jnp.int32),
        log_prob=log_prob,
        entropy=entropy,
        kl=kl,
    )


def normal_log_prob(mean: jax.Array, log_std: jax.Array, x: jax.Array) -> jax.Array:
    """``log N(x; mean, std)`` of diagonal Gaussians.

    Args:
      mean: ``[..., D]``.
      log_std: ``[..., D]``.
      x: ``[..., D]``.

    Returns:
      ``[...]``.
    """
    z = (x - mean) * jnp.exp(-log_std)
    return jnp.sum(-0.5 * (z * z + np.log(2 * np.pi)) - log_std, axis=-1)


def normal_divergence(mean: jax.Array, log_std: jax.Array, new_mean: jax.Array, new_log_std: jax.Array) -> jax.Array:
    """``KL(p || q)`` of diagonal Gaussians, ``q`` the new one.

    ``sum log s_q / s_p + (s_p^2 + (m_p - m_q)^2) / (2 s_q^2) - 1 / 2``.

    Args:
      mean: ``[..., D]``, of p.
      log_std: ``[..., D]``, of p.
      new_mean: ``[..., D]``, of q.
      new_log_std: ``[..., D]``, of q.

    Returns:
      ``[...]``.
    """
    squares = jnp.exp(2 * log_std) + jnp.square(mean - new_mean)
    return jnp.sum(new_log_std - log_std + 0.5 * (squares * jnp.exp(-2 * new_log_std) - 1.0), axis=-1)


def gaussian(spec: Spec, bounded_mean: bool = False) -> ActionDistribution:
    """Means and log standard deviations ``[..., 2 D]`` in units where the action bounds are -1 and 1.

    The action is not squashed: log-probabilities are those of the raw sample, the environment gets
    ``low + (high - low) (clip(u, -1, 1) + 1) / 2`` through ``to_bounds``. A clipped mean can run away to where no
    sample is left inside the bounds, and nothing calls it back; with ``bounded_mean`` it is the tanh of the parameters.

    Args:
      spec: how many actions there are.
      bounded_mean: see above.

    Returns:
      The ActionDistribution.
    """
    size = spec.action_size

    def split(parameters):
        mean, log_std = jnp.split(parameters, 2, axis=-1)
        return jnp.tanh(mean) if bounded_mean else mean, jnp.clip(log_std, -5.0, MOST_LOG_STD)

    def sample(parameters, noise):
        mean, log_std = split(parameters)
        return mean + jnp.exp(log_std) * noise

    return ActionDistribution(
        size=2 * size,
        noise=lambda key, shape: jax.random.normal(key, (*shape, size)),
        sample=sample,
        mode=lambda parameters: split(parameters)[0],
        log_prob=lambda parameters, action: normal_log_prob(*split(parameters), action),
        entropy=lambda parameters: jnp.sum(split(parameters)[1] + 0.5 * np.log(2 * np.pi * np.e), axis=-1),
        kl=lambda old, new: normal_divergence(*split(old), *split(new)),
    )


def _squashed(spec: Spec, nodes: int = 32) -> ActionDistribution:
    """``tanh(u)`` of a Gaussian ``u`` (SAC, Haarnoja et al. 2018): means and log standard deviations of ``u``.

    A sample is ``u`` itself, so that nothing inverts a tanh; ``log_prob`` is the density of ``tanh(u)`` in (-1, 1)^D:
    ``log N(u) - sum log(1 - tanh(u)^2)``. Its second term is the same whatever the parameters, so ratios, gradients
    and KL divergences are the Gaussian's. The entropy is the Gaussian's and the mean of that term, by Gauss-Hermite
    quadrature with ``nodes`` points.
    """
    raw = gaussian(spec)
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    points, weights = jnp.asarray(points, jnp.float32), jnp.asarray(weights / weights.sum(), jnp.float32)

    def log_slope(u):
        """``log(1 - tanh(u)^2)``, without cancellation."""
        return 2.0 * (np.log(2.0) - u - jax.nn.softplus(-2.0 * u))

    def log_prob(parameters, action):
        return raw.log_prob(parameters, action) - jnp.sum(log_slope(action), axis=-1)

    def entropy(parameters):
        noise = jnp.broadcast_to(
            points.reshape(-1, *(1,) * parameters.ndim), (nodes, *parameters.shape[:-1], spec.action_size)
        )
        u = raw.sample(jnp.broadcast_to(parameters, (nodes, *parameters.shape)), noise)
        return raw.entropy(parameters) + jnp.tensordot(weights, jnp.sum(log_slope(u), axis=-1), axes=1)

    return raw._replace(log_prob=log_prob, entropy=entropy, bounded=jnp.tanh)


def to_bounds(spec: Spec, action: jax.Array) -> jax.Array:
    """What the environment is given: discrete actions as they are, continuous ones clipped and scaled to the bounds.

    Args:
      spec: the bounds.
      action: ``[...]`` int32, or ``[..., D]`` in units where the bounds are -1 and 1.

    Returns:
      Like ``action``.
    """
    if spec.num_actions is not None:
        return action
    low, high = (jnp.broadcast_to(jnp.asarray(b), action.shape) for b in (spec.action_low, spec.action_high))
    return low + (high - low) * (jnp.clip(action, -1.0, 1.0) + 1.0) / 2.0
