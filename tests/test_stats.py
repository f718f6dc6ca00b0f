"""Statistics on data whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muppet.errors import UserError
from studies.kit.ledger import stats

SCALES = [10, 16, 22, 28, 34, 40, 46]


def test_seed_interval_is_students():
    found = stats.seed_interval([0.80, 0.82, 0.84])
    assert found.value == pytest.approx(0.82)
    assert found.high - found.value == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)  # t(2, .975) = 4.302653
    assert math.isnan(stats.seed_interval([0.8]).low)


def test_item_interval_matches_the_binomial_one():
    found = stats.item_interval([1] * 800 + [0] * 200)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert found.value == 0.8
    assert found.low == pytest.approx(0.8 - half, abs=0.003)
    assert found.high == pytest.approx(0.8 + half, abs=0.003)
    assert stats.item_interval([1, 1, 1]) == stats.Interval(value=1, low=1, high=1)


def test_drawing_equal_items_together_changes_nothing():
    from scipy.stats import bootstrap, permutation_test

    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4, 120) / 3, rng.integers(0, 4, 120) / 3
    theirs = bootstrap((a - b,), np.mean, n_resamples=9_999, method="percentile", rng=rng).confidence_interval
    ours = stats.paired(a, b)
    assert (ours.difference.low, ours.difference.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    test = permutation_test(
        (a, b),
        lambda x, y, axis: (x - y).mean(axis=axis),
        vectorized=True,
        n_resamples=9_999,
        permutation_type="samples",
        rng=rng,
    )
    assert ours.p == pytest.approx(test.pvalue, abs=0.02)


def test_the_two_intervals_measure_different_things():
    """Seeds that agree to a hair over few items: a narrow interval over seeds beside a wide one over items."""
    seeds = stats.seed_interval([0.800, 0.801, 0.799, 0.800])
    items = stats.item_interval([1] * 40 + [0] * 10)
    assert seeds.high - seeds.low < 0.004 < 0.15 < items.high - items.low


def test_pairing_finds_what_unpaired_proportions_miss():
    base = np.array([1] * 700 + [0] * 300)
    ours = base.copy()
    ours[700:720] = 1  # 20 more right, none lost
    found = stats.paired(ours, base)
    assert found.difference.value == pytest.approx(0.02)
    assert found.difference.low > 0
    assert found.p < 0.001
    assert stats.two_proportions(0.72, 1000, 0.70, 1000).p > 0.3
    assert stats.paired(base, base).p == 1
    with pytest.raises(UserError, match="same items"):
        stats.paired([1, 0], [1])


def test_permutation_p_is_calibrated_without_an_effect():
    rng = np.random.default_rng(3)
    small = [stats.spearman(rng.random(7), rng.random(7)).p for _ in range(300)]
    assert 0.02 < np.mean(np.array(small) <= 0.05) < 0.09


def test_false_discovery_is_benjamini_hochberg():
    assert stats.false_discovery([0.01, None, 0.02, 0.5]) == [pytest.approx(0.03), None, pytest.approx(0.03), 0.5]
    assert stats.false_discovery([None]) == [None]


def test_iqm_ignores_the_outer_quarters():
    found = stats.iqm([[0.0, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 1.0]])
    assert found.value == 0.5
    assert found.low <= 0.5 <= found.high


def test_probability_of_improvement():
    assert stats.probability_of_improvement([[2, 3], [5, 6]], [[0, 1], [1, 2]]).value == 1
    assert stats.probability_of_improvement([[1, 2]], [[1, 2]]).value == 0.5
    assert stats.probability_of_improvement([[2, 3], [0, 0]], [[0, 1], [1, 2]]).value == 0.5


def test_sign_test():
    found = stats.sign_test([1, 1, 1, 1, 1, 1, 0, -1])
    assert (found.up, found.down, found.equal) == (6, 1, 1)
    assert found.p == pytest.approx(2 * (1 + 7) / 2**7)
    assert stats.sign_test([0, 0]).p == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 40))
def test_sign_test_equals_scipys(up, down):
    from scipy.stats import binomtest

    assert stats.sign_test([1] * up + [-1] * down).p == pytest.approx(binomtest(up, up + down).pvalue)


def test_spearman_exact_and_by_permutation():
    perfect = stats.spearman([1, 2, 3, 4, 5], [2, 4, 6, 8, 10], "greater")
    assert (perfect.rho, perfect.exact) == (pytest.approx(1), True)
    assert perfect.p == pytest.approx(1 / 120)
    assert stats.spearman([1, 2, 3, 4, 5], [2, 4, 6, 8, 10]).p == pytest.approx(2 / 120)
    assert stats.spearman([1, 2, 3, 4, 5], [2, 4, 6, 8, 10], "less").p == 1
    longer = stats.spearman(range(12), range(12, 0, -1), "less")
    assert (longer.exact, longer.rho, longer.p) == (False, pytest.approx(-1), 1e-4)
    assert math.isnan(stats.spearman([1, 2, 3], [5, 5, 5]).rho)
    with pytest.raises(UserError, match="three pairs"):
        stats.spearman([1, 2], [1, 2])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=9))
def test_spearman_equals_scipys(pairs):
    from scipy.stats import spearmanr

    x, y = zip(*pairs, strict=True)
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert stats.spearman(x, y).rho == pytest.approx(spearmanr(x, y).statistic)


def test_leave_one_out_shows_the_carrier():
    x, y = [1, 2, 3, 4, 5, 6, 7, 50], [4, 5, 3, 6, 5, 4, 5, -9]
    ranks = stats.leave_one_out(x, y, "less")
    assert len(ranks) == 8
    assert ranks[-1].rho > 0 > max(r.rho for r in ranks[:-1])


def test_two_proportions():
    found = stats.two_proportions(0.6, 100, 0.5, 100)
    assert found.difference == pytest.approx(0.1)
    assert found.half_width == pytest.approx(1.959964 * math.sqrt(0.24 / 100 + 0.25 / 100), rel=1e-6)
    assert found.z == pytest.approx(0.1 / math.sqrt(0.55 * 0.45 * 0.02))
    assert found.p == pytest.approx(0.1556, abs=1e-3)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_grim_accepts_every_true_count(count):
    k, n = count
    assert stats.grim(round(100 * k / n, 1) / 100, n, 0.0005)


def test_grim_refuses_what_no_count_gives():
    assert not stats.grim(0.878, 277, 0.0005)  # 243 of 277 prints 87.7, 244 prints 88.1
    assert stats.grim(0.877, 277, 0.0005) and stats.grim(0.881, 277, 0.0005)


def test_weighted_mean():
    assert stats.weighted_mean([0.738, 0.489, 0.444], [1000, 1000, 1200]) == pytest.approx(0.549938, abs=1e-6)


def test_critical_point_of_a_known_curve():
    curve = [0.70 + 0.01 * (k - 25) / 6 for k in SCALES]  # crosses 0.70 at 25
    noisy = np.array([curve, curve, curve]) + np.array([[0.001], [0.0], [-0.001]])
    found = stats.critical_point(SCALES, noisy, [0.70, 0.7001, 0.6999])
    assert found.at == pytest.approx(25)
    assert 23 < found.low < 25 < found.high < 27
    assert found.dips and found.clean
    alone = stats.critical_point(SCALES, curve, [0.70])
    assert alone.at == pytest.approx(25) and math.isnan(alone.low)


def test_critical_point_when_there_is_none():
    rising = stats.critical_point(SCALES, np.linspace(0.8, 0.9, 7), [0.7])
    assert (rising.at, rising.dips, rising.clean) == (10, False, False)
    sunk = stats.critical_point(SCALES, np.linspace(0.5, 0.6, 7), [0.7])
    assert (sunk.at, sunk.dips, sunk.clean) == (math.inf, True, False)
    wave = stats.critical_point(SCALES, [0.6, 0.8, 0.6, 0.8, 0.8, 0.8, 0.8], [0.7])
    assert wave.at == pytest.approx(25) and wave.dips and not wave.clean
    with pytest.raises(UserError, match="ascending"):
        stats.critical_point([10, 10], [0.1, 0.2], [0.1])


def test_linear_and_saturating_curves_are_told_apart():
    x = np.tile(SCALES, 3)
    noise = np.random.default_rng(0).normal(0, 0.0005, len(x))
    line = stats.linear_or_saturating(x, 0.6 + 0.004 * x + noise)
    assert line.linear and line.r_squared > 0.99 and line.slope == pytest.approx(0.004, rel=0.05)
    bent = stats.linear_or_saturating(x, 0.6 + 0.1 * -np.expm1(-x / 8) + noise)
    assert not bent.linear and bent.linear_aic - bent.saturating_aic > 10
    with pytest.raises(UserError, match="six points"):
        stats.linear_or_saturating([1, 2, 3], [1, 2, 3])


def test_isotonic_loss_and_data_efficiency():
    assert stats.isotonic_loss([10, 16, 22], [0.1, 0.1, 0.3]) == 0
    assert stats.isotonic_loss([1, 2], [0.3, 0.1]) == pytest.approx(0.1)
    assert stats.data_efficiency([0.1, 0.5, 1.0], [0.6, 0.71, 0.8], 0.7) == 0.5
    assert stats.data_efficiency([0.1, 1.0], [0.6, 0.65], 0.7) is None


def test_no_numbers_is_an_error():
    with pytest.raises(UserError, match="finite numbers"):
        stats.seed_interval([])
    with pytest.raises(UserError, match="finite numbers"):
        stats.item_interval([0.1, math.nan])
