"""Tables 1 and 2: the pre-finetuning datasets, counted, and their losses (paper §3.1, appendix A.1).

    make table1                         counts of the catalogue beside the paper's; no data, no training

Counts are those of the public releases that the catalogue names; evaluation rows are the validation split's, and the
test split's where there is no labelled validation split (P8). Every disagreement with the paper's counts is named, with
what would explain it. `python -m muppet data check` holds the catalogue against the data itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from muppet.paths import write_text
from muppet.result import read
from muppet.tasks import A1, ALL, COPIES, SETS, get
from studies.kit.ledger import reference

FOLDER = Path("paper_tables")
# Where the catalogue's first evaluation split is a test split, but a labelled validation split exists.
VALIDATION = {"cnn_dailymail": 13368, "xsum": 11332, "aeslc": 1960, "multi_news": 5622}
MEMBERS = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")  # of SuperGLUE
COLUMNS = ("datasets", "train", "eval")
LOSSES = {  # Table 2's rows: what stands for them here
    "Classification": "cross entropy over the dataset's classes, over ln n (Eq. 1)",
    "Summarization": "label-smoothed cross entropy, averaged over tokens, over ln of the vocabulary (Eq. 1)",
    "MRC": "cross entropy of first and last token, their mean, over ln of the context's tokens (Eq. 1)",
    "Commonsense": "cross entropy over the question's choices, each scored by the shared head, over ln n (Eq. 1)",
}


@dataclass(frozen=True, kw_only=True)
class Count:
    """One cell of Table 1: what the paper prints, and what the catalogue counts."""

    row: str
    column: str
    printed: str
    ours: int
    agrees: bool


def train_rows(names: Iterable[str]) -> int:
    """Labelled rows of the training splits."""
    return sum(get(name).train_rows or 0 for name in names)


def evaluation_rows(names: Iterable[str]) -> int:
    """Rows of the evaluation splits, by P8's rule."""
    return sum(VALIDATION.get(name, get(name).evaluation_rows or 0) for name in names)


def counts() -> list[Count]:
    """Table 1 cell by cell. Its 46 datasets are A.1's entries without Multi-News (P3)."""
    ours: dict[str, dict[str, int]] = {}
    for row, names in A1.items():
        counted = [name for name in names if name in SETS["table1_46"]]
        ours[row] = {"datasets": len(counted), "train": train_rows(counted), "eval": evaluation_rows(counted)}
    ours["Total"] = {column: sum(row[column] for row in ours.values()) for column in COLUMNS}
    found = []
    for cell in reference.table(1):
        value = ours[cell.row][cell.column]
        assert cell.value is not None
        half = cell.half or 0
        agrees = abs(value - cell.value) <= half or 0 <= value - cell.value < 2 * half  # 524,543 is printed 524K
        found.append(Count(row=cell.row, column=cell.column, printed=cell.printed, ours=value, agrees=agrees))
    return found


def reasons() -> dict[tuple[str, str], str]:
    """What would explain a disagreement, computed, by row and column of Table 1."""
    classification = [name for name in A1["Classification"] if name != "superglue"]
    once, again = train_rows(classification), train_rows(MEMBERS)
    without = train_rows(name for name in classification if name not in COPIES)
    ranking, swag = train_rows(A1["CommonSense"]), get("swag").train_rows or 0
    spans, cosmos = train_rows(A1["MRC"]), get("cosmos_qa").evaluation_rows or 0
    questions = evaluation_rows(A1["MRC"])
    total = 390_000 - 188_000 - 30_000 - 49_000
    printed = {name: sum(int(c.value or 0) for c in reference.table(1)[:-3] if c.column == name) for name in COLUMNS}
    return {
        ("Classification", "train"): f"P4, P5: the 25 entries beside the umbrella hold {once:,}; SuperGLUE's eight "
        f"counted again ({again:,}) give {once + again:,}, the printed 2.9M; without MNLI's copy: {without:,}",
        ("Classification", "eval"): "P8: the splits are not said, and many conventions give 188K",
        ("MRC", "train"): "P7: NQ and TriviaQA have several public forms, and no combination gives 1.05M; windows of "
        f"long contexts may have been counted, questions are {spans:,}",
        ("MRC", "eval"): f"P1: 123M is a misprint for 123K, as the total less the other rows is {total:,}; the six "
        f"validation splits hold {questions:,}, and windows may have been counted here too",
        ("CommonSense", "train"): f"P6: SWAG counted twice ({swag:,} more) gives {ranking + swag:,}",
        ("CommonSense", "eval"): f"P6: {cosmos:,} rows more, as many as Cosmos QA's validation split, give "
        f"{evaluation_rows(A1['CommonSense']) + cosmos:,}",
        ("Total", "train"): f"The printed rows sum to {printed['train']:,}; see the three rows above",
        ("Total", "eval"): "The sum of the rows above",
    }


