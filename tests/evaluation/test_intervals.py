"""Intervals that hold: simulated under the null, against closed forms, and of what is random."""

import math

import numpy as np
import pytest
import scipy.stats

from metarl_jax.evaluation.intervals import interquartile_mean, mean_interval, power, ratio_values, scope

DRAWS = 4000
NOISE = {  # differences of returns of the same distribution, which is the null: symmetric
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "coins": lambda rng, shape: rng.integers(0, 2, shape) - rng.integers(0, 2, shape) * 1.0,
    "rare": lambda rng, shape: (rng.random(shape) < 0.1) * 1.0 - (rng.random(shape) < 0.1),
    "heavy": lambda rng, shape: rng.pareto(1.5, shape) - rng.pareto(1.5, shape),
}
CELLS = [  # seeds, tasks, trials, whether these are all tasks
    (1, 2, 2, True), (1, 4, 8, True), (1, 2, 60, True), (1, 12, 1, True), (2, 2, 1, True), (3, 4, 2, True),
    (5, 2, 2, True), (10, 2, 1, True), (1, 2, 1, False), (1, 10, 2, False), (1, 60, 1, False), (2, 2, 1, False),
    (2, 20, 1, False), (3, 6, 2, False), (5, 10, 1, False), (10, 10, 1, False), (2, 1, 9, False),
]  # fmt: skip


def null(rng, kind, shape, all_tasks, seeds_differ, tasks_differ):
    """Differences whose mean over what is random is 0: ``[S, N, R, DRAWS]``, and the standard error of their mean."""
    seeds, tasks, _ = shape
    own = NOISE[kind](rng, (*shape, DRAWS))
    by_seed = seeds_differ * (seeds > 1) * rng.standard_normal((seeds, 1, 1, DRAWS))
    by_task = tasks_differ * rng.standard_normal((1, tasks, 1, DRAWS)) * (tasks > 1)
    if all_tasks:  # they differ, and what is asked about is their mean
        by_task = by_task - by_task.mean(axis=1, keepdims=True)
    x = own + by_seed + by_task
    return x, x.mean(axis=(0, 1, 2)).std()


@pytest.mark.parametrize("differ", [(0.0, 0.0), (1.0, 1.0), (0.3, 1.0)], ids=str)
@pytest.mark.parametrize("kind", NOISE)
def test_false_alarms_are_at_most_one_and_a_half_times_the_nominal_ones(kind, differ):
    rng = np.random.default_rng(7)
    for *shape, all_tasks in CELLS:
        x, _ = null(rng, kind, shape, all_tasks, *differ)
        found = mean_interval(x, all_tasks=all_tasks)
        share = (found.low > 1e-9).mean()
        assert share <= 1.5 * 0.025 + 3 * math.sqrt(0.025 * 0.975 / DRAWS), (shape, all_tasks, share)


def test_ten_clusters_find_an_effect_of_four_standard_errors():
    rng = np.random.default_rng(8)
    cells = [
        (10, 2, 1, True),
        (10, 6, 4, True),
        (1, 5, 3, True),
        (1, 10, 1, False),
        (1, 40, 2, False),
        (10, 12, 1, False),
    ]
    for *shape, all_tasks in cells:
        for differ in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)):
            x, error = null(rng, "normal", shape, all_tasks, differ[0], differ[1] * (not all_tasks))
            found = mean_interval(x + 4 * error, all_tasks=all_tasks)
            assert (found.low > 0).mean() > 0.9, (shape, all_tasks)


def test_power_is_what_is_simulated():
    rng = np.random.default_rng(9)
    for seeds in (2, 3, 5, 10):
        x = rng.standard_normal((seeds, 1, 1, 20_000)) + 4 / math.sqrt(seeds)
        found = mean_interval(x, all_tasks=True)
        assert (found.low > 0).mean() == pytest.approx(power(seeds - 1), abs=0.012)
    assert power(0) == 0.0


def test_over_seeds_or_over_tasks_it_is_students_interval():
    x = np.random.default_rng(1).normal(3.0, 2.0, (4, 5, 3))
    for scores, all_tasks, clusters in ((x, True, x.mean(axis=(1, 2))), (x[:1], False, x[0].mean(axis=1))):
        found = mean_interval(scores, all_tasks=all_tasks)
        half = scipy.stats.t.ppf(0.975, len(clusters) - 1) * scipy.stats.sem(clusters)
        assert found == pytest.approx((clusters.mean(), clusters.mean() - half, clusters.mean() + half))


def test_over_trials_it_is_welchs_interval():
    """Of two tasks: the mean of ``a`` and ``b`` is half the difference of ``a`` and ``-b``, of unequal variances."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(1.0, 1.0, 7), rng.normal(2.0, 4.0, 7)
    found = mean_interval(np.stack([a, b])[None], all_tasks=True)
    welch = scipy.stats.ttest_ind(a, -b, equal_var=False).confidence_interval()
    assert found[1:] == pytest.approx((welch.low / 2, welch.high / 2))
    found = mean_interval(np.stack([a, np.full(7, 2.0)])[None], all_tasks=True)  # one task alone is random
    assert found.high - found.mean == pytest.approx(scipy.stats.t.ppf(0.975, 6) * scipy.stats.sem(a) / 2)


@pytest.mark.parametrize(("seeds", "tasks"), [(4, 5), (10, 12)])
def test_over_seeds_and_tasks_it_is_that_of_the_mean_squares(seeds, tasks):
    """The two-way layout with one value per cell; each mean square has the quantile of its degrees of freedom."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(seeds, 1)) + rng.normal(size=(1, tasks)) + rng.normal(size=(seeds, tasks))
    squares = np.array([tasks * x.mean(axis=1).var() * seeds, seeds * x.mean(axis=0).var() * tasks])
    freedom = np.array([seeds - 1, tasks - 1, (seeds - 1) * (tasks - 1)])
    of_seeds, of_tasks, rest = np.append(squares, x.var() * x.size - squares.sum()) / freedom / x.size
    t = scipy.stats.t.ppf(0.975, freedom)
    if seeds < 10:  # the residual is hardly known: as much is taken off as with many degrees of freedom
        t[2] = scipy.stats.norm.ppf(0.975)
        square = t[0] ** 2 * of_seeds + t[1] ** 2 * of_tasks - t[2] ** 2 * rest
    else:
        square = t[0] ** 2 * (of_seeds - rest) + t[1] ** 2 * (of_tasks - rest) + t[2] ** 2 * rest
    assert min(of_seeds, of_tasks) > rest
    found = mean_interval(x[:, :, None], all_tasks=False)
    assert found.high - found.mean == pytest.approx(math.sqrt(square), rel=1e-6)


