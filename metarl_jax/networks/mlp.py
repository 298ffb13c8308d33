"""A plain function approximator: an MLP as a pair of functions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.types import Key, PyTree


class MLP(nn.Module):
    """tanh layers, then a linear one whose weights are ``head_scale`` at birth."""

    sizes: Sequence[int]
    size: int
    head_scale: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, size in enumerate(self.sizes):
            x = nn.tanh(nn.Dense(size, kernel_init=nn.initializers.orthogonal(2**0.5), name=f"layer_{i}")(x))
        return nn.Dense(self.size, kernel_init=nn.initializers.orthogonal(self.head_scale), name="output")(x)


class Network(NamedTuple):
    """``init(key) -> params``; ``apply(params, x [..., F]) -> [..., size]``."""

    init: Callable[[Key], PyTree]
    apply: Callable[[PyTree, jax.Array], jax.Array]


def mlp(features: int, sizes: Sequence[int], size: int, head_scale: float = 1.0) -> Network:
    """An ``MLP`` from ``features`` numbers to ``size``."""
    module = MLP(tuple(sizes), size, head_scale)
    init = lambda key: module.init(key, jnp.zeros(features))["params"]
    apply: Any = lambda params, x: module.apply({"params": params}, x)
    return Network(init, apply)
