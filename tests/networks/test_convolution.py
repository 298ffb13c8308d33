"""Convolutions against XLA's own, and where a policy has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.networks import actor_critic, first_timestep
from metarl_jax.networks.convolution import patches
from metarl_jax.records import ConfigError, Spec

SPEC = Spec((6, 5, 2), num_actions=3)


def convolved(image, kernel):
    """``image [B, rows, columns, layers]``, ``kernel [3, 3, layers, channels]``."""
    return jax.lax.conv_general_dilated(image, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_patches_times_a_kernel_are_a_convolution_and_so_is_the_gradient():
    image, kernel = normal(0, 4, 6, 5, 2), normal(1, 3, 3, 2, 7)
    ours = lambda image, kernel: patches(image) @ kernel.reshape(-1, 7)

    def value(function):
        return jax.jit(jax.value_and_grad(lambda *x: (function(*x) ** 2).sum(), argnums=(0, 1)))(image, kernel)

    np.testing.assert_allclose(jax.jit(ours)(image, kernel), convolved(image, kernel), rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), value(ours), value(convolved))
    np.testing.assert_array_equal(patches(image[0]), patches(image)[0])


def test_a_policy_sees_relus_of_its_convolutions_then_the_meta_inputs():
    policy = actor_critic(SPEC, "none", 0, (), True, filters=(4, 3))
    shapes = jax.eval_shape(policy.init, jax.random.key(0))
    params = jax.tree.map(lambda s: normal(len(s.shape), *s.shape), shapes)
    first, second = (params[f"convolution_{i}"] for i in range(2))
    timestep = first_timestep(SPEC, (8,), normal(3, 8, 6, 5, 2))._replace(last_reward=normal(4, 8))
    image = convolved(timestep.observation, first["kernel"].reshape(3, 3, 2, 4)) + first["bias"].reshape(1, 1, 1, -1)
    image = convolved(jnp.maximum(image, 0), second["kernel"].reshape(3, 3, 4, 3)) + second["bias"].reshape(1, 1, 1, -1)
    seen = jnp.concatenate(
        [jnp.maximum(image, 0).reshape(8, -1), jnp.zeros((8, 3)), timestep.last_reward[:, None], jnp.ones((8, 1))], 1
    )
    head = params["policy_head"]
    _, (logits, _) = jax.jit(policy.step)(params, (), timestep)
    assert head["kernel"].shape == (2 * 1 * 3 + 3 + 2, 3)
    np.testing.assert_allclose(logits, seen @ head["kernel"] + head["bias"][None], rtol=1e-4, atol=1e-4)
    several = jax.tree.map(lambda x: jnp.stack([x, x]), timestep)
    np.testing.assert_allclose(policy.unroll(params, None, several)[0][1], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "filters", "words"),
    [
        ((7,), (4,), r"filters=\(4,\): needs observations \[rows, columns, layers\], not \[7\]"),
        ((6, 5, 2), (4, 4, 4), "at most 2 layers fit"),
        ((2, 9, 2), (4,), "at most 0 layers fit"),
        ((6, 5, 2), (4, 0), "at least one channel"),
    ],
)
def test_what_does_not_fit_is_refused(shape, filters, words):
    with pytest.raises(ConfigError, match=words):
        actor_critic(SPEC._replace(observation_shape=shape), "gru", 4, (), True, filters=filters)
