"""Walkers, for the table of ``quality``: the references that are stored, a half-cheetah that runs, and who adapts.

A policy that is told its task (``ppo-oracle``) and one that neither sees it nor remembers anything (``ppo``) are
trained alike, in single episodes; agents that adapt are trained in trials. All act as they were trained, by sampling,
in fresh trials, in tasks that they never saw (in all of a finite set).
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import metarl_jax as mrl
from benchmarks.record import RESULTS, Clock, commit, compared, gained, seeded, slowest, timed, written_to
from benchmarks.sizes import size
from metarl_jax.evaluation.evaluate import evaluation_tasks, live
from metarl_jax.tasks.stored import FILE, ROLES, stored

FAMILIES = ("cheetah-dir", "cheetah-vel", "cheetah-broken", "walker-dynamics", "walker-slope", "hopper-dynamics")
TRIALS, KEY = size(240, 4), 700  # of the test, the same for all seeds
NUM_TASKS, RUNNING_UPDATES = size((256, 300), (8, 1))  # of policies
UPDATES = dict.fromkeys(FAMILIES, 400) | {"cheetah-dir": 600, "walker-dynamics": 1000}  # of policies for references
SHORT: dict[str, Any] = size({}, dict(horizon=4))
WRITTEN = written_to(FILE.parent) / FILE.name  # references
RATES = {"cheetah": (0.98, 1e-3), "walker": (0.99, 2e-3), "hopper": (0.99, 2e-3)}  # discount a step, and Adam's
POLICY = dict(bounding="mean", encoder=size((128, 128), (4,)), num_epochs=4, entropy_cost=0.002)
COMMON: dict[str, Any] = dict(bounding="mean", discount=0.99, learning_rate=2e-3)  # of those that adapt
POLICIES = {"optimal": mrl.algorithms.ppo_oracle, "memoryless": mrl.algorithms.ppo}


class Entry(NamedTuple):
    """An agent that adapts; bars: on its last episode as a share of the policy that is told the task, and on
    what that is more than the non-adaptive policy earns, likewise."""

    family: str
    algorithm: Callable
    num_episodes: int
    num_updates: int
    num_tasks: int
    share: float
    gain: float


def rl2(updates: int, num_epochs: int) -> Callable:
    options: dict[str, Any] = COMMON | dict(encoder=size((128,), (4,)), memory_size=size(64, 4), entropy_cost=0.002)
    return lambda: mrl.algorithms.rl2(**options, decay_updates=updates, num_epochs=num_epochs)


def maml() -> Any:
    """Exploration before the inner step stays wide while the policy's own noise falls; clipped steps of Adam."""
    inner: dict[str, Any] = dict(inner_rate=1.0, exploration_std=0.7, trace=0.97, discount=0.98)
    return mrl.algorithms.maml(outer="clip", decay_updates=400, **COMMON | inner)


ENTRIES = {
    "rl2-cheetah-dir": Entry("cheetah-dir", rl2(300, 3), 2, 300, 256, share=0.65, gain=0.6),
    "maml-cheetah-dir": Entry("cheetah-dir", maml, 10, 400, 40, share=0.65, gain=0.6),
    "rl2-walker-dynamics": Entry("walker-dynamics", rl2(600, 4), 2, 600, 256, share=0.9, gain=0.0),
}


