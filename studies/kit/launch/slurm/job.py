"""What runs on a node: a job goes through its runs and survives what the cluster does to it.

    python -m studies.kit.launch.slurm.job LIST.json     # the job of one element of an array (SLURM_ARRAY_TASK_ID)

The job holds no state: it can be started any number of times, anywhere. Runs with a result are skipped, others go on
from their checkpoint. A light process minds a warm one that does the runs one after another; when that one crashes, the
run at fault is noted and the next process goes on behind it. Signals:

* USR2 (before the time limit, or preemption): the run checkpoints, and the job asks to be queued again;
* TERM (preemption without USR2, or cancelled): the run checkpoints, and the scheduler decides: a job that it still
  calls running is queued again, any other waits for its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from muppet.errors import Stopped
from muppet.paths import write_text
from muppet.runtime.rank import is_first, this_process
from studies.kit.launch import RUNNER
from studies.kit.launch.slurm.node import process_group, requeue, say, scheduler_state, where
from studies.kit.ledger import folder

STOPPED = 75  # exit status of the warm process when a run checkpointed because it was told to (EX_TEMPFAIL)
STARTS = 5  # of one run that is killed and gets no further each time, before it is given up
STOPS = 20  # of one run that is told to stop (limit, preemption) and gets no further each time
GRACE_S = 20.0  # that the first of several processes gets to say why they failed
AGAIN_S = 5.0  # between looks at a run that another copy of it is doing
END_S = 600.0  # that a job which is told to stop waits for its end
SIGNALS = {signal.SIGUSR2, signal.SIGTERM}


@dataclass(frozen=True, kw_only=True)
class Job:
    """The runs `ids` of `profile`, in order, through `runner` (`module:function`); `parents[i]` is `ids[i]`'s."""

    profile: str
    ids: tuple[str, ...]
    parents: tuple[str | None, ...]
    runner: str = RUNNER

    def __call__(self) -> None:
        """Run what has no result yet. Raises RuntimeError when a run is left without one."""
        mind = _Minder()
        process_group()
        missing = [name for name in self.ids if not self._done(name)]
        say(f"{len(self.ids)} runs, {len(self.ids) - len(missing)} of them done; {where()}")
        todo = []
        for name, parent in zip(self.ids, self.parents, strict=True):
            if name in missing and parent is not None and not self._done(parent):
                # Whatever the scheduler said of the parent's job. Not this run's failure: submitted again, it is tried.
                say(f"{name}: not started, its parent {parent} has no result")
            elif name in missing:
                todo.append(name)
        self._through(todo, mind)
        left = [name for name in self.ids if not self._done(name)]
        if left and is_first():
            more = f" and {len(left) - 1} more" * (len(left) > 1)
            raise RuntimeError(f"{len(left)} of {len(self.ids)} runs have no result: {left[0]}{more}")

    def _through(self, todo: list[str], mind: _Minder) -> None:
        """Do the runs `todo`; each failing one up to `folder.ATTEMPTS` times."""
        failed: Counter[str] = Counter()
        while todo:
            before = {name: folder.failure(name) for name in todo}
            outcomes, status = mind.follow(partial(self._work, todo))
            current = next((name for name, outcome in outcomes.items() if outcome == "starts"), None)
            if mind.signal is not None and (current or not outcomes):
                mind.leave()
            if not outcomes:
                raise RuntimeError(
                    f"the process that does the runs left with status {status} before the first; see above"
                )
            if current is not None:  # the process died in it
                kind = signal.Signals(-status).name if status < 0 else f"exit status {status}"
                self._fail(
                    current, f"its process was ended by {kind}" + ": out of memory?" * (status == -signal.SIGKILL)
                )
                outcomes[current] = "failed"
            for name, outcome in outcomes.items():
                if outcome == "failed":
                    failed[name] += 1
                    if folder.failure(name) == before[name]:
                        self._fail(name, f"left no failure record; see {folder.log(name)}")
                    say(f"{name}: {folder.failure(name).get('error', 'failed')}")
            # The group's other processes would wait for this one: end them all.
            if this_process().count > 1 and any(failed.values()):
                time.sleep(0 if is_first() else GRACE_S)  # … when the first has said why
                raise RuntimeError("a process of the group failed")
            over = {n for n, k in failed.items() if max(k, folder.failure(n).get("count", 0)) >= folder.ATTEMPTS}
            over |= {n for n, outcome in outcomes.items() if outcome in ("done", "skipped")}
            todo = [n for n in todo if n not in over and not self._done(n)]
            if todo and all(outcomes.get(name) == "busy" for name in todo):
                time.sleep(AGAIN_S)

    def _work(self, names: Sequence[str], tell: Callable[[str, str], None]) -> None:
        """In the warm process: do the runs and tell of each how it ended."""
        execute = pkgutil.resolve_name(self.runner)
        for name in names:
            tell("starts", name)
            if is_first():
                folder.print_to(name)
            try:
                outcome = self._one(execute, name)
            except Stopped:
                raise
            except Exception:
                traceback.print_exc()
                outcome = "failed"
            tell(outcome, name)

    def _one(self, execute: Callable[[str, list[str]], dict[str, str] | None], name: str) -> str:
        """One run → its outcome, with a note of the start that only an orderly end takes away."""
        if not is_first():
            return (execute(self.profile, [name]) or {}).get(name, "done")
        earlier = folder.started(name)
        if folder.start(name) > STARTS:
            self._give_up(name, f"started {STARTS} times and killed each time", "`memory_gb` (or `minutes`)")
            return "failed"
        try:
            outcome = (execute(self.profile, [name]) or {}).get(name, "done")
        except (Stopped, KeyboardInterrupt):
            if folder.stop(name) >= STOPS:
                self._give_up(name, f"told to stop {STOPS} times", "`minutes`, or a partition that preempts less")
            raise
        folder.restore(name, earlier if outcome == "busy" else {})  # busy: this start was none
        return outcome

    def _give_up(self, name: str, why: str, more: str) -> None:
        """Fail a run so often that it is not tried again until a person says so."""
        step = folder.started(name)["step"]
        for _ in range(folder.ATTEMPTS):
            self._fail(
                name, f"{why}, and never got further than step {step}; give its stage more {more} in cluster.toml"
            )

    def _done(self, name: str) -> bool:
        return folder.done(self.profile, name)

    def _fail(self, name: str, error: str) -> None:
        """A failure record for a run that could not write its own."""
        if is_first():
            folder.fail(name, error)


