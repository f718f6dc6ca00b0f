"""Bringing artefacts up to date: what they lack is done by a launcher, which is a value looked up by name."""

from __future__ import annotations

import argparse
import pkgutil
import sys
from typing import TYPE_CHECKING

from muppet.errors import UserError

if TYPE_CHECKING:
    from studies.kit.launch.plan import Plan

# `module:function` that takes a plan and the parsed arguments, does what the plan has to do, and returns the exit
# status. Only the one that is asked for is imported.
LAUNCHERS = {"local": "studies.kit.launch.local:launch", "slurm": "studies.kit.launch.slurm:launch"}
RUNNER = "studies.kit.launch.worker:execute"  # what workers and jobs do: (profile, ids, …) → outcome by id


def start(plan: Plan, args: argparse.Namespace) -> int:
    """Do what `plan` has to do by the launcher that `args` names → exit status; 1 when a run failed."""
    from studies.kit.ledger import folder

    folder.make_room(plan.profile, plan.to_do)
    status: int = pkgutil.resolve_name(LAUNCHERS[args.launcher])(plan, args)
    return status


def bring_up_to_date(names: tuple[str, ...], args: argparse.Namespace) -> int:
    """Run what is missing of artefacts `names` → exit status: 1 when a run failed, 2 when nothing could be run."""
    from studies.kit.launch.plan import plan
    from studies.kit.load import chosen

    studies = chosen(args, names)
    if args.no_run:
        return 0
    planned = plan(studies, args.profile)
    try:
        status = start(planned, args)
    except UserError as error:  # what is there renders all the same
        print(f"error: {error}", file=sys.stderr)
        status = 2
    for name in sorted(name for name in planned.given_up if planned.states[name] != "refused"):  # the page names those
        why = planned.failures.get(name, {}).get("error") or "its pre-finetuning failed, or its result is refused"
        print(f"not tried again: {name}: {why.splitlines()[0]}", file=sys.stderr)
    return status
