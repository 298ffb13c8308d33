import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from metarl_jax.config import ConfigError
from metarl_jax.evaluation import format
from metarl_jax.evaluation import render as tables
from metarl_jax.evaluation import report as reports
from metarl_jax.evaluation.adaptation_test import choose, exceeds
from metarl_jax.evaluation.intervals import Estimate
from metarl_jax.evaluation.report import Report, Trials, summarize
from metarl_jax.evaluation.trials import describe, segment, windows_of
from metarl_jax.records import Reference

NAME = {"algorithm": "rl2", "tasks": "maze-100", "trial_steps": 40, "seeds": 2}


def fixed(returns: np.ndarray) -> Trials:
    """Trials whose episodes all have seven steps and all end: returns [S, N, R, E]."""
    return Trials(returns, np.full(returns.shape, 7.0), np.ones(returns.shape, bool), returns.sum(axis=-1))


def learning(seeds=2, tasks=40, trials=2, episodes=4, slope=1.0, seed=0) -> Trials:
    difficulty = np.random.default_rng(99).normal(size=(1, tasks, 1, 1))
    noise = np.random.default_rng(seed).normal(size=(seeds, tasks, trials, episodes))
    return fixed(5 + difficulty + 0.1 * noise + slope * np.arange(episodes))


def varying() -> Trials:
    """One seed, two tasks, one trial each, in trials of 10 steps: episodes end after 4 and 3, or not at all."""
    nan = np.nan
    returns = [[[[1.0, 1.0, 0.0, nan]], [[0.0, nan, nan, nan]]]]
    lengths = [[[[4.0, 3.0, 3.0, nan]], [[10.0, nan, nan, nan]]]]
    finished = [[[[True, True, False, False]], [[False, False, False, False]]]]
    return Trials(np.array(returns), np.array(lengths), np.array(finished), np.array([[[2.0], [0.0]]]))


def test_records_are_split_where_their_episodes_end():
    reward, done = np.zeros((1, 2, 1, 10)), np.zeros((1, 2, 1, 10), bool)
    reward[0, 0, 0, [3, 5]], done[0, 0, 0, [3, 6]] = 1.0, True
    for found, wanted in zip(segment(SimpleNamespace(reward=reward, done=done)), varying(), strict=True):
        np.testing.assert_array_equal(found, wanted[..., :3] if wanted.ndim == 4 else wanted)


def test_what_is_not_above_zero_has_no_share_and_does_not_exceed_it():
    optimal = Reference("optimal", "exact", np.array(2.0))
    assert describe(optimal, 1.0, varying())["share"] == 0.5
    assert describe(optimal, 0.0, varying())["share"] is None
    assert [exceeds(Estimate(1.0, low, 2.0), 0.0) for low in (0.0, 1e-9)] == [False, True]


def test_of_several_bounds_the_one_that_is_highest_on_average_is_chosen():
    low, high = Reference("optimal", "lower", np.ones(3)), Reference("optimal", "lower", np.array(2.0))
    for references in ((low, high), (high, low)):
        assert choose(references, [("optimal", "lower")]) is high


def test_the_worst_tasks_are_chosen_by_some_trials_and_counted_in_others():
    """100 tasks, two trials: of the first episode the returns are the task's number, of the last ten times as much, and
    in the trials that are counted one more, five more in the last."""
    number = np.arange(100.0)[None, :, None] + np.array([0.0, 1.0])
    last = 10 * np.arange(100.0)[None, :, None] + np.array([0.0, 5.0])
    returns = np.stack([number, last, np.full_like(number, np.nan)], axis=-1)
    finished = np.broadcast_to([True, True, False], returns.shape)
    report = summarize(*[Trials(returns, np.where(finished, 3.0, np.nan), finished, number + last)] * 2, name=NAME)
    assert report.worst == {
        "share": [0.1, 0.01],
        "trial": [4.5 + 1 + 45 + 5, 1 + 5],
        "first": [4.5 + 1, 1],
        "last": [45 + 5, 5],
    }
    once = Trials(*(x[:, :, :1] for x in (returns, np.where(finished, 3.0, np.nan), finished, number + last)))
    assert summarize(once, once, name=NAME).worst["first"] == [4.5, 0]
    never = once._replace(finished=np.zeros_like(once.finished))
    assert summarize(never, never, name=NAME).worst["last"] == [4.5, 0]  # the episode under way, the first


