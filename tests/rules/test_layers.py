"""Small networks as plain weights against NumPy."""

import jax
import numpy as np

from metarl_jax.learned.layers import mlp_applied, mlp_init


def test_layers_divide_by_the_root_of_their_width_and_the_last_has_its_own_scale():
    layers = mlp_init(jax.random.key(0), (50, 60, 70), scale=0.1)
    assert [layers[name]["kernel"].shape for name in sorted(layers)] == [(50, 60), (60, 70)]
    for name, scale in (("layer_0", 1.0), ("layer_1", 0.1)):
        np.testing.assert_allclose(np.std(layers[name]["kernel"]), scale, rtol=0.05)
    bias = jax.tree.map(lambda x: x + 0.3, layers)  # else biases are 0
    x = np.random.default_rng(0).normal(size=(4, 3, 50))
    first, last = (jax.tree.map(lambda leaf: np.asarray(leaf, float), bias[name]) for name in ("layer_0", "layer_1"))
    hidden = np.tanh(x @ first["kernel"] / np.sqrt(50) + first["bias"])
    wanted = hidden @ last["kernel"] / np.sqrt(60) + last["bias"]
    np.testing.assert_allclose(mlp_applied(bias, x.astype(np.float32)), wanted, rtol=1e-4, atol=1e-5)
