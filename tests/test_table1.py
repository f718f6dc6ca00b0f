"""Table 1 from the catalogue: the counts, the disagreements by name, and the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from muppet.tasks import A1, SETS, get
from studies import table1
from studies.kit.ledger import reference
from studies.pages import table1 as page


def test_counts_that_can_be_checked_by_hand():
    cells = {(cell.row, cell.column): cell for cell in table1.counts()}
    assert cells["Summarization", "train"].ours == 287_113 + 18_949 + 204_045 + 14_436 == 524_543
    assert cells["Summarization", "eval"].ours == 29_929
    assert cells["CommonSense", "train"].ours == 286_163
    assert {key for key, cell in cells.items() if cell.agrees} == {
        *((row, "datasets") for row in (*A1, "Total")),
        ("Summarization", "train"),
        ("Summarization", "eval"),
    }
    assert all(cells["Total", c].ours == sum(cells[row, c].ours for row in A1) for c in table1.COLUMNS)


def test_every_disagreement_has_its_reason():
    cells = table1.counts()
    lines = table1.disagreements(cells)
    assert len(lines) == sum(not cell.agrees for cell in cells) == 8
    assert "give 2,892,345" in lines[0] and "359,709" in " ".join(lines) and "misprint for 123K" in " ".join(lines)


def test_the_catalogue_counts_what_the_reference_lists():
    """Two independent listings of the training rows of A.1."""
    entries = reference.appendix()
    for entry, name in zip(entries, SETS["a1_47"], strict=True):
        if entry.train_rows is not None:
            assert get(name).train_rows == entry.train_rows, name


def test_rendered_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page, "TABLES", tmp_path)
    assert page.main() == 0
    text = (tmp_path / "table1.md").read_text()
    assert text.count("\n| ") > 47 and "`unique_45` 45" in text and "## Table 2" in text
    lines = (tmp_path / "table1.csv").read_text().splitlines()
    assert lines[:2] == ["row,column,paper,ours,agrees", "Classification,datasets,26,26,yes"]
    assert r"\bottomrule" in (tmp_path / "table1.tex").read_text()
    assert "wrote" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["md", "csv", "tex"])
def test_the_committed_table_is_what_the_catalogue_renders(suffix):
    committed = Path(__file__).parents[1] / "paper_tables" / f"table1.{suffix}"
    render = {"md": page.markdown, "csv": page.comma, "tex": page.latex}[suffix]
    assert committed.read_text() == render(table1.counts()), "run make table1"
