"""One hundred goals that the agent is shown, in one maze: how many it reaches, and how soon by which curriculum.

    python -m benchmarks.quality curricula-goals

PPO as it comes, and with a learning rate and an entropy cost that are chosen for each curriculum by two rounds of runs
(``choosing``); rates fall over the run. Success: the share of the first episodes that end at the goal, over all 100
goals, ten trials in each. A seed that never comes to 0.9 counts as if it did at the end. The curriculum's defaults were
chosen on seeds 100 to 109.
"""

import itertools
from typing import Any

import jax
import numpy as np

import metarl_jax as mrl
from benchmarks.choosing import Choice, Rounds, Setting, choose, seeds_of
from benchmarks.course import course
from benchmarks.record import Clock, compared, seeded, timed
from benchmarks.sizes import size
from benchmarks.teaching import solved
from metarl_jax.config import Recipe
from metarl_jax.training.experiment import Experiment as Experiment

NUM_TASKS, MARKS, TRIALS = size((16, range(5, 201, 5), 10), (8, range(1, 3), 1))
CURRICULA = {"uniform": mrl.curricula.uniform, "vds": mrl.curricula.value_disagreement}
RATES, ENTROPIES = size(((5e-4, 1e-3, 2e-3), (0.005, 0.01, 0.02, 0.04)), ((1e-3,), (0.02,)))
SETTINGS: list[Setting] = [
    dict(learning_rate=rate, entropy_cost=cost) for rate, cost in itertools.product(RATES, ENTROPIES)
]
ROUNDS = Rounds(first=size(2, 1), final=size(8, 1), finalists=size(4, 1))  # runs
LEARNERS = size({"ppo": False, "ppo, tuned": True}, {"ppo, tuned": True})


def learner(setting: Setting) -> Recipe:
    return mrl.algorithms.ppo(**setting, decay_updates=MARKS[-1])


def chosen(curriculum: Recipe) -> Choice:
    """The setting that comes to 0.9 soonest with this curriculum."""

    def score(keys: jax.Array, setting: Setting) -> float:
        return -float(np.mean(steps_to(0.9, *success(learner(setting), curriculum, seeds_of(keys)))))

    return choose(SETTINGS, score, ROUNDS)


def success(learner: Recipe, curriculum: Recipe, seeds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(environment steps ``[M]``, shares of goals reached ``[M, S]``)."""
    tasks = mrl.tasks.maze_100(goal_observable=True)
    steps, reached = [], []
    for spent, run in course(Experiment(learner, tasks, curriculum), NUM_TASKS, seeds, MARKS):
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
    for which_learner, is_tuned in LEARNERS.items():
        needed, settings, name = {}, {}, f"goals shown, maze-100, {which_learner}"
        for which, make in CURRICULA.items():
            choice = chosen(make()) if is_tuned else Choice({}, {})
            settings |= {which: choice.told} if is_tuned else {}
            with Clock() as clock:
                steps, reached = success(learner(choice.setting), make(), seeds)
            seconds.append(round(clock.seconds, 1))
            needed[which] = steps_to(0.9, steps, reached)
            print(f"{name}, {which}: {np.round(reached.mean(axis=1), 3).tolist()} {choice.told}", flush=True)
            made.append(seeded(f"{name}, {which}: success", reached[-1], "share", at_least=0.97))
            made.append(seeded(f"{name}, {which}: steps to success 0.9", needed[which], "steps"))
        over = f"{name}: steps to success 0.9, vds over uniform"
        made.append(compared(over, needed["vds"], needed["uniform"], at_most=0.8, settings=settings or None))
    return timed(made, seconds)
