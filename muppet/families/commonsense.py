"""Commonsense and other multiple choice: one row per choice, and which of them is right (paper Table 2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from muppet.errors import short
from muppet.families.encoded import Encoded, Part
from muppet.families.family import Labelled, Outputs, probabilities
from muppet.families.roles import DIGITS, BadRow, Drop, Example, listed, text, texts
from muppet.families.spec import HeadSpec
from muppet.tasks.task import Row, Task

CHOICE = re.compile(r"choice\d+")  # the roles of choices that have a column each, in the order of their numbers


class Commonsense(Labelled):
    """One of an example's own choices, however many."""

    name = "commonsense"
    shared_head = True
    learns = ("choices", "label")
    may_learn = ("context", "question", "keys")
    asks = ("choices",)
    may_ask = ("context", "question")
    unknown: ClassVar[Row] = {"label": 0}

    def read(self, task: Task, row: Row) -> Example:
        """The context against each choice; with a question between the two, the question goes with the choice."""
        if "choices" in row:
            choices = texts(row["choices"], "choices")
        else:
            choices = [text(choice, "choice") for choice in numbered(row)]
        if len(choices) < 2:
            raise Drop("fewer than two choices")
        if row["label"] in task.unlabelled:
            raise Drop("no label")
        label = _right(row["label"], len(choices), row.get("keys"))
        context, question = row.get("context"), row.get("question")
        if context and question:
            choices = [asked(text(question, "question"), choice, task.filled) for choice in choices]
            return {"text": text(context, "context"), "choices": choices, "label": label}
        role = "context" if context else "question"
        return {"text": text(context or question, role), "choices": choices, "label": label}

    def rows(self, task: Task, example: Example) -> list[list[str]]:
        return [[example["text"], choice] for choice in example["choices"]]

    def texts(self, task: Task, example: Example) -> list[str]:
        return [example["text"], *example["choices"]]

    def truth(self, task: Task, example: Example) -> str:
        return f"row {example['label'] + 1} of {len(example['choices'])}"

    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        return HeadSpec(key=key, family=self.name, outputs=1)

    def candidates(self, part: Part) -> np.ndarray:
        return np.diff(part.encoded.unit_rows)[part.units]

    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> dict[str, np.ndarray]:
        every, choices = np.arange(len(units)), encoded.unit_rows[units + 1] - encoded.unit_rows[units]
        return {
            "targets": np.asarray(encoded.labels)[units],
            "unit": every,
            "n": choices,
            "row_unit": np.repeat(every, choices),
            "row_choice": np.concatenate([np.arange(c) for c in choices]),
            "widest": np.array(choices.max()),
        }

    def predictions(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> list[Any]:
        return [int(np.argmax(outputs[encoded.unit(example)])) for example in chosen]

    def trivial(self, train: Part, part: Part, tokenizer: Any) -> dict[str, float]:
        """What a guess among the choices has on average."""
        known = "accuracy" in part.encoded.task.metrics
        return {"accuracy": float((1 / self.candidates(part)).mean())} if known else {}

    def answer(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, example: int) -> dict[str, Any]:
        scores = outputs[encoded.unit(example)]
        return {"choice": int(np.argmax(scores)), "scores": probabilities(scores)}


def numbered(row: Row) -> list[Any]:
    """The choices that have a column each, in the order of their numbers, without the empty ones at the end."""
    choices = [row[role] for role in sorted(filter(CHOICE.fullmatch, row), key=lambda role: int(role[6:]))]
    while choices and choices[-1] is None:  # a question with fewer choices than there are columns
        choices.pop()
    return choices


def asked(question: str, choice: str, blank: str | None) -> str:
    """A choice in the first `blank` of a question, however long it is drawn; behind a question without one.

    What stands inside a word (`user_name`) is no blank; one that ends a word (RACE's "was written by_.") is a word.
    """
    line = f"(?:{re.escape(blank or ' ')})+(?!\\w)"
    place = blank and (re.search(rf"(?<!\w){line}", question) or re.search(line, question))
    if not place:
        return f"{question} {choice}"
    before, after = question[: place.start()], question[place.end() :]
    return before + " " * before[-1:].isalnum() + choice + " " * after[:1].isalnum() + after


def _right(label: Any, n: int, keys: Any) -> int:
    """The index of the right choice, from an index, a letter, or one of `keys`."""
    if label is None:
        raise Drop("no label")
    if keys is not None:
        keys = listed(keys)
        if not isinstance(keys, (list, tuple)):
            raise BadRow(f"`keys` is {short(keys)}, not a list; correct the data or the Task's columns")
        if label not in keys or keys.index(label) >= n:
            raise BadRow(
                f"answer key {label!r} names no choice; the choices are {', '.join(map(repr, keys))}; correct the row"
            )
        return keys.index(label)
    if isinstance(label, str) and label.strip().isdecimal() and len(label) < DIGITS:
        index = int(label)
    elif isinstance(label, str) and len(label) == 1 and label.isascii():
        index = ord(label.upper()) - ord("A")
    elif isinstance(label, int):
        index = int(label)
    else:
        raise BadRow(
            f"answer key {short(label)} is neither a number nor a letter; correct the row or the Task's columns"
        )
    if not 0 <= index < n:
        raise BadRow(f"answer key {label!r} names no choice; the row has {n} choices; correct the row")
    return index
