"""`--emit-sbatch DIR`: what would be submitted, as scripts to read, change and submit by hand. Needs no scheduler."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from muppet.errors import UserError
from muppet.paths import write_text
from studies.kit.launch.plan import Plan
from studies.kit.launch.slurm import arrays, controller, preflight, sbatch, submissions
from studies.kit.launch.slurm.cluster import Cluster


def emit(planned: Plan, target: Path, settings: Cluster) -> list[Path]:
    """Write a script and a list of runs per array, and `submit.sh`, which hands them to sbatch in order → paths.

    The jobs are known to status and cancel like any others. Raises UserError for what can be known to fail.
    """
    target = target.absolute()
    if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"--emit-sbatch {target}: there is something already; name a new folder")
    preflight.check(planned.to_do, profile=planned.profile, settings=settings)
    preflight.writable(target)
    fresh, _ = sbatch.to_send(planned.to_do, {}, planned.done)
    packed = arrays.pack(fresh, settings, planned.calibration, done=planned.done)
    split = arrays.arrays(packed, settings.max_array or controller.MAX_ARRAY)
    batch = sbatch.prepare(planned, fresh, split, settings, target, logs="logs-", why="written out")
    submit, written = ["#!/bin/sh", "set -e"], []
    variable: dict[str, str] = {}  # run → the shell expression of its job's id
    for index, one in enumerate(batch.record.arrays):
        path = target / f"{index}.sbatch"
        command = batch.command(index, target / f"{index}.json")
        write_text(path, sbatch.script(command, one.folder, batch.options(index)))
        waits = f'--dependency="afterany:{variable[one.after]}" ' if one.after else ""
        submit += [
            f"mkdir -p {shlex.quote(one.folder)}",
            f"J{index}=$(sbatch --parsable {waits}{shlex.quote(str(path))})",
            f'echo "{one.name}: $J{index}"',
        ]
        for element, ids in enumerate(one.runs):
            variable |= dict.fromkeys(ids, f"${{J{index}}}" + (f"_{element}" if len(one.runs) > 1 else ""))
        written.append(path)
    write_text(target / "submit.sh", "\n".join(submit) + "\n")
    submissions.write(batch.record)
    return [*written, target / "submit.sh"]
