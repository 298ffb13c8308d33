"""Checkpoints: one file each, whole or not there, every byte under a digest.

The container, in all formats: 8 bytes magic; 32 bytes SHA-256 of all that follows; 8 bytes length of the header (little
endian); the header, JSON in UTF-8, with at least ``format``. Format 1 adds to the header ``step``, ``versions``,
``extra`` (the caller's own, such as the byte offset of ``metrics.jsonl``) and ``leaves``, a list of ``{path, dtype,
shape, bytes, key_impl}``, and follows it with the raw bytes of the leaves in that order (C order, little endian).
Typed PRNG keys are stored as their key data together with the name of their implementation.
"""

import errno
import hashlib
import json
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.records import PyTree
from metarl_jax.storage.files import is_key, versions

MAGIC = b"metarl\r\n"  # the line ending shows a file that was sent as text
FORMAT = 1
START = len(MAGIC) + hashlib.sha256().digest_size
NAME = re.compile(r"checkpoint_(\d{10,})\.ckpt")


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written, or one that this program must not load. The message says what to do."""


class DamagedCheckpoint(CheckpointError):
    """A file whose bytes are not the ones that were saved."""


class DamagedCheckpointWarning(UserWarning):
    """The newest checkpoint was damaged and an older one is used."""


def save(folder: str | Path, step: int, tree: PyTree, extra: Mapping[str, Any] | None = None, keep: int = 3) -> Path:
    """Writes ``folder/checkpoint_{step:010d}.ckpt`` and removes all but the last ``keep``.

    A kill at any moment leaves either the new file whole or the old ones untouched. One process writes to a folder.

    Args:
      folder: of the checkpoints.
      step: the number in the file's name.
      tree: any pytree of arrays (host or device, typed keys too) and Python numbers.
      extra: anything that JSON holds; ``latest`` returns it.
      keep: how many stay.

    Returns:
      The file.

    Raises:
      CheckpointError: the file could not be written (disk full, no permission); earlier checkpoints are kept.
    """
    if keep < 1:
        raise ValueError(f"keep={keep}: at least 1 checkpoint must be kept")
    parts = _encode(step, tree, dict(extra or {}))
    folder = Path(folder)
    path = folder / f"checkpoint_{step:010d}.ckpt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove(folder.glob("checkpoint_*.ckpt.tmp"))  # left by a process that was killed
        _write(path, parts)
    except OSError as error:
        raise CheckpointError(_why_not_written(path, parts, error)) from error
    _remove(old for old in [p for p in _newest_first(folder) if _step(p) <= step][keep:])
    return path


def latest(folder: str | Path, template: PyTree) -> tuple[int, PyTree, dict[str, Any]] | None:
    """The newest sound checkpoint of a folder.

    A damaged file is reported as a ``DamagedCheckpointWarning`` and the one before it is tried.

    Args:
      folder: of the checkpoints.
      template: see ``load``.

    Returns:
      ``(step, tree, extra)``, or None if there is none at all.

    Raises:
      CheckpointError: all are damaged, one has a newer format, or the tree differs from ``template``.
    """
    damaged = []
    for path in _newest_first(Path(folder)):
        try:
            return load(path, template)
        except DamagedCheckpoint as error:
            damaged.append(str(error))
            warnings.warn(f"{error}; trying the checkpoint before it", DamagedCheckpointWarning, stacklevel=2)
    if damaged:
        fix = "put a sound one back, or start in a new folder"
        raise CheckpointError(f"no sound checkpoint in {folder}: {'; '.join(damaged)}; {fix}")
    return None


def load(path: str | Path, template: PyTree) -> tuple[int, PyTree, dict[str, Any]]:
    """Reads one checkpoint.

    Args:
      path: of the file.
      template: a tree of the same structure, dtypes and shapes (arrays or ``jax.ShapeDtypeStruct``). Each leaf comes
        back as what the template holds: a device array (placed as the template's, if that is committed to a
        sharding), a NumPy array or a Python number.

    Returns:
      ``(step, tree, extra)``.

    Raises:
      DamagedCheckpoint: the file is not what was saved.
      CheckpointError: a newer format, or a tree that differs from ``template``; names the first leaf that differs.
    """
    header, payload = _read(Path(path))
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    _check_same(Path(path), header["leaves"], [_describe(p, leaf) for p, leaf in leaves])
    restored, offset = [], 0
    for record, (_, leaf) in zip(header["leaves"], leaves, strict=True):
        restored.append(_restore(payload[offset : offset + record["bytes"]], record, leaf))
        offset += record["bytes"]
    return header["step"], jax.tree_util.tree_unflatten(structure, restored), header["extra"]


def _encode(step: int, tree: PyTree, extra: dict[str, Any]) -> list[bytes]:
    """The file's bytes in pieces: magic, digest, length, header, one piece a leaf."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    arrays = jax.device_get([jax.random.key_data(leaf) if is_key(leaf) else leaf for _, leaf in leaves])
    payload = [np.asarray(array).tobytes() for array in arrays]
    records = [
        {**_describe(path, leaf), "bytes": len(data), "key_impl": _key_impl(leaf)}
        for (path, leaf), data in zip(leaves, payload, strict=True)
    ]
    header = {"format": FORMAT, "step": int(step), "versions": versions(), "extra": extra, "leaves": records}
    text = json.dumps(header).encode()
    parts = [len(text).to_bytes(8, "little"), text, *payload]
    return [MAGIC, _digest(parts), *parts]


