"""What runs on a node: a job goes through its runs, each in a process of its own, and survives what the cluster does to it.

The job itself holds no state: it can be started any number of times, anywhere. Runs with a result are skipped, others go
on from their checkpoint. Each run is a fork of a process that has imported the heavy libraries already, so that one
that crashes takes neither the others nor their imports with it. Signals:

* USR2 (before the time limit, or preemption): the run checkpoints, and the job asks to be queued again;
* TERM (preemption without USR2, or cancelled): the run checkpoints, and the scheduler decides: a job that it still calls
  running is queued again, any other waits for its end.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from muppet import paths
from muppet.result import write_text

RUNNER = "studies.kit.worker:execute"  # (profile, [id]) -> None
STOPPED = 75  # exit status of a run that checkpointed because it was told to (EX_TEMPFAIL)
ATTEMPTS = 3  # of one run in one job, and stops without progress, before it is called failed
PATIENCE_S = 600.0  # for which a requeue is tried again


@dataclass(frozen=True, kw_only=True)
class Job:
    """The runs `ids` of `profile`, in order, through `runner` (`module:function`)."""

    profile: str
    ids: tuple[str, ...]
    runner: str = RUNNER

    def checkpoint(self) -> Any:
        """For submitit: a requeued job starts as it first did."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> None:
        """Run what has no result yet. Raises RuntimeError when a run is left without one."""
        attempt = _Attempt()
        process_group()
        missing = [name for name in self.ids if not self._done(name)]
        say(f"{len(self.ids)} runs, {len(self.ids) - len(missing)} of them done; {_where()}")
        for name in missing:
            if why := self._waits(name):
                say(f"{name}: {why}")
            else:
                self._run(name, attempt)
        left = [name for name in self.ids if not self._done(name)]
        if left and _first():
            raise RuntimeError(f"{len(left)} of {len(self.ids)} runs have no result: {', '.join(left[:3])}{' …' * (len(left) > 3)}")

    def _run(self, name: str, attempt: _Attempt) -> None:
        if attempt.status is None:
            _warm(self.runner)
        for _ in range(ATTEMPTS):
            if attempt.signal is None:
                say(f"{name}: starts")
                status = attempt.follow(lambda: self._child(name))
            if attempt.signal is not None and not self._done(name):
                attempt.leave(name)
            if self._done(name) or (status == 0 and not _first()):
                say(f"{name}: done")
                return
            if status == STOPPED:
                say(f"{name}: gave way to another copy of itself")
                return
            if status < 0:
                _failed(name, f"killed by {signal.Signals(-status).name}" + (", out of memory?" if status == -signal.SIGKILL else ""))
            error = _failure(name).get("error", "no record")
            say(f"{name}: failed (status {status}): {error}")
            if _many():  # the other processes of the group wait for this one: end them all
                raise RuntimeError(f"{name}: {error}")
            if int(_failure(name).get("count") or 1) >= ATTEMPTS:
                return

    def _child(self, name: str) -> None:
        """In the child: run, and leave by a status, never by returning."""
        module, _, function = self.runner.partition(":")
        getattr(importlib.import_module(module), function)(self.profile, [name])

    def _done(self, name: str) -> bool:
        return (Path("results") / self.profile / name.split("-", 1)[0] / f"{name}.json").exists()

    def _waits(self, name: str) -> str | None:
        """Why a run cannot start: its parent left no result, whatever the scheduler said of the parent's job."""
        if self.runner != RUNNER or name.startswith("prefinetune-"):
            return None
        from studies.kit import load

        global _declared
        if _declared is None:
            _declared = load.runs(load.load_studies(self.profile).values())
        from muppet.runs import parent, run_id

        up = parent(_declared[name]) if name in _declared else None
        if up is not None and not self._done(run_id(up)):
            return f"not started, its parent {run_id(up)} has no result"
        return None


_declared: dict[str, Any] | None = None