def test_an_agent_that_learns_within_the_trial_adapted():
    report = summarize(learning(slope=1.0), learning(slope=0.0, seed=1), name=NAME)
    assert report.adapted is True
    assert report.gain == pytest.approx(6.0, abs=0.1)
    assert report.gain_interval[0] < report.gain < report.gain_interval[1]
    assert report.verdict.startswith("adapted: ")
    np.testing.assert_allclose(np.diff(report.by_episode["return"]), 1.0, atol=0.1)
    assert report.mean == pytest.approx(learning().trial_return.mean())
    assert report.interval[0] < report.mean < report.interval[1]
    assert len(report.seed_means) == 2
    assert len(report.task_means) == 40
    assert report.quantiles[0] == min(report.task_means)


@pytest.mark.parametrize("jitter", [0.0, 1e-7])
def test_a_memoryless_agent_did_not_adapt(jitter):
    trials = learning(slope=0.0)
    control = fixed(trials.returns * (1 - jitter))
    report = summarize(trials, control)
    assert report.adapted is False
    assert report.verdict.startswith("did not adapt across episodes: ")
    assert "not distinguishable from zero" in str(report).replace("\n", " ")


def test_noise_alone_is_not_adaptation_and_harm_is_said():
    assert summarize(learning(slope=0.0, seed=1), learning(slope=0.0, seed=3)).adapted is False
    harmed = summarize(learning(slope=-1.0), learning(slope=0.0))
    assert harmed.adapted is False
    words = re.search(r": ([\d.]+) less return .*interval ([\d.]+) to ([\d.]+)", harmed.verdict)
    assert words, harmed.verdict
    cost, low, high = map(float, words.groups())
    assert 0 < low <= cost <= high  # signs agree, numbers are rounded


def test_returns_by_inner_step_are_means_of_windows_and_shares_of_the_gap():
    trials = learning(slope=1.0, episodes=6)
    returns = trials.returns.mean(axis=(0, 1, 2))
    best = np.full(6, 12.0)
    known = [Reference("optimal", "exact", 72.0, best, "known")]
    each = summarize(trials, learning(slope=0.0, episodes=6), known)
    np.testing.assert_allclose(each.by_adaptation["gap_closed"], (returns - returns[0]) / (12.0 - returns[0]))
    assert "gap closed" in str(each) and "By inner step" not in str(each)


def test_windows_are_cut_by_steps_whatever_episodes_do_in_them():
    """Seven steps, an inner step every three, episodes of up to two: the last window has one step."""
    reward = np.arange(28.0).reshape(1, 2, 2, 7)
    by_step = reward.mean(axis=(0, 1, 2))
    wanted = 2.0 * np.array([by_step[:3].mean(), by_step[3:6].mean(), by_step[6]])
    windows = windows_of(reward, steps=3, horizon=2)
    np.testing.assert_allclose(windows.reward, wanted)
    shape = (1, 2, 2, 3)
    lengths = np.broadcast_to([3.0, 3.0, 1.0], shape)  # episodes that are not the windows
    trials = Trials(np.zeros(shape), lengths, np.ones(shape, bool), reward.sum(axis=-1))
    known = [Reference("optimal", "exact", 700.0, None, "known")]
    report = summarize(trials, trials, known, windows=windows)
    told = report.by_adaptation
    np.testing.assert_allclose(told["return"], wanted)
    best = 700.0 * 2 / 7
    np.testing.assert_allclose(told["gap_closed"], (wanted - wanted[0]) / (best - wanted[0]))
    assert told["window"] == 3 and "By inner step" in str(report)


def test_a_trial_in_which_no_inner_step_fits_says_so():
    trials = learning(slope=0.0, episodes=2)
    report = summarize(trials, trials, windows=windows_of(np.ones((1, 1, 1, 10)), steps=10, horizon=5))
    assert report.adapted is False and "after 10 steps" in report.verdict


