"""What a person does to a grid under way: try failed runs again, cancel, follow a log."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from muppet.errors import UserError, unknown
from muppet.runs import Run, parent, run_id
from studies.kit import launch
from studies.kit.launch.plan import plan
from studies.kit.launch.slurm import controller, submissions
from studies.kit.launch.status import look
from studies.kit.ledger import folder
from studies.kit.load import chosen
from studies.kit.load import runs as runs_of

SHOWN = 5  # runs of other cells that a cancel names
GOING = ("running", "queued", "preempted", "held", "unknown")


def retry(args: argparse.Namespace) -> int:
    """`make retry`: run failed runs, and what waits for them, again; let held jobs go. Without LAUNCHER, a run is tried
    by the launcher that sent it."""
    studies = chosen(args)
    kept = folder.failures(runs_of(studies.values()))
    again = forget(runs_of(studies.values()), args.profile)
    if not again:
        return 0
    planned = plan(studies, args.profile)
    again |= {run_id(above) for name in again if (above := parent(planned.runs[name]))} & planned.again
    sent = submissions.dispatches(submissions.read_all(args.profile), ())
    status = 0
    for launcher in launch.LAUNCHERS:
        theirs = {}
        for name, run in planned.to_do.items():
            kin = {name} | ({run_id(above)} if (above := parent(run)) else set())
            own = args.launcher or ("slurm" if kin & sent.keys() else "local")  # who sent a run tries it again
            if kin & again and own == launcher:
                theirs[name] = run
        if theirs:
            chosen_args = argparse.Namespace(**(vars(args) | {"launcher": launcher}))
            try:
                status = max(status, launch.start(dataclasses.replace(planned, runs=theirs), chosen_args))
            except UserError:  # nothing was begun: the next retry must know these failures still
                for name in theirs.keys() & kept.keys():
                    folder.remember(name, kept[name])
                raise
    return status


def forget(runs: Mapping[str, Run], profile: str) -> set[str]:
    """Drop the failure records of `runs` and release held jobs → the ids that had failed, or were lost."""
    states = look(runs, profile).states
    again = {name for name, state in states.items() if state.state in ("failed", "lost")}
    for name in again:
        folder.forget(name)
    held = sorted({state.job for state in states.values() if state.state == "held" and state.job})
    if held:
        controller.release(held)
        print(f"released {', '.join(held)}")
    print(f"{len(again)} failed runs are tried again" if again else "no run has failed")
    return again


def cancel(args: argparse.Namespace) -> int:
    """`make cancel`: end the jobs that hold runs of the chosen artefacts, found by our records, and no others."""
    controller.require()
    runs = runs_of(chosen(args).values())
    with submissions.lock():
        sent = submissions.read_all(args.profile)
        flying = submissions.in_flight(submissions.dispatches(sent, controller.queue()))
        ours = {name: one for name, one in flying.items() if name in runs}
        doomed = sorted({one.sent.key(one.element) for one in ours.values()})
        others = sorted(
            name for name, one in flying.items() if name not in ours and one.sent.key(one.element) in doomed
        )
        for submission in sent:  # noted first: a run whose job goes must not look lost
            keys = {one.sent.key(one.element) for one in ours.values() if one.submission.id == submission.id}
            if keys:
                ended = tuple(sorted(keys.union(submission.ended)))
                submissions.write(dataclasses.replace(submission, cancelled=time.time(), ended=ended))
        controller.cancel(whole(doomed, sent))
    if not doomed:
        print("no job of ours waits or runs")
        return 0
    print(f"cancelled {len(doomed)} jobs with {len(ours) + len(others)} runs")
    if others:
        rest = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        print(f"of them {len(others)} of other cells, which share these jobs: {', '.join(others[:SHOWN])}{rest}")
        print("what was cancelled goes on from its checkpoint when it is sent again")
    return 0


def whole(doomed: Sequence[str], sent: Iterable[submissions.Submission]) -> list[str]:
    """Elements as their array where all of it goes: one name for a thousand jobs."""
    by_array: dict[str, list[str]] = {}
    for job in doomed:
        by_array.setdefault(job.partition("_")[0], []).append(job)
    sizes = {array.job: len(array.runs) for one in sent for array in one.arrays}
    return [job for array, jobs in by_array.items() for job in ([array] if len(jobs) == sizes.get(array) else jobs)]


def one_run(asked: str | None, runs: Mapping[str, Run], command: str) -> str:
    """The id that RUN names, whole or in part. Raises UserError unless it is one of `runs`."""
    if not asked:
        raise UserError(f"name the run: make {command} RUN=<id> (make status lists them)")
    matching = [asked] if asked in runs else [one for one in runs if asked in one]
    if not matching:
        raise unknown("run", asked, runs)
    if len(matching) > 1:
        raise UserError(f"RUN={asked} fits {len(matching)} runs, such as {matching[0]} and {matching[1]}: name one")
    return matching[0]


def logs(args: argparse.Namespace) -> int:
    """`make logs RUN=…`: print one run's log, and what is added to it, until the run ends or Ctrl-C."""
    runs = runs_of(chosen(args).values())
    name, printed, shown = one_run(args.run, runs, "logs"), 0, None
    while True:
        state = look({name: runs[name]}, args.profile).states[name]
        if state.log != shown or shown is None:
            shown, printed = state.log or "", 0
            print(
                f"{name}: {state.state}" + (f", {state.why}" if state.why else "") + (f", {shown}" if shown else ""),
                flush=True,
            )
        if shown:
            with Path(shown).open(encoding="utf-8", errors="replace") as file:
                file.seek(printed)
                print(file.read(), end="", flush=True)
                printed = file.tell()
        if state.state not in GOING:
            return 0
        time.sleep(2)
