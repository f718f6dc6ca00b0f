"""MUPPET against its base with what measured it: both intervals, a paired test, false-discovery control, and families.

`paper_tables/<profile>/statistics.md`, written by `make render`. An interval over seeds says how a repetition would
move the difference, one over items how another sample of examples would; neither stands in for the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from muppet.paths import write_text
from muppet.result import read, unpack_items
from studies.claims.sources import FAMILIES, task_of
from studies.kit.ledger import stats
from studies.kit.ledger.cells import cells_frame
from studies.kit.ledger.results import Collected
from studies.kit.profiles import get
from studies.kit.show import p_text, percent, points
from studies.kit.study import Cell, Study
from studies.pages import TABLES

Items = Callable[[str, str], list[float] | None]  # run id, score key → per-example scores


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One cell of a MUPPET row against the same cell of its base row; scores are fractions of 1."""

    study: str
    row: str
    column: str
    metric: str
    family: str
    base: tuple[float, ...]  # one score a seed
    muppet: tuple[float, ...]
    difference: float  # of the two cells as the protocol reduces them
    over_seeds: stats.Interval | None  # seed by seed; None for one seed, or another number of them
    over_items: stats.Paired | None  # None for a score that is no mean over items


def gains(study: Study, frame: pd.DataFrame, items: Items) -> list[Gain]:
    """Every measured MUPPET cell of `study` whose base is measured too. frame: `cells_frame`, one protocol."""
    cells = {(cell.row, cell.column, cell.metric): cell for cell in study.cells}
    lines = frame[frame["state"] == "measured"]
    measured = {(line.row, line.column, line.metric): line for line in lines.itertuples(index=False)}
    pairs = []
    for (row, column, metric), line in measured.items():
        base = measured.get((study.base.get(row, ""), column, metric))
        if base is None:
            continue
        cell = cells[row, column, metric]
        paired = len(line.seeds) == len(base.seeds)
        over_seeds = (
            stats.seed_interval(np.subtract(line.seeds, base.seeds)) if paired and len(line.seeds) > 1 else None
        )
        pairs.append(
            Gain(
                study=study.name,
                row=row,
                column=column,
                metric=metric,
                family=FAMILIES[task_of(cell).family],
                base=tuple(base.seeds),
                muppet=tuple(line.seeds),
                difference=line.value - base.value,
                over_seeds=over_seeds,
                over_items=_over_items(cell, line.picked, base.picked, items),
            )
        )
    return pairs


def markdown(studies: Mapping[str, Study], frames: Mapping[str, pd.DataFrame], items: Items, caption: str) -> str:
    """The page: a table of cells for each study, then one of families over all tables."""
    from tabulate import tabulate

    lines = ["# MUPPET against its base", "", f"Measured: {caption}.", "", *HEAD]
    every: list[Gain] = []
    for name, frame in frames.items():
        own = gains(studies[name], frame, items)
        if not own:
            continue
        every += own
        adjusted = stats.false_discovery([gain.over_items.p if gain.over_items else None for gain in own])
        rows = [_row(gain, q) for gain, q in zip(own, adjusted, strict=True)]
        heads = ["Row", "Column", "Gain", "over seeds", "over items", "p", "adjusted"]
        lines += [f"## {studies[name].title}", "", tabulate(rows, headers=heads, tablefmt="pipe"), ""]
    if not every:
        return "\n".join([*lines, "Nothing is measured yet.", ""])
    heads = ["Family", "Row", "Datasets", "IQM base", "IQM MUPPET", "Probability of improvement"]
    lines += ["## Families", "", tabulate(_families(every), headers=heads, tablefmt="pipe"), ""]
    return "\n".join(lines)


def write(studies: Mapping[str, Study], profile: str, collected: Collected, root: Path = TABLES) -> Path:
    """Write `<root>/<profile>/statistics.md` from the results of `profile`; returns where."""
    paths = dict(zip(collected.frame["run"], collected.frame["path"], strict=True))
    kept: dict[str, dict[str, str | None]] = {}

    def items(name: str, key: str) -> list[float] | None:
        if name not in kept:
            kept[name] = {k: score.items for k, score in read(Path(paths[name])).scores.items()}
        packed = kept[name].get(key)
        return None if packed is None else unpack_items(packed)

    compared = {name: study for name, study in studies.items() if study.kind == "table" and study.base}
    frames = {name: cells_frame(study, profile, collected) for name, study in compared.items()} if paths else {}
    path = root / profile / "statistics.md"
    write_text(path, markdown(studies, frames, items, get(profile).caption))
    return path


HEAD = (
    "* **Gain**: MUPPET minus its base, in points. **over seeds**: 95 % Student interval of the mean difference, seed "
    "by seed. **over items**: 95 % paired bootstrap over evaluation examples, each scored by its mean over seeds.",
    "* **p**: sign-flip permutation test over the same items, two-sided. **adjusted**: Benjamini-Hochberg within the "
    "table; below 0.05 the false discoveries among the cells so marked are 5 % in expectation.",
    "* **IQM**: interquartile mean over a family's runs, with a bootstrap stratified by dataset. **Probability of "
    "improvement**: how often a run of MUPPET beats one of its base on the same dataset; 50 % is no difference.",
    "",
)


def _over_items(cell: Cell, ours: Sequence[str], base: Sequence[str], items: Items) -> stats.Paired | None:
    """The paired comparison; each item's score is its mean over seeds."""
    sides = []
    for names in (ours, base):
        runs = [items(name, cell.score) for name in names]
        if not runs or any(run is None for run in runs) or len({len(run) for run in runs if run}) != 1:
            return None
        sides.append(np.mean([run for run in runs if run is not None], axis=0))
    if cell.folds or len(sides[0]) != len(sides[1]):
        return None
    return stats.paired(*sides)


def _row(gain: Gain, adjusted: float | None) -> list[str]:
    seeds, items = gain.over_seeds, gain.over_items
    bold = "**" if adjusted is not None and adjusted < 0.05 else ""
    return [
        gain.row,
        f"{gain.column} {gain.metric}" if gain.metric not in ("accuracy", "unspecified") else gain.column,
        f"{bold}{points(gain.difference)}{bold}",
        _interval(seeds) if seeds else f"{len(gain.muppet)} against {len(gain.base)} seeds",
        _interval(items.difference) if items else "no mean over items",
        p_text(items.p).removeprefix("p ").removeprefix("= ") if items else "",
        p_text(adjusted).removeprefix("p ").removeprefix("= ") if adjusted is not None else "",
    ]


def _families(every: Sequence[Gain]) -> list[list[str]]:
    groups: dict[tuple[str, str], dict[tuple[str, str], Gain]] = {}
    for gain in every:  # a dataset once, by its first metric, whichever artefacts show it
        if gain.study.startswith("table"):
            groups.setdefault((gain.family, gain.row), {}).setdefault((gain.column, ""), gain)
    rows = []
    for (family, row), cells in groups.items():
        ours, base = [g.muppet for g in cells.values()], [g.base for g in cells.values()]
        chance = stats.probability_of_improvement(ours, base)
        means = [stats.iqm(scores) for scores in (base, ours)]
        shown = [f"{percent(m.value)} [{percent(m.low)}, {percent(m.high)}]" for m in means]
        better = f"{percent(chance.value, 0)} % [{percent(chance.low, 0)}, {percent(chance.high, 0)}]"
        rows.append([family, row, str(len(cells)), *shown, better])
    return rows


def _interval(interval: stats.Interval) -> str:
    return "" if math.isnan(interval.low) else f"[{points(interval.low)}, {points(interval.high)}]"
