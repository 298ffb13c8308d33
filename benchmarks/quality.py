"""What the agents learn, beside the exact answers: benchmarks/results/quality.json.

    python benchmarks/quality.py                         # everything, some hours on two cores
    python benchmarks/quality.py maze-100 --seeds 0      # one job, one seed
    python benchmarks/quality.py --list

Each seed is a run of its own, trained one after the other, so that the seconds are those of one run. Scores are over
all tasks of a finite set, or 20,000 held-out tasks; ``spread`` is what each seed scored.
"""

import argparse
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import credit
import discounting
import full_maze
import goals
import heldout
import inference
import navigation
import optimizers
import proxies
import sparse
import strides
import teaching
import transfer
import tuning
from record import RESULTS, Clock, record, row, trained

import metarl_jax as mrl
from metarl_jax.evaluation import live, segment

GRID_TOTALS = [inference.FIRST + later * inference.LATER for later in range(4)]
DEMO = "import sys; from metarl_jax.cli import main; sys.exit(main(['demo', *sys.argv[1:]]))"  # what dev.py demo runs


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
        algorithm=lambda: mrl.algorithms.rl2(memory_size=48, num_minibatches=4, discount=1.0, decay_updates=600),
        options=dict(num_updates=600, num_tasks=2048),
        bar=0.993,
        minutes=3,
    ),
    "bandit-10x100": Job(
        tasks=lambda: mrl.tasks.bandit(num_arms=10, num_pulls=100),
        algorithm=lambda: mrl.algorithms.rl2(memory_size=64, discount=0.9, trace=0.9, entropy_cost=0.002),
        options=dict(num_updates=500, num_tasks=512),
        bar=0.90,
        minutes=20,
    ),
    "gridnavi": Job(
        tasks=mrl.tasks.gridnavi,
        algorithm=lambda: mrl.algorithms.rl2(memory_size=64, num_minibatches=4, discount=0.97),
        options=dict(num_updates=250, num_tasks=512),
        bar=0.95,
        minutes=6,
    ),
}


