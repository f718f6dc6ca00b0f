"""The write-up: the challenge's sections, and numbers that are the ledger's own at no results and at some."""

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from muppet.result import Score, read, write
from muppet.runs import Finetune
from studies.kit import decisions
from studies.kit.ledger.folder import result_path
from studies.kit.ledger.profile import open_profile
from studies.kit.load import load_studies
from studies.pages import claims, reproduction, small, tables
from studies.recipes import TABLE7, TABLE8
from tests.made_results import made, wanted, write_results


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path


def section(page: str) -> str:
    return page.partition(f"\n## {small.TITLE}\n")[2].partition("\n## ")[0]


def test_before_any_run_it_says_that_nothing_is_measured() -> None:
    page = reproduction.render(*reproduction.results(("mini",)))
    heads = re.findall(r"^## (.+)$", page, re.M)
    assert heads == [
        "Reproducibility summary",
        "What the small study shows",
        "1 Scope of reproducibility",
        "2 Methodology",
        "3 Results",
        "4 Discussion",
    ]
    for part in ("Scope", "Methodology", "Results", "What was easy", "What was difficult", "Communication"):
        assert f"**{part}" in page
    assert "cells is measured yet, so nothing is said here about a claim" in section(page)
    assert not re.search(r"^- C\d+,", section(page), re.M) and "**Not measured**: C1, C3," in section(page)
    assert "At profile `mini` no cell is measured yet." in page
    judged = claims.judge(claims.all_sources(("mini",)))
    against = sum(f.verdict == "CONTRADICTED" for _, findings in judged for s, f in findings if s.label == "paper")
    assert f"{against} contradicted" in page and all(f"| {claim.id} " in page for claim, _ in judged)
    assert all(option.name in page for option in decisions.load().options.values())
    assert f"| {TABLE7.max_tokens} " in page and f"{TABLE8.updates}" in page


def test_its_numbers_follow_the_results() -> None:
    runs = write_results("mini")
    path = result_path("mini", next(iter(runs.values())))
    one = read(path)
    write(replace(one, cost=one.cost | {"seconds": 3600.0 + 12.5 / 4, "processes": 4}), path)
    page = reproduction.render(*reproduction.results(("mini",)))
    assert f"{len(runs):,} of {len(runs):,} at profile `mini`" in page and "no cell is measured" not in page
    sets = sum(name.startswith("prefinetune") for name in runs)
    hours = 4 + 12.5 * len(runs) / 3600
    row = next(line for line in page.splitlines() if line.startswith("| mini ") and "cpu" in line)
    assert [part.strip() for part in row.strip("|").split("|")][1:5] == [
        str(sets),
        str(len(runs) - sets),
        f"{hours:.1f}",
        "cpu",
    ]
    gain = re.search(
        r"MUPPET minus its base is \+[\d.]+ points on average over (\d+) datasets, and positive in (\d+);", page
    )
    assert gain and gain[1] == gain[2]  # made-up scores rise with pre-finetuning


def made_table3(seeds: int) -> None:
    """Results of Table 3 alone, the first `seeds` of each cell."""
    studies = load_studies("mini")
    keys = wanted(studies)
    for name, run in studies["table3"].runs().items():
        if run.seed < seeds:
            write(made(run, keys[name]), result_path("mini", run))


def test_with_table_3_alone_no_claim_of_another_artefact_has_a_verdict_nor_a_figure_a_picture() -> None:
    made_table3(3)
    opened, judged = reproduction.results(("mini",))
    text = section(reproduction.render(opened, judged))
    told = re.findall(r"^- (C\d+),", text, re.M)
    assert told == ["C1", "C3", "C5", "C17", "C9", "C10"]
    assert "C34 (not in this profile)" in text and "C23 (needs Figure 1's curves at 10 sets and past 25)" in text
    assert "RoBERTa-B alone has a stand-in" in text and "(CoLA, STS-B beyond the paper's tables)" in text
    screen = small.first_screen(opened[0], judged)
    assert ".png" not in screen and "not measured whole" in screen
    bold = sum(row.count("**") for row in screen.splitlines() if row.startswith("| difference")) // 2
    shown = [line for line in text.splitlines() if re.match(r"\| \S+ +\|.*\| (above|below) ", line)]
    printed = {"MNLI", "QQP", "RTE", "QNLI", "MRPC", "SST-2", "SQuAD"}
    assert bold == sum(line.split("|")[1].strip() in printed for line in shown) > 0


