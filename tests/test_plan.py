"""The plan: where every run stands, in which order, and what is left to pay for."""

import argparse
import json
import os
import re
import socket
import subprocess
import sys

import pytest

from muppet import paths
from muppet.runs import parent, run_id
from studies.kit import cost
from studies.kit.launch import bill
from studies.kit.launch.plan import STATES, plan
from studies.kit.ledger import folder as records
from studies.kit.load import load_studies
from studies.kit.show import hours
from tests.kit import PARENT, child, finish, small_study


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))


def made(study=None):
    study = study or small_study()
    return plan({study.name: study}, "smoke")


def states(found) -> dict[str, int]:
    return {state: list(found.states.values()).count(state) for state in set(found.states.values())}


def test_at_first_all_is_missing_and_parents_stand_first() -> None:
    found = made()
    assert states(found) == {"missing": 9}
    first, then = found.waves
    assert first == (run_id(PARENT),) and len(then) == 8 and next(iter(found.to_do)) == run_id(PARENT)


def test_a_result_makes_a_run_done_and_only_that_run() -> None:
    finish(PARENT)
    finish(child())
    found = made()
    assert states(found) == {"done": 2, "missing": 7}
    assert run_id(child()) not in found.to_do


def test_a_parent_without_its_model_is_run_again_where_something_starts_from_it() -> None:
    finish(PARENT)
    finish(child())
    (paths.model_dir(run_id(PARENT)) / "config.json").unlink()
    found = made()
    assert found.again == {run_id(PARENT)} and found.waves[0] == (run_id(PARENT),) and states(found)["missing"] == 8
    for run in small_study().runs().values():
        if parent(run):
            finish(run)
    found = made()
    assert not found.again and states(found) == {"done": 5, "missing": 4} and found.waves[0] == ()


def test_a_truncated_result_is_refused_and_not_run_again() -> None:
    path = finish(child())
    path.write_text(path.read_text()[:100])
    found = made()
    assert found.states[run_id(child())] == "refused" and run_id(child()) not in found.to_do
    assert path.read_text()  # nobody touched it


def test_a_failed_run_is_tried_again_until_it_failed_three_times_with_one_error() -> None:
    for attempt in (1, 2, 3):
        records.fail(run_id(child()), ValueError("no space"))
        found = made()
        assert found.states[run_id(child())] == "failed"
        assert (run_id(child()) in found.to_do) == (attempt < 3)
    records.fail(run_id(child()), ValueError("something else"))
    assert run_id(child()) in made().to_do


def test_children_of_a_parent_that_is_given_up_are_not_tried() -> None:
    for _ in range(3):
        records.fail(run_id(PARENT), ValueError("no space"))
    found = made()
    assert len(found.given_up) == 5 and len(found.to_do) == 4


def test_a_run_that_a_live_process_holds_is_running_and_a_dead_one_s_is_not() -> None:
    folder = paths.run_dir(run_id(child()))
    folder.mkdir(parents=True)
    (folder / "holder.json").write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    assert made().states[run_id(child())] == "running"
    (folder / "holder.json").write_text(json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1}))
    assert made().states[run_id(child())] == "missing"


def test_finished_runs_calibrate_the_cost() -> None:
    before = made().seconds()
    for name, run in small_study().runs().items():
        if name != run_id(PARENT) and run.seed == 0:
            finish(run, cost={"seconds": 500.0})
    assert made().seconds() > 2 * before


def test_the_summary_adds_up() -> None:
    finish(PARENT)
    facts = bill.summary(made())
    row = facts["artefacts"]["table3"]
    assert facts["runs"] == row["runs"] == 9 and row["done"] == 1 and row["missing"] == 8 and row["shared"] == 0
    assert sum(array["jobs"] for array in facts["arrays"]) == facts["jobs"]
    assert facts["waves"] == [0, 8]


def test_the_paper_s_plan_counts_epochs_and_gpu_hours(capsys: pytest.CaptureFixture[str]) -> None:
    args = argparse.Namespace(profile="paper", artefact="table3", only=None, json=True, seeds=None, search=None)
    assert bill.main(args) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["device"] == "gpu" and facts["seconds"] > 3600
    (epochs,) = {round(v["rte"]) for name, v in facts["epochs"].items() if "roberta-base" in name}
    assert 50 < epochs < 300  # reading.md computes 69 to 117 passes


