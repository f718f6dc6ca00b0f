"""`--emit-sbatch DIR`: what would be submitted, as scripts to read, change and submit by hand. Needs no scheduler."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from muppet.errors import UserError
from muppet.paths import write_text
from muppet.runs import Run
from studies.kit import cost
from studies.kit.launch.slurm import arrays as jobs
from studies.kit.launch.slurm import preflight, snapshot, submissions
from studies.kit.launch.slurm.cluster import Cluster
from studies.kit.launch.slurm.job import write_list
from studies.kit.launch.slurm.submissions import Sent, Submission
from studies.kit.launch.slurm.submit import command, parameters, parents_of, to_send

ARRAY_SIZE = 1001  # SLURM's default MaxArraySize


def emit(
    missing: Mapping[str, Run],
    target: Path,
    *,
    profile: str,
    artefacts: Sequence[str],
    settings: Cluster,
    calibration: cost.Calibration = cost.UNCALIBRATED,
    done: frozenset[str] = frozenset(),
) -> list[Path]:
    """Write a script and a list of runs per array, and `submit.sh`, which hands them to sbatch in order → paths.

    The jobs are known to status and cancel like any others. Raises UserError for what can be known to fail.
    """
    from submitit.slurm.slurm import _make_sbatch_string

    preflight.check(missing, profile=profile, settings=settings, done=done)
    target = target.absolute()
    if target.exists() and any(target.iterdir()):
        raise UserError(f"--emit-sbatch {target}: the folder is not empty; name a new one")
    number = submissions.new_id()
    code = snapshot.take()
    python = snapshot.interpreter(target / "python", snapshot.environment(code, profile, sealed=settings.sealed))
    fresh, _ = to_send(missing, {}, done)
    planned = jobs.arrays(jobs.pack(fresh, settings, calibration, done=done), settings.max_array or ARRAY_SIZE)
    submit, written, sent = ["#!/bin/sh", "set -e"], [], []  # type: list[str], list[Path], list[Sent]
    variable: dict[str, str] = {}  # run → the shell expression of its job's id
    for index, array in enumerate(planned):
        one = Sent(
            name=f"muppet-{number}-{index}",
            runs=tuple(job.ids for job in array.jobs),
            after=array.parent,
            folder=str(target / f"logs-{index}"),
            why="written out",
        )
        script, listed = target / f"{index}.sbatch", target / f"{index}.json"
        write_list(listed, profile=profile, runs=one.runs, parents=parents_of(fresh))
        options = parameters(one, array.resources, settings, None)
        write_text(script, _make_sbatch_string(command=command(python, listed), folder=one.folder, **options))
        waits = f'--dependency="afterany:{variable[array.parent]}" ' if array.parent else ""
        submit += [
            f"mkdir -p {shlex.quote(one.folder)}",
            f"J{index}=$(sbatch --parsable {waits}{shlex.quote(str(script))})",
            f'echo "{one.name}: $J{index}"',
        ]
        for element, ids in enumerate(one.runs):
            variable |= dict.fromkeys(ids, f"${{J{index}}}" + (f"_{element}" if len(one.runs) > 1 else ""))
        sent.append(one)
        written.append(script)
    write_text(target / "submit.sh", "\n".join(submit) + "\n")
    submissions.write(
        Submission(
            id=number,
            when=time.time(),
            profile=profile,
            artefacts=tuple(artefacts),
            snapshot=str(code),
            arrays=tuple(sent),
        )
    )
    return [*written, target / "submit.sh"]
