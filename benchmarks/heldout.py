"""RL^2 in two hundred mazes by curriculum: in goals held out of the layouts it learned in, and in a layout held out.

    python benchmarks/quality.py curricula-maze-200 --seeds 1 2 3

For goals it learns in four fifths of the goals of both layouts; for the layout in generated mazes, of which it sees the
3 x 3 walls around it. Every curriculum has the same number of environment steps, its own included.
"""

from typing import Any

import numpy as np
from record import Clock, row, trained
from teaching import updates_of

import metarl_jax as mrl
from metarl_jax.types import TaskDistribution

STEPS, NUM_TASKS = 5_000_000, 128
CURRICULA = {
    "uniform": mrl.curricula.uniform,
    "plr": mrl.curricula.prioritised_replay,
    "sfl": mrl.curricula.sampling_for_learnability,
}


def families() -> dict[str, tuple[TaskDistribution, TaskDistribution]]:
    """(learned in, tested in), by what is held out."""
    maze = mrl.tasks.maze_200
    return {
        "held-out goals": (maze(split="train-goals"), maze(split="held-out-goals")),
        "held-out layout": (mrl.tasks.random_maze(view=3), maze(view=3, split="held-out-layout")),
    }


def share(run: mrl.Run, tasks: TaskDistribution) -> tuple[float, float]:
    """Goals found a trial, as a share of what shortest paths to known goals find: (adapting, memory wiped)."""
    report = mrl.evaluate(run, tasks, quiet=True)
    best = next(one["value"] for one in report.references if one["role"] == "optimal")
    return report.mean / best, report.control_mean / best


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    made, seconds = [], []
    learner = mrl.algorithms.rl2(memory_size=96)
    for held_out, (home, away) in families().items():
        scored: dict[str, list] = {}
        for name, make in CURRICULA.items():
            updates = updates_of(learner, make(), home, NUM_TASKS, STEPS)
            scored[name] = []
            for seed in seeds:
                with Clock() as clock:
                    options: dict[str, Any] = dict(num_updates=updates, num_tasks=NUM_TASKS, seed=seed, quiet=True)
                    run = mrl.train(learner, home, curriculum=make(), **options)
                seconds.append(round(clock.seconds, 1))
                scored[name].append(share(run, away))
                print(f"{held_out}, {name}, seed {seed}: {scored[name][-1]} in {clock.seconds:.0f} s", flush=True)
        means = {name: np.mean([one for one, _ in found]) for name, found in scored.items()}
        best = max((name for name in means if name != "uniform"), key=lambda name: means[name])
        over = [one / means["uniform"] for one, _ in scored[best]]
        title = f"rl2 maze-200, {held_out}: the best curriculum ({best}) over uniform"
        made.append(row(title, float(means[best] / means["uniform"]), over))
        for name, found in scored.items():
            adapting, forgetting = (list(x) for x in zip(*found, strict=True))
            title = f"rl2 maze-200, {held_out}, {name}: goals a trial, share of the optimum, goal known"
            made.append(row(title, float(np.mean(adapting)), adapting))
            made.append(row(f"{title}; memory wiped each episode", float(np.mean(forgetting)), forgetting))
    return [one | trained("curricula-maze-200", seeds, seconds) for one in made]
