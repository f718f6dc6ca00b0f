"""A table study as Markdown, LaTeX, CSV and on the terminal: the paper's value, ours, difference, n, seeds, intervals.

A table renders with any share of its results: what is missing is named in its cell. The profile stands over each table.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from muppet.paths import write_text
from studies.kit import profiles
from studies.kit.study import Study
from studies.pages import TABLES, grid
from studies.pages.cells import (
    SILENT,
    Mark,
    blocks,
    column_heads,
    counted,
    marked,
    percent,
    places,
    points,
    printed,
    shown,
    spread_of,
)
from studies.pages.latex import latex

FEW = 12  # cells that the terminal shows with intervals and counts
PROTOCOL = {
    "paper": "the point of the search whose median over seeds is best on the evaluation set itself, mean over seeds",
    "honest": "the point of the search that is best on held-out training rows, mean over seeds; without such rows the "
    "weights at the end of training",
    "last": "the point of the search whose median over seeds is best on the evaluation set itself, mean over seeds, "
    "of the weights at the end of training",
}


def render(
    study: Study, profile: str, frame: pd.DataFrame, root: Path = TABLES, refused: Mapping[str, str] | None = None
) -> list[Path]:
    """Write `study` from its cells (`cells_frame`) to `root/profile/name.{md,tex,csv}`; returns the paths."""
    stem = root / profile / study.name
    texts = {
        ".md": markdown(study, profile, frame, refused),
        ".tex": latex(study, profile, frame),
        ".csv": frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
    }
    for ending, text in texts.items():
        write_text(stem.with_suffix(ending), text)
    return [stem.with_suffix(ending) for ending in texts]


# ---------------------------------------------------------------- Markdown


def markdown(study: Study, profile: str, frame: pd.DataFrame, refused: Mapping[str, str] | None = None) -> str:
    """The study as GitHub Markdown, the legend on top."""
    marks, entire, frame = marked(study, frame), frame, shown(profile, frame)
    parts = [f"# {study.title}", f"**Profile {profile}**: {profiles.get(profile).caption}."]
    parts += [legend(frame), summary(entire) + left_out(entire, frame)]
    for title, columns in blocks(study, frame):
        cells = {
            (row, column): "<br>".join(_lines(group, marks, bold="**{}**", underline="<u>{}</u>"))
            for (row, column), group in places(frame, columns)
        }
        rows = [row for row in study.rows if any((row, column) in cells for column in columns)]
        names = [f"{row}<br>_{state}_" if (state := _whole_row(frame, row)) else row for row in rows]
        table = [[name, *(cells.get((row, column), "") for column in columns)] for row, name in zip(rows, names)]
        heads = [f"{column}<br>{metric}" if metric else column for column, metric in column_heads(study, columns)]
        parts += [f"## {title}"] if title else []
        parts.append(grid(table, ["", *heads], "github"))
    if study.note:
        parts.append(study.note)
    parts += [f"Refused: {why}" for _, why in sorted((refused or {}).items())]
    return "\n\n".join(parts) + "\n"


def legend(frame: pd.DataFrame) -> str:
    """How to read a cell; nothing about what no cell holds."""
    measured = frame[frame["state"] == "measured"]
    if frame.empty:
        return "No cell of this table is in the profile."
    if measured.empty:
        paper = "the paper's value in percent, and " if frame["printed"].notna().any() else ""
        return f"Nothing is measured yet: a cell holds {paper}the state of ours in words."
    compared = measured["difference"].notna().any()
    lines = [
        "A cell: " + ("the paper's value → ours (difference)" if compared else "our mean over runs") + ", in percent"
    ]
    if measured["low"].notna().any():
        lines.append("; [95 % interval of the mean over runs and evaluation examples]")
    if (measured["low"].isna() & (measured["seeds"].map(len) > 1)).any():
        lines.append("; (the scores themselves, where there are two runs)")
    lines.append("; n examples, seeds; precision and device, and those of its row's base where they are others")
    if measured["trivial"].notna().any():
        lines.append("; the score of an answer without learning")
    lines.append(". **Bold**: better than its row's base, the 95 % interval of the difference above zero (unpaired; ")
    lines.append("statistics.md pairs the examples). <u>Underlined</u>: our best of a column.")
    if (measured["runs_total"] > measured["seeds_total"]).any():
        lines.append(f" Of a search, a cell shows {PROTOCOL[measured['protocol'].iloc[0]]}.")
    if measured["dirty"].any():
        lines.append(" †: run with uncommitted changes to the code.")
    return "".join(lines)


def summary(frame: pd.DataFrame) -> str:
    """How many cells stand where, in words."""
    own = frame[~frame["state"].isin(["paper only"])].drop_duplicates(["row", "column"])
    counts = Counter(own["state"].str.split(":").str[0])
    order = ["measured", "pending", "failed", "refused"]
    parts = [f"{counts[state]} {state}" for state in sorted(counts, key=lambda s: order.index(s) if s in order else 9)]
    return f"Of {len(own)} cells: " + ", ".join(parts) + "."


def left_out(entire: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The rows of the `entire` table that `frame` does not show, in words."""
    own, kept = entire.loc[entire["state"] != "paper only", "row"], set(frame["row"])
    rows = [row for row in own.unique() if row not in kept]
    return f" No row is shown for {', '.join(rows)}." if rows and kept else ""