def test_one_episode_a_trial_leaves_nothing_to_compare():
    report = summarize(learning(episodes=1), learning(episodes=1, seed=3))
    assert report.adapted is None
    assert report.verdict == "one episode per trial: nothing to compare across"


def test_a_single_score_gives_no_verdict():
    report = summarize(learning(1, 1), learning(1, 1, slope=0.0))
    assert report.adapted is None
    assert report.gain_interval == [None, None]
    assert "not known" in report.verdict


def test_rounding_is_not_above_a_bound_and_no_interval_is_no_answer():
    """A reward of 0.1 in float32 is more than 0.1 in double precision by a rounding error."""
    bound = [Reference("non_adaptive", "exact", 0.4)]
    trials = fixed(np.full((3, 4, 1, 4), float(np.float32(0.1))))
    assert trials.trial_return.min() > 0.4
    assert summarize(trials, trials, bound, all_tasks=True).above_non_adaptive is False
    better = fixed(np.full((3, 4, 1, 4), 0.101))
    assert summarize(better, better, bound, all_tasks=True).above_non_adaptive is True
    one = fixed(np.full((1, 1, 1, 4), 0.2))
    report = summarize(one, one, bound, memoryless=one.trial_return - 0.1)
    assert (report.above_non_adaptive, report.adapted_within) == (None, None)


def test_lengths_of_references_are_those_of_the_trials_that_the_agent_finished():
    """Of two tasks, one trial each: the agent finished two episodes of the first and none of the second."""
    trials = varying()
    known = Reference("optimal", "exact", np.array([3.0, 1.0]), None, "", np.array([[3.0, 2.0], [9.0, 8.0]]))
    (found,) = summarize(trials, trials, [known]).references
    assert found["length_by_episode"] == [3.0, 2.0, None, None]


def test_episodes_that_vary_in_length_and_number():
    report = summarize(varying(), varying())
    assert report.by_episode["return"] == [0.5, 1.0, 0.0]
    assert report.by_episode["length"] == [4.0, 3.0, None]
    assert report.by_episode["began"] == [1.0, 0.5, 0.5]
    assert report.by_episode["finished"] == [0.5, 0.5, 0.0]
    assert "finished" in str(report)
    assert "finished" not in str(summarize(learning(), learning()))


@pytest.mark.parametrize(
    ("references", "gap_closed", "words"),
    [
        ([("optimal", "exact", 20.0)], 1 - 9 / 15, "optimal, task known, exact"),
        ([("optimal", "exact", 20.0), ("bayes", "lower", 13.0), ("bayes", "lower", 14.0)], 6 / 9, "14.00 (Bayes"),
        ([("bayes", "exact", 12.0), ("bayes", "lower", 15.0)], 6 / 7, "12.00 (Bayes-optimal, exact)"),
        ([("bayes", "upper", 12.0), ("optimal", "exact", 15.0)], 6 / 7, "upper bound"),
        ([("bayes", "exact", 12.0), ("non_adaptive", "lower", 10.0)], 0.5, "10.00 (best non-adaptive, lower bound)"),
        ([("bayes", "exact", 12.0), ("non_adaptive", "upper", 11.5)], 6 / 7, "from 5.000 (the control, memory reset)"),
        ([("bayes", "exact", 12.0), ("non_adaptive", "exact", 12.0)], None, "no gap"),
        ([("random", "exact", 1.0)], None, "no reference"),
    ],
)
def test_gap_is_between_non_adaptive_and_target(references, gap_closed, words):
    score, control = np.full((1, 3, 1, 1), 11.0), np.full((1, 3, 1, 1), 5.0)
    report = summarize(fixed(score), fixed(control), [Reference(*reference) for reference in references])
    assert report.gap_closed == pytest.approx(gap_closed)
    assert words in report.gap_note


