"""Meta-test: rolls out whole trials of every seed's agent and compares their returns with known references."""

import dataclasses
import functools
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import about, check, check_counts, whole
from metarl_jax.evaluation import belief_scores, controls
from metarl_jax.evaluation.report import Report, summarize
from metarl_jax.evaluation.trials import segment, windows_of
from metarl_jax.records import Algorithm, ExactBelief, Task, TaskDistribution
from metarl_jax.runtime import compile_cache
from metarl_jax.runtime.devices import check_precision
from metarl_jax.storage.metrics import Progress
from metarl_jax.training.divergence import DivergedWarning
from metarl_jax.training.experiment import resolve
from metarl_jax.training.run import Run

KEY_DOMAIN = 0x7E57  # test keys are never training keys, whatever the seeds


class EvaluatedTrials(NamedTuple):
    """What is recorded of trials.

    Attributes:
      reward: ``[..., T]``.
      done: ``[..., T]``, the episode ended with this step.
      belief: if asked for, ``[..., T - 1]`` by name, see ``belief_scores``; else empty.
    """

    reward: jax.Array
    done: jax.Array
    belief: dict[str, jax.Array]


def evaluate(
    run: Run,
    tasks: str | TaskDistribution | None = None,
    *,
    num_tasks: int = 1000,
    trials_per_task: int | None = None,
    trial_steps: int | None = None,
    seed: int = 0,
    greedy: bool = False,
    save: bool = True,
    quiet: bool = False,
) -> Report:
    """Runs meta-test trials for every seed of ``run`` and reports on them.

    Args:
      run: from ``train`` or ``load``.
      tasks: another distribution, or its name, with the same spaces (a held-out split), or any where what was learned
        does not depend on these (an update rule, an optimiser, hyperparameters); the run's own by default.
      num_tasks: how many tasks are drawn, independently of those of training, unless the set is finite: then all its
        tasks are used.
      trials_per_task: by default 1, for finite sets as many as give about 1000 trials.
      trial_steps: another length of the trial than the distribution's.
      seed: of the test's own randomness.
      greedy: act by the distribution's mode.
      save: write ``report.json`` to the run's folder, if it has one and ``tasks`` are its own.
      quiet: no progress and no messages.

    Returns:
      The Report.

    Raises:
      ConfigError: for a wrong number, or tasks whose spaces are not the run's, or which the agent's features of tasks
        (``ppo-oracle``), as they were in training, do not describe.

    Warns:
      where ``report.json`` could not be written (the report is returned all the same), or a seed of the run diverged.

    Example:
      ``metarl_jax.evaluate(run, num_tasks=500).print()``
    """
    check(isinstance(run, Run), "run", run, "give what train or load returned")
    for why in run.diverged.values():
        warnings.warn(f"{why}; its agent is tested as it was before that update", DivergedWarning, stacklevel=2)
    check_precision()
    chosen = run.tasks if tasks is None else resolve("ppo", tasks).tasks
    spaces, wanted = chosen.env.spec, run.tasks.env.spec
    fits = spaces == wanted or run.algorithm.portable is not None
    check(fits, "tasks", chosen.name, f"must have the run's spaces, {wanted}, not {spaces}")
    if tasks is not None:
        run = dataclasses.replace(run, algorithm=living_in(run, chosen), tasks=chosen)
    steps = chosen.trial_steps if trial_steps is None else trial_steps
    counts = dict(
        num_tasks=num_tasks, trial_steps=steps, trials_per_task=1 if trials_per_task is None else trials_per_task
    )
    check_counts(counts)
    check(whole(seed) and 0 <= seed < 2**31, "seed", seed, "must be a whole number from 0")
    check(isinstance(greedy, bool), "greedy", greedy, "must be True or False")
    compile_cache.enable()
    key = jax.random.fold_in(jax.random.key(seed), KEY_DOMAIN)
    batch = evaluation_tasks(key, chosen, num_tasks)
    if tasks is not None and run.algorithm.check_tasks is not None:
        run.algorithm.check_tasks(chosen.name, batch, False)
    count = jax.tree.leaves(batch)[0].shape[0]
    repeats = trials_per_task or (1 if chosen.tasks is None else max(1, round(1000 / count)))
    with Progress(3 * count * repeats, unit="trials", quiet=quiet) as progress:
        progress.message("running the trials, then those with memory reset, or of another task ...")
        believed = run.belief if tasks is None and run.algorithm.decode is not None and steps > 1 else None
        again = functools.partial(
            live, run, batch, key, repeats, steps, greedy=greedy, progress=progress, believed=believed
        )
        other = functools.partial(controls.other_tasks, jax.random.fold_in(key, 3), chosen, batch, repeats)
        records = controls.records(run.algorithm, chosen, again, other)
        references = []
        if chosen.references is not None:
            progress.message("planning the references ...")
            references = chosen.references(batch, steps)
    name = {
        "algorithm": run.config["algorithm"]["name"],
        "tasks": chosen.name,
        "trial_steps": steps,
        "horizon": chosen.horizon,
        "seeds": run.num_seeds,
        "num_tasks": count,
        "trials_per_task": repeats,
        "updates": run.num_updates,
        "greedy": greedy,
    }
    belief = None
    if believed is not None:
        belief = belief_scores.described(records.own.belief, records.own.done, believed.candidates)
    window = run.algorithm.window
    windows = windows_of(np.asarray(records.own.reward), window, chosen.horizon) if window > 1 else None
    report = summarize(
        segment(records.own),
        segment(records.reset),
        references,
        name=name,
        belief=belief,
        windows=windows,
        swapped=records.swapped,
        memoryless=records.memoryless,
        all_tasks=chosen.tasks is not None,
    )
    if save and run.path is not None and tasks is None:
        keep(report, run.path / "report.json")
    return report


