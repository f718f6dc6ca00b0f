"""Claims: right on the paper's own cells, moved by the cells that decide them, right on curves with known answers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet.errors import UserError
from studies.claims import CLAIMS, curves, get, sources
from studies.claims.claim import Number, Part, Source, judged, universal

# Checked by hand against Tables 1 to 6 once; the code computes them.
ON_PAPER = {
    "HOLDS": "C5 C6 C7 C8 C20",
    "PARTIAL": "C9 C10 C16 C17 C18 C19 C30 C33",
    "FAILS": "C1 C2 C3 C4 C11 C12 C13 C14 C15 C21 C31 C32",
    "NOT MEASURED": "C22 C23 C24 C25 C26 C27 C28 C29 C34 C35 C36 C37 C38",
}
ROBERTA = ("RoBERTa-B", "RoBERTa-L")
SCALES = (0, 10, 16, 22, 28, 34, 40, 46)


def changed(claim: str, cells: dict[tuple[str, str, str, str], float]) -> tuple[str, str]:
    """Verdict on the paper with some cells replaced, and its text."""
    paper = sources.paper()
    numbers = dict(paper.numbers)
    for key, value in cells.items():
        numbers[key] = replace(numbers[key], value=value, shown=f"{100 * value:.1f}")
    finding = get(claim).check(replace(paper, numbers=numbers))
    return finding.verdict, finding.text


def made(
    cells: dict[tuple[str, str, str], float | list[float]], x: dict[tuple[str, str, str], float] | None = None
) -> Source:
    """A source of our own: (study, row, column) → score, or one score a seed."""
    numbers = {}
    for (study, row, column), value in cells.items():
        seeds = tuple(value) if isinstance(value, list) else (value,)
        mean = sum(seeds) / len(seeds)
        numbers[study, row, column, "accuracy"] = Number(
            study=study,
            row=row,
            column=column,
            metric="accuracy",
            value=mean,
            shown=f"{100 * mean:.1f}",
            n=1000,
            x=(x or {}).get((study, row, column)),
            seeds=seeds,
        )
    return Source(name="ours", label="ours", numbers=numbers)


def curve(scores: dict[str, list[float]], study: str = "figure1") -> Source:
    """Rows of scores over SCALES, the base first."""
    cells = {(study, row, f"{k} sets"): value for row, line in scores.items() for k, value in zip(SCALES, line)}
    return made(cells, {key: float(key[2].split()[0]) for key in cells})


def test_every_claim_is_there_with_its_sentence():
    assert [claim.id for claim in CLAIMS] == [f"C{i}" for i in range(1, 39)]
    assert all(claim.quote or claim.section == "Reviewer" for claim in CLAIMS)


@pytest.mark.parametrize(("verdict", "claim"), [(v, c) for v, ids in ON_PAPER.items() for c in ids.split()])
def test_verdicts_on_the_papers_own_cells(verdict, claim):
    assert get(claim).check(sources.paper()).verdict == verdict


@pytest.mark.parametrize(
    ("claim", "deciding"),
    [
        (
            "C1",
            ["26 of 30", "table5 Parsing / RoBERTa-B 95.1 → 94.5 (-0.6)", "table5 POS / RoBERTa-B 93.7 → 93.2 (-0.5)"],
        ),
        ("C2", ["26 of 32", "HellaSwag / BART 84.1 → 75.9 (-8.2)", "CNN/DailyMail R2 / BART 21.28 → 21.25 (-0.03)"]),
        ("C3", ["11 of 12", "commonsense of BART: mean -4.03"]),
        ("C5", ["78.7 → 87.8 (+9.1)"]),
        ("C6", ["87.8", "88.1: -0.3", "README (86.6): +1.2"]),
        ("C9", ["RoBERTa-B: no (Spearman ρ = -0.51", "RoBERTa-L: yes (Spearman ρ = -0.58", "BART: no"]),
        ("C11", ["7 of 9", "21.25 against T5-11B 21.55", "36.21 against ProphetNet 36.69"]),
        ("C12", ["7 of 9", "14.50 against Pegasus 16.83", "39.90 against Pegasus 40.70"]),
        ("C14", ["19 of 20", "44.4 → 44.2 (-0.2)", "A2 +F+A1 19.3 → 22.5"]),
        ("C15", ["8 of 13", "53.7 printed, 54.99 from its rounds", "36.7 printed, 38.60 from its rounds"]),
        ("C16", ["MNLI: no (RoBERTa-L + MUPPET 90.8 against ELECTRA-L 90.9", "MRPC: yes", "against RoBERTa-L 90.9"]),
        ("C18", ["eval: no", "123.267M, printed 390K", "adds up if MRC is 123K"]),
        ("C19", ["Summarization: no (5 in the appendix, 4 in Table 1)", "47 in the appendix, 46 in Table 1"]),
        ("C21", ["46 datasets", "20.2 distinct"]),
        ("C30", ["5 of 30", "RTE of RoBERTa-B +9.1 ± 6.2"]),
        ("C31", ["RTE / RoBERTa-B + MUPPET 87.8: 242 to 244 of 277 give 87.36, 87.73, 88.09"]),
        ("C32", ["92.8 against 90.97: +1.83, z = 0.79"]),
        ("C33", ["16 of 21", "RoBERTa-L RTE: yes (92.8 against 86.6: +6.2"]),
    ],
)
def test_the_deciding_numbers_are_named(claim, deciding):
    text = get(claim).check(sources.paper()).text
    for part in deciding:
        assert part in text


def test_claims_follow_their_cells():
    up = {("table3", f"{m} + MUPPET", "QQP", "accuracy"): 0.93 for m in ROBERTA}
    up |= {
        ("table5", "RoBERTa-B + MUPPET", "Parsing", "F1"): 0.96,
        ("table5", "RoBERTa-B + MUPPET", "POS", "accuracy"): 0.95,
    }
    assert changed("C1", up)[0] == "HOLDS"
    assert changed("C5", {("table3", "RoBERTa-B + MUPPET", "RTE", "accuracy"): 0.80})[0] == "FAILS"
    assert changed("C5", {("table3", "RoBERTa-B + MUPPET", "RTE", "accuracy"): 0.90})[0] == "PARTIAL"
    assert changed("C6", {("table3", "RoBERTa-L", "RTE", "accuracy"): 0.90})[0] == "FAILS"
    assert changed("C7", {("table3", "ELECTRA-L", "RTE", "accuracy"): 0.93})[0] == "FAILS"
    assert changed("C8", {("table4", "T5-11B", "HellaSwag", "accuracy"): 0.87})[0] == "FAILS"
    assert changed("C14", {("table6", "RoBERTa-MUPPET | S,M,F,ANLI", "A3", "accuracy"): 0.45})[0] == "HOLDS"
    assert changed("C32", {("table3", "RoBERTa-L + MUPPET", "RTE", "accuracy"): 0.96})[0] == "PARTIAL"
    best = {
        ("table4", "BART + MUPPET", "CNN/DailyMail", "R2"): 0.22,
        ("table4", "BART + MUPPET", "Gigaword", "RL"): 0.37,
    }
    assert changed("C11", best)[0] == "HOLDS"


def test_the_outside_replication():
    found = {claim.id: claim.check(sources.independent()) for claim in CLAIMS}
    assert found["C1"].verdict == "FAILS" and "27 of 35" in found["C1"].text and "wnli" in found["C1"].text
    assert found["C5"].verdict == "PARTIAL" and "+12.08" in found["C5"].text
    assert found["C31"].verdict == "HOLDS" and "5 of 16 are not" in found["C31"].text
    assert {found[c].verdict for c in ("C2", "C6", "C7", "C11", "C14", "C23")} == {"NOT MEASURED"}


def test_an_empty_source_measures_nothing():
    empty = Source(name="ours", label="ours", numbers={})
    assert {claim.check(empty).verdict for claim in CLAIMS} == {"NOT MEASURED"}


def test_a_half_measured_claim_does_not_hold():
    source = made({("table3", row, "RTE"): score for row, score in (("RoBERTa-B", 0.7), ("RoBERTa-B + MUPPET", 0.8))})
    finding = get("C1").check(source)
    assert finding.verdict == "PARTIAL" and "29 more not measured" in finding.text


# ---------------------------------------------------------------- curves

DIP = [0.70, 0.66, 0.68, 0.71, 0.72, 0.73, 0.74, 0.75]  # below its base until between 16 and 22
RISE = [0.70, 0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77]
NAMES = ("RTE", "BoolQ", "RACE", "SQuAD", "MNLI")


def test_critical_point_for_all_but_one_dataset():
    assert get("C23").check(curve({name: RISE if name == "RTE" else DIP for name in NAMES})).verdict == "HOLDS"
    finding = get("C23").check(curve(dict.fromkeys(NAMES, RISE)))
    assert finding.verdict == "FAILS" and "never below the base model" in finding.text
    half = {name: RISE if name in ("RTE", "BoolQ") else DIP for name in NAMES}
    assert get("C23").check(curve(half)).verdict == "PARTIAL"
    assert "crossing at 20" in get("C23").check(curve(half)).text


def test_monotone_curve():
    assert get("C24").check(curve({"RTE": RISE})).verdict == "HOLDS"
    assert get("C24").check(curve({"RTE": [*RISE[:5], 0.73, *RISE[6:]]})).verdict == "FAILS"


def test_linear_rise_past_the_critical_point():
    line = [0.75, *(0.60 + 0.005 * k for k in SCALES[1:])]  # below its base up to 28 sets
    assert get("C25").check(curve({"RTE": line})).verdict == "NOT MEASURED"  # four scores past it are too few
    seeds = [[v - 0.0002, v, v + 0.0002] for v in line]
    finding = get("C25").check(curve({"RTE": seeds}))
    assert finding.verdict == "HOLDS" and "slope +5.00 points per ten sets" in finding.text
    flat = [[0.7, 0.7], *([0.8, 0.8001] for _ in SCALES[1:])]
    assert get("C25").check(curve({"RTE": flat})).verdict == "FAILS"


def policies(hetero: list[float], batch: list[float], dataset: list[float]) -> Source:
    rows = {curves.HETEROGENEOUS: hetero, curves.BATCH: batch, curves.DATASET: dataset}
    return made({("figure2", row, "RTE"): seeds for row, seeds in rows.items()})


def test_batching_needs_a_margin_beyond_the_seeds():
    assert get("C26").check(policies([0.80, 0.81, 0.82], [0.70, 0.71, 0.72], [0.60, 0.61, 0.62])).verdict == "HOLDS"
    assert get("C26").check(policies([0.80, 0.70, 0.82], [0.79, 0.71, 0.80], [0.60, 0.61, 0.62])).verdict == "PARTIAL"
    assert get("C26").check(policies([0.80], [0.70], [0.60])).verdict == "NOT MEASURED"  # one seed shows no margin


def heatmap(base: list[float], muppet: list[float]) -> Source:
    shares = (0.1, 0.4375, 1.0)
    cells = {
        ("figure3", f"CoLA | {scale} sets", f"{100 * share:g} %"): score
        for scale, line in ((0, base), (34, muppet), (40, muppet))
        for share, score in zip(shares, line)
    }
    return made(cells, {key: float(key[2].split()[0]) / 100 for key in cells})


def test_data_efficiency_and_scale():
    better = heatmap([0.5, 0.6, 0.7], [0.6, 0.72, 0.75])
    assert get("C27").check(better).verdict == "HOLDS" and "reached with 43.8 % of it" in get("C27").check(better).text
    assert get("C28").check(better).verdict == "HOLDS"
    worse = heatmap([0.5, 0.6, 0.7], [0.4, 0.5, 0.71])
    assert get("C27").check(worse).verdict == "FAILS"
    assert get("C28").check(worse).verdict == "FAILS"


def test_ablation_arms_need_all_their_alternatives():
    rows = {"": 0.80, ", uniform sampling": 0.75}
    cells = {("ablations", f"RoBERTa-B + MUPPET{row}", "RTE"): score for row, score in rows.items()}
    assert get("C35").check(made(cells)).verdict == "PARTIAL"
    cells["ablations", "RoBERTa-B + MUPPET, temperature sampling", "RTE"] = 0.70
    assert get("C35").check(made(cells)).verdict == "HOLDS"
    cells["ablations", "RoBERTa-B + MUPPET, temperature sampling", "RTE"] = 0.90
    assert get("C35").check(made(cells)).verdict == "PARTIAL"


def test_superset_and_parameters_are_read_from_what_is_declared():
    sets = {k: {f"t{i}" for i in range(k)} for k in SCALES[1:]}
    source = Source(
        name="ours", label="ours", numbers={}, declared={"scale_sets": sets, "parameters": {"RTE": (10, 10)}}
    )
    assert get("C29").check(source).verdict == "HOLDS"
    assert get("C22").check(source).verdict == "HOLDS"
    broken = replace(source, declared={"scale_sets": sets | {16: {"other"}}, "parameters": {"RTE": (10, 12)}})
    assert get("C29").check(broken).verdict == "PARTIAL"
    assert get("C22").check(broken).verdict == "FAILS"


# ---------------------------------------------------------------- how verdicts are made


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=6))
def test_parts_make_a_verdict(marks):
    verdict = judged(Part(name=str(i), holds=mark) for i, mark in enumerate(marks)).verdict
    known = [mark for mark in marks if mark is not None]
    assert (verdict == "NOT MEASURED") == (not known)
    assert (verdict == "HOLDS") == (known == [True] * len(marks))
    assert (verdict == "FAILS") == (bool(known) and not any(known))


@given(st.lists(st.booleans(), max_size=6), st.integers(0, 3))
def test_one_counter_example_refutes_a_universal_claim(cells, more):
    verdict = universal([(holds, "cell") for holds in cells], len(cells) + more, "cells").verdict
    if not cells:
        assert verdict == "NOT MEASURED"
    elif not all(cells):
        assert verdict == "FAILS"
    else:
        assert verdict == ("PARTIAL" if more else "HOLDS")


def test_an_unknown_claim_is_one_line():
    with pytest.raises(UserError, match="unknown claim 'C99': did you mean"):
        get("C99")
