"""Credit assignment that was learned, beside advantage actor-critics at their best settings, on newborn agents' lives.

    python -m benchmarks.quality lpg-random-mdps
    python -m benchmarks.quality intrinsic-reward-gridnavi
    python -m benchmarks.quality pairwise-key-to-door

Rules are learned once a seed, then frozen; agents are born and live in tasks drawn anew, of ``key-to-door`` and
``gridnavi`` in tasks that were held out. The settings of the actor-critics are chosen by two rounds (``choosing``) on
other lives than those tested; of our agents none is.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

import metarl_jax as mrl
from benchmarks.lives import Lives, actor_critics, curves, grid_of, held_out, optimal, tested
from benchmarks.record import RESULTS, Clock, compared, seeded, timed, written_to
from benchmarks.sizes import size
from metarl_jax.config import Recipe
from metarl_jax.records import PyTree, TaskDistribution

KEY = functools.partial(mrl.tasks.key_to_door, num_actions=5, noise=3.0, num_episodes=size(800, 8))
UMBRELLA = functools.partial(mrl.tasks.umbrella, num_episodes=size(800, 8))
CHAIN: dict[str, Any] = dict(episodes=4, life=size(200, 2))
PAIRS: dict[str, Any] = size(dict(num_updates=800, num_tasks=64), dict(num_updates=1, num_tasks=2))
TRACES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)
OTHERS = "actor-critic at its best setting, chosen by two rounds"


def pairs_recipe() -> Recipe:
    return mrl.algorithms.pairwise_weights(**CHAIN, outer_trace=0.0, decay_updates=PAIRS["num_updates"])


class Learned(NamedTuple):
    """By seed: runs, what newborn agents earn a step over a life under what each learned, seconds."""

    runs: list[mrl.Run]
    areas: list[float]
    seconds: list[float]


def learned(recipe: Recipe, tasks: TaskDistribution, lives: Lives, seeds: list[int], **options: Any) -> Learned:
    """Learns in ``tasks`` and tests in ``lives``, a seed after the other."""
    live, made = curves(recipe, lives), Learned([], [], [])
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(recipe, tasks, seed=seed, quiet=True, **options)
            area = float(tested(live, [meta_of_run(run)], [seed]).mean())
        made.runs.append(run)
        made.areas.append(area)
        made.seconds.append(round(clock.seconds, 1))
        print(f"seed {seed}: {area:.4f} a step in {clock.seconds:.0f} s", flush=True)
    return made


def meta_of_run(run: mrl.Run) -> PyTree:
    return jax.tree.map(lambda x: x[0], run.state.meta)


def times(areas: list[float], factor: float) -> list[float]:
    return [area * factor for area in areas]


def pairwise_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """Learned weights of pairs against ten lambdas, each at its best rate and entropy cost; where they are largest."""
    home, away = (Lives(tasks, **CHAIN) for tasks in held_out(KEY()))
    known = actor_critics(home, grid_of(TRACES, (0.01, 0.03, 0.1, 0.3)), seeds, tested_in=away)
    made = learned(pairs_recipe(), home.tasks, away, seeds, **PAIRS)
    maps = [mrl.viz.credit_weights(run) for run in made.runs]
    other = mrl.train(pairs_recipe(), UMBRELLA(), seed=seeds[0], quiet=True, **PAIRS)
    draw_maps({"key to door, learned": maps[0], "umbrella, learned": mrl.viz.credit_weights(other)})
    name, length = "key-to-door, pairwise weights", away.tasks.horizon
    peaks = [float(np.unravel_index(np.argmax(x), x.shape) == (0, length - 1)) for x in maps]
    rows = [
        compared(
            f"{name}: area under the curve over the best lambda's of ten",
            made.areas,
            known.areas,
            at_least=1.0,
            settings={OTHERS: known.choice.told},
            note="the action that picks up the key is one of those held out",
        ),
        seeded(f"{name}: share of the seeds whose map peaks at key and door", peaks, "share", at_least=1.0),
        seeded(f"{name}: return of an episode over a life, of 5", times(made.areas, length), "return"),
        seeded(f"{name}: the same with the best lambda", times(known.areas, length), "return"),
    ]
    return timed(rows, made.seconds)


def draw_maps(learned_maps: dict[str, np.ndarray]) -> None:
    """Beside lambda-returns' weights, and those by hand: the prize is owed to the first step, noise to nobody."""
    length = len(next(iter(learned_maps.values())))
    gap = np.arange(length)[None] - np.arange(length)[:, None]
    falling = {f"lambda {x}": np.where(gap >= 0, x ** np.maximum(gap, 0.0), 0.0) for x in (0.5, 0.9, 1.0)}
    by_hand = np.zeros((length, length))
    by_hand[0, -1] = 1.0
    mrl.viz.draw_credit({**learned_maps, **falling, "by hand": by_hand}, RESULTS / "pairwise-weights.png")


