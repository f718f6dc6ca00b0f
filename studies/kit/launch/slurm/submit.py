"""Runs handed to SLURM: a record of what was sent, no run sent twice, and nothing lost when the controller dies."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from muppet.errors import UserError
from muppet.runs import Run
from studies.kit import cost
from studies.kit.launch import RUNNER
from studies.kit.launch.plan import Plan
from studies.kit.launch.slurm import arrays, controller, limits, nodes, preflight, sbatch, submissions
from studies.kit.launch.slurm.arrays import JobArray
from studies.kit.launch.slurm.cluster import Cluster, within
from studies.kit.launch.slurm.sbatch import Batch
from studies.kit.launch.slurm.submissions import Dispatch, Sent, Submission
from studies.kit.ledger.folder import result_path

CONFIRM_S = 6.0  # after which a controller that dies has kept a job (it saves its state every 5 s)
Say = Callable[[str], None]
AT_ONCE: Say = partial(print, flush=True)  # also into a pipe: the job ids matter now


@dataclass(frozen=True, kw_only=True)
class Sending:
    """What was done: the record (None: there was nothing to send), the runs sent, those in flight already, those left
    out with the reason, what the scheduler refused, and how many runs wait for room, with the limit."""

    submission: Submission | None
    sent: tuple[str, ...]
    in_flight: tuple[str, ...]
    left_out: Mapping[str, str]
    refused: tuple[str, ...] = ()
    waiting: int = 0
    limit: str = ""

    @property
    def job_ids(self) -> list[str]:
        """SLURM's ids of the arrays that were accepted."""
        return [sent.job for sent in (self.submission.arrays if self.submission else ()) if sent.job]


def send(
    planned: Plan,
    settings: Cluster,
    *,
    yes: bool = False,
    say: Say = AT_ONCE,
    runner: str = RUNNER,
    code: Path | None = None,
) -> Sending:
    """Send every run to do that is not in flight, as far as the site's limits allow.

    `yes`: however much that spends. `code`: the snapshot of the code that jobs run; None: the code as it is now.

    Raises UserError before anything is sent for what can be known then; Unreachable when the controller stays away.
    """
    missing, done = planned.to_do, planned.done
    controller.require()
    preflight.check(missing, profile=planned.profile, settings=settings)
    longest: dict[str, tuple[str, int | None]] = {}  # stage → its partition and that one's time limit
    for stage in sorted({run.stage for run in missing.values()}):
        asked = settings.of(stage, "partition")
        longest[stage] = controller.retrying(partial(controller.partition_limit, asked), say)
    machines = controller.retrying(controller.nodes, say)
    excluded = nodes.left_out(machines.keys())
    for node, why in excluded.items():
        say(f"node {node} is left out: {why}")
    preflight.visible(set(machines.values()))
    size = settings.max_array or controller.retrying(controller.max_array, say)
    with submissions.lock():
        earlier = submissions.read_all()
        entries = controller.retrying(controller.queue, say)
        flying = submissions.in_flight(submissions.dispatches(earlier, entries))
        # A child that runs although its parent is to be sent again will only say that it has no parent.
        unsent = missing.keys() - flying.keys()
        flying = {name: one for name, one in flying.items() if one.waits or one.sent.after not in unsent}
        fresh, left_out = sbatch.to_send(missing, flying, done)
        in_flight = tuple(name for name in missing if name in flying)
        none = Sending(submission=None, sent=(), in_flight=in_flight, left_out=left_out)
        if not fresh:
            return none
        if not yes:
            _ask(planned, fresh, settings)
        packed = arrays.pack(fresh, settings, planned.calibration, done=done)
        split = [_limited(array, settings, longest) for array in arrays.arrays(packed, size)]
        count, why = limits.room(entries, settings)
        if not (fit := limits.fitting(split, count)):
            return replace(none, waiting=len(fresh), limit=why)
        batch = sbatch.prepare(planned, fresh, fit, settings, runner=runner, code=code, excluded=tuple(excluded))
        submissions.write(batch.record)
        sender = _Sender(batch, flying, say)
        sender.send(range(len(fit)))
        sender.confirm()
    sent = tuple(name for one in sender.record.arrays if one.job for ids in one.runs for name in ids)
    refused = [one for i, one in enumerate(sender.record.arrays) if not one.job and i not in sender.waiting]
    return replace(
        none,
        submission=sender.record,
        sent=sent,
        refused=tuple(one.why for one in refused),
        waiting=len(fresh) - len(sent) - sum(len(ids) for one in refused for ids in one.runs),
        limit=sender.full or why,
    )


def _ask(planned: Plan, fresh: Mapping[str, Run], settings: Cluster) -> None:
    """Raise UserError when `fresh` would spend much and nobody has said yes."""
    took = sum(planned.seconds_of[name] for name in fresh) / 3600
    if took <= settings.ask_above_hours:
        return
    unit = "GPU-hours" if planned.wants_gpu else "core-hours"
    disk = sum(cost.estimate(run).disk for run in fresh.values()) / 1e9
    raise UserError(
        f"PROFILE={planned.profile}: {len(fresh):,} runs would take about {took:,.0f} {unit} and {disk:,.1f} GB of "
        "disk (`make plan` has the bill); YES=1 sends them, ONLY= sends a part; unasked, cluster.toml allows "
        f"ask_above_hours = {settings.ask_above_hours:g}"
    )


