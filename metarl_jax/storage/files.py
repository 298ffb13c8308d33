"""What all files that we write have in common: they are whole or not there, and say which versions made them."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from metarl_jax.records import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
PACKAGES = ("metarl-jax", "jax", "jaxlib", "flax", "optax")


def versions() -> dict[str, str]:
    """The versions that results depend on.

    Returns:
      By package.
    """
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def user_path(path: str | os.PathLike) -> Path:
    """A path with ``~`` as the user's home: shells leave it alone in ``--out=~/runs``.

    Args:
      path: as the user gave it.

    Returns:
      A Path.

    Raises:
      ConfigError: it begins with ``~`` and a name that no user has, or the home folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        start = Path(path).parts[0]
        raise ConfigError(f"path={str(path)!r}: {start} is no home folder known here: write the path in full") from None


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed PRNG keys.

    Args:
      leaf: anything.

    Returns:
      A bool.
    """
    import jax

    return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def on_host(leaf: Any) -> Any:
    """A NumPy array of ``leaf``; typed keys, which have none, as they are.

    Args:
      leaf: an array, or typed keys.

    Returns:
      The array.
    """
    return leaf if is_key(leaf) else np.asarray(leaf)


def key_data(leaf: Any) -> np.ndarray:
    """A NumPy array of ``leaf``, of the numbers behind it where it is typed keys.

    Args:
      leaf: an array, or typed keys.

    Returns:
      A NumPy array.
    """
    import jax

    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)


def plain(x: Any, non_finite: Callable[[float], Any] = lambda x: None) -> Any:
    """``x`` as JSON has it: lists, dicts with string keys, numbers, else words; ``non_finite(x)`` for NaN and Inf.

    Args:
      x: nested mappings, sequences, arrays and numbers.
      non_finite: what stands for NaN and infinities.

    Returns:
      What JSON holds.
    """
    if isinstance(x, Mapping):
        return {str(key): plain(value, non_finite) for key, value in x.items()}
    if hasattr(x, "tolist"):  # NumPy and JAX, scalars too
        x = x.tolist()
    if isinstance(x, list | tuple):
        return [plain(value, non_finite) for value in x]
    if isinstance(x, float) and not math.isfinite(x):
        return non_finite(x)
    return x if x is None or isinstance(x, bool | int | float | str) else str(x)


def write_json(path: Path, value: Any) -> Path:
    """Writes strict JSON (RFC 8259: no NaN), at once or not at all; makes the folder.

    Args:
      path: of the file.
      value: what JSON holds.

    Returns:
      The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return path


@contextlib.contextmanager
def locked(folder: Path | None, wait: bool = False) -> Iterator[None]:
    """Makes ``folder`` and keeps other processes from training in it meanwhile, where the system has such locks.

    ``wait``: until no other process holds the lock.

    Args:
      folder: of the run, if it has one.
      wait: until no other process holds the lock.

    Returns:
      A context.

    Raises:
      ConfigError: another process does, or the folder cannot be made.
    """
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "give a folder you may write"
        raise ConfigError(f"out={str(folder)!r}: cannot be made ({error.strerror}): {fix}") from None
    if fcntl is None:
        yield
        return
    with open(folder / LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            fix = "another process is training in it: wait for that to end, or give another folder"
            raise ConfigError(f"out={str(folder)!r}: {fix}") from None
        except OSError:  # a file system without locks
            pass
        yield
