"""VariBAD on the hidden-goal grid, for the table of ``quality``: what it earns and what it believes.

All 21 goals, some 1000 trials of 4 episodes, actions sampled. The total is held to the Bayes-optimal 37.2143, a later
episode to 11.0714, both exact; the belief (read out of what the policy sees) to the truth at the end of episode 2.
"""

from typing import Any

import metarl_jax as mrl
from benchmarks.record import Clock, seeded, slowest, timed
from benchmarks.sizes import size

FIRST, LATER = 4.0, 155 / 14  # Bayes-optimal returns of the first and of a later episode
UPDATES, NUM_TASKS = size((2100, 512), (1, 8))
OPTIONS: dict[str, Any] = size({}, dict(memory_size=4, actor=(4,), decoder=(4,)))


def recipe() -> Any:
    """Many tours of the first episode are as good until it ends, few leave just the cells that the second finds in
    passing. The belief has room for which cells are left; the critic knows the goal, and advantages reach an episode
    on, so that tours differ by more than noise; entropy and learning rates fall slowly, so that none is chosen before
    the episodes after it are learned, nor by the noise of a batch."""
    credit: dict[str, Any] = dict(critic="task", discount=0.99, trace=0.98)
    schedule: dict[str, Any] = dict(entropy_cost=0.12, entropy_updates=1950, decay_updates=2100)
    return mrl.algorithms.varibad(latent_size=16, num_epochs=4, **schedule, **credit, **OPTIONS)


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    tasks, seconds = mrl.tasks.gridnavi(), []
    found: dict[str, list[float]] = {"total": [], "later": [], "right": [], "calibration": []}
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(recipe(), tasks, num_updates=UPDATES, num_tasks=NUM_TASKS, seed=seed, quiet=True)
        seconds.append(round(clock.seconds, 1))
        report = mrl.evaluate(run, seed=1, quiet=True)
        assert report.belief is not None
        found["total"].append(report.mean / (FIRST + 3 * LATER))
        found["later"].append(min(report.by_episode["return"][1:]) / LATER)
        found["right"].append(report.belief["by_episode"]["right"][1])
        found["calibration"].append(report.belief["calibration_error"])
        told = ", ".join(f"{name} {values[-1]:.4f}" for name, values in found.items())
        print(f"varibad gridnavi seed {seed}: {told} in {clock.seconds:.0f} s", flush=True)
    rows = [
        seeded("share of the Bayes-optimal total, lowest seed", found["total"], "share", min, at_least=0.97),
        seeded(
            "share of 11.071 in the worst of episodes 2 to 4, lowest seed", found["later"], "share", min, at_least=0.98
        ),
        seeded("belief right at the end of episode 2, lowest seed", found["right"], "share", min, at_least=0.95),
        seeded("calibration error of the belief, highest seed", found["calibration"], "probability", max),
        slowest("minutes a seed", seconds, at_most=30.0),
    ]
    return timed([made | dict(row=f"varibad gridnavi: {made['row']}") for made in rows], seconds)
