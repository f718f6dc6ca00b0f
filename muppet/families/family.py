"""What a family of tasks is: all that depends on it, from a dataset's row to its score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from muppet.families.encoded import Encoded, Part
from muppet.families.layout import Layout
from muppet.families.roles import Example
from muppet.families.spec import HeadSpec, check_n
from muppet.metrics import METRICS, score
from muppet.tasks.task import FamilyName, Row, Task

Outputs = Mapping[int, Any]  # unit → what the model says of it, see `stages.evaluate.predict`


class Family(ABC):
    """One way in which examples are read, laid out as rows, learnt and scored. Values: one object per family.

    The head itself, which needs torch, is `model.heads.HEADS[name]`.
    """

    name: ClassVar[FamilyName]
    shared_head: ClassVar[bool] = False  # all datasets of the family train one head (paper §3.1)
    needs_decoder: ClassVar[bool] = False
    no_example: ClassVar[str] = "row without an example"  # the reason counted when a Task's `rows` gives nothing
    gold: ClassVar[str] = ""  # what of a gold line the metrics compare with; labels have none
    learns_from_gold: ClassVar[bool] = False  # whether `guesses` reads the gold lines of the training rows
    has_classes: ClassVar[bool] = False  # whether a Task declares the classes
    learns: ClassVar[tuple[str, ...]]  # the roles of a training row,
    may_learn: ClassVar[tuple[str, ...]] = ()  # and those that it may have
    asks: ClassVar[tuple[str, ...]]  # the roles that a user's row holds,
    may_ask: ClassVar[tuple[str, ...]] = ()  # those that it may hold,
    unknown: ClassVar[Row] = {}  # what stands in the place of the answer,
    no_answer: ClassVar[bool | None] = None  # and `Task.no_answer` of such rows

    # -- data

    @abstractmethod
    def read(self, task: Task, row: Row) -> Example:
        """The example of a row whose keys are roles. Raises `Drop` for one to leave out, `BadRow` for a wrong one."""

    @abstractmethod
    def rows(self, task: Task, example: Example) -> list[list[str]]:
        """The model's rows of an example: [CLS] text [SEP], or [CLS] text [SEP] second text [SEP]."""

    def texts(self, task: Task, example: Example) -> list[str]:
        """All texts of an example."""
        return [text for row in self.rows(task, example) for text in row]

    @abstractmethod
    def truth(self, task: Task, example: Example) -> str:
        """The right answer, for a reader."""

    @abstractmethod
    def lay_out(self, layout: Layout, batch: list[Example]) -> None:
        """Write rows, units and what is learnt of some examples; with `layout.evaluation` their gold lines too."""

    # -- training

    @abstractmethod
    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        """The head called `key` that `task` trains, as its training split says."""

    def learnable(self, encoded: Encoded, units: np.ndarray) -> np.ndarray:
        """Those of `units` that can be trained on."""
        return units

    def candidates(self, part: Part) -> np.ndarray | None:
        """[U] candidates of each unit's decision; None when they are the head's classes."""
        return None

    def check(self, part: Part) -> None:
        """Refuse units for which Eq. 1 divides by ln 1: a question of one choice, a context of one token."""
        if (n := self.candidates(part)) is not None and len(n):
            worst = int(n.argmin())
            check_n(int(n[worst]), f"{part.name}, example {int(part.encoded.unit_example[part.units[worst]])}")

    @abstractmethod
    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> dict[str, np.ndarray]:
        """The numbers beside the tokens that the family's head needs for `units` [U], in order.

        Always `targets` and `unit` (see `losses.categorical`) and, except for summaries, `n` [U], Eq. 1's count.
        """

    # -- evaluation

    def official(self, metric: str, task: Task) -> str:
        """The name in `muppet.metrics` of a metric of `task`."""
        return metric

    def check_scored(self, spec: HeadSpec, task: Task) -> None:
        """Raise UserError when the head cannot be scored on `task`, another dataset of its family."""
        assert spec.family == task.family

    def settings(self, task: Task) -> dict[str, Any]:
        """How answers are decoded, for the result."""
        return {}

    @abstractmethod
    def predictions(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> list[Any]:
        """What the model says of the examples `chosen`, as the metrics take it."""

    def references(self, encoded: Encoded, chosen: Sequence[int]) -> list[Any]:
        """What is right, as the metrics take it."""
        gold = encoded.gold()
        return [gold[example][self.gold] for example in chosen]

    def guesses(self, train: Part, encoded: Encoded, chosen: Sequence[int], tokenizer: Any) -> list[Any] | None:
        """What could be said without a model; None where there is nothing."""
        return None

    def trivial(self, train: Part, part: Part, tokenizer: Any) -> dict[str, float]:
        """Metric → score of those guesses on `part`, to stand beside a model's; empty where there are none. By our own
        metrics alone: one of the Hub may refuse what is no model's, and would take the trained model's result with it.
        """
        task, chosen = part.encoded.task, part.examples()
        guesses = self.guesses(train, part.encoded, chosen, tokenizer)
        if guesses is None:
            return {}
        references = self.references(part.encoded, chosen)
        names = {metric: self.official(metric, task) for metric in task.metrics}
        return {metric: score(name, guesses, references).value for metric, name in names.items() if name in METRICS}

    # -- a user's own rows

    def unanswered(self, task: Task, row: Row) -> Row:
        """`row`, which holds what the family `asks`, with something that `task` knows in the place of the answer."""
        return row | self.unknown

    @abstractmethod
    def answer(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, example: int) -> dict[str, Any]:
        """What is printed for one example."""


class Labelled(Family):
    """The families whose answer is one number: the label of the example's only unit."""

    label_type: ClassVar[type] = np.int64

    def lay_out(self, layout: Layout, batch: list[Example]) -> None:
        layout.add_texts([self.rows(layout.task, example) for example in batch])
        layout.writer.append("labels", [example["label"] for example in batch], self.label_type)
        layout.add_gold([{} for _ in batch])

    def references(self, encoded: Encoded, chosen: Sequence[int]) -> list[Any]:
        return np.asarray(encoded.labels)[[encoded.unit(example) for example in chosen]].tolist()


def probabilities(logits: Any) -> list[float]:
    """Softmax, to four digits."""
    exact = np.asarray(logits, dtype=np.float64)
    shares = np.exp(exact - exact.max())
    return [round(float(share), 4) for share in shares / shares.sum()]
