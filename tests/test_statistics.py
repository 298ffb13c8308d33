import math
import time

import numpy as np
import pytest
import scipy.stats

from metarl_jax.statistics import (
    clustered_interval,
    cvar,
    cvar_again,
    iqm,
    masked_mean,
    paired_gain,
    stratified_bootstrap,
)


def test_iqm_is_scipys_trimmed_mean():
    x = np.random.default_rng(0).normal(size=(7, 11))
    assert iqm(x) == scipy.stats.trim_mean(x.ravel(), 0.25)
    assert iqm([0, 1, 2, 3, 4, 5, 6, 1000]) == 3.5
    np.testing.assert_allclose(iqm(x, axis=-1), [iqm(row) for row in x])


@pytest.mark.parametrize(("n", "share", "count"), [(10, 0.1, 1), (30, 0.1, 3), (31, 0.1, 4), (5, 0.1, 1), (5, 1.0, 5)])
def test_cvar_is_the_mean_of_the_worst(n, share, count):
    x = np.random.default_rng(n).permutation(n).astype(float)
    assert cvar(x, share) == np.arange(count).mean()
    assert cvar(np.stack([x, x + 1]), share, axis=-1).tolist() == [cvar(x, share), cvar(x, share) + 1]


def test_cvar_refuses_a_share_outside_its_range():
    with pytest.raises(ValueError, match="share=0"):
        cvar([1.0], 0)


def test_bad_luck_is_not_counted_twice():
    rng = np.random.default_rng(0)
    trials = rng.random((4000, 10)) < 0.7  # tasks that are all alike
    first, second = trials[:, :5].mean(axis=1), trials[:, 5:].mean(axis=1)
    assert cvar(trials.mean(axis=1), 0.01) < 0.35
    assert cvar_again(first, second, 0.01) == pytest.approx(0.7, abs=0.09)
    worst = np.arange(50) < 5
    assert cvar_again(np.where(worst, 0.1, 0.9), np.where(worst, 0.3, 0.8), 0.1) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="share=0"):
        cvar_again([1.0], [1.0], 0)
    with pytest.raises(ValueError, match="one length"):
        cvar_again([1.0], [1.0, 2.0])


def test_interval_of_a_mean_over_tasks_is_the_normal_one():
    x = np.random.default_rng(1).normal(3.0, 2.0, size=(1, 400))
    half = 1.96 * x.std() / math.sqrt(400)
    assert stratified_bootstrap(x) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.15 * half)
    assert stratified_bootstrap(x) == stratified_bootstrap(x[0])


@pytest.mark.parametrize(("seeds", "tasks"), [(1, 30), (8, 30)])
def test_interval_covers_the_true_mean(seeds, tasks):
    generator, hits, repeats = np.random.default_rng(2), 0, 200
    for repeat in range(repeats):
        x = (
            generator.normal(size=(seeds, 1))
            + generator.normal(size=(1, tasks))
            + generator.normal(size=(seeds, tasks))
        )
        low, high = stratified_bootstrap(x, num=300, seed=repeat)
        hits += low <= 0 <= high
    if seeds == 1:  # the one seed's own effect is not seen by tasks: it can only under-cover
        assert hits / repeats < 0.6
    else:
        assert 0.84 <= hits / repeats <= 0.99


def test_one_seed_covers_the_mean_of_that_seed():
    generator, hits, repeats = np.random.default_rng(3), 0, 300
    for repeat in range(repeats):
        low, high = stratified_bootstrap(generator.exponential(size=(1, 50)), num=300, seed=repeat)
        hits += low <= 1 <= high
    assert 0.88 <= hits / repeats <= 0.98


def test_fewer_resamples_of_many_tasks_give_the_same_interval_in_little_time():
    x = np.random.default_rng(4).normal(size=(1, 20_000))
    for statistic in (np.mean, iqm, cvar):
        start = time.process_time()
        low, high = stratified_bootstrap(x, statistic)
        assert time.process_time() - start < 5.0
        assert low < statistic(x) < high
    half = 1.96 / math.sqrt(20_000)
    assert stratified_bootstrap(x) == pytest.approx((x.mean() - half, x.mean() + half), abs=0.15 * half)


def test_a_single_score_has_no_interval():
    assert np.isnan(stratified_bootstrap([[2.0]])).all()


def test_gain_is_paired():
    generator = np.random.default_rng(5)
    difficulty = 100 * generator.normal(size=(3, 200))
    gain = paired_gain(difficulty + 1 + 0.1 * generator.normal(size=difficulty.shape), difficulty)
    assert gain.low < 1 < gain.high
    assert gain.high - gain.low < 0.1
    assert paired_gain(difficulty, difficulty) == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="same shape"):
        paired_gain(difficulty, difficulty[:, 1:])


def test_masked_mean_leaves_out_what_is_missing():
    x = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(masked_mean(x, np.isfinite(x), 0), [2.0, 5.0, np.nan])


def test_clustered_interval_of_equal_clusters_is_that_of_the_task_means():
    x = np.random.default_rng(6).normal(size=(1, 500, 3, 3))
    x[:, 400:, :, 1], x[..., 2] = np.nan, np.nan
    low, high = clustered_interval(x, np.isfinite(x))
    means = x[0, :400, :, 1].mean(axis=-1)
    assert (low[1], high[1]) == pytest.approx(scipy.stats.norm.interval(0.95, means.mean(), scipy.stats.sem(means)))
    assert np.isnan([low[2], high[2]]).all()
    assert np.array(clustered_interval(x[:, :1, :1], np.isfinite(x[:, :1, :1])))[:, 0].tolist() == [x[0, 0, 0, 0]] * 2


def test_clustered_interval_covers_the_mean_of_unequal_clusters():
    generator, hits, repeats = np.random.default_rng(7), 0, 300
    for _ in range(repeats):  # easy tasks are reached more often: P(reached) = p, and the return is p plus noise
        p = generator.random((1, 80, 1, 1))
        mask = generator.random((1, 80, 5, 1)) < p
        low, high = clustered_interval(p + 0.3 * generator.normal(size=mask.shape), mask)
        hits += low[0] <= (1 / 3) / (1 / 2) <= high[0]
    assert 0.90 <= hits / repeats <= 0.99
