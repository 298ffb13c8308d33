"""One driver for every algorithm: ``train`` runs outer updates in compiled chunks, and nothing is lost on the way."""

import contextlib
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.config import ConfigError, Recipe, check, check_counts, check_seeds
from metarl_jax.records import TaskDistribution
from metarl_jax.runtime import compile_cache
from metarl_jax.runtime.devices import check_precision, use_cpu_cores
from metarl_jax.runtime.sharding import task_mesh
from metarl_jax.runtime.signals import StopSignals
from metarl_jax.storage import checkpoint
from metarl_jax.storage.files import locked, on_host, user_path
from metarl_jax.storage.metrics import MetricsLog, Progress, read_metrics
from metarl_jax.training.build import Program, build_program, fit_to_memory, with_options
from metarl_jax.training.divergence import Diverged, explain_seeds, kept_checkpoint, seeds_diverged
from metarl_jax.training.experiment import Pair, describe, rebuild, resolve, with_algorithms
from metarl_jax.training.identity import describe_tasks
from metarl_jax.training.run import Run
from metarl_jax.training.run_folder import as_before, check_folder, check_same_tasks, describe_run, read_config
from metarl_jax.training.update_loop import Learner, chunk_length


class Stopped(KeyboardInterrupt):
    """Training was asked to stop (Ctrl-C, SIGTERM).

    Attributes:
      run: the Run so far, saved if it has a folder.
      signal_number: of the signal.
    """

    def __init__(self, message: str, run: Run, signal_number: int):
        super().__init__(message)
        self.run, self.signal_number = run, signal_number


def train(
    algorithm: str | Recipe,
    tasks: str | TaskDistribution,
    *,
    num_updates: int = 400,
    num_tasks: int = 256,
    seed: int = 0,
    num_seeds: int = 1,
    curriculum: str | Recipe = "uniform",
    also: Sequence[Pair] = (),
    out: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    keep_checkpoints: int = 3,
    compilation_cache: bool = True,
    quiet: bool = False,
) -> Run:
    """Meta-trains ``algorithm`` on ``tasks``.

    Update ``i`` of a seed is a function of (configuration, seed, i): on one backend, number of devices and version of
    jax, ``num_updates=20`` gives bit for bit what 10 updates and then, resumed, the other 10 give. Tasks are spread
    over all devices; where JAX has not started yet, CPU cores become devices
    (README, Hardware).

    Args:
      algorithm: a name of ``metarl_jax.algorithms.REGISTRY``, or a recipe: ``algorithms.rl2(memory_size=64)``.
      tasks: a name of ``metarl_jax.tasks.REGISTRY``, or any TaskDistribution.
      num_updates: outer updates in all.
      num_tasks: tasks an update.
      seed: of everything random; the first where there are several.
      num_seeds: seeds ``seed, seed + 1, ...`` are trained side by side in one program.
      curriculum: which tasks come next; a name of ``metarl_jax.curricula.REGISTRY`` or a recipe.
      also: pairs (algorithm, tasks): where the same is meta-learned at the same time, in tasks whose spaces may differ
        (an update rule, an optimiser, hyperparameters). Each update lives ``num_tasks`` tasks of each, drawn uniformly,
        and the meta-gradient is the mean. Options of the outer step are the first algorithm's, and so are
        those of memory that it leaves open.
      out: the run's folder; created, or, when it holds a run of the same configuration, continued. None: in memory.
      checkpoint_seconds: least time between two checkpoints; one more is taken at the end and on a stop signal.
      keep_checkpoints: how many of the last ones stay in the folder.
      compilation_cache: keep compiled programs in the user's cache folder (also ``METARL_JAX_CACHE=0``).
      quiet: no progress and no messages.

    Returns:
      The Run.

    Raises:
      ConfigError: an unknown name, a wrong value, or a folder that holds a run of another configuration.
      Diverged: NaN or Inf in parameters or losses of every seed, and why; the last good checkpoint is kept. Where it is
        some of several seeds, these stay as they were before (``Run.diverged``), with a DivergedWarning.
      Stopped: Ctrl-C or SIGTERM, after saving.

    Example:
      ``run = metarl_jax.train("rl2", "maze-100", num_updates=100, out="runs/demo")``
    """
    counts = dict(num_updates=num_updates, num_tasks=num_tasks, num_seeds=num_seeds, keep_checkpoints=keep_checkpoints)
    check_counts(counts)
    check_seeds(seed, num_seeds)
    number = isinstance(checkpoint_seconds, int | float) and checkpoint_seconds >= 0
    check(number, "checkpoint_seconds", checkpoint_seconds, "must be a number of seconds, 0 or more")
    check(out is None or isinstance(out, str | Path), "out", out, "give the path of a folder")
    use_cpu_cores()
    check_precision()
    setting = resolve(algorithm, tasks, curriculum, also)
    mesh = task_mesh() if num_tasks % jax.device_count() == 0 else None
    folder = None if out is None else user_path(out)
    program = build_program(setting, num_tasks, mesh)
    program.algorithm.check(num_tasks)
    if before := as_before(folder, program.memory_options):
        program = with_options(program, before)
    numbers = dict(num_updates=num_updates, num_tasks=num_tasks, seed=seed, num_seeds=num_seeds)
    config = describe(program.setting, rollout=folder is not None, **numbers)
    if folder is not None:
        check_folder(folder, config)
    if compilation_cache:
        compile_cache.enable()
    if mesh is None and not quiet:
        warnings.warn(
            f"num_tasks={num_tasks} is no multiple of {jax.device_count()} devices: training on one", stacklevel=2
        )
    loop = TrainContext(program, config, folder, checkpoint_seconds, keep_checkpoints)
    with locked(folder), Progress(num_updates, quiet=quiet) as progress:
        run, stop = _run_updates(loop, progress)
    done = run.num_updates
    if stop is not None and done < num_updates:
        how = f"the same command continues it: {folder}" if folder else "it lives in memory: catch Stopped, use its run"
        raise Stopped(f"stopped after update {done} of {num_updates}; {how}", run, stop)
    return run


