"""Runs that tune agents on mazes, for ``tuning``: by PBT and by persistent evolution strategies; what a setting earns.

Both have options of their own for each budget. These are chosen in other mazes than those reported, by two rounds of
runs (``choosing``), of as many candidates each; ``steps_of_choosing`` is what that costs.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import metarl_jax as mrl
from benchmarks.choosing import Choice, Rounds, Setting, choose, seeds_of
from benchmarks.record import Clock
from benchmarks.sizes import size
from metarl_jax.algorithms.lifetime.actor_critic import NAMES, hyperparameters, to_unconstrained
from metarl_jax.algorithms.lifetime.meta_learner import LearnerState
from metarl_jax.config import Recipe
from metarl_jax.records import PyTree
from metarl_jax.training.update_loop import driver

WALLS = (
    "#########,#S..#...#,###.#.#.#,#.....#.#,#.###.#.#,#.#...#.#,#.#.###.#,#.#.....#,#########",
    "#########,#S#.....#,#.#.###.#,#.#.#...#,#.#.#.###,#...#...#,#.#####.#,#.......#,#########",
    "#########,#S......#,#.#.#.#.#,#.#...#.#,#.#.#.#.#,#...#...#,#.#.#.#.#,#.......#,#########",
    "#########,#S......#,#.......#,#.......#,#.......#,#.......#,#.......#,#.......#,#########",
)
OTHER_WALLS = (  # where the settings of self-tuning and PBT are chosen
    "#########,#S....#.#,#.###.#.#,#.#.#...#,#.#.###.#,#...#...#,###.#.###,#.....#.#,#########",
    "#########,#S..#...#,###.###.#,#...#...#,#.###.#.#,#.....#.#,#.#####.#,#.......#,#########",
    "#########,#S......#,#.##.##.#,#.#...#.#,#...#...#,#.#...#.#,#.##.##.#,#.......#,#########",
    "#########,#S......#,#.#.....#,#...#...#,#.....#.#,#.#.....#,#...#...#,#.......#,#########",
)
PLACE = "118 mazes"
HORIZON, COPIES, LIFE, TASKS, POINTS, TRIALS, SUBSETS = size((32, 4, 64, 32, 64, 8, 200), (4, 2, 4, 8, 8, 1, 2))
STEPS, SHARES = LIFE * COPIES * HORIZON, size((1 / 16, 1 / 8, 1 / 4, 1 / 2, 1), (1 / 2, 1))  # of a life; of the budget
RANGES = dict(
    discount=(0.8, 0.99), trace=(0.8, 0.99), entropy_cost=(1e-3, 0.1), value_cost=(0.1, 2.0), learning_rate=(1e-3, 0.1)
)
GRID = ("discount", "entropy_cost", "learning_rate")
LEAST, MOST = (to_unconstrained({name: ends[i] for name, ends in RANGES.items()}, NAMES, 0.0) for i in (0, 1))
MIDDLE = {name: (LEAST[name] + MOST[name]) / 2 for name in NAMES}
AGENTS: dict[str, Any] = dict(optimizer="adam", episodes=COPIES, life=LIFE)
PBT: dict[str, Any] = dict(size=size(32, 2))
SELF_TUNING: dict[str, Any] = dict(gradient="pes", sigma=0.4)
ROUNDS = Rounds(first=1, final=size(4, 1), finalists=size(3, 1))  # runs
ALL_CANDIDATES: dict[str, list[Setting]] = {  # as many each
    "PBT": [
        dict(mazes=mazes, window=window, interval=interval)
        for mazes, (window, interval) in itertools.product((8, 16, 32), ((8, 2), (4, 2), (8, 4)))
    ],
    "self-tuning": [
        dict(mazes=mazes, window=window, meta_rate=rate)
        for mazes, (window, rate) in itertools.product((32, 64, 128), ((8, 0.15), (8, 0.1), (16, 0.12)))
    ],
}
FEW = {
    "PBT": [dict(mazes=2, window=2, interval=1)],
    "self-tuning": [dict(mazes=2, window=2, meta_rate=0.15)],
}
CANDIDATES = size(ALL_CANDIDATES, FEW)
Found = tuple[list[float], float]  # hyperparameters in the order of NAMES, unbounded; seconds that were not compiling


def mazes(split: Any, walls: tuple[str, ...] = WALLS) -> mrl.records.TaskDistribution:
    layouts = tuple(one.replace(",", "\n") for one in walls)
    return mrl.tasks.maze(layouts=layouts, horizon=HORIZON, trial_steps=STEPS, split=split)


def shown(settings: PyTree) -> dict[str, Any]:
    """Hyperparameters from unbounded ones."""
    return {name: np.asarray(x) for name, x in hyperparameters({}, 0.0, settings)._asdict().items()}


def trained_by(recipe: Recipe, seed: int, num_tasks: int, share: float = 1.0, walls: tuple[str, ...] = WALLS):
    """(the state after a share of the budget, metrics ``[updates]``, seconds that did not go into compiling)."""
    tasks = mazes("train-goals", walls)
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


def bred(setting: Setting, share: float, seed: int, walls: tuple[str, ...] = WALLS) -> Found:
    """By PBT: the hyperparameters of its best member."""
    options = {name: setting[name] for name in ("window", "interval")}
    recipe = mrl.algorithms.population(draw=seed, **PBT, **options, **RANGES, **AGENTS)
    state, _, seconds = trained_by(recipe, seed, setting["mazes"], share, walls)
    best = np.argmax(np.where(state.sound, state.score, -np.inf))
    return [float(state.meta[name][best]) for name in NAMES], seconds


def self_tuned(setting: Setting, share: float, seed: int, walls: tuple[str, ...] = WALLS) -> Found:
    """By persistent ES from the middle of all ranges: the mean of a run's last quarter."""
    start, num_tasks = {name: float(x) for name, x in shown(MIDDLE).items()}, setting["mazes"]
    updates = updates_of(2 * setting["window"] * COPIES * HORIZON, num_tasks, share)  # 2: in pairs
    options = dict(window=setting["window"], meta_rate=setting["meta_rate"], decay_updates=updates)
    recipe = mrl.algorithms.self_tuning(**start, **SELF_TUNING, **options, **AGENTS)
    _, metrics, seconds = trained_by(recipe, seed, num_tasks, share, walls)
    last = {name: metrics[name][-max(1, updates // 4) :].tolist() for name in NAMES}
    return [float(np.mean([to_unconstrained({k: x}, (k,), 0.0)[k] for x in last[k]])) for k in NAMES], seconds


TUNERS: dict[str, Callable[..., Found]] = {"PBT": bred, "self-tuning": self_tuned}


@functools.cache
def budgets(method: str) -> list[Choice]:
    """Of each share of the budget, by what newborn agents earn in the goals held out of the other mazes."""
    found = []
    for share in SHARES:

        def score(keys: jax.Array, setting: Setting, share=share) -> float:
            runs = [TUNERS[method](setting, share, seed, OTHER_WALLS)[0] for seed in seeds_of(keys)]
            return float(np.mean([life_return(*run, walls=OTHER_WALLS) for run in runs]))

        found.append(choose(CANDIDATES[method], score, ROUNDS))
        print(f"{method}, {share:.3g} of the cost: {found[-1].told}", flush=True)
    return found


def steps_of_choosing(method: str) -> float:
    """Environment steps of all runs of ``budgets``, without the meta-tests."""
    runs = len(CANDIDATES[method]) * ROUNDS.first + min(ROUNDS.finalists, len(CANDIDATES[method])) * ROUNDS.final
    return runs * sum(SHARES) * POINTS * TASKS * STEPS


@functools.cache
def meta_test(walls: tuple[str, ...] = WALLS) -> tuple[Callable, int]:
    """(a setting -> what a newborn agent earns in a life under it, a mean; steps that this takes)."""
    tasks = mazes("held-out-goals", walls)
    assert tasks.tasks is not None
    algorithm = mrl.algorithms.self_tuning(**AGENTS).build(tasks)
    batch = jax.tree.map(lambda x: jnp.repeat(x, TRIALS, axis=0), tasks.tasks)
    keys = jax.random.split(jax.random.key(0x7E57), batch.goal.shape[0])

    def one(setting, key, task):
        return algorithm.adapt(key, LearnerState(setting, (), ()), task, STEPS).mean_reward.sum()

    lives = jax.vmap(one, in_axes=(None, 0, 0))
    return jax.jit(lambda setting: lives(setting, keys, batch).mean()), len(keys) * STEPS


@functools.cache
def life_return(*setting: float, walls: tuple[str, ...] = WALLS) -> float:
    """Of newborn agents in the held-out mazes; ``setting``: in the order of ``NAMES``, unbounded."""
    return float(meta_test(walls)[0](dict(zip(NAMES, setting, strict=True))))
