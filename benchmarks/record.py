"""Results are data: one JSON file a table, a row a figure, written by the benchmarks and by nothing else."""

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import jax

from metarl_jax.files import versions

RESULTS = Path(__file__).resolve().parent / "results"


def record(table: str, rows: list[dict[str, Any]]) -> None:
    """Puts rows into ``results/<table>.json`` in place of those that the same job left there, and prints them.

    A row has ``row, value, spread, bar, holds, seeds, seconds, command``; device, versions and commit are added here.
    """
    path = RESULTS / f"{table}.json"
    jobs = {job_of(one) for one in rows}
    before = json.loads(path.read_text()) if path.exists() else []
    known = {old["row"]: old for old in before if job_of(old) not in jobs}
    common = {"device": device(), "versions": versions(), "commit": commit()}
    for one in rows:
        known[one["row"]] = {**one, **common}
        print(
            f"{one['row']:<58} {show(one['value']):>12}   bar {show(one['bar']):>9}   {says(one['holds'])}", flush=True
        )
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(list(known.values()), indent=1) + "\n")


def job_of(row: dict[str, Any]) -> str:
    """Its command, whatever the seeds."""
    return row["command"].partition(" --seeds")[0]


def row(name: str, value: Any, spread: Any = None, bar: float | None = None, sign: int = 1) -> dict[str, Any]:
    """``bar``: the least that ``value`` may be, or the most (``sign`` -1)."""
    holds = None if bar is None else bool(sign * value >= sign * bar)
    return dict(row=name, value=value, spread=spread, bar=bar, holds=holds, seeds=None)


def trained(job: str, seeds: list[int], seconds: list[float]) -> dict[str, Any]:
    """What the rows of a job of ``quality`` have in common."""
    command = f"python benchmarks/quality.py {job} --seeds {' '.join(map(str, seeds))}"
    return dict(seeds=seeds, seconds=seconds, command=command)


def says(holds: bool | None) -> str:
    return "" if holds is None else "holds" if holds else "DOES NOT HOLD"


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
    written = ("tasks/references.json", "optimizers/shipped", "rules/shipped")  # by benchmarks themselves
    changed = git("status", "--porcelain", "metarl_jax", *(f":!metarl_jax/{path}" for path in written))
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


class Clock:
    """``with Clock() as clock: ...`` then ``clock.seconds``."""

    def __enter__(self) -> "Clock":
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started
