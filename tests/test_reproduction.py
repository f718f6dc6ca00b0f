"""The write-up: the challenge's sections, and numbers that are the ledger's own at no results and at some."""

import re
from pathlib import Path

import pytest

from studies.kit import decisions
from studies.pages import claims, reproduction
from studies.recipes import TABLE7, TABLE8
from tests.made_results import write_results


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path


def test_before_any_run_it_says_that_nothing_is_measured() -> None:
    page = reproduction.render(("mini",))
    heads = re.findall(r"^## (.+)$", page, re.M)
    assert heads == [
        "Reproducibility summary",
        "1 Scope of reproducibility",
        "2 Methodology",
        "3 Results",
        "4 Discussion",
    ]
    for part in ("Scope", "Methodology", "Results", "What was easy", "What was difficult", "Communication"):
        assert f"**{part}" in page
    assert "At profile `mini` no cell is measured yet." in page
    judged = claims.judge(claims.all_sources(("mini",)))
    against = sum(f.verdict == "CONTRADICTED" for _, findings in judged for s, f in findings if s.label == "paper")
    assert f"{against} contradicted" in page and all(f"| {claim.id} " in page for claim, _ in judged)
    assert all(option.name in page for option in decisions.load().options.values())
    assert f"| {TABLE7.max_tokens} " in page and f"{TABLE8.updates}" in page


def test_its_numbers_follow_the_results() -> None:
    runs = write_results("mini")
    page = reproduction.render(("mini",))
    assert f"{len(runs):,} of {len(runs):,} at profile `mini`" in page and "no cell is measured" not in page
    sets = sum(name.startswith("prefinetune") for name in runs)
    hours = 12.5 * len(runs) / 3600
    row = next(line for line in page.splitlines() if line.startswith("| mini ") and "cpu" in line)
    assert [part.strip() for part in row.strip("|").split("|")][1:5] == [
        str(sets),
        str(len(runs) - sets),
        f"{hours:.1f}",
        "cpu",
    ]
    gain = re.search(r"MUPPET is above its base in (\d+) of (\d+) datasets, by \+", page)
    assert gain and gain[1] == gain[2]  # made-up scores rise with pre-finetuning
