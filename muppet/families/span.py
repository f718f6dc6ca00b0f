"""Extractive question answering: a span of the context, or no answer (paper Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from muppet.errors import short
from muppet.families.encoded import Encoded, Part
from muppet.families.family import Family, Outputs
from muppet.families.layout import Layout
from muppet.families.roles import BadRow, Drop, Example, listed, text, texts
from muppet.families.segments import Window
from muppet.families.spec import HeadSpec
from muppet.tasks.task import Row, Task, occurrences

STRIDE = 128  # tokens that neighbouring windows of a context share (less where rows are short)
LOST = (-1, -1)  # the span of a window whose example has an answer that none of its windows holds
ANSWER_LENGTH = 30  # tokens of a predicted span, at most


class Span(Family):
    """First and last token of the answer in each window."""

    name = "span"
    shared_head = True
    no_example = "answer is no span of the context"
    gold = "answers"
    learns = ("question", "context", "answers")
    may_learn = ("id", "gold")
    asks = ("question", "context")
    unknown: ClassVar[Row] = {"answers": {"text": [], "answer_start": []}}
    no_answer = True

    def read(self, task: Task, row: Row) -> Example:
        question, context = text(row["question"], "question").strip(), text(row["context"], "context")
        if not context:
            raise Drop("empty context")
        answers = row["answers"]
        if not (answers and isinstance(answers, str) and answers in context):  # "[1]" may be an answer
            answers = listed(answers)
        if answers is None or isinstance(answers, str):
            answers = {"text": [answers], "answer_start": [None]} if answers else self.unknown["answers"]
        if not isinstance(answers, dict) or not {"text", "answer_start"} <= answers.keys():
            raise BadRow(
                f"`answers` is {short(answers)}, not {{'text': […], 'answer_start': […]}}; correct the Task's columns"
            )
        given, starts = texts(answers["text"], "answers"), answers["answer_start"]
        whole = isinstance(starts, (list, tuple)) and all(start is None or isinstance(start, int) for start in starts)
        if not whole or len(starts) != len(given):
            raise BadRow(
                f"`answer_start` is {short(starts)}, not a whole number for each of {len(given)} answers; correct it"
            )
        gold = _gold(row["gold"]) if row.get("gold") else given
        if not given and not task.no_answer:
            raise Drop("no answer")
        spans = [span for answer, start in zip(given, starts) if (span := locate(context, answer, start)) is not None]
        if given and not spans:
            raise Drop(self.no_example)
        several = any(
            (start is None or start < 0) and len(occurrences(context, answer.strip())) > 1
            for answer, start in zip(given, starts)
        )
        example = {"id": text(str(row.get("id", "")), "id"), "question": question, "context": context, "spans": spans}
        return example | {"gold": gold, "several": several}

    def rows(self, task: Task, example: Example) -> list[list[str]]:
        return [[example["question"], example["context"]]]  # before long contexts are cut into windows

    def truth(self, task: Task, example: Example) -> str:
        answers = [example["context"][start:end] for start, end in example["spans"]]
        return " | ".join(dict.fromkeys(answers)) or "no answer"

    def lay_out(self, layout: Layout, batch: list[Example]) -> None:
        """One row, and one unit, per window: [CLS] question [SEP] a stretch of the context [SEP]."""
        windows = layout.segmenter.windows([e["question"] for e in batch], [e["context"] for e in batch], STRIDE)
        ids, first = [window.ids for window in windows], [window.first for window in windows]
        layout.segmenter.notes["answers at several places"] += sum(example["several"] for example in batch)
        layout.add(ids, first, [1] * len(windows), [window.example for window in windows])
        spans = [_token_span(window, batch[window.example]["spans"]) for window in windows]
        held = {window.example for window, span in zip(windows, spans) if span != (0, 0)}
        lost = {number for number, example in enumerate(batch) if example["spans"] and number not in held}
        layout.segmenter.notes["answers in no window"] += len(lost)
        spans = [LOST if window.example in lost else span for window, span in zip(windows, spans)]
        layout.writer.append("spans", spans, np.int32, 2)
        layout.writer.append("context", [(window.first, window.last) for window in windows], np.int32, 2)
        if layout.evaluation:
            for window in windows:
                layout.writer.append("char_offsets", window.offsets, np.int32, 2)
        layout.add_gold([{"id": e["id"], "answers": e["gold"], "context": e["context"]} for e in batch])

    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        return HeadSpec(key=key, family=self.name, outputs=2)

    def learnable(self, encoded: Encoded, units: np.ndarray) -> np.ndarray:
        """Windows of an answer that is lost are left out: they would teach that there is none."""
        return units[np.asarray(encoded.spans)[units, 0] != LOST[0]]

    def candidates(self, part: Part) -> np.ndarray:
        bounds = np.asarray(part.encoded.context)[part.units]
        return bounds[:, 1] - bounds[:, 0] + null_counted(part.encoded, part.units)

    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> dict[str, np.ndarray]:
        every = np.arange(len(units))
        bounds, null = np.asarray(encoded.context)[units], null_counted(encoded, units)
        spans = np.asarray(encoded.spans)[units]
        return {
            "targets": np.concatenate([spans[:, 0], spans[:, 1]]).astype(np.int64),
            "unit": np.concatenate([every, every]),
            "n": bounds[:, 1] - bounds[:, 0] + null,
            "first": bounds[:, 0],
            "last": bounds[:, 1],
            "null": null,
        }

    def official(self, metric: str, task: Task) -> str:
        """SQuAD's `em` and `f1` are 2.0's with no-answer questions."""
        if metric in ("em", "f1"):
            return f"squad_v2_{metric}" if task.no_answer else f"squad_{metric}"
        return metric

    def settings(self, task: Task) -> dict[str, Any]:
        return {"answer_tokens": ANSWER_LENGTH}

    def predictions(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> list[Any]:
        """The best window's text; with no-answer questions, with what `_best` says of no answer."""
        gold = encoded.gold()
        best = [_best(encoded, outputs, example, gold[example]["context"]) for example in chosen]
        return [one if encoded.task.no_answer else one[0] for one in best]

    def answer(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, example: int) -> dict[str, Any]:
        ((answer, margin),) = self.predictions(encoded, spec, outputs, [example])
        return {"answer": answer, "no_answer_margin": round(margin, 4)}


