"""The reference layer (paper_tables/reference/*.csv), read strictly: what the paper and others print for each cell.

A score is held as a fraction of 1 beside the text as printed; a count is held as a number (`4.8M` is 4,800,000).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from muppet.errors import UserError, unknown
from muppet.paths import ROOT

# The paper's numbers are no part of the wheel: an installed copy reads those of the checkout that it is run in.
_BESIDE = ROOT / "paper_tables" / "reference"
FOLDER = _BESIDE if _BESIDE.is_dir() else Path("paper_tables", "reference")
TABLES = range(1, 9)
COLUMNS = ("row", "column", "metric", "value", "split", "n", "provenance", "note")

# The outside replication's published column: from this dataset on, every value stands one row too high.
FIRST_SHIFTED = "dbpedia"

Key = tuple[int, str, str, str]  # table, row, column, metric


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One printed value and where it stands."""

    table: int
    row: str
    column: str
    metric: str
    printed: str
    value: float | None  # a fraction of 1 for scores, a number for counts, None for text
    half: float | None  # half a unit of the last printed place, in the unit of `value`
    split: str
    n: int | None  # examples of the evaluation set
    provenance: str
    note: str

    @property
    def key(self) -> Key:
        """What no other row of the layer shares."""
        return (self.table, self.row, self.column, self.metric)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The dataset behind a column of Tables 3 to 5."""

    family: str
    train_rows: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One numbered entry of appendix A.1."""

    number: int
    name: str
    family: str
    train_rows: int | None  # None: an umbrella


@dataclass(frozen=True, kw_only=True)
class Replication:
    """One dataset of the outside replication of the released base checkpoint; scores are fractions of 1."""

    dataset: str
    train_rows: int | None
    evaluation_rows: int | None
    base: float
    published: float  # of the checkpoint, as the source prints it
    realigned: float | None  # after `realign`


def check() -> None:
    """Raise UserError where the paper's numbers are not to be had: a table would be run and then not render."""
    if not FOLDER.is_dir():
        raise UserError(f"{FOLDER}: not here; the studies run in a checkout of the repository")


@lru_cache(maxsize=None)
def table(k: int, folder: Path = FOLDER) -> tuple[Printed, ...]:
    """The printed cells of Table `k`, in the order of the file."""
    if k not in TABLES:
        raise unknown("table", str(k), [str(i) for i in TABLES])
    return _cells(folder / f"table{k}.csv", COLUMNS, k)


@lru_cache(maxsize=None)
def public(folder: Path = FOLDER) -> tuple[Printed, ...]:
    """What other public sources print for the paper's cells."""
    return _cells(folder / "public.csv", ("table", *COLUMNS), None)


@lru_cache(maxsize=None)
def datasets(folder: Path = FOLDER) -> Mapping[tuple[int, str], Dataset]:
    """(table, column) → dataset."""
    path = folder / "datasets.csv"
    known: dict[tuple[int, str], Dataset] = {}
    for where, row in _rows(path, ("table", "column", "family", "train_rows", "provenance", "note")):
        key = (_whole(where, "table", row["table"]), row["column"])
        _once(where, key, known)
        known[key] = Dataset(family=row["family"], train_rows=_whole(where, "train_rows", row["train_rows"]))
    return known


@lru_cache(maxsize=None)
def appendix(folder: Path = FOLDER) -> tuple[Entry, ...]:
    """The entries of appendix A.1 in order."""
    path = folder / "appendix_a1.csv"
    known: dict[int, Entry] = {}
    for where, row in _rows(path, ("number", "name", "family", "train_rows", "provenance", "note")):
        number = _whole(where, "number", row["number"])
        _once(where, number, known)
        size = _whole(where, "train_rows", row["train_rows"]) if row["train_rows"] else None
        known[number] = Entry(number=number, name=row["name"], family=row["family"], train_rows=size)
    return tuple(known.values())


