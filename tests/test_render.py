"""Tables: every cell says where it stands, at any share of results; marks are recomputed; bytes are stable."""

import csv
import io
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from muppet.runs import Finetune, run_id
from studies.kit.ledger import results
from studies.kit.ledger.cells import cells_frame
from studies.kit.load import load_studies
from studies.pages import tables
from tests.kit import child, finish, small_study


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path


def table3():
    return load_studies("smoke", ["table3"])["table3"]


def fill(share: float) -> None:
    """Results for a share of Table 3's fine-tunings."""
    study, rng = table3(), random.Random(0)
    keys: dict[str, dict[str, float]] = {}
    for cell in study.cells:
        for name in {run_id(run) for run in cell.runs}:
            for key in dict.fromkeys((cell.score, cell.judge or cell.score)):
                keys.setdefault(name, {})[key] = rng.uniform(0.3, 0.9)
    runs = [run for run in study.runs().values() if isinstance(run, Finetune)]
    for run in runs[: round(share * len(runs))]:
        finish(run, keys[run_id(run)])


def columns(line: str) -> list[str]:
    return [part.strip() for part in line.strip().strip("|").split("|")]


@pytest.mark.parametrize("share", [0, 0.4, 1])
def test_the_artefact_renders_with_any_share_of_results(share: float, folder) -> None:
    fill(share)
    study = table3()
    frame = cells_frame(study, "smoke")
    paths = tables.render(study, "smoke", frame)
    assert [p.suffix for p in paths] == [".md", ".tex", ".csv"] and all(p.parent.name == "smoke" for p in paths)
    markdown = paths[0].read_text()
    states = frame.drop_duplicates(["row", "column"])["state"].value_counts()
    assert ("pending" in states) == (share < 1) and ("measured" in states) == (share > 0)
    for state, count in states.items():
        if state != "paper only":
            assert f"{count} {state}" in markdown
    body = [columns(line) for line in markdown.splitlines() if line.startswith("| ")]
    assert all(len(row) in (8, 10) for row in body)
    named = {cells[0] for cells in body}
    assert "RoBERTa-B + MUPPET (released)" in named and not named & {"ELECTRA-L", "MT-DNN"}
    tidy = list(csv.DictReader(io.StringIO(paths[2].read_text())))
    assert len(tidy) == len(frame) and all(0 <= float(row["value"]) <= 1 for row in tidy if row["value"])


def test_a_cell_says_paper_ours_difference_interval_n_and_seeds() -> None:
    study = small_study(seeds=3)
    for seed, value in enumerate((0.70, 0.71, 0.72)):
        finish(child(init="tiny/roberta", seed=seed), value, n=277, profile="paper")
    for seed in range(2):
        finish(child(init="tiny/roberta", task="sst2", seed=seed), 0.9 + seed / 50, n=872, profile="paper")
    frame = cells_frame(study, "paper")
    text = tables.markdown(study, "paper", frame)
    low, high = (f"{100 * frame[name][0]:.1f}" for name in ("low", "high"))
    assert "78.7 → <u>71.0</u>" not in text  # alone in its column, so not the best of anything
    assert f"78.7 → 71.0 (−7.7)<br>[{low}, {high}]<br>n=277, 3 seeds" in text
    assert "94.8 → 91.0 (−3.8)<br>(90.0, 92.0)<br>n=872, 2 of 3 seeds" in text  # two runs have no interval
    small = tables.markdown(study, "smoke", cells_frame(study, "smoke"))
    assert "→ 71.0" not in small


def test_bold_is_surely_better_than_the_base_and_underline_the_best_of_the_column() -> None:
    study = small_study(seeds=3)
    for init, value in (("tiny/roberta", 0.6), (None, 0.7)):
        for seed in range(3):
            start = {"seed": seed} if init is None else {"init": init, "seed": seed}
            finish(child(task="rte", **start), {"rte/validation/accuracy": value + seed / 100}, profile="paper")
            finish(child(task="sst2", **start), 1 - value, profile="paper")
    frame = cells_frame(study, "paper")
    marks = tables.marked(study, frame)
    bold = {place for place, mark in marks.items() if mark.bold}
    best = {place for place, mark in marks.items() if mark.underline}
    assert bold == {("RoBERTa-B + MUPPET", "RTE")}
    assert best == {("RoBERTa-B + MUPPET", "RTE"), ("RoBERTa-B", "SST-2")}
    text = tables.markdown(study, "paper", frame)
    assert "87.8 → **<u>71.0</u>** (−16.8)" in text and "94.8 → <u>40.0</u> (−54.8)" in text
    tex = tables.latex(study, "paper", frame)
    assert r"\textbf{\underline{71.0}}" in tex and r"\underline{40.0}" in tex


def test_two_runs_are_never_bold() -> None:
    study = small_study(seeds=2)
    for init, value in (("tiny/roberta", 0.1), (None, 0.9)):
        for seed in range(2):
            finish(child(**({"seed": seed} if init is None else {"init": init, "seed": seed})), value)
    assert not any(mark.bold for mark in tables.marked(study, cells_frame(study, "smoke")).values())


def test_the_paper_s_own_marks_are_recomputed() -> None:
    study = table3()
    marks = tables.marked(study, cells_frame(study, "smoke"), "paper")
    assert marks["RoBERTa-B + MUPPET", "RTE"].bold and not marks["RoBERTa-B + MUPPET", "QQP"].bold  # 91.9 both
    assert marks["RoBERTa-L + MUPPET", "RTE"].underline and marks["ELECTRA-L", "MNLI"].underline


