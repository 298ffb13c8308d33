"""Metrics on disk and progress on the screen."""

import io
import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from metarl_jax.storage import metrics as logging
from metarl_jax.storage.metrics import LogError, MetricsLog, Progress, read_metrics


def test_round_trip_keeps_every_digit(tmp_path):
    values = [0.1, np.float32(0.1), 1 / 3, -0.0, 1e-300, math.nan, math.inf, -math.inf]
    with MetricsLog(tmp_path / "run" / "metrics.jsonl") as log:
        log.append({"update": i, "loss": v, "ok": True, "by_seed": jnp.array([v, 1.0])} for i, v in enumerate(values))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    strict = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert strict[5]["loss"] == "NaN" and strict[7]["by_seed"] == ["-Infinity", 1.0]
    metrics = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert metrics["update"].dtype.kind == "i" and metrics["ok"].all()
    assert metrics["loss"].tobytes() == np.array(values, np.float64).tobytes()
    assert metrics["by_seed"].shape == (8, 2) and np.isnan(metrics["by_seed"][5, 0])


def test_missing_values_and_text(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.append([{"a": 1, "v": [1.0, 2.0]}, {"b": "word"}, {"a": 3}])
    metrics = read_metrics(path)
    np.testing.assert_array_equal(metrics["a"], [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(metrics["v"], [[1.0, 2.0], [np.nan] * 2, [np.nan] * 2])
    assert list(metrics["b"]) == [None, "word", None]


def test_resume_drops_what_came_after_the_checkpoint(tmp_path):
    straight, resumed = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    records = [{"update": i, "loss": np.float32(i) / 7} for i in range(10)]
    with MetricsLog(straight) as log:
        log.append(records)
    with MetricsLog(resumed) as log:
        log.append(records[:4])
        offset = log.offset()
        assert offset == resumed.stat().st_size
        log.append(records[4:7])
    with open(resumed, "a") as file:
        file.write('{"update": 7, "lo')  # killed in the middle of a line
    assert len(read_metrics(resumed)["update"]) == 7
    with MetricsLog(resumed, offset) as log:
        log.append(records[4:])
    assert resumed.read_bytes() == straight.read_bytes()
    with pytest.raises(ValueError, match=r"has \d+ bytes, the checkpoint was saved when it had 99999"):
        MetricsLog(resumed, 99999)
    assert resumed.read_bytes() == straight.read_bytes()


def test_garbage_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for bad in ("{", "3", "[]"):
        path.write_text(f'{{"a":1}}\n{bad}\n{{"a":2}}\n')
        with pytest.raises(ValueError, match="line 2 is not a record"):
            read_metrics(path)
    path.write_text("")
    assert read_metrics(path) == {}
    with pytest.raises(LogError, match="is missing: train first"):
        read_metrics(tmp_path / "none.jsonl")


class Clock:
    """Time that passes only when told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(logging.time, "monotonic", lambda: self.now)


def test_plain_lines(monkeypatch):
    clock, file = Clock(monkeypatch), io.StringIO()
    with Progress(100, done=20, file=file, every=5.0) as progress:
        for seconds in (60.0, 2.0, 2.0, 2.0):  # the first compiles
            clock.now += seconds
            progress.advance(10, 30_000, 1.25)
        progress.message("checkpoint saved [here]")
        clock.now += 0.5
        progress.advance(40, 120_000, math.nan)
    lines = file.getvalue().splitlines()
    assert lines[0].startswith("30/100 updates | 500 steps/s | return 1.250 | ")
    assert lines[1] == "60/100 updates | 15k steps/s | return 1.250 | 0:08 left"
    assert lines[2] == "checkpoint saved [here]"
    assert lines[3].startswith("100/100 updates") and "return" not in lines[3] and len(lines) == 4


def test_rates_leave_out_what_an_earlier_process_did_and_the_first_chunk(monkeypatch):
    clock, file = Clock(monkeypatch), io.StringIO()
    with Progress(1000, file=file, every=0.0) as progress:
        clock.now += 3.0
        progress.advance(500, 0, math.nan)
        for seconds in (60.0, 1.0, 1.0, 4.0):
            clock.now += seconds
            progress.advance(10, 1000, 0.0)
    lines = file.getvalue().splitlines()
    assert lines[0] == "500/1,000 updates"
    assert [line.split(" | ")[1] for line in lines[2:]] == ["1k steps/s", "1k steps/s", "500 steps/s"]


def test_quiet(monkeypatch, capsys):
    with Progress(10, quiet=True) as progress:
        progress.advance(10, 100, 0.0)
        progress.message("hello")
    assert capsys.readouterr() == ("", "") and progress.done == 10


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    file = Terminal()
    with Progress(4, file=file) as progress:
        progress.advance(2, 1000, 0.5)
        progress.message("a message")
        progress.advance(2, 1000, 0.75)
    text = file.getvalue()
    assert "4/4 updates" in text and "return 0.750" in text and "a message" in text and "\x1b[" in text


def test_words():
    assert [logging.short(x) for x in (3.0, 1234.0, 2.5e6, 3e9)] == ["3", "1.23k", "2.5M", "3G"]
    assert [logging.clock(x) for x in (-1.0, 59.6, 3723.0)] == ["0:00", "1:00", "1:02:03"]
