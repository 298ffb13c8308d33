"""An optimiser that is learned: a small network turns what is known of a parameter into its next step.

After OPEN (Goldie et al. 2024) and Optim4RL (Lan et al. 2024). Axis letters: ``[P]`` parameters of all leaves, ``[F]``
features.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from metarl_jax.records import Key, PyTree

MOMENTA, SQUARES = (0.5, 0.9, 0.99), 0.99  # decays of the gradient's means, and of its square's
BASE = 1  # which of the momenta steps follow where nothing is learned
FEATURES = len(MOMENTA) + 8
LARGEST, HUGE = 5.0, 1e15  # of a feature; of a gradient, whose square must be finite


class LearnedState(NamedTuple):
    """What a learned optimiser remembers.

    Attributes:
      count: updates so far.
      momenta: ``[M, P]``, running means of the gradient at M scales, to be corrected for their start.
      squares: ``[P]``, of its square, likewise.
    """

    count: jax.Array
    momenta: jax.Array
    squares: jax.Array


def init(key: Key, sizes: tuple[int, ...], rate: float) -> PyTree:
    """Weights whose steps are Adam's at ``rate``: the last layer's kernel and all biases are zero.

    All others are about one in size, since layers divide by the root of their width, so that one size of perturbation
    suits all of them.

    Args:
      key: of the kernels.
      sizes: widths of the hidden layers.
      rate: learning rate.

    Returns:
      ``{"layers": [{"kernel", "bias"}, ...], "log_rate": scalar}``.
    """
    widths = (FEATURES, *sizes, 2)
    layers = []
    keys = jax.random.split(key, len(widths) - 1)
    for layer_key, fan_in, fan_out in zip(keys, widths[:-1], widths[1:], strict=True):
        kernel = jax.random.normal(layer_key, (fan_in, fan_out))
        layers.append({"kernel": kernel, "bias": jnp.zeros(fan_out)})
    layers[-1]["kernel"] = jnp.zeros_like(layers[-1]["kernel"])
    return {"layers": layers, "log_rate": jnp.float32(math.log(rate))}


def scale_by_learned(weights: PyTree, total_updates: int) -> optax.GradientTransformation:
    """A learned optimiser's step, which is to be taken off the parameters.

    ``exp(log_rate + 3 tanh(s / 3)) * (m + tanh(d))`` for each parameter, where ``m`` is the gradient's mean over the
    root of its square's (Adam's step), and ``(d, s)`` the output of a network that sees

    - gradient and means at three scales, over that root, and the root itself over that of all parameters (its log);
    - the parameter, in units of its initial spread (a matrix's: one over the root of its fan-in);
    - its leaf's place in the tree, from 0 to 1, and whether that is a matrix;
    - the time, from 0 to 1 at ``total_updates``, and its beginning.

    Steps are bounded, whatever the weights. Nothing depends on the gradient's scale, so that parameters whose gradient
    is zero may move, too. All is computed in single precision, and steps come in the gradient's.

    Args:
      weights: the network's, and ``log_rate``.
      total_updates: of the training.

    Returns:
      optax's GradientTransformation.
    """

    def init(params):
        size = sum(jnp.size(x) for x in jax.tree.leaves(params))
        zeros = functools.partial(jnp.zeros, dtype=jnp.float32)
        return LearnedState(jnp.int32(0), zeros((len(MOMENTA), size)), zeros(size))

    def update(updates, state, params=None):
        if params is None:
            raise ValueError("a learned optimiser looks at the parameters: optimizer.update(gradients, state, params)")
        gradient, unravel = ravel_pytree(_single(updates))
        gradient = jnp.clip(gradient, -HUGE, HUGE)
        count = state.count + 1
        decays = jnp.asarray(MOMENTA, jnp.float32)[:, None]
        momenta = decays * state.momenta + (1 - decays) * gradient[None]
        squares = SQUARES * state.squares + (1 - SQUARES) * gradient**2
        root = jnp.sqrt(squares / (1 - jnp.float32(SQUARES) ** count) + 1e-16)
        means = momenta / (1 - decays**count) / root[None]
        place, kind, spread = constants(updates)
        time = jnp.minimum(state.count / total_updates, 1.0).astype(jnp.float32)
        of_all = jnp.stack([time, 1.0 - time, jnp.exp(-20.0 * time)])
        seen = [
            *means,
            gradient / root,
            jnp.log(root) - jnp.log(jnp.sqrt((root**2).mean())),
            ravel_pytree(_single(params))[0] / spread,
            place,
            kind,
            *jnp.broadcast_to(of_all[:, None], (len(of_all), gradient.size)),
        ]
        direction, scale = _applied(weights["layers"], jnp.clip(jnp.stack(seen), -LARGEST, LARGEST))
        direction, scale = jnp.tanh(direction), 3.0 * jnp.tanh(scale / 3.0)
        steps = jnp.exp(weights["log_rate"] + scale) * (means[BASE] + direction)
        steps = jax.tree.map(lambda step, old: step.astype(jnp.result_type(old)), unravel(steps), updates)
        return steps, LearnedState(count, momenta, squares)

    return optax.GradientTransformation(init, update)


def _applied(layers: list[dict[str, jax.Array]], x: jax.Array) -> jax.Array:
    """``[F, P] -> [2, P]``: the long axis last, where processors are wide."""
    for i, layer in enumerate(layers):
        x = (layer["kernel"] / math.sqrt(layer["kernel"].shape[0])).T @ x + layer["bias"][:, None]
        x = jax.nn.relu(x) if i < len(layers) - 1 else x
    return x


def _single(tree: PyTree) -> PyTree:
    """In single precision: squares of half-precision gradients vanish."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def constants(params: PyTree) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the network sees of each parameter that never changes.

    Args:
      params: any pytree of arrays, ``P`` numbers in all.

    Returns:
      Place in the tree, whether of a matrix, initial spread: each ``[P]``.
    """
    leaves = jax.tree.leaves(params)
    shapes = [jnp.shape(x) for x in leaves]
    spreads = [1 / math.sqrt(max(1, math.prod(shape[:-1]))) if len(shape) > 1 else 1.0 for shape in shapes]
    places = np.arange(len(leaves)) / max(1, len(leaves) - 1)
    columns = places, [float(len(shape) > 1) for shape in shapes], spreads
    sizes = [math.prod(shape) for shape in shapes]
    place, kind, spread = (np.repeat(np.asarray(column, np.float32), sizes) for column in columns)
    return place, kind, spread
