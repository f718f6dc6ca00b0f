"""Claims: right on the paper's own cells, moved by the cells that decide them, right on effects with known answers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet.errors import UserError
from studies.claims import CLAIMS, calibration, curves, get, sources
from studies.claims.claim import Number, Pair, Source
from studies.claims.effects import Effect, effect
from studies.claims.verdicts import Case, universal, weighed, within
from studies.kit.ledger.intervals import Estimate

# Checked by hand against Tables 1 to 6 and the definitions on the page of claims; the code computes them.
ON_PAPER = {
    "CONSISTENT": "C5 C6 C7 C8 C20",
    "NOT SUPPORTED": "C9 C30 C32",
    "CONTRADICTED": "C1 C2 C3 C4 C10 C11 C12 C13 C14 C15 C16 C17 C18 C19 C21 C31 C33",
    "NOT PRINTED": "C22 C23 C24 C25 C26 C27 C28 C29 C34 C35 C36 C37 C38",
}
ROBERTA = ("RoBERTa-B", "RoBERTa-L")
SCALES = (0, 10, 16, 22, 28, 34, 40, 46)
TIGHT = (-0.002, -0.001, 0.0, 0.001, 0.002)  # five runs about a mean


def changed(claim: str, cells: dict[tuple[str, str, str, str], float]) -> tuple[str, str]:
    """Verdict on the paper with some cells replaced, and its text."""
    paper = sources.paper()
    numbers = dict(paper.numbers)
    for key, value in cells.items():
        numbers[key] = replace(numbers[key], value=value, shown=f"{100 * value:.1f}")
    found = get(claim).check(replace(paper, numbers=numbers))
    return found.verdict, found.text


def number(key: tuple[str, str, str], value: float | list[float], **more: object) -> Number:
    """One cell, measured by five close runs about `value` or by the runs given."""
    seeds = tuple(value) if isinstance(value, list) else tuple(value + step for step in TIGHT)
    mean = sum(seeds) / len(seeds)
    study, row, column = key
    return Number(
        study=study, row=row, column=column, metric="accuracy", value=mean, shown=f"{100 * mean:.1f}", seeds=seeds,
        **({"n": 200_000} | more),
    )  # type: ignore[arg-type]  # fmt: skip


def made(
    cells: dict[tuple[str, str, str], float | list[float]],
    x: dict[tuple[str, str, str], float] | None = None,
    **more: object,
) -> Source:
    """A source of our own: (study, row, column) → score, or one score a run."""
    every = [number(key, value, x=(x or {}).get(key), **more) for key, value in cells.items()]
    return Source(name="ours", label="ours", numbers={(n.study, n.row, n.column, n.metric): n for n in every})


def curve(scores: dict[str, list[float]], study: str = "figure1") -> Source:
    """Rows of scores over SCALES, the base first."""
    cells = {(study, row, f"{k} sets"): value for row, line in scores.items() for k, value in zip(SCALES, line)}
    return made(cells, {key: float(key[2].split()[0]) for key in cells})


def test_every_claim_is_there_with_its_sentence():
    assert [claim.id for claim in CLAIMS] == [f"C{i}" for i in range(1, 39)]
    assert all(claim.quote or claim.kind == "reviewer" for claim in CLAIMS)
    kinds = {claim.id: claim.kind for claim in CLAIMS if claim.kind != "claim"}
    assert kinds == dict.fromkeys("C15 C16 C30 C31 C32 C33".split(), "reviewer") | {"C20": "identity", "C21": "reading"}


@pytest.mark.parametrize(("verdict", "claim"), [(v, c) for v, ids in ON_PAPER.items() for c in ids.split()])
def test_verdicts_on_the_papers_own_cells(verdict, claim):
    assert get(claim).check(sources.paper()).verdict == verdict


@pytest.mark.parametrize(
    ("claim", "deciding"),
    [
        (
            "C1",
            [
                "26 of 30 datasets up, 2 equal, 2 not",
                "table5 Parsing / RoBERTa-B 95.1 → 94.5 (-0.6)",
                "table5 POS / RoBERTa-B 93.7 → 93.2 (-0.5)",
            ],
        ),
        (
            "C2",
            [
                "14 of 20 datasets up, 1 equal, 5 not",
                "HellaSwag / BART 84.1 → 75.9 (-8.2)",
                "CNN/DailyMail R2 / BART 21.28 → 21.25 (-0.03)",
            ],
        ),
        ("C3", ["11 of 12", "commonsense of BART: mean -4.03"]),
        ("C5", ["78.7 → 87.8 (+9.1)"]),
        ("C6", ["88.1 → 87.8 (-0.3)", "README of RoBERTa-L (86.6): +1.2"]),
        ("C9", ["RoBERTa-B: Spearman ρ = -0.51", "p = 0.030, 11 datasets", "BART: Spearman ρ = -0.23"]),
        ("C10", ["15 of 21", "CQA / BART 78.1 → 74.8 (-3.3)", "BART: median +1.8 over 7 sets"]),
        ("C11", ["1 of 3", "R2 / T5-11B 21.55 → 21.25 (-0.3)", "RL / ProphetNet 36.69 → 36.21 (-0.48)"]),
        ("C12", ["1 of 3", "R2 / Pegasus 16.83 → 14.50 (-2.33)", "RL / Pegasus 40.70 → 39.90 (-0.8)"]),
        ("C13", ["13 of 15"]),
        ("C14", ["14 of 15", "44.4 → 44.2 (-0.2)", "A2 +F+A1 19.3 → 22.5"]),
        ("C15", ["8 of 13", "53.7 printed, 54.99 from its rounds", "36.7 printed, 38.60 from its rounds"]),
        ("C16", ["5 of 7", "MNLI / ELECTRA-L 90.9 → 90.8 (-0.1)", "QNLI / ELECTRA-L 95.0 → 94.9"]),
        ("C17", ["9 of 11", "1 equal, 1 not", "MNLI / BART 89.9 → 89.9 (+0.0)"]),
        ("C18", ["eval: no", "123.267M, printed 390K", "adds up if MRC is 123K"]),
        ("C19", ["Summarization: no (5 in the appendix, 4 in Table 1)", "47 in the appendix, 46 in Table 1"]),
        ("C21", ["46 datasets", "20.2 distinct"]),
        ("C30", ["5 of 30", "RTE of RoBERTa-B +9.1 ± 6.2"]),
        ("C31", ["RTE / RoBERTa-B + MUPPET 87.8: 242 to 244 of 277 give 87.36, 87.73, 88.09"]),
        ("C32", ["1 of 2", "91.42 → 91.4 (-0.02)", "RTE +1.83, z = 0.79"]),
        ("C33", ["14 of 19", "3 equal, 2 not", "4 above with p < 0.05"]),
    ],
)
def test_the_deciding_numbers_are_named(claim, deciding):
    text = get(claim).check(sources.paper()).text
    for part in deciding:
        assert part in text


def test_claims_follow_their_cells():
    rte = ("table3", "RoBERTa-B + MUPPET", "RTE", "accuracy")
    ties = {
        ("table5", "RoBERTa-B + MUPPET", "Parsing", "F1"): 0.96,
        ("table5", "RoBERTa-B + MUPPET", "POS", "accuracy"): 0.95,
    }
    assert changed("C1", ties)[0] == "NOT SUPPORTED"  # QQP is a tie
    assert (
        changed("C1", ties | {("table3", f"{m} + MUPPET", "QQP", "accuracy"): 0.93 for m in ROBERTA})[0] == "CONSISTENT"
    )
    assert changed("C5", {rte: 0.80})[0] == "CONTRADICTED"
    assert changed("C5", {rte: 0.90})[0] == "CONTRADICTED"
    assert changed("C6", {("table3", "RoBERTa-L", "RTE", "accuracy"): 0.90})[0] == "CONTRADICTED"
    assert changed("C7", {("table3", "ELECTRA-L", "RTE", "accuracy"): 0.93})[0] == "CONTRADICTED"
    assert changed("C7", {("table3", "ELECTRA-L", "RTE", "accuracy"): 0.928})[0] == "NOT SUPPORTED"
    assert changed("C8", {("table4", "T5-11B", "HellaSwag", "accuracy"): 0.87})[0] == "CONTRADICTED"
    assert changed("C14", {("table6", "RoBERTa-MUPPET | S,M,F,ANLI", "A3", "accuracy"): 0.45})[0] == "CONSISTENT"
    assert changed("C32", {("table3", "RoBERTa-L + MUPPET", "MRPC", "accuracy"): 0.92})[0] == "CONSISTENT"
    best = {
        ("table4", "BART + MUPPET", "CNN/DailyMail", "R2"): 0.22,
        ("table4", "BART + MUPPET", "Gigaword", "RL"): 0.37,
    }
    assert changed("C11", best)[0] == "CONSISTENT"


def test_the_outside_replication_has_one_run_an_arm_and_no_interval():
    found = {claim.id: claim.check(sources.independent()) for claim in CLAIMS}
    assert found["C1"].verdict == "INCONCLUSIVE" and "35 UNDECIDED; 35 of 58 measured" in found["C1"].text
    assert found["C5"].verdict == "INCONCLUSIVE" and "+12.08" in found["C5"].text
    assert found["C31"].verdict == "SUPPORTED" and "5 of 16 are not" in found["C31"].text
    assert {found[c].verdict for c in ("C2", "C6", "C7", "C11", "C14", "C23")} == {"NOT MEASURED"}


def test_an_empty_source_measures_nothing():
    empty = Source(name="ours", label="ours", numbers={})
    verdicts = {claim.id: claim.check(empty).verdict for claim in CLAIMS}
    about_print = dict.fromkeys("C15 C18 C20 C21 C31".split(), "NOT TESTABLE")
    assert verdicts == dict.fromkeys(verdicts, "NOT MEASURED") | about_print


def test_four_sizes_that_rise_by_chance_do_not_contradict_falling_gains():
    """Of the 24 orders of four gains four rise at least so far (rho 0.8): p = 1/6."""
    rows = dict(zip([("table3", name) for name in ("SST-2", "RTE", "MRPC", "MNLI")], (1_000, 4_000, 40_000, 400_000)))
    for gains, verdict in (((0.01, 0.02, 0.04, 0.03), "INCONCLUSIVE"), ((0.01, 0.02, 0.03, 0.04), "CONTRADICTED")):
        cells = {(study, "RoBERTa-B", column): 0.8 for study, column in rows}
        cells |= {(study, "RoBERTa-B + MUPPET", column): 0.8 + gain for (study, column), gain in zip(rows, gains)}
        assert get("C9").check(replace(made(cells), train_rows=rows)).verdict == verdict


# ---------------------------------------------------------------- effects

ROW, BASE = ("table3", "RoBERTa-B + MUPPET", "RTE"), ("table3", "RoBERTa-B", "RTE")


def shown(upper: Number, lower: Number, source: Source | None = None) -> Effect:
    return effect(source or Source(name="ours", label="ours", numbers={}), [Pair(base=lower, muppet=upper)], "RTE")


@pytest.mark.parametrize(
    ("upper", "direction"), [(0.75, "UP"), (0.65, "DOWN"), (0.7005, "EQUIVALENT"), ([0.66, 0.71, 0.76], "UNDECIDED")]
)
def test_an_effect_is_what_its_interval_shows(upper, direction):
    assert shown(number(ROW, upper, n=10**6), number(BASE, 0.70, n=10**6)).direction == direction


def test_one_or_two_runs_have_scores_and_no_interval():
    found = shown(number(ROW, [0.9, 0.91]), number(BASE, 0.70))
    assert (found.direction, found.estimate, found.p) == ("UNDECIDED", None, None)
    assert "90.5 (90.0, 91.0)" in found.shown and found.detectable > 0


def test_arms_that_learned_nothing_are_uninformative():
    idle = {"trivial": 0.527, "n": 277}
    found = shown(number(ROW, 0.47, **idle), number(BASE, 0.55, **idle))
    assert found.direction == "UNINFORMATIVE" and "answer without learning (52.7" in found.uninformative
    assert shown(number(ROW, 0.47, **idle), number(BASE, 0.65, **idle)).direction == "DOWN"
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
    source = Source(name="ours", label="ours", numbers={})
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
    found = effect(Source(name="ours", label="ours", numbers={}), pairs, "a triple")
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
    def judged(gain: float, error: float, **more: object) -> str:
        pair = Pair(base=number(BASE, 0.7), muppet=number(ROW, 0.7 + gain))
        source = Source(name="ours", label="ours", numbers={}, paired_error=lambda a, b: error, **more)  # type: ignore[arg-type]
        return within(source, pair, 0.08, 0.10, "RTE").verdict

    assert judged(0.09, 0.01) == "SUPPORTED"
    assert judged(0.09, 0.05) == "INCONCLUSIVE"
    assert judged(0.05, 0.01) == judged(0.14, 0.01) == "CONTRADICTED"
    assert judged(0.09, 0.01, comparable=False) == "NOT TESTABLE"


def test_another_model_is_never_set_against_the_papers_numbers():
    cells = {key: 0.9 for key in (BASE, ROW, ("table3", "RoBERTa-L + MUPPET", "RTE"))}
    small = replace(made(cells), comparable=False)
    for claim in ("C5", "C7", "C9", "C33"):
        assert get(claim).check(small).verdict == "NOT TESTABLE", claim
    assert get("C33").check(made(cells)).verdict != "NOT TESTABLE"


# ---------------------------------------------------------------- curves

DIP = [0.70, 0.66, 0.68, 0.71, 0.72, 0.73, 0.74, 0.75]  # below its base until between 16 and 22
RISE = [0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77]
NAMES = ("RTE", "BoolQ", "RACE", "SQuAD", "MNLI")


def test_critical_point_for_all_but_one_dataset():
    assert get("C23").check(curve({name: RISE if name == "RTE" else DIP for name in NAMES})).verdict == "SUPPORTED"
    found = get("C23").check(curve(dict.fromkeys(NAMES, RISE)))
    assert found.verdict == "CONTRADICTED" and "0 of 5 curves fall below their base at first, 5 rise" in found.text
    assert get("C23").check(curve({"RTE": RISE})).verdict == "INCONCLUSIVE"  # one curve of five
    half = {name: RISE if name in ("RTE", "BoolQ") else DIP for name in NAMES}
    assert get("C23").check(curve(half)).verdict == "CONTRADICTED"


def test_monotone_curve():
    assert get("C24").check(curve({"RTE": RISE})).verdict == "SUPPORTED"
    bent = get("C24").check(curve({"RTE": [*RISE[:5], 0.70, *RISE[6:]]}))
    assert bent.verdict == "CONTRADICTED" and "28 → 34 sets" in bent.text
    assert get("C24").check(curve({"RTE": RISE[:3]})).verdict == "NOT MEASURED"
    assert get("C24").check(curve({"RTE": RISE[:6]})).verdict == "INCONCLUSIVE"  # not all scales


def test_linear_rise_past_the_critical_point():
    line = [0.60 + 0.005 * k for k in SCALES]
    assert get("C25").check(curve(dict.fromkeys(NAMES, line))).verdict == "SUPPORTED"
    assert get("C25").check(curve({"RTE": line})).verdict == "INCONCLUSIVE"
    bent = [0.60 + 0.2 * -np.expm1(-k / 6) for k in SCALES]
    assert get("C25").check(curve(dict.fromkeys(NAMES, bent))).verdict == "CONTRADICTED"
    late = [0.75, *(0.60 + 0.005 * k for k in SCALES[1:])]  # below its base up to 28 sets
    assert "rise +9" in get("C25").check(curve({"RTE": late})).text  # from the last point below on


@pytest.mark.parametrize("points", [[0.70], [0.70, 0.77], [0.70, 0.60]])
def test_the_ends_that_tables_share_with_a_curve_are_no_curve(points):
    """The base and the whole mixture are Table 3's: with these alone nothing is said of Figures 1 and 3."""
    ends = (0, 46)
    cells = {("figure1", row, f"{k} sets"): value for row in NAMES for k, value in zip(ends, points)}
    cells |= {
        ("figure3", f"{row} | {k} sets", "100 %"): value for row in ("QNLI", "CoLA") for k, value in zip(ends, points)
    }
    source = made(cells, {key: 1.0 if key[0] == "figure3" else float(key[2].split()[0]) for key in cells})
    for claim in ("C23", "C24", "C25", "C27", "C28"):
        found = get(claim).check(source)
        assert found.verdict == "NOT MEASURED", (claim, found.text)


