"""Runs killed at random times and resumed by the same command: benchmarks/results/resume.json.

    python -m benchmarks.resume            # 20 runs, five minutes on two cores
    python -m benchmarks.resume maml       # of these algorithms

Each run is killed (SIGKILL) at a time drawn uniformly from the length of an uninterrupted one, started again, killed
once more with probability 1/2, and then left to end. Its parameters, optimiser state and metrics are compared bit for
bit with those of the run that was never killed.
"""

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import Clock, record, row
from benchmarks.sizes import SMOKE, size, smoke_option
from metarl_jax import algorithms

SIZES = size("num_updates=60, num_tasks=128, num_seeds=2", "num_updates=2, num_tasks=4, num_seeds=1")
CODE = f"""
import sys, metarl_jax as m
from metarl_jax.config import options_of
algorithm, out = sys.argv[1:]
make = m.algorithms.REGISTRY[algorithm]
small = dict(memory_size={size(32, 4)}, num_minibatches=4)
recipe = make(**{{option: value for option, value in small.items() if option in options_of(make)}})
m.train(recipe, "gridnavi", {SIZES}, out=out, checkpoint_seconds=0.0, quiet=True)
"""


def start(algorithm: str, out: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CODE, algorithm, str(out)])


def digest(out: Path) -> str:
    """Of the last checkpoint, whole (it holds no clock), and of the metrics."""
    newest = max((out / "checkpoints").glob("*.ckpt"))
    return hashlib.sha256(newest.read_bytes() + (out / "metrics.jsonl").read_bytes()).hexdigest()


def killed(algorithm: str, out: Path, seconds: float, dice: random.Random) -> int:
    """Runs to the end through one or two kills; returns how many hit a process that was still at work."""
    hits = 0
    for _ in range(1 + (dice.random() < 0.5)):
        process = start(algorithm, out)
        try:
            process.wait(timeout=dice.uniform(0.0, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            hits += 1
    if start(algorithm, out).wait() != 0:
        raise RuntimeError(f"{algorithm}: the resumed run in {out} failed")
    return hits


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = sorted(algorithms.REGISTRY)
    parser.add_argument("algorithms", nargs="*", default=["ppo", "rl2"], help=f"of {', '.join(known)}")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    smoke_option(parser)
    asked = parser.parse_args(arguments)
    dice, names = random.Random(asked.seed), asked.algorithms
    if SMOKE:
        names, asked.runs = names[:1], 1
    if unknown := set(names) - set(known):
        parser.error(f"unknown algorithm {sorted(unknown)[0]!r}: choose of {', '.join(known)}")
    same: list[bool] = []
    hits = 0
    with tempfile.TemporaryDirectory() as folder, Clock() as clock:
        whole: dict[str, Any] = {}
        for name in names:
            start(name, Path(folder, f"warm-{name}")).wait()  # fills the compilation cache
            with Clock() as one:
                start(name, Path(folder, name)).wait()
            whole[name] = (digest(Path(folder, name)), one.seconds)
        for i in range(asked.runs):
            name = names[i % len(names)]
            out = Path(folder, f"{name}-{i}")
            hits += killed(name, out, whole[name][1], dice)
            same.append(digest(out) == whole[name][0])
            print(f"run {i + 1}: {name}, {'identical' if same[-1] else 'DIFFERS'}, {hits} kills so far", flush=True)
    command = f"python -m benchmarks.resume {' '.join(names)} --runs {asked.runs} --seed {asked.seed}"
    what = f"{asked.runs} runs killed at random times ({hits} kills), resumed: bit-identical ends"
    made = row(f"{', '.join(names)}: {what}", sum(same), "runs", at_least=asked.runs)
    record("resume", [made | dict(seconds=round(clock.seconds, 1), command=command)])


if __name__ == "__main__":
    main()
