"""Runs handed to SLURM through submitit: arrays, dependencies, a record of what was sent, and no run sent twice."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from muppet.runs import Run, parent, run_id
from studies.kit import cost
from studies.kit.launch.plan import Plan, plan
from studies.kit.launch.slurm import arrays as jobs
from studies.kit.launch.slurm import cluster, controller, preflight, snapshot, submissions
from studies.kit.launch.slurm.cluster import Cluster, Resources, within
from studies.kit.launch.slurm.job import RUNNER, write_list
from studies.kit.launch.slurm.submissions import Sent, Submission
from studies.kit.study import Study

CONFIRM_S = 6.0  # after which a controller that dies has kept a job (it saves its state every 5 s)
Say = Callable[[str], None]
AT_ONCE: Say = partial(print, flush=True)  # also into a pipe: the job ids matter now


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done: the record (None: there was nothing to send), the runs sent, those in flight already, those left
    out with the reason, and what the scheduler refused."""

    submission: Submission | None
    sent: tuple[str, ...]
    in_flight: tuple[str, ...]
    left_out: Mapping[str, str]
    refused: tuple[str, ...] = ()

    @property
    def job_ids(self) -> list[str]:
        """SLURM's ids of the arrays that were accepted."""
        return [sent.job for sent in (self.submission.arrays if self.submission else ()) if sent.job]


def submit(studies: Mapping[str, Study], profile: str, args: argparse.Namespace) -> int:
    """`make … LAUNCHER=slurm`: send what is missing, or with `--emit-sbatch DIR` write it out; returns at once."""
    return launch(plan(studies, profile), args)


def launch(made: Plan, args: argparse.Namespace) -> int:
    """Send what `made` has to do → exit status: 1 when the scheduler refused something."""
    settings = cluster.read()
    common: dict[str, Any] = {
        "profile": made.profile,
        "artefacts": tuple(made.studies),
        "settings": settings,
        "calibration": made.calibration,
        "done": frozenset(name for name, state in made.states.items() if state == "done"),
    }
    if args.emit_sbatch:
        from studies.kit.launch.slurm.emit import emit

        written = emit(made.to_do, Path(args.emit_sbatch), **common)
        print(f"{len(written) - 1} scripts in {args.emit_sbatch}; `sh {written[-1]}` submits them in order")
        return 0
    if not made.to_do:
        print("nothing to submit")
        return 0
    outcome = send(made.to_do, **common)
    for name, why in outcome.left_out.items():
        print(f"left out: {name}: {why}")
    if outcome.in_flight:
        print(f"{len(outcome.in_flight)} runs are in flight already")
    if outcome.submission is None:
        print("nothing to submit")
    else:
        print(
            f"{len(outcome.sent)} runs in flight as {' '.join(outcome.job_ids)}; "
            f"`make status PROFILE={made.profile}` watches them"
        )
    return 1 if outcome.refused else 0


