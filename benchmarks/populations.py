"""How much faster 640 agents learn in one program than one after the other (8 seeds x 8 settings x 10 tasks).

One agent is timed in a process of its own that knows of one CPU device: for so small a program a second one is a
burden.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import metarl_jax as mrl
from benchmarks.record import beside, row
from benchmarks.sizes import size
from benchmarks.timing import mesh_of
from metarl_jax.training.update_loop import driver

SEEDS, SETTINGS, TASKS, UPDATES, REPEATS = size((8, 8, 10, 32, 3), (2, 2, 2, 1, 1))
BAR, WAYS = 5.0, ("s one after the other", "s together")


def population_rows() -> list[dict[str, Any]]:
    """Both run the same chunk of updates in one call, which is all that a process of its own would do besides."""
    together = timed(SETTINGS, TASKS, SEEDS)
    code = "import json; from benchmarks import populations; print(json.dumps(populations.timed(1, 1, 1)))"
    environment = os.environ | {"METARL_JAX_CPU_DEVICES": "1"}
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, cwd=Path(__file__).parents[1], capture_output=True
    )
    alone = json.loads(told.stdout)
    agents = SEEDS * SETTINGS * TASKS
    seconds = alone[1] * agents, together[1]
    name = f"{agents} actor-critics on maze-100"
    return [
        beside(f"{name}, in one program against one after the other: ratio", *seconds, WAYS, at_least=BAR),
        row(f"{name}: ms an update of all, in one program", 1e3 * together[1] / UPDATES, "ms"),
        row("one such agent: ms an update", 1e3 * alone[1] / UPDATES, "ms"),
        row(
            f"{name}: seconds to compile, together and alone",
            together[0],
            "s",
            parts={"together": together[0], "alone": alone[0]},
        ),
    ]


def timed(size: int, num_tasks: int, num_seeds: int) -> tuple[float, float]:
    """(seconds of the first call less those of another, least seconds of ``UPDATES`` updates)."""
    tasks = mrl.tasks.maze_100()
    recipe = mrl.algorithms.random_search(size=size, episodes=1, life=1000)
    program = driver(recipe.build(tasks), tasks, num_tasks, mesh_of(num_tasks), capacity=UPDATES)
    seeds = jnp.arange(num_seeds, dtype=jnp.int32)
    learner, seconds = jax.block_until_ready(program.init(seeds)), []
    for i in range(REPEATS + 1):
        started = time.perf_counter()
        learner, *rest = program.advance(seeds, learner, i * UPDATES, UPDATES)
        jax.block_until_ready((learner, rest))
        seconds.append(time.perf_counter() - started)
    return seconds[0] - min(seconds[1:]), min(seconds[1:])