@lru_cache(maxsize=None)
def independent(folder: Path = FOLDER) -> tuple[Replication, ...]:
    """The outside replication (IBM model-recycling, 36 datasets) in the order of its published file."""
    path, scores = folder / "independent.csv", ("roberta_base", "muppet_roberta_base_as_published")
    known: dict[str, Replication] = {}
    names = ("dataset", "train_rows", "evaluation_rows", *scores, "muppet_roberta_base_realigned")
    for where, row in _rows(path, names):
        _once(where, row["dataset"], known)
        base, published = (_fraction(where, name, row[name]) for name in scores)
        sizes = [_whole(where, name, row[name]) if row[name] else None for name in names[1:3]]
        last = names[-1]
        known[row["dataset"]] = Replication(
            dataset=row["dataset"],
            train_rows=sizes[0],
            evaluation_rows=sizes[1],
            base=base,
            published=published,
            realigned=_fraction(where, last, row[last]) if row[last] else None,
        )
    return tuple(known.values())


def realign(names: Sequence[str], published: Sequence[float], first: str = FIRST_SHIFTED) -> list[float | None]:
    """Correct a column whose values, from dataset `first` on, stand one row too high.

    One value was lost at `first` and the ones below moved up; the last row holds the same number as the row above it.
    So `first` gets no value, every later row gets the one printed above it, and the last printed value is dropped.
    """
    start = list(names).index(first)
    if published[-1] != published[-2]:
        raise UserError("the column is not shifted: its last two values differ")
    return [*published[:start], None, *published[start:-1]]


def number(text: str) -> float:
    """A printed number, with the paper's K and M for counts; ValueError when it is none."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KM]?)", text)
    if not match:
        raise ValueError(text)
    return float(match[1]) * {"": 1, "K": 1e3, "M": 1e6}[match[2]]


def _cells(path: Path, columns: Sequence[str], k: int | None) -> tuple[Printed, ...]:
    known: dict[Key, Printed] = {}
    for where, row in _rows(path, columns):
        cell = _cell(where, row, _whole(where, "table", row["table"]) if k is None else k)
        _once(where, cell.key, known)
        known[cell.key] = cell
    return tuple(known.values())


def _cell(where: str, row: Mapping[str, str], k: int) -> Printed:
    text, metric = row["value"], row["metric"]
    for name in ("row", "column", "metric", "value"):
        if not row[name]:
            raise UserError(f"{where}: column `{name}` is empty; fill it in")
    value = half = None
    if metric != "text":
        try:
            value = number(text)
        except ValueError:
            raise UserError(f"{where}: value {text!r} is no number; metric `text` holds words") from None
        unit = 10.0 ** -len(text.rstrip("KM").partition(".")[2]) * {"K": 1e3, "M": 1e6}.get(text[-1], 1)
        scale = 1.0 if metric == "count" else 100.0
        if metric != "count" and value > 100:
            raise UserError(f"{where}: value {text!r} is above 100; scores are printed in percent")
        # Rounded, so that 87.8 is the float 0.878 and equal prints are equal numbers.
        value, half = round(value / scale, 10), unit / 2 / scale
    n = _whole(where, "n", row["n"]) if row["n"] else None
    texts = {name: row[name] for name in ("row", "column", "metric", "split", "provenance", "note")}
    return Printed(table=k, printed=text, value=value, half=half, n=n, **texts)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(`file: row i`, fields) of each line; the header must be `columns`, and each line as long as it."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise UserError(f"{path}: file is missing; restore it from git") from None
    header = lines[0] if lines else []
    if missing := [name for name in columns if name not in header]:
        raise UserError(f"{path}: row 1: column `{missing[0]}` is missing; the header is {','.join(columns)}")
    if extra := [name for name in header if name not in columns]:
        raise UserError(f"{path}: row 1: column `{extra[0]}` is unknown; the header is {','.join(columns)}")
    for i, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise UserError(f"{path}: row {i}: {len(line)} fields where the header has {len(header)}; quote commas")
        yield f"{path}: row {i}", dict(zip(header, line, strict=True))


def _once(where: str, key: object, known: Mapping) -> None:
    if key in known:
        name = " / ".join(map(str, key)) if isinstance(key, tuple) else key
        raise UserError(f"{where}: a second row for {name}; keep one")


def _whole(where: str, name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise UserError(f"{where}: column `{name}` is {text!r}, not a whole number")
    return int(text)


def _fraction(where: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{where}: column `{name}` is {text!r}, which is no number") from None
    if not (math.isfinite(value) and -1 <= value <= 1):
        raise UserError(f"{where}: column `{name}` is {text}, not a fraction of 1")
    return value