def test_the_profile_stands_over_the_table_and_mini_names_what_its_model_has_seen() -> None:
    for profile in ("smoke", "mini"):
        study = load_studies(profile, ["table3"])["table3"]
        frame = cells_frame(study, profile)
        for text in (tables.markdown(study, profile, frame), tables.latex(study, profile, frame)):
            assert f"rofile {profile}" in text
            assert ("Quora" in text) == (profile == "mini")


def test_a_cell_of_several_metrics_shows_each(capsys) -> None:
    study = load_studies("smoke", ["table4"])["table4"]
    cells = [cell for cell in study.cells if (cell.row, cell.column) == ("BART", "Gigaword")]
    (run,) = {run for cell in cells for run in cell.runs}
    finish(run, {cell.score: value for cell, value in zip(cells, (0.39, 0.2, 0.36), strict=True)})
    frame = cells_frame(study, "smoke")
    tables.terminal(study, "smoke", frame, width=250)
    for text in (tables.markdown(study, "smoke", frame), tables.latex(study, "smoke", frame), capsys.readouterr().out):
        assert "39.0/20.0/36.0" in text and "R1/R2/RL" in text


@pytest.mark.parametrize("profile", ["smoke", "mini", "paper"])
def test_beside_small_models_scores_no_table_shows_a_number_of_the_paper(profile: str, capsys) -> None:
    study = load_studies(profile, ["table3"])["table3"]
    frame, alone = cells_frame(study, profile), profile != "paper"
    tables.terminal(study, profile, frame, width=250)
    texts = (tables.markdown(study, profile, frame), tables.latex(study, profile, frame), capsys.readouterr().out)
    for text in texts:  # nothing of ours is measured: any score is the paper's
        assert bool(re.search(r"\d\d\.\d", text)) != alone and ("ELECTRA-L" in text) != alone
        assert "RoBERTa-B + MUPPET" in text and "pending" in text
    assert ("No row is shown for RoBERTa-B + MUPPET (released), RoBERTa-L," in texts[0]) == (profile == "mini")


def test_latex_has_as_many_columns_in_every_row_and_plain_symbols() -> None:
    fill(1)
    study = table3()
    tex = tables.latex(study, "smoke", cells_frame(study, "smoke"))
    assert tex.isascii()
    for block in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", tex, flags=re.DOTALL):
        for line in block[1].splitlines():
            if line.endswith(r"\\"):
                assert line.replace(r"\&", "").count("&") == len(block[0]) - 1, line
    assert tex.count(r"\toprule") == tex.count(r"\bottomrule") == 2 and tex.count("{") == tex.count("}")


def test_the_same_cells_give_the_same_bytes(folder) -> None:
    fill(0.5)
    study = table3()
    first = [p.read_bytes() for p in tables.render(study, "smoke", cells_frame(study, "smoke"))]
    assert first == [p.read_bytes() for p in tables.render(study, "smoke", cells_frame(study, "smoke"))]


@pytest.mark.parametrize("width", [40, 80, 120, 250])
def test_the_terminal_shows_every_column_at_any_width(width: int, capsys) -> None:
    fill(1)
    study = table3()
    tables.terminal(study, "smoke", cells_frame(study, "smoke"), width=width)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    if width >= 120:
        assert all(column in out for column in study.columns) and all(
            row in out for row in study.rows if row[:2] not in ("EL", "MT")
        )
    assert out.count("RoBERTa-L + MUPPET") >= 2
    said = " ".join(out.split())  # a made-up model's numbers stand alone, and are said to
    assert "our mean over runs, in percent; intervals, n and seeds" in said and "→" not in said


def test_a_few_cells_are_shown_with_all_that_is_known(capsys) -> None:
    fill(1)
    study = table3()
    tables.terminal(study.only("* + MUPPET/RTE"), "smoke", cells_frame(study, "smoke"), width=100)
    out = capsys.readouterr().out
    assert out.count("n=200, 1 seed") == 3 and "[" not in out and "QNLI" not in out


def test_a_refused_file_is_named_under_the_table_and_a_dirty_run_is_marked() -> None:
    study = small_study(seeds=1)
    finish(child(init="tiny/roberta"), 0.7, environment={"dirty": True})
    bad = finish(child(init="tiny/roberta", task="sst2"))
    bad.write_text("")
    found = results.read_all("smoke")
    text = tables.markdown(study, "smoke", cells_frame(study, "smoke", found), found.refused)
    assert "70.0†" in text and "†: run with uncommitted changes" in text
    assert f"Refused: {bad}" in text and "| refused" in text and "94.8" not in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_table_compiles_and_fits_the_page(tmp_path: Path) -> None:
    page = ["\\documentclass[a4paper]{article}", "\\usepackage{booktabs,graphicx}", "\\begin{document}"]
    for study in load_studies("mini", ["table3", "table4", "table5", "table6", "ablations"]).values():
        page.append(tables.latex(study, "mini", cells_frame(study, "mini")) + "\\clearpage")
    (tmp_path / "page.tex").write_text("\n".join([*page, "\\end{document}\n"]))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "page.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        encoding="latin-1",
    )
    assert done.returncode == 0 and "Overfull \\hbox" not in done.stdout, done.stdout[-2000:]
