"""Small networks as plain weights, all about one in size: layers divide by the root of their width.

So one learning rate, and one size of perturbation, suits all of them."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from metarl_jax.records import Key, PyTree


def dense_init(key: Key, width: int, size: int, scale: float = 1.0) -> PyTree:
    return {"kernel": scale * jax.random.normal(key, (width, size)), "bias": jnp.zeros(size)}


def dense(layer: PyTree, x: jax.Array) -> jax.Array:
    """``[..., F] -> [..., size]``."""
    bias = layer["bias"]
    return x @ scaled(layer["kernel"]) + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def scaled(kernel: jax.Array) -> jax.Array:
    return kernel / math.sqrt(kernel.shape[0])


def mlp_init(key: Key, widths: Sequence[int], scale: float = 1.0) -> PyTree:
    """Layers from ``widths[0]`` numbers to ``widths[-1]``; ``scale``: of the last one's weights."""
    count = len(widths) - 1
    keys = jax.random.split(key, count)
    scales = [1.0] * (count - 1) + [scale]
    return {f"layer_{i}": dense_init(keys[i], widths[i], widths[i + 1], scales[i]) for i in range(count)}


def mlp_applied(layers: PyTree, x: jax.Array, activation: Callable[[jax.Array], jax.Array] = jnp.tanh) -> jax.Array:
    """``[..., F] -> [..., size]``."""
    for i in range(len(layers)):
        x = dense(layers[f"layer_{i}"], x)
        x = activation(x) if i < len(layers) - 1 else x
    return x