def _gold(value: Any) -> list[Any]:
    """Gold answers: texts, or lists of the texts that make up an answer together (DROP)."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, (list, tuple)) for item in value):
        return texts(value, "gold")
    return [texts(item, "gold") for item in value]


def _token_span(window: Window, spans: list[tuple[int, int]]) -> tuple[int, int]:
    """First and last token, in the row, of the first answer that lies whole in the window; (0, 0) when none does.

    An answer that begins or ends beyond the window's tokens, if only with a character that the tokenizer drops, does
    not lie in it, nor does one of nothing else.
    """
    inside = window.offsets[window.first : window.last]
    for start, end in spans:
        if len(inside) and inside[0, 0] <= start and end <= inside[-1, 1]:
            first = int(np.searchsorted(inside[:, 1], start, side="right"))
            last = int(np.searchsorted(inside[:, 0], end, side="left")) - 1
            if first <= last:
                return window.first + first, window.first + last
    return 0, 0


def locate(context: str, answer: str, start: int | None) -> tuple[int, int] | None:
    """Where `answer` is in `context`, as characters (start, end): at `start`, or else nearest to it; None: nowhere.

    Without a `start` it is the first of its `occurrences`.
    """
    answer, lead = answer.strip(), len(answer) - len(answer.lstrip())
    if not answer:
        return None
    if start is None or start < 0:
        return next(((place, place + len(answer)) for place in occurrences(context, answer)), None)
    start += lead
    if context[start : start + len(answer)] == answer:
        return start, start + len(answer)
    before, after = context.rfind(answer, 0, start + len(answer)), context.find(answer, start)
    places = [place for place in (before, after) if place >= 0]
    if not places:
        return None
    nearest = min(places, key=lambda place: abs(place - start))
    return nearest, nearest + len(answer)


def null_counted(encoded: Encoded, units: np.ndarray) -> np.ndarray:
    """[U]: is the first token a candidate? Yes where the dataset has questions without an answer, and where the example
    has several windows (neighbours in `unit_example`), some of which then hold no answer."""
    if encoded.task.no_answer:
        return np.ones(len(units), dtype=bool)
    example = np.asarray(encoded.unit_example)
    before, after = example[np.maximum(units - 1, 0)], example[np.minimum(units + 1, len(example) - 1)]
    own = example[units]
    return ((before == own) & (units > 0)) | ((after == own) & (units < len(example) - 1))


def _best(encoded: Encoded, outputs: Outputs, example: int, context: str) -> tuple[str, float]:
    """The best span of a question's windows, and the lowest window's score of no answer minus that span's score."""
    units = range(encoded.unit(example), encoded.unit(example + 1))
    unit = max(units, key=lambda u: outputs[u][0])
    value, first, last, _ = outputs[unit]
    row = int(encoded.unit_rows[unit])
    assert encoded.char_offsets is not None
    offsets = encoded.char_offsets[encoded.offsets[row] : encoded.offsets[row + 1]]
    return context[int(offsets[first, 0]) : int(offsets[last, 1])], min(outputs[u][3] for u in units) - value