def _whole_row(frame: pd.DataFrame, row: str) -> str:
    """The silent state that a whole row shares, said once beside its name."""
    states = set(frame.loc[frame["row"] == row, "state"])
    return states.pop() if len(states) == 1 and states <= set(SILENT) else ""


def _lines(group: pd.DataFrame, marks: Mapping[tuple[str, str], Mark], *, bold: str, underline: str) -> list[str]:
    """The lines of one cell."""
    first = group.iloc[0]
    paper = printed(group)
    if first["state"] != "measured":
        word = "" if first["state"] == "paper only" or (first["state"] in SILENT and paper) else first["state"]
        return [line] if (line := " → ".join(filter(None, (paper, word)))) else []
    mark = marks.get((first["row"], first["column"]), Mark())
    ours = "/".join(map(percent, group["value"])) + ("†" if first["dirty"] else "")
    ours = underline.format(ours) if mark.underline else ours
    ours = bold.format(ours) if mark.bold else ours
    compared = pd.notna(first["difference"])
    lines = [f"{paper} → {ours} ({'/'.join(map(points, group['difference'].dropna()))})" if compared else ours]
    lines += [spread] if (spread := " ".join(spread_of(one) for _, one in group.iterrows())).strip() else []
    lines.append(f"n={first['n']}, {counted(first)}")
    if first["machine"]:
        lines.append(first["machine"] + (f" (its base: {mark.control})" if mark.control else ""))
    if pd.notna(first["trivial"]):
        lines.append(f"without learning {percent(first['trivial'])}")
    return lines


# ---------------------------------------------------------------- terminal


def terminal(study: Study, profile: str, frame: pd.DataFrame, width: int | None = None) -> None:
    """Print the cells of `study`: a few with all that is known, many with the values alone. Columns that do not fit
    beside each other follow below."""
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console, whole = Console(width=width), len(study.cells) <= FEW
    marks = marked(study, frame)  # against the whole table
    asked = {(cell.row, cell.column) for cell in study.cells}
    frame = frame[[place in asked for place in zip(frame["row"], frame["column"])]]
    entire, frame = frame, shown(profile, frame)
    console.print(f"[bold]{study.title}[/], profile {profile}: {profiles.get(profile).caption}", highlight=False)
    text = re.sub(r"\*\*|</?u>", "", legend(frame))
    first, more, _ = text.partition(";")
    if more and not whole:  # the values alone are shown
        text = first.replace(" (difference)", "") + "; intervals, n and seeds stand in the files."
    console.print(text, style="dim", markup=False, highlight=False)
    for _, columns in blocks(study, frame):
        cells = {}
        for place, group in places(frame, columns):
            lines = _lines(group, marks, bold="[bold]{}[/]", underline="[underline]{}[/]")
            cells[place] = "\n".join(lines) if whole else "".join(lines[:1]).partition(" (")[0]
        names = {}
        for row in dict.fromkeys(row for row, _ in cells):
            state = _whole_row(frame, row)
            names[row] = f"{row} [dim]({state})[/]" if state else row
        every = [line for text in cells.values() for line in Text.from_markup(text).plain.split("\n")]
        cell, label = max(map(cell_len, every), default=8), max((cell_len(row) for row in names), default=8)
        fit = max(1, (console.width - label - 2) // (max(cell, 8) + 2))
        for start in range(0, len(columns), fit):
            table = Table(box=box.SIMPLE_HEAD, show_lines=whole, pad_edge=False, padding=(0, 1))
            table.add_column("", max_width=max(label, 12))
            for column, metric in column_heads(study, columns[start : start + fit]):
                table.add_column(f"{column}\n{metric}".strip())
            for row, name in names.items():
                table.add_row(name, *(cells.get((row, column), "") for column in columns[start : start + fit]))
            console.print(table)
    console.print(summary(entire) + left_out(entire, frame), highlight=False)
