"""Evolution strategies against a closed form: agents that move linearly and are paid by a square, for whom smoothing by
Gaussian noise changes no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.walk import KEEP, LIFE, META, TASKS, WINDOW, paid, walker

from metarl_jax.meta_gradients import OuterLoss, backprop, evolution
from metarl_jax.records import ActionEvaluation


def life_loss(meta):
    """Minus the mean reward of a life's updates."""
    position, total = meta["start"], 0.0
    for _ in range(LIFE):
        total, position = total + paid(position), KEEP * position + meta["push"]
    return -total / LIFE


def window_loss(meta):
    """The same, each window from where it begins as if nothing before depended on ``meta``: truncation."""
    position, total = meta["start"], 0.0
    for k in range(LIFE):
        position = jax.lax.stop_gradient(position) if k and k % WINDOW == 0 else position
        if k:
            position = KEEP * position + meta["push"]
        total += paid(position)
    return -total / LIFE


def estimated(window: int, **options) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and standard error of the gradients of full lives, those of a whole cycle of windows."""
    estimator = evolution(*walker(), LIFE, window, **options)
    task = jnp.ones(TASKS)
    kept = estimator.init(jax.random.key(0), task[0], TASKS)
    step, cycle, means = jax.jit(estimator.estimate), LIFE // window, []
    for i in range(9 * cycle):
        gradient, kept, outcome = step(jax.random.key(i), META, kept, task)
        means.append(gradient)
        if window < LIFE:  # lives began staggered
            assert 0 < int(outcome.ended.sum()) < TASKS
    cycles = {name: np.reshape([m[name] for m in means[cycle:]], (8, cycle)).mean(axis=1) for name in META}
    return {n: x.mean() for n, x in cycles.items()}, {n: x.std(ddof=1) / 8**0.5 for n, x in cycles.items()}


@pytest.mark.parametrize(
    ("window", "options", "truth"),
    [
        pytest.param(LIFE, {"persistent": False}, life_loss, id="full-life"),
        pytest.param(WINDOW, {"persistent": True}, life_loss, id="persistent"),
        pytest.param(WINDOW, {"persistent": False}, window_loss, id="truncated"),
    ],
)
def test_gradients_are_those_of_the_closed_form(window, options, truth):
    """Full-life and persistent ES have the whole gradient, truncated ES that of back-propagation cut at each window."""
    mean, error = estimated(window, sigma=0.2, **options)
    exact = jax.grad(truth)(META)
    for name in META:
        print(f"{name}: {mean[name]:.4f} +- {error[name]:.4f}, exact {float(exact[name]):.4f}")
        assert error[name] < 0.1 * abs(float(exact[name]))  # or the next line would say little
        assert abs(mean[name] - float(exact[name])) < 5 * error[name]
    whole = jax.grad(life_loss)(META)
    if truth is window_loss:
        assert abs(float(whole["push"]) - mean["push"]) > 20 * error["push"]


def test_back_propagation_cut_at_windows_is_what_truncated_evolution_estimates():
    """What the surrogate differentiates is log-probabilities: here the reward itself stands for them."""
    actor, inner = walker()
    said = lambda agent, trajectory: ActionEvaluation(jnp.full((1, 1), paid(agent)), *[jnp.zeros((1, 1))] * 3)
    # The surrogate is log_prob * advantage; a reward of one makes the advantage one.

    def paid_one(key, agent, place, task):
        place, trajectory = actor.act(key, agent, place, task)
        return place, trajectory._replace(reward=jnp.ones_like(trajectory.reward))

    estimator = backprop(actor._replace(said=said, act=paid_one), inner, LIFE, WINDOW, OuterLoss())
    kept = estimator.init(jax.random.key(0), jnp.ones(()), 1)
    total = {name: 0.0 for name in META}
    for i in range(LIFE // WINDOW):
        gradient, kept, _ = estimator.estimate(jax.random.key(i), META, kept, jnp.ones(1))
        total = {name: total[name] + float(gradient[name]) * WINDOW / LIFE for name in META}
    exact = jax.grad(window_loss)(META)
    for name in META:
        np.testing.assert_allclose(total[name], float(exact[name]), rtol=1e-5)
