"""The memory that a compiled program will need, and how much there is.

The compiler plans every buffer before anything runs: arguments, results and temporaries, less the results that are
written over donated arguments.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from metarl_jax.config import ConfigError

SWITCH = "METARL_JAX_MEMORY"
SPARE = 0.1  # of what is free: allocators leave gaps, and the process holds more than the program's buffers
CGROUPS, MEMINFO, OWN = Path("/sys/fs/cgroup"), Path("/proc/meminfo"), Path("/proc/self/cgroup")
UNLIMITED = 1 << 60


class NoRoom(ConfigError):
    """No setting left open makes the program fit."""


def compile_ahead(function: Any, *arguments: Any) -> Any | None:
    """Compiles a jitted function; the executable is to be called in its place.

    Args:
      function: jitted.
      *arguments: arrays or their shapes.

    Returns:
      The executable; None where the compiler itself, on a backend that places buffers then, finds no room.
    """
    try:
        return function.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise


class Plan(NamedTuple):
    """Predicted and available memory of a program.

    Attributes:
      predicted: bytes that it needs on each device; None where the backend does not tell.
      available: bytes that it may use on each device; None where nothing tells.
      num_devices: it runs on.
      fits: whether it may be run.
    """

    predicted: int | None
    available: int | None
    num_devices: int
    fits: bool

    def __str__(self) -> str:
        needed = "unknown" if self.predicted is None else size(self.predicted)
        free = "" if self.available is None else f" of {size(self.available)}"
        place = "the device" if self.num_devices == 1 else f"each of {self.num_devices} devices"
        return f"predicted memory {needed}{free} on {place}"


def plan_of(compiled: Any | None, num_devices: int) -> Plan:
    """The predicted memory of a program beside what is available now.

    Args:
      compiled: what ``compile_ahead`` returned: the executable, or None.
      num_devices: it runs on.

    Returns:
      The Plan.
    """
    needed, free = (None if compiled is None else predicted(compiled)), available(num_devices)
    fits = compiled is not None and (needed is None or free is None or needed <= free)
    return Plan(needed, free, num_devices, fits)


def predicted(compiled: Any) -> int | None:
    """Bytes on each device; None where the backend does not tell.

    Args:
      compiled: the executable.

    Returns:
      Bytes, or None.
    """
    try:
        plan = compiled.memory_analysis()
    except NotImplementedError:
        plan = None
    if plan is None:
        return None
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return held + plan.temp_size_in_bytes + plan.generated_code_size_in_bytes


def available(num_devices: int = 1) -> int | None:
    """Bytes that a program may use on each of ``num_devices`` local devices; None where nothing tells.

    An accelerator's own allocator knows. CPU devices share what the system and the process's control groups have left.
    ``METARL_JAX_MEMORY`` says another number.

    Args:
      num_devices: that share what is free.

    Returns:
      Bytes, or None.

    Raises:
      ConfigError: the variable holds no positive whole number.
    """
    if asked := os.environ.get(SWITCH):
        if not (asked.isdecimal() and int(asked) > 0):
            raise ConfigError(f"{SWITCH}={asked!r}: set a number of bytes for each device, or leave it unset")
        return int(asked)
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        found = [x for x in (_system_memory(), *_group_memory()) if x is not None]
        free = min(found) // num_devices if found else None
    else:
        stats = [device.memory_stats() or {} for device in devices[:num_devices]]
        known = all("bytes_limit" in x for x in stats)
        free = min(x["bytes_limit"] - x.get("bytes_in_use", 0) for x in stats) if known else None
    return None if free is None else int((1 - SPARE) * free)


def _system_memory() -> int | None:
    """Bytes that can be had without swapping (all there are where the system only tells that)."""
    if MEMINFO.exists():
        words = dict(line.split(":") for line in MEMINFO.read_text().splitlines() if ":" in line)
        if "MemAvailable" in words:
            return 1024 * int(words["MemAvailable"].split()[0])
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _group_memory() -> Iterator[int]:
    """Bytes left in each control group (Linux, version 1 or 2) that limits this process.

    Files that the kernel keeps in memory are given up before anyone is killed: they count as free.
    """
    for line in OWN.read_text().splitlines() if OWN.exists() else ():
        _, kinds, path = line.split(":", 2)
        if kinds not in ("", "memory"):
            continue
        root = CGROUPS / kinds
        limit, usage = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if not folder.is_relative_to(root):
                break
            words = (folder / limit).read_text().strip() if (folder / limit).is_file() else "max"
            if words.isdecimal() and int(words) < UNLIMITED:
                kept = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                cache = int(kept.get("total_inactive_file" if kinds else "inactive_file", 0))
                yield int(words) - int((folder / usage).read_text()) + cache


def settings(memory_options: Mapping[str, tuple]) -> Iterator[dict[str, Any]]:
    """The options of ``Algorithm.memory_options`` to try, from the most memory to the least.

    They are each value of the first option, then, with its last, each of the second, and so on.

    Args:
      memory_options: values by option.

    Yields:
      Options, those that need most memory first.
    """
    options = {name: values[0] for name, values in memory_options.items()}
    yield dict(options)
    for name, values in memory_options.items():
        for value in values[1:]:
            options[name] = value
            yield dict(options)


def size(count: float) -> str:
    """Bytes in words: ``312 MB``.

    Args:
      count: of bytes.

    Returns:
      Text.
    """
    for unit, one in (("GB", 1e9), ("MB", 1e6)):
        if count >= one:
            return f"{count / one:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
