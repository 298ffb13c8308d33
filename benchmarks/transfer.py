"""A frozen rule of LPG on unseen tasks, beside actor-critics tuned on each family of them.

    python -m benchmarks.quality lpg-transfer

One rule is learned in random MDPs of five states and three kinds of random grids at once. The claim is held on families
that nobody had looked at when the rule's settings were frozen (``UNSEEN``). Beside them stand the eight that its
training set was changed after looks at (``LOOKED_AT``): other draws of the MDPs and of one kind of grids, larger MDPs
with noise, and the grids of the paper, of whose kind ``longer`` one kind of the training set has the chances.

The agents that live by a rule differ between families in their learning rate alone, one of eight; the actor-critics in
four settings. Both are chosen by two rounds (``choosing``), on other lives than those tested. Each seed takes about
fifteen minutes on a core, each family of grids about ten: runs are kept in ``runs/lpg-transfer-SEED``, the
actor-critics' beside them, and a job that was stopped goes on there.
"""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

import metarl_jax as mrl
from benchmarks.choosing import TESTING, Choice, Rounds, choose
from benchmarks.credit import LPG_SIZES, SMALL, SMALL_LIFE, meta_of_run
from benchmarks.lives import Baseline, Lives, actor_critics, curves, grid_of, optimal, tested
from benchmarks.record import Clock, compared, seeded, timed, written_to
from benchmarks.sizes import size
from metarl_jax.config import Recipe
from metarl_jax.records import PyTree

RANDOM = functools.partial(mrl.tasks.grids, kind="random")
HOME = functools.partial(RANDOM, size=9, horizon=100, num_episodes=320)
ENDING = functools.partial(RANDOM, size=12, horizon=50, num_episodes=640, end=(0.4, 1.0))
LASTING = functools.partial(
    RANDOM, size=9, horizon=2000, num_episodes=16, num_objects=6, end=(0.03, 1.0), respawn=(0.005, 1.0)
)
GRID_LIFE = dict(episodes=size(16, 2), life=size(100, 2), steps=size(20, 2))
MDP_LIFE = dict(episodes=8, life=size(60, 2))
in_grids = lambda **options: Lives(mrl.tasks.grids(**options), **GRID_LIFE)
in_mdps = lambda **options: Lives(mrl.tasks.tabular(mean_reward=0.0, **options), **MDP_LIFE)
LOOKED_AT = {
    "random MDPs, 5 states": lambda: Lives(SMALL(), **SMALL_LIFE),
    "random MDPs, 10 states, noise": in_mdps,
    "random grids": lambda: Lives(HOME(), **GRID_LIFE),
    **{
        f"grids {kind}": functools.partial(in_grids, kind=kind)
        for kind in ("dense", "sparse", "long", "longer", "long-dense")
    },
}
UNSEEN = {
    "bandits, 10 arms, noise": functools.partial(in_mdps, num_states=1, num_actions=10),
    "random MDPs, 3 states, 2 actions": functools.partial(in_mdps, num_states=3, num_actions=2, horizon=5),
    "random MDPs, 20 states": functools.partial(in_mdps, num_states=20, horizon=20, reward_std=0.0),
    "grids dense, 7 x 7": functools.partial(in_grids, kind="dense", size=7, horizon=200),
    "grids sparse, 9 x 9": functools.partial(in_grids, kind="sparse", size=9, horizon=100),
    "random grids, 13 x 13, 5 objects": functools.partial(in_grids, kind="random", size=13, horizon=200, num_objects=5),
}
FAMILIES = size(
    UNSEEN | LOOKED_AT,
    {name: (UNSEEN | LOOKED_AT)[name] for name in ("bandits, 10 arms, noise", "random MDPs, 5 states")},
)
SHIPPED_AS = "grids-and-mdps"
UPDATES, TASKS = size((2000, 12), (1, 2))
RATES = size(tuple(map(float, np.geomspace(0.03, 0.34, 8))), (0.1,))
SETTINGS = grid_of((0.0, 0.5, 0.9, 0.95), (0.003, 0.01, 0.03, 0.1), (0.7, 0.9, 0.97, 0.99))
ROUNDS = Rounds(first=size(16, 2), final=size(128, 2))
RATE_ROUNDS = ROUNDS._replace(finalists=size(3, 1))  # fewer: there are eight rates, for each rule
RUNS = written_to(Path(__file__).resolve().parents[1] / "runs")


def recipe(**options: Any) -> Recipe:
    judged: dict[str, Any] = dict(
        outer_discount=0.97, outer_trace=0.95, outer_critic_rate=0.003, outer_entropy_cost=0.02
    )
    judged |= dict(outer_normalisation=0.1, max_life_gradient_norm=0.1, max_gradient_norm=0.03)
    judged |= dict(predictions=16, lifetime=True, meta_rate=0.0035, decay_updates=UPDATES) | LPG_SIZES
    return mrl.algorithms.lpg(**judged | options)


