"""What there is to do: which runs of which artefacts have results, which are missing, and what these cost. No torch."""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from muppet import paths
from muppet.runs import Prefinetune, Run, parent, run_id
from studies.kit import cost
from studies.kit.ledger.results import Collected, begun, failures, read_all
from studies.kit.load import cut, load_studies
from studies.kit.load import runs as runs_of
from studies.kit.study import Study

State = Literal["done", "running", "missing", "failed", "refused"]
STATES: tuple[State, ...] = ("done", "running", "missing", "failed", "refused")
SHOWN = 4  # pre-finetunings whose epochs the plan prints one by one
ATTEMPTS = 3  # failures with one and the same error, after which a run waits for `make retry`


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Runs by id, parents before children, and where each stands."""

    profile: str
    studies: Mapping[str, Study]
    runs: Mapping[str, Run]
    states: Mapping[str, State]
    failures: Mapping[str, dict[str, Any]]
    calibration: cost.Calibration

    @cached_property
    def given_up(self) -> frozenset[str]:
        """Runs that failed too often with one error, and the children that wait for them in vain."""
        stuck = {name for name, record in self.failures.items() if record.get("count", 1) >= ATTEMPTS}
        stuck |= {name for name, state in self.states.items() if state == "refused"}
        if not stuck:
            return frozenset()
        children = {n for n, run in self.runs.items() if (up := parent(run)) is not None and run_id(up) in stuck}
        return frozenset(stuck | {n for n in children if self.states[n] != "done"})

    @cached_property
    def to_do(self) -> dict[str, Run]:
        """What an attempt to bring the artefacts up to date would run, parents before children."""
        return {n: run for n, run in self.runs.items() if self.states[n] != "done" and n not in self.given_up}

    @property
    def waves(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids to do: pre-finetunings, then fine-tunings."""
        first = [name for name, run in self.to_do.items() if isinstance(run, Prefinetune)]
        return tuple(first), tuple(self.to_do)[len(first) :]

    @cached_property
    def seconds_of(self) -> dict[str, float]:
        """Run to do → estimated seconds on one device of the kind that its model asks for."""
        return {name: cost.seconds(run, self.calibration) for name, run in self.to_do.items()}

    def seconds(self, device: str | None = None) -> float:
        """Estimated seconds of what is to do on one `gpu`, one `cpu` core, or what each run's model asks for."""
        if device is None:
            return sum(self.seconds_of.values())
        return sum(cost.seconds(run, self.calibration, device) for run in self.to_do.values())

    @property
    def wants_gpu(self) -> bool:
        """Whether something to do has a model that wants a GPU."""
        return any(cost.wants_gpu(run) for run in self.to_do.values())


def plan(studies: Mapping[str, Study], profile: str, collected: Collected | None = None) -> Plan:
    """Where every run of `studies` stands; the cost model is calibrated by the profile's finished runs."""
    collected = collected or read_all(profile)
    runs = runs_of(studies.values())
    refused = {Path(path).stem for path in collected.refused}
    failed = failures(name for name in runs if name not in collected.done)
    started = begun()
    states: dict[str, State] = {}
    for name in runs:
        if name in collected.done:
            states[name] = "done"
        elif name in refused:
            states[name] = "refused"
        elif name in started and running(name):
            states[name] = "running"
        else:
            states[name] = "failed" if name in failed else "missing"
    return Plan(
        profile=profile,
        studies=studies,
        runs=runs,
        states=states,
        failures=failed,
        calibration=cost.calibrate((runs[name], spent) for name, spent in collected.spent.items() if name in runs),
    )


