"""The statistics page from results on disk, with items and seeds whose answer is known."""

import pytest

from muppet import result
from muppet.runs import facts, run_id
from studies.kit import decisions
from studies.kit.ledger import results
from studies.kit.ledger.cells import cells_frame
from studies.kit.ledger.folder import result_path
from studies.kit.load import load_studies
from studies.pages import statistics

N = 200
RIGHT = {"RoBERTa-B": 120, "RoBERTa-B + MUPPET": 150}  # of the first items; MUPPET gets those and 30 more


@pytest.fixture
def table3(tmp_path, monkeypatch):
    """Mini results for RTE of both rows, three seeds, and for SST-2 of the base alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.delenv(decisions.OVERRIDE, raising=False)
    study = load_studies("mini", ["table3"])["table3"]
    for cell in study.cells:
        if cell.row in RIGHT and (cell.column == "RTE" or (cell.row, cell.column) == ("RoBERTa-B", "SST-2")):
            for run in cell.runs:
                right = RIGHT[cell.row] + 2 * run.seed
                items = [1.0] * right + [0.0] * (N - right)
                score = result.Score(value=right / N, n=N, items=result.pack_items(items))
                kept = result.Result(
                    id=run_id(run),
                    facts=facts(run),
                    scores={cell.score: score},
                    data={},
                    training={},
                    cost={},
                    environment={},
                )
                result.write(kept, result_path("mini", run))
    return study


def test_a_known_difference(table3, tmp_path):
    path = statistics.write({"table3": table3}, "mini", results.read_all("mini"))
    text = path.read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| RoBERTa")
    ]
    assert len(rows) == 1  # SST-2 has no MUPPET result
    row, column, gain, seeds, items, p, adjusted = rows[0]
    assert (row, column, gain) == ("RoBERTa-B + MUPPET", "RTE", "**+15.0**")
    assert seeds == "[+15.0, +15.0]"  # every seed differs by 30 of 200
    low, high = (float(bound) for bound in items.strip("[]").split(", "))
    assert low == pytest.approx(10, abs=1.5) and high == pytest.approx(20, abs=1.5)  # 15 ± 1.96 · sqrt(.15 · .85 / 200)
    assert p == adjusted == "< 0.001"
    family = next(line for line in text.splitlines() if line.startswith("| sentence prediction"))
    seeds_run = len({run.seed for cell in table3.cells if cell.key == "RoBERTa-B/RTE" for run in cell.runs})
    plain, muppet = ((right + seeds_run - 1) / N * 100 for right in (RIGHT["RoBERTa-B"], RIGHT["RoBERTa-B + MUPPET"]))
    assert f"{plain:.1f} [" in family and f"{muppet:.1f} [" in family and "100 % [100, 100]" in family


def test_no_item_scores_no_paired_test(table3):
    frame = cells_frame(table3, "mini", results.read_all("mini"))
    (gain,) = statistics.gains(table3, frame, lambda name, key: None)
    assert gain.over_items is None and gain.over_seeds is not None
    assert gain.difference == pytest.approx(0.15)


def test_nothing_measured_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    studies = load_studies("smoke", ["table3"])
    text = statistics.write(studies, "smoke", results.read_all("smoke")).read_text(encoding="utf-8")
    assert "Nothing is measured yet." in text