def test_two_runs_an_arm_have_no_interval_and_tell_nothing() -> None:
    made_table3(2)
    opened, judged = reproduction.results(("mini",))
    text = section(reproduction.render(opened, judged))
    rows = [
        [part.strip() for part in line.strip("|").split("|")] for line in text.splitlines() if "no interval" in line
    ]
    assert len([row for row in rows if len(row) == 7 and row[4:] == ["no interval", "undecided", "–"]]) == 9
    assert "9 have fewer than three runs an arm" in text and "would be told" not in text
    assert "**" not in next(row for row in small.first_screen(opened[0], judged).splitlines() if "difference " in row)
    assert "told from no difference after Holm are 0 above and 0 below" in reproduction.render(opened, judged)


def test_the_small_study_s_effects_are_those_of_its_results_and_a_loss_is_a_loss() -> None:
    runs = write_results("mini")
    key, table3 = "rte/validation/accuracy", load_studies("mini", ["table3"])["table3"]
    arms = [table3.only(f"{row}/RTE").runs().values() for row in ("RoBERTa-B", "RoBERTa-B + MUPPET")]
    plain, ours = ([run for run in arm if isinstance(run, Finetune)] for arm in arms)
    for run in plain:
        one = read(result_path("mini", run))
        write(replace(one, cost=one.cost | {"precision": "bf16"}), result_path("mini", run))
    for run in ours:  # forty points below what was made up for the plain ones
        path = result_path("mini", run)
        value = read(result_path("mini", plain[0])).scores[key].value - 0.4
        score = Score(value=value, n=200, low=value - 0.03, high=value + 0.03)
        one = read(path)
        cost, start = one.cost | {"precision": "fp32"}, {"weights": "b", "recorded": "a" if run is ours[0] else "b"}
        scores, training = dict.fromkeys(one.scores, score), one.training | {"start": start}
        write(replace(one, scores=scores, cost=cost, training=training), path)
    means = [fmean(read(result_path("mini", run)).scores[key].value for run in arm) for arm in (plain, ours)]
    text = section(reproduction.render(*reproduction.results(("mini",))))
    row = next(line for line in text.splitlines() if line.startswith("| RTE "))
    cells = [part.strip() for part in row.strip("|").split("|")]
    assert cells[1:3] == [f"{100 * mean:.1f}" for mean in means] and cells[5] == "below"
    assert "done again and came out otherwise, as on another device" in text and "fine-tunings have): 1." in text
    assert float(cells[3].replace("−", "-")) == pytest.approx(100 * (means[1] - means[0]), abs=0.05)
    assert f"{len(runs):,} of {len(runs):,} runs are done" in text
    assert re.search(r"^- C1, .*: \*\*CONTRADICTED\*\*", text, re.M) and "RTE of RoBERTa-B" in text
    assert re.search(r"fp32, cpu against bf16, cpu \(table3 1", text)
    assert re.search(r" cpu against bf16, cpu \(figure1 \d", text)  # the points of RTE's curve
    table = tables.markdown(table3, "mini", open_profile("mini").frame("table3"))
    assert (
        table.count("fp32, cpu (its base: bf16, cpu)") == 1
        and table.count("bf16, cpu<") + table.count("bf16, cpu ") == 1
    )
    old = f"before {reproduction.MARKS[0]}\nstale\n{reproduction.MARKS[1]} after"
    screen = reproduction.with_first_screen(old, *reproduction.results(("mini",)))
    assert screen.startswith("before ") and screen.endswith(" after") and "stale" not in screen
    assert all(f" {cells[place]} " in screen for place in (1, 2)) and f"**{cells[3]}**" in screen
    assert "78.7" not in screen and "87.8" not in screen  # the paper's, of another model
    assert "(figures/mini/figure1.png)" in screen
    empty = reproduction.with_first_screen(
        old, *reproduction.results(("base",))
    )  # nothing is measured there, and it is no small study
    assert empty == old