def test_a_curve_that_ends_below_its_base_may_be_the_one_exception():
    below = [0.70, 0.66, 0.66, 0.66, 0.66, 0.66, 0.66, 0.66]
    assert get("C23").check(curve(dict.fromkeys(NAMES[:4], DIP) | {"MNLI": below})).verdict != "CONTRADICTED"
    assert get("C23").check(curve(dict.fromkeys(NAMES[:3], DIP) | dict.fromkeys(NAMES[3:], below))).verdict == (
        "CONTRADICTED"
    )


def policies(hetero: float, others: float, checkpoints: int) -> Source:
    names = tuple(f"c{i % checkpoints}" for i in range(6))
    rows = {curves.HETEROGENEOUS: hetero, curves.BATCH: others, curves.DATASET: others}
    steps = [0.001 * i for i in range(6)]
    cells = {("figure2", row, name): [score + step for step in steps] for row, score in rows.items() for name in NAMES}
    return made(cells, checkpoints=names)


def test_batching_needs_a_margin_beyond_checkpoints():
    assert get("C26").check(policies(0.80, 0.70, 3)).verdict == "SUPPORTED"
    assert get("C26").check(policies(0.70, 0.80, 3)).verdict == "CONTRADICTED"
    alone = get("C26").check(policies(0.80, 0.70, 1))
    assert alone.verdict == "NOT TESTABLE" and "needs 3 checkpoints" in alone.text


