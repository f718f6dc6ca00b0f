"""Runs on a SLURM cluster. Nothing is imported before it is asked for: a job on a node starts through here, too."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.kit.launch.plan import Plan


def launch(planned: Plan, args: argparse.Namespace) -> int:
    """`make … LAUNCHER=slurm`: send what is to do, or with `--emit-sbatch DIR` write it out; returns at once.

    The exit status is 1 when the scheduler refused something.
    """
    from studies.kit.launch.slurm import cluster

    settings = cluster.read()
    if args.emit_sbatch:
        from studies.kit.launch.slurm.emit import emit

        written = emit(planned, Path(args.emit_sbatch), settings)
        print(f"{len(written) - 1} scripts in {args.emit_sbatch}; `sh {written[-1]}` submits them in order")
        return 0
    if not planned.to_do:
        print("nothing to submit")
        return 0
    from studies.kit.launch.slurm.submit import send

    sending = send(planned, settings, yes=args.yes)
    for name, why in sending.left_out.items():
        print(f"left out: {name}: {why}")
    if sending.in_flight:
        print(f"{len(sending.in_flight)} runs are in flight already")
    if sending.submission is None:
        print("nothing to submit")
    else:
        print(
            f"{len(sending.sent)} runs in flight as {' '.join(sending.job_ids)}; "
            f"`make status PROFILE={planned.profile}` watches them"
        )
    return 1 if sending.refused else 0
