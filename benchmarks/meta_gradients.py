"""Estimates of one meta-gradient, their means and spreads, beside the true one, as a table and a figure.

    python -m benchmarks.meta_gradients

Linear actor-critics live ``LIFE`` inner updates in one random MDP; the gradient of what they earn, by the logarithm of
their learning rate and by their discount, is estimated from whole lives or from windows of ``WINDOW`` inner updates.
The truth is a central difference of what very many lives earn, on common random numbers.
"""

import argparse
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metarl_jax as mrl
from benchmarks.intervals import ERRORS
from benchmarks.record import RESULTS, Clock, record, row
from benchmarks.sizes import size, smoke_option
from metarl_jax import meta_gradients
from metarl_jax.algorithms.lifetime import meta_learner as lifetimes
from metarl_jax.algorithms.lifetime.actor_critic import (
    OPTIMIZERS,
    actor_critic_inner,
    as_numbers,
    hyperparameters,
    to_unconstrained,
)
from metarl_jax.networks import actor_critic, variance_scaled_init
from metarl_jax.records import Actor, Inner, MetaGradient
from metarl_jax.viz.style import AGENT, CONTROL, new_figure, style

LIFE, WINDOW, COPIES, DELTA, SIGMA = 20, 5, 2, 0.1, 0.1
LIVES, ROUNDS = size((2048, 32), (2, 2))
START = dict(discount=0.8, trace=0.9, entropy_cost=0.01, value_cost=0.5, learning_rate=1.0)
TUNED = ("learning_rate", "discount")
FAR = 4.0  # standard errors: an unbiased estimate is nearer, one shown to be biased farther away
BARS = {
    f"back-propagation and score, {LIFE} updates": dict(at_most=FAR),
    f"ES, {LIFE} updates": dict(at_most=FAR),
    f"persistent ES, {WINDOW} updates": dict(at_most=FAR),
    f"ES, {WINDOW} updates": dict(at_least=FAR),
}


def agents(tasks: mrl.records.TaskDistribution) -> tuple[Actor, Inner]:
    policy = actor_critic(tasks.env.spec, "none", 0, (), False, scaled=variance_scaled_init)
    said, meta = (
        functools.partial(lifetimes.said, policy),
        functools.partial(as_numbers, to_unconstrained(START, TUNED, 0.0)),
    )
    numbers = functools.partial(hyperparameters, as_numbers(START), 0.0)
    inner = actor_critic_inner(policy, said, meta, numbers, lambda meta: OPTIMIZERS["sgd"]())
    return lifetimes.actor_of(tasks, policy, COPIES), inner


