"""Where every run stands: results, then failure records, then one look at the queue. Usable without a controller."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from muppet import paths
from muppet.errors import UserError
from muppet.runs import Run, parent, run_id
from studies.kit.launch.plan import running as held_here
from studies.kit.launch.slurm import controller, submissions
from studies.kit.launch.slurm.submissions import Place
from studies.kit.ledger.results import begun, read_all, result_path
from studies.kit.load import cut, load_studies
from studies.kit.load import runs as runs_of
from studies.kit.study import Study

Word = Literal["done", "running", "queued", "preempted", "held", "failed", "cancelled", "lost", "unknown", "missing"]
COLOURS = {
    "done": "green",
    "running": "cyan",
    "queued": "blue",
    "preempted": "yellow",
    "held": "magenta",
    "failed": "red",
    "cancelled": "dim",
    "lost": "red",
    "unknown": "yellow",
    "missing": "dim",
}
ENDED = {
    "TIMEOUT": "its job ran out of time before it could checkpoint; submit again",
    "OUT_OF_MEMORY": "its job ran out of memory: give its stage more memory_gb in cluster.toml",
    "NODE_FAIL": "its node failed and the cluster did not queue it again; submit again",
    "BOOT_FAIL": "its node did not start; submit again",
    "DEADLINE": "its job missed a deadline; submit again",
}
SHOWN = 30  # runs that the terminal lists; --json lists all


@dataclass(frozen=True, kw_only=True)
class State:
    """One run's state, why, and where to read more."""

    run: str
    state: Word
    why: str = ""
    job: str | None = None
    log: str | None = None
    step: int | None = None
    steps: int | None = None
    tokens_per_second: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """All runs' states by id, and why the queue could not be asked (None: it was, or there is no need)."""

    states: Mapping[str, State]
    unreachable: str | None


def look(runs: Mapping[str, Run], profile: str) -> Report:
    """The state of each of `runs` (by id); asks the queue at most once, and only when something was ever submitted."""
    sent = submissions.read_all(profile)
    entries: list[controller.Entry] = []
    unreachable = None
    if sent and controller.installed():
        try:
            entries = controller.queue()
        except UserError as error:
            unreachable = str(error)
    elif sent:
        unreachable = "no SLURM commands on this machine"
    placed = submissions.places(sent, entries)
    collected = read_all(profile)
    refused = {Path(path).stem: why for path, why in collected.refused.items()}
    folders = begun()
    states: dict[str, State] = {}
    for name, run in runs.items():  # parents come before children
        if name in refused:
            states[name] = State(run=name, state="failed", why=refused[name])
        elif name in collected.done:
            states[name] = State(run=name, state="done")
        elif name not in placed and name not in folders:  # nothing was ever heard of it
            states[name] = State(run=name, state="missing", why=_waits(run, states))
        else:
            states[name] = _state(name, run, profile, placed.get(name), unreachable, states)
    return Report(states=states, unreachable=unreachable)


def _state(
    name: str, run: Run, profile: str, place: Place | None, unreachable: str | None, known: Mapping[str, State]
) -> State:
    failure = _json(paths.run_dir(name) / "failure.json")
    log = _log(name, place)
    job = place.sent.key(place.element) if place and place.sent.job else None
    if place and place.entry and place.entry.active:
        return dataclasses.replace(_active(name, place, profile), job=job, log=log)
    if failure:
        times = f" ({failure.get('count', 1)}×)"
        return State(run=name, state="failed", why=f"{failure.get('error', 'no message')}{times}", job=job, log=log)
    if place is None and held_here(name):
        return dataclasses.replace(_running(name), why="on this machine", log=log)
    if place is None:
        return State(run=name, state="missing", why=_waits(run, known))
    state, why = _gone(place, unreachable)
    return State(run=name, state=state, why=why, job=job, log=log)


def _waits(run: Run, known: Mapping[str, State]) -> str:
    """What a run that was not sent waits for in vain, if anything."""
    up = parent(run)
    above = known.get(run_id(up)) if up else None
    return f"its parent {above.run} failed" if above and above.state == "failed" else ""


def _active(name: str, place: Place, profile: str) -> State:
    entry = place.entry
    assert entry is not None
    if entry.held:
        return State(run=name, state="held", why=f"{entry.reason}: `make retry` releases it")
    if entry.state == "COMPLETING" and place.submission.cancelled:
        return State(run=name, state="cancelled", why="its job is being ended")
    if entry.state not in ("RUNNING", "COMPLETING"):
        again = f", for the {_ordinal(entry.restarts + 1)} time" if entry.restarts else ""
        why = f"after {place.sent.after}" if entry.reason == "Dependency" else entry.reason
        return State(run=name, state="preempted" if entry.restarts else "queued", why=f"{why}{again}")
    left = [one for one in place.sent.runs[place.element] if not result_path(profile, one).exists()]
    started = [one for one in left if _json(paths.run_dir(one) / "progress.json") or one == left[0]]
    if name != (started[-1] if started else name):
        if name in started:
            return State(run=name, state="queued", why="tried, goes on after the others of its job")
        return State(run=name, state="queued", why=f"in its job behind {left.index(name)} runs")
    return dataclasses.replace(_running(name), why=f"on {entry.nodes} for {entry.used}")