def learned(seed: int) -> tuple[mrl.Run, float]:
    """The run, and how many seconds it took in all."""
    folder = RUNS / f"lpg-transfer-{seed}"
    spent = folder / "seconds.json"
    of_grids, of_mdps = recipe(**GRID_LIFE, learning_rate=0.06), recipe(**SMALL_LIFE, learning_rate=0.15)
    also = [(of_mdps, SMALL()), *size([(of_grids, ENDING()), (of_grids, LASTING())], [])]
    options: dict[str, Any] = dict(num_updates=UPDATES, num_tasks=TASKS, seed=seed, also=also, quiet=True)
    before, seconds = json.loads(spent.read_text()) if spent.exists() else 0.0, 0.0
    try:
        with Clock() as clock:
            run = mrl.train(of_grids, HOME(), out=folder, **options)
    finally:  # also when it was stopped
        seconds = round(before + clock.seconds, 1)
        spent.write_text(json.dumps(seconds))
    print(f"seed {seed}: learned in {seconds:.0f} s", flush=True)
    return run, seconds


def tuned(name: str, seeds: list[int]) -> Baseline:
    """Tabular actor-critics as LPG's agents are, at the best of ``SETTINGS``; kept beside the runs."""
    lives, kept = FAMILIES[name](), RUNS / "lpg-transfer-actor-critics" / f"{name}.json"
    asked = json.loads(json.dumps([lives.tasks.recipe, lives[1:], SETTINGS, ROUNDS._asdict(), TESTING, seeds]))
    if kept.exists() and (found := json.loads(kept.read_text()))["of"] == asked:
        return Baseline(Choice(found["told"]["setting"], found["told"]), np.asarray(found["curve"], np.float32))
    known = actor_critics(lives, SETTINGS, seeds, ROUNDS, encoder=())
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"of": asked, "told": known.choice.told, "curve": known.curve.tolist()}))
    return known


def lived_by_rules(metas: list[PyTree], lives: Lives, seeds: list[int]) -> tuple[list[float], list[dict[str, Any]]]:
    """What newborn agents earn a step by each seed's rule, and how their learning rate was chosen."""
    shape = dict(episodes=lives.episodes, life=lives.life, steps=lives.steps)
    live = {rate: curves(recipe(**shape, learning_rate=rate), lives) for rate in RATES}
    areas, told = [], []
    for meta, seed in zip(metas, seeds, strict=True):
        score = lambda keys, setting, meta=meta: float(live[setting["learning_rate"]](keys, meta).mean())
        choice = choose([dict(learning_rate=rate) for rate in RATES], score, RATE_ROUNDS)
        areas.append(float(tested(live[choice.setting["learning_rate"]], [meta], [seed]).mean()))
        told.append(choice.told)
        print(f"lpg on {lives.tasks.name}: {areas[-1]:.4f} with {choice.setting}", flush=True)
    return areas, told


def transfer_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """A rule a seed, in every family: shares of the tuned actor-critic's area under the curve, and of the optimum."""
    runs, seconds = zip(*map(learned, seeds), strict=True)
    mrl.learned.rules.save(runs[0], written_to(mrl.learned.rules.SHELF.folder) / f"{SHIPPED_AS}.json")
    metas = [meta_of_run(run) for run in runs]
    rows, shares = [], {}
    for name, make in FAMILIES.items():
        lives = make()
        known, optimum = tuned(name, seeds), optimal(lives, seeds[0])
        areas, chosen = lived_by_rules(metas, lives, seeds)
        settings = {"actor-critic": known.choice.told, "agents that live by the rules": chosen}
        shares[name] = np.divide(areas, known.areas)
        held = dict(at_least=0.8) if name in UNSEEN else dict(note=LOOKED_AT_NOTE)
        title = f"frozen lpg, {name}"
        rows += [
            compared(
                f"{title}: share of a tuned actor-critic's", areas, known.areas, "share", settings=settings, **held
            ),
            seeded(f"{title}: share of the optimum, the tasks known", np.divide(areas, optimum), "share"),
            seeded(f"{title}: the actor-critic's share", np.divide(known.areas, optimum), "share"),
        ]
    return timed([*means(shares), *rows], list(seconds))


LOOKED_AT_NOTE = "the training set was changed after looks at this family: no claim"


def means(shares: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Of the families, by seed, beside 1."""
    mean = lambda which: np.mean([shares[name] for name in shares if name in which], axis=0).tolist()
    what = "share of tuned actor-critics', mean of the"
    return [
        compared(f"frozen lpg: {what} six unseen families", mean(UNSEEN), 1.0, "share", at_least=1.0),
        compared(f"frozen lpg: {what} families looked at", mean(LOOKED_AT), 1.0, "share", note=LOOKED_AT_NOTE),
    ]
