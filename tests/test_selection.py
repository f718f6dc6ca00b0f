"""What decides a claim: CLAIM= selects the cells that its check looks at, and a budget buys whole claims."""

import re
from collections.abc import Iterable
from dataclasses import replace

import pytest

from muppet.errors import UserError
from studies import __main__ as cli
from studies.claims import CLAIMS, get
from studies.claims.claim import Number, Source
from studies.claims.selection import CELLS, any_of, cells, complete
from studies.claims.sources import families, train_rows
from studies.kit.load import load_studies
from studies.kit.study import Study
from studies.pages import budget

PAPER = load_studies("paper")
NAMES = ("RoBERTa-B", "RoBERTa-B + MUPPET", "RoBERTa-B + MUPPET (released)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))


def picked(claim: str, arm=None) -> set[tuple[str, str]]:
    own = cells(claim, arm)
    return {(name, cell.key) for name, study in PAPER.items() for cell in study.cells if own(name, cell)}


def measured(studies: Iterable[Study]) -> Source:
    """Every cell of `studies` with five runs that learned, on the checkpoints of their own."""
    numbers = {}
    for study in studies:
        for i, cell in enumerate(study.cells):
            score = 0.6 + 0.0001 * i
            numbers[study.name, cell.row, cell.column, cell.metric] = Number(
                study=study.name, row=cell.row, column=cell.column, metric=cell.metric, value=score, shown="60.0",
                n=1_000, x=cell.x, seeds=tuple(score + step for step in (-0.02, -0.01, 0, 0.01, 0.02)),
            )  # fmt: skip
    return Source(name="ours", numbers=numbers, families=families(), train_rows=train_rows())


def test_a_claim_of_one_cell_has_its_base_and_both_checkpoints() -> None:
    assert picked("C5") == {("table3", f"{row}/RTE") for row in NAMES}
    assert picked("c5", "released") == {("table3", f"{row}/RTE") for row in (NAMES[0], NAMES[2])}
    assert picked("C5", "ours") == {("table3", f"{row}/RTE") for row in NAMES[:2]}


def test_every_claim_has_cells_or_is_decided_by_what_is_printed_or_declared() -> None:
    without = {claim.id for claim in CLAIMS} - set(CELLS)
    assert without == set("C15 C18 C19 C20 C21 C29 C30 C31".split())
    for claim in CELLS:
        assert picked(claim), claim
    with pytest.raises(UserError, match="C15 is decided by what is printed"):
        cells("C15")
    with pytest.raises(UserError, match="did you mean"):
        any_of("C5,C99")
    with pytest.raises(UserError, match="unknown checkpoint .*'theirs'"):
        any_of("C5:theirs")


@pytest.mark.parametrize("claim", [claim for claim in CELLS if claim != "C22"])  # which counts parameters
def test_the_selected_cells_are_all_that_the_check_expects(claim: str) -> None:
    own = cells(claim, "ours")
    found = get(claim).check(measured(study.where(own) for study in PAPER.values()))
    assert found.verdict not in ("NOT MEASURED", "NOT PRINTED"), found.text
    assert not re.search(r"\d+ of \d+ measured|are not measured", found.text), found.text
    if claim in ("C23", "C28"):
        assert "Some scales" not in found.text and "0 of 5 curves are whole" not in found.text


@pytest.mark.parametrize("claim", ["C1", "C3", "C5", "C10", "C14", "C16", "C17", "C26", "C27", "C35"])
def test_without_one_of_the_selected_cells_the_check_lacks_something(claim: str) -> None:
    own = cells(claim, "ours")
    studies = [study.where(own) for study in PAPER.values()]
    name = next(study.name for study in studies if study.cells)
    last = next(study for study in studies if study.name == name).cells[-1]
    less = [
        study.where(lambda name, cell, last=last: (cell.row, cell.column) != (last.row, last.column))
        for study in studies
    ]
    whole, part = (get(claim).check(measured(some)) for some in (studies, less))
    assert part.text != whole.text and part.verdict != "SUPPORTED"


def test_what_a_profile_lacks_is_not_complete() -> None:
    base = load_studies("base")
    assert complete(base, "C5", "released") and complete(base, "C5", "ours")
    assert complete(base, "C6", "ours") is None  # needs the large model
    assert complete(PAPER, "C2", "released") is None  # there is no released BART
    assert complete(PAPER, "C23", "released") is None  # nor a released curve


def test_one_stage_is_run_for_the_base_model_where_the_profile_has_no_large_one() -> None:
    own = complete(load_studies("mini"), "C32", "ours", "mini")
    assert own and {cell.row.partition(" + ")[0] for study in own.values() for cell in study.cells} == {"RoBERTa-B"}
    found = get("C32").check(replace(measured(own.values()), comparable=False))
    assert "datasets above one MNLI stage: 2 " in found.text and "of 2 measured" not in found.text
    assert {key.partition(" + ")[0] for _, key in picked("C32")} == {"RoBERTa-L"}


def test_claim_selects_for_make_plan_and_status(folder, capsys) -> None:
    assert cli.main(["plan", "--profile", "base", "--claim", "C5:released"]) == 0
    out = capsys.readouterr().out
    assert "table3 RoBERTa-B + MUPPET (released)/RTE: 3 runs" in out
    assert "0 pre-finetunings" in out and "then 6 fine-tunings" in out
    assert cli.main(["table3", "--claim", "C5", "--no-run"]) == 0
    assert "MNLI" not in capsys.readouterr().out.partition("Of ")[0].partition("RTE")[2]
    assert cli.main(["status", "--claim", "C5"]) == 0
    assert "table3" in capsys.readouterr().out
    assert cli.main(["table4", "--claim", "C5", "--no-run"]) == 2
    assert "no cell of what was asked for decides that claim (CLAIM)" in capsys.readouterr().err


def test_a_budget_buys_the_cheapest_decisions_first_and_pays_a_run_once(folder, capsys) -> None:
    options = {
        ("A", "ours"): frozenset("ab"),
        ("B", "ours"): frozenset("abc"),
        ("C", "ours"): frozenset("d"),
        ("D", "ours"): frozenset("ab"),
    }
    steps = budget.order(options, {"a": 3600.0, "b": 3600.0, "c": 7200.0, "d": 5400.0})
    assert [[claim for claim, _ in step.claims] for step in steps] == [["A", "D"], ["C"], ["B"]]
    assert [(step.hours, step.total) for step in steps] == [(2.0, 2.0), (1.5, 3.5), (2.0, 5.5)]
    assert cli.main(["plan", "--profile", "base", "--budget", "1"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"0\.\d\d GPU-hours \(\+0\.\d\d, 6 runs\): C5 released", out)
    assert "CLAIM=C5:released" in out and "the next step would cost" in out
    assert cli.main(["plan", "--profile", "base", "--budget", "1", "--claim", "C5:released C6"]) == 0
    out = capsys.readouterr().out  # C5's cells are C1's too, which are not all that C1 is about
    assert set(re.findall(r"C\d+ \w+", out)) == {"C5 released"} and "not to be decided at this profile: C6 (" in out
    assert cli.main(["plan", "--budget", "1", "--only", "*/RTE"]) == 2
    assert "not with ONLY or ARTEFACT" in capsys.readouterr().err
    assert cli.main(["plan", "--budget", "much"]) == 2
    assert "BUDGET takes a number of hours, as 2.5, not 'much'" in capsys.readouterr().err


def test_claims_over_checkpoints_can_be_bought_where_a_profile_declares_several(folder, capsys) -> None:
    for profile, there in (("paper", True), ("base", False)):
        assert cli.main(["plan", "--profile", profile, "--budget", "0"]) == 0
        lacking = re.search(r"not to be decided at this profile: (.*) \(", capsys.readouterr().out)
        listed = set(lacking[1].split(", ")) if lacking else set()
        assert {"C26", "C35", "C36", "C37"} & listed == (set() if there else {"C26", "C35", "C36", "C37"})
