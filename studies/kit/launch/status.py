"""Where every run stands: results, then failure records, then one look at the queue. Usable without a controller."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from muppet.errors import UserError
from muppet.runs import Run, parent, run_id
from studies.kit.launch.slurm import controller, nodes, submissions
from studies.kit.launch.slurm.submissions import Dispatch
from studies.kit.ledger import folder
from studies.kit.ledger.results import read_all
from studies.kit.load import chosen
from studies.kit.load import runs as runs_of
from studies.kit.show import duration, ordinal, terminal
from studies.kit.study import Study

Word = Literal["done", "running", "queued", "preempted", "held", "failed", "cancelled", "lost", "unknown", "missing"]
COLOURS = dict(done="green", running="cyan", queued="blue", preempted="yellow", held="magenta", failed="red")
COLOURS |= dict(cancelled="dim", lost="red", unknown="yellow", missing="dim")
ENDED = {
    "TIMEOUT": "its job ran out of time and was not queued again; submit again",
    "OUT_OF_MEMORY": "its job ran out of memory: give its stage more memory_gb in cluster.toml",
    "NODE_FAIL": "its node failed and the cluster did not queue it again; submit again",
    "BOOT_FAIL": "its node did not start; submit again",
    "DEADLINE": "its job missed a deadline; submit again",
}
SHOWN = 30  # runs that the terminal lists; --json lists all


@dataclass(frozen=True, kw_only=True)
class RunStatus:
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
class Overview:
    """All runs' states by id, and why the queue could not be asked (None: it was, or there is no need)."""

    states: Mapping[str, RunStatus]
    unreachable: str | None


def look(runs: Mapping[str, Run], profile: str) -> Overview:
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
    dispatched = submissions.dispatches(sent, entries)
    collected = read_all(profile)
    folders = folder.begun()
    states: dict[str, RunStatus] = {}
    for name, run in runs.items():  # parents come before children
        if name in collected.done:  # a second file of it may be refused all the same
            states[name] = RunStatus(run=name, state="done")
        elif name in collected.refused_runs:
            states[name] = RunStatus(run=name, state="failed", why=collected.refused_runs[name])
        elif name not in dispatched and name not in folders:  # nothing was ever heard of it
            states[name] = RunStatus(run=name, state="missing", why=_waits(run, states))
        else:
            states[name] = _state(name, run, dispatched.get(name), unreachable, states)
    return Overview(states=states, unreachable=unreachable)


def _state(
    name: str, run: Run, last: Dispatch | None, unreachable: str | None, known: Mapping[str, RunStatus]
) -> RunStatus:
    failure, log = folder.failure(name), _log(name, last)
    job = last.sent.key(last.element) if last and last.sent.job else None
    if last and last.entry and last.entry.active:
        return dataclasses.replace(_active(name, last), job=job, log=log)
    if failure:
        times = f" ({failure.get('count', 1)}×)"
        return RunStatus(run=name, state="failed", why=f"{failure.get('error', 'no message')}{times}", job=job, log=log)
    if last is None and folder.running(name):
        return dataclasses.replace(_running(name), why="on this machine", log=log)
    if last is None:
        return RunStatus(run=name, state="missing", why=_waits(run, known))
    state, why = _gone(last, unreachable)
    if state == "lost" and (waits := _waits(run, known)):  # its job found no parent, and did not begin it
        state, why = "missing", waits
    return RunStatus(run=name, state=state, why=why, job=job, log=log)


def _waits(run: Run, known: Mapping[str, RunStatus]) -> str:
    """What a run that was not begun waits for in vain, if anything."""
    first = parent(run)
    above = known.get(run_id(first)) if first else None
    ends = {"failed": "failed", "lost": "is lost", "cancelled": "was cancelled"}
    return f"its parent {above.run} {ends[above.state]}" if above and above.state in ends else ""


def _active(name: str, last: Dispatch) -> RunStatus:
    entry = last.entry
    assert entry is not None
    if entry.held:
        return RunStatus(run=name, state="held", why=f"{entry.reason}: `make retry` releases it")
    if last.cancelled and not last.active:
        return RunStatus(run=name, state="cancelled", why="its job is being ended")
    if entry.state not in ("RUNNING", "COMPLETING"):
        again = f", for the {ordinal(entry.restarts + 1)} time" if entry.restarts else ""
        why = f"after {last.sent.after}" if entry.reason == "Dependency" else entry.reason
        return RunStatus(run=name, state="preempted" if entry.restarts else "queued", why=f"{why}{again}")
    if name not in last.left:  # its result came while we looked
        return RunStatus(run=name, state="done")
    if name not in last.begun:
        return RunStatus(run=name, state="queued", why=f"in its job behind {last.left.index(name)} runs")
    if name != last.begun[-1]:
        return RunStatus(run=name, state="queued", why="tried, goes on after the others of its job")
    return dataclasses.replace(_running(name), why=f"on {entry.nodes} for {entry.used}")


