"""A table study as Markdown, LaTeX, CSV and on the terminal: the paper's value, ours, difference, n, seeds, intervals.

A table renders with any share of its results: what is missing is named in its cell. The profile stands over each table.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from muppet.paths import write_text
from studies.kit import profiles, show
from studies.kit.ledger.intervals import contrast, of_runs, with_items
from studies.kit.study import Study
from studies.pages import TABLES

SILENT = ("paper only", "not in this profile")  # states that a cell need not repeat
FEW = 12  # cells that the terminal shows with intervals and counts
METRICS = {"em": "EM", "f1": "F1", "matthews": "Matthews", "spearman": "Spearman", "pearson": "Pearson"}
PROTOCOL = {
    "paper": "the point of the search whose median over seeds is best on the evaluation set itself, mean over seeds",
    "honest": "the point of the search that is best on held-out training rows, mean over seeds",
}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """How a cell's number stands out."""

    bold: bool = False  # better than the base of its row
    underline: bool = False  # the best of its column


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
    from tabulate import tabulate

    marks = marked(study, frame)
    parts = [f"# {study.title}", f"**Profile {profile}**: {profiles.get(profile).caption}."]
    parts += [legend(frame), summary(frame)]
    for title, columns in blocks(study):
        cells = {
            (row, column): "<br>".join(_lines(group, marks, bold="**{}**", underline="<u>{}</u>"))
            for (row, column), group in _places(frame, columns)
        }
        rows = [row for row in study.rows if any((row, column) in cells for column in columns)]
        table = [[_row_label(study, frame, row), *(cells.get((row, column), "") for column in columns)] for row in rows]
        heads = ["", *(f"{column}<br>{metric}" if metric else column for column, metric in _heads(study, columns))]
        parts += [f"## {title}"] if title else []
        parts.append(tabulate(table, headers=heads, tablefmt="github", disable_numparse=True))
    if study.note:
        parts.append(study.note)
    parts += [f"Refused: {why}" for _, why in sorted((refused or {}).items())]
    return "\n\n".join(parts) + "\n"


def legend(frame: pd.DataFrame) -> str:
    """How to read a cell; nothing about what no cell holds."""
    measured = frame[frame["state"] == "measured"]
    if measured.empty:
        return "Nothing is measured yet: a cell holds the paper's value in percent, and the state of ours in words."
    compared = measured["difference"].notna().any()
    lines = [
        "A cell: " + ("the paper's value → ours (difference)" if compared else "our mean over runs") + ", in percent"
    ]
    if measured["low"].notna().any():
        lines.append("; [95 % interval of the mean over runs and evaluation examples]")
    if (measured["low"].isna() & (measured["seeds"].map(len) > 1)).any():
        lines.append("; (the scores themselves, where there are two runs)")
    lines.append("; n examples, seeds")
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


def blocks(study: Study) -> list[tuple[str, list[str]]]:
    """(title, columns): the paper's own columns, then those beyond it."""
    own = [column for column in study.columns if column not in study.beyond]
    if not study.beyond:
        return [("", own)]
    beyond = [column for column in study.columns if column in study.beyond]
    return [block for block in (("As the paper prints it", own), ("Beyond the paper", beyond)) if block[1]]


