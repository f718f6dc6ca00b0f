"""What a head is, apart from its weights, and what Eq. 1 refuses of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from muppet.errors import UserError
from muppet.tasks.task import FamilyName, Task


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """A head apart from its weights. Summarization's has no outputs: the model's own output layer answers."""

    key: str  # its name among the model's heads
    family: FamilyName
    outputs: int
    classes: tuple[str, ...] | None = None  # names of the outputs
    low: float = 0.0  # regression: targets are mapped from [low, high] to [0, 1]
    high: float = 1.0

    @property
    def has_weights(self) -> bool:
        """Whether the head has parameters of its own, which are trained, saved and reused."""
        return self.outputs > 0


def spec_of_classes(task: Task, key: str, classes: Sequence[str] | None) -> HeadSpec:
    """A head with one output per class; raises UserError when there are none, ValueError when there is one."""
    if not classes:
        raise UserError(f"{task.name}: a {task.family} task declares its classes; add `classes` to the task")
    check_n(len(classes), task.name)
    return HeadSpec(key=key, family=task.family, outputs=len(classes), classes=tuple(classes))


def check_n(n: int, where: str) -> None:
    """Refuse the n at which Eq. 1 divides by zero; raises ValueError naming the dataset."""
    if n <= 1:
        raise ValueError(f"{where}: Eq. 1 needs at least 2 candidates per prediction, found {n}")
    assert math.isfinite(n)
