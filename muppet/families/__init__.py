"""One file per family of tasks: from a dataset's row to its score. Nothing in this room needs torch.

    FAMILIES[task.family]                             what the family is, see `families.family.Family`
    examples(task, "train", rows, dropped)            rows of a dataset → examples
    answers(part, spec, outputs, examples)            what a model says → what the metrics take

A new family is a file here and its name below, a head in `muppet.model.heads`, and its name in `muppet.tasks.task`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from muppet.errors import UserError
from muppet.families.classification import Classification, Regression
from muppet.families.commonsense import Commonsense
from muppet.families.encoded import Part
from muppet.families.family import Family, Outputs
from muppet.families.parsing import Parsing
from muppet.families.roles import BadRow, Drop, Example, by_role
from muppet.families.span import Span
from muppet.families.spec import HeadSpec
from muppet.families.summarization import Summarization
from muppet.families.tagging import Tagging
from muppet.tasks.task import Row, Task, dataset_name

__all__ = ["FAMILIES", "Family", "answers", "examples", "head_key", "official", "shown"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (Classification(), Regression(), Commonsense(), Span(), Summarization(), Tagging(), Parsing())
}


def examples(
    task: Task, split: str, rows: Iterable[Row], dropped: Counter[str], seen: set[str] | None = None
) -> Iterator[Example]:
    """Yield the examples of `rows` in order; `dropped` counts by reason those that are left out, `seen` takes the roles
    that the others have.

    Raises UserError naming dataset, split, row and fix: a column that is absent or of another type, a label outside the
    classes, an answer key that names no choice.
    """
    family = FAMILIES[task.family]
    for index, row in enumerate(rows):
        try:
            given = by_role(task, row)
            if not given:
                raise Drop(family.no_example)
            for roles in given:
                try:
                    example = family.read(task, roles)
                except KeyError as error:
                    raise BadRow(f"it has no `{error.args[0]}`, which {family.name} rows need") from None
                if seen is not None:
                    seen.update(role for role, value in roles.items() if value is not None)
                yield example
        except Drop as reason:
            dropped[str(reason)] += 1
        except BadRow as error:
            raise UserError(f"{dataset_name(task)} split {split} row {index}: {error}") from None


def head_key(task: Task, heads: Literal["shared", "per_dataset"] = "shared") -> str:
    """The name of the head that `task` trains: its own, or with "shared" its family's where the family shares one."""
    family = FAMILIES[task.family]
    return family.name if heads == "shared" and family.shared_head else task.name.replace(".", "_")


def shown(task: Task, example: Example) -> list[str]:
    """An example's rows, with [CLS] and [SEP] for whatever a tokenizer puts there, and the right answer last."""
    family = FAMILIES[task.family]
    rows = [" ".join(["[CLS]", *(f"{text} [SEP]" for text in row)]) for row in family.rows(task, example)]
    return [*rows, f"→ {family.truth(task, example)}"]


def official(task: Task, metric: str) -> str:
    """The name in `muppet.metrics` of a task's metric."""
    return FAMILIES[task.family].official(metric, task)


def answers(part: Part, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> tuple[list[Any], list[Any]]:
    """(predictions, references) of the examples `chosen`, as the metrics take them."""
    encoded, family = part.encoded, FAMILIES[part.encoded.task.family]
    return family.predictions(encoded, spec, outputs, chosen), family.references(encoded, chosen)
