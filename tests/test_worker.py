"""What a job does with one run: nothing twice, nothing without its parent, a result or a failure record."""

import errno
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from muppet import paths
from muppet.errors import Stopped, UserError
from muppet.result import ResultError, read
from muppet.runs import run_id
from muppet.runtime.hold import Busy, hold
from studies.kit.launch import worker
from studies.kit.ledger import folder as records
from studies.kit.ledger.folder import result_path
from tests.kit import PARENT, child, finish, result_of


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path


def test_parent_and_child_for_real() -> None:
    seen = []
    assert worker.execute_one("smoke", PARENT, seen.append) == "done"
    assert worker.execute_one("smoke", child()) == "done"
    score = read(result_path("smoke", child()), child()).scores["rte/validation/accuracy"]
    assert 0 <= score.value <= 1 and score.n == 16
    assert seen and seen[-1]["steps"] == 3
    assert worker.execute_one("smoke", child()) == "skipped"
    assert not (paths.run_dir(run_id(PARENT)) / "checkpoint").exists()
    assert not (paths.run_dir(run_id(PARENT)) / "holder.json").exists()


def test_a_child_whose_parent_has_no_result_says_so() -> None:
    with pytest.raises(UserError, match="its pre-finetuning has no result yet"):
        worker.execute_one("smoke", child())


def test_a_parent_whose_model_was_deleted_is_done_again_beside_its_result() -> None:
    assert worker.execute_one("smoke", PARENT) == "done"
    path, again = result_path("smoke", PARENT), records.again(run_id(PARENT))
    shutil.rmtree(paths.model_dir(run_id(PARENT)))
    before = path.read_bytes()
    with pytest.raises(UserError, match="is gone; `make` runs that again"):
        worker.execute_one("smoke", child())
    assert worker.execute_one("smoke", PARENT) == "done" and path.read_bytes() == before
    then, now = (read(one, PARENT).training["weights"] for one in (path, again))
    assert then == now
    assert worker.execute_one("smoke", child()) == "done"
    # What was trained, saved and loaded again is one and the same.
    assert read(result_path("smoke", child())).training["start"] == {"weights": now, "recorded": then}


def test_a_child_that_starts_from_other_weights_than_recorded_says_so(capsys) -> None:
    assert worker.execute_one("smoke", PARENT) == "done"
    heads = paths.model_dir(run_id(PARENT)) / "heads.safetensors"
    weights = load_file(heads)
    save_file({name: tensor + (name == min(weights)) for name, tensor in weights.items()}, heads)
    assert worker.execute_one("smoke", child()) == "done"
    start = read(result_path("smoke", child())).training["start"]
    assert start["recorded"] == read(result_path("smoke", PARENT)).training["weights"] != start["weights"]
    assert f"started from other weights ({start['weights']})" in capsys.readouterr().out


def test_a_result_that_was_edited_is_not_taken_for_done() -> None:
    path = finish(child(init="tiny/roberta"), 0.5)
    path.write_text(path.read_text().replace("0.5", "0.9"))
    with pytest.raises(ResultError, match="the file was edited"):
        worker.execute_one("smoke", child(init="tiny/roberta"))


def test_a_run_that_its_last_holder_finished_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def waited(name: str, gone: object) -> Iterator[float]:
        finish(child(init="tiny/roberta"))  # between our look at the results and our hold
        with hold(name) as lost:
            yield lost

    monkeypatch.setattr(worker, "hold", waited)
    monkeypatch.setattr(worker, "_stage", lambda *_: pytest.fail("it was trained"))
    assert worker.execute_one("smoke", child(init="tiny/roberta")) == "skipped"


def test_a_result_that_could_not_be_written_is_no_reason_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_stage", lambda *_: pytest.fail("it was trained"))
    Path("results").write_text("")
    with pytest.raises(OSError, match="results"):
        worker.execute_one("smoke", child(init="tiny/roberta"))


def test_what_is_made_in_a_groups_folder_is_the_groups_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0o022)
    try:
        for name, mode, group in (("shared", 0o2775, True), ("own", 0o775, False)):
            (folder / name).mkdir()
            (folder / name).chmod(mode)
            paths.write_text(folder / name / "results/paper/finetune/a.json", "{}")
            for made in ("results", "results/paper", "results/paper/finetune"):
                assert bool((folder / name / made).stat().st_mode & 0o20) == group, made
            assert (folder / name / "results/paper/finetune/a.json").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_of_one_group_write_into_one_folder() -> None:
    group, users = 54_321, (65_534, 1)  # numbers alone: nobody has to be made
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:  # not below a folder that is root's alone
        try:
            os.chown(shared, 0, group)
        except OSError:
            pytest.skip("root of a namespace without other users")
        os.chmod(shared, 0o2775)
        for user in (*users, users[0]):
            child = os.fork()
            if child == 0:  # leaves by a status: pytest is the parent's
                status = 1
                try:
                    os.setgroups([group])
                    os.setgid(user)
                    os.setuid(user)
                    os.umask(0o022)
                    paths.probe(Path(shared) / "results/paper/finetune")
                    for name in ("same", str(user)):
                        paths.write_text(Path(shared) / f"results/paper/finetune/{name}.json", str(user))
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, user
        made = Path(shared) / "results/paper/finetune"
        assert {path.name: path.stat().st_uid for path in made.iterdir()} == {
            "same.json": users[0],
            **{f"{user}.json": user for user in users},
        }


