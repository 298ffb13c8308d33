"""Plain function approximators: MLPs, as modules and as pairs of functions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metarl_jax.records import Key, PyTree


class MLP(nn.Module):
    """Layers, then a linear one: ``[..., F] -> [..., size]``."""

    sizes: Sequence[int]
    size: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    layer_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    output_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for i, size in enumerate(self.sizes):
            x = self.activation(nn.Dense(size, kernel_init=self.layer_init, name=f"layer_{i}")(x))
        return nn.Dense(self.size, kernel_init=self.output_init, name="output")(x)


class Network(NamedTuple):
    """A network as two functions.

    Attributes:
      init: ``key -> params``.
      apply: ``(params, x [..., F]) -> [..., size]``.
    """

    init: Callable[[Key], PyTree]
    apply: Callable[[PyTree, jax.Array], jax.Array]


def mlp(
    features: int,
    sizes: Sequence[int],
    size: int,
    head_scale: float = 1.0,
    scaled: Callable[[float], nn.initializers.Initializer] = nn.initializers.orthogonal,
) -> Network:
    """An ``MLP`` of tanh layers.

    Args:
      features: F, numbers of an input.
      sizes: of the hidden layers.
      size: of the output.
      head_scale: of the last layer's weights.
      scaled: how weights are drawn.

    Returns:
      The Network.
    """
    module = MLP(tuple(sizes), size, nn.tanh, scaled(2**0.5), scaled(head_scale))
    init = lambda key: module.init(key, jnp.zeros(features))["params"]
    apply: Any = lambda params, x: module.apply({"params": params}, x)
    return Network(init, apply)
