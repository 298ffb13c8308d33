"""The persistent compilation cache: what was compiled once on this machine starts in a moment the next time."""

import contextlib
import functools
import logging
import os
import platform
import re
import sys
import time
import uuid
import zlib
from importlib import metadata
from pathlib import Path

SWITCH = "METARL_JAX_CACHE"
MIN_COMPILE_SECONDS = 0.0  # many small programs make up most of a start: 5.6 s cold, 1.5 s with all of them cached
ZLIB, ZSTD = b"\x78", b"\x28\xb5\x2f\xfd"
STAMP = ".checked"
PARTIAL = ".partial"  # ending of an entry that is being written
ABANDONED_SECONDS = 3600.0  # a partial entry older than this belongs to a process that was killed

log = logging.getLogger(__name__)


def enable(on: bool = True, folder: str | Path | None = None) -> Path | None:
    """Turns JAX's persistent compilation cache on, in a folder that only this user can read.

    Does nothing if ``on`` is false, the environment says ``METARL_JAX_CACHE=0``, or the user has a setting of their
    own (``JAX_COMPILATION_CACHE_DIR``, ``JAX_ENABLE_COMPILATION_CACHE`` or ``jax.config``). A folder that cannot be
    written costs compile time and nothing else. Entries that a crash left torn are deleted first.

    Args:
      on: whether to.
      folder: instead of ``default_folder()``.

    Returns:
      The folder in use by this call, or None.
    """
    import jax

    if not on or os.environ.get(SWITCH, "1").lower() in ("0", "false", "off", "no"):
        return None
    write_atomically()
    used = jax.config.values
    if used["jax_compilation_cache_dir"] or not used["jax_enable_compilation_cache"]:
        return None
    path = Path(folder) if folder is not None else default_folder()
    try:
        _make_private(path)
        remove_torn(path)
    except OSError as error:
        log.info("no compilation cache in %s: %s", path, error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    return path


@functools.cache
def write_atomically() -> bool:
    """Makes JAX write cache entries to a temporary name and rename them.

    JAX writes entries in place, so a second process that starts at the same time reads half-written ones. JAX offers
    no setting for this: its writer is replaced, once per process, and left alone where it has another shape.

    Returns:
      Whether that was possible.
    """
    try:
        from jax._src import lru_cache

        write_in_place = lru_cache.LRUCache.put
    except (ImportError, AttributeError):
        return False

    @functools.wraps(write_in_place)
    def put(self, key: str, value: bytes) -> None:
        folder = Path(str(self.path))
        if not key or self.eviction_enabled or not folder.is_dir():  # JAX locks where it evicts
            return write_in_place(self, key, value)
        entry = folder / f"{key}-cache"
        if entry.exists():
            return None
        partial = folder / f".{uuid.uuid4().hex}{PARTIAL}"
        try:
            partial.write_bytes(value)
            os.replace(partial, entry)
        finally:
            partial.unlink(missing_ok=True)

    lru_cache.LRUCache.put = put
    return True


def default_folder() -> Path:
    """The folder of the compilation cache: ``metarl_jax/xla/<host>-<jaxlib version>`` in the user's cache folder.

    One folder a host, since homes are shared between machines with other instructions, and one a jaxlib.

    Returns:
      Its path.
    """
    host = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node()) or "host"
    return _user_cache() / "metarl_jax" / "xla" / f"{host}-{metadata.version('jaxlib')}"


def remove_torn(folder: Path) -> list[str]:
    """Deletes entries that do not decompress, which JAX would neither use nor replace.

    Looks only at what was written since it last looked (a stamp file remembers when), so it is quick.

    Args:
      folder: of the cache.

    Returns:
      Their names.
    """
    stamp = folder / STAMP
    began = time.time()
    # File systems keep times to 2 s at worst.
    since = stamp.stat().st_mtime - 2.0 if stamp.exists() else 0.0
    torn = []
    for entry in folder.glob("*-cache"):
        # Another process may delete an entry while this one looks.
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_mtime >= since and not _is_whole(entry):
                entry.unlink()
                torn.append(entry.name)
    for partial in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(FileNotFoundError):
            if partial.stat().st_mtime < began - ABANDONED_SECONDS:
                partial.unlink()
    stamp.touch(mode=0o600)
    os.utime(stamp, (began, began))
    if torn:
        log.warning("deleted %d torn entries of the compilation cache in %s", len(torn), folder)
    return torn


def _is_whole(entry: Path) -> bool:
    """Whether an entry decompresses to its end (JAX uses zstd where it is installed, else zlib)."""
    data = entry.read_bytes()
    if data.startswith(ZSTD):
        return _is_whole_zstd(data)
    if not data.startswith(ZLIB):
        return False
    try:
        stream = zlib.decompressobj()
        stream.decompress(data)
        return stream.eof
    except zlib.error:
        return False


def _is_whole_zstd(data: bytes) -> bool:
    try:
        import zstandard  # type: ignore[import-not-found]
    except ImportError:
        return True  # written by another Python; this one cannot tell
    try:
        zstandard.ZstdDecompressor().decompress(data)
        return True
    except zstandard.ZstdError:
        return False


def _make_private(folder: Path) -> None:
    """Creates ``folder`` for this user only: whoever can write to it can run code in our processes."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if hasattr(os, "getuid"):
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
        folder.chmod(0o700)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written")


def _user_cache() -> Path:
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