class TrainContext(NamedTuple):
    """What the loop on the host needs to know.

    Attributes:
      program: built, and compiled once updates are to be run.
      config: of the run, plain data.
      folder: of the run; None: in memory.
      checkpoint_seconds: least time between two checkpoints.
      keep: how many of the last checkpoints stay in the folder.
    """

    program: Program
    config: dict[str, Any]
    folder: Path | None
    checkpoint_seconds: float
    keep: int


def _run_updates(loop: TrainContext, progress: Progress) -> tuple[Run, int | None]:
    """The host loop over chunks: log, progress, checkpoint, stop signal.

    It returns the run so far, and the signal that stopped it.
    """
    seeds = jnp.arange(loop.config["num_seeds"], dtype=jnp.int32) + loop.config["seed"]
    loop, learner, done, log, diverged = begin(loop, seeds, progress)
    active = np.array([i not in diverged for i in range(len(seeds))])
    total, count, last_save = loop.config["num_updates"], 1, time.monotonic()
    records, began = [], False  # records only where no file keeps them
    progress.advance(done, 0, float("nan"))
    with StopSignals() as stop, log or contextlib.nullcontext():
        while done < total and stop.received is None:
            started = time.monotonic()
            program = loop.program.driver
            learner, metrics, ran, still = program.advance(seeds, learner, done, min(count, total - done), active)
            ran, metrics, still = int(ran), jax.tree.map(np.asarray, metrics), np.asarray(still)
            diverged |= explain_seeds(program, seeds, learner, done + ran - 1, active, still)
            if not still.any():
                raise Diverged("\n".join(diverged.values()) + kept_checkpoint(loop.folder), done + ran)
            active = still
            new = [record(loop, done + i, {k: v[i] for k, v in metrics.items()}) for i in range(ran)]
            count = chunk_length(time.monotonic() - started, ran, loop.program.driver.capacity) if began else 1
            done, began = done + ran, True
            if log is None:
                records += new
            else:
                log.append(new)
                if time.monotonic() - last_save >= loop.checkpoint_seconds or done >= total:
                    save(loop, done, learner, log, diverged)
                    last_save = time.monotonic()
            progress.advance(
                ran,
                (loop.program.env_steps(done) - loop.program.env_steps(done - ran)) * loop.config["num_seeds"],
                float(metrics["trial_return"][:ran, active].mean()),
            )
        if log is not None and stop.received is not None:
            save(loop, done, learner, log, diverged)
    if log is not None:
        columns = read_metrics(log.path)
    else:
        columns = {name: np.stack([r[name] for r in records]) for name in records[0]} if records else {}
    run = run_of(loop.program, learner, loop.config, columns, done, loop.folder, diverged)
    return run, stop.received


def run_of(
    program: Program,
    learner: Learner,
    config: dict[str, Any],
    metrics: dict[str, np.ndarray],
    done: int,
    folder: Path | None,
    diverged: Mapping[int, str] | None = None,
) -> Run:
    """A learner as users see it.

    Args:
      program: that trained it.
      learner: its state.
      config: of the run.
      metrics: so far.
      done: updates so far.
      folder: of the run, if it has one.
      diverged: reasons by seed.

    Returns:
      The Run.
    """
    buffer = program.driver.curriculum.buffer
    task_buffer = None if buffer is None else jax.tree.map(on_host, jax.vmap(buffer)(learner.curriculum))
    parts = program.algorithm, program.setting.tasks, learner.algorithm
    return Run(*parts, config, metrics, done, folder, task_buffer, dict(diverged or {}), program.setting.algorithm)


