"""How fast: benchmarks/results/speed.json. Ratios of what is measured in one run; unchanged on a GPU.

    python benchmarks/speed.py                # all parts, a few minutes
    python benchmarks/speed.py stepping       # of: stepping, training, startup, inference, adaptation, memory, walking,
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
from pathlib import Path
from typing import Any

import jax

sys.path.insert(0, str(Path(__file__).resolve().parent))
import mazes
import optimizers
import populations
import rules
import walking
from adaptation import adaptation_rows, memory_rows
from record import Clock, record, row
from stepping import gymnax_loop, ours, steps_per_second
from timing import living_only, shortest, update_of

import metarl_jax as mrl
from metarl_jax.devices import use_cpu_cores

FAMILIES = {name: make for name, make in mrl.tasks.REGISTRY.items() if name != "maze"}  # maze-100 by default
FAMILIES |= {  # as the peers have it
    "bandit, 2 arms": lambda: mrl.tasks.bandit(num_arms=2),
    "maze-random, no view": lambda: mrl.tasks.random_maze(view=0),
}
PEERS = {"MetaMaze-misc": "maze-random, no view", "BernoulliBandit-misc": "bandit, 2 arms"}
RATIO_BARS = {"MetaMaze-misc": 10.0, "BernoulliBandit-misc": 5.0}
STEPS = 1000
VARIBAD_RATE = 690.0  # frames/s of the published code


def stepping() -> list[dict[str, Any]]:
    """Ours and gymnax's, in turn, at three batch sizes; ratios at 1,024."""
    rows = []
    for batch in (256, 1024, 4096):
        rates = {}
        for name, make in FAMILIES.items():
            rates[name] = steps_per_second(ours(make(), batch, STEPS), batch, STEPS)
        for name in PEERS:
            rates[name] = steps_per_second(gymnax_loop(name, batch, STEPS), batch, STEPS)
        for name, rate in rates.items():
            whose = "gymnax " if name in PEERS else ""
            rows.append(row(f"{whose}{name}, batch {batch}: M steps/s", rate / 1e6))
        if batch == 1024:
            for peer, name in PEERS.items():
                ratio, pair = rates[name] / rates[peer], [rates[name] / 1e6, rates[peer] / 1e6]
                rows.append(row(f"{name} against gymnax {peer}, batch 1024: ratio", ratio, pair, RATIO_BARS[peer]))
    return rows


def matmul_rate(size: int = 2048, repeats: int = 10) -> float:
    """FLOP/s of a float32 product of square matrices: the ceiling."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(lambda a: a @ a)
    best = shortest(lambda: product(a), repeats)
    return 2 * size**3 / best


def training(num_tasks: int = 256, size: int = 128) -> list[dict[str, Any]]:
    """The whole outer step (living, then the epochs) of the default job, and its parts."""
    tasks = mrl.tasks.maze_100()
    recipe = mrl.algorithms.rl2(memory_size=size)
    epochs = recipe.options["num_epochs"]
    before = matmul_rate()
    seconds = shortest(update_of(recipe, tasks, num_tasks), 8)
    living = shortest(living_only(recipe, tasks, num_tasks), 8)
    rate = max(before, matmul_rate())
    spec = tasks.env.spec
    inputs = spec.observation_shape[0] + spec.num_actions + 2
    forward = 2 * size * (3 * (inputs + size) + spec.num_actions + 1) * tasks.trial_steps * num_tasks
    share = 3 * epochs * forward / (seconds - living) / rate
    whole = (1 + 3 * epochs) * forward / seconds / rate
    steps = tasks.trial_steps * num_tasks / seconds
    detail = [(1 + 3 * epochs) * forward / seconds / 1e9, rate / 1e9]
    return [
        row("float32 matmul 2048: GFLOP/s", rate / 1e9),
        row(f"rl2 maze-100, GRU {size}, {num_tasks} tasks, {epochs} epochs: k steps/s", steps / 1e3),
        row("rl2 maze-100: seconds an update (living, learning)", seconds, [living, seconds - living]),
        row("rl2 maze-100: share of the matmul rate, learning", share, bar=0.4),
        row("rl2 maze-100: share of the matmul rate, whole update", whole, detail),
    ]


def inference(num_tasks: int = 400) -> list[dict[str, Any]]:
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
    seconds = shortest(update_of(recipe, tasks, num_tasks), 5)
    rate = frames / seconds
    return [
        row(f"varibad gridnavi, published sizes, {num_tasks} tasks: k frames/s", rate / 1e3),
        row("varibad gridnavi against the published code: ratio", rate / VARIBAD_RATE, [rate, VARIBAD_RATE], 15.0),
    ]


def startup() -> list[dict[str, Any]]:
    """A process that trains one update of the default job, from its start to its end, twice in one cache folder."""
    code = "import metarl_jax as m; m.train('rl2', 'maze-100', num_updates=1, quiet=True)"
    with tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"XDG_CACHE_HOME": folder}
        seconds = []
        for _ in range(4):
            with Clock() as clock:
                subprocess.run([sys.executable, "-c", code], check=True, env=environment)
            seconds.append(clock.seconds)
    warm = sorted(seconds[1:])
    return [
        row("process start to first update, cache cold: s", seconds[0]),
        row("process start to first update, cache warm: s", warm[1], warm, 10.0, sign=-1),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    use_cpu_cores()  # as train does
    for part in parser.parse_args().parts:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}: choose of {', '.join(PARTS)}")
        with Clock() as clock:
            rows = PARTS[part]()
        command = f"python benchmarks/speed.py {part}"
        record("speed", [{**r, "seconds": round(clock.seconds, 1), "command": command} for r in rows])


if __name__ == "__main__":
    main()
