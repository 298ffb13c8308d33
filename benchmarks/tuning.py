"""Agents that tune themselves on a set of mazes, beside a grid, random search and PBT: equal environment steps.

    python benchmarks/quality.py self-tuning-mazes --seeds $(seq 100 109)

Four 9x9 layouts, each floor cell a goal: every fifth is held out. In each of ``TASKS`` mazes agents are born, live
``LIFE`` inner updates of ``COPIES`` episodes side by side, and die; a life is scored by all that it earned, learning
included. The whole budget is one life of each of ``POINTS`` settings in each of ``TASKS`` mazes. What a method chose
after a share of it is scored by newborns' lives in the held-out mazes, the same for all. What else is set here was
chosen on seeds from 20 and after looks at seeds 0 to 9; report others. A budget counts its own run only. Seconds
are those of training at the whole cost, compiling apart.

- grid: 4 x 4 x 4 over ``GRID``, the other two hyperparameters in the middle of their ranges. random: 64 points of all
  five ranges. Of a smaller budget the kinder of two uses counts: fewer points (the mean over all subsets), or all
  points in fewer mazes (a mean over some).
- PBT: 32 members over all five, in fewer mazes where the budget is smaller; its best member's hyperparameters.
- self-tuning: from the middle of all five ranges, likewise; the mean (in the logarithms) of a run's last quarter.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from record import RESULTS, Clock, row, trained

import metarl_jax as mrl
from metarl_jax import compile_cache
from metarl_jax.algorithms._actor_critics import NAMES, hyperparameters, unbounded
from metarl_jax.algorithms._lifetimes import LearnerState
from metarl_jax.algorithms.population import drawn, grid
from metarl_jax.config import Recipe
from metarl_jax.driver import driver
from metarl_jax.types import PyTree
from metarl_jax.viz.style import AGENT, CONTROL, MUTED, ROLES, new_figure, style

WALLS = (
    "#########,#S..#...#,###.#.#.#,#.....#.#,#.###.#.#,#.#...#.#,#.#.###.#,#.#.....#,#########",
    "#########,#S#.....#,#.#.###.#,#.#.#...#,#.#.#.###,#...#...#,#.#####.#,#.......#,#########",
    "#########,#S......#,#.#.#.#.#,#.#...#.#,#.#.#.#.#,#...#...#,#.#.#.#.#,#.......#,#########",
    "#########,#S......#,#.......#,#.......#,#.......#,#.......#,#.......#,#.......#,#########",
)
PLACE = "118 mazes"
HORIZON, COPIES, LIFE, TASKS, POINTS, TRIALS, SUBSETS = 32, 4, 64, 32, 64, 8, 200
STEPS, SHARES = LIFE * COPIES * HORIZON, (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of a life; of the budget
RANGES = dict(
    discount=(0.8, 0.99), trace=(0.8, 0.99), entropy_cost=(1e-3, 0.1), value_cost=(0.1, 2.0), learning_rate=(1e-3, 0.1)
)
GRID = ("discount", "entropy_cost", "learning_rate")
LEAST, MOST = (unbounded({name: ends[i] for name, ends in RANGES.items()}, NAMES, 0.0) for i in (0, 1))
MIDDLE = {name: (LEAST[name] + MOST[name]) / 2 for name in NAMES}
AGENTS: dict[str, Any] = dict(optimizer="adam", episodes=COPIES, life=LIFE)
PBT, PBT_TASKS = dict(size=32, window=8, interval=2), (8, 8, 16, 16, 32)
SELF_TUNING: dict[str, Any] = dict(gradient="pes", sigma=0.4)
BUDGETS = (32, 8, 0.15), (32, 8, 0.15), (64, 8, 0.1), (64, 8, 0.1), (128, 16, 0.12)  # mazes, window, meta-rate


class Chosen(NamedTuple):
    """``settings``: hyperparameters, unbounded, leaves ``[C]``; ``weights [shares, C]``: how likely each was chosen
    after a share of the budget, ``[uses, shares, C]`` where there are several uses of it."""

    settings: PyTree
    weights: np.ndarray
    seconds: float


def mazes(split: Any) -> mrl.types.TaskDistribution:
    layouts = tuple(walls.replace(",", "\n") for walls in WALLS)
    return mrl.tasks.maze(layouts=layouts, horizon=HORIZON, trial_steps=STEPS, split=split)


def shown(settings: PyTree) -> dict[str, Any]:
    """Hyperparameters from unbounded ones."""
    return {name: np.asarray(x) for name, x in hyperparameters({}, 0.0, settings)._asdict().items()}


def trained_by(recipe: Recipe, seed: int, num_tasks: int, share: float = 1.0):
    """(the state after a share of the budget, metrics ``[updates]``, seconds that did not go into compiling)."""
    tasks = mazes("train-goals")
    algorithm = recipe.build(tasks)
    updates = updates_of(algorithm.steps, num_tasks, share)
    program = driver(algorithm, tasks, num_tasks, capacity=updates)
    seeds = jnp.asarray([seed], jnp.int32)
    learner, *_ = program.advance(seeds, program.init(seeds), 0, 0)
    with Clock() as clock:
        learner, metrics, *_ = jax.block_until_ready(program.advance(seeds, learner, 0, updates))
    state = jax.tree.map(lambda x: np.asarray(x[0]), learner.algorithm)
    return state, {name: np.asarray(values)[:, 0] for name, values in metrics.items()}, clock.seconds


def updates_of(steps: int, num_tasks: int, share: float) -> int:
    return int(share * POINTS * TASKS * STEPS) // (steps * num_tasks)


def searched(method: str, seed: int) -> Chosen:
    """By the grid, or random search: an update is one whole life of every point in every maze."""
    names = GRID if method == "grid" else NAMES
    low, high = ({name: end[name] for name in names} for end in (LEAST, MOST))
    points = grid(low, high, POINTS) if method == "grid" else drawn(low, high, POINTS, seed)
    settings = {name: points.get(name, np.full(POINTS, MIDDLE[name], np.float32)) for name in NAMES}
    middle = {name: (float(x), float(x)) for name, x in shown(MIDDLE).items()}
    ranges = {name: RANGES[name] if name in names else middle[name] for name in NAMES}
    recipe = mrl.algorithms.population(method=method, size=POINTS, draw=seed, window=LIFE, **ranges, **AGENTS)
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


def bred(seed: int) -> Chosen:
    """By PBT, a run for each budget; the seconds are those of the whole one."""
    recipe, settings, seconds = mrl.algorithms.population(draw=seed, **PBT, **RANGES, **AGENTS), [], 0.0
    for share, num_tasks in zip(SHARES, PBT_TASKS, strict=True):
        state, _, seconds = trained_by(recipe, seed, num_tasks, share)
        best = np.argmax(np.where(state.sound, state.score, -np.inf))
        settings.append([state.meta[name][best] for name in NAMES])
    return Chosen(dict(zip(NAMES, np.array(settings).T, strict=True)), np.eye(len(SHARES)), seconds)


def self_tuned(seed: int) -> Chosen:
    """By persistent ES, a run for each budget; the seconds are those of the whole one."""
    start, settings, seconds = {name: float(x) for name, x in shown(MIDDLE).items()}, [], 0.0
    for share, (num_tasks, window, rate) in zip(SHARES, BUDGETS, strict=True):
        updates = updates_of(2 * window * COPIES * HORIZON, num_tasks, share)  # 2: in pairs
        options = SELF_TUNING | dict(window=window, meta_rate=rate, decay_updates=updates)
        recipe = mrl.algorithms.self_tuning(**start, **options, **AGENTS)
        _, metrics, seconds = trained_by(recipe, seed, num_tasks, share)
        last = {name: metrics[name][-(updates // 4) :].tolist() for name in NAMES}
        settings.append([np.mean([unbounded({k: x}, (k,), 0.0)[k] for x in last[k]]) for k in NAMES])
    return Chosen(dict(zip(NAMES, np.array(settings).T, strict=True)), np.eye(len(SHARES)), seconds)


@functools.cache
def meta_test() -> tuple[Callable, int]:
    """(a setting -> what a newborn agent earns in a life under it, a mean; steps that this takes)."""
    tasks = mazes("held-out-goals")
    assert tasks.tasks is not None
    algorithm = mrl.algorithms.self_tuning(**AGENTS).build(tasks)
    batch = jax.tree.map(lambda x: jnp.repeat(x, TRIALS, axis=0), tasks.tasks)
    keys = jax.random.split(jax.random.key(0x7E57), batch.goal.shape[0])

    def one(setting, key, task):
        return algorithm.adapt(key, LearnerState(setting, (), ()), task, STEPS).mean_reward.sum()

    lives = jax.vmap(one, in_axes=(None, 0, 0))
    return jax.jit(lambda setting: lives(setting, keys, batch).mean()), len(keys) * STEPS


@functools.cache
def life_return(*setting: float) -> float:
    """Of newborn agents in the held-out mazes; ``setting``: in the order of ``NAMES``, unbounded."""
    return float(meta_test()[0](dict(zip(NAMES, setting, strict=True))))


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
    "self-tuning": self_tuned,
    "PBT": bred,
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
    found = compared(scores, fixed)
    found.append(row(f"{PLACE}: return of a life, the best point of the grid by meta-test", fixed))
    found.append(row(f"{PLACE}: return of a life, the middle of all ranges", start))
    for method in METHODS:
        for i, share in enumerate(SHARES):
            name = f"{PLACE}: return of a life, {method}, {shared(share)}"
            found.append(row(name, float(scores[method][:, i].mean()), scores[method][:, i].tolist()))
        cost = f"{PLACE}, {method}:"  # the same of each, since persistent ES has no outer gradients
        spent = (POINTS * TASKS * STEPS + len(SHARES) * meta_test()[1]) / 1e6
        found.append(row(f"{cost} millions of steps of all agents, training and meta-test", spent))
        found.append(row(f"{cost} thousands of gradient evaluations, inner ones", POINTS * TASKS * LIFE / 1e3))
        found.append(row(f"{cost} seconds of training, uncompiled", float(np.mean(seconds[method])), seconds[method]))
    total = np.sum(list(seconds.values()), axis=0).round(1).tolist()
    return [made | trained("self-tuning-mazes", seeds, total) for made in found]


def compared(scores: dict[str, np.ndarray], fixed: float) -> list[dict[str, Any]]:
    """The ratios that are held to a bar."""
    own, found, others = scores["self-tuning"], [], {name: scores[name] for name in scores if name != "self-tuning"}
    best = max(fixed, *(float(x[:, -1].mean()) for x in others.values()))
    name = f"{PLACE}: self-tuning over the best of them, also the grid's best point, {shared(1)}"
    found.append(row(name, float(own[:, -1].mean() / best), (own[:, -1] / best).tolist(), 0.95))
    for i, share in enumerate(SHARES):
        for method, score in others.items():
            ratio = float(own[:, i].mean() / score[:, i].mean())
            name = f"{PLACE}: self-tuning over {method}, {shared(share)}"
            found.append(row(name, ratio, (own[:, i] / score[:, i]).tolist(), 1.0))
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
