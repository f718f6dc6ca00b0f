"""MUPPET against its base with what measured it, false-discovery control, families, and what the search itself gains.

`paper_tables/<profile>/statistics.md`, written by `make render`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from muppet.paths import write_text
from studies.claims.claim import Number, Pair, Source
from studies.claims.effects import Effect, effect
from studies.claims.sources import FAMILIES, number_of, paired_error, task_of
from studies.kit.decisions import option
from studies.kit.ledger import stats
from studies.kit.ledger.cells import PROTOCOLS, cells_frame
from studies.kit.ledger.intervals import FEWEST
from studies.kit.ledger.results import Collected
from studies.kit.profiles import get
from studies.kit.show import between, p_text, percent, points
from studies.kit.study import Study
from studies.pages import TABLES, grid, optimism
from studies.pages.cells import METRICS


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One cell of a MUPPET row against the same cell of its base row; scores are fractions of 1."""

    family: str
    dataset: str
    base: Number
    muppet: Number
    effect: Effect


def gains(study: Study, frame: pd.DataFrame, source: Source) -> list[Gain]:
    """Every measured MUPPET cell of `study` whose base is measured too; one that shows the same score of the same runs
    as a cell before it counts once. frame: `cells_frame`, one protocol."""
    cells = {(cell.row, cell.column, cell.metric): cell for cell in study.cells}
    lines = frame[frame["state"] == "measured"]
    measured = {(line.row, line.column, line.metric): line for line in lines.itertuples(index=False)}
    found, seen = [], set()
    for (row, column, metric), line in measured.items():
        base, cell = measured.get((study.base.get(row, ""), column, metric)), cells[row, column, metric]
        if base is None or (row, cell.score, cell.runs) in seen:
            continue
        seen.add((row, cell.score, cell.runs))
        upper, lower = (number_of(study.name, cell, one) for one in (line, base))
        task, shown = task_of(cell), effect(source, [Pair(base=lower, muppet=upper)], f"{column} of {row}")
        found.append(Gain(family=FAMILIES[task.family], dataset=task.name, base=lower, muppet=upper, effect=shown))
    return found


def markdown(
    studies: Mapping[str, Study], frames: Mapping[str, pd.DataFrame], source: Source, caption: str, extra: Sequence[str]
) -> str:
    """The page: a table of cells for each study, then one of families over all tables, then `extra`."""
    lines = ["# MUPPET against its base", "", f"Measured: {caption}.", "", *HEAD]
    every: list[Gain] = []
    for name, frame in frames.items():
        own = gains(studies[name], frame, source)
        if not own:
            continue
        every += own
        adjusted = stats.false_discovery([gain.effect.p for gain in own])
        rows = [_row(gain, q) for gain, q in zip(own, adjusted, strict=True)]
        heads = ["Row", "Column", "Gain", "95 %", "shows", "p", "adjusted"]
        lines += [f"## {studies[name].title}", "", grid(rows, heads), ""]
    if not every:
        return "\n".join([*lines, "Nothing is measured yet.", ""])
    heads = ["Family", "Row", "Datasets", "IQM base", "IQM MUPPET", "Probability of improvement"]
    lines += ["## Families", "", grid(_families(every), heads), ""]
    return "\n".join([*lines, *extra])


def write(studies: Mapping[str, Study], profile: str, collected: Collected, root: Path = TABLES) -> Path:
    """Write `<root>/<profile>/statistics.md` from the results of `profile`; returns where."""
    source = Source(name="ours", numbers={}, paired_error=paired_error(collected))
    compared = {name: study for name, study in studies.items() if study.kind == "table" and study.base}
    both = {name: cells_frame(study, profile, collected, PROTOCOLS) for name, study in compared.items()}
    frames = {name: frame[frame["protocol"] == str(option("protocol"))] for name, frame in both.items()}
    extra = optimism.section(compared, both, collected)
    path = root / profile / "statistics.md"
    write_text(path, markdown(studies, frames, source, get(profile).caption, extra))
    return path


HEAD = (
    "* **Gain**: MUPPET minus its base, in points, bold when its interval excludes zero. **95 %**: Student's "
    "interval of the mean difference, over runs (over checkpoints, where there are several) and over evaluation "
    "examples, paired where the score is a mean over them; degrees of freedom after Satterthwaite. Of a "
    "cross-validation it is over the differences in its folds (P15). One or two runs a side have no interval; their "
    "scores stand there.",
    "* **shows**: UP, DOWN, EQUIVALENT (the 90 % interval within half a point), UNDECIDED, or UNINFORMATIVE (neither "
    "arm above an answer without learning). **p**: two-sided, of no difference. **adjusted**: Benjamini-Hochberg "
    "within the table.",
    "* **IQM**: interquartile mean over a family's runs, with a bootstrap stratified by dataset from three runs on, "
    "which draws checkpoints where there are several; of three runs or checkpoints it comes out too short. "
    "**Probability of improvement**: how often a run of MUPPET beats one of its base on the same dataset; 50 % is no "
    "difference. A dataset counts once.",
    "",
)


def _row(gain: Gain, adjusted: float | None) -> list[str]:
    shown, ours = gain.effect, gain.muppet
    metric = "" if ours.metric in ("accuracy", "unspecified") else METRICS.get(ours.metric, ours.metric)
    bold = "**" if shown.direction in ("UP", "DOWN") else ""
    scores = " against ".join(" ".join(map(percent, side.seeds)) for side in (ours, gain.base))
    return [
        ours.row,
        ours.column if metric in ours.column else f"{ours.column} {metric}",
        f"{bold}{points(shown.gain)}{bold}",
        between(wide.low, wide.high) if shown.estimate and (wide := shown.estimate.interval()) else scores,
        shown.direction,
        *(p_text(p).removeprefix("p ").removeprefix("= ") if p is not None else "" for p in (shown.p, adjusted)),
    ]


def _families(every: Sequence[Gain]) -> list[list[str]]:
    groups: dict[tuple[str, str], dict[str, Gain]] = {}
    for gain in every:  # a dataset once, by its first metric, whichever artefacts show it
        if gain.muppet.study.startswith("table"):
            groups.setdefault((gain.family, gain.muppet.row), {}).setdefault(gain.dataset, gain)
    rows = []
    for (family, row), cells in groups.items():
        ours, base = [g.muppet.seeds for g in cells.values()], [g.base.seeds for g in cells.values()]
        names = [g.muppet.checkpoints for g in cells.values()]
        chance = stats.probability_of_improvement(ours, base, names)
        means = [stats.iqm(base), stats.iqm(ours, names)]
        units = [len(set(own)) if len(set(own)) > 1 else len(runs) for runs, own in zip(ours, names)]
        enough = min(*units, *map(len, base)) >= FEWEST
        shown = [percent(m.value) + (f" [{percent(m.low)}, {percent(m.high)}]" if enough else "") for m in means]
        better = f"{percent(chance.value, 0)} %"
        better += f" [{percent(chance.low, 0)}, {percent(chance.high, 0)}]" if enough else ""
        rows.append([family, row, str(len(cells)), *shown, better])
    return rows
