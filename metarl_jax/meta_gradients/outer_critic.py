"""Values for the outer loss of agents that learn: the baseline of the outer advantages."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.estimators.losses import TINY, squared_error
from metarl_jax.records import Key, PyTree, Trajectory

MEMORY, AVERAGE = 0.99, 0.98  # of the running moments, and of the weights' average


class Critic(NamedTuple):
    """A value function of its own, shared by all tasks and agents.

    Attributes:
      init: ``key -> state``.
      values: ``(state, Trajectory [T, E], time [T, E]) -> (values, values of what followed)``, ``[T, E]``; ``time``:
        steps since the episode began.
      error: ``(state, Trajectory [B, T, E], time, target) -> (error, slope)``, means over all steps, so that those of
        blocks of equal size may be averaged.
      update: ``(state, slope) -> state``.
    """

    init: Callable[[Key], PyTree]
    values: Callable[[PyTree, Trajectory, jax.Array], tuple[jax.Array, jax.Array]]
    error: Callable[[PyTree, Trajectory, jax.Array, jax.Array], tuple[jax.Array, PyTree]]
    update: Callable[[PyTree, PyTree], PyTree]


class CriticState(NamedTuple):
    """A regressed critic's; its network computes ``(V - mean) / deviation``.

    Running moments of the targets free it of the rewards' scale. Before the first update all values are 0.

    Attributes:
      params: the network's.
      average: of the weights of late, whose values vary less with the episodes at hand.
      optimizer: Adam's.
      mean: running mean of the targets.
      square: running mean of their squared distance from it.
      count: updates so far.
    """

    params: PyTree
    average: PyTree
    optimizer: PyTree
    mean: jax.Array
    square: jax.Array
    count: jax.Array


class Slope(NamedTuple):
    """A regressed critic's error, differentiated.

    Attributes:
      params: the gradient.
      mean: of the targets.
      square: their mean squared distance from the running mean.
    """

    params: PyTree
    mean: jax.Array
    square: jax.Array


def fixed_critic(values: Callable[[Trajectory], tuple[jax.Array, jax.Array]]) -> Critic:
    """Values that are known, and never learned.

    Args:
      values: ``Trajectory [T, E] -> (values, values of what followed)``, each ``[T, E]``.

    Returns:
      The Critic.
    """

    def error(state, trajectory, time, target):
        return squared_error(jax.vmap(values)(trajectory)[0], target).mean(), ()

    return Critic(lambda key: (), lambda state, trajectory, time: values(trajectory), error, lambda state, slope: state)


def regressed_critic(
    init: Callable[[Key], PyTree],
    apply: Callable[[PyTree, jax.Array], jax.Array],
    inputs: Callable[[Trajectory, jax.Array], tuple[jax.Array, jax.Array]],
    learning_rate: float,
) -> Critic:
    """A network that is regressed on its targets, one step of Adam for each outer update.

    Args:
      init: ``key -> params`` of the network.
      apply: ``(params, x [..., F]) -> [...]``.
      inputs: ``(Trajectory [..., T, E], time) -> (x of each step, x of what followed it)``, each ``[..., T, E, F]``.
      learning_rate: of Adam, where targets have unit variance.

    Returns:
      The Critic.
    """
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate, eps=1e-5))

    def begin(key):
        params = init(key)
        return CriticState(params, params, optimizer.init(params), *jnp.zeros((3,)))

    def values(state: CriticState, trajectory, time):
        now, following = (state.mean + _deviation(state) * apply(state.average, x) for x in inputs(trajectory, time))
        return now, following

    def error(state: CriticState, trajectory, time, target):
        x, distance = inputs(trajectory, time)[0], target - state.mean
        square = jnp.square(distance).mean()
        # In a unit that targets far outside of what was seen before (the first reward after none) do not overflow.
        scale = jnp.maximum(_deviation(state), 0.1 * jnp.sqrt(square))
        loss = lambda params: squared_error(_deviation(state) / scale * apply(params, x), distance / scale).mean()
        value, gradient = jax.value_and_grad(loss)(state.params)
        return value * scale**2, Slope(gradient, target.mean(), square)

    def update(state: CriticState, slope: Slope):
        updates, moments = optimizer.update(slope.params, state.optimizer, state.params)
        # The first update's mean is its own; there the distance is from 0, so the second one's square is its own.
        mean_rate, square_rate = (jnp.maximum(1.0 - MEMORY, 1.0 / n) for n in (state.count + 1, state.count.clip(1)))
        late = jnp.maximum(1.0 - AVERAGE, 10.0 / (state.count + 10.0))  # first weights are soon forgotten
        mean = state.mean + mean_rate * (slope.mean - state.mean)
        square = state.square + square_rate * (slope.square - state.square)
        params = optax.apply_updates(state.params, updates)
        average = jax.tree.map(lambda old, new: old + late * (new - old), state.average, params)
        new = CriticState(params, average, moments, mean, square, state.count + 1.0)
        # Agents that diverged have no returns to learn from, and must not spoil the critic for all others.
        sound = jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(slope)]).all()
        return jax.tree.map(lambda new, old: jnp.where(sound, new, old), new, state)

    return Critic(begin, values, error, update)


def _deviation(state: CriticState) -> jax.Array:
    return jnp.maximum(jnp.sqrt(state.square), TINY)