def keep(report: Report, path: Path) -> None:
    """Saves the report; where that fails the trials are not lost: a warning says why, the report is returned.

    Args:
      report: to be saved.
      path: of the file.
    """
    try:
        report.save(path)
    except OSError as error:
        fix = "the report is returned: save it elsewhere, report.save(path)"
        warnings.warn(f"{path} could not be written ({error.strerror or error}): {fix}", stacklevel=3)


def living_in(run: Run, tasks: TaskDistribution) -> Algorithm:
    """The run's algorithm, built to act in other tasks.

    Their rewards and horizons are in all that it does; what was derived from the tasks of training stays as it was
    (``TaskDistribution.trained_on``).

    Args:
      run: a trained one.
      tasks: other tasks.

    Returns:
      The Algorithm.
    """
    if run.recipe is None:
        return run.algorithm
    with about(f"tasks={tasks.name!r}"):
        return run.recipe.build(tasks._replace(trained_on=run.tasks))


def evaluation_tasks(key: jax.Array, tasks: TaskDistribution, num_tasks: int) -> Task:
    """All tasks of a finite set, else ``num_tasks`` fresh ones: leaves ``[N, ...]``.

    Args:
      key: of the draws.
      tasks: the distribution.
      num_tasks: how many are drawn.

    Returns:
      Leaves ``[N, ...]``.
    """
    if tasks.tasks is not None:
        return tasks.tasks
    return jax.jit(jax.vmap(tasks.sample))(jax.random.split(jax.random.fold_in(key, 1), num_tasks))


