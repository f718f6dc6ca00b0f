"""Claims: right on the paper's own cells, moved by the cells that decide them, and calibrated."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet.errors import UserError
from studies.claims import CLAIMS, calibration, get, sources
from studies.claims.claim import Pair, Source
from studies.claims.verdicts import Case, universal
from tests.made_sources import BASE, made, number

# Checked by hand against Tables 1 to 6 and the definitions on the page of claims; the code computes them.
ON_PAPER = {
    "CONSISTENT": "C5 C6 C7 C8 C20",
    "NOT SUPPORTED": "C9 C30 C32",
    "CONTRADICTED": "C1 C2 C3 C4 C10 C11 C12 C13 C14 C15 C16 C17 C18 C19 C21 C31 C33",
    "NOT PRINTED": "C22 C23 C24 C25 C26 C27 C28 C29 C34 C35 C36 C37 C38",
}
ROBERTA = ("RoBERTa-B", "RoBERTa-L")


def changed(claim: str, cells: dict[tuple[str, str, str, str], float]) -> tuple[str, str]:
    """Verdict on the paper with some cells replaced, and its text."""
    paper = sources.paper()
    numbers = dict(paper.numbers)
    for key, value in cells.items():
        numbers[key] = replace(numbers[key], value=value, shown=f"{100 * value:.1f}")
    found = get(claim).check(replace(paper, numbers=numbers))
    return found.verdict, found.text


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
    empty = Source(name="ours", numbers={})
    verdicts = {claim.id: claim.check(empty).verdict for claim in CLAIMS}
    about_print = dict.fromkeys("C15 C18 C20 C21 C31".split(), "NOT TESTABLE")
    assert verdicts == dict.fromkeys(verdicts, "NOT MEASURED") | about_print


def test_four_sizes_that_rise_by_chance_do_not_contradict_falling_gains_nor_does_one_model_show_them():
    """Of the 24 orders of four gains four rise at least so far (rho 0.8): p = 1/6. The claim is of three models."""
    rows = dict(zip([("table3", name) for name in ("SST-2", "RTE", "MRPC", "MNLI")], (1_000, 4_000, 40_000, 400_000)))
    chance, rising, falling = (0.01, 0.02, 0.04, 0.03), (0.01, 0.02, 0.03, 0.04), (0.04, 0.03, 0.02, 0.01)
    for gains, verdict in ((chance, "INCONCLUSIVE"), (rising, "CONTRADICTED"), (falling, "INCONCLUSIVE")):
        cells = {(study, "RoBERTa-B", column): 0.8 for study, column in rows}
        cells |= {(study, "RoBERTa-B + MUPPET", column): 0.8 + gain for (study, column), gain in zip(rows, gains)}
        assert get("C9").check(replace(made(cells), train_rows=rows)).verdict == verdict


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