def test_tasks_that_are_all_tested_are_not_random():
    """Two tasks that differ by 100: drawn, nothing is known of others; a whole set, they are known as trials are."""
    x = np.array([0.0, 100.0])[None, :, None] + np.random.default_rng(2).normal(size=(1, 2, 50))
    drawn, whole = (mean_interval(x, all_tasks=all_tasks) for all_tasks in (False, True))
    assert drawn.high - drawn.low > 1000
    assert whole.high - whole.low == pytest.approx(2 * 1.98 * math.sqrt(2 / 50) / 2, rel=0.2)


def test_equal_values_are_no_certainty_unless_they_are_many():
    few, many = np.ones((2, 2, 1)), np.ones((2, 3, 1))
    assert np.isnan(mean_interval(few, all_tasks=True).low)
    assert mean_interval(many, all_tasks=True) == (1.0, 1.0, 1.0)
    assert mean_interval(0 * few, all_tasks=True) == (0.0, 0.0, 0.0)
    halves = np.array([[1.0, 0.0], [0.0, 1.0]])[:, :, None]  # seeds agree by chance: trials do not
    assert mean_interval(halves, all_tasks=True).low < 0
    assert np.isnan(mean_interval(np.ones((1, 1, 1)), all_tasks=False).low)


def test_episodes_that_few_trials_begin_are_known_as_well_as_by_these():
    x = np.random.default_rng(6).normal(size=(1, 500, 3, 3))
    x[:, 400:, :, 1], x[..., 2] = np.nan, np.nan
    found = mean_interval(x, all_tasks=False, mask=np.isfinite(x))
    means = x[0, :400, :, 1].mean(axis=-1)
    wanted = scipy.stats.t.interval(0.95, 399, means.mean(), scipy.stats.sem(means))
    assert (found.low[1], found.high[1]) == pytest.approx(wanted, abs=1e-3)
    assert np.isnan([found.mean[2], found.low[2], found.high[2]]).all()


def test_the_mean_of_clusters_of_unequal_size_is_covered():
    """Easy tasks are reached more often: P(reached) = p, and the return is p plus noise; its mean is 2/3."""
    rng, hits, repeats = np.random.default_rng(7), [], 1000
    for _ in range(repeats):
        p = rng.random((1, 80, 1, 1))
        mask = rng.random((1, 80, 5, 1)) < p
        found = mean_interval(p + 0.3 * rng.normal(size=mask.shape), all_tasks=False, mask=mask)
        hits.append(found.low[0] <= (1 / 3) / (1 / 2) <= found.high[0])
    assert 0.93 <= np.mean(hits) <= 0.97


def test_a_share_is_covered_whose_ends_are_known_for_each_task():
    """Score, base and target all grow with the task; the share is 0.8 of each gap, and noise."""
    rng, hits = np.random.default_rng(10), []
    for _ in range(2000):
        width = 1 + 9 * rng.random((1, 30, 1))
        values = ratio_values(0.8 * width + rng.normal(size=width.shape), width)
        found = mean_interval(values, all_tasks=False)
        hits.append((found.low > 0.8, found.high < 0.8))
    assert (np.mean(hits, axis=0) < 0.035).all() and np.mean(hits) > 0.018
    assert ratio_values([1.0, 2.0], [2.0, 4.0]).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("shape", [(1, 8), (1, 40), (4, 10)])
def test_the_interquartile_mean_is_covered(shape):
    rng, hits = np.random.default_rng(11), []
    for _ in range(1500):
        x = rng.standard_normal((*shape, 1)) + (shape[0] > 1) * rng.standard_normal((shape[0], 1, 1))
        found = interquartile_mean(x, all_tasks=False)
        hits.append((found.low > 0, found.high < 0))
    assert found.mean == pytest.approx(scipy.stats.trim_mean(x.ravel(), 0.25))
    assert (np.mean(hits, axis=0) < 1.8 * 0.025).all()


@pytest.mark.parametrize("tasks", [8, 20])
def test_of_draws_the_interquartile_mean_has_tukeys_interval(tasks):
    x = np.random.default_rng(12).standard_cauchy(tasks)
    found = interquartile_mean(x[None, :, None], all_tasks=False)
    wanted = scipy.stats.mstats.trimmed_mean_ci(x, limits=(0.25, 0.25), alpha=0.05)
    assert found[1:] == pytest.approx(tuple(wanted))


def test_scope_says_what_is_random():
    assert scope((1, 4, 9), True) == ("trials", "of this seed", 4 * 64 / 10)
    assert scope((1, 4, 1), True) == ("tasks", "of this seed", 3)
    assert scope((3, 4, 9), True) == ("seeds", "", 2)
    assert scope((3, 40, 1), False) == ("seeds and tasks", "", 2)
    assert scope((1, 1, 5), False) == ("trials", "of this seed in this task", 4)
