"""VariBAD on the hidden-goal grid, for the table of ``quality``: what it earns and what it believes.

All 21 goals, some 1000 trials of 4 episodes, actions sampled. The total is held to the Bayes-optimal 37.2143, a later
episode to 11.0714, both exact; the belief (read out of what the policy sees) to the truth at the end of episode 2.
"""

from typing import Any

from record import Clock

import metarl_jax as mrl

TOTAL, LATER, UPDATES = 4.0 + 465 / 14, 155 / 14, 700


def recipe() -> Any:
    return mrl.algorithms.varibad()


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    tasks, seconds = mrl.tasks.gridnavi(), []
    found: dict[str, list[float]] = {"total": [], "later": [], "right": [], "calibration": []}
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(recipe(), tasks, num_updates=UPDATES, num_tasks=512, seed=seed, quiet=True)
        seconds.append(round(clock.seconds, 1))
        report = mrl.evaluate(run, seed=1, quiet=True)
        assert report.belief is not None
        found["total"].append(report.mean / TOTAL)
        found["later"].append(min(report.by_episode["return"][1:]) / LATER)
        found["right"].append(report.belief["by_episode"]["right"][1])
        found["calibration"].append(report.belief["calibration_error"])
        told = ", ".join(f"{name} {values[-1]:.4f}" for name, values in found.items())
        print(f"varibad gridnavi seed {seed}: {told} in {clock.seconds:.0f} s", flush=True)
    minutes = [s / 60 for s in seconds]
    command = f"python benchmarks/quality.py varibad-gridnavi --seeds {' '.join(map(str, seeds))}"
    named = {
        "share of the Bayes-optimal total, lowest seed": (min(found["total"]), found["total"], 0.97, 1),
        "share of 11.071 in the worst of episodes 2 to 4, lowest seed": (min(found["later"]), found["later"], 0.98, 1),
        "belief right at the end of episode 2, lowest seed": (min(found["right"]), found["right"], 0.95, 1),
        "calibration error of the belief, highest seed": (max(found["calibration"]), found["calibration"], None, 0),
        "minutes a seed": (max(minutes), minutes, 30.0, -1),
    }
    return [
        dict(row=f"varibad gridnavi: {name}", value=value, spread=spread, bar=bar)
        | dict(holds=None if bar is None else bool(sign * value >= sign * bar))
        | dict(seeds=seeds, seconds=seconds, command=command)
        for name, (value, spread, bar, sign) in named.items()
    ]
