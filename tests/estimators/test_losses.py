"""PPO's surrogate: where it has a gradient, where it has none, and which way it points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.estimators import clipped_surrogate, squared_error

CLIP = 0.2


def slope(ratio: float, advantage: float) -> float:
    """d loss / d log pi at a given ratio."""
    old = jnp.array([-1.3])
    gradient = jax.grad(lambda x: clipped_surrogate(x, old, jnp.array([advantage]), CLIP).sum())
    return float(gradient(old + jnp.log(ratio))[0])


@pytest.mark.parametrize(
    ("ratio", "advantage", "clipped"),
    [
        (1.3, 2.0, True),  # already more likely by more than the clip: no further
        (0.7, -2.0, True),  # already less likely
        (0.7, 2.0, False),  # it must come back
        (1.3, -2.0, False),
        (1.1, 2.0, False),
        (0.9, -2.0, False),
    ],
)
def test_gradient_is_zero_outside_the_clip_in_the_right_direction_only(ratio, advantage, clipped):
    wanted = 0.0 if clipped else -ratio * advantage
    np.testing.assert_allclose(slope(ratio, advantage), wanted, rtol=1e-5)


def test_equals_the_policy_gradient_at_ratio_1():
    logits = jnp.array([[0.3, -0.5, 1.0], [0.0, 0.2, -0.1]])
    actions, advantage = jnp.array([2, 0]), jnp.array([1.5, -0.7])

    def log_prob(logits):
        return jax.nn.log_softmax(logits)[jnp.arange(2), actions]

    old = log_prob(logits)
    surrogate = jax.grad(lambda x: clipped_surrogate(log_prob(x), old, advantage, CLIP).sum())(logits)
    plain = jax.grad(lambda x: -(log_prob(x) * advantage).sum())(logits)
    assert float(jnp.abs(plain).max()) > 0.1
    np.testing.assert_allclose(surrogate, plain, rtol=1e-5, atol=1e-7)


def test_value_against_the_formula():
    generator = np.random.default_rng(0)
    new, old, advantage = generator.normal(size=(3, 50)).astype(np.float32)
    ratio = np.exp(new - old)
    wanted = [-min(r * a, min(max(r, 1 - CLIP), 1 + CLIP) * a) for r, a in zip(ratio, advantage, strict=True)]
    np.testing.assert_allclose(clipped_surrogate(new, old, advantage, CLIP), wanted, rtol=1e-5)


def test_squared_error():
    np.testing.assert_allclose(squared_error(jnp.array([1.0, 3.0]), jnp.array([4.0, 3.0])), [4.5, 0.0])
    gradient = jax.grad(lambda v: squared_error(v, jnp.array([4.0])).sum())(jnp.array([1.0]))
    np.testing.assert_allclose(gradient, [-3.0])


def test_shapes_must_agree():
    with pytest.raises(AssertionError):
        clipped_surrogate(jnp.ones(3), jnp.ones(3), jnp.ones((3, 1)), CLIP)
    with pytest.raises(AssertionError):
        squared_error(jnp.ones(3), jnp.ones(1))
