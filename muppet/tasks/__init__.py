"""The catalogue: every dataset by name, and the named sets of the study. Nothing here loads data."""

from __future__ import annotations

from muppet.errors import unknown
from muppet.tasks import classification, commonsense, mrc
from muppet.tasks.task import Family, Row, Task

__all__ = ["A1", "ALL", "SETS", "UMBRELLAS", "Family", "Row", "Task", "get", "mixture"]

FAMILIES = (classification.CLASSIFICATION, commonsense.COMMONSENSE, mrc.MRC)
DECLARED = (
    *(task for family in FAMILIES for task in family),
    *classification.BEYOND, *commonsense.BEYOND, *mrc.BEYOND,
)
ALL: dict[str, Task] = {task.name: task for task in DECLARED}
assert len(ALL) == len(DECLARED), "two tasks of one name"

# Real data with a train split over three families, all of them small or short: for trying things out.
SMALL = (
    "cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "boolq", "cb", "wic", "snli", "rotten_tomatoes", "trec", "wiki_qa",
    "copa", "openbookqa", "hellaswag", "commonsense_qa", "arc_easy", "race", "squad", "squad_v2",
)

SETS: dict[str, tuple[str, ...]] = {"small_mixture": SMALL}
UMBRELLAS: dict[str, tuple[str, ...]] = {}
A1: tuple[str, ...] = ()


def get(name: str) -> Task:
    """The task called `name`; UserError with the nearest name when there is none."""
    if name not in ALL:
        raise unknown("task", name, ALL)
    return ALL[name]


def mixture(name: str) -> tuple[Task, ...]:
    """The tasks of a named set, or the one task of that name."""
    if name in ALL:
        return (ALL[name],)
    if name not in SETS:
        raise unknown("task or named set", name, [*ALL, *SETS])
    return tuple(dict.fromkeys(ALL[entry] for entry in SETS[name]))