def _places(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """((row, column), its one or more lines of the frame)."""
    yield from frame[frame["column"].isin(columns)].groupby(["row", "column"], sort=False)  # type: ignore[misc]


def _heads(study: Study, columns: Sequence[str]) -> list[tuple[str, str]]:
    """(column, metric); the metric of a score key, unless the column's name holds it."""
    metrics = {cell.column: cell.score.rsplit("/", 1)[-1] for cell in study.cells if cell.score}
    shown = {column: METRICS.get(metric, metric) for column, metric in metrics.items()}
    return [(column, "" if (m := shown.get(column, "")) in column else m) for column in columns]


def _row_label(study: Study, frame: pd.DataFrame, row: str) -> str:
    state = _whole_row(frame, row)
    return f"{row}<br>_{state}_" if state else row


def _whole_row(frame: pd.DataFrame, row: str) -> str:
    """The silent state that a whole row shares, said once beside its name."""
    states = set(frame.loc[frame["row"] == row, "state"])
    return states.pop() if len(states) == 1 and states <= set(SILENT) else ""


def _lines(group: pd.DataFrame, marks: Mapping[tuple[str, str], Mark], *, bold: str, underline: str) -> list[str]:
    """The lines of one cell."""
    first = group.iloc[0]
    printed = "/".join(text for text in group["printed"] if isinstance(text, str))
    if first["state"] != "measured":
        word = "" if first["state"] == "paper only" or (first["state"] in SILENT and printed) else first["state"]
        return [line for line in (f"{printed} → {word}" if printed and word else printed or word,) if line]
    mark = marks.get((first["row"], first["column"]), Mark())
    ours = percent(first["value"]) + ("†" if first["dirty"] else "")
    ours = underline.format(ours) if mark.underline else ours
    ours = bold.format(ours) if mark.bold else ours
    lines = [f"{printed} → {ours} ({points(first['difference'])})" if pd.notna(first["difference"]) else ours]
    lines += [spread] if (spread := _spread(first)) else []
    lines.append(f"n={first['n']}, {counted(first)}")
    if pd.notna(first["trivial"]):
        lines.append(f"without learning {percent(first['trivial'])}")
    return lines


def _spread(cell: pd.Series) -> str:
    """The interval, or the scores of two runs, which have none."""
    if pd.notna(cell["low"]):
        return f"[{percent(cell['low'])}, {percent(cell['high'])}]"
    return f"({', '.join(map(percent, cell['seeds']))})" if len(cell["seeds"]) > 1 else ""


def counted(cell: pd.Series) -> str:
    """How many seeds, and how much of the search is there."""
    done, total = int(cell["seeds_done"]), int(cell["seeds_total"])
    seeds = f"{total} seed{'s' * (total != 1)}" if done == total else f"{done} of {total} seeds"
    partial = cell["runs_done"] < cell["runs_total"] and cell["runs_total"] > total
    return seeds + (f", {cell['runs_done']} of {cell['runs_total']} runs" if partial else "")


def percent(fraction: float) -> str:
    """A fraction of 1 in percent, one decimal."""
    return show.percent(fraction).replace("-", "−")


def points(difference: float) -> str:
    """A difference of fractions in points, always with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


# ---------------------------------------------------------------- bold and underline


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
        marks[row, column] = Mark(bold=bool(better), underline=bool(not alone and value == best[column]))
    return marks


def surely_above(upper: pd.Series, lower: pd.Series) -> bool:
    """Whether the 95 % interval of the difference of two measured cells lies above zero; never below three runs."""
    ends = [of_runs(cell["seeds"], _checkpoints(cell)) for cell in (upper, lower)]
    if ends[0] is None or ends[1] is None:
        return False
    errors = [cell["item_error"] for cell in (upper, lower) if pd.notna(cell["item_error"])]
    return with_items(contrast((1, -1), (ends[0], ends[1])), math.hypot(*errors)).interval().low > 0


def _checkpoints(cell: pd.Series) -> tuple[str, ...]:
    return cell["checkpoints"] if len(cell["checkpoints"]) == len(cell["seeds"]) else ()


# ---------------------------------------------------------------- LaTeX

FIT = "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%\n"  # closed after the tabular


def latex(study: Study, profile: str, frame: pd.DataFrame) -> str:
    """The study as booktabs tables, a few lines per row, each shrunk to the width of the text where it is wider."""
    parts = [f"% {study.title}, profile {profile}. Needs \\usepackage{{booktabs,graphicx}}."]
    for number, (title, columns) in enumerate(blocks(study)):
        parts.append(_latex_block(study, profile, frame[frame["column"].isin(columns)], columns, title, number))
    return "\n".join(parts)


def _latex_block(study: Study, profile: str, frame: pd.DataFrame, columns: list[str], title: str, number: int) -> str:
    lines: list[tuple[str, str]] = []
    table: list[list[str]] = []
    styles: list[list[str]] = []
    marks = {"paper": marked(study, frame, "paper"), "ours": marked(study, frame)}
    groups = dict(_places(frame, columns))
    for row in [row for row in study.rows if any((row, column) in groups for column in columns)]:
        for line, write in LATEX_LINES.items():
            texts = [write(groups[row, column]) if (row, column) in groups else "" for column in columns]
            if any(texts):
                lines.append((row, line))
                table.append(texts)
                styles.append([_style(marks.get(line, {}).get((row, column))) for column in columns])
    index = pd.MultiIndex.from_tuples(lines)
    heads = [f"{column} ({metric})" if metric else column for column, metric in _heads(study, columns)]
    data = pd.DataFrame(table, index=index, columns=heads)
    styler = data.style.apply(lambda _: pd.DataFrame(styles, index=index, columns=heads), axis=None)
    styler = styler.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)
    numbered, _, name = study.title.rpartition(": ")
    name = f"{name} ({numbered} of the paper)" if numbered.startswith("Table") else study.title
    name = f"{name}, {title[0].lower()}{title[1:]}" if title else name
    caption = f"{name}. Profile {profile}: {profiles.get(profile).caption}."
    text = styler.to_latex(
        hrules=True,
        environment="table*",
        position_float="centering",
        sparse_index=True,
        multirow_align="naive",
        column_format="ll" + "r" * len(heads),
        caption=_ascii(caption),
        label=f"tab:{study.name}-{profile}-{number}",
    )
    rows = [re.escape(_escaped(row)) for row in dict.fromkeys(row for row, _ in lines)][1:]
    if rows:
        text = re.sub(rf"^(?=({'|'.join(rows)}) & )", r"\\addlinespace\n", text, flags=re.MULTILINE)
    text = text.replace("\\begin{tabular}", FIT + "\\begin{tabular}").replace("\\end{tabular}", "\\end{tabular}}")
    return text.replace("\\centering", "\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}")


def _style(mark: Mark | None) -> str:
    if mark is None:
        return ""
    return "textbf:--rwrap;" * mark.bold + "underline:--rwrap;" * mark.underline


def _latex_paper(group: pd.DataFrame) -> str:
    return "/".join(text for text in group["printed"] if isinstance(text, str))


def _when_measured(write: Callable[[pd.Series], str]) -> Callable[[pd.DataFrame], str]:
    return lambda group: _ascii(write(group.iloc[0])) if group["state"].iloc[0] == "measured" else ""


def _latex_ours(group: pd.DataFrame) -> str:
    cell = group.iloc[0]
    if cell["state"] == "measured":
        return _ascii(percent(cell["value"])) + ("$^\\dagger$" if cell["dirty"] else "")
    return "" if cell["state"] in SILENT else _escaped(cell["state"])


LATEX_LINES: Mapping[str, Callable[[pd.DataFrame], str]] = {
    "paper": _latex_paper,
    "ours": _latex_ours,
    "difference": _when_measured(lambda cell: points(cell["difference"]) if pd.notna(cell["difference"]) else ""),
    "95 %": _when_measured(_spread),
    "n, seeds": _when_measured(lambda cell: f"{cell['n']}, {counted(cell)}"),
}


def _ascii(text: str) -> str:
    """Symbols as LaTeX has them."""
    return text.replace("%", "\\%").replace("−", "$-$").replace("±", "$\\pm$").replace("→", "$\\to$")


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)


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
    console.print(f"[bold]{study.title}[/], profile {profile}: {profiles.get(profile).caption}", highlight=False)
    short = "The paper's value → ours, in percent; intervals, n and seeds stand in the files."
    text = re.sub(r"\*\*|</?u>", "", legend(frame)) if whole else short
    console.print(text, style="dim", markup=False, highlight=False)
    for _, columns in blocks(study):
        cells = {}
        for place, group in _places(frame, columns):
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
            for column, metric in _heads(study, columns[start : start + fit]):
                table.add_column(f"{column}\n{metric}".strip())
            for row, name in names.items():
                table.add_row(name, *(cells.get((row, column), "") for column in columns[start : start + fit]))
            console.print(table)
    console.print(summary(frame), highlight=False)
