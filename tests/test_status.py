"""Where a run stands, from results, records and the queue; what status, retry, cancel and logs make of it."""

from __future__ import annotations

import argparse
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from muppet import paths
from muppet.errors import UserError
from muppet.runs import Finetune, Prefinetune, Recipe, Run, run_id
from muppet.tasks import get
from studies.kit import launch
from studies.kit.launch import control, status
from studies.kit.launch.slurm import controller, nodes, submissions
from studies.kit.launch.slurm.controller import Entry, Unreachable
from studies.kit.launch.slurm.submissions import Sent, Submission
from studies.kit.ledger import folder as records
from studies.kit.ledger.folder import result_path
from studies.kit.ledger.results import Collected
from studies.kit.show import duration
from tests.kit import PARENT as SMALL
from tests.kit import child, small_study

RECIPE = Recipe(lr=1e-3, max_tokens=256, updates=20)
PARENT = Prefinetune(model="tiny/roberta", tasks=(get("rte"),), recipe=RECIPE, source="twins")
CHILD = Finetune(init=PARENT, task=get("rte"), recipe=RECIPE, source="twins")
P, C = run_id(PARENT), run_id(CHILD)
RUNS: dict[str, Run] = {P: PARENT, C: CHILD}
Look = Callable[..., dict[str, status.RunStatus]]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """Writes a submission of both runs and gives the states under a queue's entries (an exception: no answer)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", "artifacts")
    monkeypatch.setattr(controller, "installed", lambda: True)

    def see(entries: list[Entry] | Exception, **changes: Any) -> dict[str, status.RunStatus]:
        arrays = (
            Sent(name="m-0", runs=((P,),), job="7", folder="f"),
            Sent(name="m-1", runs=((C,),), after=P, job="8", folder="f"),
        )
        record: dict[str, Any] = {
            "id": "1",
            "when": 0.0,
            "profile": "smoke",
            "artefacts": (),
            "snapshot": "",
            "arrays": arrays,
        }
        submissions.write(Submission(**(record | changes)))

        def queue() -> list[Entry]:
            if isinstance(entries, Exception):
                raise entries
            return entries

        monkeypatch.setattr(controller, "queue", queue)
        return dict(status.look(RUNS, "smoke").states)

    return see


def entry(number: int, state: str, reason: str = "None", restarts: int = 0) -> Entry:
    return Entry(
        job=str(number + 7), name=f"m-{number}", state=state, reason=reason, restarts=restarts, used="1:00", nodes="n1"
    )


def record(run: str, name: str, **content: Any) -> None:
    path = Path("artifacts/runs") / run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_nothing_sent_is_missing_and_asks_no_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUPPET_ARTIFACTS", raising=False)
    monkeypatch.setattr(controller, "queue", lambda: pytest.fail("the queue was asked"))
    report = status.look(RUNS, "smoke")
    assert {s.state for s in report.states.values()} == {"missing"} and report.unreachable is None


def test_a_running_parent_shows_its_progress_and_its_child_waits(look: Look) -> None:
    record(P, "progress.json", step=5, steps=20, tokens_per_second=100.0, eta_seconds=30.0)
    seen = look([entry(0, "RUNNING"), entry(1, "PENDING", "Dependency")])
    parent, child = seen[P], seen[C]
    assert (parent.state, parent.step, parent.steps, parent.eta_seconds, parent.job) == ("running", 5, 20, 30.0, "7")
    assert (child.state, child.why) == ("queued", f"after {P}")


@pytest.mark.parametrize(
    ("entries", "state", "why"),
    [
        ([entry(0, "PENDING", "Resources")], "queued", "Resources"),
        ([entry(0, "PENDING", "BeginTime", restarts=1)], "preempted", "for the 2nd time"),
        ([entry(0, "PENDING", "launch_failed_requeued_held")], "held", "make retry"),
        ([entry(0, "TIMEOUT")], "failed", "ran out of time"),
        ([entry(0, "OUT_OF_MEMORY")], "failed", "memory_gb"),
        ([entry(0, "NODE_FAIL")], "failed", "node failed"),
        ([entry(0, "CANCELLED")], "cancelled", "submit again"),
        ([entry(0, "PREEMPTED")], "preempted", "submit again"),
        ([entry(0, "COMPLETED")], "lost", "without a result"),
        ([], "lost", "gone from the queue"),
        (Unreachable("squeue: the SLURM controller does not answer"), "unknown", "cannot be asked"),
    ],
)
def test_what_the_scheduler_says_is_told_in_words(look: Look, entries: Any, state: str, why: str) -> None:
    seen = look(entries)[P]
    assert seen.state == state and why in seen.why


def test_records_go_before_the_schedulers_word(look: Look) -> None:
    record(P, "failure.json", error="no such luck", count=3, traceback="", when="now")
    seen = look([entry(0, "COMPLETED"), entry(1, "COMPLETED")])
    assert (seen[P].state, seen[P].why) == ("failed", "no such luck (3×)")
    assert look([entry(0, "RUNNING")])[P].state == "running"  # it is being tried again


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("failure", {"error": "x", "count": "3"}),
        ("failure", {"error": None, "count": None}),
        ("attempts", {"count": "x", "seconds": "abc"}),
        ("attempts", {"count": 1, "seconds": float("nan")}),
        ("holder", {"host": socket.gethostname(), "pid": 10**20}),
        ("holder", {"host": socket.gethostname(), "pid": 2**40}),
        ("progress", {"step": "x", "tokens_per_second": "fast"}),
        ("started", ["no", "record"]),
    ],
)
def test_a_damaged_record_is_none(look: Look, name: str, content: Any) -> None:
    look([])
    folder = paths.run_dir(P)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content))
    assert not records.failure(P) and not records.progress(P) and not records.started(P)
    assert records.attempts(P) == (0, 0.0) and not records.running(P)


def test_a_damaged_line_of_failures_is_passed_over(look: Look) -> None:
    look([])
    good = {"node": "n1", "run": "r", "error": "CUDA error", "when": 1.0}
    damaged = [{"a": 1}, good | {"when": "x"}, good | {"error": 5}]
    paths.artifacts().mkdir(parents=True, exist_ok=True)
    lines = [*map(json.dumps, damaged), 2 * json.dumps(good), json.dumps(good)[1:], json.dumps(good)[:-1]]
    (paths.artifacts() / records.FAULTS).write_text("\n".join([*lines, json.dumps(good)]))
    assert records.faults() == [good] and not nodes.faulty()


@pytest.mark.parametrize("off", [-3600.0, 3600.0, -1e8, 1e8])
def test_a_fault_counts_for_a_day_of_any_clock(look: Look, off: float) -> None:
    """A clock that was years ahead left its node out for years."""
    look([])
    lines = [{"node": "n1", "run": f"r{i}", "error": "CUDA error", "when": time.time() + off} for i in range(3)]
    paths.artifacts().mkdir(parents=True, exist_ok=True)
    (paths.artifacts() / records.FAULTS).write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert bool(nodes.faulty()) == (abs(off) < nodes.WITHIN_S)


@pytest.mark.parametrize("text", ["null", "3", "[]", '{"arrays": [null]}', "{"])
def test_a_damaged_record_of_a_submission_is_named(look: Look, text: str) -> None:
    path = submissions.folder() / "20260101-000000-abcd" / "submission.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=f"{path}: not a submission's record"):
        submissions.read_all()


def test_a_result_is_the_truth_whatever_the_queue_says(look: Look) -> None:
    path = Path(f"results/smoke/prefinetune/{P}.json")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    seen = look([entry(0, "FAILED")])[P]
    assert seen.state == "failed" and "not a whole result file" in seen.why  # … unless it cannot be trusted
    assert str(path) in seen.why


def test_a_cancelled_submission_is_not_lost(look: Look) -> None:
    assert look([], cancelled=1.0)[P].state == "cancelled"
    assert look([entry(0, "COMPLETING")], cancelled=1.0)[P].state == "cancelled"
    assert look([entry(0, "COMPLETING")])[P].state == "running"


def test_only_one_run_of_a_packed_job_runs(look: Look) -> None:
    others = tuple(f"finetune-x-{i}" for i in range(2))
    packed = Sent(name="m-0", runs=((P, C, *others),), job="7", folder="f")
    record(P, "progress.json", step=20, steps=20)
    record(C, "progress.json", step=1, steps=20)
    seen = look([entry(0, "RUNNING")], arrays=(packed,))
    assert seen[C].state == "running" and seen[P].state == "queued"


def test_a_result_that_comes_while_we_look_is_done(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = Sent(name="m-0", runs=((P, C),), job="7", folder="f")
    monkeypatch.setattr(status, "read_all", lambda profile: Collected(rows=[], refused={}))  # which has been read
    paths.write_text(result_path("smoke", P), "{}")
    seen = look([entry(0, "RUNNING")], arrays=(packed,))
    assert seen[P].state == "done" and seen[C].state == "running"


def test_what_its_job_did_not_begin_for_want_of_a_parent_is_not_lost(look: Look) -> None:
    record(P, "failure.json", error="no such luck", count=3)
    for entries in ([entry(0, "FAILED"), entry(1, "FAILED")], []):
        child = look(entries)[C]
        assert (child.state, child.why) == ("missing", f"its parent {P} failed")
    assert control.forget(RUNS, "smoke") == {P}
    assert (look([])[P].state, look([])[C].why) == ("lost", f"its parent {P} is lost")


def test_status_is_printed_for_people_and_machines(look: Look, capsys: pytest.CaptureFixture[str]) -> None:
    look(Unreachable("squeue: the SLURM controller does not answer"))
    assert status.show([], RUNS, "smoke") == 0
    assert "does not answer" in capsys.readouterr().out
    assert status.show([], RUNS, "smoke", as_json=True) == 0
    plain = json.loads(capsys.readouterr().out)
    assert "does not answer" in plain["unreachable"] and [one["state"] for one in plain["runs"]] == [
        "unknown",
        "unknown",
    ]


def test_what_others_wrote_is_shown_as_it_is(look: Look, capsys: pytest.CaptureFixture[str]) -> None:
    error = "RuntimeError: [/pytorch/third_party/gloo/pair.cc:534] Connection closed [rank1]: by [bold]peer[/bold]\\"
    record(P, "failure.json", error=error, count=3)
    arrays = (
        Sent(name="m-0", runs=((P,),), job="7", folder="f"),
        Sent(name="m-1", runs=((C,),), folder="f", why="sbatch: lua: [/project] name one; Unspecified error"),
    )
    look([], arrays=arrays)
    assert status.show([], RUNS, "smoke") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert error in shown and "sbatch: lua: [/project] name one; Unspecified error" in shown
    look(Unreachable("squeue: no answer from [/tmp/controller]"))
    assert status.show([], RUNS, "smoke") == 0
    assert "no answer from [/tmp/controller]" in capsys.readouterr().out


def test_retry_forgets_failures_and_releases_held_jobs(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    record(P, "failure.json", error="no such luck", count=3)
    record(P, "started.json", step=1, count=3)
    look([entry(0, "COMPLETED"), entry(1, "PENDING", "job requeued in held state")])
    released: list[str] = []
    monkeypatch.setattr(controller, "release", released.extend)
    assert control.forget(RUNS, "smoke") == {P} and released == ["8"]
    assert not list(Path(f"artifacts/runs/{P}").iterdir())


def test_a_cancel_names_the_runs_of_other_cells_that_share_a_job(
    look: Look, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = Sent(name="m-1", runs=((C, "finetune-other-0"),), job="8", folder="f")
    look([entry(1, "RUNNING")], arrays=(packed,))
    cancelled: list[str] = []
    monkeypatch.setattr(controller, "require", lambda: None)
    monkeypatch.setattr(controller, "cancel", cancelled.extend)
    monkeypatch.setattr(control, "chosen", lambda args: {})
    monkeypatch.setattr(control, "runs_of", lambda studies: RUNS)
    assert control.cancel(argparse.Namespace(profile="smoke")) == 0
    said = capsys.readouterr().out
    assert cancelled == ["8"] and "1 jobs with 2 runs" in said and "1 of other cells" in said
    assert "finetune-other-0" in said
    monkeypatch.setattr(controller, "queue", lambda: [entry(1, "COMPLETING")])  # its last seconds
    assert not submissions.in_flight(submissions.dispatches(submissions.read_all(), controller.queue()))


def test_retry_keeps_the_launcher_that_sent_a_run(
    look: Look, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study()
    here = next(name for name, run in study.runs().items() if run == child(init="tiny/roberta"))
    sent = Sent(name="m-0", runs=((run_id(SMALL),),), job="7", folder="f")
    look([], arrays=(sent,))
    for name in (run_id(SMALL), here):
        record(name, "failure.json", error="no such luck", count=3)
    monkeypatch.setattr(control, "chosen", lambda args: {study.name: study})
    started: dict[str, set[str]] = {}
    monkeypatch.setattr(launch, "start", lambda plan, args: started.setdefault(args.launcher, set(plan.to_do)) and 0)
    asked = argparse.Namespace(profile="smoke", launcher=None)
    assert control.retry(asked) == 0
    children = {name for name, run in study.runs().items() if isinstance(run, Finetune) and run.init == SMALL}
    assert started == {"slurm": {run_id(SMALL)} | children, "local": {here}}

    def asks(*_: object) -> int:
        raise UserError("YES=1 sends them")

    record(here, "failure.json", error="no such luck", count=3)
    monkeypatch.setattr(launch, "start", asks)
    asked.launcher = "local"
    with pytest.raises(UserError, match="YES=1"):
        control.retry(asked)
    asked.launcher = None
    started.clear()
    monkeypatch.setattr(launch, "start", lambda plan, args: started.setdefault(args.launcher, set(plan.to_do)) and 0)
    assert control.retry(asked) == 0 and started["local"] == {here}


def test_cancel_names_whole_arrays_once(look: Look) -> None:
    arrays = (Sent(name="m-0", runs=(("a",), ("b",)), job="7"), Sent(name="m-1", runs=(("c",), ("d",)), job="8"))
    sent = [Submission(id="1", when=0.0, profile="smoke", artefacts=(), snapshot="", arrays=arrays)]
    assert control.whole(["7_0", "7_1", "8_1"], sent) == ["7", "8_1"]


def test_logs_wants_one_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked = argparse.Namespace(profile="smoke", artefact=None, only=None, run=None)
    monkeypatch.setattr(control, "chosen", lambda args: {})
    monkeypatch.setattr(control, "runs_of", lambda studies: RUNS)
    with pytest.raises(UserError, match="RUN=<id>"):
        control.logs(asked)
    asked.run = "tune"
    with pytest.raises(UserError, match="fits 2 runs"):
        control.logs(asked)
    asked.run = P[:-1] + "z"
    with pytest.raises(UserError, match="did you mean"):
        control.logs(asked)


@pytest.mark.parametrize(("seconds", "text"), [(9, "9 s"), (600, "10 min"), (9000, "2.5 h"), (400_000, "4.6 days")])
def test_durations_are_said_as_people_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
