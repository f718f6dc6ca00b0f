"""The node's part of a SLURM job, without a cluster: runs that fail, signals, requeues, and the process group."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from studies.kit.ledger import folder

ROOT = Path(__file__).resolve().parents[1]

WORK = """
import os, pathlib, signal, time
def execute(profile, ids):
    for name in ids:
        kind = name.split('-')[1]
        if kind == 'crash':
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == 'leave':
            os._exit(0)
        if kind == 'raise':
            raise OSError('no such luck')
        if kind == 'wait':
            open('waiting', 'w').close()
            time.sleep(60)
        path = pathlib.Path('results') / profile / 'finetune' / f'{name}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{}')
"""


def start(
    folder: Path, *names: str, parents: dict[str, str] | None = None, runner: str = "work:execute"
) -> subprocess.Popen[str]:
    """The job of an array's element, as a written-out script starts it."""
    (folder / "work.py").write_text(WORK)
    code = (
        "import sys, studies.kit.launch.slurm.job as job\n"
        "import studies.kit.launch.slurm.node as node\n"
        "job.END_S = node.REQUEUE_S = 3.0\n"
        "ids = tuple(sys.argv[1].split(','))\n"
        f"job.Job(profile='smoke', ids=ids, parents=tuple(map({parents or {}!r}.get, ids)), runner={runner!r})()\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "MUPPET_", "RANK", "WORLD"))}
    env = kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "SLURM_JOB_ID": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, ",".join(names)],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_run_that_crashes_or_raises_fails_alone_and_three_times_is_enough(tmp_path: Path) -> None:
    bad = ("finetune-crash-0", "finetune-raise-0", "finetune-leave-0")
    job = start(tmp_path, "finetune-a-0", *bad, "finetune-b-0")
    said, _ = job.communicate(timeout=60)
    assert job.returncode != 0 and "3 of 5 runs have no result" in said
    done = {path.stem for path in (tmp_path / "results/smoke/finetune").iterdir()}
    assert done == {"finetune-a-0", "finetune-b-0"}
    for name, why in zip(bad, ("SIGSEGV", "left no failure record", "exit status 0")):
        record = json.loads((tmp_path / f"artifacts/runs/{name}/failure.json").read_text())
        assert record["count"] == 3 and why in record["error"]
    assert "no such luck" in (tmp_path / "artifacts/runs/finetune-raise-0/log.txt").read_text()


def test_a_warning_before_python_listens_is_not_the_end(tmp_path: Path) -> None:
    from studies.kit.launch.slurm import snapshot

    python = snapshot.interpreter(tmp_path / "python", {"SAID": 'it\'s "quoted"'})
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print(os.environ['SAID'])"  # no handler yet
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'it\'s "quoted"\n')


def test_a_process_that_cannot_start_ends_the_job(tmp_path: Path) -> None:
    job = start(tmp_path, "finetune-a-0", runner="nowhere:execute")
    said, _ = job.communicate(timeout=60)
    assert job.returncode != 0 and "No module named 'nowhere'" in said and "before the first" in said


def test_a_child_without_its_parents_result_says_so_and_is_no_failure(tmp_path: Path) -> None:
    job = start(tmp_path, "finetune-a-0", "finetune-b-0", parents={"finetune-b-0": "prefinetune-p-0"})
    said, _ = job.communicate(timeout=60)
    assert job.returncode != 0 and "finetune-b-0: not started, its parent prefinetune-p-0 has no result" in said
    assert not (tmp_path / "artifacts/runs/finetune-b-0/failure.json").exists()


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_outside_of_training_leaves_no_failure_and_a_restart_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    job = start(tmp_path, "finetune-a-0", "finetune-wait-0", "finetune-b-0")
    end = time.monotonic() + 40
    while not (tmp_path / "waiting").exists() and time.monotonic() < end:
        time.sleep(0.05)
    job.send_signal(number)
    said, _ = job.communicate(timeout=60)
    assert f"got {number.name}" in said and "stopped at a checkpoint" in said
    assert not list((tmp_path / "artifacts").glob("runs/*/failure.json"))
    again = start(tmp_path, "finetune-a-0", "finetune-b-0")
    said, _ = again.communicate(timeout=60)
    assert again.returncode == 0 and "2 runs, 1 of them done" in said