def send(
    missing: Mapping[str, Run],
    *,
    profile: str,
    artefacts: Sequence[str],
    settings: Cluster,
    calibration: cost.Calibration = cost.UNCALIBRATED,
    done: frozenset[str] = frozenset(),
    say: Say = AT_ONCE,
    runner: str = RUNNER,
) -> Outcome:
    """Send every run of `missing` (by id) that is not in flight.

    `done`: ids with a result. Raises UserError before anything is sent for what can be known then; Unreachable when the
    controller stays away.
    """
    controller.require()
    preflight.check(missing, profile=profile, settings=settings, done=done)
    partition, limit = controller.retrying(lambda: controller.partition_limit(settings.partition), say)
    preflight.visible(controller.retrying(controller.hosts, say))
    size = settings.max_array or controller.retrying(controller.max_array, say)
    with submissions.lock():
        earlier = submissions.read_all()
        entries = controller.retrying(controller.queue, say)
        flying = submissions.in_flight(submissions.places(earlier, entries))
        fresh, left_out = to_send(missing, flying, done)
        if not fresh:
            return Outcome(
                submission=None, sent=(), in_flight=tuple(n for n in missing if n in flying), left_out=left_out
            )
        packed = jobs.pack(fresh, settings, calibration, done=done)
        planned = [_limited(array, settings, limit, partition) for array in jobs.arrays(packed, size)]
        folder = submissions.folder() / (number := submissions.new_id())
        code = snapshot.take()
        python = snapshot.interpreter(folder / "python", snapshot.environment(code, profile, sealed=settings.sealed))
        arrays = tuple(
            Sent(
                name=f"muppet-{number}-{index}",
                runs=tuple(job.ids for job in array.jobs),
                after=array.parent,
                resources=str(array.resources),
                folder=str(folder / str(index)),
            )
            for index, array in enumerate(planned)
        )
        record = Submission(
            id=number, when=time.time(), profile=profile, artefacts=tuple(artefacts), snapshot=str(code), arrays=arrays
        )
        submissions.write(record)
        sender = _Sender(record, planned, settings, python, flying, parents_of(fresh), say, runner)
        sender.send(range(len(arrays)))
        sender.confirm()
    refused = tuple(sent.why for sent in sender.record.arrays if not sent.job)
    return Outcome(
        submission=sender.record,
        sent=tuple(name for sent in sender.record.arrays if sent.job for ids in sent.runs for name in ids),
        in_flight=tuple(name for name in missing if name in flying),
        left_out=left_out,
        refused=refused,
    )


def to_send(
    missing: Mapping[str, Run], flying: Mapping[str, Any], done: frozenset[str]
) -> tuple[dict[str, Run], dict[str, str]]:
    """The runs to send, and those left out with the reason."""
    fresh: dict[str, Run] = {}
    left_out: dict[str, str] = {}
    for name, run in missing.items():
        up = parent(run)
        if name in flying:
            continue
        if up is not None and run_id(up) not in done and run_id(up) not in flying and run_id(up) not in missing:
            left_out[name] = f"its parent {run_id(up)} is neither done nor planned"
        else:
            fresh[name] = run
    return fresh, left_out


def parents_of(runs: Mapping[str, Run]) -> dict[str, str]:
    """Run → the pre-finetuning that it starts from."""
    return {name: run_id(up) for name, run in runs.items() if (up := parent(run)) is not None}


def _limited(array: jobs.JobArray, settings: Cluster, limit: int | None, partition: str) -> jobs.JobArray:
    stage = settings.prefinetune if array.jobs[0].ids[0].startswith("prefinetune") else settings.finetune
    return replace(
        array, resources=within(array.resources, limit, fixed=stage.minutes is not None, partition=partition)
    )


