"""Predictions for rows of a user's own, from a fine-tuned folder."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from muppet.data.cache import encode_rows
from muppet.data.sources import Rows
from muppet.errors import UserError, some, unknown
from muppet.families import FAMILIES, Family, summarization
from muppet.families.commonsense import CHOICE, numbered
from muppet.families.encoded import Part, told
from muppet.families.roles import BadRow, Drop, column, listed, texts
from muppet.families.spec import HeadSpec, RowFormat
from muppet.model import MultiTask
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.stages import opening
from muppet.stages.evaluate import predict
from muppet.tasks.task import Row, Task


def predictions(
    folder: str, rows: Sequence[tuple[int, Row]], name: str, head: str | None = None
) -> Iterator[dict[str, Any]]:
    """One answer per (line, row) of the file called `name`, in order, by the head called `head` (by default the only
    one that the folder has).

    Rows have the roles of the head's family (see `muppet predict --help`), or the columns that the head was trained on.
    Raises UserError naming the line of a row that the head cannot read.
    """
    model = MultiTask.load(folder)
    spec = _head(model, folder, head)
    family = FAMILIES[spec.family]
    limit = model.positions() or 512
    like = model.row_formats.get(spec.key) or _unknown(family, rows, min(512, limit))
    task = Task(
        name="input",
        family=family.name,
        path="input",
        classes=spec.classes,
        no_answer=family.no_answer,
        blank=like.blank or "",
        generation=None if spec.has_weights else model.generation,
    )
    opening.fits(model, task)
    given = []
    for line, row in rows:
        try:
            given.append(family.unanswered(task, _roles(family, like, row)))
            family.read(task, given[-1])
        except (BadRow, Drop) as error:
            raise UserError(f"{name} line {line}: {error}") from None
    task = replace(task, columns=tuple((role, role) for role in given[0]))
    with tempfile.TemporaryDirectory() as scratch:
        read = Rows(rows=given, found="input", fingerprint="input", total=len(given))
        encoded = encode_rows(task, read, model.tokenizer, max_length=like.max_length, folder=Path(scratch) / "rows")
        assert encoded.n_examples == len(rows)
        if cut := told(encoded.notes):
            print(f"{name}: {cut}; rows hold {like.max_length} tokens, as in training", file=sys.stderr)
        part = Part(encoded=encoded, units=np.arange(len(encoded.unit_example)))
        device = Device.detect()
        with device.enough(name):
            outputs = predict(model, part, spec, device, Processes())
        yield from (family.answer(encoded, spec, outputs, example) for example in range(len(rows)))


def _head(model: MultiTask, folder: str, head: str | None) -> HeadSpec:
    specs = model.specs()
    if model.seq2seq and (not specs or summarization.SPEC.key in model.row_formats):  # its output layer answers
        specs[summarization.SPEC.key] = summarization.SPEC
    if not specs:
        raise UserError(f"{folder} has no head to answer with; give a folder that finetune or prefinetune wrote")
    if head is not None:
        if head not in specs:
            raise unknown(f"head of {folder}", head, specs)
        return specs[head]
    if len(specs) != 1:
        raise UserError(f"{folder} has {len(specs)} heads; name one with --head: {', '.join(sorted(specs))}")
    return next(iter(specs.values()))


def _unknown(family: Family, rows: Sequence[tuple[int, Row]], length: int) -> RowFormat:
    """The format of a head that is saved without one: the roles that any row has."""
    roles = (role for role in family.may_ask if any(row.get(role) is not None for _, row in rows))
    return RowFormat(max_length=length, roles=tuple(roles))


def _roles(family: Family, like: RowFormat, row: Row) -> Row:
    """What the head reads of a row, by role or by its dataset's columns. Raises BadRow for a row of another kind."""
    columns = dict(like.columns)
    wanted = [*family.asks, *(role for role in family.may_ask if role in (*like.roles, *like.sometimes))]
    given = _as_trained(wanted, columns, row)
    by_role = not given
    for role in wanted:
        value = row.get(role) if by_role else given[role]
        if value is None and by_role and role in columns:
            with contextlib.suppress(BadRow, Drop):
                value = column(row, columns[role])
        if value is None and by_role and role == "choices":
            value = numbered(row) or numbered({r: row.get(c) for r, c in columns.items()}) or None
        if value is None and role not in like.sometimes:
            raise BadRow(f"no {role!r}, which {family.name} rows of this head need; it has {some(row)}")
        given[role] = listed(value) if role in ("choices", "tokens") else value
    if extra := [role for role in family.may_ask if role not in wanted and row.get(role) is not None]:
        raise BadRow(f"it has {extra[0]!r}, and this head was trained on {', '.join(wanted)} alone; leave it out")
    if "tokens" in given and any(
        not word.strip() or word.split() != [word] for word in texts(given["tokens"], "tokens")
    ):
        raise BadRow("`tokens` holds one that is empty or has a space in it; give words")
    return given


def _as_trained(wanted: Sequence[str], columns: dict[str, str], row: Row) -> Row:
    """The roles in the columns that the head was trained on, whatever else in the row is called like a role; empty
    where it lacks one of them. Raises BadRow for a choice that training had no column of."""
    own = {part: name for part, name in columns.items() if CHOICE.fullmatch(part)}
    given: Row = {}
    for role in wanted:
        if role == "choices" and {*own.values()} & row.keys():
            further = (name for name in row if CHOICE.fullmatch(name) and name not in own.values())
            if extra := [name for name in further if row[name] is not None]:
                raise BadRow(
                    f"it has {extra[0]!r}, and this head was trained on {', '.join(own.values())}; leave it out"
                )
            given[role] = numbered({part: row.get(name) for part, name in own.items()}) or None
            continue
        try:
            given[role] = column(row, columns[role])
        except Drop:  # one of the columns that it joins is empty
            given[role] = None
        except (BadRow, KeyError):
            return {}
    return given
