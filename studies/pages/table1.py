"""Tables 1 and 2 as Markdown, LaTeX and CSV: the catalogue's counts beside the paper's."""

from __future__ import annotations

import argparse

from muppet.paths import write_text
from muppet.tasks import SETS, get
from studies.kit.ledger import reference
from studies.pages import TABLES, grid
from studies.table1 import COLUMNS, Count, counts, disagreements, evaluation_rows, train_rows, windows

LOSSES = {  # Table 2's rows: what stands for them here
    "Classification": "cross entropy over the dataset's classes, over ln n (Eq. 1)",
    "Summarization": "label-smoothed cross entropy, averaged over tokens, over ln of the vocabulary (Eq. 1)",
    "MRC": "cross entropy of first and last token, their mean, over ln of the context's tokens (Eq. 1)",
    "Commonsense": "cross entropy over the question's choices, each scored by the shared head, over ln n (Eq. 1)",
}


def main(args: argparse.Namespace | None = None) -> int:
    """Write paper_tables/table1.md, .tex and .csv, and print the counts."""
    cells = counts()
    write_text(TABLES / "table1.md", markdown(cells))
    write_text(TABLES / "table1.csv", comma(cells))
    write_text(TABLES / "table1.tex", latex(cells))
    print(_grid(cells, "simple"))
    for line in disagreements(cells):
        print(line)
    print(f"wrote {TABLES}/table1.md, {TABLES}/table1.tex, {TABLES}/table1.csv")
    return 0


def _grid(cells: list[Count], style: str) -> str:
    rows = [
        [row, *(part for cell in cells if cell.row == row for part in (cell.printed, _ours(cell)))]
        for row in dict.fromkeys(cell.row for cell in cells)
    ]
    heads = ["Task type", *(f"{column}, {whose}" for column in COLUMNS for whose in ("paper", "ours"))]
    return grid(rows, heads, style)


def _ours(cell: Count) -> str:
    return f"{cell.ours:,}" + ("" if cell.agrees else " *")


def markdown(cells: list[Count]) -> str:
    """Table 1, its disagreements, Table 2, and every entry of A.1 with its source."""
    cut = windows()
    entries: list[list[str]] = []
    for number, name in enumerate(SETS["a1_47"], start=1):
        task = get(name)
        source = f"[{task.path}](https://huggingface.co/datasets/{task.path}) {task.config}"
        sizes = (f"{train_rows([name]):,}", f"{evaluation_rows([name]):,}")
        revision = task.revision if task.revision and "/" in task.revision else (task.revision or "main")[:7]
        entries.append(
            [str(number), f"`{name}`", task.family, *sizes, source, f"`{revision}`", task.licence, _remarks(name, cut)]
        )
    losses = [[cell.row, cell.printed, LOSSES[cell.row]] for cell in reference.table(2)]
    heads = ["A.1", "Task", "Family here", "Train", "Evaluation", "Source", "Revision", "Licence", "Remarks"]
    parts = [
        "# Tables 1 and 2: what pre-finetuning learns from",
        "Rendered by `make table1` from the catalogue (`muppet/tasks/`); counts are those of the public releases. "
        "Evaluation rows: the validation split, or the test split where no validation split is labelled (P8). "
        "A star marks a count that is not the paper's, rounded as the paper rounds.",
        _grid(cells, "pipe"),
        "## Disagreements",
        "\n".join(f"* {line}" for line in disagreements(cells)),
        "## Table 2: losses",
        grid(losses, ["Task type", "Paper", "Here"]),
        "## The 47 entries of appendix A.1",
        grid(entries, heads),
        "Named sets: "
        + ", ".join(f"`{name}` {len(names)}" for name, names in SETS.items())
        + ". `unique_45`, without the umbrella and MNLI's copy (P4, P5), is what is trained on by default.",
    ]
    return "\n\n".join(parts) + "\n"


def _remarks(name: str, cut: dict[str, float]) -> str:
    parts = [get(name).note] if get(name).note else []
    if name in cut:
        parts.append(f"{cut[name]:.2f} windows a question")
    if name not in SETS["table1_46"]:
        parts.append("not among Table 1's 46")
    return "; ".join(parts)


def comma(cells: list[Count]) -> str:
    """Table 1 as CSV."""
    lines = [f"{c.row},{c.column},{c.printed},{c.ours},{'yes' if c.agrees else 'no'}" for c in cells]
    return "\n".join(["row,column,paper,ours,agrees", *lines]) + "\n"


def latex(cells: list[Count]) -> str:
    """Table 1 with booktabs."""
    rows = []
    for row in dict.fromkeys(cell.row for cell in cells):
        own = [cell for cell in cells if cell.row == row]
        parts = [part for cell in own for part in (cell.printed, _ours(cell).replace(" *", "$^*$"))]
        rows.append(" & ".join([row, *parts]) + r" \\")
    middle = [*rows[:-1], r"\midrule", rows[-1]]
    heads = " & ".join(rf"\multicolumn{{2}}{{c}}{{{column}}}" for column in ("Datasets", "Train", "Evaluation"))
    return "\n".join(
        [
            r"\begin{tabular}{lrrrrrr}",
            r"\toprule",
            rf"Task type & {heads} \\",
            r" & paper & ours" * 3 + r" \\",
            r"\midrule",
            *middle,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )
