"""The README tells the truth: its programs run, its table is what was measured, its names exist."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import tables
from metarl_jax import algorithms, curricula, tasks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


ROW = {
    "row": "RL^2 | bandits",
    "value": 6.6213,
    "unit": "return",
    "interval": [6.5, 6.7],
    "interval_kind": "seeds: lowest and highest",
    "bar": 6.61,
    "direction": "at least",
    "holds": True,
    "per_seed": [6.5, 6.6639, 6.7],
    "against": None,
    "parts": {"ours": 1.0, "peer's": 2.0},
    "settings": None,
    "note": None,
    "seeds": [0, 1, 2],
    "chosen_on": [7],
    "seconds": 130.0,
    "command": "python -m benchmarks.quality --only bandit",
    "device": "2 CPU cores",
    "versions": {"jax": "1.2"},
    "commit": "0123456789abcdef",
}


def test_results_are_the_recorded_ones():
    assert tables.rewritten(README, tables.tables(tables.RESULTS)) == README, "run python -m benchmarks.tables"


def test_tables_show_every_row(tmp_path):
    assert tables.tables(tmp_path) == f"{tables.NOTHING}\n"
    other = dict(holds=None, interval=None, parts=None, seeds=[0, 1], seconds=9.0, direction="at most", note="again")
    (tmp_path / "quality.json").write_text(json.dumps([ROW, ROW | {"holds": False}, ROW | other | {"commit": "fe"}]))
    text = tables.tables(tmp_path)
    interval, parts = "6.5 to 6.7 (seeds: lowest and highest)", "ours 1, peer's 2"
    assert f"| RL^2 \\| bandits | 6.621 | return | {interval} | {parts} | at least 6.61 | yes | 3 | 2.2 min |" in text
    assert f"| {interval} | {parts} | at least 6.61 | **no** | 3 |" in text
    assert "| RL^2 \\| bandits (again) | 6.621 | return |  |  | at most 6.61 | not known | 2 | 9 s |" in text
    assert text.startswith("### Quality\n\n| what |")
    assert text.endswith("2 CPU cores, jax 1.2, at 0123456789ab, fe\n")
    once = tables.rewritten(README, text)
    assert tables.rewritten(once, text) == once
    assert tables.rewritten(once, tables.tables(tables.RESULTS)) == README


def test_wrong_results_are_named(tmp_path):
    (tmp_path / "speed.json").write_text(json.dumps([{k: v for k, v in ROW.items() if k != "bar"}]))
    with pytest.raises(ValueError, match=r"speed.json, row 0: lacks bar"):
        tables.tables(tmp_path)
    (tmp_path / "speed.json").write_text(json.dumps([ROW | {"spread": [1, 2]}]))
    with pytest.raises(ValueError, match=r"speed.json, row 0: has unknown spread"):
        tables.tables(tmp_path)
    with pytest.raises(ValueError, match="once each"):
        tables.rewritten("no markers", "")


def test_every_name_is_in_the_tables():
    for name in (*tasks.REGISTRY, *algorithms.REGISTRY, *curricula.REGISTRY):
        assert f"`{name}`" in README, f"the README's tables lack {name}"


def test_environment_of_ones_own_is_short_and_runs(tmp_path):
    (program,) = (text for text in PROGRAMS if "from_gymnax" in text)
    assert len(program.splitlines()) < 20
    small = re.sub(r"num_updates=\d+, num_tasks=\d+", "num_updates=2, num_tasks=8", program)
    small = re.sub(r"num_tasks=100\b", "num_tasks=4", small)
    done = run(small, tmp_path)
    assert "rl2 on pendulums" in done.stdout
    assert (tmp_path / "runs" / "pendulums" / "report.json").exists()


@pytest.mark.slow
def test_tasks_are_measured_and_agents_tested_by_name(tmp_path):
    (program,) = (text for text in PROGRAMS if "maze_names" in text)
    done = run(program.replace("num_updates=40, num_tasks=64", "num_updates=2, num_tasks=8"), tmp_path)
    assert "distinct=1000" in done.stdout and "'labyrinth-upside-down'" in done.stdout


def test_a_set_of_tasks_is_frozen_in_a_file(tmp_path):
    (program,) = (text for text in PROGRAMS if "save_tasks" in text)
    done = run(f"{program.replace('10_000', '20')}\nprint(held_out.tasks.walls.shape)", tmp_path)
    assert "(20, 13, 13)" in done.stdout


def test_first_example_is_short_and_runs(tmp_path):
    (program,) = (text for text in PROGRAMS if "maze_100" in text)
    assert len(program.splitlines()) <= 12
    small = program.replace("maze_100()", "gridnavi(size=3, num_episodes=2)").replace("task_index=50", "task_index=1")
    small = small.replace("memory_size=128", "memory_size=8").replace("num_updates=400", "num_updates=2, num_tasks=8")
    done = run(small, tmp_path)
    assert "rl2 on gridnavi" in done.stdout
    assert (tmp_path / "report.png").exists()
    assert (tmp_path / "trial.gif").exists()


def test_the_learned_optimiser_takes_three_lines(tmp_path):
    (program,) = (text for text in PROGRAMS if "optimizers.load" in text)
    assert len(program.splitlines()) == 3
    given = "import jax.numpy as jnp, metarl_jax as mrl\nparams, gradients = {'w': jnp.ones(3)}, {'w': -jnp.ones(3)}\n"
    done = run(f"{given}{program}\nprint((updates['w'] > 0).all())", tmp_path)
    assert "True" in done.stdout


def test_a_rule_is_learned_in_several_distributions(tmp_path):
    (program,) = (text for text in PROGRAMS if "also=" in text)
    small = program.replace("life=60", "life=10").replace("num_tasks=16", "num_tasks=2")
    done = run(small.replace("num_updates=100", "num_updates=2"), tmp_path)
    assert re.search(r"^\[\S+\] \[\S+\]$", done.stdout, re.MULTILINE)


def test_the_walking_machine_moves(tmp_path):
    (program,) = (text for text in PROGRAMS if "walkers.half_cheetah" in text)
    done = run(f"{program}\nprint(motion.velocity.shape)", tmp_path)
    assert "(9,)" in done.stdout


def run(program: str, folder: Path) -> subprocess.CompletedProcess:
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=folder, env=os.environ | paths, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done
