"""Agents that tune themselves on a set of mazes, beside a grid, random search and PBT: equal environment steps.

    python -m benchmarks.quality self-tuning-mazes

Four 9x9 layouts, each floor cell a goal: every fifth is held out. In each of ``TASKS`` mazes agents are born, live
``LIFE`` inner updates of ``COPIES`` episodes side by side, and die; a life is scored by all that it earned, learning
included. The whole budget is one life of each of ``POINTS`` settings in each of ``TASKS`` mazes. What a method chose
after a share of it is scored by newborns' lives in the held-out mazes, the same for all. A budget counts its own run
only. Seconds are those of training at the whole cost, compiling apart.

- grid: 4 x 4 x 4 over ``GRID``, the other two hyperparameters in the middle of their ranges. random: 64 points of all
  five ranges. Of a smaller budget the kinder of two uses counts: fewer points (the mean over all subsets), or all
  points in fewer mazes (a mean over some).
- PBT: 32 members over all five; its best member's hyperparameters.
- self-tuning: from the middle of all five ranges; the mean (in the logarithms) of a run's last quarter.

The last two have options for each budget, which are chosen in other mazes (``tuners``), at a cost that is a row.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import metarl_jax as mrl
from benchmarks.record import RESULTS, compared, row, seeded, timed
from benchmarks.tuners import (
    AGENTS,
    GRID,
    LEAST,
    LIFE,
    MIDDLE,
    MOST,
    PLACE,
    POINTS,
    RANGES,
    SHARES,
    STEPS,
    SUBSETS,
    TASKS,
    TUNERS,
    budgets,
    life_return,
    meta_test,
    shown,
    steps_of_choosing,
    trained_by,
)
from metarl_jax.algorithms.lifetime.actor_critic import NAMES
from metarl_jax.algorithms.lifetime.population import drawn, grid
from metarl_jax.records import PyTree
from metarl_jax.runtime import compile_cache
from metarl_jax.viz.style import AGENT, CONTROL, MUTED, ROLES, new_figure, style


class Chosen(NamedTuple):
    """``settings``: hyperparameters, unbounded, leaves ``[C]``; ``weights [shares, C]``: how likely each was chosen
    after a share of the budget, ``[uses, shares, C]`` where there are several uses of it."""

    settings: PyTree
    weights: np.ndarray
    seconds: float


def searched(method: str, seed: int) -> Chosen:
    """By the grid, or random search: an update is one whole life of every point in every maze."""
    names = GRID if method == "grid" else NAMES
    low, high = ({name: end[name] for name in names} for end in (LEAST, MOST))
    points = grid(low, high, POINTS) if method == "grid" else drawn(low, high, POINTS, seed)
    settings = {name: points.get(name, np.full(POINTS, MIDDLE[name], np.float32)) for name in NAMES}
    middle = {name: (float(x), float(x)) for name, x in shown(MIDDLE).items()}
    ranges = {name: RANGES[name] if name in names else middle[name] for name in NAMES}
    kind: Any = method
    recipe = mrl.algorithms.population(method=kind, size=POINTS, draw=seed, window=LIFE, **ranges, **AGENTS)
    state, _, seconds = trained_by(recipe, seed, TASKS)
    earned = np.where(state.sound, state.lives.earned, -np.inf)  # [N, P]
    uses = [[use(earned, share) for share in SHARES] for use in (of_fewer_points, of_fewer_mazes)]
    return Chosen(settings, np.array(uses), seconds)


def of_fewer_points(earned: np.ndarray, share: float) -> np.ndarray:
    """How likely each point ``[P]`` is the best of a random subset: ``C(worse than it, m - 1) / C(P, m)``."""
    size = round(share * POINTS)
    worse = np.argsort(np.argsort(earned.mean(axis=0)))
    return np.array([math.comb(int(count), size - 1) for count in worse]) / math.comb(POINTS, size)


def of_fewer_mazes(earned: np.ndarray, share: float) -> np.ndarray:
    """How often each point ``[P]`` is the best in a random subset of the mazes."""
    random, size = np.random.default_rng(0), round(share * TASKS)
    best = [earned[random.choice(TASKS, size, replace=False)].mean(axis=0).argmax() for _ in range(SUBSETS)]
    return np.bincount(best, minlength=POINTS) / SUBSETS


def tuned(method: str, seed: int) -> Chosen:
    """By PBT or persistent ES, a run for each budget; the seconds are those of the whole one."""
    runs = [TUNERS[method](choice.setting, share, seed) for choice, share in zip(budgets(method), SHARES, strict=True)]
    settings, seconds = zip(*runs, strict=True)
    return Chosen(dict(zip(NAMES, np.array(settings).T, strict=True)), np.eye(len(SHARES)), seconds[-1])


def scored(chosen: Chosen) -> tuple[np.ndarray, np.ndarray]:
    """(what was chosen after each share scores ``[shares]``, of two uses of the budget the kinder; each setting's
    score). Settings that are chosen once in 200 times or less are left out."""
    weights = chosen.weights.reshape(-1, len(SHARES), chosen.weights.shape[-1])
    matter = weights.max(axis=(0, 1)) > 1 / 200
    settings = np.stack([chosen.settings[name] for name in NAMES], axis=1)[matter].tolist()
    scores = np.array([life_return(*setting) for setting in settings])
    weights = weights[..., matter] / weights[..., matter].sum(axis=-1, keepdims=True)
    return (weights @ scores).max(axis=0), scores


METHODS: dict[str, Callable[[int], Chosen]] = {
    "self-tuning": functools.partial(tuned, "self-tuning"),
    "PBT": functools.partial(tuned, "PBT"),
    "grid": functools.partial(searched, "grid"),
    "random search": functools.partial(searched, "random"),
}
COLOURS = dict(zip(METHODS, (AGENT, CONTROL, ROLES["bayes"], ROLES["non_adaptive"]), strict=True))


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    compile_cache.enable()
    scores, seconds, fixed = {}, {}, -math.inf  # scores: [S, shares]
    for method, choose in METHODS.items():
        runs = [choose(seed) for seed in seeds]
        told = [scored(one) for one in runs]
        scores[method] = np.stack([by_share for by_share, _ in told])
        seconds[method] = [round(one.seconds, 1) for one in runs]
        fixed = max(told[0][1]) if method == "grid" else fixed
        print(method, scores[method].round(0).tolist(), seconds[method], flush=True)
        print({name: x[-1].round(4) for name, x in shown(runs[0].settings).items()}, flush=True)
    draw(scores, fixed, start := life_return(*MIDDLE.values()))
    found = ratios(scores, fixed)
    found.append(row(f"{PLACE}: return of a life, the best point of the grid by meta-test", fixed, "return"))
    found.append(row(f"{PLACE}: return of a life, the middle of all ranges", start, "return"))
    for method in METHODS:
        for i, share in enumerate(SHARES):
            name = f"{PLACE}: return of a life, {method}, {shared(share)}"
            found.append(seeded(name, scores[method][:, i], "return"))
        cost = f"{PLACE}, {method}:"  # the same of each, since persistent ES has no outer gradients
        spent = (POINTS * TASKS * STEPS + len(SHARES) * meta_test()[1]) / 1e6
        evaluations = POINTS * TASKS * LIFE / 1e3
        found.append(row(f"{cost} millions of steps of all agents, training and meta-test", spent, "M steps"))
        if method in TUNERS:
            chosen = {shared(share): choice.told for share, choice in zip(SHARES, budgets(method), strict=True)}
            name = f"{cost} millions of steps of choosing its options for all budgets, in other mazes"
            found.append(row(name, steps_of_choosing(method) / 1e6, "M steps", settings=chosen))
        found.append(row(f"{cost} thousands of gradient evaluations, inner ones", evaluations, "k gradients"))
        found.append(seeded(f"{cost} seconds of training, uncompiled", seconds[method], "s"))
    return timed(found, np.sum(list(seconds.values()), axis=0).round(1).tolist())


def ratios(scores: dict[str, np.ndarray], fixed: float) -> list[dict[str, Any]]:
    """The ratios that are held to a bar."""
    own, found, others = scores["self-tuning"], [], {name: scores[name] for name in scores if name != "self-tuning"}
    best = max(others, key=lambda method: others[method][:, -1].mean())
    known = others[best][:, -1] if others[best][:, -1].mean() > fixed else fixed
    name = f"{PLACE}: self-tuning over the best of them, also the grid's best point, {shared(1)}"
    found.append(compared(name, own[:, -1], known, at_least=0.95))
    for i, share in enumerate(SHARES):
        for method, score in others.items():
            name = f"{PLACE}: self-tuning over {method}, {shared(share)}"
            found.append(compared(name, own[:, i], score[:, i], at_least=1.0))
    return found


def shared(share: float) -> str:
    return "whole cost" if share == 1 else f"1/{round(1 / share)} of the cost"


def draw(scores: dict[str, np.ndarray], fixed: float, start: float) -> None:
    with style():
        axes = (figure := new_figure(7.2, 4.2)).subplots()
        steps = np.array(SHARES) * POINTS * TASKS * STEPS / 1e6
        for method, score in scores.items():
            axes.plot(steps, score.mean(axis=0), "o-", color=COLOURS[method], label=method)
            axes.fill_between(steps, score.min(axis=0), score.max(axis=0), color=COLOURS[method], alpha=0.15, lw=0)
        axes.axhline(fixed, color=MUTED, ls="--", lw=1.2, label="the grid's best point, by meta-test")
        axes.axhline(start, color=MUTED, ls=":", lw=1.2, label="the middle of all ranges")
        axes.set(xscale="log", xticks=steps, xticklabels=[f"{x:.3g}" for x in steps])
        axes.minorticks_off()
        axes.set(xlabel="millions of environment steps, all agents", ylabel="return of a newborn's life")
        axes.set_title("Hyperparameters for agents in held-out mazes (means and ranges of seeds)")
        axes.legend()
        figure.savefig(RESULTS / "self-tuning-mazes.png")