def _limited(array: JobArray, settings: Cluster, longest: Mapping[str, tuple[str, int | None]]) -> JobArray:
    name = array.jobs[0].ids[0]
    partition, limit = longest[name.split("-", 1)[0]]
    fixed = settings.stage(name).minutes is not None
    return replace(array, resources=within(array.resources, limit, fixed=fixed, partition=partition))


class _Sender:
    """One submission on its way: the record is written after each sbatch, so that nothing accepted is forgotten."""

    def __init__(self, batch: Batch, flying: Mapping[str, Dispatch], say: Say) -> None:
        self.batch, self.say, self.flying = batch, say, flying
        self.full = ""  # what the scheduler said when it took no more
        self.waiting: set[int] = set()  # arrays that it did not take for that
        self.key = {name: one.sent.key(one.element) for name, one in flying.items()}  # run → queue id

    @property
    def record(self) -> Submission:
        """What was sent so far."""
        return self.batch.record

    def send(self, indices: Sequence[int]) -> None:
        """sbatch the arrays, parents first; one that is refused is noted and the rest goes on."""
        for index in indices:
            sent = self.record.arrays[index]
            after = self.key.get(sent.after) if sent.after else None
            if self.full:
                self._wait(index)
                continue
            if sent.after and after is None:
                self._note(index, why=f"not sent: the job of its parent {sent.after} was not accepted")
                continue
            try:
                job = self._as_many_as_fit(index, after)
            except controller.Full:
                self._wait(index)
                continue
            except controller.Refused as error:
                self._note(index, why=str(error))
                self.say(f"refused: {error}")
                continue
            except controller.Unreachable as error:
                self._note(index, why=str(error))
                unsent = [one.name for one in self.record.arrays if one.job is None]
                raise controller.Unreachable(
                    f"{error}; gave up after {controller.patience():g} s with {len(unsent)} of "
                    f"{len(self.record.arrays)} arrays not sent: run the same command again when it is back, "
                    "only what is missing is sent"
                ) from None
            self._note(index, job=job)
            sent = self.record.arrays[index]
            self.key |= {name: sent.key(element) for element, ids in enumerate(sent.runs) for name in ids}
            self._take_along(sent.runs)
            count = sum(len(ids) for ids in sent.runs)
            waits = f" after {after}" if after else ""
            self.say(f"submitted {job}: {len(sent.runs)} jobs, {count} runs{waits} ({sent.resources})")

    def confirm(self) -> None:
        """Look once more when the controller must have saved its state: one that dies just after sbatch loses jobs."""
        if not any(sent.job for sent in self.record.arrays):
            return
        time.sleep(CONFIRM_S)
        try:
            entries = controller.retrying(controller.queue, self.say)
        except controller.Unreachable as error:
            self.say(
                f"{error}; could not check that the jobs were kept: `make status` later, and the same command again if "
                "any is lost"
            )
            return
        seen = {entry.name for entry in entries}
        accepted = {i: sent for i, sent in enumerate(self.record.arrays) if sent.job}
        lost = {i for i, sent in accepted.items() if sent.name not in seen and not self._finished(sent)}
        if not lost:
            return
        gone = {name for i in lost for ids in accepted[i].runs for name in ids}
        orphaned = {i for i, sent in accepted.items() if sent.after in gone}
        self.say(f"the controller lost {len(lost)} of {len(self.record.arrays)} arrays; submitting them again")
        # Their children would start at once, for the scheduler takes an unknown parent for a finished one.
        controller.cancel(sent.job for i in orphaned - lost if (sent := self.record.arrays[i]).job)
        again = sorted(lost | orphaned)
        for index in again:
            sent = self.record.arrays[index]
            self._note(index, job=None, name=sent.name + "r", folder=sent.folder + "r")
        self.send(again)

    def _as_many_as_fit(self, index: int, after: str | None) -> str:
        """sbatch an array, or as much of it as is taken → its job id. Raises Full when not one job is taken."""
        while True:
            try:
                return controller.retrying(partial(self._sbatch, index, after), self.say)
            except controller.Full as error:
                self.full = str(error)
                if len(self.record.arrays[index].runs) == 1:
                    raise
                self.batch = self.batch.halved(index)

    def _wait(self, index: int) -> None:
        self.waiting.add(index)
        self._note(index, why=f"waits for room: {self.full}")

    def _take_along(self, sent: Iterable[Sequence[str]]) -> None:
        """Let the children that wait for an earlier job of these runs wait for the new one."""
        parents = {name for ids in sent for name in ids}
        waiting = {one.sent.key(one.element): one.sent.after for one in self.flying.values()}
        for job, parent in sorted(waiting.items()):
            if parent in parents:
                controller.follow(job, self.key[parent])
                self.say(f"{job} now waits for {self.key[parent]}")

    def _finished(self, sent: Sent) -> bool:
        return all(result_path(self.record.profile, name).exists() for ids in sent.runs for name in ids)

    def _note(self, index: int, **changes: Any) -> None:
        sent = list(self.record.arrays)
        sent[index] = replace(sent[index], **({"why": ""} | changes))
        self.batch = replace(self.batch, record=replace(self.record, arrays=tuple(sent)))
        submissions.write(self.record)

    def _sbatch(self, index: int, after: str | None) -> str:
        """One sbatch → the array's job id."""
        sent = self.record.arrays[index]
        folder = Path(sent.folder)
        if folder.exists():  # an earlier try, of which we do not know whether it arrived
            controller.cancel(entry.job for entry in controller.queue() if entry.name == sent.name and entry.active)
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        command = self.batch.command(index, folder / "runs.json")
        return sbatch.sbatch(command, folder, self.batch.options(index, after))
