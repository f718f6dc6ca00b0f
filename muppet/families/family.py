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
from muppet.metrics import score
from muppet.tasks.task import FamilyName, Row, Task

Outputs = Mapping[int, Any]  # unit → what the model says of it, see `stages.evaluate.predict`
Fields = dict[str, np.ndarray]


class Family(ABC):
    """One way in which examples are read, laid out as rows, learnt and scored. Values: one object per family.

    The head itself, which needs torch, is `model.heads.HEADS[name]`.
    """

    name: ClassVar[FamilyName]
    layout: ClassVar[type[Layout]]
    shared_head: ClassVar[bool] = False  # all datasets of the family train one head (paper §3.1)
    needs_decoder: ClassVar[bool] = False
    no_example: ClassVar[str] = "row without an example"  # the reason counted when a Task's `rows` gives nothing
    learns_from_gold: ClassVar[bool] = False  # whether `trivial` reads what evaluation keeps of the training rows
    asks: ClassVar[tuple[str, ...]]  # the roles that a user's row holds
    may_ask: ClassVar[tuple[str, ...]] = ()  # and those that it may hold
    no_answer: ClassVar[bool | None] = None  # `Task.no_answer` of a user's rows

    # -- data

    @abstractmethod
    def read(self, task: Task, row: Row) -> Example:
        """The example of a row whose keys are roles. Raises `Drop` for one to leave out, `BadRow` for a wrong one."""

    @abstractmethod
    def texts(self, task: Task, example: Example) -> list[str]:
        """The texts that the model reads of an example."""

    @abstractmethod
    def shown(self, task: Task, example: Example) -> list[str]:
        """An example's rows, with [CLS] and [SEP] for whatever a tokenizer puts there, and the answer last."""

    # -- training

    def key(self, task: Task, heads: str) -> str:
        """The name of the head that `task` trains: "shared" heads are the family's where it has one."""
        return self.name if heads == "shared" and self.shared_head else task.name.replace(".", "_")

    @abstractmethod
    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        """The head called `key` that `task` trains, as its training split says."""

    def candidates(self, part: Part) -> np.ndarray | None:
        """[U] candidates of each unit's decision; None when they are the head's classes."""
        return None

    def check(self, part: Part) -> None:
        """Refuse units for which Eq. 1 divides by ln 1: a question of one choice, a context of one token."""
        if (n := self.candidates(part)) is not None:
            worst = int(n.argmin())
            check_n(int(n[worst]), f"{part.name}, example {int(part.encoded.unit_example[part.units[worst]])}")

    @abstractmethod
    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> Fields:
        """The numbers beside the tokens that the family's head needs for `units` [U], in order.

        Always `targets` and `unit` (see `losses.Decisions`) and, except for summaries, `n` [U], Eq. 1's count.
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
    def answers(
        self, part: Part, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]
    ) -> tuple[list[Any], list[Any]]:
        """(predictions, references) of the examples `chosen`, as the metrics take them."""

    def trivial(self, train: Part, part: Part, tokenizer: Any) -> dict[str, float]:
        """Metric → score on `part` of an answer that needs no learning; empty where the family has none."""
        return {}

    def scores(self, task: Task, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """Metric → score of such an answer."""
        return {metric: score(self.official(metric, task), predictions, references).value for metric in task.metrics}

    # -- a user's own rows

    @abstractmethod
    def unanswered(self, row: Row) -> Row:
        """`row`, which holds what the family `asks`, with something in the place of the answer."""

    @abstractmethod
    def answer(self, spec: HeadSpec, encoded: Encoded, outputs: Outputs, example: int) -> dict[str, Any]:
        """What is printed for one example."""


def examples_of(part: Part) -> list[int]:
    """The examples that the units of `part` belong to, in order."""
    return np.unique(part.encoded.unit_example[part.units]).tolist()


def unit_of(encoded: Encoded, example: int) -> int:
    """The first unit of an example."""
    return int(np.searchsorted(encoded.unit_example, example))


def probabilities(logits: Any) -> list[float]:
    """Softmax, to four digits."""
    exact = np.asarray(logits, dtype=np.float64)
    shares = np.exp(exact - exact.max())
    return [round(float(share), 4) for share in shares / shares.sum()]
