"""Why a seed's numbers stopped being finite: rewards or observations of a task, or the learning itself."""

import operator
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.records import Outcome, PyTree, Task, Trajectory
from metarl_jax.training.update_loop import Driver, Learner


class Diverged(RuntimeError):
    """All seeds stopped being finite; the message names each seed's update and why.

    Attributes:
      num_updates: how many were made, the last of them included.
    """

    def __init__(self, message: str, num_updates: int = 0):
        super().__init__(message)
        self.num_updates = num_updates


class DivergedWarning(RuntimeWarning):
    """One of several seeds stopped being finite; it stays as it was before that update and the others go on."""


def seeds_diverged(extra: Mapping[str, Any]) -> dict[int, str]:
    """What a checkpoint says of the seeds that diverged, by their index.

    Args:
      extra: of a checkpoint.

    Returns:
      Reasons by index.
    """
    return {int(index): why for index, why in extra.get("diverged", {}).items()}


def explain_seeds(
    driver: Driver, seeds: jax.Array, learner: Learner, update: int, active: np.ndarray, still: np.ndarray
) -> dict[int, str]:
    """Why seeds diverged in an update; warns of each where others go on.

    Args:
      driver: of the run.
      seeds: ``[S]``.
      learner: its state before the update.
      update: its number.
      active: ``[S]`` bool, before the update.
      still: ``[S]`` bool, after it.

    Returns:
      Reasons by index of the seeds that are no longer active.
    """
    found = {}
    for index in map(int, np.flatnonzero(active & ~still)):
        own = jax.tree.map(operator.itemgetter(index), learner)
        which = f", seed {int(seeds[index])}" if len(seeds) > 1 else ""
        found[index] = f"update {update}{which}: {_explain(driver, seeds[index], own, update)}"
        if still.any():
            warnings.warn(f"{found[index]}; this seed stays as it was before", DivergedWarning, stacklevel=4)
    return found


def kept_checkpoint(folder: Path | None) -> str:
    """What is left of a run that diverged, in words.

    Args:
      folder: of the run, if it has one.

    Returns:
      Text, empty where nothing is.
    """
    saved = folder is not None and any((folder / "checkpoints").glob("*.ckpt"))
    return f"; the last good checkpoint is kept in {folder}" if saved else ""


def _explain(driver: Driver, seed: jax.Array, learner: Learner, update: int) -> str:
    """Why update number ``update`` of a seed is not finite, found by making it again.

    Args:
      learner: the seed's own, as it was before that update (no axis of seeds).
    """
    with jax.debug_nans(False), jax.debug_infs(False):
        updated, metrics, outcome = jax.jit(driver.update)(seed, learner, jnp.int32(update))
    if cause := _environment_fault(outcome):
        return cause
    bad = _first_bad_leaf((updated.algorithm, metrics))
    return f"{bad or 'a number'} is not finite. Try lower learning rates"


def _environment_fault(outcome: Outcome) -> str | None:
    """What is not finite in the trials of an update before any action was, and in which task; None where nothing is."""
    task = lambda i: f"task {i} of the update ({shown(jax.tree.map(lambda x: x[i], outcome.tasks))})"
    if outcome.trajectory is not None:
        if found := _first_in_trial(outcome.trajectory):
            what, index, step = found
            return f"the {what} of {task(index)} is not finite at step {step} of the trial: mend the environment there"
        return None
    bad = np.flatnonzero(~np.isfinite(np.asarray(outcome.trial_return)))
    if not len(bad):
        return None
    fix = "mend the environment there; where its rewards are finite, try lower learning rates"
    return f"the return of {task(bad[0])} is not finite: {fix}"


def _first_in_trial(trajectory: Trajectory) -> tuple[str, int, int] | None:
    """The first number that is not finite in ``[T, N]``, as ``(observation or reward, task, step)``.

    None where there is none, or where an action is the first: then it is the policy that is not finite.
    """
    parts = {
        "observation": trajectory.timestep.observation,
        "action": trajectory.action,
        "reward": trajectory.reward,
    }
    found = []
    for order, (name, values) in enumerate(parts.items()):
        values = np.asarray(values, np.float64)
        steps, tasks = np.nonzero(~np.isfinite(values.reshape(*values.shape[:2], -1)).all(axis=-1))
        found += [(int(steps[0]), order, name, int(tasks[0]))] if len(steps) else []
    if not found or min(found)[2] == "action":
        return None
    step, _, name, task = min(found)
    return name, task, step


def shown(task: Task, width: int = 80) -> str:
    """A task in a few words.

    Args:
      task: any.
      width: characters at most.

    Returns:
      Text.
    """
    leaves = [np.array2string(np.asarray(x), precision=4, threshold=8, separator=",") for x in jax.tree.leaves(task)]
    text = " ".join(", ".join(leaves).split())
    return text if len(text) <= width else f"{text[:width]} ..."


def _first_bad_leaf(tree: PyTree) -> str | None:
    """The path of the first leaf that holds NaN or Inf, with what it holds."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) and not bool(jnp.isfinite(leaf).all()):
            kind = "NaN" if bool(jnp.isnan(leaf).any()) else "Inf"
            return f"{jax.tree_util.keystr(path, simple=True, separator='.')} ({kind})"
    return None
