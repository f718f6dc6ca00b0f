"""Predictions for rows of a user's own, from a fine-tuned folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from muppet.data.cache import encode_rows
from muppet.data.sources import Rows
from muppet.errors import UserError, unknown
from muppet.families import FAMILIES, Family, summarization
from muppet.families.encoded import Part
from muppet.families.spec import HeadSpec
from muppet.model import MultiTask
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.stages.evaluate import predict
from muppet.tasks.task import Row, Task


def read_rows(file: TextIO, name: str) -> list[dict[str, Any]]:
    """JSON lines → rows; raises UserError naming file and line."""
    rows = []
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{name} line {number}: not JSON ({error.msg}); give one JSON object a line") from None
        if not isinstance(row, dict):
            raise UserError(f"{name} line {number}: {type(row).__name__}, not a JSON object")
        rows.append(row)
    if not rows:
        raise UserError(f"{name}: no rows; give one JSON object a line")
    return rows


def predictions(folder: str, rows: Sequence[dict[str, Any]], head: str | None = None) -> Iterator[dict[str, Any]]:
    """One answer per row, in order, by the head called `head` (by default the only one that the folder has).

    Rows hold `text` and perhaps `pair` (classification, regression), `choices` and perhaps `context` or `question`
    (commonsense), `question` and `context` (span), `tokens` (tagging, parsing), `source` (summarization).
    """
    model = MultiTask.load(folder)
    spec = _head(model, folder, head)
    family = FAMILIES[spec.family]
    given = _given(family, rows)
    task = Task(
        name="input",
        family=family.name,
        path="input",
        columns=tuple((role, role) for role in given[0]),
        classes=spec.classes,
        no_answer=family.no_answer,
        generation=None if spec.has_weights else model.generation,
    )
    length = min(512, model.positions() or 512)
    with tempfile.TemporaryDirectory() as scratch:
        read = Rows(rows=given, found="input", fingerprint="input", total=len(given))
        encoded = encode_rows(task, read, model.tokenizer, max_length=length, folder=Path(scratch) / "rows")
        if encoded.n_examples != len(rows):
            raise UserError(
                f"{len(rows) - encoded.n_examples} rows give no example ({encoded.dropped}); correct them or leave"
                " them out"
            )
        part = Part(encoded=encoded, units=np.arange(len(encoded.unit_example)))
        outputs = predict(model, part, spec, Device.detect(), Processes())
        yield from (family.answer(encoded, spec, outputs, example) for example in range(len(rows)))


def _head(model: MultiTask, folder: str, head: str | None) -> HeadSpec:
    specs = model.specs()
    if head is not None:
        if head not in specs:
            raise unknown(f"head of {folder}", head, specs)
        return specs[head]
    if not specs and model.seq2seq:
        return summarization.SPEC
    if len(specs) != 1:
        raise UserError(
            f"{folder} has {len(specs)} heads; name one with --head: {', '.join(sorted(specs)) or 'none is there'}"
        )
    return next(iter(specs.values()))


def _given(family: Family, rows: Sequence[Row]) -> list[Row]:
    """What the family reads of each row, with something in the place of the answer."""
    names = [*family.asks, *(role for role in family.may_ask if any(role in row for row in rows))]
    for number, row in enumerate(rows, start=1):
        if lacking := sorted(set(names) - set(row)):
            raise UserError(
                f"row {number}: no {', '.join(map(repr, lacking))}, which {family.name} rows need; it has {sorted(row)}"
            )
    return [family.unanswered({name: row[name] for name in names}) for row in rows]
