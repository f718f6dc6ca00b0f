"""`make plan`: what would run and what it costs, as a table for people or as JSON. No torch."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from muppet.runs import Prefinetune, run_id
from studies.kit import cost, profiles
from studies.kit.decisions import option
from studies.kit.launch.plan import STATES, Plan, plan
from studies.kit.launch.slurm import arrays, cluster, controller
from studies.kit.load import chosen
from studies.kit.show import hours, terminal

DAYS_S = 20 * 86_400.0  # device-time that is told in days
SHOWN = 4  # pre-finetunings whose epochs are printed one by one


def main(args: argparse.Namespace) -> int:
    """`make plan`: what would run and what it costs, for one artefact or all."""
    studies = chosen(args)
    planned = plan(studies, args.profile)
    facts = summary(planned)
    if args.json:
        print(json.dumps(facts, indent=1))
        return 0
    show(planned, facts)
    if getattr(args, "claim", None):
        print(f"what decides {args.claim}:")
        for study in studies.values():
            for cell in study.cells:
                runs = f"{len(cell.runs)} run{'s' * (len(cell.runs) != 1)}" if cell.runs else cell.why
                print(f"  {study.name} {cell.key}: {runs}")
    return 0


def summary(planned: Plan) -> dict[str, Any]:
    """The plan as plain data; seconds are of one device: a GPU for the paper's models, else one core."""
    uses = Counter(name for study in planned.studies.values() for name in study.runs())
    artefacts: dict[str, dict[str, int]] = {}
    for title, study in planned.studies.items():
        names = list(study.runs())
        counts = Counter(planned.states[name] for name in names)
        artefacts[title] = {
            "cells": len(study.cells),
            "runs": len(names),
            "shared": sum(uses[name] > 1 for name in names),
            **{state: counts[state] for state in STATES},
            "seconds": round(sum(planned.seconds_of.get(name, 0.0) for name in names)),
        }
    settings = cluster.read()
    packed = arrays.pack(planned.to_do, settings, planned.calibration, done=planned.done)
    sent = arrays.arrays(packed, settings.max_array or controller.MAX_ARRAY)
    times = [job.seconds / job.resources.processes for job in packed]
    width = settings.array_parallelism
    wall = 0.0
    for wave in map(frozenset, planned.waves):
        of_wave = [took for job, took in zip(packed, times) if job.ids[0] in wave]
        wall += max(sum(of_wave) / width, max(of_wave, default=0.0))
    device, off = "gpu" if planned.wants_gpu else "cpu", planned.calibration.off or cost.OFF
    return {
        "profile": planned.profile,
        "artefacts": artefacts,
        "runs": len(planned.runs),
        **{state: sum(s == state for s in planned.states.values()) for state in STATES},
        "given_up": sorted(planned.given_up),
        "waves": [len(wave) for wave in planned.waves],
        "seconds": round(planned.seconds()),
        "low_seconds": round(planned.seconds() / off),
        "high_seconds": round(planned.seconds() * off),
        "prefinetune_seconds": round(sum(planned.seconds_of[name] for name in planned.waves[0])),
        "finetune_seconds": round(sum(planned.seconds_of[name] for name in planned.waves[1])),
        "spent_seconds": round(planned.spent),
        **_parts(planned),
        "device": device,
        "disk_bytes": round(sum(cost.estimate(run).disk for run in planned.to_do.values())),
        "jobs": len(packed),
        "arrays": [{"jobs": len(a.jobs), "resources": str(a.resources), "after": a.parent} for a in sent],
        "longest_job_seconds": round(max(times, default=0.0)),
        "wall_seconds": round(wall),
        "width": width,
        "epochs": {
            name: {task: round(times, 1) for task, times in cost.estimate(run).epochs.items()}
            for name, run in planned.to_do.items()
            if isinstance(run, Prefinetune)
        },
        "calibration": str(planned.calibration),
    }


def _parts(planned: Plan) -> dict[str, Any]:
    """What some decisions cost: evaluating along the way (P58), and further seeds of pre-finetuning (P60), which are in
    the bill; and the runs that the other protocol needs (P59), which are not."""
    evaluations = again = 0.0
    for name, run in planned.to_do.items():
        plain, share = cost.estimate(run), planned.seconds_of[name]
        evaluations += share * plain.scoring_seconds(None) / plain.seconds(None)
        again += share if isinstance(run, Prefinetune) and run.seed else 0.0
    cells = [cell for study in planned.studies.values() for cell in study.cells]
    other = {run_id(run): run for cell in cells for run in (*cell.runs, *cell.honest)}
    left = [run for name, run in other.items() if name not in planned.runs]
    return {
        "evaluation_seconds": round(evaluations),
        "further_checkpoints": sum(isinstance(run, Prefinetune) and run.seed > 0 for run in planned.to_do.values()),
        "further_checkpoints_seconds": round(again),
        "other_protocol": {
            "name": "paper" if option("protocol") == "honest" else "honest",
            "runs": len(left),
            "seconds": round(sum(cost.seconds(run, planned.calibration) for run in left)),
        },
    }


