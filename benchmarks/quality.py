"""What the agents learn, beside the exact answers: benchmarks/results/quality.json.

    python -m benchmarks.quality                         # everything, some hours on two cores
    python -m benchmarks.quality maze-100 --seeds 300    # one job, one seed
    python -m benchmarks.quality --list
    python -m benchmarks.quality maze-100 --smoke        # every line of the job, at no size; nothing is written

Each seed is a run of its own, trained one after the other, so that the seconds are those of one run. The seeds that a
job's settings were chosen on are written beside it, and cannot be reported; who changes a setting after a look at
others adds those.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks import (
    credit,
    discounting,
    full_maze,
    goals,
    heldout,
    inference,
    navigation,
    optimizers,
    outer_critic,
    proxies,
    recurrent,
    sparse_navigation,
    strides,
    teaching,
    transfer,
    tuning,
)
from benchmarks.record import Clock, check_seeds, record, row, timed
from benchmarks.sizes import SMOKE, smoke_option

GRID_TOTALS = [inference.FIRST + later * inference.LATER for later in range(4)]
FIVE, TEN = tuple(range(200, 205)), tuple(range(200, 210))  # nobody has looked at these


def planner_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """The planners against the exact reference numbers: the largest difference."""
    del seeds
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
    name = "planners against exact values: largest difference"
    found = row(name, max(differences.values()), "return", at_most=1e-5, parts=differences)
    return timed([found], [round(clock.seconds, 1)])


class Job(NamedTuple):
    """``rows``: of a list of seeds. ``chosen_on``: the seeds that its settings were chosen on, or that were looked at
    on the way; None where nothing is learned. ``seeds``: those reported."""

    rows: Callable[[list[int]], list[dict[str, Any]]]
    chosen_on: tuple[int, ...] | None = ()
    seeds: tuple[int, ...] = FIVE


EARLY = (0, 1, 2)  # run again and again while the defaults of RL^2 were found, on none that is recorded
WALKERS = (20,)
CREDIT = (0, *range(20, 25), 50, 60)
JOBS = {
    "planners": Job(planner_rows, None, ()),
    "maze-100": Job(recurrent.maze_rows, EARLY),
    **{name: Job(functools.partial(recurrent.job_rows, name), EARLY) for name in recurrent.JOBS},
    # 10 to 14 were seen to fail with the rate that did not fall
    "maml-navigation": Job(navigation.rows, (0, 1, 2, *range(10, 15))),
    "varibad-gridnavi": Job(inference.rows, (0, 1, 2, 3)),
    **{
        f"references-{family}": Job(functools.partial(strides.reference_rows, family), WALKERS)
        for family in strides.FAMILIES
    },
    "half-cheetah": Job(strides.running_rows, WALKERS),
    **{name: Job(functools.partial(strides.rows, name), WALKERS) for name in strides.ENTRIES},
    "discounting-chain": Job(discounting.rows),  # as published
    "learned-optimizer": Job(optimizers.learned_rows, (0,)),
    "self-tuning-mazes": Job(tuning.rows, (*range(10), *range(20, 26)), TEN),
    "curricula-gate": Job(teaching.gate_rows, ()),  # defaults
    "curricula-proxies": Job(proxies.rows, ()),  # no setting is chosen
    "curricula-maze-200": Job(heldout.rows, (0,)),
    "curricula-goals": Job(goals.rows, (*range(20), *range(100, 110)), TEN),
    # scores and SPaCE's settings were changed after looks at 0 to 4; the best curriculum was chosen on 100 to 102
    "curricula-maze": Job(teaching.maze_rows, (*range(5), 100, 101, 102), TEN),
    "curricula-full-maze": Job(full_maze.rows, (100,)),
    "outer-critic": Job(outer_critic.rows, (0, 1)),
    "lpg-random-mdps": Job(credit.small_rows, CREDIT),
    "lpg-transfer": Job(transfer.transfer_rows, (1, 2, 3)),
    "intrinsic-reward-gridnavi": Job(credit.reward_rows, CREDIT),
    "pairwise-key-to-door": Job(credit.pairwise_rows, (*CREDIT, *range(10, 20), *range(30, 40)), TEN),
    "maesn-sparse": Job(functools.partial(sparse_navigation.rows, "maesn"), (0, 1, 2)),
    "varibad-sparse": Job(functools.partial(sparse_navigation.rows, "varibad"), (0, 1, 2, 10, *range(20, 24))),
    "maml-sparse": Job(functools.partial(sparse_navigation.rows, "maml"), ()),  # shown beside them as it comes
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", default=list(JOBS), help=f"of {', '.join(JOBS)}")
    parser.add_argument(
        "--seeds", nargs="+", type=int, help="instead of those that the job names, which nobody has looked at"
    )
    parser.add_argument("--list", action="store_true", help="only name the jobs")
    smoke_option(parser)
    asked = parser.parse_args(arguments)
    if unknown := set(asked.jobs) - set(JOBS):
        parser.error(f"unknown job {sorted(unknown)[0]!r}: choose of {', '.join(JOBS)}")
    for name in asked.jobs:
        print(name) if asked.list else run(name, asked.seeds)


def run(name: str, seeds: Sequence[int] | None = None) -> None:
    """Measures a job and records its rows."""
    job = JOBS[name]
    reported = list(job.seeds if seeds is None else seeds)[: 1 if SMOKE else None]
    check_seeds(name, reported, job.chosen_on)
    words = ["python -m benchmarks.quality", name]
    common: dict[str, Any] = dict(seeds=None, chosen_on=None)
    if job.chosen_on is not None:
        words += ["--seeds", *map(str, reported)]
        common = dict(seeds=reported, chosen_on=list(job.chosen_on))
    record("quality", [made | common | dict(command=" ".join(words)) for made in job.rows(reported)])


if __name__ == "__main__":
    main()