def _running(name: str) -> RunStatus:
    """What the run itself last said of its progress."""
    said = folder.progress(name)
    shown = ("step", "steps", "tokens_per_second", "eta_seconds")
    return RunStatus(run=name, state="running", **{field: said[field] for field in shown if field in said})


def _gone(last: Dispatch, unreachable: str | None) -> tuple[Word, str]:
    """The state of a run that was sent, left neither result nor failure record, and is not active."""
    entry = last.entry
    if last.sent.job is None:
        return ("missing", last.sent.why or "not accepted by the scheduler")
    if unreachable and entry is None:
        return "unknown", "the queue cannot be asked"
    if last.cancelled or (entry and entry.state.startswith("CANCELLED")):
        return "cancelled", "submit again to go on from its checkpoint"
    if entry and entry.state == "PREEMPTED":
        return "preempted", "its job was ended for another's sake; submit again to go on from its checkpoint"
    if entry and entry.state in ENDED:
        return "failed", ENDED[entry.state]
    if entry and entry.state in ("FAILED", "COMPLETED"):
        return "lost", f"its job ended ({entry.state}) without a result or a failure record: read its log, submit again"
    return "lost", "its job is gone from the queue and left nothing: submit again"


def _log(name: str, last: Dispatch | None) -> str | None:
    """The run's own log where it has one, else its job's."""
    own = folder.log(name)
    if own.exists():
        return str(own)
    if last and last.sent.job and last.sent.log(last.element).exists():
        return str(last.sent.log(last.element))
    return None


def main(args: argparse.Namespace) -> int:
    """`make status`: of one artefact (ARTEFACT, ONLY) or of all."""
    studies = chosen(args)
    return show(studies.values(), runs_of(studies.values()), args.profile, as_json=args.json)


def show(studies: Iterable[Study], runs: Mapping[str, Run], profile: str, *, as_json: bool = False) -> int:
    """Print the states per artefact and per run → 0. The JSON has `unreachable`, `artefacts` (counts) and `runs`."""
    overview = look(runs, profile)
    counts = {study.name: Counter(str(overview.states[name].state) for name in study.runs()) for study in studies}
    bad = nodes.faulty()
    if as_json:
        every = map(dataclasses.asdict, overview.states.values())
        listed = [{field: value for field, value in state.items() if value is not None} for state in every]
        said = {"profile": profile, "unreachable": overview.unreachable, "artefacts": counts, "faulty_nodes": bad}
        print(json.dumps(said | {"runs": listed}, indent=1))
        return 0
    from rich.table import Column, Table
    from rich.text import Text

    console = terminal()
    if overview.unreachable:
        console.print(Text(overview.unreachable, style="yellow"), soft_wrap=True)
        console.print("results and records are shown, the queue is not", highlight=False)
    for node, why in bad.items():
        console.print(Text(f"node {node} is left out: {why}", style="yellow"), soft_wrap=True)
    there = [word for word in COLOURS if any(count[word] for count in counts.values())]
    names = Column("artefact", no_wrap=True, min_width=max(map(len, counts), default=0))
    table = Table(names, *there, title=f"profile {profile}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for name, count in counts.items():
        table.add_row(name, *(f"[{COLOURS[word]}]{count[word]}[/]" if count[word] else "·" for word in there))
    console.print(table)
    order = "running failed lost held preempted unknown queued cancelled missing".split()
    told = [s for s in overview.states.values() if s.state in order and (s.why or s.state != "missing")]
    shown = sorted(told, key=lambda s: order.index(s.state))
    for state in shown[:SHOWN]:
        word = Text(f"{state.state:9}", style=COLOURS[state.state])
        console.print(word, Text(f"{state.run}  {_detail(state)}"), soft_wrap=True)  # others' words are no markup
    if len(shown) > SHOWN:
        rest = Counter(state.state for state in shown[SHOWN:])
        kinds = ", ".join(f"{n} {word}" for word, n in rest.items())
        console.print(f"… and {kinds} (all of them: --json)", highlight=False)
    return 0


def _detail(state: RunStatus) -> str:
    parts = []
    if state.step is not None:
        parts.append(f"step {state.step}/{state.steps}, {state.tokens_per_second or 0:,.0f} tokens/s")
    if state.eta_seconds is not None:
        parts.append(f"{duration(state.eta_seconds)} left")
    parts += [state.why] if state.why else []
    parts += [f"job {state.job}"] if state.job else []
    parts += [f"log {state.log}"] if state.log and state.state != "queued" else []
    return "; ".join(parts)
