"""Results are data: one JSON file a table, a row a figure, written by the benchmarks and by nothing else.

A row has the fields of ``tables.FIELDS``; ``row``, ``seeded``, ``compared`` and ``gained`` make them. ``bar`` has a
``direction``, ``at least`` or ``at most``. A row that compares two methods has an interval over seeds, and ``holds``
where the interval's nearer end passes the bar; any other where the value does. Seeds that settings were chosen on
(``chosen_on``) are not reported: ``record`` refuses them.
"""

import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import intervals
from benchmarks.sizes import SMOKE
from benchmarks.tables import AT_LEAST, AT_MOST, FIELDS
from metarl_jax.config import check
from metarl_jax.storage.files import versions

Floats = Sequence[float] | np.ndarray


def written_to(folder: Path) -> Path:
    """``folder``, but with ``--smoke`` one of its own that nobody looks at."""
    return Path(tempfile.mkdtemp(prefix="benchmarks-")) if SMOKE else folder


RESULTS = written_to(Path(__file__).resolve().parent / "results")


def record(table: str, rows: list[dict[str, Any]]) -> None:
    """Puts rows into ``results/<table>.json`` in place of those that the same job left there, and prints them.

    ``seconds``, ``command`` and, of what is learned, ``seeds`` and ``chosen_on`` are the caller's; device, versions and
    commit are added here.

    Raises:
      ConfigError: where a row's settings were chosen on one of its seeds.
    """
    path = RESULTS / f"{table}.json"
    jobs = {job_of(one) for one in rows}
    before = json.loads(path.read_text()) if path.exists() else []
    known = {old["row"]: old for old in before if job_of(old) not in jobs}
    common = {"device": device(), "versions": versions(), "commit": commit()}
    for one in rows:
        made = {field: (one | common)[field] for field in FIELDS}
        check_seeds(made["row"], made["seeds"], made["chosen_on"])
        known[made["row"]] = made
        bar = "" if made["bar"] is None else f"{made['direction']} {show(made['bar'])}"
        print(f"{made['row']:<58} {show(made['value']):>12} {made['unit']}   {bar:>16}   {says(made)}", flush=True)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(list(known.values()), indent=1) + "\n")


def check_seeds(name: str, seeds: Sequence[int] | None, chosen_on: Sequence[int] | None) -> None:
    """Raises ConfigError where settings were chosen on a seed that is to be reported."""
    shared = sorted(set(seeds or ()) & set(chosen_on or ()))
    fix = f"settings of {name!r} were chosen on them, so they cannot be reported: take others"
    check(not shared, "seeds", shared, fix)


def job_of(row: dict[str, Any]) -> str:
    """Its command, whatever the seeds."""
    return row["command"].partition(" --seeds")[0]


def row(
    name: str,
    value: Any,
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    **others: Any,
) -> dict[str, Any]:
    """One number. ``others``: any of ``interval`` with ``interval_kind``, ``per_seed``, ``against``, ``parts`` (what
    the value is made of, by name), ``settings`` (what was chosen, and how), ``note``."""
    made = dict.fromkeys(FIELDS) | dict(row=name, value=value, unit=unit) | others
    made["bar"], made["direction"] = (at_least, AT_LEAST) if at_most is None else (at_most, AT_MOST)
    if made["bar"] is None:
        made["direction"] = None
    else:
        made["holds"] = passes(value, made["bar"], made["direction"])
    return made


def passes(value: float, bar: float, direction: str) -> bool:
    return bool(value >= bar if direction == AT_LEAST else value <= bar)


def seeded(
    name: str, per_seed: Floats, unit: str, of: Callable[[Sequence[float]], Any] = np.mean, **others: Any
) -> dict[str, Any]:
    """``of`` what each seed scored (the mean, or ``min`` or ``max`` where the row says so), beside the lowest and the
    highest."""
    values = [float(value) for value in per_seed]
    ends = dict(interval=[min(values), max(values)], interval_kind=intervals.SEEDS) if len(values) > 1 else {}
    return row(name, float(of(values)), unit, per_seed=values, **ends, **others)


def beside(
    name: str, ours: float, theirs: float, names: tuple[str, str], unit: str = "ratio", **others: Any
) -> dict[str, Any]:
    """The ratio of two measurements of one run, and both by name."""
    return row(name, ours / theirs, unit, parts=dict(zip(names, (ours, theirs), strict=True)), **others)


GFLOPS = "GFLOP/s", "of the matmul"


def living_and_learning(living: float, whole: float) -> dict[str, float]:
    return {"living": living, "learning": whole - living}


def slowest(name: str, seconds: Sequence[float], **others: Any) -> dict[str, Any]:
    """Minutes of the seed that took longest."""
    return seeded(name, [spent / 60 for spent in seconds], "minutes", max, **others)


def timed(rows: list[dict[str, Any]], seconds: list[float]) -> list[dict[str, Any]]:
    """With the seconds that each training took."""
    return [made | dict(seconds=seconds) for made in rows]


def compared(name: str, ours: Floats, theirs: Floats | float, unit: str = "ratio", **others: Any) -> dict[str, Any]:
    """The ratio of two methods' means over the same seeds; ``theirs`` may be one number. Of one seed nothing holds."""
    mine, other = np.asarray(ours, float), np.broadcast_to(np.asarray(theirs, float), (len(ours),))
    kind = intervals.AGAINST if np.ndim(theirs) == 0 else intervals.PAIRED
    value = float(mine.mean() / other.mean()) if other.mean() else float("nan")
    found = intervals.ratio_interval(mine, other)
    return judged(row(name, value, unit, per_seed=mine.tolist(), against=plain(theirs), **others), found, kind)


def gained(name: str, ours: Floats, theirs: Floats | float, unit: str, **others: Any) -> dict[str, Any]:
    """The mean difference of two methods over the same seeds; ``theirs`` may be one number."""
    difference = np.asarray(ours, float) - np.asarray(theirs, float)
    made = row(name, float(difference.mean()), unit, per_seed=list(map(float, ours)), against=plain(theirs), **others)
    return judged(made, intervals.mean_interval(difference), intervals.DIFFERENCE)


def judged(made: dict[str, Any], interval: intervals.Interval | None, kind: str) -> dict[str, Any]:
    """With its interval, whose nearer end is held to the bar."""
    if interval is not None:
        made |= dict(interval=list(interval), interval_kind=kind)
    if made["bar"] is not None:
        nearer = None if interval is None else interval.low if made["direction"] == AT_LEAST else interval.high
        made["holds"] = nearer is not None and passes(nearer, made["bar"], made["direction"])
    return made


def plain(x: Any) -> Any:
    return np.asarray(x, float).tolist()


def says(row: dict[str, Any]) -> str:
    return {None: "", True: "holds", False: "DOES NOT HOLD"}[row["holds"]]


def show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def device() -> str:
    kind = jax.devices()[0].device_kind
    cores = f", {len(jax.devices())} x {kind}" if kind != "cpu" else ""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{usable} CPU core{'' if usable == 1 else 's'} ({platform.machine()}){cores}"


def commit() -> str:
    """The commit measured; ``+`` where the tree held changes to the package."""
    root = Path(__file__).resolve().parents[1]
    git = lambda *words: subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout.strip()
    written = ("tasks/references.json", "learned/shipped")  # by benchmarks themselves
    changed = git("status", "--porcelain", "metarl_jax", *(f":!metarl_jax/{path}" for path in written))
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


class Clock:
    """``with Clock() as clock: ...`` then ``clock.seconds``."""

    def __enter__(self) -> "Clock":
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started