def test_references_have_share_and_regret():
    by_task = np.linspace(10, 30, 40)
    references = [Reference("bayes", "exact", by_task, np.ones(4), "by hand"), Reference("random", "exact", -3.0)]
    report = summarize(learning(), learning(slope=0.0), references)
    first, second = report.references
    assert first["value"] == 20
    assert first["share"] == report.mean / 20
    assert first["regret"] == 20 - report.mean
    assert (first["by_episode"], first["note"]) == ([1.0] * 4, "by hand")
    assert (first["quantiles"][0], first["quantiles"][100]) == (10, 30)
    assert (second["share"], second["quantiles"]) == (None, None)


def test_saved_report_is_strict_json_and_comes_back_equal(tmp_path):
    trials = varying()
    report = summarize(
        trials, trials, [Reference("bayes", "lower", np.array([2.0, 1.0]))], name=NAME | {"n": np.int32(3)}
    )
    path = report.save(tmp_path / "run" / "report.json")
    assert "NaN" not in path.read_text()
    json.loads(path.read_text(), parse_constant=lambda token: pytest.fail(token))
    assert Report.load(path) == report
    assert [p.name for p in path.parent.iterdir()] == ["report.json"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": 1}', '{"format": 99}'])
def test_what_is_no_report_is_refused(tmp_path, text):
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ConfigError, match="evaluate again"):
        Report.load(tmp_path / "report.json")


def test_shapes_and_numbers_are_checked():
    good = learning()
    with pytest.raises(ValueError, match=r"control: want \[S, N, R, E\]"):
        summarize(good, good._replace(trial_return=good.trial_return[0]))
    with pytest.raises(ValueError, match="1 of 160 trial returns"):
        broken = good.trial_return.copy()
        broken[0, 0, 0] = np.nan
        summarize(good._replace(trial_return=broken), good)
    with pytest.raises(ValueError, match="paired"):
        summarize(good, learning(tasks=39))


def test_many_tasks_and_episodes_stay_readable_and_quick():
    report = summarize(learning(1, 3000, 1, 100), learning(1, 3000, 1, 100, slope=0.0))
    assert report.task_means is None
    assert len(report.quantiles) == 101
    rows = [int(line.split()[0]) for line in tables_after(str(report), "episode ") if line.split()[0].isdigit()]
    assert rows[:5] == [1, 2, 3, 4, 5]
    assert rows[-1] == 100
    assert len(rows) == tables.MOST_ROWS


def tables_after(text: str, start: str) -> list[str]:
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.strip().startswith(start))
    return [line for line in lines[first + 1 :] if line.strip()]


def test_printed_faces(capsys):
    report = summarize(learning(), learning(slope=0.0), [Reference("mine[b]", "exact", 30.0)], name=NAME)
    text = str(report)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 100
    for words in ("rl2 on maze-100", "trial steps 40", "mine[b]", "interquartile mean", "worst 10 % of tasks"):
        assert words in text
    report.print()
    assert "gain over it" in capsys.readouterr().out
    assert report._repr_html_().startswith("<pre") and "gain over it" in report._repr_html_()
    assert repr(report).startswith("Report(rl2 on maze-100: ")


@pytest.mark.parametrize(
    ("x", "text"),
    [(37.21429, "37.21"), (6.659988, "6.660"), (-0.506, "-0.5060"), (1928.4, "1,928"), (0.0, "0"), (-1e-9, "0"),
     (None, "-"), (-0.0005, "-0.0005"), (np.nan, "-"), (99.996, "100.00"), (123456.7, "123,457")],
)  # fmt: skip
def test_numbers_have_four_digits(x, text):
    assert format.number(x) == text


@pytest.mark.parametrize("length", [1, 11, 12, 13, 14, 50, 1000])
def test_rows_are_spread_from_first_to_last(length):
    rows = tables.spread(length)
    assert rows == sorted(set(rows))
    assert (rows[0], rows[-1], len(rows)) == (0, length - 1, min(length, tables.MOST_ROWS))


def test_plain_data():
    assert reports.plain({1: np.array([1.0, np.nan]), "b": (np.float32(2), True, None, {3}.__class__)}) == {
        "1": [1.0, None],
        "b": [2.0, True, None, "<class 'set'>"],
    }