SMALL = functools.partial(
    mrl.tasks.tabular, num_states=5, horizon=10, num_episodes=size(240, 16), mean_reward=0.0, reward_std=0.0
)
SMALL_LIFE = dict(episodes=8, life=size(30, 2))
UPDATES: dict[str, Any] = size(dict(num_updates=1000, num_tasks=64), dict(num_updates=1, num_tasks=2))
LPG_SIZES: dict[str, Any] = size({}, dict(memory_size=4, predictions=2, window=2))
SHIPPED_AS = "random-mdps"  # the first seed's rule
PROTOTYPE = 0.876  # reward a step, of the prototype on random MDPs of this size


def small_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """LPG on random MDPs of 5 states: reward a step over a life in unseen ones."""
    lives = Lives(SMALL(), **SMALL_LIFE)
    recipe = mrl.algorithms.lpg(**SMALL_LIFE, **LPG_SIZES, decay_updates=UPDATES["num_updates"])
    settings = grid_of((0.0, 0.5, 0.9), (0.01, 0.03, 0.1, 0.3), (0.5, 0.7, 0.9, 0.99))
    known = actor_critics(lives, settings, seeds, encoder=())  # tabular, as LPG's agents are
    made = learned(recipe, lives.tasks, lives, seeds, **UPDATES)
    mrl.learned.rules.save(made.runs[0], written_to(mrl.learned.rules.SHELF.folder) / f"{SHIPPED_AS}.json")
    newborn = [recipe.build(lives.tasks).init(jax.random.key(seed), 1).meta for seed in seeds]
    untrained = tested(curves(recipe, lives), newborn, seeds).mean(axis=1).tolist()
    name = "lpg, random MDPs of 5 states"
    rows = [
        seeded(f"{name}: reward a step over a life", made.areas, "reward per step", at_least=PROTOTYPE),
        seeded(f"{name}: the same untrained", untrained, "reward per step"),
        compared(
            f"{name}: share of the best tuned actor-critic's",
            made.areas,
            known.areas,
            "share",
            settings={OTHERS: known.choice.told},
        ),
        seeded(
            f"{name}: share of the optimum, the tasks known", times(made.areas, 1 / optimal(lives, seeds[0])), "share"
        ),
    ]
    return timed(rows, made.seconds)


LATE = functools.partial(mrl.tasks.gridnavi, goal_visible=True, pay_every=10, num_episodes=size(200, 4))
LATE_LIFE: dict[str, Any] = dict(episodes=2, life=size(100, 2))
AGENT: dict[str, Any] = dict(
    discount=0.9, trace=0.9, learning_rate=0.01, entropy_cost=0.03
)  # about an actor-critic's best
REWARD: dict[str, Any] = size(dict(num_updates=1200, num_tasks=128), dict(num_updates=1, num_tasks=2))


def reward_recipe() -> Recipe:
    evolution: dict[str, Any] = dict(window=size(10, 2), decay_updates=REWARD["num_updates"])
    return mrl.algorithms.intrinsic_reward(**LATE_LIFE, **AGENT, **evolution)


def reward_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """An intrinsic reward where the task's own comes late, against actor-critics at their best settings."""
    home, away = (Lives(tasks, **LATE_LIFE) for tasks in held_out(LATE()))
    settings = grid_of((0.8, 0.9, 0.95, 1.0), (0.01, 0.03, 0.06, 0.12, 0.24), (0.85, 0.9, 0.95))
    known = actor_critics(away, settings, seeds)
    made = learned(reward_recipe(), home.tasks, away, seeds, **REWARD)
    name, length = "gridnavi paid every 10 steps, intrinsic reward", away.tasks.horizon
    rows = [
        compared(
            f"{name}: area under the curve over the best tuned actor-critic's",
            made.areas,
            known.areas,
            at_least=1.2,
            settings={OTHERS: known.choice.told},
            note="goals are those held out; the actor-critic's settings were chosen in them",
        ),
        seeded(f"{name}: return of an episode over a life", times(made.areas, length), "return"),
        seeded(f"{name}: the same of the actor-critic", times(known.areas, length), "return"),
    ]
    return timed(rows, made.seconds)
