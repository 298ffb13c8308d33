"""How fast: benchmarks/results/speed.json. Ratios of what is measured in one run; unchanged on a GPU.

    python -m benchmarks.speed                # all parts, a few minutes
    python -m benchmarks.speed stepping       # of: stepping, training, startup, inference, adaptation, memory, walking,
                                              # populations, optimizers, rules, maze

stepping: environment steps a second with a random policy, every task its own, beside gymnax 1.x.
training: RL^2 on 13x13 mazes against the float32 matmul rate of this machine.
inference: VariBAD's training, frames a second beside the published code's.
adaptation: seconds of an outer iteration of MAML with a trust region, its parts, beside PyTorch's.
memory: of second order over ten inner episodes of 200 steps, with and without rematerialisation.
walking: half-cheetahs with bodies of their own beside Brax and MuJoCo's C library (pip install brax mujoco); a million
    random control steps; drift of energy.
populations: 640 actor-critics in one program beside one after the other.
rules: LPG's meta-training at the published sizes beside the published code's rate.
maze: PPO with memory in the full maze of unsupervised environment design, at JaxUED's sizes beside its rate.
startup: seconds from the start of a process to the end of its first update, compilation cache cold and warm.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax

import metarl_jax as mrl
from benchmarks import mazes, optimizers, populations, rules, walking
from benchmarks.adaptation import adaptation_rows, memory_rows
from benchmarks.intervals import RUNS
from benchmarks.record import GFLOPS, Clock, beside, living_and_learning, record, row
from benchmarks.sizes import size, smoke_option
from benchmarks.stepping import gymnax_loop, ours, steps_per_second
from benchmarks.timing import living_only, shortest, update_of
from metarl_jax.runtime.devices import use_cpu_cores

FAMILIES = {name: make for name, make in mrl.tasks.REGISTRY.items() if name != "maze"}  # maze-100 by default
FAMILIES |= {  # as the peers have it
    "bandit, 2 arms": lambda: mrl.tasks.bandit(num_arms=2),
    "maze-random, no view": lambda: mrl.tasks.random_maze(view=0),
}
FEW = "maze-view", "navigation", "bandit, 2 arms", "maze-random, no view"  # each kind of observation and action
FAMILIES = size(FAMILIES, {name: FAMILIES[name] for name in FEW})
PEERS = {"MetaMaze-misc": "maze-random, no view", "BernoulliBandit-misc": "bandit, 2 arms"}
RATIO_BARS = {"MetaMaze-misc": 10.0, "BernoulliBandit-misc": 5.0}
STEPS, BATCHES, COMPARED_AT = size((1000, (256, 1024, 4096), 1024), (2, (4,), 4))
VARIBAD_RATE, FRAMES = 690.0, ("frames/s", "of the published code")


def stepping() -> list[dict[str, Any]]:
    """Ours and gymnax's, in turn, at three batch sizes; ratios at one."""
    rows = []
    for batch in BATCHES:
        rates = {}
        for name, make in FAMILIES.items():
            rates[name] = steps_per_second(ours(make(), batch, STEPS), batch, STEPS)
        for name in PEERS:
            rates[name] = steps_per_second(gymnax_loop(name, batch, STEPS), batch, STEPS)
        for name, rate in rates.items():
            whose = "gymnax " if name in PEERS else ""
            rows.append(row(f"{whose}{name}, batch {batch}: M steps/s", rate / 1e6, "M steps/s"))
        if batch == COMPARED_AT:
            for peer, name in PEERS.items():
                what, names = f"{name} against gymnax {peer}, batch {batch}: ratio", ("M steps/s, ours", "of gymnax")
                pair = rates[name] / 1e6, rates[peer] / 1e6
                rows.append(beside(what, *pair, names, at_least=RATIO_BARS[peer]))
    return rows


def matmul_rate(width: int = size(2048, 8), repeats: int = size(10, 1)) -> float:
    """FLOP/s of a float32 product of square matrices: the ceiling."""
    a = jax.random.normal(jax.random.key(0), (width, width))
    product = jax.jit(lambda a: a @ a)
    best = shortest(lambda: product(a), repeats)
    return 2 * width**3 / best