def heatmap(base: list[float], muppet: list[float], scales: tuple[int, ...] = (34, 40)) -> Source:
    shares = (0.1, 0.4375, 1.0)
    cells = {
        ("figure3", f"{dataset} | {scale} sets", f"{100 * share:g} %"): score
        for dataset in ("QNLI", "CoLA")
        for scale, line in ((0, base), *((scale, muppet) for scale in scales))
        for share, score in zip(shares, line)
    }
    return made(cells, {key: float(key[2].split()[0]) / 100 for key in cells})


def test_data_efficiency():
    better = get("C27").check(heatmap([0.5, 0.6, 0.7], [0.6, 0.72, 0.75]))
    assert better.verdict == "SUPPORTED" and "reach 70.0 with 43.8 % of the data" in better.text
    assert get("C27").check(heatmap([0.5, 0.6, 0.7], [0.4, 0.5, 0.71])).verdict == "CONTRADICTED"


def test_scale_in_the_maps():
    assert get("C28").check(heatmap([0.5, 0.6, 0.7], [0.6, 0.72, 0.75])).verdict == "NOT MEASURED"  # three scales
    shares = [round(0.1 + 0.1125 * i, 4) for i in range(9)]

    def maps(rise: float) -> Source:
        cells = {
            ("figure3", f"{dataset} | {k} sets", f"{100 * share:g} %"): 0.6 + 0.1 * share + rise * k
            for dataset in ("QNLI", "CoLA")
            for k in SCALES
            for share in shares
        }
        return made(cells, {key: float(key[2].split()[0]) / 100 for key in cells})

    assert get("C28").check(maps(0.001)).verdict == "SUPPORTED"
    assert get("C28").check(maps(-0.001)).verdict == "CONTRADICTED"


