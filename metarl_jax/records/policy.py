"""What an algorithm knows of a network."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from metarl_jax.records.environment import Key, PyTree, TimeStep


class ActionDistribution(NamedTuple):
    """A family of distributions over actions; parameters are the last axis, ``[..., size]``.

    Attributes:
      size: how many parameters there are.
      noise: ``(key, shape) -> noise``, drawn in bulk; ``sample`` consumes it.
      sample: ``(parameters, noise) -> action``.
      mode: ``parameters -> action``.
      log_prob: ``(parameters, action) -> [...]``.
      entropy: ``parameters -> [...]``.
      kl: ``(p, q) -> [...]``, KL(p || q) of two parameters.
      bounded: ``action -> action``, what the environment gets of a sample (before ``to_bounds``).
    """

    size: int
    noise: Callable[[Key, tuple[int, ...]], jax.Array]
    sample: Callable[[jax.Array, jax.Array], jax.Array]
    mode: Callable[[jax.Array], jax.Array]
    log_prob: Callable[[jax.Array, jax.Array], jax.Array]
    entropy: Callable[[jax.Array], jax.Array]
    kl: Callable[[jax.Array, jax.Array], jax.Array]
    bounded: Callable[[jax.Array], jax.Array] = lambda action: action


class Policy(NamedTuple):
    """All that an algorithm knows of a network.

    ``unroll`` equals ``step`` scanned, up to rounding.

    Attributes:
      init: ``key -> params``.
      carry: ``batch_shape -> memory``, that of a trial's start.
      step: ``(params, memory, timestep [...]) -> (memory, (action parameters [..., P], value [...]))``.
      unroll: ``(params, memory, timesteps [T, ...]) -> (action parameters [T, ..., P], values [T, ...])``; with None
        for its memory it starts from ``carry``'s.
      actions: the distribution that the action parameters are of.
    """

    init: Callable[[Key], PyTree]
    carry: Callable[[tuple[int, ...]], PyTree]
    step: Callable[[PyTree, PyTree, TimeStep], tuple[PyTree, PyTree]]
    unroll: Callable[[PyTree, PyTree, TimeStep], PyTree]
    actions: ActionDistribution
