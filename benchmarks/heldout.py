"""RL^2 and MAML in two hundred mazes by curriculum, tested in goals that were held out, and in a layout that was.

    python -m benchmarks.quality curricula-maze-200

For goals they learn in four fifths of the goals of both layouts; for the layout in generated mazes, of which they see
the 3 x 3 walls around them. Every curriculum has the same number of environment steps, its own included. A trial of
RL^2 has 256 steps; one of MAML has an inner step after 20 episodes of 64, and 20 more after it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import metarl_jax as mrl
from benchmarks.record import Clock, compared, seeded, timed
from benchmarks.sizes import size
from benchmarks.teaching import updates_of
from metarl_jax.config import Recipe
from metarl_jax.records import TaskDistribution

SHORT = dict(horizon=4, trial_steps=16)
CURRICULA = {
    "uniform": mrl.curricula.uniform,
    "plr": mrl.curricula.prioritised_replay,
    "sfl": mrl.curricula.sampling_for_learnability,
}


class Entry(NamedTuple):
    """Who learns, in how many tasks an update, for how many environment steps; ``lengths``: of episodes and trials."""

    recipe: Recipe
    num_tasks: int
    steps: int
    lengths: dict[str, int]


CURRICULA = size(CURRICULA, {name: CURRICULA[name] for name in ("uniform", "sfl")})
LEARNERS = {
    "rl2": Entry(mrl.algorithms.rl2(memory_size=size(96, 4)), *size((128, 20_000_000, {}), (8, 1, SHORT))),
    "maml": Entry(
        mrl.algorithms.maml(outer="clip", inner_rate=1.0, episodes=size(20, 2)),
        *size((40, 10_000_000, dict(horizon=64, trial_steps=2 * 20 * 64)), (4, 1, SHORT)),
    ),
}


LEARNERS = size(LEARNERS, {"rl2": LEARNERS["rl2"]})


def families(lengths: dict[str, Any]) -> dict[str, tuple[TaskDistribution, TaskDistribution]]:
    """(learned in, tested in), by what is held out."""
    maze: Callable = mrl.tasks.maze_200
    seen: dict[str, Any] = dict(view=3, **lengths)
    return {
        "held-out goals": (maze(split="train-goals", **lengths), maze(split="held-out-goals", **lengths)),
        "held-out layout": (mrl.tasks.random_maze(**seen), maze(split="held-out-layout", **seen)),
    }


def share(run: mrl.Run, tasks: TaskDistribution) -> tuple[float, float]:
    """Goals found a trial, as a share of what shortest paths to known goals find: (adapting, memory wiped)."""
    report = mrl.evaluate(run, tasks, quiet=True)
    best = next(one["value"] for one in report.references if one["role"] == "optimal")
    return report.mean / best, report.control_mean / best


def entry_rows(name: str, entry: Entry, held_out: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Of a learner, for one kind of what is held out."""
    home, away = families(entry.lengths)[held_out]
    scored: dict[str, np.ndarray] = {}  # [2, seeds]
    for which, make in CURRICULA.items():
        updates, found = updates_of(entry.recipe, make(), home, entry.num_tasks, entry.steps), []
        for seed in seeds:
            options: dict[str, Any] = dict(num_updates=updates, num_tasks=entry.num_tasks, seed=seed, quiet=True)
            with Clock() as clock:
                run = mrl.train(entry.recipe, home, curriculum=make(), **options)
            found.append(share(run, away))
            print(f"{name}, {held_out}, {which}, seed {seed}: {found[-1]} in {clock.seconds:.0f} s", flush=True)
        scored[which] = np.asarray(found).T
    others = (which for which in scored if which != "uniform")
    over = lambda which: compared(f"{name}, {held_out}: {which} over uniform", scored[which][0], scored["uniform"][0])
    made = [over(which) for which in others]
    for which, (adapting, forgetting) in scored.items():
        title = f"{name}, {held_out}, {which}: goals a trial, share of the optimum, goal known"
        made.append(seeded(title, adapting, "share"))
        made.append(seeded(f"{title}; memory wiped each episode", forgetting, "share"))
    return made


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    made = []
    for name, entry in LEARNERS.items():
        for held_out in families({}):
            with Clock() as clock:
                found = entry_rows(f"{name} maze-200", entry, held_out, seeds)
            made += timed(found, [round(clock.seconds / len(seeds), 1)])
    return made
