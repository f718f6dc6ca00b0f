"""Comparisons: right on effects with known answers, and the verdicts that follow from them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.claims import get
from studies.claims.claim import Number, Pair, Source
from studies.claims.effects import Effect, effect
from studies.claims.verdicts import Case, weighed, within
from studies.kit.ledger.intervals import Estimate
from tests.made_sources import BASE, ROW, made, number

ROBERTA = ("RoBERTa-B", "RoBERTa-L")


def shown(upper: Number, lower: Number, source: Source | None = None) -> Effect:
    return effect(source or Source(name="ours", numbers={}), [Pair(base=lower, muppet=upper)], "RTE")


@pytest.mark.parametrize(
    ("upper", "direction"), [(0.75, "UP"), (0.65, "DOWN"), (0.7005, "EQUIVALENT"), ([0.66, 0.71, 0.76], "UNDECIDED")]
)
def test_an_effect_is_what_its_interval_shows(upper, direction):
    assert shown(number(ROW, upper, n=10**6), number(BASE, 0.70, n=10**6)).direction == direction


def test_none_is_shown_by_the_90_percent_interval():
    """Schuirmann's two one-sided tests at 5 %."""
    directions = [Effect(name="x", gain=0.002, estimate=Estimate(value=0.002, error=e), shown="").direction
                  for e in (0.0017, 0.0019)]  # fmt: skip
    assert directions == ["EQUIVALENT", "UNDECIDED"]  # 0.002 + 1.645 e is within half a point, and is not


def test_one_or_two_runs_have_scores_and_no_interval():
    found = shown(number(ROW, [0.9, 0.91]), number(BASE, 0.70))
    assert (found.direction, found.estimate, found.p) == ("UNDECIDED", None, None)
    assert "90.5 (90.0, 91.0)" in found.shown and found.detectable > 0


def test_arms_that_learned_nothing_are_uninformative():
    idle = {"trivial": 0.527, "n": 277}
    found = shown(number(ROW, 0.47, **idle), number(BASE, 0.55, **idle))
    assert found.direction == "UNINFORMATIVE" and "answer without learning (52.7" in found.uninformative
    assert shown(number(ROW, 0.47, **idle), number(BASE, 0.65, **idle)).direction == "DOWN"
    words = {"trivial": 0.872, "n": 273}  # sentences: their words are many more
    assert shown(number(ROW, 0.897, **words), number(BASE, 0.88, **words)).direction == "UNINFORMATIVE"
    words["item_error"] = 0.005
    assert shown(number(ROW, 0.897, **words), number(BASE, 0.88, **words)).direction == "UP"
    assert shown(number(ROW, 0.8815, **words), number(BASE, 0.87, **words)).direction == "UNINFORMATIVE"
    same = {"runs": ("a", "b", "c", "d", "e")}
    assert shown(number(ROW, 0.8, **same), number(BASE, 0.7, **same)).uninformative == "the arm is its control"


def test_an_arm_of_three_checkpoints_has_three_units():
    names = ("a", "a", "b", "b", "c", "c")
    spread = [0.70, 0.70, 0.75, 0.75, 0.80, 0.80]
    many = shown(number(ROW, spread, checkpoints=names, n=10**9), number(BASE, 0.65, n=10**9))
    alone = shown(number(ROW, spread, n=10**9), number(BASE, 0.65, n=10**9))
    assert many.estimate.df == pytest.approx(2, abs=0.1) and alone.estimate.df == pytest.approx(5, abs=0.2)
    assert (many.direction, alone.direction) == ("UNDECIDED", "UP")


def test_a_mean_over_datasets_is_no_surer_of_the_checkpoints_that_they_share():
    """Of simulated means without a difference 95 % of the intervals hold zero; with a checkpoint for each dataset
    counted as another, 60 % did."""
    rng, columns, trials, inside = np.random.default_rng(0), 5, 400, 0
    source = Source(name="ours", numbers={})
    for _ in range(trials):
        datasets = []
        own = rng.normal(0, 0.01, (2, 3))  # of each arm's three checkpoints, in every dataset
        for column in range(columns):
            ends = [
                number(
                    ("ablations", str(row), str(column)),
                    [0.8 + own[row][i % 3] + rng.normal(0, 0.002) for i in range(6)],
                    checkpoints=tuple(f"{row}{i % 3}" for i in range(6)),
                    n=10**7,
                )
                for row in (0, 1)
            ]
            datasets.append((Pair(base=ends[0], muppet=ends[1]),))
        interval = Case(name="mean", datasets=tuple(datasets)).effect(source).estimate.interval()
        inside += interval.low <= 0 <= interval.high
    assert inside / trials == pytest.approx(0.95, abs=0.035)


def test_a_mean_over_tasks_on_the_same_examples_is_no_surer_of_these_than_one():
    source = Source(name="ours", numbers={})

    def error(*examples: str) -> float:
        pairs = []
        for i, rows in enumerate(examples):
            ends = (number((study, "row", str(i)), [0.7] * 5, n=400, item_error=0.02) for study in "ab")
            pairs.append((Pair(**dict(zip(("base", "muppet"), (replace(end, examples=rows) for end in ends)))),))
        return Case(name="mean", datasets=tuple(pairs)).effect(source).estimate.error

    alone = error("treebank")
    assert error("treebank", "treebank") == pytest.approx(alone)
    assert error("treebank", "other") == error("", "") == pytest.approx(alone / 2**0.5)


