"""What a job does, on a cluster or here: look runs up by id, do those without a result, leave a result or a failure.

Runs travel as ids, never as values: the declared studies are the truth, and an id that they do not declare is an error.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from muppet import paths
from muppet.errors import Stopped, UserError, unknown
from muppet.result import Result, read, write
from muppet.runs import Finetune, Run, parent, run_id
from muppet.runtime.hold import Busy, hold
from muppet.runtime.rank import is_first
from studies import ARTEFACTS
from studies.kit.ledger import folder
from studies.kit.ledger.folder import result_path
from studies.kit.load import load_studies
from studies.kit.show import duration

Progress = Callable[[dict[str, Any]], None]
Outcome = Literal["done", "skipped", "busy", "failed"]  # busy: another process holds the run and will leave its result
ANSWER_S = 60.0  # that the queue gets to answer
LOG_S = 10.0  # between two lines of a run's log that say how far its training is


def declared(profile: str, ids: Sequence[str]) -> list[Run]:
    """The runs called `ids`. Raises UserError for one that no study declares under `profile`."""
    known: dict[str, Run] = {}
    for study in ARTEFACTS:
        if known.keys() >= set(ids):
            break
        known |= load_studies(profile, [study])[study].runs()
    for name in ids:
        if name not in known:
            raise unknown(f"run under PROFILE={profile}", name, known)
    return [known[name] for name in ids]


def execute(profile: str, ids: Sequence[str], progress: Progress | None = None) -> dict[str, Outcome]:
    """Do the runs called `ids` one after another; one that fails leaves a failure record and the others go on.

    Raises `muppet.errors.Stopped` when a signal ended a run after a clean checkpoint, and UserError for an unknown id.
    """
    outcomes: dict[str, Outcome] = {}
    for name, run in zip(ids, declared(profile, ids)):
        try:
            outcomes[name] = execute_one(profile, run, progress)
        except Stopped:
            raise
        except Busy:
            outcomes[name] = "busy"
        except Exception as error:
            if is_first():  # of processes that share the run: they fail together, and that counts once
                folder.fail(name, error)
            outcomes[name] = "failed"
    return outcomes


def execute_one(profile: str, run: Run, progress: Progress | None = None) -> Outcome:
    """Do one run unless its result is there: check the parent, run, write the result last and whole.

    A pre-finetuning whose model is gone is done again, and its first result stays (see `folder.again`).
    Raises Busy when another process holds the run, UserError when its parent is not there, and whatever the run raises.
    """
    path, name = result_path(profile, run), run_id(run)
    if folder.done(profile, name):
        read(path, run)
        return "skipped"
    check_parent(profile, run)
    paths.probe(path.parent)
    with hold(name, _ended) as lost:
        if folder.done(profile, name):  # the other holder finished it meanwhile
            read(path, run)
            return "skipped"
        if lost:
            folder.spend(name, lost)
        began = time.monotonic()
        try:
            result = _stage(run, _logged(progress))
        except BaseException:
            if is_first():
                folder.spend(name, time.monotonic() - began)
            raise
        if is_first():
            result = _with_start(profile, run, _with_attempts(result))
            write(result, folder.again(name) if path.exists() else path)
            folder.clear(name)
    return "done"


def _stage(run: Run, progress: Progress) -> Result:
    if isinstance(run, Finetune):
        from muppet.stages.finetune import finetune

        return finetune(run, progress=progress)
    from muppet.stages.prefinetune import prefinetune

    return prefinetune(run, progress=progress)


def _with_attempts(result: Result) -> Result:
    """`result` with the cost of all attempts: those before it that a limit, a preemption or a fault ended."""
    count, seconds = folder.attempts(result.id)
    if not count:
        return result
    whole = {"seconds": round(result.cost["seconds"] + seconds, 2), "attempts": count + 1}
    return replace(result, cost=result.cost | whole)


def _with_start(profile: str, run: Run, result: Result) -> Result:
    """`result` with the digest of the weights that its pre-finetuning's result speaks of, beside that of those that it
    started from."""
    if (first := parent(run)) is None:
        return result
    start = result.training["start"] | {"recorded": read(result_path(profile, first), first).training.get("weights")}
    if start["recorded"] not in (None, start["weights"]):
        print(f"started from other weights ({start['weights']}) than {run_id(first)} records ({start['recorded']})")
    return replace(result, training=result.training | {"start": start})


def _logged(progress: Progress | None) -> Progress:
    """`progress`, and a line in the run's log every LOG_S seconds and at the end."""
    printed = -LOG_S

    def report(seen: dict[str, Any]) -> None:
        nonlocal printed
        now = time.monotonic()
        if is_first() and (now - printed >= LOG_S or seen["step"] == seen["steps"]):
            printed = now
            rest = f"loss {seen['loss']:.4f}, {seen['tokens_per_second']:,.0f} tokens/s"
            print(f"step {seen['step']}/{seen['steps']}: {rest}, {duration(seen['eta_seconds'])} left", flush=True)
        if progress is not None:
            progress(seen)

    return report


def _ended(holder: Mapping[str, Any]) -> bool:
    """Whether the queue knows that the holder of a lease on another machine runs no more."""
    job = holder.get("job")
    if not job:
        return False
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):  # not known is not ended, and no failure of the run
        return False
    if done.returncode:
        return "Invalid job id" in done.stderr
    return not set(done.stdout.split()) & {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING"}


def check_parent(profile: str, run: Run) -> None:
    """Raise UserError when the pre-finetuning that `run` starts from has no trusted result, or no model any more."""
    first = parent(run)
    if first is None:
        return
    path, name = result_path(profile, first), run_id(first)
    if not path.exists():
        raise UserError(f"{run_id(run)}: its pre-finetuning has no result yet ({path}); run that first")
    read(path, first)
    if not folder.done(profile, name):
        raise UserError(f"{run_id(run)}: the model of its pre-finetuning, {name}, is gone; `make` runs that again")
