"""The local launcher: waves, warm workers, a death that fails one run alone, Ctrl-C, and two launches at once."""

import argparse
import multiprocessing
import os
import shlex
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from muppet import paths
from muppet.errors import UserError
from muppet.runs import parent, run_id
from studies.__main__ import main
from studies.kit import cost
from studies.kit.launch import crew, local
from studies.kit.launch.plan import plan
from studies.kit.ledger.folder import failures, result_path
from tests.kit import PARENT, child, finish, small_study


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return tmp_path


def made():
    study = small_study()
    return plan({study.name: study}, "smoke")


def test_a_file_in_the_place_of_artifacts_is_one_line(folder, monkeypatch, capsys) -> None:
    (folder / "artifacts").write_text("a file")
    assert main(["table3", "--only", "RoBERTa-B/RTE"]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "Not a directory" in said and "artifacts" in said


@pytest.mark.parametrize("name", ["results/smoke", "artifacts"])
def test_a_folder_that_cannot_be_written_is_one_line_before_any_run(folder, monkeypatch, name: str) -> None:
    def probe(place: Path) -> None:
        if place.absolute() == folder / name:
            raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("muppet.paths.probe", probe)
    with pytest.raises(PermissionError):
        local.launch(made(), argparse.Namespace(jobs=1, yes=True, hours=None))
    assert not list(folder.rglob("log.txt"))


def done() -> set[str]:
    return {name for name, run in small_study().runs().items() if result_path("smoke", run).exists()}


def test_every_run_is_done_once_by_warm_workers_and_children_after_their_parent(devices, capsys, monkeypatch) -> None:
    (devices / "nvidia0").touch()
    for name, value in (("CUDA_VISIBLE_DEVICES", "0"), ("MUPPET_SHARED_BY", "1")):
        monkeypatch.setenv(name, value)
    tally = local.run(made(), 2, "tests.kit:instant")
    assert os.environ["MUPPET_SHARED_BY"] == "2"  # what workers inherit: each plans with half of the GPU
    assert set(tally.outcomes.values()) == {"done"} and done() == set(small_study().runs())
    workers = {(paths.run_dir(name) / "pid").read_text() for name in done()}
    assert 1 <= len(workers) <= 2 and str(os.getpid()) not in workers
    times = {name: result_path("smoke", run).stat().st_mtime_ns for name, run in small_study().runs().items()}
    children = [name for name, run in small_study().runs().items() if parent(run)]
    assert all(times[run_id(PARENT)] < times[name] for name in children)
    out = capsys.readouterr().out
    assert out.count("✓") == 9 and "RoBERTa-B / RTE seed 0" in out and "60.0" in out
    assert made().to_do == {}


def test_a_death_fails_its_run_alone_and_the_worker_is_replaced(capsys) -> None:
    tally = local.run(made(), 1, "tests.kit:dying")
    assert tally.count("done") == 7 and tally.count("failed") == 2
    records = failures(small_study().runs())
    assert {record["error"] for record in records.values()} == {
        "the worker was ended by SIGKILL: out of memory?",
        "the worker was ended by SIGSEGV: segmentation fault",
    }
    assert all("about to die" in record["traceback"] for record in records.values())
    assert "✗" in capsys.readouterr().out


def test_children_of_a_failed_parent_wait_and_the_rest_is_done() -> None:
    tally = local.run(made(), 2, "tests.kit:failing_parent")
    assert (tally.count("failed"), tally.count("waiting"), tally.count("done")) == (1, 4, 4)


def test_an_interrupt_keeps_what_is_done_and_lets_runs_checkpoint(folder: Path) -> None:
    def interrupt() -> None:
        while not (done() and len(list(folder.glob("artifacts/runs/*/began"))) == 2):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts the tests in the background has them ignore SIGINT, and this one is meant.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    tally = local.run(made(), 2, "tests.kit:endless")
    assert tally.interrupted and tally.count("done") == 1 and tally.count("stopped") == 8
    assert len(list(folder.glob("artifacts/runs/*/checkpointed"))) == 2
    assert len(done()) == 1 and not failures(small_study().runs())


def test_a_terminal_that_is_gone_lets_runs_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        while len(list(folder.glob("artifacts/runs/*/began"))) < 1:
            time.sleep(0.02)
        raise BrokenPipeError

    monkeypatch.setattr(crew.Launch, "_say", gone)
    with pytest.raises(BrokenPipeError):
        local.run(made(), 2, "tests.kit:endless")
    began, kept = (len(list(folder.glob(f"artifacts/runs/*/{note}"))) for note in ("began", "checkpointed"))
    assert began == kept >= 1


def test_a_run_that_somebody_stops_goes_on(capsys) -> None:
    tally = local.run(made(), 2, "tests.kit:stopped_once")
    assert set(tally.outcomes.values()) == {"done"} and done() == set(small_study().runs())
    assert "goes on from its checkpoint" in capsys.readouterr().out


def _launch(folder: str) -> None:
    os.chdir(folder)
    local.run(made(), 2, "tests.kit:instant")


def test_two_launches_at_once_end_right(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_launch, args=(str(folder),)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(120)
    assert [one.exitcode for one in both] == [0, 0] and done() == set(small_study().runs())


def test_a_parent_whose_model_is_lost_is_run_again_before_its_children_and_keeps_its_result(capsys) -> None:
    path = finish(PARENT, training={"weights": "old"})
    (paths.model_dir(run_id(PARENT)) / "config.json").unlink()
    before = path.read_bytes()
    tally = local.run(made(), 2, "tests.kit:again")
    assert set(tally.outcomes.values()) == {"done"} and done() == set(small_study().runs())
    assert path.read_bytes() == before
    assert "again, weights new where its result says old" in capsys.readouterr().out
    began = (paths.model_dir(run_id(PARENT)) / "config.json").stat().st_mtime_ns
    assert all(
        result_path("smoke", run).stat().st_mtime_ns > began for run in small_study().runs().values() if parent(run)
    )


def test_a_long_plan_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.kit.load import load_studies

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    paper = plan(load_studies("paper", ["table3"]), "paper")
    refusal = r"PROFILE=paper: [\d,]+ runs would take about .* years on this .*GPU-hours.*YES=1"
    with pytest.raises(UserError, match=refusal):
        local.ask(paper, 2, yes=False)
    local.ask(paper, 2, yes=True)
    local.ask(made(), 2, yes=False)


def test_what_would_not_end_in_time_is_left_and_the_rest_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "seconds", lambda run, *_: 1e6 if run == PARENT else 1.0)
    tally = local.run(made(), 2, "tests.kit:instant", until=time.monotonic() + 3600)
    assert (tally.count("done"), tally.count("left")) == (4, 5)
    assert tally.outcomes[run_id(PARENT)] == "left" and sum(tally.seconds.values()) == 1e6 + 4
    assert done() == {name for name, run in small_study().runs().items() if run != PARENT and not parent(run)}


def test_what_runs_take_here_outweighs_the_estimate() -> None:
    tally = local.run(made(), 1, "tests.kit:instant_for_an_age", until=time.monotonic() + 3600)
    assert (tally.count("done"), tally.count("left")) == (1, 8)
    assert min(tally.seconds.values()) > 3600


def test_no_time_is_said_with_the_command_that_goes_on(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_DECIDE", "squad=v2.0-f1")
    asked = argparse.Namespace(
        command="table3", profile="mini", only="RoBERTa-B/R*", claim=None, seeds=2, search=None, jobs=1, hours=1e-9
    )
    assert local.launch(made(), argparse.Namespace(**vars(asked), yes=False)) == 0 and not done()
    said = capsys.readouterr().out
    assert "0 of 9 runs are done, 9 are left" in said and "HOURS is too short for any" in said
    words = shlex.split(said.strip().rpartition("to go on: make ")[2])
    assert words == [
        *("table3", "PROFILE=mini", "ONLY=RoBERTa-B/R*", "SEEDS=2", "JOBS=1", "HOURS=1e-09"),
        "DECIDE=squad=v2.0-f1",
    ]


def test_a_real_run_through_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.kit.load import load_studies

    study = load_studies("smoke", ["table3"])["table3"].only("RoBERTa-B/RTE")
    tally = local.run(plan({"table3": study}, "smoke"), 1)
    (name,) = tally.outcomes
    assert tally.outcomes[name] == "done" and result_path("smoke", name).exists()
    assert (paths.run_dir(name) / "log.txt").exists()


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /dev, and no nvidia-smi."""
    monkeypatch.setattr(local, "DEV", tmp_path / "dev")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "dev").mkdir()
    return tmp_path / "dev"


def test_gpus_are_those_that_may_be_used(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    assert local.gpus() == []  # a machine without one, whatever a profile sets
    with pytest.raises(UserError, match="shows no GPU"), monkeypatch.context() as asking:
        asking.setenv("MUPPET_DEVICE", "cuda")
        local.gpus()
    for number in range(4):
        (devices / f"nvidia{number}").touch()
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert local.gpus() == ["0", "3"] and local.default_jobs(made()) == 16  # tiny models: eight share a GPU
    monkeypatch.setattr(cost, "wants_gpu", lambda run: True)
    assert local.default_jobs(made()) == 2
    monkeypatch.setenv("MUPPET_DEVICE", "cpu")  # nothing is reckoned by a GPU that no run will use
    assert local.gpus() == [] and local.default_jobs(made()) == 2
    monkeypatch.delenv("MUPPET_DEVICE")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert local.gpus() == [] and local.default_jobs(made()) == 2


def test_a_gpu_without_its_tools_is_seen_by_its_device(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (devices / "kfd").touch()
    assert local.gpus() == []  # a screen's, which torch may not know
    monkeypatch.setenv("MUPPET_DEVICE", "cuda")
    assert local.gpus() == ["0"]
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (devices / name).touch()
    assert local.gpus() == ["0", "1"]


def test_a_stop_while_a_worker_is_hired_forgets_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(launch: crew.Launch) -> crew.Worker:
        raise KeyboardInterrupt

    monkeypatch.setattr(crew.Launch, "_hire", interrupt)
    tally = local.run(found := made(), 1)
    assert tally.interrupted and tally.outcomes == dict.fromkeys(found.to_do, "stopped")


@pytest.mark.parametrize(
    "variables, line",
    [
        ({"MUPPET_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""}, "shows no GPU of this machine"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "without torchrun or srun"),
        ({"WORLD_SIZE": "two"}, "which is no number"),
    ],
)
def test_what_no_worker_could_do_is_known_before_one_starts(monkeypatch, variables: dict[str, str], line: str) -> None:
    monkeypatch.setattr(local, "Launch", lambda *_: pytest.fail("workers were started"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=line):
        local.launch(made(), argparse.Namespace(jobs=None, yes=True, hours=None))


def test_a_run_names_itself_as_its_first_cell() -> None:
    labels = crew.labels(made())
    assert labels[run_id(child(init="tiny/roberta"))] == "RoBERTa-B / RTE seed 0"
    assert labels[run_id(PARENT)] == "pre-finetuning tiny/roberta on 2 datasets"
