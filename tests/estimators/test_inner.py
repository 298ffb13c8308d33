"""Meta-gradients against the exact ones: all paths of small MDPs, in double precision.

Axis letters: ``[P]`` paths of one episode, ``[T]`` steps, ``[S]`` states, ``[A]`` actions.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.estimators import OBJECTIVES, sampling_score

RATE, LENGTH = 0.7, 3
SIZES = {"2 states": (2, 2), "3 states": (3, 2)}


class Paths(NamedTuple):
    """All that one episode can be: ``state``, ``action``, ``reward_to_go`` ``[P, T]``; ``chance [P]``: of its moves."""

    state: np.ndarray
    action: np.ndarray
    reward_to_go: np.ndarray
    chance: np.ndarray


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def mdp(name: str) -> Paths:
    num_states, num_actions = SIZES[name]
    generator = np.random.default_rng(num_states)
    transition = generator.dirichlet(np.ones(num_states), (num_states, num_actions))
    reward = generator.normal(size=(num_states, num_actions))
    paths = []
    for actions in itertools.product(range(num_actions), repeat=LENGTH):
        for states in itertools.product(range(num_states), repeat=LENGTH - 1):
            state = (0, *states)
            chance = np.prod([transition[s, a, t] for s, a, t in zip(state[:-1], actions[:-1], states, strict=True)])
            earned = np.array([reward[s, a] for s, a in zip(state, actions, strict=True)])
            paths.append((state, actions, np.cumsum(earned[::-1])[::-1], chance))
    return Paths(*(np.array(x) for x in zip(*paths, strict=True)))


def theta(name: str) -> jax.Array:
    return jnp.asarray(np.random.default_rng(7).normal(size=SIZES[name]))


def log_probs(paths: Paths, logits: jax.Array) -> jax.Array:
    """``log pi`` of each step of each path ``[P, T]``."""
    return jax.nn.log_softmax(logits)[paths.state, paths.action]


def chances(paths: Paths, logits: jax.Array) -> jax.Array:
    return paths.chance * jnp.exp(log_probs(paths, logits).sum(axis=1))


def value(paths: Paths, logits: jax.Array) -> jax.Array:
    """The expected return of an episode, exactly."""
    return chances(paths, logits) @ paths.reward_to_go[:, 0]


def loss_of(objective, paths: Paths, logits: jax.Array) -> jax.Array:
    """The inner objective of every path, summed over its steps ``[P]``."""
    start = jnp.arange(LENGTH) == 0
    one = lambda log_prob, advantage: objective(log_prob, jax.lax.stop_gradient(log_prob), advantage, start).sum()
    return jax.vmap(one)(log_probs(paths, logits), jnp.asarray(paths.reward_to_go))


def stepped(objective, paths: Paths, logits: jax.Array) -> jax.Array:
    """The parameters after a step on each path alone ``[P, S, A]``."""
    gradient = jax.jacrev(functools.partial(loss_of, objective, paths))(logits)
    return logits[None] + RATE * gradient


def post_surrogate(paths: Paths, logits: jax.Array) -> jax.Array:
    """What a learner differentiates after the step: ``log pi`` of sampled actions times return, its mean exactly."""
    weight = jax.lax.stop_gradient(chances(paths, logits)) * paths.reward_to_go[:, 0]
    return weight @ log_probs(paths, logits).sum(axis=1)


def exact_sampled(paths: Paths, logits: jax.Array, num_steps: int) -> jax.Array:
    """``E[J(theta_K)]`` where each step learns from one path that the parameters before it sampled."""
    if num_steps == 0:
        return value(paths, logits)
    after = jax.vmap(lambda new: exact_sampled(paths, new, num_steps - 1))(stepped(OBJECTIVES["none"], paths, logits))
    return chances(paths, logits) @ after


def estimated_sampled(paths: Paths, logits: jax.Array, num_steps: int, score: bool, second_order: bool) -> jax.Array:
    """The surrogate whose gradient is what the estimator gives on average: expectations weigh, and are not
    differentiated."""
    if num_steps == 0:
        return post_surrogate(paths, logits)
    new = stepped(OBJECTIVES["none"], paths, logits)
    if not second_order:
        new = logits[None] + jax.lax.stop_gradient(new - logits[None])
    after = jax.vmap(lambda p: estimated_sampled(paths, p, num_steps - 1, score, second_order))(new)
    if score:
        earned = jax.vmap(lambda p: exact_sampled(paths, p, num_steps - 1))(new)
        after = after + jax.vmap(sampling_score)(log_probs(paths, logits), earned)
    return jax.lax.stop_gradient(chances(paths, logits)) @ after


def error(estimate: jax.Array, exact: jax.Array) -> float:
    """Relative, of the whole gradient."""
    return float(jnp.linalg.norm(estimate - exact) / jnp.linalg.norm(exact))


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("num_steps", [1, 2])
def test_with_the_score_the_meta_gradient_is_exact_and_without_it_is_not(name, num_steps):
    if num_steps == 2 and name == "3 states":
        pytest.skip("5,000 pairs of paths say nothing that 32 x 32 do not")
    paths, logits = mdp(name), theta(name)
    exact = jax.grad(lambda p: exact_sampled(paths, p, num_steps))(logits)
    gradients = {}
    for kind, (score, second_order) in {
        "e-maml": (True, True),
        "maml": (False, True),
        "fomaml": (False, False),
    }.items():
        surrogate = functools.partial(estimated_sampled, paths, score=score, second_order=second_order)
        gradients[kind] = jax.grad(lambda p, f=surrogate: f(p, num_steps))(logits)
    errors = {kind: error(gradient, exact) for kind, gradient in gradients.items()}
    print(f"{name}, {num_steps} steps: relative bias {errors}")
    assert errors["e-maml"] < 1e-9
    assert errors["maml"] > 0.05 and errors["fomaml"] > 0.05
    assert error(gradients["fomaml"], gradients["maml"]) > 0.01  # the second order matters


@pytest.mark.parametrize("name", SIZES)
def test_exact_gradients_are_those_of_finite_differences(name):
    paths, logits = mdp(name), theta(name)
    for function in (functools.partial(exact_sampled, paths, num_steps=1), functools.partial(expected_step, paths)):
        gradient, small = jax.grad(function)(logits), 1e-5
        for index in np.ndindex(logits.shape):
            moved = [function(logits.at[index].add(sign * small)) for sign in (1, -1)]
            np.testing.assert_allclose(gradient[index], (moved[0] - moved[1]) / (2 * small), rtol=1e-6, atol=1e-8)


def expected_step(paths: Paths, logits: jax.Array) -> jax.Array:
    """``J(theta + rate grad J(theta))``: a step on infinitely many episodes."""
    return value(paths, logits + RATE * jax.grad(functools.partial(value, paths))(logits))


def sampled_step(paths: Paths, objective, logits: jax.Array) -> jax.Array:
    """The same through an objective on samples, its expectation taken with weights that are not differentiated."""
    mean = lambda p: jax.lax.stop_gradient(chances(paths, p)) @ loss_of(objective, paths, p)
    return value(paths, logits + RATE * jax.grad(mean)(logits))


@pytest.mark.parametrize("name", SIZES)
def test_dice_sees_the_whole_curvature_lvc_a_part_and_plain_none(name):
    paths, logits = mdp(name), theta(name)
    exact = jax.grad(functools.partial(expected_step, paths))(logits)
    errors = {}
    for kind, objective in OBJECTIVES.items():
        np.testing.assert_allclose(  # one and the same step
            sampled_step(paths, objective, logits), expected_step(paths, logits), rtol=1e-12
        )
        errors[kind] = error(jax.grad(functools.partial(sampled_step, paths, objective))(logits), exact)
    print(f"{name}: relative bias {errors}")
    assert errors["dice"] < 1e-9
    assert 1e-6 < errors["lvc"] < errors["none"]


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_sampled_curvature_approaches_its_mean_as_one_over_root_n(kind):
    """The error of a mean over n sampled episodes: its own expectation is known, so only the noise is left."""
    paths, logits = mdp("2 states"), theta("2 states")
    curvature = jax.jacrev(jax.jacrev(functools.partial(loss_of, OBJECTIVES[kind], paths)))(logits).reshape(
        len(paths.chance), -1
    )
    weight = np.asarray(chances(paths, logits))
    curvature = np.asarray(curvature)
    mean = weight @ curvature
    deviation = np.sqrt(weight @ np.square(curvature - mean).sum(axis=1))
    generator, spread = np.random.default_rng(0), {}
    for count in (100, 1600):
        draws = generator.multinomial(count, weight / weight.sum(), size=400) / count
        spread[count] = np.sqrt(np.square(draws @ curvature - mean).sum(axis=1).mean())
        np.testing.assert_allclose(spread[count], deviation / np.sqrt(count), rtol=0.15)
    print(f"{kind}: standard deviation of one episode's curvature {deviation:.3f}")


def test_credit_starts_anew_with_each_episode():
    generator = np.random.default_rng(0)
    log_prob, advantage = jnp.asarray(-generator.random((6, 2))), jnp.asarray(generator.normal(size=(6, 2)))
    start = jnp.asarray([[1, 1], [0, 0], [0, 1], [1, 0], [0, 0], [0, 0]], bool)
    whole = jax.hessian(lambda x: OBJECTIVES["dice"](x, log_prob, advantage, start).sum())(log_prob)
    assert np.abs(whole[:3, 0, 3:, 0]).max() == 0 and np.abs(whole[:2, 1, 2:, 1]).max() == 0
    assert np.abs(whole[0, 0, 2, 0]) > 0 and np.abs(whole[2, 1, 5, 1]) > 0


def test_the_step_of_lvc_on_data_of_another_policy_is_the_one_that_the_moved_policy_asks_for():
    """One state, one step: ``J^LR(theta)``, a mean over actions of the policy ``theta_o`` that collected the data, has
    the gradient of ``J(theta) = sum_a pi_theta(a) r(a)`` at any ``theta`` (Rothfuss et al. 2019), and the same second
    derivatives; pi / stop(pi) has them at ``theta_o`` alone."""
    collected, moved, reward = jnp.array([0.3, -0.4, 0.9]), jnp.array([-0.5, 0.8, 0.2]), jnp.array([1.0, -2.0, 0.7])
    start = jnp.ones((1, 3), bool)

    def mean_objective(kind, logits, data):
        log_prob, data_log_prob = (jax.nn.log_softmax(x)[None] for x in (logits, data))
        return jnp.exp(data_log_prob[0]) @ OBJECTIVES[kind](log_prob, data_log_prob, reward[None], start)[0]

    value = lambda logits: jax.nn.softmax(logits) @ reward
    for data in (collected, moved):
        found = jax.grad(mean_objective, argnums=1)("lvc", moved, data)
        np.testing.assert_allclose(found, jax.grad(value)(moved), rtol=1e-12)
        curvature = jax.hessian(mean_objective, argnums=1)("lvc", moved, data)
        np.testing.assert_allclose(curvature, jax.hessian(value)(moved), rtol=1e-12, atol=1e-14)
    for kind in ("none", "dice"):
        found = jax.grad(mean_objective, argnums=1)(kind, moved, collected)
        assert error(found, jax.grad(value)(moved)) > 0.1
