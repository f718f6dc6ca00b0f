"""`python -m studies COMMAND`: what the Makefile's targets call. Nothing heavy is imported before it is needed.

Artefacts (table3 … ablations) are brought up to date: what is missing is run, then they are rendered. `all` does
every artefact and the pages on them, `render` renders tables and figures from what is there. Other commands live in the
modules of `COMMANDS`: a function that takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import math
import os
import pkgutil
import re
import sys
from collections.abc import Callable

from muppet.errors import UserError, one_line, show_all, unknown
from studies import ARTEFACTS

COMMANDS = {
    "table1": "studies.pages.table1:main",
    "render": "studies.pages.render:main",
    "claims": "studies.pages.claims:main",
    "decisions": "studies.pages.claims:decisions",
    "calibrate": "studies.pages.claims:calibrate",
    "meta": "studies.pages.meta:main",
    "plan": "studies.kit.launch.bill:main",
    "status": "studies.kit.launch.status:main",
    "feed": "studies.kit.launch.slurm:feed",
    "retry": "studies.kit.launch.control:retry",
    "cancel": "studies.kit.launch.control:cancel",
    "logs": "studies.kit.launch.control:logs",
    "again": "studies.kit.launch.again:main",
    "prefetch": "studies.kit.fetch.prefetch:main",
    "doctor": "studies.kit.launch.doctor:main",
    "report": "studies.pages.report.page:main",
    "reproduction": "studies.pages.reproduction:main",
    "bench": "benchmarks.__main__:main",
}
SEARCHES = ("published", "full")
RUNNING = (*ARTEFACTS, "all", "retry")
CHOOSING = (*RUNNING, "feed", "again", "prefetch", "plan", "status", "cancel", "logs")
READ_BY = {  # option → the commands that heed it; given to another, it is a mistake
    **dict.fromkeys(("seeds", "search"), CHOOSING),
    "claim": (*CHOOSING, "claims"),
    "only": (*CHOOSING, "claims", "bench"),
    **dict.fromkeys(("hours", "emit_sbatch"), RUNNING),
    "artefact": tuple(name for name in CHOOSING if name not in (*ARTEFACTS, "all")),
    "json": ("plan", "status"),
    "budget": ("plan",),
    "run": ("logs", "again"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command; a user's mistake is one line and exit status 2."""
    show_all()
    try:
        args = parser().parse_args(argv)
        return dispatch(args)
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads on, as in `make status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(
            f"error: {one_line(str(error))}; make room or repair the folder, then give the same command again",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line. An empty value is an absent one, so that make may hand over unset variables."""
    options = argparse.ArgumentParser(prog="python -m studies", description=__doc__, allow_abbrev=False)
    options.add_argument("command", help="an artefact (table3, figure1, …), all, or: " + ", ".join(COMMANDS))
    options.add_argument("--profile", default="smoke", help="smoke (default), mini, base or paper")
    options.add_argument("--launcher", help="local (default) or slurm; retry: by default the one that sent the run")
    options.add_argument("--only", metavar="GLOB", help="cells to run, as row/column; the table still shows all")
    options.add_argument("--seeds", metavar="N", help="run the first N seeds of each point")
    options.add_argument(
        "--search", metavar="published|full", help="run a search's published point alone, or all of it"
    )
    options.add_argument("--yes", action="store_true", help="spend what the plan says")
    options.add_argument("--no-run", action="store_true", help="render what is there")
    options.add_argument("--run", metavar="ID", help="the run that `logs` follows, or `again` repeats")
    options.add_argument("--jobs", metavar="N", help="workers of the local launcher")
    options.add_argument(
        "--hours", metavar="N", help="local launcher: start nothing that would not end in so many hours"
    )
    options.add_argument("--artefact", metavar="NAME", help="the artefact that `plan` or `status` is asked about")
    options.add_argument("--claim", metavar="IDS", help="the cells that decide these claims alone, as C5 or C5,C6")
    options.add_argument("--budget", metavar="HOURS", help="plan: what to run first for so many hours of a device")
    options.add_argument("--json", action="store_true", help="plan and status: as JSON")
    options.add_argument(
        "--emit-sbatch", metavar="DIR", help="with --launcher slurm: write the scripts, submit nothing"
    )
    return options


def dispatch(args: argparse.Namespace) -> int:
    """Check the arguments that every command shares, then do the command."""
    from muppet.runtime import asked
    from studies.kit import launch, profiles

    args.profile = args.profile or "smoke"
    args.launcher = args.launcher or (None if args.command == "retry" else "local")
    for name in ("only", "run", "artefact", "jobs", "emit_sbatch", "claim", "budget", "seeds", "search", "hours"):
        setattr(args, name, getattr(args, name) or None)
    if args.command not in (*ARTEFACTS, "all", *COMMANDS):
        raise unknown("command", args.command, (*ARTEFACTS, "all", *COMMANDS))
    profiles.get(args.profile)
    if args.launcher not in (None, *launch.LAUNCHERS):
        raise unknown("launcher (LAUNCHER)", args.launcher, launch.LAUNCHERS)
    for name, commands in READ_BY.items():
        if getattr(args, name) and args.command not in commands and (name, args.command) != ("artefact", args.artefact):
            value = "" if name == "json" else f"={getattr(args, name)}"
            said = f"--{name}".replace("_", "-") if name in ("json", "emit_sbatch") else name.upper()
            raise UserError(f"{said}{value} says nothing to `{args.command}`; it is for {', '.join(commands)}")
    if args.no_run and args.command in ("retry", "feed", "again"):
        raise UserError(f"RUN=0 runs nothing, and `{args.command}` is for running")
    for name in ("jobs", "seeds"):
        text = getattr(args, name)
        if text is not None:
            if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
                raise UserError(f"{name.upper()} takes a whole number from 1, not {text!r}")
            setattr(args, name, int(text))
    for name in ("hours", "budget"):
        if (text := getattr(args, name)) is not None:
            setattr(args, name, _hours(name.upper(), text))
    if args.hours is not None and args.launcher == "slurm":
        raise UserError("HOURS is for runs on this machine; on a cluster, cluster.toml limits what a job may take")
    if args.emit_sbatch and (args.launcher != "slurm" or args.no_run):
        raise UserError("--emit-sbatch writes a cluster's scripts: with --launcher slurm, not RUN=0; nothing was run")
    if args.search not in (None, *SEARCHES):
        raise unknown("search (SEARCH)", args.search, SEARCHES)
    args.cells = None
    if args.claim and args.command != "claims":  # which shows them, and runs nothing
        from studies.claims import selection

        args.cells = selection.any_of(args.claim, args.profile)
    if args.command in (*RUNNING, "feed", "again", "prefetch") and not args.no_run:
        asked.check()
    if args.budget is not None:
        from studies.pages import budget

        return budget.main(args)
    if args.command in COMMANDS:
        return function(args.command)(args)
    from studies.kit.ledger import reference
    from studies.pages import render

    reference.check()
    if args.command == "all":
        return max(launch.bring_up_to_date(ARTEFACTS, args), render.everything(args))
    status = launch.bring_up_to_date((args.command,), args)
    return render.artefact(args.command, args) or status


def _hours(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf or (name == "HOURS" and not value):  # no hours buy nothing, and no run ends in them
        raise UserError(f"{name} takes a number of hours, as 2.5, not {text!r}")
    return value


def function(command: str) -> Callable[[argparse.Namespace], int]:
    """What does `command`."""
    found: Callable[[argparse.Namespace], int] = pkgutil.resolve_name(COMMANDS[command])
    return found


if __name__ == "__main__":
    sys.exit(main())
