"""Credit assignment that was learned, beside advantage actor-critics at their best settings, on newborn agents' lives.

    python benchmarks/quality.py lpg-random-mdps --seeds 1 2 3
    python benchmarks/quality.py intrinsic-reward-gridnavi --seeds 1 2 3
    python benchmarks/quality.py pairwise-key-to-door --seeds 40 41 42 43 44 45 46 47 48 49

Rules are learned once a seed, then frozen; agents are born and live in tasks drawn anew. The settings of the
actor-critics are chosen on other lives than those tested.
"""

import functools
from typing import Any

import jax
import numpy as np
from lives import Lives, Tuned, actor_critics, best, curves, tested_on
from record import RESULTS, Clock, row, trained

import metarl_jax as mrl
from metarl_jax.config import Recipe

KEY = functools.partial(mrl.tasks.key_to_door, num_actions=5, noise=3.0, num_episodes=800)
UMBRELLA = functools.partial(mrl.tasks.umbrella, num_episodes=800)
CHAIN = dict(episodes=4, life=200)
PAIRS: dict[str, Any] = dict(num_updates=800, num_tasks=64)
TRACES = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


def pairs_recipe() -> Recipe:
    return mrl.algorithms.pairwise_weights(
        **CHAIN,
        outer_trace=0.0,
        decay_updates=PAIRS["num_updates"],
    )


def learned(recipe: Recipe, lives: Lives, seed: int, **options: Any) -> tuple[mrl.Run, np.ndarray, float]:
    """(the run, the mean curve ``[life]`` of newborn agents under what it learned, seconds)."""
    with Clock() as clock:
        run = mrl.train(recipe, lives.tasks, seed=seed, quiet=True, **options)
        meta = jax.tree.map(lambda x: x[0], run.state.meta)
        curve = np.asarray(curves(recipe, lives)(tested_on(), meta).mean(axis=0))
    print(f"seed {seed}: {curve.mean():.4f} a step in {clock.seconds:.0f} s", flush=True)
    return run, curve, round(clock.seconds, 1)


def pairwise_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """Learned weights of pairs against ten lambdas, each at its best rate and entropy cost; where they are largest."""
    lives = Lives(KEY(), **CHAIN)
    known = best(lives, actor_critics(lives, TRACES, (0.01, 0.03, 0.1, 0.3)))
    print(f"actor-critic: {known.curve.mean():.4f} with {known.setting}", flush=True)
    shares, peaks, maps, seconds = [], [], [], []
    for seed in seeds:
        run, curve, spent = learned(pairs_recipe(), lives, seed, **PAIRS)
        maps.append(mrl.viz.credit_weights(run))
        peak = np.unravel_index(np.argmax(maps[-1]), maps[-1].shape)
        shares.append(float(curve.mean() / known.curve.mean()))
        peaks.append(float(peak == (0, lives.tasks.horizon - 1)))
        seconds.append(spent)
    other = mrl.train(pairs_recipe(), UMBRELLA(), seed=seeds[0], quiet=True, **PAIRS)
    draw_maps({"key to door, learned": maps[0], "umbrella, learned": mrl.viz.credit_weights(other)})
    name, length = "key-to-door, pairwise weights", lives.tasks.horizon
    areas = [share * float(known.curve.mean()) * length for share in shares]
    rows = [
        row(f"{name}: area under the curve over the best lambda's of ten, lowest seed", min(shares), shares, 1.0),
        row(f"{name}: share of the seeds whose map peaks at key and door", float(np.mean(peaks)), peaks, 1.0),
        row(f"{name}: return of an episode over a life, of 5", *mean_of(areas, 1.0)),
        row(f"{name}: the same with lambda {known.setting['trace']}", float(known.curve.mean()) * length),
    ]
    return [made | trained("pairwise-key-to-door", seeds, seconds) for made in rows]


def draw_maps(learned_maps: dict[str, np.ndarray]) -> None:
    """Beside lambda-returns' weights, and those by hand: the prize is owed to the first step, noise to nobody."""
    length = len(next(iter(learned_maps.values())))
    gap = np.arange(length)[None] - np.arange(length)[:, None]
    falling = {f"lambda {x}": np.where(gap >= 0, x ** np.maximum(gap, 0.0), 0.0) for x in (0.5, 0.9, 1.0)}
    by_hand = np.zeros((length, length))
    by_hand[0, -1] = 1.0
    mrl.viz.draw_credit({**learned_maps, **falling, "by hand": by_hand}, RESULTS / "pairwise-weights.png")


SMALL = functools.partial(
    mrl.tasks.tabular, num_states=5, horizon=10, num_episodes=240, mean_reward=0.0, reward_std=0.0
)
SMALL_LIFE = dict(episodes=8, life=30)
SHIPPED_AS = "random-mdps"  # the first seed's rule
PROTOTYPE = 0.876  # reward a step, of the prototype on random MDPs of this size


