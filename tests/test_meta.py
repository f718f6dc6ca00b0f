"""Pooled differences against published and hand-computed values; the analyses against the paper's cells."""

import math
from statistics import fmean

import numpy as np
import pytest
from scipy.stats import t as student

from studies.claims import meta
from studies.kit.ledger.meta import heterogeneity, pooled
from studies.pages import meta as page

# Thirteen trials of BCG vaccine (Colditz et al. 1994): log risk ratios and variances, as metafor distributes them.
BCG = [
    -0.8893,
    -1.5854,
    -1.3481,
    -1.4416,
    -0.2175,
    -0.7861,
    -1.6209,
    0.0120,
    -0.4694,
    -1.3713,
    -0.3394,
    0.4459,
    -0.0173,
]
VARIANCES = [0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714]


def test_heterogeneity_is_dersimonian_and_lairds() -> None:
    assert heterogeneity(BCG, VARIANCES) == pytest.approx(0.3088, abs=5e-4)  # metafor: rma(method="DL")
    assert heterogeneity([0.1, 0.1, 0.1], [0.2, 0.3, 0.4]) == 0


def test_the_random_effects_mean_is_the_published_one() -> None:
    found = pooled(BCG, range(13), VARIANCES)
    assert found.mean.value == pytest.approx(-0.7141, abs=5e-4)  # the same source
    assert (found.n, found.clusters) == (13, 13)
    # The sandwich over singletons: close to metafor's 0.1787 by another estimator of the same error.
    half = (found.mean.high - found.mean.low) / 2 / student.ppf(0.975, 12)
    assert half == pytest.approx(0.1787, rel=0.15)
    new = student.ppf(0.975, 11) * math.sqrt(0.3088 + half**2)
    assert found.prediction.high - found.prediction.value == pytest.approx(new, rel=1e-3)


def test_equal_weights_over_equal_clusters_are_students_on_their_means() -> None:
    differences, clusters = [1.0, 3.0, 2.0, 4.0, 6.0, 8.0], ["a", "a", "b", "b", "c", "c"]
    found, means = pooled(differences, clusters), [2.0, 3.0, 7.0]
    error = np.std(means, ddof=1) / math.sqrt(3)
    assert found.mean.value == pytest.approx(fmean(means))
    assert found.mean.high == pytest.approx(fmean(means) + student.ppf(0.975, 2) * error)
    new = student.ppf(0.975, 2) * math.sqrt(np.var(means, ddof=1) + error**2)
    assert found.prediction.high == pytest.approx(fmean(means) + new)
    with pytest.raises(ValueError, match="three"):
        pooled([1, 2, 3], ["a", "a", "b"])


def test_copies_of_one_dataset_add_no_evidence() -> None:
    one, copied = pooled([1, 2, 4], "abc"), pooled([1, 2, 4] * 10, "abc" * 10)
    assert (copied.mean.low, copied.mean.high) == pytest.approx((one.mean.low, one.mean.high))
    assert (copied.n, copied.clusters) == (30, 3)


def test_the_mean_interval_covers_with_clusters() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(1_000):
        own = np.repeat(rng.normal(0, 1, 12), 4)
        found = pooled((own + rng.normal(0, 0.5, 48)).tolist(), [i // 4 for i in range(48)])
        covered += found.mean.low <= 0 <= found.mean.high
    assert covered / 1_000 == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize(
    ("title", "parts"),
    [
        ("Mean gain", ["+2.0 [+1.4, +2.7] points over 82 comparisons", "+0.6 [-0.1, +1.3] over 30 comparisons of 10."]),
        ("Mean gain", ["told from zero over all cells, and promises nothing"]),  # of accuracies the interval has zero
        ("Outside replication", ["+1.5 [-0.2, +3.2] points on average over 35", "r = 0.98, and without RTE by 0.59"]),
        ("Printed against promised columns", ["6 printed GLUE columns gain +2.53", "3 unprinted ones -5.34"]),
        ("Table 6's totals", ["+1.96 points, not +3.2"]),
        ("What the evaluation sets can tell", ["Of 30 printed gains in accuracy, 6 could be told"]),
    ],
)
def test_what_can_be_said_today(title: str, parts: list[str]) -> None:
    (found,) = [each for each in meta.analyses() if each.title == title]
    assert all(part in found.text for part in parts), found.text


def test_the_page_has_a_section_and_a_table_for_each() -> None:
    text = page.markdown(meta.analyses())
    assert text.count("\n## ") == 6 and text.count("\n|:--") == 6