def training(
    num_tasks: int = size(256, 8), units: int = size(128, 4), repeats: int = size(8, 1)
) -> list[dict[str, Any]]:
    """The whole outer step (living, then the epochs) of the default job, and its parts."""
    tasks = mrl.tasks.maze_100()
    recipe = mrl.algorithms.rl2(memory_size=units)
    epochs = recipe.options["num_epochs"]
    before = matmul_rate()
    seconds = shortest(update_of(recipe, tasks, num_tasks), repeats)
    living = shortest(living_only(recipe, tasks, num_tasks), repeats)
    rate = max(before, matmul_rate())
    actions = tasks.env.spec.num_actions or 0
    inputs = tasks.env.spec.observation_shape[0] + actions + 2
    forward = 2 * units * (3 * (inputs + units) + actions + 1) * tasks.trial_steps * num_tasks
    share = 3 * epochs * forward / (seconds - living) / rate
    whole = (1 + 3 * epochs) * forward / seconds
    steps = tasks.trial_steps * num_tasks / seconds
    return [
        row("float32 matmul 2048: GFLOP/s", rate / 1e9, "GFLOP/s"),
        row(f"rl2 maze-100, GRU {units}, {num_tasks} tasks, {epochs} epochs: k steps/s", steps / 1e3, "k steps/s"),
        row(
            "rl2 maze-100: seconds an update (living, learning)",
            seconds,
            "s",
            parts=living_and_learning(living, seconds),
        ),
        row("rl2 maze-100: share of the matmul rate, learning", share, "share", at_least=0.4),
        beside("rl2 maze-100: share of the matmul rate, whole update", whole / 1e9, rate / 1e9, GFLOPS, unit="share"),
    ]


def inference(num_tasks: int = size(400, 100), repeats: int = size(5, 1)) -> list[dict[str, Any]]:
    """VariBAD on gridnavi by the published sizes and ratio: policy [32], encoder 16 -> GRU 64, latent 5, decoder [32,
    32]; for 960 frames at least 3 gradient steps of the evidence bound on 25 trials, every step decoded from every
    belief, and PPO's 2 epochs of 4 minibatches. The peer: the published code, 690 frames/s on two cores of this kind.
    """
    tasks = mrl.tasks.gridnavi()
    frames, batch = num_tasks * tasks.trial_steps, 25
    recipe = mrl.algorithms.varibad(
        memory_size=64,
        latent_size=5,
        encoder=(16,),
        actor=(32,),
        decoder=(32, 32),
        num_beliefs=tasks.trial_steps,
        model_minibatches=num_tasks // batch,
        model_epochs=math.ceil(3 * frames / 960 / (num_tasks / batch)),
        num_epochs=2,
        num_minibatches=4,
    )
    seconds = shortest(update_of(recipe, tasks, num_tasks), repeats)
    rate = frames / seconds
    return [
        row(f"varibad gridnavi, published sizes, {num_tasks} tasks: k frames/s", rate / 1e3, "k frames/s"),
        beside("varibad gridnavi against the published code: ratio", rate, VARIBAD_RATE, FRAMES, at_least=15.0),
    ]


def startup() -> list[dict[str, Any]]:
    """A process that trains one update of the default job, from its start to its end, twice in one cache folder."""
    job = size("'rl2', 'maze-100'", "'ppo', 'bandit', num_tasks=8")
    code = f"import metarl_jax as m; m.train({job}, num_updates=1, quiet=True)"
    with tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"XDG_CACHE_HOME": folder}
        seconds = []
        for _ in range(size(4, 2)):
            with Clock() as clock:
                subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            seconds.append(clock.seconds)
    warm = sorted(seconds[1:])
    return [
        row("process start to first update, cache cold: s", seconds[0], "s"),
        row(
            "process start to first update, cache warm: s",
            warm[len(warm) // 2],
            "s",
            at_most=10.0,
            interval=[warm[0], warm[-1]],
            interval_kind=RUNS,
        ),
    ]


PARTS = {
    "stepping": stepping,
    "training": training,
    "startup": startup,
    "inference": inference,
    "adaptation": adaptation_rows,
    "memory": memory_rows,
    "walking": walking.rows,
    "populations": populations.population_rows,
    "optimizers": optimizers.throughput_rows,
    "rules": lambda: rules.rate_rows(matmul_rate()),
    "maze": lambda: mazes.rate_rows(matmul_rate()),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    smoke_option(parser)
    use_cpu_cores()  # as train does
    for part in parser.parse_args(arguments).parts:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}: choose of {', '.join(PARTS)}")
        with Clock() as clock:
            rows = PARTS[part]()
        common = dict(seconds=round(clock.seconds, 1), command=f"python -m benchmarks.speed {part}")
        record("speed", [made | common for made in rows])


if __name__ == "__main__":
    main()
