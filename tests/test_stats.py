"""Statistics on data whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muppet.errors import UserError
from studies.kit.ledger import stats


def test_permutation_p_is_calibrated_without_an_effect():
    rng = np.random.default_rng(3)
    small = [stats.spearman(rng.random(7), rng.random(7)).p for _ in range(300)]
    assert 0.02 < np.mean(np.array(small) <= 0.05) < 0.09


def test_false_discovery_is_benjamini_hochberg():
    assert stats.false_discovery([0.01, None, 0.02, 0.5]) == [pytest.approx(0.03), None, pytest.approx(0.03), 0.5]
    assert stats.false_discovery([None]) == [None]


def test_iqm_ignores_the_outer_quarters():
    assert stats.iqm([[0.0, 0.3, 0.1, 0.9], [0.5, 0.2, 1.0, 0.4]]).value == pytest.approx((0.2 + 0.3 + 0.4 + 0.5) / 4)
    found = stats.iqm([[0.5] * 19 + [1.0]])  # drawn six times of twenty, which moves it, less than once in a thousand
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_probability_of_improvement():
    assert stats.probability_of_improvement([[2, 3], [5, 6]], [[0, 1], [1, 2]]).value == 1
    assert stats.probability_of_improvement([[1, 2]], [[1, 2]]).value == 0.5
    assert stats.probability_of_improvement([[2, 3], [0, 0]], [[0, 1], [1, 2]]).value == 0.5


def test_datasets_that_share_checkpoints_are_drawn_together():
    """Three runs that are their checkpoints' and the same in four datasets: of the 27 draws one in 27 has the worst
    alone, more than the 2.5 % that an interval leaves below; drawn apart, one in 27 to the fourth."""
    scores, names = [[0.1, 0.2, 0.6]] * 4, [["a", "b", "c"]] * 4
    together, apart = stats.iqm(scores, names), stats.iqm(scores)
    assert (together.low, together.high) == pytest.approx((0.1, 0.6)) and 0.1 < apart.low and apart.high < 0.6
    base = [[0.2, 0.2, 0.2]] * 4
    joint, alone = (stats.probability_of_improvement(scores, base, own) for own in (names, ()))
    assert joint.value == alone.value == pytest.approx(0.5) and (joint.low, joint.high) == (0, 1)
    assert 0 < alone.low and alone.high < 1
    five = stats.iqm([[0.1, 0.2, 0.6, 0.1, 0.2]] * 4, [["a", "b", "c", "a", "b"]] * 4)  # a run of each place's draw
    assert (five.low, five.high) == pytest.approx((0.1, 0.6))


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


def test_a_slope_is_the_least_squares_lines():
    x, y = [1, 2, 3, 4, 6], [0.1, 0.25, 0.28, 0.41, 0.6]
    found = stats.slope(x, y)
    fitted, covariance = np.polyfit(x, y, 1, cov=True)
    assert found.value == pytest.approx(fitted[0]) and found.df == 3
    assert found.error == pytest.approx(math.sqrt(covariance[0, 0]))
    with pytest.raises(UserError, match="three points"):
        stats.slope([1, 2], [1, 2])


def test_data_efficiency():
    assert stats.data_efficiency([0.1, 0.5, 1.0], [0.6, 0.71, 0.8], 0.7) == 0.5
    assert stats.data_efficiency([0.1, 1.0], [0.7, 0.8], 0.7) == 0.1
    assert stats.data_efficiency([0.1, 1.0], [0.6, 0.65], 0.7) is None


def test_no_numbers_is_an_error():
    with pytest.raises(UserError, match="finite numbers"):
        stats.sign_test([])
    with pytest.raises(UserError, match="finite numbers"):
        stats.spearman([0.1, math.nan, 1], [1, 2, 3])
