"""Predictions for rows of a user's own, from a fine-tuned folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from muppet.data.cache import Encoded, Rows, encode_rows
from muppet.errors import UserError, unknown
from muppet.model.heads import HeadSpec
from muppet.model.multitask import MultiTask
from muppet.runtime.device import Device
from muppet.runtime.distributed import Processes
from muppet.stages.evaluate import one_line, predict, window_text, word_tags
from muppet.tasks.task import Family, Task
from muppet.training.batching import Part
from muppet.trees import decode

# What a row must hold, and what stands in for the answer that is not known yet.
ROLES: dict[Family, tuple[tuple[str, ...], dict[str, Any]]] = {
    "classification": (("text",), {"label": 0}),
    "regression": (("text",), {"label": 0.0}),
    "commonsense": (("choices",), {"label": 0}),
    "span": (("question", "context"), {"answers": {"text": [], "answer_start": []}}),
    "tagging": (("tokens",), {}),
    "parsing": (("tokens",), {}),
    "summarization": (("source",), {"target": "-"}),
}


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
    family: Family = "summarization" if spec is None else spec.family
    task, given = _as_task(family, spec, rows)
    if spec is None:
        task = replace(task, generation=model.generation)
    length = min(512, model.positions() or 512)
    with tempfile.TemporaryDirectory() as scratch:
        found = Rows(rows=given, found="input", fingerprint="input", total=len(given))
        encoded = encode_rows(task, found, model.tokenizer, max_length=length, folder=Path(scratch) / "rows")
        if encoded.n_examples != len(rows):
            raise UserError(
                f"{len(rows) - encoded.n_examples} rows give no example ({encoded.dropped}); mend or leave them out"
            )
        part = Part(encoded=encoded, units=np.arange(len(encoded.unit_example)))
        outputs = predict(model, part, spec, Device.detect(), Processes())
        yield from (_answer(spec, encoded, outputs, example) for example in range(len(rows)))


def _head(model: MultiTask, folder: str, head: str | None) -> HeadSpec | None:
    specs = model.specs()
    if head is not None:
        if head not in specs:
            raise unknown(f"head of {folder}", head, specs)
        return specs[head]
    if not specs and model.seq2seq:
        return None
    if len(specs) != 1:
        raise UserError(
            f"{folder} has {len(specs)} heads; name one with --head: {', '.join(sorted(specs)) or 'none is there'}"
        )
    return next(iter(specs.values()))


def _as_task(
    family: Family, spec: HeadSpec | None, rows: Sequence[dict[str, Any]]
) -> tuple[Task, list[dict[str, Any]]]:
    needed, unknown_answer = ROLES[family]
    names = set(needed) | {role for role in ("pair", "context", "question") if any(role in row for row in rows)}
    if family in ("tagging", "parsing", "summarization"):
        names = set(needed)
    given = []
    for number, row in enumerate(rows, start=1):
        lacking = sorted(names - set(row))
        if lacking:
            raise UserError(
                f"row {number}: no {', '.join(map(repr, lacking))}, which {family} rows need; it has {sorted(row)}"
            )
        plain = {name: row[name] for name in names} | unknown_answer
        if family == "tagging":
            plain["tags"] = [0] * len(row["tokens"])
        if family == "parsing":
            words = (word.replace("(", "-LRB-").replace(")", "-RRB-") for word in row["tokens"])
            plain = {"tree": "(TOP " + " ".join(f"(XX {word})" for word in words) + ")"}
        given.append(plain)
    classes = spec.classes if spec is not None and family in ("classification", "tagging") else None
    columns = tuple((name, name) for name in given[0])
    task = Task(
        name="input", family=family, path="input", columns=columns, classes=classes, no_answer=family == "span" or None
    )
    return task, given


def _answer(spec: HeadSpec | None, encoded: Encoded, outputs: dict[int, Any], example: int) -> dict[str, Any]:
    units = np.flatnonzero(encoded.unit_example == example).tolist()
    if spec is None:
        return {"summary": outputs[units[0]]}
    if spec.family == "span":
        text, null = window_text(encoded, outputs, units, encoded.gold()[example]["context"])
        return {"answer": text, "no_answer_margin": round(null, 4)}
    if spec.family == "regression":
        return {"score": round(spec.low + float(outputs[units[0]]) * (spec.high - spec.low), 4)}
    if spec.family in ("tagging", "parsing"):
        tags, words = word_tags(encoded, spec, outputs[units[0]], units[0]), encoded.gold()[example]["tokens"]
        return {"tags": tags} if spec.family == "tagging" else {"tree": one_line(decode(words, None, tags))}
    logits = np.asarray(outputs[units[0]], dtype=np.float64)
    shares = np.exp(logits - logits.max())
    scores = [round(float(share), 4) for share in shares / shares.sum()]
    if spec.family == "commonsense":
        return {"choice": int(logits.argmax()), "scores": scores}
    names = spec.classes or tuple(map(str, range(len(scores))))
    return {"label": names[int(logits.argmax())], "scores": dict(zip(names, scores, strict=True))}