class _Minder:
    """Minds the process that does the work: passes signals on to it and remembers them."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.child: int | None = None
        for number in SIGNALS:
            signal.signal(number, self._told)

    def _told(self, number: int, frame: FrameType | None) -> None:
        say(f"got {signal.Signals(number).name}")
        if self.signal != signal.SIGTERM:  # the harder one is remembered
            self.signal = number
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, number)

    def follow(self, work: Callable[[Callable[[str, str], None]], None]) -> tuple[dict[str, str], int]:
        """Run `work` in a child → (run → its last outcome; the child's exit status, negative for a signal)."""
        sys.stdout.flush(), sys.stderr.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until both sides know who they are
        if self.signal is not None:  # told to stop before anything was begun
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            return {}, STOPPED
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _live(work, writer)
        os.close(writer)
        self.child = child
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        outcomes: dict[str, str] = {}
        with os.fdopen(reader, encoding="utf-8") as messages:
            for line in messages:
                outcome, _, name = line.rstrip("\n").partition(" ")
                outcomes[name] = outcome
                say(f"{name}: {outcome}")
        _, waited = os.waitpid(child, 0)
        self.child = None
        return outcomes, os.waitstatus_to_exitcode(waited)

    def leave(self) -> None:
        """After the checkpoint: queue this job again where that is ours to ask, then wait for the end."""
        state = scheduler_state()
        if state == "" and self.signal == signal.SIGTERM:
            say("squeue does not answer here: cannot tell a preemption from a cancel; submit again to go on")
        if is_first() and (self.signal == signal.SIGUSR2 or state == "RUNNING"):
            requeue()
        time.sleep(END_S)  # the scheduler ends us
        raise RuntimeError("stopped at a checkpoint; submit again to go on")


def _live(work: Callable[[Callable[[str, str], None]], None], writer: int) -> None:
    """The child's whole life: it leaves by a status, never by returning."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)  # which nothing on the way takes for a failure

    def tell(outcome: str, name: str) -> None:
        os.write(writer, f"{outcome} {name}\n".encode())

    status = 1
    try:
        for number in SIGNALS:
            signal.signal(number, stop)  # outside of training; training listens for itself and checkpoints
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        work(tell)
        status = 0
    except (Stopped, KeyboardInterrupt) as error:
        _ignore()
        status = STOPPED
        say(f"stopped: {error}")
    except BaseException:
        _ignore()
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def _ignore() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def write_list(
    path: Path, *, profile: str, runs: Sequence[Sequence[str]], parents: Mapping[str, str], runner: str
) -> None:
    """Write what the elements of an array are to run: element i does `runs[i]`."""
    own = {name: parents[name] for ids in runs for name in ids if name in parents}
    write_text(path, json.dumps({"profile": profile, "runner": runner, "runs": runs, "parents": own}, indent=1) + "\n")


def read_list(path: Path, element: int) -> Job:
    """The job of one element."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    ids = tuple(plain["runs"][element])
    parents = tuple(map(plain["parents"].get, ids))
    return Job(profile=plain["profile"], ids=ids, parents=parents, runner=plain["runner"])


def main(argv: list[str]) -> int:
    """Do the job of this element."""
    try:
        read_list(Path(argv[0]), int(os.environ.get("SLURM_ARRAY_TASK_ID") or 0))()
    except RuntimeError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
