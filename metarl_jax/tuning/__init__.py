"""Tuning: Optuna chooses an algorithm's options, static ones such as network sizes too, and each choice is trained.

A trial here is Optuna's: one choice of options, which compiles a program of its own (``population`` and its kin search
numbers within one).
"""

import itertools
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl_jax.config import ConfigError, Recipe, check, check_counts, check_seeds, not_installed
from metarl_jax.evaluation import evaluate as evaluation
from metarl_jax.records import TaskDistribution
from metarl_jax.runtime.devices import check_precision, use_cpu_cores
from metarl_jax.storage.files import user_path
from metarl_jax.storage.metrics import Progress
from metarl_jax.training.build import build_program
from metarl_jax.training.experiment import Experiment, describe, resolve
from metarl_jax.training.memory import NoRoom
from metarl_jax.training.run import Run
from metarl_jax.training.train import Diverged, Stopped, train
from metarl_jax.tuning import sweep
from metarl_jax.tuning.space import Range, checked_space, distribution

POLL_SECONDS = 1.0
KEY_DOMAIN = 0x7E5D  # options must not be chosen by the trials that ``evaluate`` reports on


class Tuned(NamedTuple):
    """Result of a sweep.

    Attributes:
      best: the algorithm with the options of the highest score; None where no trial has one.
      score: the highest; None where no trial has one.
      trials: the finished ones, a dict each: ``number``, ``options``, ``score`` (None where it was pruned, for
        ``reason``), ``train_steps`` and ``evaluation_steps`` (environment steps of all seeds, those of inner updates
        included), ``seconds`` (without those of workers that were killed), ``seed``, and ``run``, its folder below the
        sweep's.
      study: Optuna's.
    """

    best: Recipe | None
    score: float | None
    trials: list[dict[str, Any]]
    study: Any


