"""Learned weights as small files: those that come with the package, and those that users keep."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from metarl_jax.config import ConfigError, check, whole
from metarl_jax.storage.files import user_path, write_json

FORMAT = 1


class WeightStore(NamedTuple):
    """Where the weights of one kind of learned function are.

    Attributes:
      folder: of what comes with the package.
      what: is in it, in a word or two.
      learners: whose runs it takes.
    """

    folder: Path
    what: str
    learners: tuple[str, ...]


def available(shelf: WeightStore) -> list[str]:
    """What comes with the package.

    Args:
      shelf: of which kind.

    Returns:
      Names, sorted.
    """
    return sorted(file.stem for file in shelf.folder.glob("*.json"))


def read(shelf: WeightStore, name: str | Path) -> dict[str, Any]:
    """What ``save`` wrote.

    Args:
      shelf: of which kind.
      name: a file, or one of ``available``.

    Returns:
      The file's fields; ``weights`` as nested dicts and lists of arrays; ``path``.

    Raises:
      ConfigError: no such file, or none of this format.
    """
    check(isinstance(name, str | Path), "name", name, "give the path of a file, or a name")
    names = available(shelf)
    path = shelf.folder / f"{name}.json" if name in names else user_path(name)
    check(not path.is_dir(), "name", str(name), "is a folder: save(load(folder), file) makes a file of a run")
    check(path.is_file(), "name", str(name), f"no such file; the package has {', '.join(names) or 'none'}")
    try:
        found = json.loads(path.read_text())
        known = found["format"]
        check(known == FORMAT, "format", known, f"{path} is of another version of metarl_jax, which writes {FORMAT}")
        learner = found["config"]["algorithm"]["name"]
        if learner not in shelf.learners:
            raise ValueError(f"it is of a run of {learner}")
        weights = _as_arrays(found["weights"])
        if not all(np.isfinite(x).all() for x in jax.tree.leaves(weights)):
            raise ValueError("numbers that are not finite")
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise unusable(shelf, name, path, error) from error
    return found | {"weights": weights, "path": path}


def unusable(shelf: WeightStore, name: str | Path, path: Path, error: Exception) -> ConfigError:
    """The error of a file that holds something else.

    Args:
      shelf: of which kind.
      name: as the user gave it.
      path: of the file.
      error: what went wrong.

    Returns:
      A ConfigError.
    """
    return ConfigError(f"name={str(name)!r}: {path} holds no {shelf.what} ({error!r})")


def _as_arrays(tree: Any) -> Any:
    """Dicts stay; so do lists of dicts; numbers and their lists become arrays."""
    if isinstance(tree, dict):
        return {name: _as_arrays(value) for name, value in tree.items()}
    if isinstance(tree, list) and tree and isinstance(tree[0], dict):
        return [_as_arrays(value) for value in tree]
    return np.asarray(tree, np.float32)


def save(shelf: WeightStore, run: Any, path: str | Path, member: int = 0) -> None:
    """Writes what a run has learned (its state's ``meta``), with the run's configuration and curve.

    The curve is the mean return of the lifetimes of each update.

    Args:
      shelf: of which kind.
      run: the run.
      path: of the file.
      member: which of the run's seeds.

    Raises:
      ConfigError: another algorithm's run, or no such seed.
    """
    learner = run.config["algorithm"]["name"] if hasattr(run, "config") else run
    check(learner in shelf.learners, "run", learner, f"give a run of {' or '.join(shelf.learners)}")
    fits = whole(member) and 0 <= member < run.num_seeds
    check(fits, "member", member, f"must be a whole number from 0 to {run.num_seeds - 1}: the run has so many seeds")
    weights = jax.tree.map(lambda x: _shortened(np.asarray(x[member])), run.state.meta)
    curve = np.asarray(run.metrics["trial_return"])[:, member]
    config = run.config | {"seed": run.config["seed"] + member, "num_seeds": 1}
    made = {"format": FORMAT, "config": config, "curve": [round(float(x), 4) for x in curve], "weights": weights}
    write_json(user_path(path), made)


def _shortened(x: np.ndarray) -> Any:
    """As nested lists of the shortest decimals that give the same single-precision numbers."""
    if x.ndim:
        return [_shortened(part) for part in x]
    return float(np.format_float_positional(np.float32(x), unique=True))
