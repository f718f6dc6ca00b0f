"""Files of rows: CSV, TSV, JSON lines and Parquet, read strictly, each row with the line it stands on.

A cell of a CSV or TSV file is a text, and none when it is empty; a list stands in it as JSON. TSV knows no quotes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from muppet.errors import UserError, json_object
from muppet.tasks.task import Row

KINDS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".parquet": "parquet"}


def read(file: Path) -> Any:
    """The rows of a file of one's own, as `read_shard` gives them. Raises UserError where it has none."""
    rows = read_shard(file)
    if not len(rows):
        raise UserError(f"{file}: no rows; give a table with rows")
    return rows


def even(table: Any) -> Any:
    """Rows as a table has them: each with the columns of all, null where a row of JSON lacks one."""
    if not isinstance(table, list):
        return table
    names = dict.fromkeys(name for row in table for name in row)
    return [row if len(row) == len(names) else names | row for row in table]


def read_shard(file: Path) -> Any:
    """The rows of a file: an Arrow table of a Parquet file, which may be empty as one of several, a list of any other.

    Raises UserError naming the line, and for a suffix that is none of `KINDS`.
    """
    what = KINDS.get(file.suffix.lower())
    if what is None:
        raise UserError(f"{file}: rows are read from {', '.join(KINDS)} files; rename or convert it")
    if not file.is_file():
        raise UserError(f"{file}: no such file")
    if what == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(file)
            table.validate(full=True)  # that texts are UTF-8, which a writer may have left unseen
            return table
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{file}: cannot be read as parquet ({str(error).splitlines()[0]}); get it again") from None
    return [row for _, row in parse(file.read_bytes(), str(file), what)]


def parse(data: bytes, name: str, what: str) -> list[tuple[int, Row]]:
    """(line, row) of the rows in `data`; `name` is what errors call it. A UTF-8 byte order mark is passed over."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name} line {line}: not UTF-8 (byte {data[error.start]:#04x}); save it as UTF-8") from None
    rows = list(_objects(text, name) if what == "jsonl" else _cells(text, name, what))
    if not rows:
        raise UserError(f"{name}: no rows; give {'one JSON object a line' if what == 'jsonl' else 'a header and rows'}")
    return rows


def _objects(text: str, name: str) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=json_object)
        except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError
            why = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))
            raise UserError(f"{name} line {number}: not JSON ({why}); give one JSON object a line") from None
        if not isinstance(row, dict):
            raise UserError(f"{name} line {number}: {type(row).__name__}, not a JSON object; give one a line")
        yield number, row


def _cells(text: str, name: str, what: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(2**31 - 1)  # a cell may be a book
    quoted, source = what == "csv", io.StringIO(text, newline="")
    lines = csv.reader(source, strict=True) if quoted else csv.reader(source, delimiter="\t", quoting=csv.QUOTE_NONE)
    number = 1
    try:
        header = next(lines, [])
        if twice := sorted({cell for cell in header if header.count(cell) > 1}):  # one without a name is an index
            raise UserError(f"{name} line 1: column {twice[0]!r} stands twice; name the columns")
        while True:
            number = lines.line_num + 1
            cells = next(lines, None)
            if cells is None:
                return
            if cells and len(cells) != len(header):
                raise UserError(
                    f"{name} line {number}: {len(cells)} cells, where the header has {len(header)}; quote cells that"
                    " hold the separator"
                )
            if cells:
                yield number, {column: cell or None for column, cell in zip(header, cells)}
    except csv.Error as error:
        raise UserError(f"{name} line {number}: not {what.upper()} ({error}); correct it") from None


def write(rows: Sequence[Row], what: str) -> str:
    """Rows as the text of a `jsonl` or `csv` file; in CSV, what is no text or number is JSON."""
    if what == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    out = io.StringIO(newline="")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines: list[list[Any]] = [columns]
    for row in rows:
        cells = (row.get(name) for name in columns)
        lines.append([json.dumps(c, ensure_ascii=False) if isinstance(c, (list, dict)) else c for c in cells])
    bare = any("\r" in cell for line in lines for cell in line if isinstance(cell, str))  # csv quotes it from 3.13 on
    quoting: Any = csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL
    csv.writer(out, lineterminator="\n", quoting=quoting).writerows(lines)
    return out.getvalue()
