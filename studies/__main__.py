"""`python -m studies COMMAND`: what the Makefile's targets call. Nothing heavy is imported before it is needed.

Artefacts (table3 … ablations) are brought up to date: what is missing is run, then they are rendered. `all` does
every artefact and the pages on them, `render` renders tables and figures from what is there. Other commands live in the
modules of `COMMANDS`: a function that takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from muppet.errors import UserError, unknown

if TYPE_CHECKING:
    from studies.kit.ledger.results import Collected
    from studies.kit.study import Study

COMMANDS = {
    "table1": "studies.table1:main",
    "claims": "studies.pages.claims:main",
    "decisions": "studies.pages.claims:decisions",
    "plan": "studies.kit.launch.plan:main",
    "status": "studies.kit.launch.status:main",
    "retry": "studies.kit.launch.control:retry",
    "cancel": "studies.kit.launch.control:cancel",
    "logs": "studies.kit.launch.control:logs",
    "prefetch": "studies.kit.fetch.prefetch:main",
    "doctor": "studies.kit.launch.doctor:main",
    "report": "studies.pages.report.page:main",
    "reproduction": "studies.pages.reproduction:main",
    "bench": "benchmarks.__main__:main",
}
BESIDE = ("table1", "decisions", "claims")  # what `render` writes beside the artefacts
PAGES = ("report", "reproduction")  # and `all` beside that
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
LAUNCHERS = ("local", "slurm")
SHOWN = 3  # results of no declared run that are named one by one


def main(argv: list[str] | None = None) -> int:
    """Run one command; a user's mistake is one line and exit status 2."""
    try:
        args = parser().parse_args(argv)
        return dispatch(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in DISK:
            raise
        print(f"error: {error}; make room or mend the folder, then give the same command again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The command line. An empty value is an absent one, so that make may hand over unset variables."""
    made = argparse.ArgumentParser(prog="python -m studies", description=__doc__, allow_abbrev=False)
    made.add_argument("command", help="an artefact (table3, figure1, …), all, render, or: " + ", ".join(COMMANDS))
    made.add_argument("--profile", default="smoke", help="smoke (default), mini or paper")
    made.add_argument("--launcher", default="local", help="local (default) or slurm")
    made.add_argument("--only", metavar="GLOB", help="cells to run, as row/column; the table still shows all")
    made.add_argument("--yes", action="store_true", help="spend what the plan says")
    made.add_argument("--no-run", action="store_true", help="render what is there")
    made.add_argument("--run", metavar="ID", help="the run that `logs` follows")
    made.add_argument("--jobs", metavar="N", help="workers of the local launcher")
    made.add_argument("--artefact", metavar="NAME", help="the artefact that `plan` or `status` is asked about")
    made.add_argument("--json", action="store_true", help="plan and status: as JSON")
    made.add_argument("--emit-sbatch", metavar="DIR", help="with --launcher slurm: write the scripts, submit nothing")
    return made


def dispatch(args: argparse.Namespace) -> int:
    """Check the arguments that every command shares, then do the command."""
    from studies.kit import load, profiles

    args.profile = args.profile or "smoke"
    args.launcher = args.launcher or "local"
    for name in ("only", "run", "artefact", "jobs", "emit_sbatch"):
        setattr(args, name, getattr(args, name) or None)
    profiles.get(args.profile)
    if args.launcher not in LAUNCHERS:
        raise unknown("launcher (LAUNCHER)", args.launcher, LAUNCHERS)
    if args.jobs is not None:
        if not args.jobs.isdigit() or int(args.jobs) < 1:
            raise UserError(f"JOBS takes a whole number from 1, not {args.jobs!r}")
        args.jobs = int(args.jobs)
    if args.command in COMMANDS:
        return function(args.command)(args)
    if args.command == "render":
        return render_all(args)
    known = load.names()
    if args.command != "all" and args.command not in known:
        raise unknown("command", args.command, (*known, "all", "render", *COMMANDS))
    if args.command == "all":
        status = bring_up_to_date(known, args)
        return max(status, render_all(args), *(function(name)(args) for name in PAGES))
    status = bring_up_to_date((args.command,), args)
    return render_named(args.command, args) or status


def function(command: str) -> Callable[[argparse.Namespace], int]:
    """What does `command`. Raises UserError when this version lacks it."""
    module, _, name = COMMANDS[command].partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        if isinstance(error, ModuleNotFoundError) and not module.startswith(error.name or "-"):
            raise
        raise UserError(f"{command} is not built yet ({COMMANDS[command]})") from None


def bring_up_to_date(names: tuple[str, ...], args: argparse.Namespace) -> int:
    """Run what is missing of artefacts `names`; 1 when a run failed."""
    from studies.kit import load
    from studies.kit.launch.plan import plan

    studies = load.cut(load.load_studies(args.profile, names), args.only)
    if args.no_run:
        return 0
    made, status = plan(studies, args.profile), 0
    if args.launcher == "slurm":
        status = importlib.import_module("studies.kit.launch.slurm.submit").submit(studies, args.profile, args)
    elif made.to_do:
        status = run_here(made, args)
    for name in sorted(made.given_up):
        why = made.failures.get(name, {}).get("error") or "its result is refused, or its pre-finetuning failed"
        print(f"not tried again: {name}: {why.splitlines()[0]}", file=sys.stderr)
    return status


def run_here(made: object, args: argparse.Namespace) -> int:
    """The local launcher."""
    from studies.kit.launch import local
    from studies.kit.launch.plan import Plan, hours

    assert isinstance(made, Plan)
    jobs = args.jobs or local.default_jobs()
    local.ask(made, jobs, args.yes)
    first, then = map(len, made.waves)
    estimate = made.seconds("gpu" if local.gpus() else "cpu") / jobs
    print(f"to do: {first} pre-finetunings, {then} fine-tunings, {jobs} at a time; about {hours(estimate)}", flush=True)
    tally = local.run(made, jobs)
    done, failed, left = tally.count("done", "skipped"), tally.count("failed"), tally.count("waiting", "stopped")
    if tally.interrupted:
        print(f"stopped: {done} runs are done and kept, {left} are left; the same command goes on", file=sys.stderr)
        raise KeyboardInterrupt
    if failed:
        print(f"{failed} of {len(made.to_do)} runs failed, {left} wait for a failed one; see above", file=sys.stderr)
    return 1 if failed else 0


def render_named(name: str, args: argparse.Namespace) -> int:
    """Render one artefact and show its cells, or those that ONLY names; 2 when one of its results is refused."""
    from studies.kit import load
    from studies.kit.ledger import results

    study, collected = load.load_studies(args.profile, [name])[name], results.read_all(args.profile)
    render_one(study, args.profile, collected, shown=study.only(args.only))
    return refused(collected, {name: study})


def render_one(study: Study, profile: str, collected: Collected, *, shown: Study | None = None) -> None:
    """Write one artefact from what is there, and print those of a table's cells that `shown` has."""
    from studies.kit.ledger import results
    from studies.pages import tables

    frame = results.cells_frame(study, profile, collected)
    if study.kind == "table":
        here = {path: why for path, why in collected.refused.items() if _stem(path) in study.runs()}
        written = tables.render(study, profile, frame, refused=here)
        if shown:
            tables.terminal(shown, profile, frame)
    else:
        written = importlib.import_module("studies.pages.figures").render(study, profile, frame)
    print("wrote " + ", ".join(map(str, written)))


def render_all(args: argparse.Namespace) -> int:
    """Everything that can be rendered from what is there: artefacts, statistics, Table 1, decisions, claims."""
    from studies.kit import load
    from studies.kit.ledger import results
    from studies.pages import statistics

    studies = load.load_studies(args.profile)
    collected = results.read_all(args.profile)
    for study in studies.values():
        render_one(study, args.profile, collected)
    print(f"wrote {statistics.write(studies, args.profile, collected)}")
    strange = sorted(collected.done - load.runs(studies.values()).keys())
    for name in strange[:SHOWN]:
        print(f"of no declared run, so in no table: {results.result_path(args.profile, name)}", file=sys.stderr)
    if strange:
        why = "made under another DECIDE or by another version of the recipes"
        print(f"{len(strange)} results of no declared run in all: {why}", file=sys.stderr)
    status = max((function(name)(args) for name in BESIDE), default=0)
    return refused(collected, studies) or status


def refused(collected: Collected, studies: Mapping[str, Study]) -> int:
    """Name the results of `studies` that cannot be trusted; 2 when there are any."""
    bad = [why for path, why in collected.refused.items() if any(_stem(path) in s.runs() for s in studies.values())]
    for why in bad:
        print(f"refused: {why}", file=sys.stderr)
    return 2 if bad else 0


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".json")


if __name__ == "__main__":
    sys.exit(main())
