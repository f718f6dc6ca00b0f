"""Classification and regression: a text or a pair of texts, and a class or a number."""

from __future__ import annotations

import contextlib
import difflib
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from muppet.errors import UserError, short, some
from muppet.families.encoded import Encoded, Part
from muppet.families.family import Labelled, Outputs, probabilities
from muppet.families.roles import DIGITS, BadRow, Drop, Example, named_by_numbers, text
from muppet.families.spec import HeadSpec, spec_of_classes
from muppet.tasks.task import FamilyName, Row, Task

Label = TypeVar("Label", bound=Hashable)
STEPS = 1000  # that float32 has between the least and the largest number to learn, at least
NOT = ("not_", "non-", "non_")  # before the name of a class: all the others
MOST = 1e37  # of a number to learn: float32 holds the difference of two


class Classification(Labelled):
    """One of the task's classes."""

    name: ClassVar[FamilyName] = "classification"
    has_classes = True
    learns = ("text", "label")
    asks = ("text",)
    may_learn = may_ask = ("pair",)

    def read(self, task: Task, row: Row) -> Example:
        assert task.classes is not None
        label = row["label"]
        if label is None or label in task.unlabelled:
            raise Drop("no label")
        if isinstance(label, (str, int)) and str(label) in task.classes:
            label = task.classes.index(str(label))
        elif isinstance(label, (str, int)) and named_by_numbers(task.classes):
            raise BadRow(f"label {short(label)} is none of the classes {some(task.classes)}; {_correct(label)}")
        if isinstance(label, str):
            if label.isdecimal() and len(label) < DIGITS:
                label = int(label)
            else:
                near = difflib.get_close_matches(label, task.classes, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise BadRow(
                    f"label {short(label)}{hint} is none of the classes {some(task.classes)}; {_correct(label)}"
                )
        if not isinstance(label, int):
            raise BadRow(
                f"label {short(label)} is neither a class number nor a class name; correct the row or the Task"
            )
        if not 0 <= label < len(task.classes):
            last = len(task.classes) - 1
            raise BadRow(f"label {label} is outside the classes 0..{last}; {_correct(label)}")
        return {"text": text(row["text"], "text"), "pair": _pair(row), "label": int(label)}

    def rows(self, task: Task, example: Example) -> list[list[str]]:
        return [[example["text"]] if example["pair"] is None else [example["text"], example["pair"]]]

    def truth(self, task: Task, example: Example) -> str:
        assert task.classes is not None
        return task.classes[example["label"]]

    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        return spec_of_classes(task, key, task.classes)

    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> dict[str, np.ndarray]:
        count = len(units)
        labels = np.asarray(encoded.labels)[units]
        return {"targets": labels, "unit": np.arange(count), "n": np.full(count, spec.outputs)}

    def check_scored(self, spec: HeadSpec, task: Task) -> None:
        class_map(spec, task)

    def predictions(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> list[Any]:
        counts_as = class_map(spec, encoded.task)
        return [counts_as[int(np.argmax(outputs[encoded.unit(example)]))] for example in chosen]

    def guesses(self, train: Part, encoded: Encoded, chosen: Sequence[int], tokenizer: Any) -> list[Any] | None:
        """The majority class of training."""
        if encoded.task.classes != train.encoded.task.classes:
            return None
        return [majority(np.asarray(train.encoded.labels)[train.units].tolist())] * len(chosen)

    def unanswered(self, task: Task, row: Row) -> Row:
        return row | {"label": task.classes[0] if task.classes else 0.0}

    def answer(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, example: int) -> dict[str, Any]:
        scores = probabilities(logits := outputs[encoded.unit(example)])
        names = spec.classes or tuple(map(str, range(len(scores))))
        return {"label": names[int(np.argmax(logits))], "scores": dict(zip(names, scores, strict=True))}


class Regression(Classification):
    """A number. Targets are mapped to [0, 1]; the squared error stays as it is, since Eq. 1 speaks of classes."""

    name = "regression"
    has_classes = False
    label_type = np.float32

    def read(self, task: Task, row: Row) -> Example:
        label = row["label"]
        if label is None or label in task.unlabelled:
            raise Drop("no label")
        if isinstance(label, str) and "_" not in label:  # Python's own digits apart
            with contextlib.suppress(ValueError):
                label = float(label)
        if isinstance(label, (str, bool)) or not isinstance(label, (int, float)) or label != label:  # nan is not itself
            raise BadRow(f"label {short(label)} is not a number; correct the row or the Task's columns")
        if abs(label) > MOST:
            raise BadRow(f"label {short(label)} is larger than {MOST:g}, the most that can be learnt; correct the row")
        return {"text": text(row["text"], "text"), "pair": _pair(row), "label": float(label)}

    def truth(self, task: Task, example: Example) -> str:
        return f"{example['label']:g}"

    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        labels = np.asarray(encoded.labels)
        low, high = float(labels.min()), float(labels.max())
        if low == high:  # nothing correlates with a constant
            raise UserError(
                f"{task.name}: the label of all {len(labels)} training rows is {low:g}; give others too, or subtract a"
                " number from all where they differ past their seventh digit"
            )
        if high - low < STEPS * np.spacing(np.abs(labels).max()):
            raise UserError(
                f"{task.name}: the labels, {low:.9g} to {high:.9g}, differ by too little for their size to be told"
                " apart; subtract a number from all of them"
            )
        return HeadSpec(key=key, family=self.name, outputs=1, low=low, high=high)

    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> dict[str, np.ndarray]:
        count = len(units)
        targets = (np.asarray(encoded.labels)[units] - spec.low) / ((spec.high - spec.low) or 1.0)
        return {"targets": targets.astype(np.float32), "unit": np.arange(count), "n": np.full(count, np.e)}  # ln e = 1

    def predictions(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> list[Any]:
        return [spec.low + float(outputs[encoded.unit(e)]) * (spec.high - spec.low) for e in chosen]

    def guesses(self, train: Part, encoded: Encoded, chosen: Sequence[int], tokenizer: Any) -> list[Any] | None:
        """None: a correlation with a constant is not defined."""
        return None

    def answer(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, example: int) -> dict[str, Any]:
        digits = max(4, 4 - math.floor(math.log10((spec.high - spec.low) or 1.0)))  # of small numbers more
        return {"score": round(self.predictions(encoded, spec, outputs, [example])[0], digits)}


def _correct(label: Any) -> str:
    return f"correct the row or the Task's classes, or say missing=({short(label)},) where it means that there is none"


def _pair(row: Row) -> str | None:
    return text(row["pair"], "pair") if "pair" in row else None


def class_map(spec: HeadSpec, task: Task) -> list[int]:
    """For each class of the head, the class of `task` that it counts as (paper Table 6: one head, several datasets).

    A dataset with a coarser division than the head's has a class named `not_X` or `non-X` that all the head's other
    classes count as. Raises UserError when a class of the head is no class of the task.
    """
    ours, theirs = spec.classes or (), task.classes or ()
    place = {name: i for i, name in enumerate(theirs)}
    finer = {*ours}
    coarse = [(i, name[4:]) for i, name in enumerate(theirs) if name[:4] in NOT and name[4:] in finer]
    counts_as = []
    for name in ours:
        own = place.get(name)
        rest = own if own is not None else next((i for i, other in coarse if other != name), None)
        if rest is None:
            raise UserError(f"head {spec.key!r} predicts {name!r}, which is no class of {task.name} ({some(theirs)})")
        counts_as.append(rest)
    return counts_as


def majority(labels: Sequence[Label]) -> Label:
    """The most frequent label of the training rows, the first seen on a tie. Raises UserError for no labels."""
    if not len(labels):
        raise UserError("the majority of no labels: the training split is empty")
    return Counter(labels).most_common(1)[0][0]