def record(loop: TrainContext, update: int, metrics: dict[str, np.ndarray]) -> dict[str, Any]:
    """A line of ``metrics.jsonl``; ``env_steps``: those of one seed so far, counted here since int32 would overflow.

    Args:
      loop: of the run.
      update: its number.
      metrics: of the update, ``[S]`` each.

    Returns:
      What the line holds.
    """
    return {"update": update, "env_steps": loop.program.env_steps(update + 1), **metrics}


def begin(
    loop: TrainContext, seeds: jax.Array, progress: Progress
) -> tuple[TrainContext, Learner, int, MetricsLog | None, dict[int, str]]:
    """Prepares the loop: a program that fits, and a new learner or that of the newest sound checkpoint.

    Args:
      loop: of the run.
      seeds: ``[S]``.
      progress: where messages go.

    Returns:
      The loop with its program, compiled where updates are to be run; the learner; updates done; where metrics go;
      which seeds diverged, and why.
    """
    shapes, found = jax.eval_shape(loop.program.driver.init, seeds), None
    if loop.folder is not None:
        check_folder(loop.folder, loop.config)  # again: another process may have been here before the lock was taken
        found = checkpoint.latest(loop.folder / "checkpoints", shapes)
    done, learner, extra = found or (0, None, {"metrics_offset": 0})
    total, needed = loop.config["num_updates"], None
    if done > total:
        raise ConfigError(f"num_updates={total}: the run in {loop.folder} has {done} already")
    if done < total:
        progress.message("compiling (kept in the compilation cache for the next time) ...")
        goes_on = loop.folder is not None and (loop.folder / "config.json").exists()
        program, needed = fit_to_memory(loop.program, seeds, shapes, goes_on, progress.message)
        loop = loop._replace(program=program, config=with_algorithms(loop.config, program.setting))
    learner = loop.program.driver.init(seeds) if learner is None else learner
    if loop.folder is None:
        return loop, learner, done, None, {}
    log = MetricsLog(loop.folder / "metrics.jsonl", offset=extra["metrics_offset"])
    describe_run(loop.folder, loop.config, needed)
    if found is not None:
        progress.message(f"continuing {loop.folder} after update {done}")
    return loop, learner, done, log, seeds_diverged(extra)


def save(loop: TrainContext, done: int, learner: Learner, log: MetricsLog, diverged: Mapping[int, str]) -> None:
    """Writes a checkpoint.

    Args:
      loop: of the run.
      done: updates so far.
      learner: its state.
      log: where metrics go.
      diverged: reasons by seed.
    """
    extra = {"metrics_offset": log.offset(), "diverged": {str(index): why for index, why in diverged.items()}}
    checkpoint.save(log.path.parent / "checkpoints", done, learner, extra, keep=loop.keep)


def load(
    path: str | Path,
    *,
    algorithm: Recipe | None = None,
    tasks: TaskDistribution | None = None,
    curriculum: Recipe | None = None,
    also: Sequence[Pair] = (),
) -> Run:
    """The run in a folder, at its newest sound checkpoint.

    Args:
      path: the run's folder.
      algorithm, tasks, curriculum, also: needed where the run was made with objects of your own, which no registry can
        rebuild.

    Returns:
      The Run.

    Raises:
      ConfigError: no run there, any of these is unknown to the registries and not given, or the tasks given are not
        the run's.

    Example:
      ``run = metarl_jax.load("runs/demo")``
    """
    check(isinstance(path, str | Path), "path", path, "give the folder of a run")
    check_precision()
    folder = user_path(path)
    config = read_config(folder)["config"]
    pairs = config.get("also", [])
    check(len(also) in (0, len(pairs)), "also", also, f"give all of the run's, {len(pairs)} pairs")
    setting = resolve(
        algorithm or rebuild("algorithm", config["algorithm"]),
        tasks or rebuild("tasks", config["tasks"]),
        curriculum or rebuild("curriculum", config["curriculum"]),
        also or [tuple(rebuild(part, pair[part], "also") for part in pair) for pair in pairs],
    )
    given = [(config["tasks"], tasks), *((pair["tasks"], own[1]) for pair, own in zip(pairs, also, strict=False))]
    for saved, own in given:
        if isinstance(own, TaskDistribution):
            check_same_tasks(folder, saved, describe_tasks(own, rollout=True))
    program = build_program(setting, config["num_tasks"])
    seeds = jnp.arange(config["num_seeds"], dtype=jnp.int32) + config["seed"]
    found = checkpoint.latest(folder / "checkpoints", jax.eval_shape(program.driver.init, seeds))
    if found is None:
        raise ConfigError(f"{folder} holds no checkpoint yet: train it first")
    done, learner, extra = found
    metrics = {name: column[:done] for name, column in read_metrics(folder / "metrics.jsonl").items()}
    return run_of(program, learner, config, metrics, done, folder, seeds_diverged(extra))