def _of_decisions(facts: Mapping[str, Any], device: str) -> list[str]:
    """The same in words."""
    scoring, again, other = facts["evaluation_seconds"], facts["further_checkpoints_seconds"], facts["other_protocol"]
    lines = [
        f"of these {amount(scoring, device)} ({100 * scoring / max(facts['seconds'], 1):.1f} %) evaluate, "
        "along the training and after it (P58)"
    ]
    if facts["further_checkpoints"]:
        lines.append(
            f"{facts['further_checkpoints']} pre-finetunings ({amount(again, device)}) are further seeds (P60)"
        )
    if other["runs"]:
        lines.append(
            f"protocol {other['name']} trains on other rows (P59): {other['runs']:,} fine-tunings "
            f"({amount(other['seconds'], device)}) that are not in this bill (DECIDE=protocol={other['name']})"
        )
    return lines


def show(planned: Plan, facts: Mapping[str, Any]) -> None:
    """Print the plan for a person."""
    from rich.table import Table

    console = terminal()
    table = Table(title=f"plan, profile {planned.profile}", title_justify="left", box=None, padding=(0, 1, 0, 0))
    seen = [state for state in STATES if facts[state]]
    for head in ("artefact", "cells", "runs", "shared", *seen, "to spend"):
        first = head == "artefact"  # whole at any width
        table.add_column(head, justify="left" if first else "right", no_wrap=True, min_width=13 if first else None)
    for name, row in facts["artefacts"].items():
        cells = [row["cells"], row["runs"], row["shared"], *(row.get(state, 0) for state in seen)]
        table.add_row(name, *map(str, cells), hours(row["seconds"]))
    if len(facts["artefacts"]) > 1:
        table.add_section()
        totals = [facts["runs"], "", *(facts[state] for state in seen)]
        table.add_row("each run once", "", *map(str, totals), hours(facts["seconds"]))
    console.print(table)
    device = "GPU" if facts["device"] == "gpu" else "core"
    if planned.to_do:
        first, then = facts["waves"]
        apart = [amount(facts[f"{stage}_seconds"], device) for stage in ("prefinetune", "finetune")]
        console.print(
            f"to do: {first} pre-finetuning{'s' * (first != 1)} ({apart[0]}), "
            f"then {then} fine-tuning{'s' * (then != 1)} ({apart[1]}); "
            f"{facts['disk_bytes'] / 1e9:,.1f} GB of disk"
        )
        ends = [amount(facts[f"{end}_seconds"], device, facts["seconds"]) for end in ("low", "high")]
        wide = f": {ends[0]} to {ends[1]}"
        for name in sorted(planned.again):
            console.print(f"again, since its model is not here and its result alone is: {name}", highlight=False)
        console.print(f"together {amount(facts['seconds'], device)}" + ("" if planned.calibration.runs else wide))
        if facts["seconds"] >= 3600:
            alone = f"{facts['seconds'] / 3600:,.0f} {device}-hours, {facts['seconds'] / 86400:,.1f} days"
            console.print(f"on one {device}, a run after the other: {alone}")
        for line in authors(planned):
            console.print(line, highlight=False)
        for line in _of_decisions(facts, device):
            console.print(line, highlight=False)
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
        why = planned.failures.get(name, {}).get("error") or "its pre-finetuning is stuck"
        console.print(f"left out: {name}: {why}", highlight=False, markup=False)
    if facts["spent_seconds"]:
        console.print(f"spent so far, all attempts counted: {amount(facts['spent_seconds'], device)}")
    console.print(facts["calibration"], highlight=False)


def amount(seconds: float, device: str, about: float | None = None) -> str:
    """Device-time in hours, or in days where it (or what it is `about`) is much."""
    hours_ = (about or seconds) < DAYS_S
    return f"{seconds / 3600:,.1f} {device}-hours" if hours_ else f"{seconds / 86400:,.0f} {device}-days"


def authors(planned: Plan) -> list[str]:
    """What the authors spent on a pre-finetuning (decision P54) beside what this plan counts, and why that is less;
    nothing for a profile that scales the paper's runs down."""
    most: dict[str, Prefinetune] = {}
    for run in planned.to_do.values():
        if isinstance(run, Prefinetune) and len(run.tasks) > (len(most[run.model].tasks) if run.model in most else 0):
            most[run.model] = run
    if not profiles.get(planned.profile).comparable or not most:
        return []
    days = [cost.seconds(run, planned.calibration, "gpu") / 86400 for run in most.values()]
    span = f"{min(days):,.0f}" if len(days) == 1 else f"{min(days):,.0f} to {max(days):,.0f}"
    return [
        f"the authors give 64 GPUs for 1 to 4 days to a pre-finetuning (P54): 64 to 256 GPU-days; here {span}. They "
        "name no GPU and stopped at convergence; this counts A100s at 40 % of their bf16 peak and the updates of "
        "Tables 7 and 8, and neither waiting (updates end with the slowest of 64) nor slower GPUs nor runs begun anew: "
        "it is a lower bound"
    ]


def _epochs(epochs: Mapping[str, float]) -> str:
    """Equal for all under natural sizes: said once."""
    if len(set(epochs.values())) == 1:
        return f"{next(iter(epochs.values())):g} of each of {len(epochs)} datasets"
    return ", ".join(f"{task} {times:g}" for task, times in epochs.items())
