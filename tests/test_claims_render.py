"""The ledger as files and in the terminal."""

import argparse
import re

import pytest

from muppet.errors import UserError
from studies.claims import CLAIMS, sources
from studies.kit import decisions
from studies.pages import claims as claims_render
from tests.made_results import write_results


def asked(command: str, only: str | None = None, profile: str = "smoke") -> argparse.Namespace:
    return argparse.Namespace(command=command, only=only, profile=profile)


@pytest.fixture
def tables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there are no results
    monkeypatch.delenv(decisions.OVERRIDE, raising=False)
    return tmp_path / "paper_tables"


def test_every_claim_is_printed_and_written_with_every_source(tables, capsys):
    assert claims_render.main(asked("claims")) == 0
    text, shown = (tables / "claims.md").read_text(encoding="utf-8"), capsys.readouterr().out
    for claim in CLAIMS:
        section = text.partition(f"\n## {claim.id}\n")[2].partition("\n## ")[0]
        verdicts = re.findall(r"^\* ([\w, ]+): \*\*[A-Z ]+\*\*\. .", section, re.M)
        assert sorted(", ".join(verdicts).split(", ")) == ["independent", "ours", "print", "released"]
        assert claim.quote in section
        assert re.search(rf"\b{claim.id}\b", shown)
    assert "5 CONSISTENT, 3 NOT SUPPORTED, 17 CONTRADICTED, 13 NOT PRINTED" in shown


def test_one_claim_in_full_and_an_unknown_one(tables, capsys):
    claims_render.main(asked("claims", only="C15"))
    shown = capsys.readouterr().out
    assert "54.99 from its rounds (-1.29)" in shown and "## C14" not in shown
    with pytest.raises(UserError, match="unknown claim 'C40'"):
        claims_render.main(asked("claims", only="C15,C40"))


def test_as_a_part_of_render_it_only_writes(tables, capsys):
    claims_render.main(asked("render", only="RTE"))
    claims_render.decisions(asked("render"))
    assert capsys.readouterr().out.split() == ["wrote", "paper_tables/claims.md", "wrote", "paper_tables/decisions.md"]


def test_decisions_file_has_every_decision_and_is_not_moved_by_an_override(tables, capsys, monkeypatch):
    monkeypatch.setenv(decisions.OVERRIDE, "squad=v2.0-f1")
    assert claims_render.decisions(asked("decisions")) == 0
    assert "v2.0-f1" in capsys.readouterr().out
    text = (tables / "decisions.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^\| P(\d+) ", text, re.M)
    assert sorted(map(int, numbers)) == list(range(1, 61))  # each once; those of one subject stand together
    row = next(line for line in text.splitlines() if line.startswith("| `squad`"))
    assert [cell.strip() for cell in row.split("|")][2:4] == ["`v1.1-em`", "v1.1-f1, v2.0-em, v2.0-f1"]


def test_tables_are_rectangular(tables):
    claims_render.main(asked("render"))
    claims_render.decisions(asked("render"))
    for path in tables.glob("*.md"):
        widths: set[int] = set()
        for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
            if line.startswith("|"):
                widths.add(len(re.findall(r"(?<!\\)\|", line)))
            else:
                assert len(widths) <= 1, (path, line)
                widths.clear()


def test_a_profile_without_results_adds_no_source(tables):
    labels = [source.label for source in claims_render.all_sources(("paper", "smoke"))]
    assert labels == ["paper", "independent", "released", "ours"]
    assert sources.measured("smoke")[1].label == "ours (smoke)"


def test_smoke_results_do_not_hide_the_committed_verdicts(tables, capsys):
    write_results("smoke")
    assert claims_render.main(asked("claims")) == 0
    shown = capsys.readouterr().out
    assert "paper_tables/smoke/claims.md" in shown and "(smoke)" in (tables / "smoke/claims.md").read_text()
    assert "ours (smoke)" not in shown and "ours: " in shown
