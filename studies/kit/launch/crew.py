"""The workers of a local launch: warm processes that pay for imports once, each run isolated from the rest.

A child starts as soon as its pre-finetuning is done. A worker that dies (segmentation fault, out of memory) fails its
one run and is replaced. Ctrl-C keeps what is done; runs under way write a checkpoint and stop.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from muppet.result import read
from muppet.runs import Prefinetune, Run, parent, run_id
from studies.kit import cost
from studies.kit.launch.plan import Plan
from studies.kit.launch.serve import serve
from studies.kit.ledger import folder
from studies.kit.ledger.folder import result_path

CHECKPOINT_S = 60.0  # that a stopping run gets for its checkpoint
AGAIN_S = 2.0  # between looks at a run that another process holds, and the longest wait for a worker


@dataclass(kw_only=True)
class Worker:
    """One process and the run that it does."""

    process: Any
    connection: Connection
    run: str | None = None
    began: float = 0.0
    bar: Any = None


@dataclass(kw_only=True)
class Tally:
    """What came of each run: `done`, `skipped` (another process did it), `failed`, `waiting` (for a failed parent),
    `left` (it would not have ended in time: `seconds` of it and of each other)."""

    outcomes: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, *kinds: str) -> int:
        """How many runs ended in one of `kinds`."""
        return sum(outcome in kinds for outcome in self.outcomes.values())


class Launch:
    """One launch: the queue, the workers, the bars."""

    def __init__(self, planned: Plan, width: int, runner: str, until: float | None, devices: Sequence[str]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self.planned, self.width, self.runner, self.devices = planned, width, runner, devices
        self.until, self.calibration = until, planned.calibration
        self.finished: list[tuple[Run, Mapping[str, Any]]] = []  # here and now, each with its cost
        self.tally = Tally()
        estimate = {name: self._seconds(name) for name in planned.to_do}
        parents = {run_id(above) for one in planned.to_do.values() if (above := parent(one))}
        # Parents first; one seed of everything, so that a table fills early; long ones first, so that none lags.
        self.queue = sorted(planned.to_do, key=lambda n: (n not in parents, planned.to_do[n].seed, -estimate[n]))
        self.again: dict[str, float] = {}  # held elsewhere: when to look again
        self.workers: list[Worker] = []
        self.console = Console()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        self.labels = labels(planned)

    def loop(self) -> Tally:
        """Until every run has come to something."""
        total = self.progress.add_task("runs", total=len(self.planned.to_do), note="")
        with self.progress, _interruptible():
            try:
                while self.queue or any(w.run for w in self.workers):
                    self._assign()
                    at_work = [w for w in self.workers if w.run]
                    busy = {sign: w for w in at_work for sign in (w.connection, w.process.sentinel)}
                    if not busy:
                        if not any(map(self._in_time, self.again)):
                            break  # what is left waits for a parent that failed, or for another day
                        time.sleep(AGAIN_S)
                        continue
                    # Never for ever: of a Ctrl-C just before the wait, Python hears only after it.
                    for source in wait(list(busy), timeout=AGAIN_S):
                        self._hear(busy[source])  # type: ignore[index]
                    self.progress.update(total, completed=len(self.tally.outcomes))
            except BaseException as error:  # a terminal that is gone among them: no work may be lost to it
                self.tally.interrupted = isinstance(error, KeyboardInterrupt)
                self._stop()
                if not self.tally.interrupted:
                    raise
            finally:
                self._dismiss()
        for name in self.queue:
            failed = self.tally.outcomes.get(self._above(name) or "") == "failed"
            late = "left" if self.until and not failed else "waiting"
            self.tally.outcomes[name] = "stopped" if self.tally.interrupted else late
        self.tally.seconds = {n: self._seconds(n) for n, came in self.tally.outcomes.items() if came == "left"}
        return self.tally

    # ---------------------------------------------------------------- the queue

    def _assign(self) -> None:
        """Give every free worker the first run that may start."""
        while sum(w.run is not None for w in self.workers) < self.width:
            name = next((n for n in self.queue if self._ready(n)), None)
            if name is None:
                return
            self.workers = [w for w in self.workers if w.run or w.process.is_alive()]
            free = next((w for w in self.workers if w.run is None), None) or self._hire()
            free.run, free.began = name, time.monotonic()
            self.queue.remove(name)  # once a worker has it: a Ctrl-C while one is hired loses none from the count
            free.bar = self.progress.add_task(f"  {self.labels[name]}", total=None, note="")
            free.connection.send(name)

    def _ready(self, name: str) -> bool:
        if self.again.get(name, 0) > time.monotonic() or not self._in_time(name):
            return False
        above = self._above(name)
        return above is None or self.tally.outcomes.get(above) in ("done", "skipped")

    def _above(self, name: str) -> str | None:
        """The run of this launch that `name` starts from."""
        above = parent(self.planned.runs[name])
        return run_id(above) if above and run_id(above) in self.planned.to_do else None

    def _in_time(self, name: str) -> bool:
        return self.until is None or time.monotonic() + self._seconds(name) <= self.until

    def _seconds(self, name: str) -> float:
        """Estimated, on one device of this machine."""
        return cost.seconds(self.planned.to_do[name], self.calibration, "gpu" if self.devices else "cpu")

    def _hire(self) -> Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        used = Counter(int(w.process.name.rsplit("-", 1)[-1]) for w in self.workers)
        place = min(range(self.width), key=lambda i: used[i])
        if self.devices:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.devices[place % len(self.devices)]
            os.environ["MUPPET_SHARED_BY"] = str(-(-self.width // len(self.devices)))
        arguments = (self.runner, self.planned.profile, theirs)
        process = context.Process(target=serve, args=arguments, name=f"worker-{place}", daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C goes to the whole group; we decide, not it
        process.start()
        signal.signal(signal.SIGINT, before)
        theirs.close()
        hired = Worker(process=process, connection=ours)
        self.workers.append(hired)
        return hired

    # ---------------------------------------------------------------- what workers say

    def _hear(self, one: Worker) -> None:
        """Take one message of a worker, or its death."""
        if one.run is None:
            return
        try:
            kind, content = one.connection.recv()
        except (EOFError, OSError):
            one.process.join()
            name, code = one.run, one.process.exitcode
            folder.fail(name, _death(code))
            self.workers.remove(one)
            self._end(one, "failed")
            return
        if kind == "progress":
            step, steps = content.get("step", 0), content.get("steps") or None
            speed, loss = content.get("tokens_per_second"), content.get("loss")
            note = " ".join([f"loss {loss:.3f}" if loss else "", f"{speed:,.0f} tokens/s" if speed else ""])
            self.progress.update(one.bar, completed=step, total=steps, note=note)
        else:
            self._end(one, content)

    def _end(self, one: Worker, outcome: str) -> None:
        name, one.run = one.run, None
        assert name is not None
        self.progress.remove_task(one.bar)
        if outcome == "busy":
            if name not in self.again:
                self.console.print(f"[dim]… {self.labels[name]}: another process is at it[/]", highlight=False)
            self.again[name] = time.monotonic() + AGAIN_S
            self.queue.append(name)
            return
        if outcome == "stopped":  # by somebody else's signal: its checkpoint is there
            self._say(f"[yellow]…[/] {self.labels[name]}:", "was stopped, and goes on from its checkpoint")
            self.workers.remove(one)  # it leaves by itself
            self.queue.append(name)
            return
        self.again.pop(name, None)
        self.tally.outcomes[name] = outcome
        place = f"[dim]{len(self.tally.outcomes)}/{len(self.planned.to_do)}[/]"
        if outcome == "failed":
            record = folder.failure(name) or {"error": "no failure record", "log": ""}
            error, log = record["error"].split("\n")[0], f"(log: {record['log']})"
            self._say(f"[red]✗[/] {place} {self.labels[name]}:", error, log)
            return
        if self.until and outcome == "done":  # what runs took just now, here, tells more than other machines' results
            self.finished.append((self.planned.runs[name], read(result_path(self.planned.profile, name)).cost))
            factor = {**self.planned.calibration.factor, **cost.calibrate(self.finished).factor}
            self.calibration = cost.Calibration(factor=factor)
        took = f"{time.monotonic() - one.began:.1f} s" if outcome == "done" else "done by another process"
        self._say(f"[green]✓[/] {place} {self.labels[name]}", self._score(name), took)

    def _say(self, what: str, *more: str) -> None:
        """A line on the run that ended; `more` is no markup."""
        from rich.text import Text

        self.console.print(what, *(Text(text) for text in more if text), highlight=False, soft_wrap=True)

    def _score(self, name: str) -> str:
        """The run's first score, for its line."""
        run = self.planned.runs[name]
        if isinstance(run, Prefinetune):
            return self._weights(run) if name in self.planned.again else ""
        scores = read(result_path(self.planned.profile, run)).scores
        key = run.task.key() if run.task.key() in scores else next(iter(scores), None)
        return f"{key} {100 * scores[key].value:.1f}" if key else ""

    def _weights(self, run: Prefinetune) -> str:
        """Whether a pre-finetuning that was done again left the weights that its result speaks of."""
        paths = (result_path(self.planned.profile, run), folder.again(run_id(run)))
        then, now = (read(path, run).training.get("weights") for path in paths)
        if then is None:
            return f"again, weights {now}; its result does not say what they were"
        return f"again, weights {now} " + ("as its result says" if then == now else f"where its result says {then}")

    # ---------------------------------------------------------------- the end

    def _stop(self) -> None:
        """Ask every worker to write a checkpoint and stop; wait a while."""
        under_way = [w for w in self.workers if w.run]
        if under_way:
            self.console.print(f"stopping: {len(under_way)} run(s) write a checkpoint (Ctrl-C again: do not wait)")
        for one in self.workers:
            one.process.terminate()
        try:
            deadline = time.monotonic() + CHECKPOINT_S
            for one in under_way:
                one.process.join(max(0.0, deadline - time.monotonic()))
        except KeyboardInterrupt:
            pass
        self.queue += [w.run for w in under_way if w.run and w.run not in self.tally.outcomes]

    def _dismiss(self) -> None:
        for one in self.workers:
            try:
                one.connection.send(None)
            except OSError:
                pass
        for one in self.workers:
            one.process.join(5)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = {"SIGKILL": ": out of memory?", "SIGSEGV": ": segmentation fault"}.get(name, "")
        return f"the worker was ended by {name}{hint}"
    return f"the worker left with exit status {code}"


def labels(planned: Plan) -> dict[str, str]:
    """A name for each run that a reader of the table knows: its first cell's row and column."""
    labels: dict[str, str] = {}
    for study in planned.studies.values():
        for cell in study.cells:
            for one in cell.runs:
                seeds = f" seed {one.seed}" if len({r.seed for r in cell.runs}) > 1 else ""
                labels.setdefault(run_id(one), f"{cell.row} / {cell.column}{seeds}")
    for name, one in planned.runs.items():
        if isinstance(one, Prefinetune):
            labels[name] = f"pre-finetuning {one.model} on {len(one.tasks)} datasets"
    return labels


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM is a Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