def estimators_of(actor: Actor, inner: Inner) -> dict[str, tuple[MetaGradient, int]]:
    """By name, with the windows of a life."""
    exact, plain = (meta_gradients.OuterLoss(score=score) for score in (True, False))
    # Returns to go over no values: a life ends with its last episode, and nothing after it counts.
    zeros = lambda trajectory: (jnp.zeros_like(trajectory.reward), jnp.zeros_like(trajectory.reward))
    critic = meta_gradients.fixed_critic(zeros)
    back = functools.partial(meta_gradients.backprop, actor, inner, LIFE, critic=critic)
    evolve = functools.partial(meta_gradients.evolution, actor, inner, LIFE, sigma=SIGMA)
    return {
        f"back-propagation and score, {LIFE} updates": (back(loss=exact, window=LIFE), 1),
        f"back-propagation, {LIFE} updates": (back(loss=plain, window=LIFE), 1),
        f"back-propagation, {WINDOW} updates": (back(loss=plain, window=WINDOW), LIFE // WINDOW),
        f"ES, {LIFE} updates": (evolve(window=LIFE, persistent=False), 1),
        f"persistent ES, {WINDOW} updates": (evolve(window=WINDOW, persistent=True), LIFE // WINDOW),
        f"ES, {WINDOW} updates": (evolve(window=WINDOW, persistent=False), LIFE // WINDOW),
    }


def estimate(estimator: MetaGradient, windows: int, inner: Inner, task: Any) -> dict[str, np.ndarray]:
    """Minus the gradient of the loss, of each of ``ROUNDS`` cycles of windows after the first one."""
    meta, tasks = inner.meta(jax.random.key(0)), jax.tree.map(lambda x: jnp.stack([x] * LIVES), task)
    kept, step = estimator.init(jax.random.key(0), task, LIVES), jax.jit(estimator.estimate)
    found = []
    for i in range((ROUNDS + 1) * windows):
        gradient, kept, _ = step(jax.random.key(i), meta, kept, tasks)
        found.append(gradient)
    return {name: -np.reshape([g[name] for g in found[windows:]], (ROUNDS, windows)).mean(axis=1) for name in TUNED}


def truth(actor: Actor, inner: Inner, task: Any) -> dict[str, np.ndarray]:
    """Central differences of the mean reward of a life's steps, ``16 * LIVES`` lives a round."""

    @jax.jit
    def earned(key, meta):
        def one(key):
            keys = jax.random.split(key)
            life = meta_gradients.empty_lifetimes(actor, inner, task, 1, LIFE, LIFE)
            life = jax.tree.map(lambda x: x[0], life)
            return meta_gradients.live_window(actor, inner, LIFE, LIFE, keys[0], meta, life, task)[1]

        return jax.lax.map(jax.vmap(one), jax.random.split(key, (16, LIVES))).mean()

    meta, found = inner.meta(jax.random.key(0)), {}
    for name in TUNED:
        moved = [
            [earned(jax.random.key(10_000 + i), meta | {name: meta[name] + sign * DELTA}) for sign in (1, -1)]
            for i in range(ROUNDS)
        ]
        found[name] = np.diff(-np.asarray(moved), axis=1)[:, 0] / (2 * DELTA)
    return found


def draw(found: dict[str, dict[str, np.ndarray]], true: dict[str, np.ndarray]) -> None:
    with style():
        figure = new_figure(9.0, 3.2)
        figure.suptitle("Estimates of a meta-gradient: means, two standard errors; line: the truth", fontsize=11)
        plots = figure.subplots(1, len(TUNED), sharey=True)
        plots[0].invert_yaxis()  # shared
        for axes, name in zip(plots, TUNED, strict=True):
            mean, error = summary(true[name])
            axes.axvspan(mean - 2 * error, mean + 2 * error, color=CONTROL, alpha=0.35, lw=0)
            axes.axvline(mean, color=CONTROL)
            for i, values in enumerate(found.values()):
                middle, spread = summary(values[name])
                axes.errorbar(middle, i, xerr=2 * spread, fmt="o", color=AGENT, capsize=3)
            axes.set_yticks(range(len(found)), list(found))
            axes.set_xlabel(f"by {name.replace('_', ' ')}")
        figure.savefig(RESULTS / "meta-gradients.png")


def summary(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    smoke_option(parser)
    parser.parse_args(arguments)
    tasks = mrl.tasks.tabular(num_states=4, num_actions=2, horizon=5)
    task = tasks.sample(jax.random.key(3))
    actor, inner = agents(tasks)
    found = {}
    with Clock() as clock:
        true = truth(actor, inner, task)
        for name, (estimator, windows) in estimators_of(actor, inner).items():
            found[name] = estimate(estimator, windows, inner, task)
            print(name, {k: [round(x, 5) for x in summary(v)] for k, v in found[name].items()}, flush=True)
    draw(found, true)
    common = dict(command="python -m benchmarks.meta_gradients", seconds=[round(clock.seconds, 1)])
    record("meta_gradients", [made | common for made in rows(found, true)])


def rows(found: dict[str, dict[str, np.ndarray]], true: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    made = []
    for parameter in TUNED:
        mean, error = summary(true[parameter])
        made.append(estimated(f"{parameter}: true gradient of the mean reward, +- s.e.", mean, error))
        for name, values in found.items():
            middle, spread = summary(values[parameter])
            away = abs(middle - mean) / (spread**2 + error**2) ** 0.5
            made.append(estimated(f"{parameter}, {name}: +- s.e.", middle, spread))
            bar = BARS.get(name, {}) if spread < abs(mean) / 3 else {}  # else zero would hold, too
            made.append(row(f"{parameter}, {name}: standard errors from the truth", away, "standard errors", **bar))
    return made


def estimated(name: str, mean: float, error: float) -> dict[str, Any]:
    return row(name, mean, "reward per step", interval=[mean - error, mean + error], interval_kind=ERRORS)


if __name__ == "__main__":
    main()