def test_a_failure_is_recorded_and_the_next_run_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = child(init="no/such/model-anywhere")
    fine = child(init="tiny/roberta")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(worker, "declared", lambda profile, ids: [broken, fine])
    outcomes = worker.execute("smoke", [run_id(broken), run_id(fine)])
    assert outcomes == {run_id(broken): "failed", run_id(fine): "done"}
    record = json.loads((paths.run_dir(run_id(broken)) / "failure.json").read_text())
    assert "no/such/model-anywhere" in record["error"] and record["count"] == 1 and record["traceback"]
    assert result_path("smoke", fine).exists() and not result_path("smoke", broken).exists()


def test_the_same_error_counts_up_and_another_starts_anew() -> None:
    counts = []
    for message in ("a", "a", "b", "b", "b"):
        records.fail("run", ValueError(message))
        counts.append(json.loads((paths.run_dir("run") / "failure.json").read_text())["count"])
    assert counts == [1, 2, 1, 2, 3]


def test_a_result_s_cost_is_that_of_all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    run, name = child(init="tiny/roberta"), run_id(child(init="tiny/roberta"))

    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    def stopped(run, progress):
        clock.now += 0.3
        raise Stopped(name)

    monkeypatch.setattr(worker, "time", clock)
    monkeypatch.setattr("muppet.stages.finetune.finetune", stopped)
    for _ in range(2):
        with pytest.raises(Stopped):
            worker.execute_one("smoke", run)
    assert records.attempts(name) == (2, pytest.approx(0.6))
    holder = paths.run_dir(name) / "holder.json"  # a third attempt that was killed after 100 s
    holder.write_text(json.dumps({"host": "n1", "pid": 1, "began": holder.parent.stat().st_mtime - 100}))
    os.utime(holder, (holder.parent.stat().st_mtime,) * 2)
    monkeypatch.setattr("muppet.stages.finetune.finetune", lambda run, progress: result_of(run))
    assert worker.execute_one("smoke", run) == "done"
    cost = read(result_path("smoke", run)).cost
    assert cost["seconds"] == pytest.approx(2.0 + 0.6 + 100) and cost["attempts"] == 4
    assert records.attempts(name) == (0, 0.0)


def test_the_log_says_how_far_training_is(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert worker.execute_one("smoke", child(init="tiny/roberta")) == "done"
    assert "step 3/3: loss " in capsys.readouterr().out


def test_a_full_disk_fails_the_run_and_leaves_no_half_result(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = child(init="tiny/roberta")
    monkeypatch.setattr(worker, "declared", lambda profile, ids: [run])
    monkeypatch.setattr("muppet.paths.os.fsync", full)
    monkeypatch.setattr("muppet.stages.finetune.finetune", lambda run, progress: result_of(run))
    assert worker.execute("smoke", [run_id(run)]) == {run_id(run): "failed"}
    assert not [path for path in Path.cwd().rglob("*") if path.is_file() and path.name != "lock"]
    assert "No space left on device: '" in capsys.readouterr().err


def test_a_worker_s_death_is_recorded_with_the_last_lines_of_its_log() -> None:
    paths.run_dir("run").mkdir(parents=True)
    (paths.run_dir("run") / "log.txt").write_text("".join(f"line {i}\n" for i in range(100)))
    records.fail("run", "the worker was ended by SIGKILL")
    record = json.loads((paths.run_dir("run") / "failure.json").read_text())
    assert record["traceback"].splitlines()[-1] == "line 99" and len(record["traceback"].splitlines()) == records.TAIL


def _hold(name: str, started, release) -> None:
    with hold(name):
        started.set()
        release.wait(30)


def test_a_run_that_another_process_holds_is_busy() -> None:
    context = multiprocessing.get_context("spawn")
    started, release = context.Event(), context.Event()
    run = child(init="tiny/roberta")
    other = context.Process(target=_hold, args=(run_id(run), started, release))
    other.start()
    try:
        assert started.wait(60)
        with pytest.raises(Busy):
            worker.execute_one("smoke", run)
    finally:
        release.set()
        other.join()
    assert not result_path("smoke", run).exists()


@pytest.mark.parametrize(
    ("says", "ended"),
    [
        ("echo RUNNING", False),
        ("echo COMPLETING", False),
        ("echo PENDING", True),  # queued again: whoever held the run then holds it no more
        ("true", True),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", True),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", False),
        ("exec /bin/sleep 60", False),  # a controller that is busy
    ],
)
def test_a_lease_s_holder_has_ended_when_the_queue_says_so(folder: Path, monkeypatch, says: str, ended: bool) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert not worker._ended({"job": "7_1"})  # without a queue nobody knows
    monkeypatch.setattr(worker, "ANSWER_S", 5.0)
    (folder / "squeue").write_text(f'#!/bin/sh\n[ "$3" = --jobs=7_1 ] || exit 2\n{says}\n')
    (folder / "squeue").chmod(0o755)
    assert worker._ended({"job": "7_1"}) == ended and not worker._ended({"host": "elsewhere"})


def test_ids_are_looked_up_in_the_declared_studies() -> None:
    from studies.kit.load import load_studies

    runs = load_studies("smoke", ["table3"])["table3"].runs()
    name = list(runs)[3]
    assert worker.declared("smoke", [name]) == [runs[name]]
    with pytest.raises(UserError, match="unknown run under PROFILE=smoke"):
        worker.declared("smoke", [run_id(replace(child(), seed=77))])
