"""Intervals and contrasts against scipy, tables and simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.kit.ledger.intervals import Estimate, bounds, contrast, holm, of_runs, trivial_limit, with_items


def test_the_mean_over_runs_is_students():
    found = of_runs([0.80, 0.82, 0.84])
    assert found is not None and found.value == pytest.approx(0.82)
    half = 4.302653 * 0.02 / math.sqrt(3)  # t(2, .975) = 4.302653
    assert found.interval().high - found.value == pytest.approx(half, rel=1e-6)


@pytest.mark.parametrize("scores", [[], [0.8], [0.8, 0.9]])
def test_below_three_runs_there_is_no_interval(scores):
    assert of_runs(scores) is None


def test_checkpoints_are_what_is_repeated():
    names = ("a", "a", "b", "b", "c", "c")
    found = of_runs([0.7, 0.72, 0.8, 0.82, 0.9, 0.92], names)
    assert found == of_runs([0.71, 0.81, 0.91])
    assert of_runs([0.7, 0.72, 0.8, 0.82], names[:4]) is None  # two checkpoints
    assert of_runs([0.7, 0.72, 0.8], ("a", "a", "a")) == of_runs([0.7, 0.72, 0.8])


@settings(deadline=None)  # scipy is imported in the first
@given(st.lists(st.floats(0, 1), min_size=3, max_size=8), st.lists(st.floats(0, 1), min_size=3, max_size=8))
def test_a_difference_is_welchs(a, b):
    from scipy.stats import ttest_ind

    if np.var(a) + np.var(b) < 1e-8:
        return
    ends = of_runs(a), of_runs(b)
    assert ends[0] is not None and ends[1] is not None
    found, theirs = contrast((1, -1), (ends[0], ends[1])), ttest_ind(a, b, equal_var=False)
    assert found.df == pytest.approx(theirs.df) and found.p() == pytest.approx(theirs.pvalue, abs=1e-9)
    low, high = theirs.confidence_interval(0.95)
    assert (found.interval().low, found.interval().high) == pytest.approx((low, high))


def test_folds_are_nadeau_and_bengios_corrected_resampled_t_test():
    from scipy.stats import t as student

    differences = np.random.default_rng(4).normal(0.01, 0.04, 10)
    found = of_runs(differences.tolist(), folds=True)
    assert found is not None
    statistic = differences.mean() / math.sqrt((1 / 10 + 1 / 9) * differences.var(ddof=1))  # a tenth is tested
    assert found.p() == pytest.approx(2 * student.sf(abs(statistic), 9))
    assert of_runs([0.8, 0.9], folds=True) is None


@pytest.mark.parametrize("own", [0.0, 0.02])
def test_folds_from_several_checkpoints_cover_the_truth(own):
    """As folds alone they are too sure of three checkpoints that differ."""
    rng, names = np.random.default_rng(5), [str(fold % 3) for fold in range(10)]
    covered = naive = 0
    for _ in range(2_000):
        scores = (0.8 + np.resize(rng.normal(0, own, 3), 10) + rng.normal(0, 0.02, 10)).tolist()
        found, alone = of_runs(scores, names, folds=True), of_runs(scores)
        assert found is not None and alone is not None and found.df <= 9
        covered += found.interval().low <= 0.8 <= found.interval().high
        naive += alone.interval().low <= 0.8 <= alone.interval().high
    assert covered / 2_000 > 0.93 and (naive / 2_000 < 0.8) == (own > 0)


def test_items_add_their_error_and_do_not_lose_freedom():
    runs = Estimate(value=0.8, error=0.03, df=4)
    both = with_items(runs, 0.04)
    assert both.error == pytest.approx(0.05) and both.df == pytest.approx(4 * (0.05 / 0.03) ** 4)
    assert with_items(runs, None) == runs


def test_added_variances_cover_the_truth():
    """Five runs on one evaluation set: without the items' error the interval is too short, with it 95 % cover."""
    rng, covered, short = np.random.default_rng(0), 0, 0
    for _ in range(2_000):
        scores = 0.8 + rng.normal(0, 0.02) + rng.normal(0, 0.01, 5)
        runs = of_runs(scores.tolist())
        assert runs is not None
        whole, alone = with_items(runs, 0.02).interval(), runs.interval()
        covered += whole.low <= 0.8 <= whole.high
        short += alone.low <= 0.8 <= alone.high
    assert covered / 2_000 == pytest.approx(0.955, abs=0.02) and short / 2_000 < 0.8


