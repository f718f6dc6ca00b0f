"""Tables 1 and 2: the pre-finetuning datasets, counted, and their losses (paper §3.1, appendix A.1).

    make table1                         counts of the catalogue beside the paper's; no data, no training

Counts are those of the public releases that the catalogue names; evaluation rows are the validation split's, and the
test split's where there is no labelled validation split (P8). Every disagreement with the paper's counts is named, with
what would explain it. `python -m muppet data check` holds the catalogue against the data itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from muppet.result import read
from muppet.tasks import A1, ALL, COPIES, SETS, get
from studies.kit.ledger import reference
from studies.kit.ledger.folder import RESULTS

# Where the catalogue's first evaluation split is a test split, but a labelled validation split exists.
VALIDATION = {"cnn_dailymail": 13368, "xsum": 11332, "aeslc": 1960, "multi_news": 5622}
MEMBERS = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc")  # of SuperGLUE
COLUMNS = ("datasets", "train", "eval")


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
        listed = [name for name in names if name in SETS["table1_46"]]
        ours[row] = {"datasets": len(listed), "train": train_rows(listed), "eval": evaluation_rows(listed)}
    ours["Total"] = {column: sum(row[column] for row in ours.values()) for column in COLUMNS}
    counted = []
    for cell in reference.table(1):
        value = ours[cell.row][cell.column]
        assert cell.value is not None
        half = cell.half or 0
        agrees = abs(value - cell.value) <= half or 0 <= value - cell.value < 2 * half  # 524,543 is printed 524K
        counted.append(Count(row=cell.row, column=cell.column, printed=cell.printed, ours=value, agrees=agrees))
    return counted


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


def windows(folder: Path = RESULTS) -> dict[str, float]:
    """Windows per question of the span sets, as finished pre-finetunings with results in git cut them (P7)."""
    ratios: dict[str, float] = {}
    for profile in ("mini", "paper"):
        for path in sorted((folder / profile / "prefinetune").glob("*.json")):
            for key, data in read(path).data.items():
                name, _, split = key.partition("/")
                if name in ALL and ALL[name].family == "span" and split == ALL[name].train:
                    ratios[name] = data["units"] / data["examples"]
    return ratios


def disagreements(cells: list[Count]) -> list[str]:
    """A line for each count that is not the paper's."""
    why = reasons()
    return [
        f"{cell.row}, {cell.column}: the paper prints {cell.printed}, the catalogue counts {cell.ours:,}. "
        f"{why[cell.row, cell.column]}."
        for cell in cells
        if not cell.agrees
    ]
