"""Every command that a stored result names runs, at no size, and its rows are such as the tables show."""

import functools
import importlib
import re
import shlex
from pathlib import Path

import jax
import pytest

from benchmarks import record, stepping, tables
from metarl_jax import tasks

ROOT = Path(__file__).parents[1]


FAST = (  # a few CPU seconds each with nothing compiled before; the others take up to half a minute: -m slow
    *("quality planners", "quality bandit-5x10", "quality discounting-chain", "quality maml-sparse"),
    *("quality curricula-proxies", "speed stepping", "speed training", "speed memory", "speed maze"),
    "speed optimizers",
)


def jobs() -> list:
    """Commands of stored rows; seeds and sizes are those of that day, so they go."""
    stored = (row["command"] for file in tables.RESULTS.glob("*.json") for row in tables.read(file))
    known = sorted({re.sub(r" --(seeds|steps|runs|seed)( \d+)+", "", command) for command in stored})
    return [
        job if job.removeprefix("python -m benchmarks.") in FAST else pytest.param(job, marks=pytest.mark.slow)
        for job in known
    ]


@pytest.mark.parametrize("job", jobs())
def test_the_command_of_a_result_runs(job, monkeypatch):
    python, option, module, *arguments = shlex.split(job)
    command = importlib.import_module(module)
    write, recorded = record.record, []
    monkeypatch.setattr(command, "record", lambda *rows: (write(*rows), recorded.append(rows)))
    monkeypatch.chdir(ROOT)
    command.main([*arguments, "--smoke"])
    assert (python, option) == ("python", "-m") and len(recorded) == 1
    ((table, rows),) = recorded
    stored = {row["row"]: row for row in tables.read(record.RESULTS / f"{table}.json")}
    assert rows and {row["row"] for row in rows} <= set(stored)
    for row in rows:
        assert stored[row["row"]]["unit"] and stored[row["row"]]["command"].startswith(f"{python} -m {module}")


def test_all_families_are_stepped():
    """Without compiling: an observation of any shape, actions of any kind."""
    for name, make in tasks.REGISTRY.items():
        play = lambda key, family: stepping.ours(family, 4, 2)(key)
        assert jax.eval_shape(functools.partial(play, family=make()), jax.random.key(0)).shape == (), name
