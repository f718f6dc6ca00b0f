"""Everything that the report page shows, as plain data: cells with what each source says of them, and the runs behind.

Two files of results give two equal ledgers on every machine: nothing here looks at a clock, a host or an absolute path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from muppet.result import Result, ResultError, read
from muppet.runs import Finetune, Run, parent, run_id
from studies.claims.sources import RELEASED
from studies.kit import profiles
from studies.kit.decisions import option
from studies.kit.ledger import folder, reference
from studies.kit.ledger.cells import printed_cells
from studies.kit.ledger.profile import ProfileResults
from studies.kit.ledger.reference import Printed
from studies.kit.study import Cell, Study

SEARCHED = ("lr", "adam_eps", "dropout")
CONTRASTS = ("seed", "draw", "fraction")
Place = tuple[str, str, str, str]  # study, row, column, metric


@dataclass(kw_only=True)
class Ledger:
    """What the page embeds. `cells` are in declared order; a cell's `ours` has an entry per profile."""

    cells: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    environments: list[dict[str, str]] = field(default_factory=list)
    profiles: list[dict[str, Any]] = field(default_factory=list)


def build(loaded: Sequence[ProfileResults]) -> Ledger:
    """The ledger over some profiles; the first one's declaration gives rows and columns."""
    ledger, places, studies = Ledger(), _places(loaded), loaded[0].studies
    others = _others(studies)
    paper = {(name, *key): cell for name, study in studies.items() for key, cell in printed_cells(study).items()}
    for place in places:
        ledger.cells.append(_cell(place, paper.get(place), others.get(place, [])))
    index = {place: i for i, place in enumerate(places)}
    for place, i in index.items():
        study, row, column, metric = place
        ledger.cells[i]["base"] = index.get((study, *studies[study].control(row, column), metric))
        ledger.cells[i]["released"] = index.get((study, row + RELEASED, column, metric))
    for one in loaded:
        _measure(ledger, index, one)
    return ledger


def _places(loaded: Sequence[ProfileResults]) -> list[Place]:
    places: dict[Place, None] = {}
    for one in loaded:
        for name, frame in one.frames.items():
            places |= dict.fromkeys((name, *key) for key in zip(frame["row"], frame["column"], frame["metric"]))
    order = {name: i for i, name in enumerate(loaded[0].studies)}
    return sorted(places, key=lambda place: order[place[0]])


def _cell(place: Place, printed: Printed | None, others: list[dict[str, str]]) -> dict[str, Any]:
    where = ""
    if printed:
        parts = (printed.provenance, printed.split, f"n = {printed.n:,}" if printed.n else "", printed.note)
        where = "; ".join(part for part in parts if part)
    return dict(zip(("study", "row", "column", "metric"), place)) | {
        "others": others,
        "ours": {},
        "paper": printed.value if printed else None,
        "paper_text": printed.printed if printed else "",
        "paper_where": where,
        "shape": "paper only",
    }


def _others(studies: Mapping[str, Study]) -> dict[Place, list[dict[str, str]]]:
    """What further sources print for the paper's cells."""
    names = {study.reference: name for name, study in studies.items() if study.reference is not None}
    others: dict[Place, list[dict[str, str]]] = {}
    for cell in reference.public():
        if cell.table in names:
            place = (names[cell.table], cell.row, cell.column, cell.metric)
            others.setdefault(place, []).append({"source": cell.provenance, "text": cell.printed})
    return others


def _measure(ledger: Ledger, index: Mapping[Place, int], one: ProfileResults) -> None:
    """Put one profile's numbers into the ledger's cells, and the runs they come from beside them."""
    declared = one.runs
    failed = folder.failures(name for name in declared if name not in one.collected.done)
    protocol = str(option("protocol"))
    for name, study in one.studies.items():
        cells = {(cell.row, cell.column, cell.metric): cell for cell in study.cells}
        by_place: dict[tuple[str, str, str], dict[str, Any]] = {}
        for record in one.frames[name].to_dict("records"):
            by_place.setdefault((record["row"], record["column"], record["metric"]), {})[record["protocol"]] = record
        for key, records in by_place.items():
            target = ledger.cells[index[(name, *key)]]
            cell = cells.get(key)
            entry = _ours(records, protocol)
            if cell is not None and (cell.runs or cell.why != "paper only"):
                target |= {"shape": "measured", "score": cell.score or target.get("score", ""), "select": cell.select}
                entry |= _evidence(ledger, one, cell, failed)
            target["ours"][one.name] = entry
    ledger.profiles.append(
        {
            "name": one.name,
            "note": one.caption,
            "comparable": profiles.get(one.name).comparable,
            "done": len(one.done),
            "declared": len(declared),
            "refused": sorted(one.collected.refused.values()),
            "failed": [f"{run}: {record.get('error', '')}" for run, record in sorted(failed.items())],
            "unknown": sorted(one.collected.done - declared.keys()),
        }
    )