class _Sender:
    """One submission on its way: the record is written after each sbatch, so that nothing accepted is forgotten."""

    def __init__(
        self,
        record: Submission,
        planned: Sequence[jobs.JobArray],
        settings: Cluster,
        python: Path,
        flying: Mapping[str, submissions.Place],
        parents: Mapping[str, str],
        say: Say,
        runner: str,
    ) -> None:
        self.record, self.settings, self.python, self.parents = record, settings, python, parents
        self.resources = [array.resources for array in planned]
        self.say, self.runner = say, runner
        self.key = {name: place.sent.key(place.element) for name, place in flying.items()}  # run → queue id

    def send(self, indices: Sequence[int]) -> None:
        """sbatch the arrays, parents first; one that is refused is noted and the rest goes on."""
        for index in indices:
            sent = self.record.arrays[index]
            after = self.key.get(sent.after) if sent.after else None
            if sent.after and after is None:
                self._note(index, why=f"not sent: the job of its parent {sent.after} was not accepted")
                continue
            try:
                job = controller.retrying(partial(self._sbatch, index, after), self.say)
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
        lost = {
            i
            for i, sent in enumerate(self.record.arrays)
            if sent.job and sent.name not in seen and not self._finished(sent)
        }
        if not lost:
            return
        orphaned = {
            i
            for i, sent in enumerate(self.record.arrays)
            if sent.job and sent.after and any(sent.after in ids for k in lost for ids in self.record.arrays[k].runs)
        }
        self.say(f"the controller lost {len(lost)} of {len(self.record.arrays)} arrays; submitting them again")
        # Their children would start at once, for the scheduler takes an unknown parent for a finished one.
        controller.cancel(sent.job for i in orphaned - lost if (sent := self.record.arrays[i]).job)
        again = sorted(lost | orphaned)
        for index in again:
            sent = self.record.arrays[index]
            self._note(index, job=None, name=sent.name + "r", folder=sent.folder + "r")
        self.send(again)

    def _finished(self, sent: Sent) -> bool:
        from studies.kit.ledger.results import result_path

        return all(result_path(self.record.profile, name).exists() for ids in sent.runs for name in ids)

    def _note(self, index: int, **changes: Any) -> None:
        arrays = list(self.record.arrays)
        arrays[index] = replace(arrays[index], **({"why": ""} | changes))
        self.record = replace(self.record, arrays=tuple(arrays))
        submissions.write(self.record)

    def _sbatch(self, index: int, after: str | None) -> str:
        """One sbatch through submitit → the array's job id."""
        import submitit

        sent = self.record.arrays[index]
        folder = Path(sent.folder)
        if folder.exists():  # an earlier try, of which we do not know whether it arrived
            controller.cancel(entry.job for entry in controller.queue() if entry.name == sent.name and entry.active)
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        write_list(
            folder / "runs.json", profile=self.record.profile, runs=sent.runs, parents=self.parents, runner=self.runner
        )
        executor = submitit.SlurmExecutor(folder=folder)
        executor.parameters = parameters(sent, self.resources[index], self.settings, after)
        with _clean(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                accepted = executor._submit_command(command(self.python, folder / "runs.json"))
            except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
                raise controller.failure("sbatch", str(error)) from None
        return str(accepted.job_id).partition("_")[0]


def command(python: Path, listed: Path) -> str:
    """What a job executes: our own entry, for submitit's would have every node unpickle, and import, what it ships."""
    return shlex.join([str(python), "-m", "studies.kit.launch.slurm.job", str(listed)])


def parameters(sent: Sent, resources: Resources, settings: Cluster, after: str | None) -> dict[str, Any]:
    """submitit's parameters of one array."""
    chosen: dict[str, Any] = {
        "job_name": sent.name,
        "map_count": len(sent.runs) if len(sent.runs) > 1 else None,
        "partition": settings.partition,
        "account": settings.account,
        "qos": settings.qos,
        "constraint": settings.constraint,
        "exclude": settings.exclude,
        "time": resources.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "gpus_per_node": resources.gpus_per_node or None,
        "cpus_per_task": resources.cpus_per_task,
        "mem": f"{round(resources.memory_gb * 1024)}MB",
        "array_parallelism": settings.array_parallelism,
        "setup": list(settings.setup) or None,
        "signal_delay_s": settings.signal_s,
        "stderr_to_stdout": True,
        # srun no longer takes the CPUs per task from sbatch; and one dead process must not leave the others waiting
        "srun_args": [f"--cpus-per-task={resources.cpus_per_task}", "--kill-on-bad-exit=1"],
        "additional_parameters": {"requeue": True} | settings.sbatch,
        # Any end of the parent's job, for its word is no proof: the child looks for the parent's result itself.
        "dependency": f"afterany:{after}" if after else None,
    }
    return {key: value for key, value in chosen.items() if value is not None}


@contextmanager
def _clean() -> Iterator[None]:
    """Without the variables of a job that we may be in: they would become the new job's."""
    from submitit.helpers import clean_env

    conf = os.environ.get("SLURM_CONF")
    with clean_env():
        if conf is not None:
            os.environ["SLURM_CONF"] = conf
        yield
        os.environ.pop("SLURM_CONF", None)
