"""Runs on a SLURM cluster. Nothing is imported before it is asked for: a job on a node starts through here, too."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.kit.launch.plan import Plan
    from studies.kit.launch.slurm.submit import Sending

FEED_S = 60.0  # between two looks for room


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

    return report(send(planned, settings, yes=args.yes), planned.profile)


def feed(args: argparse.Namespace) -> int:
    """`make feed`: send what fits, and stay to send more as room comes, until nothing waits for room."""
    from studies.kit.launch.plan import plan
    from studies.kit.launch.slurm import cluster, controller, snapshot
    from studies.kit.launch.slurm.submit import send
    from studies.kit.ledger import folder
    from studies.kit.load import chosen

    settings, code, studies, fed = cluster.read(), snapshot.take(), chosen(args), False
    while True:
        planned = plan(studies, args.profile)
        folder.make_room(args.profile, planned.to_do)
        try:
            sending = send(planned, settings, yes=args.yes or fed, code=code)  # a yes is one to the whole
            status = report(sending, args.profile)
            if not sending.waiting:
                return status
        except controller.Unreachable as error:
            if not fed:
                raise
            print(f"{error}; looking again")  # a night's feeding outlasts a controller that is restarted
        fed = True
        time.sleep(FEED_S)


def report(sending: Sending, profile: str) -> int:
    """Say what was sent → exit status: 1 when the scheduler refused something."""
    for name, why in sending.left_out.items():
        print(f"left out: {name}: {why}")
    if sending.in_flight:
        print(f"{len(sending.in_flight)} runs are in flight already")
    if sending.submission is None:
        print("nothing to submit" if not sending.waiting else "nothing submitted")
    else:
        print(
            f"{len(sending.sent)} runs in flight as {' '.join(sending.job_ids)}; "
            f"`make status PROFILE={profile}` watches them"
        )
    if sending.waiting:
        print(
            f"{sending.waiting:,} runs wait for room ({sending.limit}): the same command sends more later, `make feed` "
            "stays and does so"
        )
    return 1 if sending.refused else 0
