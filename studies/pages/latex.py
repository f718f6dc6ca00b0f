"""A table study as booktabs tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pandas as pd

from studies.kit import profiles
from studies.kit.study import Study
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

FIT = "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%\n"  # closed after the tabular


def latex(study: Study, profile: str, frame: pd.DataFrame) -> str:
    """The study as booktabs tables, a few lines per row, each shrunk to the width of the text where it is wider."""
    parts = [f"% {study.title}, profile {profile}. Needs \\usepackage{{booktabs,graphicx}}."]
    frame = shown(profile, frame)
    for number, (title, columns) in enumerate(blocks(study, frame)):
        parts.append(_latex_block(study, profile, frame[frame["column"].isin(columns)], columns, title, number))
    return "\n".join(parts)


def _latex_block(study: Study, profile: str, frame: pd.DataFrame, columns: list[str], title: str, number: int) -> str:
    lines: list[tuple[str, str]] = []
    table: list[list[str]] = []
    styles: list[list[str]] = []
    marks = {"paper": marked(study, frame, "paper"), "ours": marked(study, frame)}
    groups = dict(places(frame, columns))
    for row in [row for row in study.rows if any((row, column) in groups for column in columns)]:
        for line, write in LATEX_LINES.items():
            texts = [write(groups[row, column]) if (row, column) in groups else "" for column in columns]
            if any(texts):
                lines.append((row, line))
                table.append(texts)
                styles.append([_style(marks.get(line, {}).get((row, column))) for column in columns])
    if not lines:
        return "% no cell of these columns is in the profile"
    index = pd.MultiIndex.from_tuples(lines)
    heads = [f"{column} ({metric})" if metric else column for column, metric in column_heads(study, columns)]
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


def _when_measured(write: Callable[[pd.Series], str], between: str = "/") -> Callable[[pd.DataFrame], str]:
    def each(group: pd.DataFrame) -> str:
        if group["state"].iloc[0] != "measured":
            return ""
        return _ascii(between.join(filter(None, (write(cell) for _, cell in group.iterrows()))))

    return each


def _latex_ours(group: pd.DataFrame) -> str:
    cell = group.iloc[0]
    if cell["state"] == "measured":
        return _ascii("/".join(map(percent, group["value"]))) + ("$^\\dagger$" if cell["dirty"] else "")
    return "" if cell["state"] in SILENT else _escaped(cell["state"])


LATEX_LINES: Mapping[str, Callable[[pd.DataFrame], str]] = {
    "paper": printed,
    "ours": _latex_ours,
    "difference": _when_measured(lambda cell: points(cell["difference"]) if pd.notna(cell["difference"]) else ""),
    "95 %": _when_measured(spread_of, " "),
    "n, seeds": lambda group: _when_measured(lambda cell: f"{cell['n']}, {counted(cell)}")(group.head(1)),
}


def _ascii(text: str) -> str:
    """Symbols as LaTeX has them."""
    return text.replace("%", "\\%").replace("−", "$-$").replace("±", "$\\pm$").replace("→", "$\\to$")


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text)