def test_folds_are_compared_one_by_one_and_hold_their_items():
    folds = np.random.default_rng(1).normal(0.8, 0.05, 10)  # some are hard, for both arms
    steps = np.resize([0.02, 0.03], 10)
    more = {"folds": True, "n": 645}
    found = shown(number(ROW, (folds + steps).tolist(), **more), number(BASE, folds.tolist(), **more))
    assert found.estimate.error == pytest.approx(np.std(steps, ddof=1) * np.sqrt(1 / 10 + 1 / 9))
    assert found.direction == "UP" and found.estimate.df == 9


def test_one_stage_is_asked_of_the_base_model_where_there_is_no_large_one():
    cells = {("ablations", "RoBERTa-B + one MNLI stage", c): 0.6 for c in ("RTE", "MRPC")}
    assert get("C32").check(made(cells)).verdict == "NOT MEASURED"
    ours = {("table3", "RoBERTa-B + MUPPET", c): 0.7 for c in ("RTE", "MRPC")}
    assert get("C32").check(made(ours)).verdict == "NOT MEASURED"
    assert get("C32").check(replace(made(cells | ours), comparable=False)).verdict == "SUPPORTED"
    large = {("table3", "RoBERTa-L + MUPPET", c): 0.7 for c in ("RTE", "MRPC")}  # the stage's print is 91
    assert get("C32").check(made(cells | ours | large)).verdict == "CONTRADICTED"


def test_the_metrics_of_one_dataset_count_once():
    pairs = []
    for metric, gain in (("R1", 0.02), ("R2", 0.01), ("RL", 0.03)):
        upper, lower = number(ROW, 0.4 + gain), number(BASE, 0.4)
        pairs.append(Pair(base=replace(lower, metric=metric), muppet=replace(upper, metric=metric)))
    found = effect(Source(name="ours", numbers={}), pairs, "a triple")
    assert found.gain == pytest.approx(0.02) and found.estimate.error > 0


# ---------------------------------------------------------------- evidence


def effects(*gains: float | None) -> list[Effect]:
    """Effects with small errors; None for one that is undecided."""
    return [
        Effect(
            name=str(i),
            gain=gain or 0.0,
            estimate=Estimate(value=gain or 0.0, error=0.001 if gain is not None else 0.1),
            shown="",
            detectable=0.28,
        )
        for i, gain in enumerate(gains)
    ]


@pytest.mark.parametrize(
    ("gains", "expected", "verdict"),
    [
        ((0.02, 0.03), 2, "SUPPORTED"),
        ((0.02, 0.03), 3, "INCONCLUSIVE"),  # no positive verdict before the expected are there
        ((0.02, -0.03), 3, "CONTRADICTED"),
        ((0.02, 0.001), 2, "MIXED"),
        ((0.001, 0.001), 2, "MIXED"),
        ((0.02, None), 2, "INCONCLUSIVE"),
        ((), 2, "NOT MEASURED"),
    ],
)
def test_evidence_of_effects(gains, expected, verdict):
    found = weighed(effects(*gains), expected, "datasets up")
    assert found.verdict == verdict
    assert ("28.0 points could have been told" in found.text) == (None in gains)


def test_holm_guards_against_one_of_many():
    def some(first: float) -> list[Effect]:
        gains = [first] + [0.0] * 29
        return [Effect(name="x", gain=g, estimate=Estimate(value=g, error=0.013), shown="") for g in gains]

    assert (some(0.03)[0].direction, some(-0.03)[0].direction) == ("UP", "DOWN")
    for first in (0.03, -0.03):
        found = weighed(some(first), 30, "datasets")
        assert found.verdict == "INCONCLUSIVE" and found.text.startswith("datasets: 30 UNDECIDED")


@given(st.lists(st.sampled_from([0.02, -0.02, 0.0, None]), min_size=1, max_size=6), st.integers(0, 2))
def test_a_verdict_is_positive_only_when_every_expected_effect_is(gains, more):
    verdict = weighed(effects(*gains), len(gains) + more, "x").verdict
    assert (verdict == "SUPPORTED") == (not more and set(gains) == {0.02})
    assert (verdict == "CONTRADICTED") == (-0.02 in gains)


def test_a_stated_size_needs_the_interval_to_reach_it():
    def judged(gain: float, error: float, low: float = 0.08, high: float = 0.10, **more: object) -> str:
        pair = Pair(base=number(BASE, 0.7), muppet=number(ROW, 0.7 + gain))
        source = Source(name="ours", numbers={}, paired_error=lambda a, b: error, **more)  # type: ignore[arg-type]
        return within(source, pair, low, high, "RTE").verdict

    assert judged(0.09, 0.01) == "SUPPORTED"
    assert judged(0.09, 0.05) == "INCONCLUSIVE"
    assert judged(0.05, 0.01) == judged(0.14, 0.01) == "CONTRADICTED"
    assert judged(0.09, 0.01, comparable=False) == "NOT TESTABLE"
    about_zero = [judged(0.0, error, -0.01, 0.01) for error in (0.0055, 0.0065)]  # 1.645 of them: 0.9 and 1.07 points
    assert about_zero == ["SUPPORTED", "INCONCLUSIVE"]


def test_another_model_is_never_set_against_the_papers_numbers():
    cells = {key: 0.9 for key in (BASE, ROW, ("table3", "RoBERTa-L + MUPPET", "RTE"))}
    small = replace(made(cells), comparable=False)
    for claim in ("C5", "C7", "C9", "C33"):
        assert get(claim).check(small).verdict == "NOT TESTABLE", claim
    assert get("C33").check(made(cells)).verdict != "NOT TESTABLE"
