"""MAML on the 2-D navigation of its paper, by a fixed protocol, for the table of ``quality``.

Training: 20 tasks an update, 20 episodes of 100 steps before and after one inner step. Test: 400 goals, 20 fresh
episodes for each of four policies: before adaptation and after one, two and three steps at rates x 1, x 0.5, x 0.25.
With ``exploration_std`` the second and third step are further scaled by ``std / exploration_std``, ``std`` the policy's
own after the first step. The score is ``S = (R + 38.26) / (38.26 - 0.506)``: 0 for standing still, 1 with the goal
known. Updates, the falling rate and the power of that scaling (1) were chosen on other goals (key 400), other seeds.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

import metarl_jax as mrl
from benchmarks.record import Clock, seeded, slowest, timed
from benchmarks.sizes import size
from metarl_jax.evaluation.evaluate import evaluation_tasks, live

STILL, KNOWN = -38.26, -0.506
EPISODES, GOALS = size((20, 400), (2, 4))
UPDATES, NUM_TASKS = size((120, 20), (1, 8))
KEY = 401  # of the test's goals and episodes, the same for all seeds


def recipe():
    """PPO's clipping; exploration before the first inner step stays wide while the policy's own noise falls, and
    the rate with it."""
    return mrl.algorithms.maml(outer="clip", exploration_std=0.9, decay_updates=UPDATES)


def scores(run: mrl.Run) -> np.ndarray:
    """S before adaptation and after one, two and three inner steps: ``[4]``."""
    key = jax.random.key(KEY)
    goals = evaluation_tasks(key, run.tasks, GOALS)
    trajectory = live(run, goals, key, 1, 4 * EPISODES * run.tasks.horizon, forget=False)
    returns = (
        np.asarray(trajectory.reward)
        .reshape(-1, GOALS, 4, EPISODES, run.tasks.horizon)
        .sum(axis=-1)
        .mean(axis=(0, 1, 3))
    )
    return (returns - STILL) / (KNOWN - STILL)


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    tasks = mrl.tasks.navigation(num_episodes=2 * EPISODES)
    found, untrained, seconds = [], [], []
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(recipe(), tasks, num_updates=UPDATES, num_tasks=NUM_TASKS, seed=seed, quiet=True)
        seconds.append(round(clock.seconds, 1))
        found.append(scores(run))
        first = jax.tree.map(lambda x: x[None], run.algorithm.init(jax.random.key(seed), 1))
        untrained.append(scores(dataclasses.replace(run, state=first))[1:].max())
        print(f"maml navigation seed {seed}: S {np.round(found[-1], 3)} in {clock.seconds:.0f} s", flush=True)
    by_step = np.asarray(found).T  # [4, seeds]
    bars = {
        "S after one inner step": (by_step[1], dict(at_least=0.68)),
        "S after three": (by_step[3], dict(at_least=0.92)),
        "S after one, less S before": (by_step[1] - by_step[0], dict(at_least=0.65)),
        "S before adaptation, absolute": (np.abs(by_step[0]), dict(at_most=0.1)),
        "S of an untrained network, best of one to three steps": (np.asarray(untrained), dict(at_most=0.0)),
    }
    rows = [seeded(f"maml navigation: {name}", values, "share", **bar) for name, (values, bar) in bars.items()]
    return timed([*rows, slowest("maml navigation: minutes", seconds, at_most=10.0)], seconds)