@pytest.mark.parametrize(
    "seconds, text",
    [(5, "5 s"), (90, "1.5 min"), (7200, "2.0 h"), (86400 * 10, "10.0 days"), (86400 * 3650, "10.0 years")],
)
def test_durations(seconds: float, text: str) -> None:
    assert hours(seconds) == text


def test_what_was_spent_counts_every_attempt(capsys) -> None:
    finish(PARENT, cost={"seconds": 3600.0, "processes": 4, "attempts": 2})
    records.spend(run_id(child()), 1800.0)
    records.spend(run_id(child()), 1800.0)
    planned = made()
    assert planned.spent == pytest.approx(5 * 3600)
    bill.show(planned, bill.summary(planned))
    assert "spent so far, all attempts counted: 5.0 core-hours" in capsys.readouterr().out


def test_the_bill_keeps_the_stages_apart_gives_a_range_and_whole_names_at_80_columns(
    capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    planned = plan(load_studies("paper"), "paper")
    facts = bill.summary(planned)
    assert facts["prefinetune_seconds"] + facts["finetune_seconds"] == pytest.approx(facts["seconds"], rel=1e-6)
    assert facts["low_seconds"] * 2 == pytest.approx(facts["seconds"], rel=1e-6)
    assert facts["high_seconds"] == pytest.approx(facts["seconds"] * 2, rel=1e-6)
    bill.show(planned, facts)
    shown = capsys.readouterr().out
    assert all(f"\n{name} " in shown for name in planned.studies) and max(map(len, shown.splitlines())) <= 80
    said = " ".join(shown.split())
    assert re.search(r"to do: 54 pre-finetunings \(\d+ GPU-days\), then [\d,]+ fine-tunings \(\d+ GPU-days\)", said)
    assert re.search(r"together \d+ GPU-days: \d+ GPU-days to \d+ GPU-days", said)
    assert "64 to 256 GPU-days; here " in said and "a lower bound" in said
    assert re.search(
        r"of these [\d.]+ GPU-(hours|days) \(\d\.\d %\) evaluate, along the training and after it \(P58\)", said
    )
    assert re.search(r"30 pre-finetunings \(\d+ GPU-days\) are further seeds \(P60\)", said)
    assert re.search(r"protocol honest trains on other rows \(P59\): 16,200 fine-tunings \(\d+ GPU-days\)", said)


def test_evaluating_takes_no_large_part_of_any_declared_run() -> None:
    """The largest share is BigPatent's, a third: its 67,072 test articles are decoded twice."""
    runs = [run for study in load_studies("paper").values() for run in study.runs().values()]
    shares = sorted(cost.estimate(run).scoring_seconds(None) / cost.seconds(run) for run in runs)
    assert shares[-1] < 0.35 and shares[len(shares) // 2] < 0.03


@pytest.mark.parametrize("command", ["plan", "status"])
def test_no_frame_is_made_to_plan_or_to_watch(command: str) -> None:
    """pandas alone would take half of the time that they have."""
    finish(child())
    code = "import sys; from studies.__main__ import main; sys.exit(main(sys.argv[1:]) or 'pandas' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, command, "--artefact", "table3"],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words, lines",
    [("plan --profile paper --json", 1), ("plan --artefact table6", 0), ("status --artefact table6", 0)],
)  # the first is more than a pipe holds; of the others, nothing is read
def test_a_reader_that_goes_away_is_no_failure(words: str, lines: int) -> None:
    command = [sys.executable, "-m", "studies", *words.split()]
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(paths.ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 0


def test_names_are_whole_at_80_columns_whatever_states_there_are(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = made()
    row = {"cells": 100, "runs": 9999, "shared": 1800, "seconds": 400 * 86400} | dict.fromkeys(STATES, 1234)
    bill.show(found, bill.summary(found) | row | {"artefacts": {"ablations": row, "table3": row}})
    lines = capsys.readouterr().out.splitlines()[1:5]
    assert [line.split("  ")[0] for line in lines] == ["artefact", "ablations", "table3", "each run once"]
    assert all(len(line) <= 80 and line.rstrip().endswith(("spend", "days")) for line in lines)
