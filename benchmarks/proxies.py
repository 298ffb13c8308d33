"""What curricula take for regret, beside exact regret: how alike they rank mazes, by training time.

    python -m benchmarks.quality curricula-proxies

In 2,000 small mazes as they are drawn, agents live four trials, of which every score is told (learnability of all four,
the others as means over them), and 16 more, whose mean is the truth: the optimal return of an episode less what the
agent expects. ``caught``: the regret of the tenth of the mazes that score highest, as a share of that of the tenth that
is truly highest.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

import metarl_jax as mrl
from benchmarks.course import course
from benchmarks.record import RESULTS, Clock, seeded, timed
from benchmarks.sizes import size
from benchmarks.teaching import LEARNER, MAZE, NUM_TASKS, STEPS, updates_of
from metarl_jax.curricula import scores as scores
from metarl_jax.records import Key, PyTree, Student, Task, TaskDistribution
from metarl_jax.training.experiment import Experiment
from metarl_jax.training.update_loop import student_of
from metarl_jax.viz.replay import at
from metarl_jax.viz.style import AGENT, CONTROL, MUTED, ROLES, new_figure, style

SHARES = size((0.02, 0.1, 0.25, 0.5, 1.0), (1.0,))
NUM_MAZES, TRIALS, MORE = size((2000, 4, 16), (20, 2, 2))  # of training; mazes; trials in each
TRAINED: dict[str, Any] = {
    "uniform": mrl.curricula.uniform,
    "robust-plr, max-mc": functools.partial(mrl.curricula.robust_plr, score="max-mc"),
}
TRAINED = size(TRAINED, {"uniform": mrl.curricula.uniform})
UNITS = ("correlation", "share")
PROXIES = ("positive-value-loss", "max-mc", "learnability", "regret of four trials")


def told(student: Student, tasks: TaskDistribution, mazes: Task, learner: PyTree, key: Key) -> dict[str, jax.Array]:
    """Of each maze ``[M]``: what the scores say, and the truth."""
    advantages = student.advantages
    assert advantages is not None

    def one(key):
        trajectory = student.live(key, learner, mazes)
        return {
            "positive-value-loss": jnp.maximum(advantages(learner, trajectory), 0.0).mean(axis=0),
            "value": trajectory.outputs[1].mean(axis=0),
            "best": scores.best_return(trajectory),
            "solved": scores.solved(trajectory, 0.0),
            "regret": scores.regret(tasks, mazes, trajectory),
        }

    each = jax.lax.map(one, jax.random.split(key, TRIALS + MORE))
    seen, more = ({name: x[part] for name, x in each.items()} for part in (slice(TRIALS), slice(TRIALS, None)))
    means = {name: x.mean(axis=0) for name, x in seen.items()}
    return {
        "positive-value-loss": means["positive-value-loss"],
        "max-mc": seen["best"].max(axis=0) - means["value"],
        "learnability": scores.learnability(means["solved"]),
        "regret of four trials": means["regret"],
        "truth": more["regret"].mean(axis=0),
    }


def caught(score: np.ndarray, truth: np.ndarray) -> float:
    """Scores that are the same are broken by the mazes' order, which is random."""
    tenth = len(truth) // 10
    highest = lambda x: truth[np.argsort(-x, kind="stable")[:tenth]].sum()
    return float(highest(score) / highest(truth))


def judged(run: mrl.Run, mazes: Task) -> dict[str, np.ndarray]:
    """Of each proxy (rank correlation, caught) of each seed: ``[2, S]``."""
    student = student_of(run.algorithm, run.tasks, NUM_MAZES)
    ask = jax.jit(functools.partial(told, student, run.tasks, mazes))
    found: dict[str, list] = {name: [] for name in PROXIES}
    for seed in range(run.num_seeds):
        said = {name: np.asarray(x) for name, x in ask(at(run.state, seed), jax.random.key(9)).items()}
        for name in PROXIES:
            ranked: Any = scipy.stats.spearmanr(said[name], said["truth"])
            found[name].append((float(ranked.statistic), caught(said[name], said["truth"])))
    return {name: np.asarray(pairs).T for name, pairs in found.items()}


def rows(seeds: list[int]) -> list[dict[str, Any]]:
    tasks, learner = MAZE(), LEARNER(across_episodes=False)
    mazes = jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.key(3000), NUM_MAZES))
    made, seconds, curves = [], [], {}
    for name, make in TRAINED.items():
        updates = updates_of(learner, make(), tasks, NUM_TASKS, STEPS)
        marks = [max(1, round(share * updates)) for share in SHARES]
        with Clock() as clock:
            looks = [
                (steps, judged(run, mazes))
                for steps, run in course(Experiment(learner, tasks, make()), NUM_TASKS, seeds, marks)
            ]
        seconds.append(round(clock.seconds, 1))
        curves[name] = looks
        for proxy in PROXIES:
            for kind, what in enumerate(("rank correlation with exact regret", "regret caught in the top tenth")):
                spread = looks[-1][1][proxy][kind].tolist()  # the way there is in the picture
                made.append(seeded(f"small mazes by {name}, {proxy}: {what}", spread, UNITS[kind]))
            print(name, proxy, [np.round(found[proxy].mean(axis=1), 3).tolist() for _, found in looks], flush=True)
    draw(curves)
    return timed(made, seconds)


def draw(curves: dict[str, list[tuple[int, dict[str, np.ndarray]]]]) -> None:
    """A line a proxy, with the range of the seeds; columns: how the agents were trained."""
    with style():
        figure = new_figure(9.0, 6.0)
        axes = figure.subplots(2, len(curves), sharex=True, sharey="row", squeeze=False)
        for column, (name, looks) in enumerate(curves.items()):
            steps = [steps / 1e6 for steps, _ in looks]
            for proxy, colour in zip(PROXIES, (AGENT, CONTROL, ROLES["bayes"], MUTED), strict=True):
                found = np.stack([found[proxy] for _, found in looks])  # [marks, 2, S]
                for axis, values in zip(axes[:, column], (found[:, 0], found[:, 1]), strict=True):
                    axis.plot(steps, values.mean(axis=1), marker="o", color=colour, label=proxy)
                    axis.fill_between(steps, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, lw=0)
            axes[0, column].set_title(f"agents trained by {name}")
            axes[1, column].set_xlabel("environment steps, millions")
        axes[0, 0].set_ylabel("rank correlation with exact regret")
        axes[1, 0].set_ylabel("regret caught in the top tenth")
        axes[0, 0].legend()
        figure.savefig(RESULTS / "curricula-proxies.png")