def _running(name: str) -> State:
    """What the run itself last said of its progress."""
    told = _json(paths.run_dir(name) / "progress.json")
    return State(
        run=name,
        state="running",
        step=told.get("step"),
        steps=told.get("steps"),
        tokens_per_second=told.get("tokens_per_second"),
        eta_seconds=told.get("eta_seconds"),
    )


def _gone(place: Place, unreachable: str | None) -> tuple[Word, str]:
    """The state of a run that was sent, left neither result nor failure record, and is not active."""
    entry = place.entry
    if place.sent.job is None:
        return ("missing", place.sent.why or "not accepted by the scheduler")
    if unreachable and entry is None:
        return "unknown", "the queue cannot be asked"
    if place.submission.cancelled or (entry and entry.state.startswith("CANCELLED")):
        return "cancelled", "submit again to go on from its checkpoint"
    if entry and entry.state == "PREEMPTED":
        return "preempted", "its job was ended for another's sake; submit again to go on from its checkpoint"
    if entry and entry.state in ENDED:
        return "failed", ENDED[entry.state]
    if entry and entry.state in ("FAILED", "COMPLETED"):
        return "lost", f"its job ended ({entry.state}) without a result or a failure record: read its log, submit again"
    return "lost", "its job is gone from the queue and left nothing: submit again"


def _log(name: str, place: Place | None) -> str | None:
    """The run's own log where it has one, else its job's."""
    own = paths.run_dir(name) / "log.txt"
    if own.exists():
        return str(own)
    if place and place.sent.job and place.sent.log(place.element).exists():
        return str(place.sent.log(place.element))
    return None


def main(args: argparse.Namespace) -> int:
    """`make status`: of one artefact (ARTEFACT, ONLY) or of all."""
    studies = chosen(args)
    return show(studies.values(), runs_of(studies.values()), args.profile, as_json=args.json)


def chosen(args: argparse.Namespace) -> dict[str, Study]:
    """The studies that the command line names; without a name, all."""
    return cut(load_studies(args.profile, [args.artefact] if args.artefact else None), args.only)


def show(studies: Iterable[Study], runs: Mapping[str, Run], profile: str, *, as_json: bool = False) -> int:
    """Print the states per artefact and per run → 0. The JSON has `unreachable`, `artefacts` (counts) and `runs`."""
    report = look(runs, profile)
    counts = {study.name: Counter(str(report.states[name].state) for name in study.runs()) for study in studies}
    if as_json:
        found = [
            {k: v for k, v in dataclasses.asdict(state).items() if v is not None} for state in report.states.values()
        ]
        print(
            json.dumps(
                {"profile": profile, "unreachable": report.unreachable, "artefacts": counts, "runs": found}, indent=1
            )
        )
        return 0
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if report.unreachable:
        console.print(
            f"[yellow]{report.unreachable}[/]\nresults and records are shown, the queue is not", highlight=False
        )
    there = [word for word in COLOURS if any(count[word] for count in counts.values())]
    table = Table("artefact", *there, title=f"profile {profile}", title_justify="left", box=None)
    for name, count in counts.items():
        table.add_row(name, *(f"[{COLOURS[word]}]{count[word]}[/]" if count[word] else "·" for word in there))
    console.print(table)
    order = ["running", "failed", "lost", "held", "preempted", "unknown", "queued", "cancelled"]
    told = sorted((s for s in report.states.values() if s.state in order), key=lambda s: order.index(s.state))
    for state in told[:SHOWN]:
        console.print(
            f"[{COLOURS[state.state]}]{state.state:9}[/] {state.run}  {_detail(state)}", highlight=False, soft_wrap=True
        )
    if len(told) > SHOWN:
        rest = Counter(state.state for state in told[SHOWN:])
        console.print(
            f"… and {', '.join(f'{n} {word}' for word, n in rest.items())} (all of them: --json)", highlight=False
        )
    return 0


def _detail(state: State) -> str:
    parts = []
    if state.step is not None:
        parts.append(f"step {state.step}/{state.steps}, {state.tokens_per_second or 0:,.0f} tokens/s")
    if state.eta_seconds is not None:
        parts.append(f"{duration(state.eta_seconds)} left")
    parts += [state.why] if state.why else []
    parts += [f"job {state.job}"] if state.job else []
    parts += [f"log {state.log}"] if state.log and state.state not in ("queued",) else []
    return "; ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return (
        f"{minutes} min"
        if minutes < 120
        else f"{minutes / 60:.1f} h"
        if minutes < 2880
        else f"{minutes / 1440:.1f} days"
    )


def _ordinal(number: int) -> str:
    return f"{number}{'th' if 10 < number % 100 < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