def _read(path: Path) -> tuple[dict[str, Any], memoryview]:
    """The checked header and payload of a file."""
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"no checkpoint at {path}") from None
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from error
    if len(data) < START + 8:
        raise DamagedCheckpoint(f"{path} is damaged: it ends after {len(data)} bytes")
    if data[: len(MAGIC)] != MAGIC:
        raise DamagedCheckpoint(f"{path} is damaged: it does not begin as a metarl_jax checkpoint does")
    if data[len(MAGIC) : START] != _digest([data[START:]]):
        raise DamagedCheckpoint(f"{path} is damaged: its bytes do not match its SHA-256")
    begin = START + 8
    end = begin + int.from_bytes(data[START:begin], "little")
    header = json.loads(bytes(data[begin:end]))
    if header["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {header['format']}, written by {header.get('versions', 'a newer version')}; this "
            f"metarl_jax {versions()['metarl-jax']} reads formats up to {FORMAT}: upgrade metarl_jax to load it"
        )
    return header, data[end:]


def _write(path: Path, parts: list[bytes]) -> None:
    """Writes under a temporary name, renames, and makes both durable. Leaves nothing behind if it fails."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        _remove([temporary])
        raise
    if hasattr(os, "O_DIRECTORY"):  # not on Windows, which needs no such thing
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _why_not_written(path: Path, parts: list[bytes], error: OSError) -> str:
    size = sum(map(len, parts)) / 2**20
    kept = [p.name for p in _newest_first(path.parent)]
    last = f"the last good checkpoint is {kept[0]}" if kept else "no earlier checkpoint exists"
    fix = "free some space and start the same command again" if error.errno == errno.ENOSPC else "mend that and go on"
    return f"checkpoint {path} ({size:.1f} MiB) could not be written: {error.strerror or error}; {last}; {fix}"


def _check_same(path: Path, saved: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Raises CheckpointError at the first leaf whose path, dtype or shape differs."""
    have, want = [{r["path"]: f"{r['dtype']}{list(r['shape'])}" for r in records} for records in (saved, wanted)]
    for leaf in list(want) + [leaf for leaf in have if leaf not in want]:
        if have.get(leaf) != want.get(leaf):
            raise CheckpointError(
                f"{path} does not fit: leaf {leaf or 'at the root'} is {have.get(leaf, 'absent')} in the file and "
                f"{want.get(leaf, 'absent')} in this program; saved by another configuration?"
            )
    if list(have) != list(want):
        raise CheckpointError(f"{path} does not fit: the same leaves in another order")


def _restore(data: memoryview, record: dict[str, Any], leaf: Any) -> Any:
    """One leaf from its bytes, as the kind of thing that the template holds."""
    if record["key_impl"] is not None:
        words = np.frombuffer(data, np.uint32).reshape(*record["shape"], -1)
        return jax.random.wrap_key_data(jnp.array(words), impl=record["key_impl"])
    # A copy: the state is donated, and it must not lie in the file's buffer.
    array = np.frombuffer(data, jnp.dtype(record["dtype"])).reshape(record["shape"]).copy()
    if isinstance(leaf, np.ndarray | np.generic):
        return array
    if isinstance(leaf, bool | int | float | complex):
        return array.item()
    array = jnp.array(array)
    return jax.device_put(array, leaf.sharding) if getattr(leaf, "committed", False) else array


def _describe(path: Any, leaf: Any) -> dict[str, Any]:
    array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    if array.dtype == object:
        raise TypeError(
            f"leaf {jax.tree_util.keystr(path)} is a {type(leaf).__name__}: only arrays and numbers can be saved"
        )
    return {"path": jax.tree_util.keystr(path), "dtype": str(array.dtype), "shape": list(array.shape)}


def _key_impl(leaf: Any) -> str | None:
    return str(jax.random.key_impl(leaf)) if is_key(leaf) else None


def _digest(parts: list[Any]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def _newest_first(folder: Path) -> list[Path]:
    return sorted((p for p in folder.glob("checkpoint_*.ckpt") if NAME.fullmatch(p.name)), key=_step, reverse=True)


def _step(path: Path) -> int:
    return int(NAME.fullmatch(path.name)[1])  # type: ignore[index]


def _remove(paths: Any) -> None:
    for path in list(paths):
        path.unlink(missing_ok=True)
