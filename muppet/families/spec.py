"""What a head is, apart from its weights, and what Eq. 1 refuses of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muppet.errors import UserError
from muppet.families.encoded import Part
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


@dataclass(frozen=True, kw_only=True)
class RowFormat:
    """How the rows were read that a head was trained on: what rows to come must be like."""

    max_length: int  # tokens
    roles: tuple[str, ...]  # those that were read of every dataset
    sometimes: tuple[str, ...] = ()  # and of some
    columns: tuple[tuple[str, str], ...] = ()  # (role, column) of its dataset
    blank: str | None = None  # see `Task.blank`


def row_formats(trained: Sequence[tuple[HeadSpec, Part]], max_length: int) -> dict[str, RowFormat]:
    """The format of each head by its key, given what trains it; columns and blanks that several tasks do not share are
    left out."""
    formats: dict[str, RowFormat] = {}
    for spec, part in trained:
        task, roles, known = part.encoded.task, part.encoded.roles or (), formats.get(spec.key)
        same = known is None or known.columns == task.columns
        every = {*roles} & {*known.roles} if known else {*roles}
        some = {*roles, *known.roles, *known.sometimes} - every if known else set()
        formats[spec.key] = RowFormat(
            max_length=max_length,
            roles=tuple(sorted(every)),
            sometimes=tuple(sorted(some)),
            columns=task.columns if same else (),
            blank=task.filled if known is None or known.blank == task.filled else None,
        )
    return formats


def spec_of_classes(task: Task, key: str, classes: Sequence[str] | None) -> HeadSpec:
    """A head with one output per class; raises UserError when there are fewer than two."""
    assert classes is not None
    check_n(len(classes), task.name)
    return HeadSpec(key=key, family=task.family, outputs=len(classes), classes=tuple(classes))


def check_n(n: int, where: str) -> None:
    """Refuse the n at which Eq. 1 divides by zero; raises UserError naming the dataset."""
    if n <= 1:
        raise UserError(f"{where}: Eq. 1 needs at least 2 candidates per prediction, found {n}; leave the row out")