class Search(NamedTuple):
    """What is searched, and how a trial is scored.

    Attributes:
      setting: what is trained, before the options of a trial replace its own.
      space: by name of an option a Range, or choices by label.
      numbers: of updates, tasks, seeds and evaluation tasks, the arguments of ``tune``.
      seed: the first seed.
    """

    setting: Experiment
    space: dict[str, Any]
    numbers: dict[str, int]
    seed: int

    def options(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The options that Optuna's parameters stand for.

        Args:
          params: of a trial: numbers, and labels of choices.

        Returns:
          Values by option.
        """
        entries = {name: (self.space[name], value) for name, value in params.items()}
        return {name: entry[value] if isinstance(entry, dict) else value for name, (entry, value) in entries.items()}

    def recipe(self, options: Mapping[str, Any]) -> Recipe:
        """The algorithm with some options replaced.

        Args:
          options: values by option.

        Returns:
          The Recipe.
        """
        algorithm = self.setting.algorithm
        return algorithm._replace(options={**algorithm.options, **options})


class Outcome(NamedTuple):
    """Result of one trial.

    Attributes:
      score: mean trial return; None where the trial is to be pruned.
      reason: why it has no score, else None.
      train_steps: environment steps of training, all seeds together.
      evaluation_steps: environment steps of evaluation, all seeds together.
    """

    score: float | None
    reason: str | None
    train_steps: int
    evaluation_steps: int


def tune(
    algorithm: str | Recipe,
    tasks: str | TaskDistribution,
    space: Mapping[str, Any],
    *,
    num_trials: int = 20,
    num_updates: int = 400,
    num_tasks: int = 256,
    seed: int = 0,
    num_seeds: int = 1,
    curriculum: str | Recipe = "uniform",
    evaluation_tasks: int = 256,
    out: str | Path = "runs/tune",
    storage: str | None = None,
    quiet: bool = False,
) -> Tuned:
    """Looks for the options of an algorithm with the highest trial return, with Optuna.

    A score is a mean over seeds, tasks and trials, in tasks that are neither those of training nor of ``evaluate``
    (finite sets apart). The same call in another process joins in, and after a kill it continues; it returns when all
    trials are done. Points are TPE's, and one that it takes again gets fresh seeds; a space of choices alone with no
    more points than ``num_trials`` is tried in full, each point once. What diverges, cannot be built or has no room in
    memory is pruned.

    Args:
      algorithm: a name of ``metarl_jax.algorithms.REGISTRY``, or a recipe, whose other options all trials share.
      tasks: a name of ``metarl_jax.tasks.REGISTRY``, or any TaskDistribution.
      space: by name of an option a ``Range`` (or its fields by name), or a list of choices; each end and each choice
        must go together with the recipe's own options.
      num_trials: trials in all, by all workers; may grow.
      num_updates: outer updates of a trial.
      num_tasks: tasks an update.
      seed: of points and evaluation, and the first of each trial's training.
      num_seeds: seeds of a trial, trained side by side in one program.
      curriculum: which tasks come next; a name of ``metarl_jax.curricula.REGISTRY`` or a recipe.
      evaluation_tasks: how many tasks score a trial, the same for all trials; of a finite set all tasks, again and
        again until about so many trials were lived.
      out: the sweep's folder; created, or, when it holds a sweep of the same configuration, joined or continued.
      storage: the URL of another database that Optuna knows, for workers on several machines; they share the folder.
      quiet: no progress and no messages.

    Returns:
      The Tuned: the best options, and all trials that are done.

    Raises:
      ConfigError: a wrong name, value or range, a folder that holds something else, or Optuna is not installed.
      Stopped: Ctrl-C or SIGTERM, after saving.

    Example:
      ``metarl_jax.tune("rl2", "maze-100", {"learning_rate": metarl_jax.Range(1e-4, 1e-2, log=True)})``
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise not_installed("tune", "Optuna", "sweep", error) from error
    numbers = dict(num_updates=num_updates, num_tasks=num_tasks, num_seeds=num_seeds, evaluation_tasks=evaluation_tasks)
    check_counts({"num_trials": num_trials, **numbers})
    check_seeds(seed, num_seeds * num_trials)
    check(isinstance(out, str | Path), "out", out, "give the path of a folder")
    check(storage is None or isinstance(storage, str), "storage", storage, "give the URL of a database")
    use_cpu_cores()
    check_precision()
    setting = resolve(algorithm, tasks, curriculum)
    search = Search(setting, checked_space(setting, space, num_tasks), numbers, seed)
    told = {n: e._asdict() if isinstance(e, Range) else list(e.values()) for n, e in search.space.items()}
    config = {**describe(setting, rollout=True, seed=seed, **numbers), "space": told}
    with sweep.opened(user_path(out), storage, config) as opened:
        trials = _work(search, opened, num_trials, quiet)
    best = max((t for t in trials if t["score"] is not None), key=lambda t: t["score"], default=None)
    if best is None:
        return Tuned(None, None, trials, opened.study)
    return Tuned(search.recipe(best["options"]), best["score"], trials, opened.study)


def _work(search: Search, opened: sweep.Sweep, num_trials: int, quiet: bool) -> list[dict[str, Any]]:
    """One worker's part until all trials are done; returns all of them, see ``Tuned``."""
    static, points = all(isinstance(entry, dict) for entry in search.space.values()), []
    if static and math.prod(map(len, search.space.values())) <= num_trials:
        points = [dict(zip(search.space, point, strict=True)) for point in itertools.product(*search.space.values())]
    total = len(points) or num_trials
    space = {name: distribution(entry) for name, entry in search.space.items()}
    trials, idle = described(search, opened), False
    with Progress(total, len(trials), unit="trials", quiet=quiet) as progress:
        if trials:
            progress.message(f"continuing {opened.folder}: {len(trials)} of {total} trials are done")
        while len(trials) < total:
            trial, steps = sweep.claim(opened, space, points, total, search.seed), 0
            if trial is not None:
                steps = _perform(search, opened, trial, progress)
            elif not idle:
                progress.message("waiting for the trials of other workers ...")
            else:
                time.sleep(POLL_SECONDS)
            idle, trials = trial is None, described(search, opened)
            if len(trials) > progress.done:
                best = max((t["score"] for t in trials if t["score"] is not None), default=math.nan)
                progress.advance(len(trials) - progress.done, steps, best)
    return trials


def described(search: Search, opened: sweep.Sweep) -> list[dict[str, Any]]:
    """The finished trials as ``Tuned.trials`` holds them.

    Args:
      search: what is searched.
      opened: the sweep.

    Returns:
      A dict for each.
    """
    told = {"reason": None, "train_steps": 0, "evaluation_steps": 0, "seconds": 0.0}
    return [
        {"number": t.number, "options": search.options(t.params), "score": t.value}
        | {name: t.user_attrs.get(name, missing) for name, missing in told.items()}
        | {"seed": _seed_of(search, t), "run": t.user_attrs["run"]}
        for t in sweep.finished(opened)
    ]


def _seed_of(search: Search, trial: Any) -> int:
    return search.seed + trial.user_attrs["repeat"] * search.numbers["num_seeds"]


def _perform(search: Search, opened: sweep.Sweep, trial: Any, progress: Progress) -> int:
    """Trains, scores and records one trial; returns its environment steps."""
    options, began = search.options(trial.params), time.monotonic() - trial.user_attrs.get("seconds", 0.0)
    folder = opened.folder / trial.user_attrs["run"]
    try:
        with sweep.heartbeat(opened, trial):
            found = outcome(search, options, _seed_of(search, trial), folder)
    except BaseException as error:
        asked = isinstance(error, KeyboardInterrupt)
        sweep.stopped(opened, trial, not asked, time.monotonic() - began)
        if isinstance(error, Stopped):
            message = f"stopped in trial {trial.number}; the same command continues it: {opened.folder}"
            raise Stopped(message, error.run, error.signal_number) from None
        raise
    counted = sweep.settle(opened, trial, seconds=time.monotonic() - began, **found._asdict())
    told = ", ".join(f"{name}={value}" for name, value in options.items())
    result = f"{found.score:.4g}" if found.score is not None else f"pruned: {found.reason}"
    slept = "" if counted else " (not counted: it was taken for dead, another worker has it)"
    progress.message(f"trial {trial.number}: {told}: {result}{slept}")
    return found.train_steps + found.evaluation_steps


def outcome(search: Search, options: Mapping[str, Any], seed: int, folder: Path) -> Outcome:
    """Trains with some options and scores the result in the evaluation's tasks.

    Args:
      search: what is searched.
      options: of the trial.
      seed: the first seed of its training.
      folder: of its run.

    Returns:
      The Outcome.
    """
    recipe, setting, numbers = search.recipe(options), search.setting, search.numbers
    try:
        built = build_program(setting._replace(algorithm=recipe), numbers["num_tasks"])
        built.algorithm.check(numbers["num_tasks"])
    except ConfigError as error:
        return Outcome(None, f"these options do not go together: {error}", 0, 0)
    steps = lambda num_updates: built.env_steps(num_updates) * numbers["num_seeds"]
    try:
        run = train(
            recipe,
            setting.tasks,
            num_updates=numbers["num_updates"],
            num_tasks=numbers["num_tasks"],
            seed=seed,
            num_seeds=numbers["num_seeds"],
            curriculum=setting.curriculum,
            out=folder,
            keep_checkpoints=1,
            quiet=True,
        )
    except NoRoom as error:
        return Outcome(None, str(error), 0, 0)
    except Diverged as error:
        return Outcome(None, str(error), steps(error.num_updates), 0)
    if run.diverged:
        return Outcome(None, "\n".join(run.diverged.values()), steps(run.num_updates), 0)
    returns = _trial_returns(run, numbers["evaluation_tasks"], search.seed)
    score, reason = float(returns.mean()), None
    if not math.isfinite(score):
        score, reason = None, "the return of its trials is not finite"
    return Outcome(score, reason, steps(run.num_updates), returns.size * setting.tasks.trial_steps)


def _trial_returns(run: Run, num_tasks: int, seed: int) -> np.ndarray:
    """``[S, N, R]``, see ``tune``."""
    key = jax.random.fold_in(jax.random.key(seed), KEY_DOMAIN)
    batch = evaluation.evaluation_tasks(key, run.tasks, num_tasks)
    repeats = max(1, round(num_tasks / jax.tree.leaves(batch)[0].shape[0]))
    trials = evaluation.live(run, batch, key, repeats, run.tasks.trial_steps, forget=0)
    return np.asarray(trials.reward).sum(axis=-1, dtype=np.float64)