def returns_of(run: mrl.Run, episodes: int = 2) -> np.ndarray:
    """Mean return by episode of a trial: ``[E]``."""
    key, horizon = jax.random.key(KEY), run.tasks.horizon
    tasks = evaluation_tasks(key, run.tasks, TRIALS)
    repeats = max(1, TRIALS // jax.tree.leaves(tasks)[0].shape[0])
    trajectory = live(run, tasks, key, repeats, episodes * horizon, forget=False)
    return np.asarray(trajectory.reward).reshape(-1, episodes, horizon).sum(axis=-1).mean(axis=0)


def policy_run(make: Callable, tasks: mrl.records.TaskDistribution, num_updates: int, seed: int) -> mrl.Run:
    discount, rate = RATES[tasks.name.split("-")[0]]
    algorithm = make(**POLICY, discount=discount, learning_rate=rate, decay_updates=num_updates)
    return mrl.train(algorithm, tasks, num_updates=num_updates, num_tasks=NUM_TASKS, seed=seed, quiet=True)


def reference_rows(family: str, seeds: list[int]) -> list[dict[str, Any]]:
    """Trains what ``tasks/references.json`` holds of a family, writes it where it tells tasks apart, and tells it."""
    tasks = mrl.tasks.REGISTRY[family](num_episodes=1, **SHORT)
    found, seconds = {role: [] for role in ROLES}, []
    for seed in seeds:
        for role in ROLES:
            with Clock() as clock:
                run = policy_run(POLICIES[role], tasks, size(UPDATES[family], 1), seed)
            found[role].append(round(float(returns_of(run).mean()), 3))
            seconds.append(round(clock.seconds, 1))
            print(f"{family} seed {seed} {role}: {found[role][-1]} in {clock.seconds:.0f} s", flush=True)
    assert tasks.recipe is not None
    options = {name: value for name, value in tasks.recipe["options"].items() if name != "num_episodes"}
    if min(found["optimal"]) > max(found["memoryless"]):
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        command = f"python -m benchmarks.quality references-{family} --seeds {' '.join(map(str, seeds))}"
        known[family] = {"options": options, **found, "command": command, "commit": commit()}
        WRITTEN.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        stored.cache_clear()
    else:
        print(f"{family}: not stored, who is told the task is not better, seed by seed, than who is not", flush=True)
    words = {"optimal": "told the task", "memoryless": "without memory"}
    rows = [
        seeded(f"{family}, PPO {words[role]}: return of an episode", values, "return") for role, values in found.items()
    ]
    return timed(rows, seconds)


def running_rows(seeds: list[int]) -> list[dict[str, Any]]:
    """The default half-cheetah, asked to run forward: mean speed over 240 fresh episodes, standing starts included."""
    tasks, speeds, seconds = mrl.tasks.cheetah_dir(directions=(1.0,), num_episodes=1, **SHORT), [], []
    for seed in seeds:
        with Clock() as clock:
            run = policy_run(mrl.algorithms.ppo, tasks, RUNNING_UPDATES, seed)
        state, one = jax.tree.map(lambda x: x[0], (run.state, tasks.tasks))
        live_one = lambda key, run=run, state=state, one=one: run.algorithm.adapt(key, state, one, tasks.horizon)
        trajectory = jax.jit(jax.vmap(live_one))(jax.random.split(jax.random.key(KEY), TRIALS))
        ahead = trajectory.next_env_state.motion.position[:, -1, 0] - trajectory.env_state.motion.position[:, 0, 0]
        env: Any = tasks.env
        speeds.append(float(ahead.mean()) / (tasks.horizon * env.body.control_seconds))
        seconds.append(round(clock.seconds, 1))
        print(f"half-cheetah seed {seed}: {speeds[-1]:.2f} m/s in {clock.seconds:.0f} s", flush=True)
    rows = [
        seeded("ppo half-cheetah: mean forward speed, m/s", speeds, "m/s", at_least=2.0),
        slowest("ppo half-cheetah: minutes", seconds, at_most=15.0),
    ]
    return timed(rows, seconds)


def rows(name: str, seeds: list[int]) -> list[dict[str, Any]]:
    entry = ENTRIES[name]
    tasks = mrl.tasks.REGISTRY[entry.family](num_episodes=entry.num_episodes, **SHORT)
    told, blind = (reference_of(entry.family, role) for role in ROLES)
    returns, seconds = [], []
    for seed in seeds:
        with Clock() as clock:
            run = mrl.train(
                entry.algorithm(),
                tasks,
                num_updates=size(entry.num_updates, 1),
                num_tasks=size(entry.num_tasks, 8),
                seed=seed,
                quiet=True,
            )
        seconds.append(round(clock.seconds, 1))
        returns.append(returns_of(run, entry.num_episodes))
        if name == "rl2-cheetah-dir" and seed == seeds[0]:  # for the README
            mrl.viz.animate_trial(run, RESULTS / "cheetah-dir-trial.gif", (0, 1), stride=4, milliseconds=100)
        print(f"{name} seed {seed}: {np.round(returns[-1], 1)} of {told} in {clock.seconds:.0f} s", flush=True)
    first, last = np.asarray(returns)[:, [0, -1]].T
    best, without = "the best PPO told the task", "the best PPO without memory"
    rows = [
        compared(f"{name}: last episode, share of {best}", last, told, "share", at_least=entry.share),
        gained(
            f"{name}: last episode less {without}, as such a share",
            last / told,
            blind / told,
            "share",
            at_least=entry.gain,
        ),
        seeded(f"{name}: first episode, such a share", first / told, "share"),
        slowest(f"{name}: minutes", seconds),
    ]
    return timed(rows, seconds)


def reference_of(family: str, role: str) -> float:
    """Return of an episode."""
    tasks = mrl.tasks.REGISTRY[family]()
    assert tasks.references is not None, f"run: python -m benchmarks.quality references-{family}"
    found = tasks.references(evaluation_tasks(jax.random.key(KEY), tasks, 1), tasks.trial_steps)
    return next(float(r.by_episode[0]) for r in found if r.role == role)
