"""Sources from results on disk: rows get the paper's names, columns their place, cells their seeds."""

import argparse

import pytest

from muppet import result
from muppet.runs import digest, facts, run_id
from studies.claims import sources
from studies.kit import decisions, profiles
from studies.kit.ledger.folder import result_path
from studies.kit.load import load_studies
from studies.pages import claims

SCORES = {  # row of table 3 → RTE, CoLA, both SQuADs
    "RoBERTa-B": 0.70,
    "RoBERTa-B + MUPPET": 0.80,
    "RoBERTa-B + MUPPET (released)": 0.75,
}


def keep(run, scores: dict[str, float], parameters: int) -> None:
    plain = facts(run)
    assert run_id(run).endswith(digest(plain)[:12])
    result.write(
        result.Result(
            id=run_id(run),
            facts=plain,
            data={},
            cost={},
            environment={},
            training={"parameters": parameters},
            scores={key: result.Score(value=scores.get(key, 0.5), n=200) for key in scores.keys() | result.due(plain)},
        ),
        result_path("smoke", run),
    )


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A folder with the smoke results of three rows of Table 3 in four columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.delenv(decisions.OVERRIDE, raising=False)
    wanted = {"RTE", "CoLA", "SQuAD", "SQuAD 1.1 F1"}
    scores: dict = {}
    for cell in load_studies("smoke", ["table3"])["table3"].cells:
        if cell.row in SCORES and cell.column in wanted:
            for run in cell.runs:
                scores.setdefault(run, {})[cell.score] = SCORES[cell.row]
    for run, found in scores.items():
        keep(run, found, parameters=1000)
    return tmp_path


def test_rows_and_columns_find_their_place(measured):
    released, ours = sources.measured("smoke")
    assert (released.label, ours.label) == ("released (smoke)", "ours (smoke)")
    rte = ours.get("table3", "RoBERTa-B + MUPPET", "RTE")
    assert rte is not None and (rte.value, rte.n, rte.seeds, rte.shown) == (0.80, 200, (0.80,), "80.0")
    assert released.get("table3", "RoBERTa-B + MUPPET", "RTE").value == 0.75
    assert released.get("table3", "RoBERTa-B", "RTE").value == ours.get("table3", "RoBERTa-B", "RTE").value == 0.70
    assert not any("released" in row for source in (released, ours) for _, row, _, _ in source.numbers)
    # CoLA is beyond the paper; SQuAD's F1 is a second metric of a column that the paper has.
    columns = {(study, column) for study, _, column, _ in ours.numbers if study in ("table3", "beyond")}
    assert columns == {("table3", "RTE"), ("beyond", "CoLA"), ("table3", "SQuAD")}
    assert ours.train_rows["table3", "RTE"] == profiles.SMOKE_TRAIN  # not the original's 2,490
    assert ours.families["beyond", "CoLA"] == "sentence prediction"


def test_claims_are_judged_by_results(measured):
    released, ours = sources.measured("smoke")
    judged = {source.name: {c.id: c.check(source) for c in claims.CLAIMS} for source in (released, ours)}
    for name, text in (("ours", "70.0 → 80.0 (+10.0)"), ("released", "70.0 → 75.0 (+5.0)")):
        rte = judged[name]["C5"]
        assert rte.verdict == "NOT TESTABLE" and text in rte.text and "another model" in rte.text
    assert judged["ours"]["C22"].verdict == "SUPPORTED" and "1,000 before, 1,000 after" in judged["ours"]["C22"].text
    assert (
        judged["ours"]["C1"].verdict == "INCONCLUSIVE" and "3 UNDECIDED; 3 of 31 measured" in judged["ours"]["C1"].text
    )
    assert judged["ours"]["C14"].verdict == "NOT MEASURED"


def test_uncommitted_results_stay_out_of_the_committed_file(measured, capsys):
    claims.main(argparse.Namespace(command="claims", only=None, profile="smoke"))
    shown = capsys.readouterr().out  # the committed verdicts, whatever was run at smoke
    assert "ours (smoke)" not in shown and "wrote paper_tables/smoke/claims.md" in shown
    tables = measured / "paper_tables"
    assert "ours (smoke)" in (tables / "smoke" / "claims.md").read_text(encoding="utf-8")
    assert "smoke" not in (tables / "claims.md").read_text(encoding="utf-8")


def test_a_bad_result_is_left_out(measured):
    key = ("table3", "RoBERTa-B + MUPPET", "RTE", "accuracy")
    cells = load_studies("smoke", ["table3"])["table3"].cells
    run = next(cell.runs[0] for cell in cells if (cell.row, cell.column) == key[1:3])
    path = result_path("smoke", run)
    path.write_text(path.read_text(encoding="utf-8").replace("0.8", "0.9"), encoding="utf-8")
    _, ours = sources.measured("smoke")
    assert key not in ours.numbers and ("table3", "RoBERTa-B", "RTE", "accuracy") in ours.numbers


def test_a_profile_s_two_sources_stand_together(measured):
    """Columns of a page are by source: one that has measured nothing keeps its place beside the other."""
    for cell in load_studies("smoke", ["table3"])["table3"].cells:
        if cell.row.endswith(sources.RELEASED):
            for run in cell.runs:
                result_path("smoke", run).unlink(missing_ok=True)
    labels = [source.label for source in claims.all_sources(("paper", "smoke"))]
    assert labels == ["paper", "independent", "released", "ours", "released (smoke)", "ours (smoke)"]
