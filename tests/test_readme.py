"""The README says what is so: its targets, commands, links and numbers exist."""

import re
from pathlib import Path

import pytest

from muppet.__main__ import _parser
from studies.kit import decisions
from studies.pages import COMMITTED, reproduction

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_section_on_own_models_fits_one_screen() -> None:
    section = TEXT.partition("## Your own model\n")[2].partition("\n## ")[0]
    assert 5 < len(section.splitlines()) <= 24 and "docs/own-task.md" in section


def test_every_make_target_exists() -> None:
    for target in re.findall(r"(?:^|`)make ([a-z]+[0-9]?)\b", TEXT, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, flags=re.MULTILINE), target


@pytest.mark.parametrize("line", re.findall(r"^muppet (.*)", TEXT, flags=re.MULTILINE))
def test_every_command_line_parses(line: str) -> None:
    if not line.startswith("data"):  # parsed by muppet.cli.data
        _parser().parse_args(line.partition(" < ")[0].split())


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_every_decision_named_is_one() -> None:
    for pair in re.findall(r"DECIDE=(\S+?)[`'\s]", TEXT):
        decisions.load().override(pair)


def test_its_first_screen_is_rendered_from_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv(decisions.OVERRIDE, raising=False)
    assert reproduction.with_first_screen(TEXT, *reproduction.results(COMMITTED)) == TEXT, (
        "`make reproduction` writes it anew"
    )
    table = TEXT.partition(reproduction.MARKS[0])[2].partition(reproduction.MARKS[1])[0]
    assert sum(line.startswith("| RoBERTa-B") for line in table.splitlines()) == 2