def _ours(records: Mapping[str, Mapping[str, Any]], protocol: str) -> dict[str, Any]:
    """Numbers of a cell under the protocol in force, and its value by the others. What is empty is left out."""
    chosen = records[protocol]
    keep = ("value", "low", "high", "trivial", "n", "seeds_done", "seeds_total", "machine")
    entry: dict[str, Any] = {name: value for name in keep if (value := _plain(chosen[name])) is not None}
    entry["state"] = chosen["state"]
    if chosen["picked"]:
        entry["picked"] = list(chosen["picked"])
    entry |= {"scores": list(chosen["seeds"])} if len(chosen["seeds"]) > 1 else {}
    entry |= {"compared": True} if _plain(chosen["difference"]) is not None else {}
    entry |= {"dirty": True} if chosen["dirty"] else {}
    entry |= {"partial": True} if 0 < chosen["runs_done"] < chosen["runs_total"] else {}
    others = {name: _plain(record["value"]) for name, record in records.items() if name != protocol}
    others = {name: value for name, value in others.items() if value is not None}
    return entry | ({"others": others} if others else {})


def _evidence(
    ledger: Ledger, one: ProfileResults, cell: Cell, failed: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The runs of a cell: those that are done, in full, and a sentence on those that are declared."""
    runs = cell.needs(str(option("protocol")))
    ids = [run_id(run) for run in runs]
    done = [run for run, name in zip(runs, ids) if name in one.collected.done]
    for run in done:
        _keep(ledger, one, run)
    evidence: dict[str, Any] = {
        "runs": [run_id(run) for run in done],
        "search": search(runs),
        "declared": len(ids),
        "failures": [f"{name}: {failed[name].get('error', '')}" for name in ids if name in failed],
    }
    return {name: value for name, value in evidence.items() if value}


def search(runs: Sequence[Run]) -> str:
    """What a cell's runs differ in: `lr 1e-05, 2e-05; dropout 0.0, 0.1; 5 seeds`."""
    parts = []
    for name in (*SEARCHED, *CONTRASTS):
        source = [run.recipe if name in SEARCHED else run for run in runs]
        values = sorted({value for item in source if (value := getattr(item, name, None)) is not None})
        if name == "seed":
            parts.append(f"{len(values)} seed{'s' if len(values) != 1 else ''}")
        elif len(values) > 1 or name in SEARCHED and values:
            parts.append(f"{name} {', '.join(map(str, values))}")
    return "; ".join(parts) if runs else ""


def _keep(ledger: Ledger, one: ProfileResults, run: Run) -> None:
    """Put a finished run, and the pre-finetuning it came from, into the ledger once."""
    name = run_id(run)
    if name in ledger.runs:
        return
    try:
        result = read(folder.result_path(one.name, run), run)
    except (ResultError, OSError):
        return  # refused by name in the profile's notice
    before = parent(run)
    ledger.runs[name] = _run(ledger, run, result) | ({"parent": run_id(before)} if before else {})
    if before:
        _keep(ledger, one, before)


def _run(ledger: Ledger, run: Run, result: Result) -> dict[str, Any]:
    environment, cost = dict(result.environment), result.cost
    commit, dirty = str(environment.pop("commit", "") or "unknown"), bool(environment.pop("dirty", False))
    shown = {name: _text(value) for name, value in sorted(environment.items()) if _text(value)}
    if shown not in ledger.environments:
        ledger.environments.append(shown)
    entry: dict[str, Any] = {
        "id": result.id,
        "seed": run.seed,
        "seconds": float(cost.get("seconds") or 0),
        "tokens": cost.get("tokens"),
        "device": ", ".join(str(cost[name]) for name in ("precision", "device") if cost.get(name)),
        "commit": commit[:10],
        "dirty": dirty,
        "environment": ledger.environments.index(shown),
        "updates": result.training.get("updates"),
        "scores": {key: [score.value, score.low, score.high] for key, score in result.scores.items()},
        "data": {
            key: {name: value if isinstance(value, int) else _text(value) for name, value in facts.items()}
            for key, facts in result.data.items()
        },
    }
    if isinstance(run, Finetune):
        entry["searched"] = {name: getattr(run.recipe, name) for name in SEARCHED}
        if run.fraction is not None:
            entry["searched"] |= {"share": run.fraction, "draw": run.draw}
    else:
        entry["datasets"] = len(run.tasks)
    return entry


def _text(value: Any) -> str:
    """A fact as a reader sees it: `torch 2.13.0, numpy 2.4.6` for a mapping."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    """A JSON value for a frame's cell; None for a missing number."""
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
