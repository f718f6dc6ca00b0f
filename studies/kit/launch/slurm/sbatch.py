"""What sbatch gets, from us (`submit`) or from the user (`emit`): which runs, in which arrays, with which options.

submitit writes the scripts. Two functions of it that are private are called, from here alone, and pyproject.toml bounds
its version.
"""

from __future__ import annotations

import os
import re
import shlex
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from muppet.runs import Finetune, Run, parent, run_id
from studies.kit.launch import RUNNER
from studies.kit.launch.plan import Plan
from studies.kit.launch.slurm import controller, snapshot, submissions
from studies.kit.launch.slurm.arrays import JobArray
from studies.kit.launch.slurm.cluster import Cluster
from studies.kit.launch.slurm.job import write_list
from studies.kit.launch.slurm.submissions import Sent, Submission

# One dead process must not leave the others waiting; and where jobs start without the user's environment, what `setup`
# did must still reach Python.
SRUN = ("--kill-on-bad-exit=1", "--export=ALL")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One submission, ready: its record, the arrays in the record's order, and the interpreter of its jobs."""

    record: Submission
    arrays: tuple[JobArray, ...]
    settings: Cluster
    python: Path
    parents: Mapping[str, str]  # run → the pre-finetuning that it starts from
    excluded: tuple[str, ...]  # nodes on which runs keep failing
    runner: str

    def halved(self, index: int) -> Batch:
        """The batch without the second half of an array's jobs."""
        sent, arrays = list(self.record.arrays), list(self.arrays)
        half = len(sent[index].runs) // 2
        sent[index] = replace(sent[index], runs=sent[index].runs[:half])
        arrays[index] = replace(arrays[index], jobs=arrays[index].jobs[:half])
        return replace(self, record=replace(self.record, arrays=tuple(sent)), arrays=tuple(arrays))

    def options(self, index: int, after: str | None = None) -> dict[str, Any]:
        """submitit's parameters of an array; `after`: the queue's id of its parent's job."""
        sent, resources, settings = self.record.arrays[index], self.arrays[index].resources, self.settings
        run, gpus = sent.runs[0][0], resources.gpus_per_node
        kind = settings.of(run, "gpu_type")
        chosen: dict[str, Any] = {
            "job_name": sent.name,
            "map_count": len(sent.runs) if len(sent.runs) > 1 else None,
            "partition": settings.of(run, "partition"),
            "account": settings.account,
            "qos": settings.of(run, "qos"),
            "constraint": settings.of(run, "constraint"),
            "exclude": ",".join(filter(None, (settings.exclude, *self.excluded))) or None,
            "time": resources.minutes,
            "nodes": resources.nodes,
            "ntasks_per_node": resources.tasks_per_node,
            "gpus_per_node": (f"{kind}:{gpus}" if kind else gpus) if gpus else None,
            "cpus_per_task": resources.cpus_per_task,
            "mem": f"{round(resources.memory_gb * 1024)}MB",
            "array_parallelism": settings.array_parallelism,
            "setup": list(settings.setup) or None,
            "signal_delay_s": settings.signal_s,
            "stderr_to_stdout": True,
            # srun no longer takes the CPUs per task from sbatch.
            "srun_args": [f"--cpus-per-task={resources.cpus_per_task}", *SRUN, *settings.srun],
            "additional_parameters": {"requeue": True} | settings.sbatch,
            # Any end of the parent's job, for its word is no proof: the child looks for the parent's result itself.
            "dependency": f"afterany:{after}" if after else None,
        }
        # Without a word from us submitit names a wckey of its own, which a site that checks them would refuse.
        return {key: value for key, value in chosen.items() if value is not None} | {"wckey": settings.wckey}

    def command(self, index: int, listed: Path) -> str:
        """Write the array's runs to `listed` → what its jobs execute.

        It is our own entry, for submitit's would have every node unpickle, and import, what it ships.
        """
        runs = self.record.arrays[index].runs
        write_list(listed, profile=self.record.profile, runs=runs, parents=self.parents, runner=self.runner)
        own = shlex.join([str(self.python), "-m", "studies.kit.launch.slurm.job", str(listed)])
        return f"{self.settings.prefix} {own}" if self.settings.prefix else own


