"""Exploration on sparse half-circle goals, by a fixed protocol, for the table of ``quality``.

Goals on a half circle of radius 1, paid only within 0.2 of them; episodes of 20 steps, trials of 5. Test: 400 goals,
a fresh trial in each. The score is the mean return of the fifth episode over that of an agent who knows the goal.
Every method trains on the same number of environment steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import metarl_jax as mrl
from benchmarks.record import Clock, row, seeded, timed
from benchmarks.sizes import size
from metarl_jax.evaluation.evaluate import evaluation_tasks, live

GOALS, EPISODES, KEY = size(400, 4), 5, 500  # the key: of the test's goals and trials, the same for all seeds
ENV_STEPS = size(27_200_000, 1)  # of a run


class Entry(NamedTuple):
    """A method as it is trained here; ``bar`` is the share asked of it (None: shown beside the others)."""

    algorithm: Callable
    num_tasks: int
    bar: float | None


def varibad() -> Any:
    """Noise held through an episode makes first episodes leave the start. The policy sees standardised beliefs and its
    mean actions are bounded, as in HyperX's code; three wide layers and many small updates keep
    seeds from leaving a side of the half circle unvisited. The critic knows the goal; entropy falls slowly, so that the
    search is not settled before goals are found; the discount lets what later episodes may still find count in the
    first ones."""
    entropy: dict[str, Any] = dict(entropy_cost=0.01, entropy_updates=900)
    rates: dict[str, Any] = dict(learning_rate=1e-3, decay_updates=1000, model_rate=1e-3)
    policy: dict[str, Any] = dict(actor=size((128, 128, 128), (4,)), standardised=True, bounding="mean", held_noise=2)
    return mrl.algorithms.varibad(critic="task", discount=0.99, **policy, **rates, **entropy)


ENTRIES = {
    "maesn": Entry(lambda: mrl.algorithms.maesn(entropy_updates=450), num_tasks=200, bar=0.8),
    "varibad": Entry(varibad, num_tasks=256, bar=0.8),
    "maml": Entry(lambda: mrl.algorithms.maml(episodes=4, outer="clip"), num_tasks=200, bar=None),
}


def returns_of(run: mrl.Run, greedy: bool = False) -> np.ndarray:
    """Return by goal and episode of the trial: ``[N, E]``."""
    key = jax.random.key(KEY)
    goals = evaluation_tasks(key, run.tasks, GOALS)
    trajectory = live(run, goals, key, 1, run.tasks.trial_steps, forget=False, greedy=greedy)
    return np.asarray(trajectory.reward).reshape(GOALS, EPISODES, run.tasks.horizon).sum(axis=-1)


def known_return(tasks: mrl.records.TaskDistribution) -> float:
    """Of an episode with the goal known, on average over the test's goals."""
    assert tasks.references is not None
    goals = evaluation_tasks(jax.random.key(KEY), tasks, GOALS)
    found = next(r for r in tasks.references(goals, tasks.trial_steps) if r.role == "optimal")
    return float(np.mean(found.trial_return)) / EPISODES


def rows(name: str, seeds: list[int]) -> list[dict[str, Any]]:
    entry, tasks = ENTRIES[name], mrl.tasks.sparse_navigation(num_episodes=EPISODES)
    num_tasks = size(entry.num_tasks, 8)
    updates = max(1, round(ENV_STEPS / (entry.algorithm().build(tasks).steps * num_tasks)))
    known, shares, modes, found, seconds = known_return(tasks), [], [], [], []
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(entry.algorithm(), tasks, num_updates=updates, num_tasks=num_tasks, seed=seed, quiet=True)
        returns = returns_of(run)
        seconds.append(round(clock.seconds, 1))
        shares.append(returns.mean(axis=0) / known)
        modes += [returns_of(run, greedy=True).mean(axis=0)[-1] / known] if name == "varibad" else []
        found.append((np.cumsum(returns, axis=1) > 0).mean(axis=0))
        told = f"shares {np.round(shares[-1], 3)}, goals found by then {np.round(found[-1], 3)}"
        print(f"{name} sparse navigation seed {seed}: {told} in {clock.seconds:.0f} s", flush=True)
    by_episode, found_by = np.asarray(shares).T, np.asarray(found).T  # [E, seeds]
    means = {f"episode {i + 1}": float(share.mean()) for i, share in enumerate(by_episode)}
    where = f"{name} sparse navigation"
    share = f"{where}: share of the goal-aware return in the fifth episode"
    rows = [
        seeded(share, by_episode[-1], "share", at_least=entry.bar),
        row(f"{where}: the same by episode, a mean over seeds", float(by_episode.mean()), "share", parts=means),
        seeded(f"{where}: goals found by the end of the fourth episode", found_by[-2], "share"),
    ]
    if modes:
        rows.append(seeded(f"{where}: the share with each action's mean for it", modes, "share"))
    mean_minutes = seeded(f"{where}: minutes", np.asarray(seconds) / 60, "minutes")
    return timed([*rows, mean_minutes], seconds)
