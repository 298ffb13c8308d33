"""Sweeps: many workers on one Optuna study, which may come, go and be killed; what is tried is not known here.

A trial here is Optuna's: one choice of options. Under the lock of the sweep's folder a worker claims one trial after
the other; heartbeats tell that it lives; what a dead or stopped one left is claimed again, under the same options.
Optuna (Akiba et al. 2019) has a journal in a file, too, which leaves the trials of dead workers running for ever.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metarl_jax.config import ConfigError
from metarl_jax.storage.files import locked
from metarl_jax.training.run_folder import check_free, refuse_changes

DATABASE = "study.db"
HEARTBEAT_SECONDS, GRACE_SECONDS = 10, 60  # a worker that was not heard of for so long is dead
MOST_DEATHS = 5  # of workers in one trial, before its options are taken for the cause
KEPT = ("run", "repeat", "seconds", "deaths")  # what a trial that is claimed again keeps of its attributes


class Sweep(NamedTuple):
    """An open study.

    Attributes:
      study: Optuna's.
      storage: its database, which records heartbeats.
      folder: of the sweep.
    """

    study: Any
    storage: Any
    folder: Path


@contextlib.contextmanager
def opened(folder: Path, url: str | None, config: dict[str, Any]) -> Iterator[Sweep]:
    """A context with the sweep in a folder, which is made if need be.

    Args:
      folder: of the sweep.
      url: of another database; None: a file in the folder.
      config: of the sweep, plain data.

    Yields:
      The Sweep.

    Raises:
      ConfigError: the folder holds a sweep of another configuration or something else, or the database cannot be
        opened.
    """
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    path = folder / DATABASE
    if url is None and not path.exists():
        check_free(folder, "sweep")
    verbosity, storage = optuna.logging.get_verbosity(), None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with locked(folder, wait=True), experimental():
            try:
                storage = optuna.storages.RDBStorage(
                    url or f"sqlite:///{path}",
                    {"connect_args": {"timeout": 60}} if url is None else None,
                    heartbeat_interval=HEARTBEAT_SECONDS,
                    grace_period=GRACE_SECONDS,
                    heartbeat_stale_trial_callback=lambda study, trial: _claim_again(study, trial, died=True),
                )
                name = "sweep" if url is None else folder.resolve().name  # a folder may be renamed
                study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
            except (ImportError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
                raise ConfigError(f"{folder}: the sweep's database cannot be opened: {error}") from error
            if "config" in study.user_attrs:
                refuse_changes(folder, "sweep", study.user_attrs["config"], config)
            else:
                study.set_user_attr("config", config)
        yield Sweep(study, storage, folder)
    finally:
        optuna.logging.set_verbosity(verbosity)
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """A context without Optuna's warnings about heartbeats.

    It calls them experimental, and warns of those that its own loop does not make.

    Yields:
      Nothing.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed to be used with", UserWarning)
        yield


def finished(sweep: Sweep) -> list[Any]:
    """The trials that count as done, with a score or pruned.

    Args:
      sweep: an open one.

    Returns:
      Optuna's frozen trials.
    """
    states = _states("COMPLETE", "PRUNED")
    return [trial for trial in sweep.study.get_trials(deepcopy=False) if trial.state in states]


