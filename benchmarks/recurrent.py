"""RL^2 beside exact answers, for the table of ``quality``: bandits, the hidden-goal grid, the default job.

Scores are over all tasks of a finite set, or 20,000 held-out tasks.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import metarl_jax as mrl
from benchmarks.record import RESULTS, Clock, seeded, slowest, timed
from benchmarks.sizes import size
from metarl_jax.evaluation.evaluate import live
from metarl_jax.evaluation.trials import segment

DEMO = "import sys; from metarl_jax.cli import main; sys.exit(main(['demo', *sys.argv[1:]]))"  # what dev.py demo runs
DEMO_OPTIONS = size((), ("--num-updates", "1", "--num-tasks", "8", "--algorithm.memory-size", "4"))
FEW = dict(num_updates=1, num_tasks=8)
SIZES = size((48, 64), (4, 4))  # of memories
NUM_TASKS = size(20_000, 20)  # of a test that can draw as many as it likes


class Job(NamedTuple):
    """A run and the share of its reference that is asked of it within ``minutes``."""

    tasks: Callable
    algorithm: Callable
    options: dict[str, Any]
    bar: float
    minutes: float


JOBS = {
    "bandit-5x10": Job(
        tasks=lambda: mrl.tasks.bandit(num_arms=5, num_pulls=10),
        algorithm=lambda: mrl.algorithms.rl2(memory_size=SIZES[0], num_minibatches=4, discount=1.0, decay_updates=600),
        options=size(dict(num_updates=600, num_tasks=2048), FEW),
        bar=0.993,
        minutes=3,
    ),
    "bandit-10x100": Job(
        tasks=lambda: mrl.tasks.bandit(num_arms=10, num_pulls=100),
        algorithm=lambda: mrl.algorithms.rl2(memory_size=SIZES[1], discount=0.9, trace=0.9, entropy_cost=0.002),
        options=size(dict(num_updates=500, num_tasks=512), FEW),
        bar=0.90,
        minutes=20,
    ),
    "gridnavi": Job(
        tasks=mrl.tasks.gridnavi,
        algorithm=lambda: mrl.algorithms.rl2(memory_size=SIZES[1], num_minibatches=4, discount=0.97),
        options=size(dict(num_updates=250, num_tasks=512), FEW),
        bar=0.95,
        minutes=6,
    ),
}


def job_rows(name: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Trains each seed, and holds the mean return to the job's reference."""
    job, scores, seconds = JOBS[name], [], []
    tasks = job.tasks()
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(job.algorithm(), tasks, seed=seed, quiet=True, **job.options)
        report = mrl.evaluate(run, num_tasks=NUM_TASKS, seed=1, quiet=True)
        target = next(r["value"] for r in report.references if r["role"] == "bayes")
        scores.append(report.mean / target)
        seconds.append(round(clock.seconds, 1))
        print(f"{name} seed {seed}: {report.mean:.3f} of {target:.3f} in {clock.seconds:.0f} s", flush=True)
    rows = [
        seeded(f"rl2 {name}: share of the reference", scores, "share", at_least=job.bar),
        slowest(f"rl2 {name}: minutes a seed", seconds, at_most=job.minutes),
    ]
    return timed(rows, seconds)


def maze_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """The default job, by the README's command (in the environment at hand), a folder a seed."""
    folder = Path(tempfile.mkdtemp())
    measured, seconds = [], []
    for seed in seeds:
        out = folder / str(seed)
        command = [sys.executable, "-c", DEMO, "--seed", str(seed), "--out", str(out), *DEMO_OPTIONS]
        with Clock() as clock:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(round(clock.seconds, 1))
        measured.append(maze_scores(mrl.load(out)))
        print(f"maze-100 seed {seed}: {measured[-1]} in {clock.seconds:.0f} s", flush=True)
    for picture in ("report.png", "trial.gif"):  # for the README
        shutil.copy(folder / str(seeds[0]) / picture, RESULTS / f"maze-100-{picture}")
    shutil.rmtree(folder)
    bars: dict[str, dict[str, Any]] = {
        "goals a trial, share of search walk then shortest paths": dict(unit="share", at_least=0.75),
        "first find, times the bracket": dict(unit="ratio", at_most=1.4),
        "later episodes, times the shortest path": dict(unit="ratio", at_most=1.2),
        "goals a trial, times the best known non-adaptive": dict(unit="ratio", at_least=1.0),
    }
    rows = [slowest("rl2 maze-100: minutes, the README's command", seconds, at_most=10.0)]
    for name, bar in bars.items():
        rows.append(seeded(f"rl2 maze-100: {name}", [scores[name] for scores in measured], **bar))
    return timed(rows, seconds)


def maze_scores(run: mrl.Run) -> dict[str, float]:
    """What the rows above say, over all mazes and 10 trials each.

    A first goal that is not found within the trial counts as found at its last step (too early, never too late). The
    length of later episodes is told relative to the maze's shortest path, of episodes that ended, a mean over mazes
    (those in which one did).
    """
    tasks, steps = run.tasks, run.tasks.trial_steps
    assert tasks.references is not None
    references = {(r.role, r.kind): r.trial_return for r in tasks.references(tasks.tasks, steps)}
    trials = segment(live(run, tasks.tasks, jax.random.key(12345), 10, steps))
    first = np.where(trials.finished[..., 0], trials.lengths[..., 0], steps)
    ended = trials.finished[..., 1:]
    count = ended.sum(axis=(0, 2, 3))
    later = np.where(ended, trials.lengths[..., 1:], 0.0).sum(axis=(0, 2, 3)) / np.maximum(count, 1)
    bracket, distance = search_of(run)
    return {
        "goals a trial, share of search walk then shortest paths": float(
            trials.trial_return.mean() / references["bayes", "lower"].mean()
        ),
        "first find, times the bracket": float(first.mean() / bracket),
        "later episodes, times the shortest path": float((later / distance)[count > 0].mean()),
        "goals a trial, times the best known non-adaptive": float(
            trials.trial_return.mean() / references["non_adaptive", "lower"].mean()
        ),
    }


def search_of(run: mrl.Run) -> tuple[float, np.ndarray]:
    """(the best known mean time to find, shortest path of each goal) of the run's one layout."""
    from metarl_jax import planning
    from metarl_jax.tasks.layouts import successors

    tasks = run.tasks.tasks
    assert tasks is not None
    bracket = planning.search_bounds(
        np.asarray(successors(tasks.walls[0])), int(tasks.start[0]), np.asarray(tasks.goal)
    )
    return bracket.upper, bracket.distance
