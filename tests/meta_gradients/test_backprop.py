"""Meta-gradients of whole learning agents against the exact ones: all lives in a small MDP, in double precision.

Axis letters: ``[P]`` lives, ``[K]`` episodes of a life, ``[T]`` steps, ``[E]`` copies (one).
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.enumeration import (
    NO_VALUES,
    POLICY,
    at,
    chances,
    cut_short,
    episodes,
    error,
    errors_of,
    estimates,
    frozen,
    inner,
    scripted,
)

from metarl_jax.algorithms.lifetime.actor_critic import (
    OPTIMIZERS,
)
from metarl_jax.algorithms.lifetime.meta_learner import said
from metarl_jax.meta_gradients import OuterLoss, backprop, fixed_critic
from metarl_jax.meta_gradients.backprop import surrogate
from metarl_jax.meta_gradients.lifetimes import Window
from metarl_jax.records import ActionEvaluation


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


VALUES = fixed_critic(  # of the state alone, so that advantages are unbiased
    lambda trajectory: (0.3 + trajectory.timestep.observation[..., 1], 7.0 + trajectory.next_observation[..., 1])
)


slow = pytest.mark.slow  # every optimiser is also held to finite differences


@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("rmsprop", marks=slow), pytest.param("adam", marks=slow)])
@pytest.mark.parametrize("num_updates", [1, 2])
def test_with_the_score_the_meta_gradient_is_exact(optimizer, num_updates):
    """And without it, it is for one update from a fixed birth, but not for two."""
    errors = errors_of(inner(optimizer), num_updates)
    print(
        f"{optimizer}, {num_updates} updates: relative error {errors[True]:.1e}, without the score {errors[False]:.1e}"
    )
    assert errors[True] < 1e-9
    assert errors[False] < 1e-9 if num_updates == 1 else errors[False] > 1e-3


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_meta_gradients_are_finite_differences_on_frozen_data(optimizer, num_updates=3):
    """Of ``-mean log pi G`` by every hyperparameter, the sampled lives being constants."""
    made = inner(optimizer)
    meta = made.meta(jax.random.key(0))
    gradient, loss = frozen(made, num_updates)
    gradient = gradient(meta)
    small = 1e-5
    for name, value in meta.items():
        moved = [loss(meta | {name: value + sign * small}) for sign in (1, -1)]
        np.testing.assert_allclose(gradient[name], (moved[0] - moved[1]) / (2 * small), rtol=1e-6, atol=1e-9)
        # Optimisers that normalise make the scale of the value loss irrelevant to values that share no parameter.
        assert abs(gradient[name]) > 1e-6 or (name == "value_cost" and optimizer != "sgd"), name


def test_with_the_score_nothing_is_counted_twice():
    """A critic changes no mean, and what it says of the time after an inner update does not come on top of what is
    earned then: episodes that are cut short, and values of one state that are no other's next values."""
    made = inner("sgd")
    meta = made.meta(jax.random.key(0))
    chance = jax.jit(lambda meta: chances(made, 1, meta, cut=True)[0])(meta)
    means = []
    for critic in (NO_VALUES, VALUES):
        valued = functools.partial(critic.values, (), time=None)
        consistent = lambda trajectory, valued=valued: (
            (now := valued(trajectory)[0]),
            jnp.concatenate([now[1:], valued(trajectory)[1][-1:]]),
        )
        gradient, tasks = estimates(made, 1, True, fixed_critic(consistent))
        means.append(jax.tree.map(lambda g: chance @ g, gradient(meta, cut_short(tasks))))
    assert error(means[1], means[0]) < 1e-9


