"""Small networks as plain weights, all about one in size: layers divide by the root of their width.

So one learning rate, and one size of perturbation, suits all of them.
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from metarl_jax.records import Key, PyTree


def dense_init(key: Key, width: int, size: int, scale: float = 1.0) -> PyTree:
    """A layer's weights: a normal kernel and a bias of zeros.

    Args:
      key: of the kernel.
      width: inputs.
      size: outputs.
      scale: standard deviation of the kernel, which ``dense`` divides by the root of ``width``.

    Returns:
      ``{"kernel": [width, size], "bias": [size]}``.
    """
    return {"kernel": scale * jax.random.normal(key, (width, size)), "bias": jnp.zeros(size)}


def dense(layer: PyTree, x: jax.Array) -> jax.Array:
    """A layer, its kernel divided by the root of its inputs.

    Args:
      layer: as ``dense_init`` makes it.
      x: ``[..., F]``.

    Returns:
      ``[..., size]``.
    """
    bias = layer["bias"]
    return x @ scaled(layer["kernel"]) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def scaled(kernel: jax.Array) -> jax.Array:
    """A kernel over the root of how many inputs it has.

    Args:
      kernel: ``[F, size]``.

    Returns:
      ``[F, size]``.
    """
    return kernel / math.sqrt(kernel.shape[0])


def mlp_init(key: Key, widths: Sequence[int], scale: float = 1.0) -> PyTree:
    """Weights of layers from ``widths[0]`` numbers to ``widths[-1]``.

    Args:
      key: of the kernels.
      widths: of inputs, hidden layers and outputs.
      scale: of the last layer's kernel.

    Returns:
      ``{"layer_0": ..., ...}``.
    """
    count = len(widths) - 1
    keys = jax.random.split(key, count)
    scales = [1.0] * (count - 1) + [scale]
    return {f"layer_{i}": dense_init(keys[i], widths[i], widths[i + 1], scales[i]) for i in range(count)}


def mlp_applied(layers: PyTree, x: jax.Array, activation: Callable[[jax.Array], jax.Array] = jnp.tanh) -> jax.Array:
    """Layers with an activation between them.

    Args:
      layers: as ``mlp_init`` makes them.
      x: ``[..., F]``.
      activation: of all but the last.

    Returns:
      ``[..., size]``.
    """
    for i in range(len(layers)):
        x = dense(layers[f"layer_{i}"], x)
        x = activation(x) if i < len(layers) - 1 else x
    return x