@pytest.mark.parametrize("spread, least, wrong", [((1, 1), 0.94, 0.07), ((3, 3), 0.94, 0.12), ((0.5, 5), 0.91, 0.35)])
def test_three_runs_an_arm_cover_as_the_page_of_claims_says(spread, least, wrong):
    """Differences of none, each arm's runs spread so many times as wide as the error over examples: how often the
    interval covers, and how often Holm over 14 of them finds one."""
    rng, ps, studies = np.random.default_rng(0), [], 700
    for _ in range(14 * studies):
        arms = [of_runs(rng.normal(0, own, 3).tolist()) for own in spread]
        ps.append(
            with_items(replace(contrast((1, -1), arms), value=arms[0].value - arms[1].value + rng.normal()), 1).p()
        )
    covered = np.mean([p > 0.05 for p in ps])
    found = np.mean([min(holm(ps[14 * i : 14 * i + 14])) <= 0.05 for i in range(studies)])
    assert least <= covered <= 0.97 and 0.03 <= found <= wrong
    assert spread[0] == spread[1] or found > 0.10  # what the page warns of


@settings(deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0, 0.5))
def test_an_interval_stays_within_the_range(value, error):
    low, high = bounds("accuracy")
    found = Estimate(value=value, error=error, df=2).within(low, high)
    assert low <= found.low <= value + 1e-9 and value - 1e-9 <= found.high <= high
    whole = Estimate(value=1.0, error=error, df=2).within(low, high)
    assert whole.high == 1.0


def test_the_logit_interval_of_a_proportion_is_close_to_wilsons():
    from scipy.stats import binomtest

    found = Estimate(value=0.9, error=math.sqrt(0.9 * 0.1 / 200)).within(0, 1)
    theirs = binomtest(180, 200).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_a_correlations_interval_is_fishers():
    r, n = 0.8, 103
    found = Estimate(value=r, error=(1 - r * r) / math.sqrt(n - 3)).within(*bounds("spearman"))
    z = math.atanh(r)
    expected = [math.tanh(z + step * 1.959964 / math.sqrt(n - 3)) for step in (-1, 1)]
    assert [found.low, found.high] == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 300))
def test_a_trivial_answers_limit_is_wilsons(k, more):
    from scipy.stats import binomtest

    n = max(k + more, 1)
    theirs = binomtest(min(k, n), n).proportion_ci(method="wilson")
    assert trivial_limit(min(k, n) / n, n, "accuracy") == pytest.approx(theirs.high, abs=1e-9)


def test_a_correlation_by_chance_shrinks_with_the_number_of_examples():
    assert trivial_limit(0.0, 1043, "matthews") == pytest.approx(math.tanh(1.959964 / math.sqrt(1040)))


def test_what_can_be_detected_is_detected_four_times_in_five():
    rng, error = np.random.default_rng(1), 0.02
    truth = Estimate(value=0.0, error=error).detectable
    drawn = rng.normal(truth, error, 20_000)
    told = np.mean([Estimate(value=float(d), error=error).interval().low > 0 for d in drawn])
    assert truth == pytest.approx((1.959964 + 0.841621) * error) and told == pytest.approx(0.8, abs=0.01)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_no_smaller_than_p_and_no_larger_than_bonferronis(ps):
    for p, q in zip(ps, holm(ps), strict=True):
        assert p <= q + 1e-12 and q <= min(1.0, len(ps) * p) + 1e-12
