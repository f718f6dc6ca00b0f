"""What the cells of a table say, whatever they are written in: their order, their marks, their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from studies.kit import profiles, show
from studies.kit.ledger.intervals import contrast, of_runs, with_items
from studies.kit.study import Study

SILENT = ("paper only", "not in this profile")  # states that a cell need not repeat
METRICS = {"em": "EM", "f1": "F1", "chunk_f1": "chunk F1", "bracket_f1": "bracket F1"}
METRICS |= {"rouge1": "R1", "rouge2": "R2", "rougeL": "RL", "rougeLsum": "RLsum"}
METRICS |= {name: name.capitalize() for name in ("matthews", "spearman", "pearson")}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How a cell's number stands out."""

    bold: bool = False  # better than the base of its row
    underline: bool = False  # the best of its column
    control: str = ""  # what its row's base was computed in and on, where that is something else


def shown(profile: str, frame: pd.DataFrame) -> pd.DataFrame:
    """What a table of `profile` shows: beside scores of other models than the paper's none of the paper's own, and no
    row without a cell in the profile."""
    if profiles.get(profile).comparable:
        return frame
    rows = frame.loc[~frame["state"].isin(SILENT), "row"].unique()
    return frame[frame["row"].isin(rows) & (frame["state"] != "paper only")].assign(printed=None)


def blocks(study: Study, frame: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """(title, columns): the paper's own columns, then those beyond it, as far as `frame` has a cell of them."""
    held = [column for column in study.columns if (frame["column"] == column).any()]
    own = [column for column in held if column not in study.beyond]
    beyond = [column for column in held if column in study.beyond]
    titles = ("The paper's columns", "Beyond the paper") if study.beyond else ("", "")
    return [block for block in zip(titles, (own, beyond)) if block[1]]


def places(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """((row, column), its one or more lines of the frame)."""
    yield from frame[frame["column"].isin(columns)].groupby(["row", "column"], sort=False)  # type: ignore[misc]


def column_heads(study: Study, columns: Sequence[str]) -> list[tuple[str, str]]:
    """(column, its metrics as R1/R2/RL); those of the score keys, unless the column's name holds them."""
    metrics: dict[str, dict[str, None]] = {}
    for cell in study.cells:
        if cell.score:
            name = cell.score.rsplit("/", 1)[-1]
            metrics.setdefault(cell.column, {})[METRICS.get(name, name)] = None
    return [(column, "" if (m := "/".join(metrics.get(column, ()))) in column else m) for column in columns]


def printed(group: pd.DataFrame) -> str:
    """What the paper prints in a cell, as `44.16/21.28/40.90`; empty when nothing."""
    return "/".join(text for text in group["printed"] if isinstance(text, str))


def spread_of(cell: pd.Series) -> str:
    """The interval, or the scores of two runs, which have none."""
    if pd.notna(cell["low"]):
        return f"[{percent(cell['low'])}, {percent(cell['high'])}]"
    return f"({', '.join(map(percent, cell['seeds']))})" if len(cell["seeds"]) > 1 else ""


def counted(cell: pd.Series) -> str:
    """How many seeds or folds, and how much of the search is there."""
    done, total = int(cell["seeds_done"]), int(cell["seeds_total"])
    unit = "fold" if cell["folds"] else "seed"
    seeds = f"{total} {unit}{'s' * (total != 1)}" if done == total else f"{done} of {total} {unit}s"
    partial = cell["runs_done"] < cell["runs_total"] and cell["runs_total"] > total
    return seeds + (f", {cell['runs_done']} of {cell['runs_total']} runs" if partial else "")


def percent(fraction: float) -> str:
    """A fraction of 1 in percent, one decimal."""
    return show.percent(fraction).replace("-", "−")


def points(difference: float) -> str:
    """A difference of fractions in points, always with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def marked(study: Study, frame: pd.DataFrame, of: str = "value") -> dict[tuple[str, str], Mark]:
    """Which cells are better than their row's base, and which best in their column: over `value` or over `paper`.

    A measured cell is better when the interval of the difference lies above zero; a print, when it is higher.
    """
    lines = frame[frame[of].notna()].drop_duplicates(["row", "column"]).set_index(["row", "column"])
    known = lines[of]
    best = known.groupby("column").max() if len(known) else known
    cells = {place: cell for place, cell in lines.iterrows()} if of == "value" else {}
    marks = {}
    for (row, column), value in known.items():
        base = known.get((study.base.get(row, ""), column))
        better = base is not None and value > base
        if better and cells:
            better = surely_above(cells[row, column], cells[study.base[row], column])
        alone = (known.index.get_level_values("column") == column).sum() == 1
        other = cells[study.base[row], column]["machine"] if cells and base is not None else ""
        marks[row, column] = Mark(
            bold=bool(better),
            underline=bool(not alone and value == best[column]),
            control=other if cells and other != cells[row, column]["machine"] else "",
        )
    return marks


def surely_above(upper: pd.Series, lower: pd.Series) -> bool:
    """Whether the 95 % interval of the difference of two measured cells lies above zero; never below three runs.

    Neither examples nor folds are paired: what is hard for both cells counts as noise of each, so that a mark is sooner
    withheld than given. Claims and statistics pair both (`claims.effects.effect`).
    """
    ends = [of_runs(cell["seeds"], _checkpoints(cell), folds=cell["folds"]) for cell in (upper, lower)]
    if ends[0] is None or ends[1] is None:
        return False
    errors = [cell["item_error"] for cell in (upper, lower) if pd.notna(cell["item_error"])]
    return with_items(contrast((1, -1), (ends[0], ends[1])), math.hypot(*errors)).interval().low > 0


def _checkpoints(cell: pd.Series) -> tuple[str, ...]:
    return cell["checkpoints"] if len(cell["checkpoints"]) == len(cell["seeds"]) else ()
