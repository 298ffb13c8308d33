"""Action distributions against scipy, and samples against the probabilities that they claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from metarl_jax.networks import to_bounds
from metarl_jax.networks.actions import categorical, for_spec, gaussian
from metarl_jax.records import ConfigError, Spec

LOGITS = jnp.array([[0.0, 1.0, -2.0, 0.5], [3.0, 3.0, 3.0, -30.0]])
SPEC = Spec((1,), action_size=2, action_low=(-2.0, 0.0), action_high=(2.0, 10.0))


def test_samples_have_the_softmax_frequencies():
    actions, count = categorical(4), 20_000
    noise = actions.noise(jax.random.key(0), (count, 2))
    sampled = actions.sample(jnp.broadcast_to(LOGITS, (count, 2, 4)), noise)
    assert sampled.dtype == jnp.int32 and sampled.shape == (count, 2)
    for row in range(2):
        wanted = count * scipy.special.softmax(np.asarray(LOGITS[row], np.float64))
        found = np.bincount(sampled[:, row], minlength=4)
        likely = wanted > 1e-3
        assert found[~likely].sum() == 0
        assert scipy.stats.chisquare(found[likely], wanted[likely] * (count / wanted[likely].sum())).pvalue > 1e-3


def test_every_uniform_gives_an_action():
    """Rounding may leave the cumulative distribution below 1: the largest uniform must still be an action."""
    actions = categorical(300)
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(50, 300)), jnp.float32)
    for edge in (0.0, float(np.nextafter(np.float32(1), np.float32(0)))):
        sampled = actions.sample(logits, jnp.full(50, edge))
        assert int(sampled.min()) >= 0 and int(sampled.max()) <= 299
    assert (actions.sample(logits, jnp.zeros(50)) == 0).all()


def test_categorical_log_prob_entropy_mode():
    actions = categorical(4)
    probabilities = scipy.special.softmax(np.asarray(LOGITS, np.float64), axis=-1)
    for action in range(4):
        found = actions.log_prob(LOGITS, jnp.full(2, action))
        np.testing.assert_allclose(found, np.log(probabilities[:, action]), rtol=1e-5)
    np.testing.assert_allclose(actions.entropy(LOGITS), scipy.stats.entropy(probabilities, axis=-1), rtol=1e-5)
    assert actions.mode(LOGITS).tolist() == [1, 0] and actions.mode(LOGITS).dtype == jnp.int32
    gradient = jax.grad(lambda x: actions.log_prob(x, jnp.array([2, 0])).sum())(LOGITS)
    np.testing.assert_allclose(gradient, np.eye(4)[[2, 0]] - probabilities, atol=1e-6)


def test_divergences_against_scipy_and_by_integration():
    other = LOGITS[::-1] * 0.3
    chances = [scipy.special.softmax(np.asarray(x, np.float64), axis=-1) for x in (LOGITS, other)]
    np.testing.assert_allclose(categorical(4).kl(LOGITS, other), scipy.stats.entropy(*chances, axis=-1), rtol=1e-4)
    old, new = np.array([0.3, -1.0, -0.2, 0.1]), np.array([-0.5, 0.4, 0.3, -0.6])  # means, log standard deviations
    grid, wanted = np.linspace(-12, 12, 20_001), 0.0
    for d in range(2):
        p, q = (scipy.stats.norm(x[d], np.exp(x[2 + d])) for x in (old, new))
        wanted += np.trapezoid(p.pdf(grid) * (p.logpdf(grid) - q.logpdf(grid)), grid)
    found = gaussian(SPEC).kl(*(jnp.asarray(x, jnp.float32) for x in (old, new)))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert abs(float(gaussian(SPEC).kl(jnp.asarray(old), jnp.asarray(old)))) < 1e-6


def test_certain_actions_stay_finite():
    logits = jnp.array([[0.0, -1e4]])
    actions = categorical(2)
    assert float(actions.entropy(logits)[0]) == 0.0
    gradient = jax.grad(lambda x: actions.entropy(x).sum() + actions.log_prob(x, jnp.array([0])).sum())(logits)
    assert bool(jnp.isfinite(gradient).all())


def test_gaussian_against_scipy():
    actions, generator = gaussian(SPEC), np.random.default_rng(0)
    mean, log_std, action = generator.normal(size=(3, 7, 2))
    parameters = jnp.asarray(np.concatenate([mean, log_std], -1), jnp.float32)
    normal = scipy.stats.norm(mean, np.exp(log_std))
    found = actions.log_prob(parameters, jnp.asarray(action, jnp.float32))
    np.testing.assert_allclose(found, normal.logpdf(action).sum(-1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(actions.entropy(parameters), normal.entropy().sum(-1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(actions.mode(parameters), mean, rtol=1e-6)


def test_gaussian_samples():
    actions, count = gaussian(SPEC), 20_000
    parameters = jnp.array([0.5, -1.0, np.log(0.3), np.log(2.0)], jnp.float32)
    noise = actions.noise(jax.random.key(0), (count,))
    sampled = np.asarray(actions.sample(jnp.broadcast_to(parameters, (count, 4)), noise))
    assert sampled.shape == (count, 2) and actions.size == 4
    for i, (mean, std) in enumerate([(0.5, 0.3), (-1.0, 2.0)]):
        assert scipy.stats.kstest(sampled[:, i], scipy.stats.norm(mean, std).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(sampled.T)[0, 1]) < 0.03


def test_gaussian_width_is_bounded():
    actions = gaussian(SPEC)
    wild = jnp.array([0.0, 0.0, 50.0, -50.0])
    wanted = jnp.array([0.0, 0.0, 2.0, -5.0])
    np.testing.assert_array_equal(actions.entropy(wild), actions.entropy(wanted))
    np.testing.assert_array_equal(actions.sample(wild, jnp.ones(2)), actions.sample(wanted, jnp.ones(2)))
    np.testing.assert_array_equal(actions.log_prob(wild, jnp.ones(2)), actions.log_prob(wanted, jnp.ones(2)))


def test_a_bounded_mean_stays_inside_and_the_sample_is_raw():
    """However far the parameters run, samples fall on both sides of the bound and pull the mean back."""
    actions, plain = for_spec(SPEC, "mean"), gaussian(SPEC)
    far = jnp.array([30.0, -0.4, -1.0, 0.2])
    inside = far.at[:2].set(jnp.array([1.0, np.tanh(-0.4)]))
    x = jnp.array([1.3, -2.0])
    np.testing.assert_allclose(actions.mode(far), inside[:2], rtol=1e-6)
    np.testing.assert_allclose(actions.log_prob(far, x), plain.log_prob(inside, x), rtol=1e-6)
    np.testing.assert_allclose(actions.sample(far, x), plain.sample(inside, x), rtol=1e-6)
    np.testing.assert_allclose(actions.kl(far, -far), plain.kl(inside, jnp.concatenate([actions.mode(-far), -far[2:]])))
    np.testing.assert_allclose(actions.entropy(far), plain.entropy(inside))


@pytest.mark.parametrize("bounding", ["mean", "tanh"])
def test_discrete_actions_have_no_bounds(bounding):
    with pytest.raises(ConfigError, match=f"bounding='{bounding}': actions are discrete"):
        for_spec(Spec((1,), num_actions=3), bounding)


def test_to_bounds():
    found = to_bounds(SPEC, jnp.array([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.5], [-7.0, 9.0]]))
    np.testing.assert_allclose(found, [[-2.0, 0.0], [2.0, 10.0], [0.0, 7.5], [-2.0, 10.0]])
    one = Spec((1,), action_size=2, action_low=-3.0, action_high=1.0)
    np.testing.assert_allclose(to_bounds(one, jnp.array([0.0, 1.0])), [-1.0, 1.0])
    discrete = jnp.array([3, 1])
    assert to_bounds(Spec((1,), num_actions=4), discrete) is discrete


@pytest.mark.parametrize("spec", [Spec((1,), num_actions=3), SPEC])
def test_for_spec(spec):
    assert for_spec(spec).size == (3 if spec.num_actions else 4)
