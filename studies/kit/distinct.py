"""Arms that a profile does not keep apart, and where a point of a curve really lies.

A small profile leaves out datasets and caps rows, so that two arms of an experiment can become one: the same run, the
same datasets in another order, or a scaling or sampling that weighs every dataset as another arm does. Such an arm
shows only chance, so it is not run, and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from functools import lru_cache
from math import e, log

from muppet.runs import Prefinetune, Run, parent
from muppet.tasks import COPIES
from muppet.tasks.task import Task
from studies.kit import cost
from studies.kit.study import Cell, Study

SAME = "not distinguishable in this profile"
APART = 0.10  # effective weights that lie nearer to each other, of every dataset, are the same
CANDIDATES = {"commonsense": 4, "span": 300, "summarization": 50_265, "parsing": 50}  # of Eq. 1; classes are known


def distinct(study: Study) -> Study:
    """`study` with each arm that is an earlier one's in this profile emptied, and its curve's points where they lie.

    Arms are the rows of a column; on a curve the points of a row.
    """
    cells: list[Cell] = []
    earlier: dict[Hashable, list[Cell]] = {}
    for cell in study.cells:
        if cell.runs and study.kind in ("curve", "bars"):
            cell = replace(cell, x=sets(cell.runs[0]))
        arms = earlier.setdefault((cell.row if study.kind == "curve" else cell.column, cell.score), [])
        if cell.runs and any(_alike(cell, other) for other in arms):
            cell = replace(cell, runs=(), honest=(), why=SAME)
        elif cell.runs:
            arms.append(cell)
        cells.append(cell)
    return replace(study, cells=tuple(cells))


def sets(run: Run) -> float:
    """How many datasets `run`'s pre-finetuning really holds: a second entry of the same rows (P4, P5) is none."""
    start = parent(run)
    names = {task.name for task in start.tasks} if start else set()
    return float(len(names) - sum(copy in names and original in names for copy, original in COPIES.items()))


def _alike(cell: Cell, other: Cell) -> bool:
    """Whether the runs of two cells that have some differ by chance alone."""
    if cell.runs == other.runs:
        return True
    one, two = cell.runs[0], other.runs[0]
    first, second = parent(one), parent(two)
    if first is None or second is None or _rest(first) != _rest(second):
        return False
    if replace(one, init=second) != two:  # type: ignore[arg-type]
        return False
    weights, others = _weights(first), _weights(second)
    if weights is None or others is None:
        return first.recipe.loss_scaling == second.recipe.loss_scaling and _shares(first) == _shares(second)
    return all(abs(weights[name] / others[name] - 1) < APART for name in weights)


@lru_cache(maxsize=None)
def _rest(run: Prefinetune) -> Prefinetune:
    """`run` but for the order of its datasets and how much each weighs."""
    recipe = replace(run.recipe, loss_scaling="none", sampling=None, temperature=None)
    return replace(run, tasks=tuple(sorted(run.tasks, key=lambda task: task.name)), recipe=recipe)


@lru_cache(maxsize=None)
def _shares(run: Prefinetune) -> dict[str, float]:
    """Of each dataset, its share of the examples that are drawn."""
    drawn = {task.name: cost.rows(task, run) ** cost.exponent(run.recipe) for task in run.tasks}
    return {name: n / sum(drawn.values()) for name, n in drawn.items()}


@lru_cache(maxsize=None)
def _weights(run: Prefinetune) -> dict[str, float] | None:
    """Of each dataset, its share of the examples times the factor of its loss, all summing to 1; None: the factor
    follows the losses."""
    scaling = run.recipe.loss_scaling
    if scaling == "inverse_loss":
        return None
    shares = _shares(run)
    factor = {
        task.name: {"none": 1.0, "log_n": 1 / log(_candidates(task)), "dataset_size": 1 / cost.rows(task, run)}[scaling]
        for task in run.tasks
    }
    weights = {name: shares[name] * factor[name] for name in shares}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _candidates(task: Task) -> float:
    """Typical n of Eq. 1; a regression is not scaled."""
    if task.family == "regression":
        return e
    return len(task.classes) if task.classes else CANDIDATES.get(task.family, 2)
