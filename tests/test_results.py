"""Rows of results: intervals of comparisons, what holds, seeds that are not reported, settings chosen in two rounds."""

import json

import jax
import numpy as np
import pytest
from scipy import stats

from benchmarks import choosing, intervals, record, tables
from metarl_jax.records import ConfigError

STORED = [row for file in sorted(tables.RESULTS.glob("*.json")) for row in tables.read(file)]
ACCEL, UNIFORM = [0.38, 0.15, 0.32, 0.39, 0.19], [0.08, 0.22, 0.1, 0.15, 0.27]  # CVaR of small mazes, five seeds


def test_an_interval_ends_where_a_paired_t_test_does():
    ours, theirs = np.random.default_rng(0).normal([[3.0], [2.0]], 0.3, (2, 7))
    for end in intervals.ratio_interval(ours, theirs):
        assert stats.ttest_rel(ours, end * theirs).pvalue == pytest.approx(0.05)
    for end in intervals.ratio_interval(ours, np.full(7, 2.0)):
        assert stats.ttest_1samp(ours, 2.0 * end).pvalue == pytest.approx(0.05)
    low, high = stats.t.interval(0.95, 6, ours.mean(), stats.sem(ours))
    assert intervals.mean_interval(ours) == pytest.approx((low, high))


def test_intervals_of_ratios_cover():
    random, covered = np.random.default_rng(1), 0
    for _ in range(2000):
        luck = random.normal(0.0, 0.5, 5)  # a seed's, of both
        ours, theirs = 2.4 + 1.2 * luck + random.normal(0.0, 0.3, 5), 2.0 + luck + random.normal(0.0, 0.2, 5)
        found = intervals.ratio_interval(ours, theirs)
        covered += found is None or found.low <= 1.2 <= found.high
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_no_ratio_can_be_ruled_out_of_one_seed_or_over_nothing():
    assert intervals.ratio_interval(np.array([2.0]), np.array([1.0])) is None
    assert intervals.ratio_interval(np.array([2.0, 3.0, 2.5]), np.array([1.0, -1.0, 0.2])) is None
    assert record.compared("one seed", [2.0], [1.0], at_least=1.0)["holds"] is False


def test_a_comparison_holds_by_its_interval_not_by_its_value():
    made = record.compared("accel over uniform", ACCEL, UNIFORM, at_least=1.0)
    assert made["value"] == pytest.approx(1.744, abs=1e-3) and made["holds"] is False
    assert stats.ttest_rel(ACCEL, UNIFORM).pvalue > 0.05
    assert made["interval"][0] < 1.0 and made["interval_kind"] == intervals.PAIRED and made["direction"] == "at least"
    better = record.compared("better", [2.0, 2.1, 2.2], [1.0, 1.0, 1.1], at_least=1.8)
    assert better["holds"] and better["interval"][0] >= 1.8
    fewer = record.compared("fewer steps", [2.0, 2.1, 2.2], [3.0, 3.1, 3.4], at_most=0.75)
    assert fewer["holds"] and 0.65 < fewer["interval"][1] <= 0.75 and fewer["direction"] == "at most"
    assert not record.compared("not few enough", [2.0, 2.1, 2.2], [3.0, 3.1, 3.4], at_most=0.66)["holds"]
    gain = record.gained("gain", [1.0, 1.2, 1.4], 1.0, "return", at_least=0.0)
    assert gain["value"] == pytest.approx(0.2) and gain["holds"] is False


def test_seeds_that_settings_were_chosen_on_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    common = dict(seconds=[1.0, 1.0], command="python -m benchmarks.quality job --seeds 5 6")
    made = record.seeded("score", [1.0, 2.0], "share", at_least=1.0)
    with pytest.raises(ConfigError, match=r"seeds=\[6\]: settings of 'score' were chosen on them"):
        record.record("quality", [made | common | dict(seeds=[5, 6], chosen_on=[6, 7])])
    assert not list(tmp_path.iterdir())
    record.record("quality", [made | common | dict(seeds=[5, 6], chosen_on=[7])])
    (stored,) = tables.read(tmp_path / "quality.json")
    assert stored["holds"] and stored["interval"] == [1.0, 2.0] and stored["per_seed"] == [1.0, 2.0]


def test_settings_are_chosen_by_two_rounds_on_lives_apart():
    asked: list[tuple[int, np.ndarray]] = []

    def score(keys, setting):
        asked.append((setting["x"], np.asarray(jax.random.key_data(keys))))
        few = len(keys) == 3
        return {True: {0: np.nan, 1: 5.0, 2: 4.0, 3: 1.0}, False: {1: 2.0, 2: 3.0}}[few][setting["x"]]

    rounds = choosing.Rounds(first=3, final=7, finalists=2)
    found = choosing.choose([dict(x=x) for x in range(4)], score, rounds)
    assert found.setting == dict(x=2)  # not 1, which was best in the first round
    told = dict(setting=dict(x=2), of=4, rounds=dict(first=3, final=7, finalists=2), score=3.0)
    assert found.told == told
    assert [(x, len(keys)) for x, keys in asked] == [(0, 3), (1, 3), (2, 3), (3, 3), (1, 7), (2, 7)]
    reported = [np.asarray(jax.random.key_data(choosing.tested_on(seed))) for seed in (200, 201)]
    lives = np.concatenate([asked[0][1], asked[-1][1], *reported])
    assert len(np.unique(lives, axis=0)) == len(lives)


@pytest.mark.parametrize("row", STORED, ids=lambda row: row["row"])
def test_a_stored_row_says_what_it_is(row):
    assert row["unit"]
    assert (row["bar"] is None) == (row["direction"] is None)
    assert row["direction"] in (None, "at least", "at most")
    assert (row["interval"] is None) == (row["interval_kind"] is None)
    assert row["interval"] is None or row["interval"][0] <= row["value"] <= row["interval"][1]
    learned = (
        "benchmarks.quality" in row["command"] and "planners" not in row["command"]
    ) or "benchmarks.memories maze" in row["command"]
    assert learned == (row["seeds"] is not None) == (row["chosen_on"] is not None)
    if row["holds"]:
        assert not set(row["seeds"] or ()) & set(row["chosen_on"] or ()) or row["unit"] == "minutes"
    if row["against"] is not None and row["interval_kind"] != intervals.DIFFERENCE:
        again = record.compared(row["row"], row["per_seed"], row["against"])
        assert again["interval"] == pytest.approx(row["interval"]) and again["value"] == pytest.approx(row["value"])
    if row["against"] is not None and row["holds"]:
        low, high = row["interval"]
        assert low >= row["bar"] if row["direction"] == "at least" else high <= row["bar"]


def test_units_of_minutes_are_minutes():
    for row in STORED:
        if row["unit"] == "minutes" and isinstance(row["seconds"], list):
            longest = max(row["per_seed"])
            assert longest == pytest.approx(max(row["seconds"]) / 60, rel=0.02), row["row"]
    json.dumps(STORED, allow_nan=False)