ABLATED = ("RTE", "MRPC", "BoolQ", "CQA", "SQuAD")


def arms(margin: float, others: tuple[str, ...], columns: tuple[str, ...] = ABLATED, checkpoints: int = 3) -> Source:
    names = tuple(f"c{i % checkpoints}" for i in range(6))
    rows = {"": margin} | dict.fromkeys((f", {other}" for other in others), 0.0)
    cells = {
        ("ablations", f"RoBERTa-B + MUPPET{row}", column): [0.8 + gain + 0.001 * i for i in range(6)]
        for row, gain in rows.items()
        for column in columns
    }
    return made(cells, checkpoints=names)


def test_ablations_need_a_size_all_columns_and_checkpoints():
    both = ("uniform sampling", "temperature sampling")
    assert get("C35").check(arms(0.03, both)).verdict == "SUPPORTED"
    assert get("C35").check(arms(0.03, both[:1])).verdict == "INCONCLUSIVE"  # one of two alternatives
    assert get("C35").check(arms(0.03, both, ABLATED[:4])).verdict == "INCONCLUSIVE"
    assert get("C35").check(arms(0.03, both, checkpoints=1)).verdict == "NOT TESTABLE"
    assert get("C35").check(arms(-0.02, both)).verdict == "CONTRADICTED"
    heads = ("a head per dataset",)
    assert get("C36").check(arms(0.01, heads)).verdict == "CONTRADICTED"  # a sign is not the size
    assert get("C36").check(arms(0.05, heads)).verdict == "SUPPORTED"
    assert get("C38").check(arms(0.03, ("new heads",), checkpoints=1)).verdict == "SUPPORTED"  # one checkpoint in both


