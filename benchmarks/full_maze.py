"""The full maze of unsupervised environment design, uniform sampling: a layout of ours beside JaxUED's, by the clock.

    python -m benchmarks.quality curricula-full-maze

JaxUED's layout trains for ``BUDGET`` seconds, ours for a quarter of that, on the same machine, compiling and tests
apart, on fresh mazes of 25 walls in 13 x 13 cells. Every ``BUDGET / CHECKS`` seconds the agent is tested: the share of
first episodes that it solves, in 1,000 solvable mazes held out, the same for all. Compared is the first time at which
JaxUED's layout was tested as good as it is at the end with the first time at which ours was; where ours never was,
twice the budget counts. What is set of ours was chosen on seed 100, for this budget; JaxUED's settings are its own.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import metarl_jax as mrl
from benchmarks.mazes import JAXUED, JAXUED_STEPS, JAXUED_TASKS
from benchmarks.record import Clock, compared, seeded, timed
from benchmarks.sizes import size
from benchmarks.teaching import solved
from benchmarks.timing import mesh_of
from metarl_jax.config import Recipe
from metarl_jax.runtime import compile_cache
from metarl_jax.training.build import build_program
from metarl_jax.training.experiment import Experiment
from metarl_jax.training.update_loop import chunk_length

BUDGET, CHECKS, NUM_MAZES = size((360.0, 24, 1000), (0.04, 2, 4))


NOT_ALIKE = (
    "learning rate, entropy cost, discount and lambda differ, too: ours were chosen for six minutes of training, "
    "JaxUED's are those that it comes with"
)


class Layout(NamedTuple):
    """What learns, in how many mazes an update and for how many steps in each; its share of the budget."""

    recipe: Recipe
    num_tasks: int
    steps: int
    share: float = 1.0


OURS: dict[str, Any] = dict(
    memory="gru",
    memory_size=size(128, 4),
    filters=size((16,), (2,)),
    num_epochs=2,
    num_minibatches=4,
    learning_rate=1e-3,
    discount=0.99,
    trace=0.95,
    entropy_cost=5e-3,
)
LAYOUTS = {
    "JaxUED's layout": Layout(mrl.algorithms.recurrent_ppo(**JAXUED), JAXUED_TASKS, JAXUED_STEPS),
    "ours": Layout(mrl.algorithms.recurrent_ppo(**OURS), *size((64, 250), (4, 8)), 0.25),
}


class Curve(NamedTuple):
    """At each test: seconds of training, share solved; and the rate of training in steps a second."""

    seconds: np.ndarray
    solved: np.ndarray
    steps_per_second: float


def held_out() -> Any:
    sample = mrl.tasks.view_maze(solvable=True).sample
    return jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(2000), NUM_MAZES))


def curve_of(layout: Layout, seed: int, mazes: Any, budget: float, between: float) -> Curve:
    """Trains for ``budget`` seconds and tests on the way, with so many ``between`` two tests."""
    tasks = mrl.tasks.view_maze()._replace(trial_steps=layout.steps)
    made = build_program(
        Experiment(layout.recipe, tasks, mrl.curricula.uniform()), layout.num_tasks, mesh_of(layout.num_tasks)
    )
    algorithm, program = made.algorithm, made.driver
    seeds = jnp.asarray([seed], jnp.int32)
    learner, *_ = program.advance(seeds, program.init(seeds), 0, 0)  # compiles
    done, spent, seconds, shares = 0, 0.0, [], []
    while spent < budget or not shares:
        count = chunk_length(spent, done, program.capacity, between) if done else 1
        with Clock() as clock:
            learner, *_ = jax.block_until_ready(program.advance(seeds, learner, done, count))
        done, spent = done + count, spent + clock.seconds
        if done > 1 and spent >= (len(seconds) + 1) * between:
            run = mrl.Run(algorithm, tasks, learner.algorithm, {"num_seeds": 1}, {}, done)
            seconds.append(spent)
            shares.append(float(solved(run, mazes, 1, tasks.horizon).mean()))
            print(f"{spent:.0f} s, {made.env_steps(done) / 1e6:.2f} M steps: {shares[-1]:.3f}", flush=True)
    return Curve(np.array(seconds), np.array(shares), made.env_steps(done) / spent)


def first_time(curve: Curve, share: float) -> float | None:
    """When ``share`` was solved first."""
    reached = curve.solved >= share
    return float(curve.seconds[reached.argmax()]) if reached.any() else None


def rows(seeds: list[int], budget: float = BUDGET) -> list[dict[str, Any]]:
    compile_cache.enable()
    mazes, curves, seconds = held_out(), {name: [] for name in LAYOUTS}, []
    for seed in seeds:
        with Clock() as clock:
            for name, layout in LAYOUTS.items():
                print(f"seed {seed}, {name}", flush=True)
                curves[name].append(curve_of(layout, seed, mazes, layout.share * budget, budget / CHECKS))
        seconds.append(round(clock.seconds, 1))
    return timed(beside(curves, budget), seconds)


def beside(curves: dict[str, list[Curve]], budget: float) -> list[dict[str, Any]]:
    theirs, ours = curves.values()
    time_of = lambda curve, other: first_time(curve, other.solved[-1]) or 2 * budget
    times = [(time_of(mine, other), time_of(other, other)) for other, mine in zip(theirs, ours, strict=True)]
    what = f"full maze: time to the share that JaxUED's layout solves after {budget:.0f} s, ours over it"
    mine, other = np.asarray(times).T
    found = [compared(what, mine, other, at_most=0.5, note=NOT_ALIKE)]
    for which, drawn in curves.items():
        name = f"full maze, {LAYOUTS[which].share * budget:.0f} s of training"
        solved_last = [curve.solved[-1] for curve in drawn]
        rates = [curve.steps_per_second / 1e3 for curve in drawn]
        found.append(seeded(f"{name}: first episodes solved, {which}", solved_last, "share"))
        found.append(seeded(f"{name}: k steps/s, {which}", rates, "k steps/s"))
    return found