def planner_rows() -> list[dict[str, Any]]:
    """The planners against the exact reference numbers: the largest difference."""
    from metarl_jax import planning
    from metarl_jax.tasks.gridnavi import grid_table

    with Clock() as clock:
        grid = (grid_table(5), 0, [c for c in range(25) if c // 5 > 1 or c % 5 > 1], 15)
        totals = [planning.hidden_goal_return(*grid, episodes).by_episode.sum() for episodes in (1, 2, 3, 4)]
        pairs = {
            "bernoulli k=2 n=10": (planning.bernoulli_reference(2, 10).value, 6.021786),
            "bernoulli k=5 n=10": (planning.bernoulli_reference(5, 10).value, 6.659988),
            "bernoulli k=10 n=10": (planning.bernoulli_reference(10, 10).value, 6.713951),
            "bernoulli k=2 n=100": (planning.bernoulli_reference(2, 100).value, 64.918421),
            **{f"gridnavi 5x5, {e + 1} episodes": (totals[e], v) for e, v in enumerate(GRID_TOTALS)},
        }
    differences = {name: abs(float(found) - wanted) for name, (found, wanted) in pairs.items()}
    worst = max(differences.values())
    command = "python benchmarks/quality.py planners"
    found = row("planners against exact values: largest difference", worst, list(differences.values()), 1e-5, sign=-1)
    return [found | dict(seconds=round(clock.seconds, 1), command=command)]


def job_rows(name: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Trains each seed, and holds the mean return to the job's reference."""
    job, scores, seconds = JOBS[name], [], []
    tasks = job.tasks()
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(job.algorithm(), tasks, seed=seed, quiet=True, **job.options)
        report = mrl.evaluate(run, num_tasks=20_000, seed=1)
        target = next(r["value"] for r in report.references if r["role"] == "bayes")
        scores.append(report.mean / target)
        seconds.append(round(clock.seconds, 1))
        print(f"{name} seed {seed}: {report.mean:.3f} of {target:.3f} in {clock.seconds:.0f} s", flush=True)
    minutes = [s / 60 for s in seconds]
    rows = [
        row(f"rl2 {name}: share of the reference", float(np.mean(scores)), scores, job.bar),
        row(f"rl2 {name}: minutes a seed", max(minutes), minutes, job.minutes, sign=-1),
    ]
    return [made | trained(name, seeds, seconds) for made in rows]


def maze_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """The default job, by the README's command (in the environment at hand), a folder a seed."""
    folder = Path(tempfile.mkdtemp())
    measured, seconds = [], []
    for seed in seeds:
        out = folder / str(seed)
        command = [sys.executable, "-c", DEMO, "--seed", str(seed), "--out", str(out)]
        with Clock() as clock:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(round(clock.seconds, 1))
        measured.append(maze_scores(mrl.load(out)))
        print(f"maze-100 seed {seed}: {measured[-1]} in {clock.seconds:.0f} s", flush=True)
    for picture in ("report.png", "trial.gif"):  # for the README
        shutil.copy(folder / str(seeds[0]) / picture, RESULTS / f"maze-100-{picture}")
    shutil.rmtree(folder)
    bars = {
        "goals a trial, share of search walk then shortest paths": (0.75, 1),
        "first find, times the bracket": (1.4, -1),
        "later episodes, times the shortest path": (1.2, -1),
        "goals a trial, times the best known non-adaptive": (1.0, 1),
    }
    minutes = [s / 60 for s in seconds]
    rows = [row("rl2 maze-100: minutes, the README's command", max(minutes), minutes, 10.0, sign=-1)]
    for name, (bar, sign) in bars.items():
        spread = [scores[name] for scores in measured]
        rows.append(row(f"rl2 maze-100: {name}", float(np.mean(spread)), spread, bar, sign))
    return [made | trained("maze-100", seeds, seconds) for made in rows]


def maze_scores(run: mrl.Run) -> dict[str, float]:
    """What the rows above say, over all mazes and 10 trials each.

    A first goal that is not found within the trial counts as found at its last step (too early, never too late). The
    length of later episodes is told relative to the maze's shortest path, of episodes that ended, a mean over mazes
    (those in which one did).
    """
    tasks, steps = run.tasks, run.tasks.trial_steps
    assert tasks.references is not None
    references = {(r.role, r.kind): r.trial_return for r in tasks.references(tasks.tasks, steps)}
    trials = segment(live(run, tasks.tasks, jax.random.key(12345), 10, steps, False))
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
    from metarl_jax.tasks._layouts import successors

    tasks = run.tasks.tasks
    assert tasks is not None
    bracket = planning.search_bracket(
        np.asarray(successors(tasks.walls[0])), int(tasks.start[0]), np.asarray(tasks.goal)
    )
    return bracket.upper, bracket.distance


ROWS = {  # name: function of seeds
    "planners": lambda seeds: planner_rows(),
    "maze-100": maze_rows,
    **{name: functools.partial(job_rows, name) for name in JOBS},
    "maml-navigation": navigation.rows,
    "varibad-gridnavi": inference.rows,
    **{f"references-{family}": functools.partial(strides.reference_rows, family) for family in strides.FAMILIES},
    "half-cheetah": strides.running_rows,
    **{name: functools.partial(strides.rows, name) for name in strides.ENTRIES},
    "discounting-chain": discounting.rows,
    "learned-optimizer": optimizers.learned_rows,
    "self-tuning-mazes": tuning.rows,
    "curricula-gate": teaching.gate_rows,
    "curricula-proxies": proxies.rows,
    "curricula-maze-200": heldout.rows,
    "curricula-goals": goals.rows,
    "curricula-maze": teaching.maze_rows,
    "curricula-full-maze": full_maze.rows,
    "lpg-random-mdps": credit.small_rows,
    "lpg-transfer": transfer.transfer_rows,
    "intrinsic-reward-gridnavi": credit.reward_rows,
    "pairwise-key-to-door": credit.pairwise_rows,
    **{f"{name}-sparse": functools.partial(sparse.rows, name) for name in sparse.ENTRIES},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", default=list(ROWS), help=f"of {', '.join(ROWS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--list", action="store_true", help="only name the jobs")
    arguments = parser.parse_args()
    if unknown := set(arguments.jobs) - set(ROWS):
        parser.error(f"unknown job {sorted(unknown)[0]!r}: choose of {', '.join(ROWS)}")
    for name in arguments.jobs:
        if arguments.list:
            print(name)
        else:
            record("quality", ROWS[name](arguments.seeds))


if __name__ == "__main__":
    main()
