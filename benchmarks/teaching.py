"""Curricula: small mazes of which little is seen, the hardest of them above all; narrow gates.

    python -m benchmarks.quality curricula-maze
    python -m benchmarks.quality curricula-gate

In mazes RL^2 learns by each curriculum for the same number of environment steps, those that a curriculum lives for
itself included. Scores: the share of first episodes solved, in 2,000 solvable mazes held out, ten trials in each; the
worst 1 % of the mazes are those of five trials, and scored in the other five. The curriculum that is held to uniform
sampling was the best on seeds 100 to 102 and other mazes. Scores are exact regret unless named.
"""

import functools
from typing import Any

import jax
import numpy as np

import metarl_jax as mrl
from benchmarks.record import Clock, compared, row, seeded, timed
from benchmarks.sizes import size
from metarl_jax.config import Recipe
from metarl_jax.evaluation.evaluate import live
from metarl_jax.evaluation.summary import cvar_again
from metarl_jax.evaluation.trials import segment
from metarl_jax.records import TaskDistribution
from metarl_jax.training.build import build_program
from metarl_jax.training.experiment import Experiment

STEPS = size(5_000_000, 1)
NUM_TASKS, NUM_MAZES, TRIALS = size((128, 2000, 10), (8, 4, 2))
MAZE = functools.partial(mrl.tasks.view_maze, size=7, view=3, num_walls=17, horizon=size(60, 8))
LEARNER = functools.partial(mrl.algorithms.rl2, memory_size=size(64, 4), num_minibatches=4, discount=0.97)
ALL: dict[str, Any] = {
    "uniform": mrl.curricula.uniform,
    "plr": mrl.curricula.prioritised_replay,
    "robust-plr": mrl.curricula.robust_plr,
    "accel": mrl.curricula.accel,
    "sfl": mrl.curricula.sampling_for_learnability,
    "vds": functools.partial(mrl.curricula.value_disagreement, disputed=1.0),
    "space": functools.partial(mrl.curricula.value_gain, instances=4096, start=512, growth=256, period=5),
    "plr, positive value loss": functools.partial(mrl.curricula.prioritised_replay, score="positive-value-loss"),
    "robust-plr, positive value loss": functools.partial(mrl.curricula.robust_plr, score="positive-value-loss"),
    "accel, positive value loss": functools.partial(mrl.curricula.accel, score="positive-value-loss"),
}
BEST = "accel"
CURRICULA = size(ALL, {name: ALL[name] for name in ("uniform", BEST)})


def updates_of(learner: Recipe, curriculum: Recipe, tasks: TaskDistribution, num_tasks: int, steps: int) -> int:
    """How many updates ``steps`` environment steps are, the curriculum's own included."""
    return max(1, build_program(Experiment(learner, tasks, curriculum), num_tasks).updates_within(steps))


def solved(run: mrl.Run, mazes: Any, trials: int, steps: int) -> np.ndarray:
    """Whether the first episode of each trial reached the goal: ``[S, N, R]``."""
    trajectory = segment(live(run, mazes, jax.random.key(77), trials, steps))
    return trajectory.returns[..., 0] > 0


def scores(won: np.ndarray) -> tuple[float, float]:
    """(mean, the worst 1 %) of ``[N, R]``."""
    half = won.shape[1] // 2
    return float(won.mean()), cvar_again(won[:, :half].mean(axis=1), won[:, half:].mean(axis=1), 0.01)


def maze_rows(seeds: list[int]) -> list[dict[str, Any]]:
    tasks, learner = MAZE(), LEARNER()
    held_out = MAZE(solvable=True)
    mazes = jax.jit(jax.vmap(held_out.sample))(jax.random.split(jax.random.key(2000), NUM_MAZES))
    rows: list[dict[str, Any]] = []
    means, tails, seconds = {}, {}, []
    for name, make in CURRICULA.items():
        updates = updates_of(learner, make(), tasks, NUM_TASKS, STEPS)
        found = []
        for seed in seeds:
            with Clock() as clock:
                run = mrl.train(
                    learner, tasks, curriculum=make(), num_updates=updates, num_tasks=NUM_TASKS, seed=seed, quiet=True
                )
            found.append(scores(solved(run, mazes, TRIALS, tasks.horizon)[0]))
            seconds.append(round(clock.seconds, 1))
            print(f"{name}, seed {seed}: {found[-1]} in {clock.seconds:.0f} s", flush=True)
        means[name], tails[name] = (list(x) for x in zip(*found, strict=True))
    chance = mrl.train(learner, tasks, num_updates=1, num_tasks=NUM_TASKS, seed=seeds[0], quiet=True)
    lucky = scores(solved(chance, mazes, TRIALS, tasks.horizon)[0])
    name = f"small mazes, CVaR 1 %: the best curriculum ({BEST}) over uniform"
    rows.append(compared(name, tails[BEST], tails["uniform"], at_least=1.0))
    for which in CURRICULA:
        rows.append(seeded(f"small mazes, {which}: solved", means[which], "share"))
        rows.append(seeded(f"small mazes, {which}: solved, CVaR 1 %", tails[which], "share"))
    rows.append(row("small mazes, an agent that learned nothing: solved", lucky[0], "share"))
    rows.append(row("small mazes, an agent that learned nothing: solved, CVaR 1 %", lucky[1], "share"))
    return timed(rows, seconds)


(GATE_STEPS, GATE_TASKS), DISCOUNT, PUBLISHED = size((819_200, 32), (800, 8)), 0.95, 6.1
GATES: dict[str, Any] = {"uniform": mrl.curricula.uniform, "self-paced": mrl.curricula.self_paced}


def discounted(run: mrl.Run, trials: int = size(200, 2)) -> float:
    """The discounted return of the first episode at the narrow gates."""
    target = mrl.tasks.gate(gates="target")
    trajectory = live(run, target.tasks, jax.random.key(78), trials, target.horizon, False)
    first = np.cumsum(trajectory.done, axis=-1) - trajectory.done == 0
    return float((trajectory.reward * first * DISCOUNT ** np.arange(target.horizon)).sum(axis=-1).mean())


def gate_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """PPO that is to pass narrow gates, by curriculum, for as many steps as the literature has."""
    learner = mrl.algorithms.ppo(discount=DISCOUNT)
    updates = GATE_STEPS // (GATE_TASKS * mrl.tasks.gate().horizon)
    options: dict[str, Any] = dict(num_updates=updates, num_tasks=GATE_TASKS, quiet=True)
    scored, seconds = {}, []
    for name, tasks in {**dict.fromkeys(GATES, mrl.tasks.gate()), "the narrow gates alone": None}.items():
        make, family = GATES.get(name, mrl.curricula.uniform), tasks or mrl.tasks.gate(gates="target")
        scored[name] = []
        for seed in seeds:
            with Clock() as clock:
                run = mrl.train(learner, family, curriculum=make(), seed=seed, **options)
            scored[name].append(discounted(run))
            seconds.append(round(clock.seconds, 1))
            print(f"{name}, seed {seed}: {scored[name][-1]:.3f} in {clock.seconds:.0f} s", flush=True)
    name = "gate, PPO, 819,200 steps"
    paced = scored["self-paced"]
    rows = [
        compared(f"{name}: self-paced, share of the published 6.1", paced, PUBLISHED, "share", at_least=0.95),
        compared(f"{name}: self-paced over uniform", paced, scored["uniform"], at_least=1.2),
    ]
    rows += [seeded(f"{name}: discounted return, {which}", values, "return") for which, values in scored.items()]
    return timed(rows, seconds)