class _Attempt:
    """One start of a job: the signals it got and the child that it attends to."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.child: int | None = None
        self.status: int | None = None
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._told)

    def _told(self, number: int, frame: FrameType | None) -> None:
        say(f"got {signal.Signals(number).name}")
        if self.signal != signal.SIGTERM:  # the harder one is remembered
            self.signal = number
        if self.child is not None:
            os.kill(self.child, number)

    def follow(self, work: Callable[[], None]) -> int:
        """Run `work` in a child → its exit status, negative for a signal that killed it."""
        sys.stdout.flush(), sys.stderr.flush()
        blocked = {signal.SIGUSR2, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)  # until both sides know who they are
        child = os.fork()
        if child == 0:
            _live(work, blocked)
        self.child = child
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        _, waited = os.waitpid(child, 0)
        self.child = None
        self.status = os.waitstatus_to_exitcode(waited)
        return self.status

    def leave(self, name: str) -> None:
        """After the checkpoint: queue this job again where that is ours to ask, then wait for the end."""
        if _first() and _stuck(name):
            raise RuntimeError(f"{name}: stopped {ATTEMPTS} times without progress; see its failure record")
        if _first() and (self.signal == signal.SIGUSR2 or _state() == "RUNNING"):
            _requeue()
        time.sleep(PATIENCE_S)  # the scheduler ends us
        raise RuntimeError("stopped at a checkpoint; submit again to go on")


def _live(work: Callable[[], None], blocked: set[signal.Signals]) -> None:
    """The child's whole life."""
    status = 1
    try:
        from muppet.train import Stopped
    except ImportError:
        Stopped = KeyboardInterrupt  # type: ignore[assignment,misc]

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(signal.Signals(number).name)

    try:
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, stop)  # outside of training; training listens for itself and checkpoints
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        work()
        status = 0
    except Stopped as told:
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        say(f"stopped: {told}")
        status = STOPPED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def process_group() -> None:
    """The environment that torch.distributed starts from, out of SLURM's (paper §3.2: workers on many nodes)."""
    tasks = int(os.environ.get("SLURM_NTASKS") or 1)
    if tasks == 1:
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            os.environ.pop(name, None)
        return
    from submitit import JobEnvironment

    job = JobEnvironment()
    job_number = int(os.environ["SLURM_JOB_ID"])
    os.environ |= {
        "RANK": str(job.global_rank),
        "WORLD_SIZE": str(tasks),
        "LOCAL_RANK": str(job.local_rank),
        "LOCAL_WORLD_SIZE": str(tasks // job.num_nodes),
        "MASTER_ADDR": job.hostnames[0],
        # two jobs on one node must not meet, and a requeued one must not meet its former self
        "MASTER_PORT": str(20000 + (7 * job_number + int(os.environ.get("SLURM_RESTART_COUNT") or 0)) % 12000),
    }


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _many() -> bool:
    return int(os.environ.get("WORLD_SIZE") or 1) > 1


def say(text: str) -> None:
    """A line in the job's log."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def _where() -> str:
    names = ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURMD_NODENAME", "RANK", "WORLD_SIZE")
    return " ".join(f"{name.removeprefix('SLURM_').lower()}={os.environ[name]}" for name in names if name in os.environ)


def _warm(runner: str) -> None:
    """Import once what every run needs; forks share it."""
    if runner == RUNNER:
        for module in ("muppet.prefinetune", "muppet.finetune"):
            importlib.import_module(module)


def _state() -> str:
    done = subprocess.run(["squeue", "-h", "-o", "%T", "-j", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
    return done.stdout.strip()


def _requeue() -> None:
    """Ask for this job to be queued again, patiently: the controller may be the very thing that is restarting."""
    end, pause = time.monotonic() + PATIENCE_S, 2.0
    while True:
        try:
            done = subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
        except FileNotFoundError:
            say("no scontrol on this node: not queued again; submit again to go on from the checkpoint")
            return
        if done.returncode == 0:
            say("queued again")
            return
        say(f"scontrol requeue: {done.stderr.strip() or done.stdout.strip()}")
        if time.monotonic() > end:
            return
        time.sleep(pause)
        pause = min(2 * pause, 30.0)


def _stuck(name: str) -> bool:
    """Note that `name` was stopped; True when this was the third time at the same step (which is then its failure)."""
    step = int(_json(paths.run_dir(name) / "progress.json").get("step") or 0)
    record = paths.run_dir(name) / "stopped.json"
    earlier = _json(record)
    count = int(earlier.get("count", 0)) + 1 if earlier.get("step") == step else 1
    write_text(record, json.dumps({"step": step, "count": count, "when": time.time()}) + "\n")
    if count < ATTEMPTS:
        return False
    _failed(
        name,
        f"stopped {count} times at step {step} before it got any further; give its stage more `minutes` in cluster.toml",
        count=count,
    )
    return True


def _failure(name: str) -> dict[str, Any]:
    return _json(paths.run_dir(name) / "failure.json")


def _failed(name: str, error: str, *, count: int | None = None) -> None:
    """A failure record for a run that could not write its own; `count` of the same error in a row."""
    earlier = _failure(name)
    number = count or (int(earlier.get("count") or 0) + 1 if earlier.get("error") == error else 1)
    record = {"error": error, "traceback": "", "count": number, "when": time.time()}
    write_text(paths.run_dir(name) / "failure.json", json.dumps(record, indent=1) + "\n")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def main(argv: list[str]) -> int:
    """`python -m studies.kit.job LIST.json`: the job of an array's element (SLURM_ARRAY_TASK_ID), for written-out scripts."""
    plain = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    ids = plain["runs"][int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0)]
    try:
        Job(profile=plain["profile"], ids=tuple(ids))()
    except RuntimeError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