def claim(sweep: Sweep, space: Mapping[str, Any], points: Sequence[dict], total: int, seed: int) -> Any | None:
    """Claims a trial for this worker.

    One whose worker died or was stopped comes first, then ``points`` that were not tried yet, then the sampler's
    choice. The trial's attributes give its folder (``run``), and how many trials before it had the same options
    (``repeat``).

    Args:
      sweep: an open one.
      space: Optuna's distributions by option.
      points: to be tried first, parameters by option.
      total: number of trials of the whole sweep.
      seed: of the sampler.

    Returns:
      Optuna's trial; None where all are done or claimed by other workers.
    """
    import optuna

    study, waiting = sweep.study, _states("WAITING")
    with locked(sweep.folder, wait=True), experimental():  # SQLite gives one waiting trial to two who ask at once
        optuna.storages.fail_stale_trials(study)
        for trial in study.get_trials(deepcopy=False):
            # Who claims has the lock: what is half claimed now was left by one who died, before any heartbeat.
            if trial.state in _states("RUNNING") and "claimed" not in trial.user_attrs:
                _give_up(sweep, trial.number, died=False)
        trials = study.get_trials(deepcopy=False)
        taken = [trial.params for trial in trials if trial.state not in _states("WAITING", "FAIL")]
        if len(taken) >= total:
            return None
        untried = [point for point in points if point not in taken]
        if untried and not any(trial.state in waiting for trial in trials):
            study.enqueue_trial(untried[0])
        # A seed for each trial: workers with the sampler's own would all begin with the same points.
        draw = np.random.SeedSequence([seed, len(trials)]).generate_state(1)[0]
        study.sampler = optuna.samplers.TPESampler(seed=int(draw))
        trial = study.ask(dict(space))
        if "run" not in trial.user_attrs:
            trial.set_user_attr("run", f"trials/{trial.number:04d}")
            trial.set_user_attr("repeat", taken.count(trial.params))
        sweep.storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr("claimed", True)
        return trial


@contextlib.contextmanager
def heartbeat(sweep: Sweep, trial: Any) -> Iterator[None]:
    """A context during which a thread records heartbeats: the trial's worker is alive.

    Args:
      sweep: an open one.
      trial: claimed by this worker.

    Yields:
      Nothing.
    """
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(sweep.storage, trial._trial_id, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(storage: Any, trial_id: int, stop: threading.Event) -> None:
    import optuna

    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(optuna.exceptions.StorageInternalError):  # a busy database: the next one gets through
            storage.record_heartbeat(trial_id)
    storage.remove_session()


def settle(sweep: Sweep, trial: Any, score: float | None, **told: Any) -> bool:
    """Records the result of a trial.

    Args:
      sweep: an open one.
      trial: claimed by this worker.
      score: None: the trial is pruned.
      **told: further attributes of the trial.

    Returns:
      Whether it was recorded. False where the trial was taken for dead meanwhile (a machine that slept) and belongs to
      another worker now.
    """
    with locked(sweep.folder, wait=True):
        if not _runs(sweep, trial.number):
            return False
        for name, value in told.items():
            trial.set_user_attr(name, value)
        (pruned,) = _states("PRUNED")
        sweep.study.tell(trial, score, state=pruned if score is None else None)
        return True


def stopped(sweep: Sweep, trial: Any, died: bool, seconds: float) -> None:
    """Leaves a trial to the next worker that claims one.

    Args:
      sweep: an open one.
      trial: claimed by this worker.
      died: by an error, which counts towards the most that a trial may have, and not because it was asked to stop.
      seconds: spent on the trial so far.
    """
    with locked(sweep.folder, wait=True):
        if _runs(sweep, trial.number):
            trial.set_user_attr("seconds", seconds)
            _give_up(sweep, trial.number, died)


def _give_up(sweep: Sweep, number: int, died: bool) -> None:
    (failed,) = _states("FAIL")
    _claim_again(sweep.study, sweep.study.tell(number, state=failed), died)


def _claim_again(study: Any, trial: Any, died: bool) -> None:
    """A failed trial waits again, as a new one under the same options; after many deaths it is pruned instead."""
    import optuna

    told = {name: trial.user_attrs[name] for name in KEPT if name in trial.user_attrs}
    told["deaths"] = deaths = told.get("deaths", 0) + died
    hopeless = deaths >= MOST_DEATHS
    (state,) = _states("PRUNED" if hopeless else "WAITING")
    told |= {"reason": f"its worker died {deaths} times"} if hopeless else {}
    study.add_trial(
        optuna.create_trial(state=state, params=trial.params, distributions=trial.distributions, user_attrs=told)
    )


def _runs(sweep: Sweep, number: int) -> bool:
    return sweep.study.get_trials(deepcopy=False)[number].state in _states("RUNNING")


def _states(*names: str) -> list[Any]:
    from optuna.trial import TrialState

    return [TrialState[name] for name in names]
