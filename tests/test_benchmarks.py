"""Every command that a stored result names runs, at no size, and its rows are such as the tables show."""

import importlib
import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

os.environ["METARL_JAX_BENCHMARKS"] = "smoke"  # before any benchmark is imported: sizes are set then
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import record  # noqa: E402
import tables  # noqa: E402


def jobs() -> list[str]:
    """Commands of stored rows; seeds and sizes are those of that day, so they go."""
    stored = (row for file in tables.RESULTS.glob("*.json") for row in tables.read(file))
    known = {re.sub(r" --(seeds|steps|runs|seed)( \d+)+", "", row["command"]) for row in stored}
    return sorted(known)


@pytest.mark.parametrize("job", jobs())
def test_the_command_of_a_result_runs(job, monkeypatch, capsys):
    python, script, *arguments = shlex.split(job)
    assert python == "python"
    recorded = []
    monkeypatch.chdir(ROOT / "benchmarks")
    write = record.record
    for name in ("quality", "speed", "memories", "meta_gradients", "resume"):
        if name in sys.modules or name == Path(script).stem:
            monkeypatch.setattr(importlib.import_module(name), "record", lambda *x: (write(*x), recorded.append(x)))
    importlib.import_module(Path(script).stem).main([*arguments, "--smoke"])
    assert recorded and all(rows for _, rows in recorded)
    for row in json.loads((record.RESULTS / f"{recorded[0][0]}.json").read_text()):
        assert set(row) == set(tables.FIELDS)