def test_a_window_judges_only_what_it_differentiates():
    """Two windows of one update in place of one of two: the second is Xu et al.'s, blind to the first."""
    made = inner("sgd")
    meta = made.meta(jax.random.key(0))
    trajectory, _ = episodes()
    task = jax.tree.map(lambda x: x[np.array([1, 6, 3])], trajectory)
    batch = jax.tree.map(lambda x: x[None], task)
    estimator = backprop(scripted(), made, 3, 1, OuterLoss(), NO_VALUES)
    kept, gradients, estimate = estimator.init(jax.random.key(0), task, 1), [], jax.jit(estimator.estimate)
    for _ in range(3):
        gradient, kept, outcome = estimate(jax.random.key(0), meta, kept, batch)
        gradients.append(gradient)
    assert bool(outcome.ended[0]) and math.isclose(float(outcome.trial_return[0]), float(task.reward.sum()) / 3)
    assert optax.tree.norm(gradients[0]) == 0  # a newborn has learned nothing yet
    learn = jax.jit(functools.partial(made.learn, jax.random.key(0)))

    @jax.jit
    @jax.grad
    def wanted(meta, before, episode, following):
        after, _ = made.learn(jax.random.key(0), meta, before, episode)
        to_go = jnp.flip(jnp.cumsum(jnp.flip(following.reward, 0), 0), 0)
        return -(said(POLICY, after, following).log_prob * to_go).mean()

    agent = made.init()
    for k in range(2):
        assert error(gradients[k + 1], wanted(meta, agent, at(task, k), at(task, k + 1))) < 1e-12
        agent, _ = learn(meta, agent, at(task, k))


def test_normalised_outer_advantages_are_those_of_rewards_of_any_size():
    trajectory, _ = episodes()
    zero = jnp.zeros(trajectory.reward.shape)

    def slopes(scale: float, normalisation: float) -> jax.Array:
        """Of the outer loss, by each log-probability."""
        paid = trajectory._replace(reward=scale * trajectory.reward)
        loss = lambda log_prob: surrogate(
            OuterLoss(0.9, 0.8, normalisation=normalisation),
            Window(paid, ActionEvaluation(log_prob, zero, zero, zero), zero, zero),
        )
        return jax.grad(loss)(zero)

    plain = slopes(1.0, 0.0)
    spread = (plain * plain.size).std()  # the advantages' own: the loss is a mean
    np.testing.assert_allclose(slopes(1.0, 0.5), plain / (spread + 0.5), rtol=1e-12)
    np.testing.assert_allclose(slopes(1000.0, 1e-12), slopes(1.0, 1e-12), rtol=1e-9)
    assert np.abs(slopes(1000.0, 0.0)).max() > 900 * np.abs(plain).max() > 0


def test_each_lifes_gradient_is_cut_before_the_mean():
    made = inner("sgd")
    meta = made.meta(jax.random.key(0))
    trajectory, _ = episodes()
    tasks = jax.tree.map(lambda x: x[np.array([[1, 6, 3], [0, 2, 5], [7, 4, 1]])], trajectory)
    first = jax.tree.map(lambda x: x[0], tasks)

    @functools.partial(jax.jit, static_argnums=1)
    def estimate(batch, max_norm: float = 0.0):
        estimator = backprop(scripted(), made, 3, 3, OuterLoss(max_norm=max_norm), NO_VALUES)
        kept = estimator.init(jax.random.key(0), first, len(batch.reward))
        gradient, _, outcome = estimator.estimate(jax.random.key(0), meta, kept, batch)
        return gradient, outcome.metrics

    alone = [estimate(jax.tree.map(lambda x, i=i: x[i : i + 1], tasks))[0] for i in range(3)]
    norms = [float(optax.tree.norm(gradient)) for gradient in alone]
    least, middle, most = sorted(norms)
    assert 0 < least < middle < most
    for largest, share in ((middle, 1 / 3), (least / 2, 1.0), (0.0, None)):
        shares = [min(1.0, largest / norm) if largest else 1.0 for norm in norms]
        cut = [jax.tree.map(functools.partial(jnp.multiply, x), g) for x, g in zip(shares, alone, strict=True)]
        gradient, metrics = estimate(tasks, largest)
        assert error(gradient, jax.tree.map(lambda *x: sum(x) / 3, *cut)) < 1e-12
        assert share is None or math.isclose(float(metrics["gradients_cut"]), share, rel_tol=1e-6)
