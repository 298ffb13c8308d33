import numpy as np
import pytest
import scipy.stats

from metarl_jax.evaluation.summary import cvar, cvar_again, iqm, masked_mean


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


def test_masked_mean_leaves_out_what_is_missing():
    x = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    np.testing.assert_array_equal(masked_mean(x, np.isfinite(x), 0), [2.0, 5.0, np.nan])