def live(
    run: Run,
    batch: Task,
    key: jax.Array,
    repeats: int,
    steps: int,
    forget: int = 0,
    greedy: bool = False,
    progress: Progress | None = None,
    believed: ExactBelief | None = None,
    first: tuple[Task, np.ndarray] | None = None,
) -> EvaluatedTrials:
    """Rolls out trials of every seed's agent in each task.

    The same trial has the same key whatever is asked of it, so that controls are paired with the agent; another seed's
    has another.

    Args:
      run: a trained one.
      batch: tasks, leaves ``[N, ...]``.
      key: of the trials.
      repeats: trials in each task, ``R``.
      steps: of a trial, ``T``.
      forget: reset memory at each episode (1) or each step (2).
      greedy: act by the distribution's mode.
      progress: counts the trials.
      believed: the exact belief; scores of the decoded one beside it are recorded, in trials that are no controls.
      first: tasks, and which of them ``[N * R]`` the first half of each trial is in.

    Returns:
      EvaluatedTrials, NumPy leaves ``[S, N, R, T]``.
    """
    count = jax.tree.leaves(batch)[0].shape[0]
    total = count * repeats
    block = min(total, max(1, 2**19 // steps))  # bounds the memory of one call
    step = compiled(run.algorithm, steps, greedy, believed)
    control = bool(forget) or first is not None
    keys = jax.vmap(functools.partial(jax.random.fold_in, jax.random.fold_in(key, 2)))(jnp.arange(total))
    parts = []
    for start in range(0, total, block):
        index = np.minimum(np.arange(start, start + block), total - 1)  # the last block repeats its last trial
        own = take(batch, index // repeats)
        other = own if first is None else take(first[0], first[1][index])
        parts.append(step(keys[index], run.state, own, other, int(forget), not control))
        if progress is not None:
            ran = min(block, total - start)
            returns = np.nan if control else np.asarray(parts[-1].reward)[:, :ran].sum(axis=-1).mean()
            progress.total = max(progress.total, progress.done + ran)  # one control is run where others ask for it
            progress.advance(ran, ran * steps * run.num_seeds, float(returns))
    trials = jax.tree.map(lambda *x: np.concatenate(x, axis=1)[:, :total], *parts)
    return jax.tree.map(lambda x: x.reshape(x.shape[0], count, repeats, -1), trials)


def take(tree: Task, index: np.ndarray) -> Task:
    """Rows of a batch.

    Args:
      tree: leaves ``[N, ...]``.
      index: ``[M]``.

    Returns:
      Leaves ``[M, ...]``.
    """
    return jax.tree.map(lambda x: x[index], tree)


@functools.lru_cache(maxsize=16)
def compiled(algorithm: Algorithm, steps: int, greedy: bool, believed: ExactBelief | None = None) -> Any:
    """The compiled rollout of trials: one program for the agent and its controls, where the algorithm offers that.

    It is ``(keys [B], states [S], tasks [B], first [B], forget, scored) -> EvaluatedTrials [S, B, T]`` with ``first``
    the tasks of the first halves, and ``scored`` whether beliefs are compared with the exact ones. Two programs would
    round differently, and chaos makes that large.

    Args:
      algorithm: whose agents act.
      steps: of a trial.
      greedy: act by the distribution's mode.
      believed: the exact belief, where beliefs are compared with it.

    Returns:
      The jitted function.
    """
    options = {"greedy": True} if greedy else {}
    swaps = controls.offers(algorithm, "first")

    def one(forget, scored, key, state, task, first):
        more = {"first": first} if swaps else {}
        trajectory = algorithm.adapt(key, state, task, steps, forget, **options, **more)
        belief = {}
        if believed is not None and algorithm.decode is not None:
            exact, decode = believed, algorithm.decode
            score = lambda: belief_scores.scores(exact, task, trajectory, decode(state, trajectory))
            nothing = lambda: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(score))
            belief = jax.lax.cond(scored, score, nothing)
        return EvaluatedTrials(trajectory.mean_reward, trajectory.terminated | trajectory.truncated, belief)

    def every(keys, states, tasks, first, forget, scored):
        fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
        seeds = jnp.arange(jax.tree.leaves(states)[0].shape[0])
        keys = jax.vmap(fold, in_axes=(None, 0))(keys, seeds)
        in_tasks = jax.vmap(functools.partial(one, forget, scored), in_axes=(0, None, 0, 0))
        return jax.vmap(in_tasks, in_axes=(0, 0, None, None))(keys, states, tasks, first)

    return jax.jit(every, static_argnums=() if swaps else (4,))