def windows(folder: Path = Path("results")) -> dict[str, float]:
    """Windows per question of the span sets, as finished pre-finetunings with results in git cut them (P7)."""
    found: dict[str, float] = {}
    for profile in ("mini", "paper"):
        for path in sorted((folder / profile / "prefinetune").glob("*.json")):
            for key, data in read(path).data.items():
                name, _, split = key.partition("/")
                if name in ALL and ALL[name].family == "span" and split == ALL[name].train:
                    found[name] = data["units"] / data["examples"]
    return found


def main(args: argparse.Namespace | None = None) -> int:
    """Write paper_tables/table1.md, .tex and .csv, and print the counts."""
    FOLDER.mkdir(exist_ok=True)
    cells = counts()
    write_text(FOLDER / "table1.md", markdown(cells))
    write_text(FOLDER / "table1.csv", comma(cells))
    write_text(FOLDER / "table1.tex", latex(cells))
    print(_grid(cells, "simple"))
    for line in disagreements(cells):
        print(line)
    print(f"wrote {FOLDER}/table1.md, {FOLDER}/table1.tex, {FOLDER}/table1.csv")
    return 0


def disagreements(cells: list[Count]) -> list[str]:
    """A line for each count that is not the paper's."""
    why = reasons()
    return [
        f"{cell.row}, {cell.column}: the paper prints {cell.printed}, the catalogue counts {cell.ours:,}. "
        f"{why[cell.row, cell.column]}."
        for cell in cells
        if not cell.agrees
    ]


def _grid(cells: list[Count], style: str) -> str:
    from tabulate import tabulate

    rows = [
        [row, *(part for cell in cells if cell.row == row for part in (cell.printed, _ours(cell)))]
        for row in dict.fromkeys(cell.row for cell in cells)
    ]
    heads = ["Task type", *(f"{column}, {whose}" for column in COLUMNS for whose in ("paper", "ours"))]
    return tabulate(rows, headers=heads, tablefmt=style, disable_numparse=True)


def _ours(cell: Count) -> str:
    return f"{cell.ours:,}" + ("" if cell.agrees else " *")


def markdown(cells: list[Count]) -> str:
    """Table 1, its disagreements, Table 2, and every entry of A.1 with its source."""
    from tabulate import tabulate

    def table(rows: list[list[str]], heads: list[str]) -> str:
        return tabulate(rows, headers=heads, tablefmt="pipe", disable_numparse=True)

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
    return "\n".join(
        [
            "# Tables 1 and 2: what pre-finetuning learns from",
            "",
            "Rendered by `make table1` from the catalogue (`muppet/tasks/`); counts are those of the public releases. "
            "Evaluation rows: the validation split, or the test split where no validation split is labelled (P8). "
            "A star marks a count that is not the paper's, rounded as the paper rounds.",
            "",
            _grid(cells, "pipe"),
            "",
            "## Disagreements",
            "",
            *(f"* {line}" for line in disagreements(cells)),
            "",
            "## Table 2: losses",
            "",
            table(losses, ["Task type", "Paper", "Here"]),
            "",
            "## The 47 entries of appendix A.1",
            "",
            table(entries, heads),
            "",
            "Named sets: "
            + ", ".join(f"`{name}` {len(names)}" for name, names in SETS.items())
            + ". `unique_45`, without the umbrella and MNLI's copy (P4, P5), is what is trained on by default.",
            "",
        ]
    )


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