def test_superset_and_parameters_are_read_from_what_is_declared():
    sets = {k: {f"t{i}" for i in range(k)} for k in SCALES[1:]}
    source = Source(
        name="ours", label="ours", numbers={}, declared={"scale_sets": sets, "parameters": {"RTE": (10, 10)}}
    )
    assert get("C29").check(source).verdict == "SUPPORTED"
    assert get("C22").check(source).verdict == "SUPPORTED"
    broken = replace(source, declared={"scale_sets": sets | {16: {"other"}}, "parameters": {"RTE": (10, 12)}})
    assert get("C29").check(broken).verdict == "CONTRADICTED"
    assert get("C22").check(broken).verdict == "CONTRADICTED"


# ---------------------------------------------------------------- print


@given(st.lists(st.sampled_from([0.01, 0.0, -0.01]), max_size=6), st.integers(0, 3))
def test_one_counter_example_contradicts_and_a_tie_does_not(gains, more):
    base = replace(number(BASE, 0.7), seeds=(), half=0.0005)
    cases = [Case(name="x", datasets=((Pair(base=base, muppet=replace(base, value=0.7 + gain)),),)) for gain in gains]
    verdict = universal(sources.paper(), cases, len(gains) + more, "cells").verdict
    if not gains:
        assert verdict == "NOT PRINTED"
    elif -0.01 in gains:
        assert verdict == "CONTRADICTED"
    else:
        assert verdict == ("CONSISTENT" if not more and set(gains) == {0.01} else "NOT SUPPORTED")


def test_an_unknown_claim_is_one_line():
    with pytest.raises(UserError, match="unknown claim 'C99': did you mean"):
        get("C99")


# ---------------------------------------------------------------- calibration


def test_the_stored_rates_are_of_every_claim_that_needs_statistics_and_wrong_in_at_most_a_tenth():
    rates = {rate.claim: rate for rate in calibration.read()}
    facts = "C15 C18 C19 C20 C21 C22 C29 C30 C31".split()
    assert set(rates) == {claim.id for claim in CLAIMS} - set(facts)
    for rate in rates.values():
        assert rate.true_contradicted <= 0.1 and rate.false_supported <= 0.1, rate


@pytest.mark.parametrize("claim", ["C5", "C11", "C24", "C26", "C34"])
def test_the_stored_rates_are_what_a_simulation_gives(claim):
    (stored,) = [rate for rate in calibration.read() if rate.claim == claim]
    assert calibration.rates(get(claim)) == stored
