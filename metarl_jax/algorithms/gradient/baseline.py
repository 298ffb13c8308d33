"""Baselines for the advantages of the inner and outer loop: a linear fit to each window, or a meta-learned critic."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax import estimators
from metarl_jax.networks import mlp
from metarl_jax.records import Key, PyTree, TaskDistribution, TimeStep


class Baseline(NamedTuple):
    """Values that returns are compared with.

    Attributes:
      init: ``(key) -> state``.
      values: ``(state, timestep [T, E, ...], returns [T, E]) -> [T, E]``.
      learn: ``(key, state, timestep [K, N, T, E, ...], returns [K, N, T, E]) -> state``, the outer loop's regression.
    """

    init: Callable[[Key], PyTree]
    values: Callable[[PyTree, TimeStep, jax.Array], jax.Array]
    learn: Callable[[Key, PyTree, TimeStep, jax.Array], PyTree]


class CriticState(NamedTuple):
    """A critic whose network's output is ``(V - mean) / scale``, which makes it independent of the rewards' scale.

    Attributes:
      params: of the network.
      optimizer: Adam's state.
      mean: scalar, running mean of the returns; 0 before the first update.
      scale: scalar, running standard deviation of the returns; 0 before the first update.
      count: scalar, updates so far.
    """

    params: optax.Params
    optimizer: optax.OptState
    mean: jax.Array
    scale: jax.Array
    count: jax.Array


def linear() -> Baseline:
    """A baseline that is linear in features of state and time, fitted to each window: it depends on the task.

    The fit is ``estimators.linear_baseline``.

    Returns:
      Baseline without a state.
    """

    def values(state, timestep: TimeStep, returns: jax.Array):
        time = estimators.time_in_episode(timestep.episode_start)
        return estimators.linear_baseline(timestep.observation, time, returns)

    return Baseline(lambda key: (), values, lambda key, state, timestep, returns: state)


def critic(
    tasks: TaskDistribution, encoder: tuple[int, ...], learning_rate: float, num_steps: int, memory: float = 0.9
) -> Baseline:
    """A network of observation and time, regressed on the returns of all windows of an update.

    Of those before and after adaptation; no inner step ever sees its loss. It does not know the task: what it cannot
    explain stays in the advantages, which are standardised a window.

    Args:
      tasks: those of training.
      encoder: layers of the network.
      learning_rate: of its Adam.
      num_steps: of Adam an update.
      memory: of the running moments.

    Returns:
      The Baseline.
    """
    features = math.prod(tasks.env.spec.observation_shape)
    network = mlp(features + 1, encoder, 1)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate, eps=1e-5))

    def init(key):
        params = network.init(key)
        return CriticState(params, optimizer.init(params), jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))

    def seen(timestep: TimeStep) -> jax.Array:
        """``(o, t / horizon) [..., T, E, F + 1]``."""
        start = jnp.moveaxis(timestep.episode_start, -2, 0)
        time = jnp.moveaxis(estimators.time_in_episode(start), 0, -2) / tasks.horizon
        flat = timestep.observation.astype(jnp.float32).reshape(*time.shape, features)
        return jnp.concatenate([flat, time[..., None]], axis=-1)

    def values(state: CriticState, timestep: TimeStep, returns: jax.Array):
        del returns
        return state.mean + state.scale * network.apply(state.params, seen(timestep))[..., 0]

    def loss(params, batch):
        facts, target = batch
        return estimators.squared_error(network.apply(params, facts)[..., 0], target).mean(), {}

    def learn(key, state: CriticState, timestep: TimeStep, returns: jax.Array):
        rate = jnp.maximum(1.0 - memory, 1.0 / (state.count + 1.0))  # the first update's moments are its own
        mean = state.mean + rate * (returns.mean() - state.mean)
        unit = estimators.unit_of(returns)
        spread = unit * (returns / unit).std() + 1e-4 * estimators.root_mean_square(returns)
        scale = state.scale + rate * (spread - state.scale)
        batch = seen(timestep), (returns - mean) / jnp.maximum(scale, estimators.TINY)
        params, moments, _ = estimators.minibatch_epochs(
            key, state.params, state.optimizer, batch, loss, optimizer, num_epochs=num_steps, num_minibatches=1
        )
        return CriticState(params, moments, mean, scale, state.count + 1.0)

    return Baseline(init, values, learn)