def to_send(
    missing: Mapping[str, Run], flying: Mapping[str, Any], done: frozenset[str]
) -> tuple[dict[str, Run], dict[str, str]]:
    """The runs to send, and those left out with the reason."""
    fresh: dict[str, Run] = {}
    left_out: dict[str, str] = {}
    for name, run in missing.items():
        if name in flying:
            continue
        above = run_id(first) if (first := parent(run)) else None
        if above is None or above in done or above in flying or above in missing:
            fresh[name] = run
        else:
            left_out[name] = f"its parent {above} is neither done nor planned"
    return fresh, left_out


def prepare(
    planned: Plan,
    runs: Mapping[str, Run],
    arrays: Sequence[JobArray],
    settings: Cluster,
    root: Path | None = None,
    *,
    logs: str = "",
    why: str = "",
    runner: str = RUNNER,
    code: Path | None = None,
    excluded: tuple[str, ...] = (),
) -> Batch:
    """A submission of `arrays`, which hold `runs`: the code is kept, and the interpreter written to `root` (by default
    a folder of the submission's own).

    `code`: a snapshot of it, where it was kept already. `logs`: what the names of the arrays' folders begin with.
    `why`: what the record says of arrays not sent yet.
    """
    number = submissions.new_id()
    root, code = root or submissions.folder() / number, code or snapshot.take()
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)  # `setup` lines and logs are nobody else's business
    variables = snapshot.environment(code, planned.profile, sealed=settings.sealed)
    python = snapshot.interpreter(root / "python", variables, settings.python)
    sent = tuple(
        Sent(
            name=f"muppet-{_label(planned, array, runs)}-{number}-{index}",
            runs=tuple(job.ids for job in array.jobs),
            after=array.parent,
            resources=str(array.resources),
            folder=str(root / f"{logs}{index}"),
            why=why,
        )
        for index, array in enumerate(arrays)
    )
    record = Submission(
        id=number,
        when=time.time(),
        profile=planned.profile,
        artefacts=tuple(planned.studies),
        snapshot=str(code),
        arrays=sent,
    )
    parents = {name: run_id(above) for name, run in runs.items() if (above := parent(run))}
    return Batch(
        record=record,
        arrays=tuple(arrays),
        settings=settings,
        python=python,
        parents=parents,
        excluded=excluded,
        runner=runner,
    )


def _label(planned: Plan, array: JobArray, runs: Mapping[str, Run]) -> str:
    """What an array is about, for people who look at the queue: artefact, and dataset or stage."""
    artefact = next(iter(planned.studies)) if len(planned.studies) == 1 else "all"
    about = {runs[name] for job in array.jobs for name in job.ids}
    names = {run.task.name if isinstance(run, Finetune) else run.stage for run in about}
    return re.sub(r"[^\w.-]", "_", f"{artefact}-{names.pop() if len(names) == 1 else f'{len(names)}-datasets'}")[:36]


# ---------------------------------------------------------------- submitit's private functions


def script(command: str, folder: str, options: Mapping[str, Any]) -> str:
    """The text of a script for sbatch."""
    from submitit.slurm.slurm import _make_sbatch_string

    text: str = _make_sbatch_string(command=command, folder=folder, **options)
    return text


def sbatch(command: str, folder: Path, options: Mapping[str, Any]) -> str:
    """One sbatch → the array's job id. Raises Refused or Unreachable."""
    import submitit

    executor = submitit.SlurmExecutor(folder=folder)
    executor.parameters = dict(options)
    with clean(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            accepted = executor._submit_command(command)
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            raise controller.failure("sbatch", str(error)) from None
    return str(accepted.job_id).partition("_")[0]


@contextmanager
def clean() -> Iterator[None]:
    """Without the variables of a job that we may be in: they would become the new job's."""
    from submitit.helpers import clean_env

    conf = os.environ.get("SLURM_CONF")
    with clean_env():
        if conf is not None:
            os.environ["SLURM_CONF"] = conf
        yield
        os.environ.pop("SLURM_CONF", None)