def test_starts_that_never_get_further_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.kit.launch.slurm import job

    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    own = tmp_path / "runs/finetune-x-0"
    own.mkdir(parents=True)
    (own / "progress.json").write_text('{"step": 5}')
    assert [folder.start("finetune-x-0") for _ in range(3)] == [1, 2, 3]
    (own / "progress.json").write_text('{"step": 9}')  # it got further
    assert [folder.start("finetune-x-0") for _ in range(job.STARTS)] == [1, 2, 3, 4, 5]
    one = job.Job(profile="smoke", ids=("finetune-x-0",), parents=(None,))
    assert one._one(lambda profile, ids: pytest.fail("it was started"), "finetune-x-0") == "failed"
    record = json.loads((own / "failure.json").read_text())
    assert record["count"] >= 3 and "never got further than step 9" in record["error"]


def test_preemptions_before_the_first_progress_are_no_memory_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from muppet.errors import Stopped
    from studies.kit.launch.slurm import job

    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    one = job.Job(profile="smoke", ids=("finetune-x-0",), parents=(None,))

    def preempted(profile: str, ids: list[str]) -> dict[str, str]:
        raise Stopped

    for stop in range(1, job.STOPS + 1):
        assert not folder.failure("finetune-x-0"), stop
        with pytest.raises(Stopped):
            one._one(preempted, "finetune-x-0")
    record = folder.failure("finetune-x-0")
    assert record["count"] >= 3 and "minutes" in record["error"] and "memory" not in record["error"]


def test_a_start_that_ends_in_order_leaves_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.kit.launch.slurm import job

    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    one, note = job.Job(profile="smoke", ids=("a",), parents=(None,)), tmp_path / "runs/a/started.json"
    assert one._one(lambda profile, ids: {"a": "done"}, "a") == "done" and not note.exists()
    folder.start("a")
    assert one._one(lambda profile, ids: {"a": "busy"}, "a") == "busy"  # another copy is at it: no start of ours
    assert json.loads(note.read_text())["count"] == 1


def test_a_requeue_outlasts_a_controller_that_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from studies.kit.launch.slurm import node

    script = tmp_path / "scontrol"
    script.write_text(
        '#!/bin/sh\necho "$@" >> asked\n[ $(wc -l < asked) -gt 2 ] || { echo "Unable to contact" >&2; exit 1; }\n'
    )
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    node.requeue()
    assert (tmp_path / "asked").read_text() == "requeue 77\n" * 3 and "queued again" in capsys.readouterr().out
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    node.requeue()
    assert "no scontrol on this node" in capsys.readouterr().out
    assert node.scheduler_state() == ""


def test_submitting_from_inside_a_job_hands_on_none_of_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.kit.launch.slurm import sbatch

    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_CONF", "RANK"):
        monkeypatch.setenv(name, "1")
    with sbatch.clean():
        assert "SLURM_JOB_ID" not in os.environ and "RANK" not in os.environ and os.environ["SLURM_CONF"] == "1"
    assert os.environ["SLURM_JOB_ID"] == "1" and os.environ["SLURM_CONF"] == "1"


def test_the_process_group_is_made_from_slurms_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    from studies.kit.launch.slurm import node

    slurms = {
        "SLURM_NTASKS": "4",
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_JOB_NODELIST": "node[03-04]",
        "SUBMITIT_EXECUTOR": "slurm",
    }
    for name, value in slurms.items():
        monkeypatch.setenv(name, value)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    node.process_group()
    assert [os.environ[n] for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")] == ["3", "4", "1", "2"]
    assert os.environ["MASTER_ADDR"] == "node03" and 20000 <= int(os.environ["MASTER_PORT"]) < 32000
    monkeypatch.setenv("SLURM_NTASKS", "1")
    node.process_group()
    assert "WORLD_SIZE" not in os.environ
