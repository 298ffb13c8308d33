"""Distributions over actions, as records of functions of their parameters ``[..., size]``."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.types import ActionDistribution, Spec


def for_spec(spec: Spec) -> ActionDistribution:
    """Categorical for discrete actions, a clipped diagonal Gaussian for continuous ones."""
    return categorical(spec.num_actions) if spec.num_actions is not None else gaussian(spec)


def categorical(num_actions: int) -> ActionDistribution:
    """Logits ``[..., A]``. Sampled by inverting the cumulative distribution: one uniform an action."""

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


def gaussian(spec: Spec) -> ActionDistribution:
    """Means and log standard deviations ``[..., 2 D]`` in units where the action bounds are -1 and 1.

    The action is not squashed: log-probabilities are those of the raw sample, the environment gets
    ``low + (high - low) (clip(u, -1, 1) + 1) / 2`` through ``to_bounds``.
    """
    size = spec.action_size

    def split(parameters):
        mean, log_std = jnp.split(parameters, 2, axis=-1)
        return mean, jnp.clip(log_std, -5.0, 2.0)

    def sample(parameters, noise):
        mean, log_std = split(parameters)
        return mean + jnp.exp(log_std) * noise

    def log_prob(parameters, action):
        mean, log_std = split(parameters)
        z = (action - mean) * jnp.exp(-log_std)
        return jnp.sum(-0.5 * (z * z + np.log(2 * np.pi)) - log_std, axis=-1)

    def kl(old, new):
        (mean, log_std), (new_mean, new_log_std) = split(old), split(new)
        squares = jnp.exp(2 * log_std) + jnp.square(mean - new_mean)
        return jnp.sum(new_log_std - log_std + 0.5 * (squares * jnp.exp(-2 * new_log_std) - 1.0), axis=-1)

    return ActionDistribution(
        size=2 * size,
        noise=lambda key, shape: jax.random.normal(key, (*shape, size)),
        sample=sample,
        mode=lambda parameters: split(parameters)[0],
        log_prob=log_prob,
        entropy=lambda parameters: jnp.sum(split(parameters)[1] + 0.5 * np.log(2 * np.pi * np.e), axis=-1),
        kl=kl,
    )


def to_bounds(spec: Spec, action: jax.Array) -> jax.Array:
    """What the environment is given: discrete actions as they are, continuous ones clipped and scaled to the bounds."""
    if spec.num_actions is not None:
        return action
    low, high = (jnp.broadcast_to(jnp.asarray(b), action.shape) for b in (spec.action_low, spec.action_high))
    return low + (high - low) * (jnp.clip(action, -1.0, 1.0) + 1.0) / 2.0
