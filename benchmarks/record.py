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
    """Puts rows into ``results/<table>.json`` (a row of the same name is replaced) and prints them.

    A row has ``row, value, spread, bar, holds, seeds, seconds, command``; device, versions and commit are added here.
    """
    path = RESULTS / f"{table}.json"
    known = {row["row"]: row for row in json.loads(path.read_text())} if path.exists() else {}
    common = {"device": device(), "versions": versions(), "commit": commit()}
    for row in rows:
        known[row["row"]] = {**row, **common}
        print(
            f"{row['row']:<58} {show(row['value']):>12}   bar {show(row['bar']):>9}   {says(row['holds'])}", flush=True
        )
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(list(known.values()), indent=1) + "\n")


def says(holds: bool | None) -> str:
    return "" if holds is None else "holds" if holds else "DOES NOT HOLD"


def show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def device() -> str:
    kind = jax.devices()[0].device_kind
    cores = f", {len(jax.devices())} x {kind}" if kind != "cpu" else ""
    return f"{os.cpu_count()} CPU cores ({platform.machine()}){cores}"


def commit() -> str:
    """The commit measured; ``+`` where the tree held changes to the package."""
    root = Path(__file__).resolve().parents[1]
    git = lambda *words: subprocess.run(["git", *words], cwd=root, capture_output=True, text=True).stdout.strip()
    return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "metarl_jax") else "")


class Clock:
    """``with Clock() as clock: ...`` then ``clock.seconds``."""

    def __enter__(self) -> "Clock":
        self.started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.started
