"""The commands a newcomer types: wrong input is one line and exit 2, right input brings an artefact up to date."""

import errno
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from muppet.errors import UserError
from studies import __main__ as cli
from studies.kit.ledger.folder import result_path
from studies.kit.load import load_studies
from tests.kit import finish

ROOT = Path(__file__).resolve().parents[1]
MADE = ("Makefile", "pyproject.toml", "requirements.lock", "README.md", "muppet", "studies", "paper_tables/reference")
OF_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MUPPET_HUB", "PROFILE", "ONLY", "RUN", "MUPPET_DECIDE")
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The tree as a newcomer has it, its environment made: this one's."""
    for name in MADE:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    time.sleep(0.01)
    (tmp_path / ".venv" / ".ready").touch()
    return tmp_path


def make(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if k not in OF_MAKE}
    return subprocess.run(
        ["make", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=kept | env
    )


@needs_make
def test_help_has_a_line_for_every_target(clone: Path) -> None:
    text = make(clone, "-s", "help").stdout
    for target in "table3 figure1 ablations all render report plan status doctor bench test".split():
        assert sum(line.split()[:1] == [target] for line in text.splitlines()) == 1, target
    assert "PROFILE=smoke|mini|base|paper" in text


@needs_make
@pytest.mark.parametrize(
    "words, line",
    [
        (["tabel3"], "unknown target 'tabel3': did you mean 'table3'?"),
        (["table3", "PROFILE=smok"], "unknown profile (PROFILE) 'smok': did you mean 'smoke'?"),
        (["table3", "LAUNCHER=slrum"], "unknown launcher (LAUNCHER) 'slrum': did you mean 'slurm'?"),
        (["table3", "ONLY=RoBERTa-B/RTEE"], "unknown cell of table3 (ONLY) 'RoBERTa-B/RTEE': did you mean"),
        (["table3", "ONLY=RoBERTa-B/RTEE", "RUN=0"], "did you mean 'RoBERTa-B/RTE'?"),
        (["table3", "ONLY=RoBERTa-B"], "did you mean 'RoBERTa-B/*'?"),
        (["plan", "ONLY=rte"], "did you mean 'rte/*' or '*/rte'?"),
        (["table3", "JOBS=two"], "JOBS takes a whole number from 1, not 'two'"),
        (["table3", "JOBS=\u00b2"], "JOBS takes a whole number from 1, not '\u00b2'"),
        (["table3", "HOURS=soon"], "HOURS takes a number of hours, as 2.5, not 'soon'"),
        (["table3", "HOURS=2", "LAUNCHER=slurm"], "HOURS is for runs on this machine"),
        (["table3", "BUDGET=5"], "BUDGET=5 says nothing to `table3`; it is for plan"),
        (["table3", "RUN=finetune-x"], "RUN=finetune-x says nothing to `table3`; it is for logs, again"),
        (["table3", "ARTEFACT=table4"], "ARTEFACT=table4 says nothing to `table3`; it is for retry, feed"),
        (["plan", "ARTEFACT=tabel3"], "unknown artefact 'tabel3': did you mean 'table3'?"),
        (["table3", "DECIDE=sqad=v2.0-f1"], "unknown option 'sqad': did you mean 'squad'?"),
        (["table3", "PROFILE=paper"], "YES=1 runs them here, LAUNCHER=slurm on a cluster; RUN=0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(clone: Path, words: list[str], line: str) -> None:
    run = make(clone, "-s", *words, CUDA_VISIBLE_DEVICES="")
    assert run.returncode == 2
    said = [text for text in run.stderr.splitlines() if not text.startswith("make")]
    assert len(said) == 1 and line in said[0], run.stderr
    assert not (clone / "results").exists()


def test_scripts_for_a_cluster_are_no_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("studies.kit.launch.start", lambda *_: pytest.fail("a run was started here"))
    for words in (["table3"], ["all", "--launcher", "slurm", "--no-run"]):
        assert cli.main([*words, "--emit-sbatch", "scripts"]) == 2
        assert "with --launcher slurm, not RUN=0; nothing was run" in capsys.readouterr().err


@pytest.fixture
def unstarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which no run may start."""
    monkeypatch.chdir(tmp_path)
    for name in ("studies.kit.launch.start", "studies.kit.launch.again.main", "studies.kit.launch.slurm.submit.send"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("something was started"))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command says of what it cannot do; it leaves nothing."""
    assert cli.main([*words]) == 2
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1 and list(Path().iterdir()) == []
    return said.err


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize(
    "variable, value, line",
    [
        ("MUPPET_DEVICE", "gpu", "MUPPET_DEVICE='gpu': choose cpu or cuda"),
        ("MUPPET_PRECISION", "fp16", "MUPPET_PRECISION='fp16': choose fp32 or bf16"),
        ("MUPPET_COMPILE", "maybe", "MUPPET_COMPILE='maybe': choose no or yes"),
        ("MUPPET_HUB", "/nowhere", "MUPPET_HUB is /nowhere, which is no folder"),
        ("MUPPET_HUB", __file__, "which is no folder"),
        ("MUPPET_PTB", "/nowhere", "MUPPET_PTB is /nowhere, which is no folder"),
    ],
)
def test_a_variable_that_no_run_could_heed_is_known_before_any_starts(
    monkeypatch: pytest.MonkeyPatch, capsys, variable: str, value: str, line: str
) -> None:
    monkeypatch.setenv(variable, value)
    for words in (["table6"], ["table6", "--launcher", "slurm"], ["retry"], ["feed"], ["again"], ["prefetch"]):
        assert line in refused(capsys, *words)
    assert cli.main(["plan", "--artefact", "table6"]) == 0  # which starts nothing


@pytest.mark.usefixtures("unstarted")
@pytest.mark.parametrize(
    "words, line",
    [
        (["feed", "--launcher", "slurm", "--emit-sbatch", "scripts"], "--emit-sbatch=scripts says nothing to `feed`"),
        (["retry", "--no-run"], "RUN=0 runs nothing"),
        (["again", "--hours", "0.1"], "HOURS=0.1 says nothing to `again`"),
        (["doctor", "--artefact", "nope"], "ARTEFACT=nope says nothing to `doctor`"),
        (["report", "--only", "*/RTE"], "ONLY=*/RTE says nothing to `report`"),
        (["table3", "--json"], "--json says nothing to `table3`; it is for plan, status"),
        (["plan", "--claim", ","], "CLAIM=',' names no claim"),
        (["claims", "--claim", "C5:authors"], "unknown checkpoint"),
        (["bench", "--only", "batchin"], "unknown benchmark 'batchin': did you mean 'batching'?"),  # heeded
    ],
)
def test_an_option_that_a_command_would_not_heed_is_refused(capsys, words: list[str], line: str) -> None:
    assert line in refused(capsys, *words)


def test_a_claim_with_one_kind_of_checkpoint_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["claims", "--claim", "C5:released"]) == 0
    assert "## C5" in capsys.readouterr().out


@needs_make
def test_a_second_make_runs_nothing_and_a_stale_table_is_written_anew(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    study = load_studies("smoke", ["table3"])["table3"]
    for run in study.runs().values():
        cells = [cell for cell in study.cells if run in cell.runs]
        finish(run, {key: 0.6 for cell in cells for key in (cell.score, cell.judge) if key})
    run = make(clone, "-s", "table3", MUPPET_ARTIFACTS=str(clone / "artifacts"))
    assert run.returncode == 0, run.stderr
    assert "to do:" not in run.stdout and "wrote paper_tables/smoke/table3.md" in run.stdout
    assert "pending" not in (clone / "paper_tables/smoke/table3.md").read_text()


@needs_make
def test_a_cell_with_spaces_and_stars_is_done_for_real(clone: Path) -> None:
    run = make(clone, "-s", "table3", "ONLY=RoBERTa-B/R?E", MUPPET_ARTIFACTS=str(clone / "artifacts"), JOBS="1")
    assert run.returncode == 0, run.stderr
    assert "✓" in run.stdout and "1/1" in run.stdout
    text = (clone / "paper_tables/smoke/table3.csv").read_text()
    assert text.count(",measured,") == 1


@needs_make
def test_a_failed_set_up_is_no_set_up(clone: Path) -> None:
    (clone / ".venv" / ".ready").unlink()
    run = make(clone, "table3", "PYTHON=false")
    assert run.returncode == 2 and "older than 3.11" in run.stderr and not (clone / ".venv" / ".ready").exists()


# ---------------------------------------------------------------- the command line itself


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path


def test_a_refused_result_is_named_the_rest_rendered_and_the_status_says_so(folder: Path, capsys) -> None:
    runs = list(load_studies("smoke", ["table3"])["table3"].only("RoBERTa-B/*").runs().values())
    bad, good = finish(runs[0], 0.5), finish(runs[1], 0.6)
    bad.write_text(bad.read_text()[:-20])
    assert cli.main(["table3", "--no-run"]) == 2
    said = capsys.readouterr().err
    assert str(bad) in said and "not a whole result file" in said and str(good) not in said
    assert "60.0" in (folder / "paper_tables/smoke/table3.md").read_text()
    assert bad.exists()


def test_a_result_of_no_declared_run_is_named_and_stands_in_no_table(folder: Path, capsys) -> None:
    run = next(iter(load_studies("smoke", ["table3"])["table3"].only("RoBERTa-B/RTE").runs().values()))
    path = finish(replace(run, seed=41), 0.5)
    assert cli.main(["render"]) == 0
    said = capsys.readouterr().err
    assert f"of no declared run, so in no table: {path.relative_to(folder) if path.is_absolute() else path}" in said
    assert "1 results of no declared run" in said
    assert ",measured," not in (folder / "paper_tables/smoke/table3.csv").read_text()


def test_what_cannot_be_run_is_said_and_what_is_there_renders(folder: Path, capsys, monkeypatch) -> None:
    def asks(*_: object) -> int:
        raise UserError("YES=1 runs them here")

    monkeypatch.setattr("studies.kit.launch.start", asks)
    assert cli.main(["table3"]) == 2
    assert capsys.readouterr().err == "error: YES=1 runs them here\n"
    assert "pending" in (folder / "paper_tables/smoke/table3.md").read_text()


def test_a_full_disk_is_one_line(folder: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "paper_tables")

    monkeypatch.setattr("studies.pages.tables.write_text", full)
    assert cli.main(["table3", "--no-run"]) == 2
    assert capsys.readouterr().err.startswith("error: [Errno 28] No space left on device")


def test_an_unknown_command_names_the_nearest(folder: Path, capsys) -> None:
    assert cli.main(["tabel3"]) == 2
    assert capsys.readouterr().err == "error: unknown command 'tabel3': did you mean 'table3'?\n"


def test_every_command_has_its_function() -> None:
    for command in cli.COMMANDS:
        assert callable(cli.function(command)), command


def test_render_leaves_a_newcomer_s_tree_clean(folder: Path) -> None:
    """What a smoke run writes is ignored by git."""
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"results/smoke/", "paper_tables/smoke/", "figures/smoke/", "artifacts/", ".venv/"} <= set(ignored)
    assert result_path("smoke", "finetune-x").parts[:2] == ("results", "smoke")


def test_all_brings_the_pages_up_to_date_too(folder: Path, capsys) -> None:
    assert cli.main(["all", "--no-run", "--only", "RoBERTa-B/RTE"]) == 0
    said = capsys.readouterr().out
    wrote = {str(path.relative_to(folder)) for path in folder.rglob("*.*") if path.is_file()}
    assert {f"paper_tables/smoke/{name}" for name in ("table6.tex", "statistics.md", "report.html")} <= wrote
    assert {"paper_tables/reproduction.md", "figures/smoke/figure2.pdf", "paper_tables/claims.md"} <= wrote
    assert all(name in said for name in ("table6.tex", "statistics.md", "smoke/report.html", "reproduction.md"))
    assert cli.main(["all", "--no-run", "--only", "RoBERTa-B/RTEE"]) == 2
    assert "did you mean 'RoBERTa-B/RTE'" in capsys.readouterr().err
