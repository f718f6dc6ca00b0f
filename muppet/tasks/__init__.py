"""The catalogue: every dataset by name, and the named sets of the study. Nothing here loads data."""

from __future__ import annotations

from random import Random

from muppet.errors import unknown
from muppet.tasks import classification, commonsense, mrc, structured, summarization
from muppet.tasks.task import FamilyName, Row, Task

__all__ = ["A1", "ALL", "COPIES", "FIVE", "SETS", "FamilyName", "Row", "Task", "get", "mixture", "scale_order"]

DECLARED = (
    *classification.CLASSIFICATION, *summarization.SUMMARIZATION, *commonsense.COMMONSENSE, *mrc.MRC,
    *classification.BEYOND, *summarization.BEYOND, *commonsense.BEYOND, *mrc.BEYOND, *structured.STRUCTURED,
)
ALL: dict[str, Task] = {task.name: task for task in DECLARED}
assert len(ALL) == len(DECLARED), "two tasks of one name"

# Appendix A.1 in its order, 1 to 47, under the headings that give Table 1's counts.
A1: dict[str, tuple[str, ...]] = {
    "Classification": (
        "cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "wnli", "superglue", "boolq", "multirc", "wic", "wsc",
        "cb", "copa", "ag_news", "imdb", "multinli", "snli", "hans", "rotten_tomatoes", "yelp_polarity",
        "eraser_multirc", "wiki_qa", "trec", "scitail",
    ),
    "Summarization": ("cnn_dailymail", "billsum", "xsum", "aeslc", "multi_news"),
    "CommonSense": (
        "math_qa", "openbookqa", "swag", "hellaswag", "race", "commonsense_qa", "cosmos_qa", "arc_easy",
        "arc_challenge", "sciq",
    ),
    "MRC": ("squad", "nq", "drop", "record", "hotpotqa", "triviaqa"),
}
FIVE = ("rte", "boolq", "race", "squad", "mnli")  # evaluated along the scale curve, in it from its first point (§5.1)
HELD_OUT = ("qnli", "cola")  # Figure 3's, in no point of the curve (P12)
COPIES = {"superglue": "rte", "multinli": "mnli"}  # entries of A.1 that repeat another's rows (P4, P5)
_ALL47 = tuple(name for names in A1.values() for name in names)
_POOL = tuple(name for name in _ALL47 if name not in HELD_OUT and name not in A1["Summarization"])


def scale_order(seed: int = 0) -> tuple[str, ...]:
    """The order in which the 40 datasets of `scale_pool` join the scale curve (paper §5.1; P18).

    The five evaluated sets come first; the rest are shuffled by `seed` within Table 1's families, every prefix holding
    the families in proportion; copies of other entries come last.
    """
    place: dict[str, float] = {}
    for family, names in A1.items():
        rest = [name for name in names if name in _POOL and name not in (*FIVE, *COPIES)]
        Random(f"{seed}/{family}").shuffle(rest)
        place |= {name: (index + 0.5) / len(rest) for index, name in enumerate(rest)}
    return (*FIVE, *sorted(place, key=lambda name: (place[name], name)), *COPIES)


SCALES = (10, 16, 22, 28, 34, 40)  # datasets of the scale curve's points, Figure 1 (P35)

SETS: dict[str, tuple[str, ...]] = {
    "a1_47": _ALL47,
    "table1_46": tuple(name for name in _ALL47 if name != "multi_news"),
    "unique_45": tuple(name for name in _ALL47 if name not in COPIES),
    "scale_pool": _POOL,
    **{f"scale_{k}": scale_order()[:k] for k in SCALES},
    # Real data with a train split over three families, all of them small or short: for trying things out.
    "small_mixture": (
        "cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "boolq", "cb", "wic", "snli", "rotten_tomatoes", "trec",
        "wiki_qa", "copa", "openbookqa", "hellaswag", "commonsense_qa", "arc_easy", "race", "squad", "squad_v2",
    ),
}


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
    return tuple(ALL[entry] for entry in SETS[name])
