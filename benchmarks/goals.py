"""One hundred goals that the agent is shown, in one maze: how many it reaches, and how soon by which curriculum.

    python benchmarks/quality.py curricula-goals --seeds 20 21 22 23 24 25 26 27 28 29

PPO as it comes, and at half its learning rate with an entropy cost of 0.02; rates fall over the run. Success: the share
of the first episodes that end at the goal, over all 100 goals, ten trials in each. A seed that never comes to 0.9
counts as if it did at the end. Learners and the curriculum's defaults were chosen on seeds 100 to 109.
"""

from typing import Any

import numpy as np
from course import course
from record import Clock, compared, seeded, timed
from sizes import size
from teaching import solved

import metarl_jax as mrl
from metarl_jax.config import Recipe
from metarl_jax.setting import Setting

NUM_TASKS, MARKS, TRIALS = size((16, range(5, 201, 5), 10), (8, range(1, 3), 1))
CURRICULA = {"uniform": mrl.curricula.uniform, "vds": mrl.curricula.value_disagreement}
LEARNERS = {
    "ppo": mrl.algorithms.ppo(decay_updates=MARKS[-1]),
    "ppo, tuned": mrl.algorithms.ppo(learning_rate=1e-3, entropy_cost=0.02, decay_updates=MARKS[-1]),
}


def success(learner: Recipe, curriculum: Recipe, seeds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(environment steps ``[M]``, shares of goals reached ``[M, S]``)."""
    tasks = mrl.tasks.maze_100(goal_observable=True)
    steps, reached = [], []
    for spent, run in course(Setting(learner, tasks, curriculum), NUM_TASKS, seeds, MARKS):
        steps.append(spent)
        reached.append(solved(run, tasks.tasks, TRIALS, tasks.horizon).mean(axis=(1, 2)))
    return np.asarray(steps), np.asarray(reached)


def steps_to(share: float, steps: np.ndarray, reached: np.ndarray) -> list[float]:
    """Environment steps after which each seed first reaches ``share``, between two looks on a straight line."""
    found = []
    for curve in reached.T:
        later = np.flatnonzero(curve >= share)
        if not len(later):
            found.append(float(steps[-1]))
            continue
        i = later[0]
        before, at = (0.0, 0.0) if i == 0 else (curve[i - 1], steps[i - 1])
        found.append(float(at + (steps[i] - at) * (share - before) / (curve[i] - before)))
    return found


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    made, seconds = [], []
    for learner, recipe in LEARNERS.items():
        needed, name = {}, f"goals shown, maze-100, {learner}"
        for which, make in CURRICULA.items():
            with Clock() as clock:
                steps, reached = success(recipe, make(), seeds)
            seconds.append(round(clock.seconds, 1))
            needed[which] = steps_to(0.9, steps, reached)
            last = reached[-1].tolist()
            print(f"{learner}, {which}: {np.round(reached.mean(axis=1), 3).tolist()}", flush=True)
            made.append(seeded(f"{name}, {which}: success", last, "share", at_least=0.97))
            made.append(seeded(f"{name}, {which}: steps to success 0.9", needed[which], "steps"))
        over = f"{name}: steps to success 0.9, vds over uniform"
        made.append(compared(over, needed["vds"], needed["uniform"], at_most=0.8))
    return timed(made, seconds)
