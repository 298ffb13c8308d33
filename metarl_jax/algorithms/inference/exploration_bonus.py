"""Bonuses for meta-training on what the agent does not know yet: novel beliefs and states, rewards it did not expect.

HyperX (Zintgraf et al. 2021): random network distillation (Burda et al. 2019) on (state, belief), and the model's own
error. Both are in units of their mean in the first update and fall linearly to nothing over training. (Novelty rises
before it falls: beliefs go on changing while the encoder learns.)
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.estimators import TINY
from metarl_jax.networks.mlp import MLP
from metarl_jax.records import PyTree

WIDTH = 64


class Novelty(NamedTuple):
    """Exploration bonuses.

    Attributes:
      init: ``key -> state``.
      update: ``(state, seen [T, N, D], surprise [T, N]) -> (state, bonus [T, N], metrics)``.
    """

    init: Callable
    update: Callable


class NoveltyState(NamedTuple):
    """What lasts from update to update.

    Attributes:
      predictor: parameters of the network that learns.
      optimizer: Adam's state.
      scale: ``[2]``, mean novelty and mean surprise of the first update.
      updates: how many there were.
    """

    predictor: PyTree
    optimizer: PyTree
    scale: jax.Array
    updates: jax.Array


def novelty(size: int, cost: float, surprise_cost: float, num_updates: int, rate: float = 1e-3) -> Novelty:
    """HyperX's bonuses: ``cost * novelty + surprise_cost * surprise``, linearly to 0 over ``num_updates``.

    ``novelty = |f(x) - g(x)|^2`` of a fixed random network f and a network g that learns to predict f.

    Args:
      size: D, numbers of what is new or not.
      cost: of novelty.
      surprise_cost: of surprise.
      num_updates: over which both fall.
      rate: Adam's.

    Returns:
      The Novelty.
    """
    net = MLP((WIDTH, WIDTH), WIDTH)
    target = lambda: net.init(jax.random.key(0x4E), jnp.zeros(size))["params"]  # the same for all: no state of its own
    optimizer = optax.adam(rate, eps=1e-5)

    def init(key):
        predictor = net.init(key, jnp.zeros(size))["params"]
        return NoveltyState(predictor, optimizer.init(predictor), jnp.ones(2), jnp.int32(0))

    def errors(predictor, seen):
        said, right = (net.apply({"params": params}, seen) for params in (predictor, target()))
        return jnp.square(jnp.asarray(said) - jnp.asarray(right)).mean(axis=-1)

    def update(state: NoveltyState, seen: jax.Array, surprise: jax.Array):
        novel = errors(state.predictor, seen)
        fresh = jnp.maximum(jnp.stack([novel.mean(), surprise.mean()]), TINY)
        scale = jnp.where(state.updates == 0, fresh, state.scale)
        share = jnp.clip(1.0 - state.updates / num_updates, 0.0, 1.0)
        bonus = share * (cost * novel / scale[0] + surprise_cost * surprise / scale[1])
        gradient = jax.grad(lambda predictor: errors(predictor, seen).mean())(state.predictor)
        moves, optimizer_state = optimizer.update(gradient, state.optimizer, state.predictor)
        predictor = optax.apply_updates(state.predictor, moves)
        metrics = {"novelty": novel.mean() / scale[0], "bonus": bonus.sum(axis=0).mean()}
        return NoveltyState(predictor, optimizer_state, scale, state.updates + 1), bonus, metrics

    return Novelty(init, update)
