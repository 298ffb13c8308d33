"""A frozen rule of LPG in families of tasks that it was not learned on, beside actor-critics tuned on each of them.

    python benchmarks/quality.py lpg-transfer --seeds 1 2 3

The rule is learned in random grids; the agents that live by it differ between families in their learning rate alone,
chosen of four as the actor-critics' settings are, on other lives than those tested. Each seed takes about twenty
minutes on a core: its run is kept in ``runs/lpg-transfer-SEED``, and a job that was stopped goes on there.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from credit import SMALL, SMALL_LIFE, mean_of, optimal
from lives import Lives, Tuned, actor_critics, best, chosen_on, curves, finalists, tested_on
from record import Clock, row, trained

import metarl_jax as mrl
from metarl_jax.config import Recipe
from metarl_jax.types import PyTree

RANDOM = functools.partial(mrl.tasks.grids, kind="random", size=9, horizon=100, num_episodes=320)
GRID_LIFE = dict(episodes=16, life=100, steps=20)
FAMILIES = {
    "random MDPs, 5 states": lambda: Lives(SMALL(), **SMALL_LIFE),
    "random MDPs, 10 states, noise": lambda: Lives(mrl.tasks.tabular(mean_reward=0.0), episodes=8, life=60),
    "random grids": lambda: Lives(RANDOM(), **GRID_LIFE),
    **{
        f"grids {kind}": functools.partial(lambda kind: Lives(mrl.tasks.grids(kind=kind), **GRID_LIFE), kind)
        for kind in ("dense", "sparse", "long", "longer", "long-dense")
    },
}
SHIPPED_AS = "random-grids"
UPDATES, TASKS, RATE, RATES = 1800, 48, 0.07, (0.06, 0.12, 0.25, 0.5)
RUNS = Path(__file__).resolve().parents[1] / "runs"


def recipe(**options: Any) -> Recipe:
    judged = dict(outer_discount=0.97, outer_trace=0.95, outer_critic_rate=0.003, outer_entropy_cost=0.02)
    return mrl.algorithms.lpg(predictions=16, meta_rate=0.004, outer_normalisation=0.1, **judged, **options)


def tuned(lives: Lives) -> Tuned:
    """Tabular actor-critics as LPG's agents are, at the best of 256 settings."""
    found = actor_critics(
        lives, (0.0, 0.5, 0.9, 0.95), (0.003, 0.01, 0.03, 0.1), (0.7, 0.9, 0.97, 0.99), 16, encoder=()
    )
    return best(lives, finalists(lives, found, encoder=()), encoder=())


def lived_by_rule(meta: PyTree, lives: Lives) -> np.ndarray:
    """What newborn agents earn by a rule, ``[life]``, at the best of their learning rates."""
    shape = dict(episodes=lives.episodes, life=lives.life, steps=lives.steps)
    made = lambda rate: curves(recipe(**shape, learning_rate=rate), lives)
    areas = {rate: float(made(rate)(chosen_on(), meta).mean()) for rate in RATES}
    rate = max(areas, key=lambda rate: areas[rate])
    curve = np.asarray(made(rate)(tested_on(), meta).mean(axis=0))
    print(f"lpg on {lives.tasks.name}: {curve.mean():.4f} with learning_rate {rate:.3g}", flush=True)
    return curve


def transfer_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """A rule a seed, in every family: shares of the tuned actor-critic's area under the curve, and of the optimum."""
    home, metas, seconds = Lives(RANDOM(), **GRID_LIFE), [], []
    for seed in seeds:
        rule = recipe(**GRID_LIFE, learning_rate=RATE, decay_updates=UPDATES)
        with Clock() as clock:
            options: dict[str, Any] = dict(num_updates=UPDATES, num_tasks=TASKS, seed=seed, quiet=True)
            run = mrl.train(rule, home.tasks, out=RUNS / f"lpg-transfer-{seed}", **options)
        if seed == seeds[0]:
            mrl.rules.save(run, mrl.rules.SHELF.folder / f"{SHIPPED_AS}.json")
        metas.append(jax.tree.map(lambda x: x[0], run.state.meta))
        seconds.append(round(clock.seconds, 1))
        print(f"seed {seed}: learned in {clock.seconds:.0f} s", flush=True)
    rows, shares = [], []
    for name, make in FAMILIES.items():
        lives = make()
        known, optimum = tuned(lives), optimal(lives)
        areas = [float(lived_by_rule(meta, lives).mean()) for meta in metas]
        value, spread = mean_of(areas, float(known.curve.mean()))
        shares.append(spread)
        rows.append(row(f"frozen lpg, {name}: share of a tuned actor-critic's", value, spread, 0.8))
        rows.append(row(f"frozen lpg, {name}: share of the optimum, the tasks known", *mean_of(areas, optimum)))
        rows.append(row(f"frozen lpg, {name}: the actor-critic's share", float(known.curve.mean()) / optimum))
    over = np.mean(shares, axis=0)
    rows.insert(
        0,
        row("frozen lpg: share of tuned actor-critics', mean of the families", float(over.mean()), over.tolist(), 1.0),
    )
    return [made | trained("lpg-transfer", seeds, seconds) for made in rows]