def small_rows(seeds: list[int], updates: int = 1000) -> list[dict[str, Any]]:
    """LPG on random MDPs of 5 states: reward a step over a life in unseen ones."""
    lives = Lives(SMALL(), **SMALL_LIFE)
    recipe = mrl.algorithms.lpg(**SMALL_LIFE, decay_updates=updates)
    known = tuned(lives)
    trained_means, untrained, seconds = [], [], []
    for seed in seeds:
        run, curve, spent = learned(recipe, lives, seed, num_updates=updates, num_tasks=64)
        if seed == seeds[0]:
            mrl.rules.SHELF.folder.mkdir(exist_ok=True)
            mrl.rules.save(run, mrl.rules.SHELF.folder / f"{SHIPPED_AS}.json")
        newborn = recipe.build(lives.tasks).init(jax.random.key(seed), 1).meta
        untrained.append(float(curves(recipe, lives)(tested_on(), newborn).mean()))
        trained_means.append(float(curve.mean()))
        seconds.append(spent)
    optimum = optimal(lives)
    name = "lpg, random MDPs of 5 states"
    rows = [
        row(f"{name}: reward a step over a life", float(np.mean(trained_means)), trained_means, PROTOTYPE),
        row(f"{name}: the same untrained", float(np.mean(untrained)), untrained),
        row(f"{name}: share of the best tuned actor-critic's", *mean_of(trained_means, known.curve.mean())),
        row(f"{name}: share of the optimum, the tasks known", *mean_of(trained_means, optimum)),
    ]
    return [made | trained("lpg-random-mdps", seeds, seconds) for made in rows]


def mean_of(values: list[float], unit: float) -> tuple[float, list[float]]:
    shares = [float(value / unit) for value in values]
    return float(np.mean(shares)), shares


def tuned(lives: Lives) -> Tuned:
    """Tabular actor-critics as LPG's agents are, at their best rate, lambda and entropy cost."""
    found = actor_critics(lives, (0.0, 0.5, 0.9), (0.01, 0.03, 0.1, 0.3), (0.5, 0.7, 0.9, 0.99), encoder=())
    made = best(lives, found, encoder=())
    print(f"actor-critic on {lives.tasks.name}: {made.curve.mean():.4f} with {made.setting}", flush=True)
    return made


def optimal(lives: Lives) -> float:
    """Reward a step of optimal play in the tasks tested."""
    tasks = jax.vmap(lambda key: lives.tasks.sample(jax.random.split(key)[0]))(tested_on())
    assert lives.tasks.references is not None
    known = lives.tasks.references(tasks, lives.tasks.horizon)
    value = next(r.trial_return for r in known if (r.role, r.kind) == ("optimal", "exact"))
    return float(np.mean(value)) / lives.tasks.horizon


LATE = functools.partial(mrl.tasks.gridnavi, goal_visible=True, pay_every=10, num_episodes=200)
LATE_LIFE = dict(episodes=2, life=100)
AGENT = dict(discount=0.9, trace=0.9, learning_rate=0.01, entropy_cost=0.03)  # about an actor-critic's best
REWARD: dict[str, Any] = dict(num_updates=1200, num_tasks=128)


def reward_recipe() -> Recipe:
    evolution = dict(window=10, decay_updates=REWARD["num_updates"])
    return mrl.algorithms.intrinsic_reward(**LATE_LIFE, **AGENT, **evolution)


def reward_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """An intrinsic reward where the task's own comes late, against actor-critics at their best settings."""
    lives = Lives(LATE(), **LATE_LIFE)
    found = actor_critics(lives, (0.8, 0.9, 0.95, 1.0), (0.01, 0.03, 0.06, 0.12, 0.24), (0.85, 0.9, 0.95))
    known = best(lives, found)
    print(f"actor-critic: {known.curve.mean():.4f} with {known.setting}", flush=True)
    means, seconds = [], []
    for seed in seeds:
        _, curve, spent = learned(reward_recipe(), lives, seed, **REWARD)
        means.append(float(curve.mean()))
        seconds.append(spent)
    name = "gridnavi paid every 10 steps, intrinsic reward"
    shares = mean_of(means, float(known.curve.mean()))
    rows = [
        row(f"{name}: area under the curve over the best tuned actor-critic's", *shares, 1.2),
        row(f"{name}: return of an episode over a life", *mean_of(means, 1 / lives.tasks.horizon)),
        row(f"{name}: the same of the actor-critic", float(known.curve.mean()) * lives.tasks.horizon),
    ]
    return [made | trained("intrinsic-reward-gridnavi", seeds, seconds) for made in rows]
