"""A frozen rule of LPG on unseen tasks, beside actor-critics tuned on each family of them.

    python benchmarks/quality.py lpg-transfer --seeds 4 5 6

One rule is learned in random MDPs of five states and three kinds of random grids at once. It is tested on other draws
of the MDPs and of one kind, and in six families that it never saw: larger MDPs with noise, and the grids of the paper.
The agents that live by it differ between families in their learning rate alone, chosen of eight as the actor-critics'
settings are, on other lives than those tested. Each seed takes about fifteen minutes on a core: its run is kept in
``runs/lpg-transfer-SEED``, the actor-critics' beside it, and a job that was stopped goes on there.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from credit import SMALL, SMALL_LIFE, mean_of, optimal
from lives import TESTING, TUNING, Lives, Tuned, actor_critics, best, chosen_on, curves, finalists, tested_on
from record import Clock, row, trained

import metarl_jax as mrl
from metarl_jax.config import Recipe
from metarl_jax.types import PyTree

RANDOM = functools.partial(mrl.tasks.grids, kind="random")
HOME = functools.partial(RANDOM, size=9, horizon=100, num_episodes=320)
ENDING = functools.partial(RANDOM, size=12, horizon=50, num_episodes=640, end=(0.4, 1.0))
LASTING = functools.partial(
    RANDOM, size=9, horizon=2000, num_episodes=16, num_objects=6, end=(0.03, 1.0), respawn=(0.005, 1.0)
)
GRID_LIFE = dict(episodes=16, life=100, steps=20)
FAMILIES = {
    "random MDPs, 5 states": lambda: Lives(SMALL(), **SMALL_LIFE),
    "random MDPs, 10 states, noise": lambda: Lives(mrl.tasks.tabular(mean_reward=0.0), episodes=8, life=60),
    "random grids": lambda: Lives(HOME(), **GRID_LIFE),
    **{
        f"grids {kind}": functools.partial(lambda kind: Lives(mrl.tasks.grids(kind=kind), **GRID_LIFE), kind)
        for kind in ("dense", "sparse", "long", "longer", "long-dense")
    },
}
SHIPPED_AS = "grids-and-mdps"
UPDATES, TASKS, RATES = 2000, 12, np.geomspace(0.03, 0.34, 8)
SEARCH = (0.0, 0.5, 0.9, 0.95), (0.003, 0.01, 0.03, 0.1), (0.7, 0.9, 0.97, 0.99), 16  # as `actor_critics` takes it
RUNS = Path(__file__).resolve().parents[1] / "runs"


def recipe(**options: Any) -> Recipe:
    judged = dict(outer_discount=0.97, outer_trace=0.95, outer_critic_rate=0.003, outer_entropy_cost=0.02)
    judged |= dict(outer_normalisation=0.1, max_life_gradient_norm=0.1, max_gradient_norm=0.03)
    judged |= dict(predictions=16, lifetime=True, meta_rate=0.0035, decay_updates=UPDATES)
    return mrl.algorithms.lpg(**judged, **options)


def learned(seed: int) -> tuple[mrl.Run, float]:
    """The run, and how many seconds it took in all."""
    folder = RUNS / f"lpg-transfer-{seed}"
    spent = folder / "seconds.json"
    in_grids, in_mdps = recipe(**GRID_LIFE, learning_rate=0.06), recipe(**SMALL_LIFE, learning_rate=0.15)
    also = [(in_grids, ENDING()), (in_grids, LASTING()), (in_mdps, SMALL())]
    options: dict[str, Any] = dict(num_updates=UPDATES, num_tasks=TASKS, seed=seed, also=also, quiet=True)
    before, seconds = json.loads(spent.read_text()) if spent.exists() else 0.0, 0.0
    try:
        with Clock() as clock:
            run = mrl.train(in_grids, HOME(), out=folder, **options)
    finally:  # also when it was stopped
        seconds = round(before + clock.seconds, 1)
        spent.write_text(json.dumps(seconds))
    print(f"seed {seed}: learned in {seconds:.0f} s", flush=True)
    return run, seconds


def tuned(name: str) -> Tuned:
    """Tabular actor-critics as LPG's agents are, at the best of 256 settings; kept beside the runs."""
    lives, kept = FAMILIES[name](), RUNS / "lpg-transfer-actor-critics" / f"{name}.json"
    asked = json.loads(json.dumps([lives.tasks.recipe, lives[1:], SEARCH, TUNING, TESTING]))
    if kept.exists() and (found := json.loads(kept.read_text()))["of"] == asked:
        return Tuned(found["setting"], np.asarray(found["curve"], np.float32))
    known = best(lives, finalists(lives, actor_critics(lives, *SEARCH, encoder=()), encoder=()), encoder=())
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"of": asked, "setting": known.setting, "curve": known.curve.tolist()}))
    return known


def lived_by_rules(metas: list[PyTree], lives: Lives) -> list[np.ndarray]:
    """What newborn agents earn by each rule, ``[life]``, at the best of their learning rates."""
    shape = dict(episodes=lives.episodes, life=lives.life, steps=lives.steps)
    live = {rate: curves(recipe(**shape, learning_rate=float(rate)), lives) for rate in RATES}
    found = []
    for meta in metas:
        areas = {rate: float(live[rate](chosen_on(), meta).mean()) for rate in RATES}
        rate = max(RATES, key=lambda rate: areas[rate])
        found.append(np.asarray(live[rate](tested_on(), meta).mean(axis=0)))
        print(f"lpg on {lives.tasks.name}: {found[-1].mean():.4f} with learning_rate {rate:.3g}", flush=True)
    return found


def transfer_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """A rule a seed, in every family: shares of the tuned actor-critic's area under the curve, and of the optimum."""
    runs, seconds = zip(*map(learned, seeds), strict=True)
    mrl.rules.save(runs[0], mrl.rules.SHELF.folder / f"{SHIPPED_AS}.json")
    metas = [jax.tree.map(lambda x: x[0], run.state.meta) for run in runs]
    rows, shares = [], []
    for name, make in FAMILIES.items():
        lives = make()
        known, optimum = tuned(name), optimal(lives)
        areas = [float(curve.mean()) for curve in lived_by_rules(metas, lives)]
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
    return [made | trained("lpg-transfer", seeds, list(seconds)) for made in rows]