def running(name: str) -> bool:
    """Whether a live process of this machine says that it is doing the run; of other machines the queue knows."""
    try:
        holder = json.loads((paths.run_dir(name) / "holder.json").read_text(encoding="utf-8"))
        if holder["host"] != socket.gethostname():
            return False
        os.kill(holder["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


# ---------------------------------------------------------------- showing it


def main(args: argparse.Namespace) -> int:
    """`make plan`: what would run and what it costs, for one artefact or all."""
    studies = cut(load_studies(args.profile, [args.artefact] if args.artefact else None), args.only)
    made = plan(studies, args.profile)
    facts = summary(made)
    print(json.dumps(facts, indent=1)) if args.json else show(made, facts)
    return 0


def summary(made: Plan) -> dict[str, Any]:
    """The plan as plain data; seconds are of one device: a GPU for the paper's models, else one core."""
    from studies.kit.launch.slurm import arrays as jobs
    from studies.kit.launch.slurm import cluster

    uses = Counter(name for study in made.studies.values() for name in study.runs())
    artefacts: dict[str, dict[str, int]] = {}
    for title, study in made.studies.items():
        names = list(study.runs())
        counts = Counter(made.states[name] for name in names)
        artefacts[title] = {
            "cells": len(study.cells),
            "runs": len(names),
            "shared": sum(uses[name] > 1 for name in names),
            **{state: counts[state] for state in STATES},
            "seconds": round(sum(made.seconds_of.get(name, 0.0) for name in names)),
        }
    settings = cluster.read()
    done = frozenset(name for name, state in made.states.items() if state == "done")
    packed = jobs.pack(made.to_do, settings, made.calibration, done=done)
    sent = jobs.arrays(packed, settings.max_array or 1001)
    times = [job.seconds / job.resources.processes for job in packed]
    width = settings.array_parallelism
    wall = 0.0
    for wave in map(frozenset, made.waves):
        of_wave = [took for job, took in zip(packed, times) if job.ids[0] in wave]
        wall += max(sum(of_wave) / width, max(of_wave, default=0.0))
    device = "gpu" if made.wants_gpu else "cpu"
    return {
        "profile": made.profile,
        "artefacts": artefacts,
        "runs": len(made.runs),
        **{state: sum(s == state for s in made.states.values()) for state in STATES},
        "given_up": sorted(made.given_up),
        "waves": [len(wave) for wave in made.waves],
        "seconds": round(made.seconds()),
        "device": device,
        "disk_bytes": round(sum(cost.estimate(run).disk for run in made.to_do.values())),
        "jobs": len(packed),
        "arrays": [{"jobs": len(a.jobs), "resources": str(a.resources), "after": a.parent} for a in sent],
        "longest_job_seconds": round(max(times, default=0.0)),
        "wall_seconds": round(wall),
        "width": width,
        "epochs": {
            name: {task: round(times, 1) for task, times in cost.estimate(run).epochs.items()}
            for name, run in made.to_do.items()
            if isinstance(run, Prefinetune)
        },
        "calibration": str(made.calibration),
    }


def show(made: Plan, facts: Mapping[str, Any]) -> None:
    """Print the plan for a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"plan, profile {made.profile}", title_justify="left")
    for head in ("artefact", "cells", "runs", "of them shared", *STATES, "to spend"):
        table.add_column(head, justify="left" if head == "artefact" else "right")
    for name, row in facts["artefacts"].items():
        cells = [row["cells"], row["runs"], row["shared"], *(row.get(state, 0) for state in STATES)]
        table.add_row(name, *map(str, cells), hours(row["seconds"]))
    if len(facts["artefacts"]) > 1:
        table.add_section()
        totals = [facts["runs"], "", *(facts[state] for state in STATES)]
        table.add_row("all, each run once", "", *map(str, totals), hours(facts["seconds"]))
    console.print(table)
    unit = "GPU-hours" if facts["device"] == "gpu" else "core-hours"
    if made.to_do:
        first, then = facts["waves"]
        console.print(
            f"to do: {first} pre-finetunings, then {then} fine-tunings; {facts['seconds'] / 3600:,.1f} {unit}, "
            f"{facts['disk_bytes'] / 1e9:,.1f} GB of disk"
        )
        console.print(
            f"on a cluster: {facts['jobs']} jobs in {len(facts['arrays'])} arrays; {facts['width']} jobs at once take "
            f"about {hours(facts['wall_seconds'])}, the longest job {hours(facts['longest_job_seconds'])}"
        )
        shown = facts["epochs"] if len(facts["epochs"]) <= SHOWN else {}
        for name, epochs in shown.items():
            console.print(f"epochs in {name}: " + _epochs(epochs), highlight=False)
        if not shown and facts["epochs"]:
            every = [times for epochs in facts["epochs"].values() for times in epochs.values()]
            console.print(
                f"epochs of a dataset in {first} pre-finetunings: {min(every):g} to {max(every):g} "
                "(each one's with ARTEFACT=table3 or --json)"
            )
    else:
        console.print("nothing to do")
    for name in facts["given_up"]:
        why = made.failures.get(name, {}).get("error") or "its result is refused, or its pre-finetuning is stuck"
        console.print(f"left out: {name}: {why}", highlight=False, markup=False)
    console.print(facts["calibration"], highlight=False)


def hours(seconds: float) -> str:
    """`seconds` in the largest fitting unit."""
    units = ((2 * 365 * 86400, 365 * 86400, "years"), (2 * 86400, 86400, "days"), (3600, 3600, "h"), (60, 60, "min"))
    for least, size, unit in units:
        if seconds >= least:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def _epochs(epochs: Mapping[str, float]) -> str:
    """Equal for all under natural sizes: said once."""
    if len(set(epochs.values())) == 1:
        return f"{next(iter(epochs.values())):g} of each of {len(epochs)} datasets"
    return ", ".join(f"{task} {times:g}" for task, times in epochs.items())
