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
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from muppet import paths
from muppet.result import write_text

RUNNER = "studies.kit.worker:execute"  # (profile, [id]) -> None
STOPPED, BUSY = 75, 76  # exit status of a run that checkpointed as told; that another copy of it is doing already
GRACE_S = 20.0  # that the first of several processes gets to say why they failed
ATTEMPTS = 3  # of one run in one job, and stops without progress, before it is called failed
PATIENCE_S = 600.0  # for which a requeue is tried again
AGAIN_S = 5.0  # between looks at a run that another copy is doing


@dataclass(frozen=True, kw_only=True)
class Job:
    """The runs `ids` of `profile`, in order, through `runner` (`module:function`); `parents[i]` is what `ids[i]` starts from."""

    profile: str
    ids: tuple[str, ...]
    parents: tuple[str | None, ...]
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
        for name, parent in zip(self.ids, self.parents, strict=True):
            if parent is not None and not self._done(parent) and name in missing:
                # Whatever the scheduler said of the parent's job. No failure of this run: it is tried when submitted again.
                say(f"{name}: not started, its parent {parent} has no result")
            elif name in missing:
                self._run(name, attempt)
        left = [name for name in self.ids if not self._done(name)]
        if left and _first():
            raise RuntimeError(f"{len(left)} of {len(self.ids)} runs have no result: {', '.join(left[:3])}{' …' * (len(left) > 3)}")

    def _run(self, name: str, attempt: _Attempt) -> None:
        _warm(self.runner)
        tries = 0
        while tries < ATTEMPTS:
            before = _failure(name)
            if attempt.signal is None:
                say(f"{name}: starts")
                status = attempt.follow(partial(self._child, name), paths.run_dir(name) / "log.txt" if _first() else None)
            if attempt.signal is not None and not self._done(name):
                attempt.leave(name)
            if self._done(name) or (status == 0 and not _first()):
                say(f"{name}: done")
                return
            if status == BUSY:
                time.sleep(AGAIN_S)
                continue
            tries += 1
            if status < 0:
                self._fail(name, f"killed by {signal.Signals(-status).name}" + ": out of memory?" * (status == -9))
            elif _failure(name) == before:
                self._fail(name, f"left with status {status}, see its log")
            error = _failure(name).get("error")
            say(f"{name}: failed: {error}")
            if _many():  # the other processes of the group would wait for this one: end them all
                time.sleep(0 if _first() else GRACE_S)  # … when the first has said why
                raise RuntimeError(f"{name}: {error}")
            if int(_failure(name).get("count") or 1) >= ATTEMPTS:
                return

    def _child(self, name: str) -> int:
        """In the child: do the run → exit status."""
        module, _, function = self.runner.partition(":")
        outcomes = getattr(importlib.import_module(module), function)(self.profile, [name])
        return BUSY if outcomes and outcomes.get(name) == "busy" else 0 if self._done(name) or not _first() else 1

    def _fail(self, name: str, error: str) -> None:
        """A failure record for a run that could not write its own."""
        from studies.kit import worker

        if _first():
            worker.fail(name, error)

    def _done(self, name: str) -> bool:
        return (Path("results") / self.profile / name.split("-", 1)[0] / f"{name}.json").exists()


class _Attempt:
    """One start of a job: the signals it got and the child that it attends to."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.child: int | None = None
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, self._told)

    def _told(self, number: int, frame: FrameType | None) -> None:
        say(f"got {signal.Signals(number).name}")
        if self.signal != signal.SIGTERM:  # the harder one is remembered
            self.signal = number
        if self.child is not None:
            os.kill(self.child, number)

    def follow(self, work: Callable[[], int], log: Path | None) -> int:
        """Run `work` in a child that writes to `log` → its exit status, negative for a signal that killed it."""
        sys.stdout.flush(), sys.stderr.flush()
        blocked = {signal.SIGUSR2, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)  # until both sides know who they are
        child = os.fork()
        if child == 0:
            _live(work, log, blocked)
        self.child = child
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        _, waited = os.waitpid(child, 0)
        self.child = None
        return os.waitstatus_to_exitcode(waited)

    def leave(self, name: str) -> None:
        """After the checkpoint: queue this job again where that is ours to ask, then wait for the end."""
        if _first() and (times := _stuck(name)) >= ATTEMPTS:
            from studies.kit import worker

            why = f"stopped {times} times without getting any further: give its stage more `minutes` in cluster.toml"
            for _ in range(ATTEMPTS):
                worker.fail(name, why)
            raise RuntimeError(f"{name}: {why}")
        if _first() and (self.signal == signal.SIGUSR2 or _state() == "RUNNING"):
            _requeue()
        time.sleep(PATIENCE_S)  # the scheduler ends us
        raise RuntimeError("stopped at a checkpoint; submit again to go on")


def _live(work: Callable[[], int], log: Path | None, blocked: set[signal.Signals]) -> None:
    """The child's whole life."""
    status = 1
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(target, 1), os.dup2(target, 2)
    train = sys.modules.get("muppet.train")
    Stopped: type[BaseException] = train.Stopped if train else KeyboardInterrupt

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(signal.Signals(number).name)

    try:
        for number in (signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, stop)  # outside of training; training listens for itself and checkpoints
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        status = work()
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
    """The environment that torch.distributed starts from, out of SLURM's, and no more threads than CPUs were given."""
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK") or "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
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
    """Import what every run needs; forks share it."""
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


def _stuck(name: str) -> int:
    """Note that `name` was stopped → how often in a row it was, without getting any further."""
    step = int(_json(paths.run_dir(name) / "progress.json").get("step") or 0)
    record = paths.run_dir(name) / "stopped.json"
    earlier = _json(record)
    count = int(earlier.get("count", 0)) + 1 if earlier.get("step") == step else 1
    write_text(record, json.dumps({"step": step, "count": count, "when": time.time()}) + "\n")
    return count


def _failure(name: str) -> dict[str, Any]:
    return _json(paths.run_dir(name) / "failure.json")


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
        parents = tuple(plain["parents"].get(name) for name in ids)
        Job(profile=plain["profile"], ids=tuple(ids), parents=parents)()
    except RuntimeError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
