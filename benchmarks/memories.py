"""Memories of RL^2 side by side on maze-100, at 200 and 1,000 steps a trial: benchmarks/results/memories.json.

    python -m benchmarks.memories                        # both parts, all seeds
    python -m benchmarks.memories speed                  # steps a second alone: a minute or two
    python -m benchmarks.memories maze --steps 200       # final scores at one length of trial

All have as many parameters as a GRU of 128 units, heads included: S5 within 2 %, the transformer (in multiples of 8
units, only in ``speed``) as near as it comes. ``maze`` gives each the same 15.36 million environment steps, RL^2's
default options otherwise, episodes as long as the trial. Scores are ``quality``'s, over all mazes, 10 trials each.
"""

import argparse
import bisect
import functools
from collections.abc import Sequence
from typing import Any

import jax

import metarl_jax as mrl
from benchmarks.record import Clock, beside, check_seeds, living_and_learning, record, row, seeded, slowest, timed
from benchmarks.recurrent import maze_scores
from benchmarks.sizes import SMOKE, size, smoke_option
from benchmarks.timing import living_only, policy_of, shortest, update_of
from metarl_jax.config import Recipe
from metarl_jax.networks import MEMORIES
from metarl_jax.records import TaskDistribution
from metarl_jax.runtime.devices import use_cpu_cores

GRU_SIZE = 128
TASKS = size({200: 256, 1000: 128}, {8: 8})  # steps a trial: trials an update
STEPS, REPEATS = size((15_360_000, 3), (1, 1))  # of each training
SEEDS, CHOSEN_ON = tuple(range(200, 205)), (0, 1, 2)  # the defaults of RL^2, with a GRU
SCORE = "goals a trial, share of search walk then shortest paths"


@functools.cache
def mazes(steps: int) -> TaskDistribution:
    return mrl.tasks.maze_100(horizon=steps, trial_steps=steps)


@functools.cache
def parameters(memory: Any, size: int) -> int:
    """Of the whole policy on mazes."""
    policy = policy_of(mrl.algorithms.rl2(memory=memory, memory_size=size), mazes(200))
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(policy.init, jax.random.key(0))))


def matched(memory: Any) -> tuple[Recipe, str]:
    """(RL^2 with this memory and as many parameters as with the GRU, how to call it)."""
    wanted, multiple = parameters("gru", GRU_SIZE), MEMORIES[memory].multiple
    sizes = range(multiple, 2 * GRU_SIZE, multiple)
    above = bisect.bisect_left(sizes, wanted, key=functools.partial(parameters, memory))
    size = min(sizes[max(above - 1, 0) : above + 1], key=lambda size: abs(parameters(memory, size) - wanted))
    count = parameters(memory, size)
    assert memory == "transformer" or abs(count - wanted) <= 0.02 * wanted
    return mrl.algorithms.rl2(memory=memory, memory_size=size), f"{memory} {size} ({count:,} parameters)"


def speed(lengths: list[int], seeds: list[int]) -> list[dict[str, Any]]:
    """Steps a second of a whole update, and its seconds."""
    del seeds
    rows = []
    for steps in lengths:
        num_tasks = TASKS[steps]
        rates = {}
        for memory in ("gru", "s5", "transformer"):
            recipe, name = matched(memory)
            whole = shortest(update_of(recipe, mazes(steps), num_tasks), REPEATS)
            living = shortest(living_only(recipe, mazes(steps), num_tasks), REPEATS)
            rates[memory] = steps * num_tasks / whole
            what = f"maze-100, {steps:,} steps a trial, {name}"
            rows.append(row(f"{what}: training, k steps/s", rates[memory] / 1e3, "k steps/s"))
            parts = living_and_learning(living, whole)
            rows.append(row(f"{what}: seconds an update (living, learning)", whole, "s", parts=parts))
            print(f"{what}: {rates[memory] / 1e3:.1f} k steps/s", flush=True)
        ratio = f"maze-100, {steps:,} steps a trial: training steps/s, s5 against gru"
        rows.append(beside(ratio, rates["s5"] / 1e3, rates["gru"] / 1e3, ("k steps/s, s5", "gru")))
    return rows


def maze(lengths: list[int], seeds: list[int]) -> list[dict[str, Any]]:
    """Final scores after the same number of environment steps."""
    rows = []
    for steps in lengths:
        num_tasks = TASKS[steps]
        for memory in ("gru", "s5"):
            recipe, name = matched(memory)
            scores, seconds = [], []
            for seed in seeds:
                with Clock() as clock:
                    updates = max(1, STEPS // (steps * num_tasks))
                    run = mrl.train(
                        recipe, mazes(steps), num_updates=updates, num_tasks=num_tasks, seed=seed, quiet=True
                    )
                seconds.append(round(clock.seconds, 1))
                scores.append(maze_scores(run)[SCORE])
                print(f"{steps} steps, {name}, seed {seed}: {scores[-1]:.3f} in {clock.seconds:.0f} s", flush=True)
            what = f"maze-100, {steps:,} steps a trial, {name}"
            found = [seeded(f"{what}: {SCORE}", scores, "share"), slowest(f"{what}: minutes a seed", seconds)]
            rows += timed(found, seconds)
    return rows


PARTS = {"speed": speed, "maze": maze}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--steps", nargs="+", type=int, default=[200, 1000], choices=[200, 1000], help="of a trial")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    smoke_option(parser)
    asked = parser.parse_args(arguments)
    use_cpu_cores()  # as train does
    lengths, seeds = (list(TASKS), asked.seeds[:1]) if SMOKE else (asked.steps, asked.seeds)
    for part in asked.parts:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}: choose of {', '.join(PARTS)}")
        learned = dict(seeds=seeds, chosen_on=list(CHOSEN_ON)) if part == "maze" else dict(seeds=None, chosen_on=None)
        check_seeds(part, learned["seeds"], learned["chosen_on"])
        with Clock() as clock:
            rows = PARTS[part](lengths, seeds)
        told = {"steps": lengths} | ({"seeds": seeds} if part == "maze" else {})
        options = " ".join(f"--{name} {' '.join(map(str, values))}" for name, values in told.items())
        common = learned | dict(command=f"python -m benchmarks.memories {part} {options}")
        spent = round(clock.seconds, 1)
        record("memories", [made | common | dict(seconds=made["seconds"] or spent) for made in rows])


if __name__ == "__main__":
    main()
