"""PPO's surrogate: where it has a gradient, where it has none, and which way it points. And losses without units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.estimators import clipped_surrogate, root_mean_square, squared_error, standardised, value_loss

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


# The rewards' scale: of what numbers are measured in, nothing may depend on it.

SCALES = [1e-30, 1e-3, 1.0, 1e3, 1e15]
LIMIT = 5.0  # of the value loss


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("scale", SCALES)
def test_the_value_loss_has_no_unit(scale):
    """Against the formula in double precision, whatever values and targets are measured in."""
    value, target = numbers(6, 5), 1.5 + numbers(6, 5, seed=1)
    error, spread = np.square(np.float64(value) - np.float64(target)).mean() / 2, np.float64(target).var()
    wanted = error / (spread + 1e-4 * np.square(np.float64(target)).mean())
    found, gradient = jax.value_and_grad(value_loss)(scale * value, scale * target)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    slope = (np.float64(value) - np.float64(target)) / value.size * wanted / error
    np.testing.assert_allclose(np.float64(gradient) * scale, slope, rtol=1e-4)


@pytest.mark.parametrize("scale", SCALES)
def test_the_value_loss_is_bounded_and_finite_for_constant_targets(scale):
    zero, value = jnp.zeros((4, 3)), scale * numbers(4, 3)
    for target in (zero, zero + scale, scale * (1.0 + 1e-6 * numbers(4, 3, seed=2))):
        for said in (value, target, zero):
            found, gradient = jax.value_and_grad(value_loss)(said, target)
            assert 0 <= found <= LIMIT * (1 + 1e-5) and np.isfinite(gradient).all()
            if said is target:
                assert found == 0 and not gradient.any()


@pytest.mark.parametrize("scale", SCALES)
def test_standardised_numbers_have_no_unit_and_rounding_is_not_blown_up(scale):
    x = 2.0 + numbers(50)
    exact = (np.float64(x) - np.float64(x).mean()) / np.float64(x).std()
    np.testing.assert_allclose(standardised(scale * x), exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        standardised(scale * x, scale * 3.0 * np.float64(x).std()), exact / 4, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(standardised(jnp.zeros(9)), 0.0)
    assert np.abs(standardised(scale * (1.0 + 1e-7 * numbers(50)))).max() < 0.5
    np.testing.assert_allclose(root_mean_square(scale * x), scale * np.sqrt(np.square(np.float64(x)).mean()), rtol=1e-5)


def test_rounding_is_a_millionth_of_the_numbers_themselves():
    """100 numbers 1 +- 2 ** -16: they are ``2 ** -16 / (2 ** -16 + 1e-6)`` from their mean."""
    x = 1.0 + 2.0**-16 * (-1.0) ** jnp.arange(100)
    np.testing.assert_allclose(np.abs(standardised(x)), 2.0**-16 / (2.0**-16 + 1e-6), rtol=1e-2)


def test_standardised_is_of_all_steps_and_tasks_together():
    x = np.arange(12.0).reshape(4, 3) ** 2
    np.testing.assert_allclose(standardised(jnp.asarray(x)), (x - x.mean()) / x.std(), rtol=1e-4)
