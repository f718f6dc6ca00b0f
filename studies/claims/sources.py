"""The sources that claims are judged by: the paper's print, an outside replication, released checkpoints, our runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from math import isnan, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muppet.result import Score, read, unpack_items
from muppet.runs import Finetune, run_id
from muppet.tasks.task import Task
from studies.claims.claim import Key, Number, Source, by_key
from studies.kit import cost, distinct, profiles
from studies.kit.decisions import option
from studies.kit.ledger import reference, results
from studies.kit.ledger.cells import cells_frame, keeps_best
from studies.kit.ledger.folder import RESULTS
from studies.kit.study import Cell, Study

if TYPE_CHECKING:
    from studies.kit.ledger.results import Collected

# Datasets of the outside replication that are columns of the paper; the others stand in the study `beyond`.
COLUMNS = {name.lower(): ("table3", name) for name in ("MNLI", "QQP", "RTE", "QNLI", "MRPC")}
COLUMNS |= {"sst2": ("table3", "SST-2"), "boolq": ("table4", "BoolQ")}
RELEASED = " (released)"
FAMILIES = {  # a task's family → that of a column of Tables 3 to 5
    "classification": "sentence prediction",
    "regression": "sentence prediction",
    "commonsense": "commonsense",
    "span": "MRC",
    "summarization": "summarization",
    "tagging": "structured prediction",
    "parsing": "structured prediction",
}


@lru_cache(maxsize=None)
def paper() -> Source:
    """The paper's own cells of Tables 3 to 6."""
    numbers = by_key(as_number(cell) for k in (3, 4, 5, 6) for cell in reference.table(k))
    return Source(name="paper", numbers=numbers, families=families(), train_rows=train_rows())


def as_number(cell: reference.Printed) -> Number:
    """A printed score as a number."""
    assert cell.value is not None and cell.half is not None
    return Number(
        study=f"table{cell.table}",
        row=cell.row,
        column=cell.column,
        metric=cell.metric,
        value=cell.value,
        shown=cell.printed,
        half=cell.half,
        n=cell.n,
    )


def independent() -> Source:
    """The outside replication of the released base checkpoint, realigned (decision E3)."""
    numbers = []
    kinds, rows = families(), train_rows()
    for line in reference.independent():
        study, column = COLUMNS.get(line.dataset, ("beyond", line.dataset))
        kinds.setdefault((study, column), "sentence prediction")
        if line.train_rows:
            rows[study, column] = line.train_rows
        metric = "accuracy" if line.evaluation_rows else "score"
        for row, value in (("RoBERTa-B", line.base), ("RoBERTa-B + MUPPET", line.realigned)):
            if value is not None:
                printed = Number(
                    study=study, row=row, column=column, metric=metric, value=value, shown=f"{100 * value:.2f}"
                )
                numbers.append(replace(printed, half=0.00005, n=line.evaluation_rows))
    return Source(name="independent", numbers=by_key(numbers), families=kinds, train_rows=rows)


def measured(profile: str) -> tuple[Source, Source]:
    """(released, ours): the cells that the results of `profile` measure. Both hold the same plain base rows.

    A column that the paper does not print stands in the study `beyond`, one metric a dataset.
    """
    empty = Source(
        name="released",
        numbers={},
        profile=profile,
        families=families(),
        train_rows=train_rows(),
        comparable=profiles.get(profile).comparable,
    )
    ours = replace(empty, name="ours", declared=_declared())
    if not any((RESULTS / profile).rglob("*.json")):
        return empty, ours
    from studies.kit.load import load_studies

    collected = results.read_all(profile)
    numbers: dict[Key, Number] = {}
    kinds, rows = families(), train_rows()
    studies = load_studies(profile)
    for study in studies.values():
        places = _places(study)
        cells = {(cell.row, cell.column, cell.metric): cell for cell in study.cells}
        frame = cells_frame(study, profile, collected)
        for line in frame[frame["state"] == "measured"].itertuples(index=False):
            cell, place = cells[line.row, line.column, line.metric], places.get(line.column)
            if place is None:
                continue
            numbers[place, line.row, line.column, line.metric] = number_of(place, cell, line)
            task, sizes = task_of(cell), _train_rows(cell)
            kinds[place, line.column] = FAMILIES[task.family]
            if sizes:
                rows[place, line.column] = sizes
    empty, ours = (replace(one, paired_error=paired_error(collected)) for one in (empty, ours))
    facts: dict[str, object] = {"parameters": _parameters(studies["table3"], collected)} if "table3" in studies else {}
    if "ablations" in studies:
        facts["ablation_columns"] = len({cell.column for cell in studies["ablations"].cells if cell.runs})
    tables = {k[0] for k in numbers if k[1].endswith(RELEASED)}  # figures and ablations have no released checkpoint
    released = {
        (study, row.removesuffix(RELEASED), column, metric): replace(n, row=row.removesuffix(RELEASED))
        for (study, row, column, metric), n in numbers.items()
        if study in tables and (row.endswith(RELEASED) or not row.endswith("+ MUPPET"))
    }
    own = {k: n for k, n in numbers.items() if not n.row.endswith(RELEASED)}
    return (
        replace(empty, numbers=released, families=kinds, train_rows=rows),
        replace(ours, numbers=own, families=kinds, train_rows=rows, declared={**ours.declared, **facts}),
    )


def number_of(place: str, cell: Cell, line: Any) -> Number:
    """A measured cell as a number. line: its row of a `cells_frame`, by attribute."""
    task, split = task_of(cell), cell.score.split("/")[1]
    return Number(
        study=place,
        row=line.row,
        column=line.column,
        metric=line.metric,
        value=line.value,
        shown=f"{100 * line.value:.1f}",
        n=int(line.n),
        x=cell.x,
        seen=cost.seen(run) if isinstance(run := cell.runs[0], Finetune) else None,
        sets=distinct.sets(cell.runs[0]),
        seeds=tuple(line.seeds),
        checkpoints=tuple(line.checkpoints) if len(line.checkpoints) == len(line.seeds) else (),
        folds=bool(line.folds),
        runs=tuple(line.picked),
        item_error=_known(line.item_error),
        trivial=_known(line.trivial),
        score=cell.score,
        examples=f"{task.path} {task.config} {split}",
    )


def _known(value: float) -> float | None:
    return None if isnan(value) else float(value)


def paired_error(collected: Collected) -> Callable[[Number, Number], float | None]:
    """How well a difference is known over the same examples, each scored by its mean over runs, under the protocol in
    force.

    None for a score that is no mean over items, and for arms on other examples.
    """
    import numpy as np

    frame, protocol = collected.frame, str(option("protocol"))
    paths = dict(zip(frame["run"], frame["path"], strict=True))

    def scores(run: str) -> dict[str, Score]:
        result = read(Path(paths[run]))
        return result.scores if keeps_best(protocol, held_out=result.facts.get("held_out") is not None) else result.last

    @lru_cache(maxsize=None)
    def mean_items(runs: tuple[str, ...], key: str) -> np.ndarray | None:
        packed = [score.items if (score := scores(run).get(key)) else None for run in runs]
        items = [np.array(unpack_items(text)) for text in packed if text]
        if not items or len(items) < len(runs) or len({len(own) for own in items}) > 1:
            return None
        return np.mean(items, axis=0)

    def error(upper: Number, lower: Number) -> float | None:
        ends = [mean_items(number.runs, number.score) for number in (upper, lower)]
        if ends[0] is None or ends[1] is None or len(ends[0]) != len(ends[1]) or len(ends[0]) < 2:
            return None
        return float(np.std(ends[0] - ends[1], ddof=1)) / sqrt(len(ends[0]))

    return error


def _places(study: Study) -> dict[str, str]:
    """Column → the study it stands in for claims; of the columns beyond the paper, one for each further dataset."""
    printed = {task_of(cell).name for cell in study.cells if cell.runs and cell.column not in study.beyond}
    places = {column: study.name for column in study.columns if column not in study.beyond}
    for cell in study.cells:
        if cell.runs and cell.column in study.beyond and task_of(cell).name not in printed:
            printed.add(task_of(cell).name)
            places[cell.column] = "beyond"
    return places


def task_of(cell: Cell) -> Task:
    run = cell.runs[0]
    assert isinstance(run, Finetune)
    return run.task


def _train_rows(cell: Cell) -> int | None:
    """Training rows of a cell: the dataset's, or the profile's cap."""
    run = cell.runs[0]
    known = [size for size in (run.train_rows, task_of(cell).train_rows) if size]
    return min(known, default=None)


def _parameters(study: Study, collected: Collected) -> dict[str, tuple[int, int]]:
    """Model → parameters of one fine-tuned model without and with pre-finetuning, the same head on both."""
    paths = dict(zip(collected.frame["run"], collected.frame["path"], strict=True))
    counts: dict[tuple[str, str], int] = {}
    places = _places(study)
    for cell in study.cells:
        if cell.column not in places:
            continue
        done = next((path for run in cell.runs if (path := paths.get(run_id(run)))), None)
        if done and (cell.row, cell.column) not in counts:
            counts[cell.row, cell.column] = int(read(Path(done)).training["parameters"])
    return {
        f"{base} on {column}": (counts[base, column], n)
        for (row, column), n in counts.items()
        if (base := study.base.get(row, "")) and row == f"{base} + MUPPET" and (base, column) in counts
    }


def _declared() -> dict[str, object]:
    """Facts of what is declared, before any run: the datasets of the scale curve, those of Table 1 by its headings."""
    from muppet.tasks import A1, COPIES, SETS
    from studies.recipes import ROBERTA_B, scales

    sets = {  # an entry that repeats another's rows is that other one
        x: {COPIES.get(task.name, task.name) for task in (start[0] if isinstance(start, tuple) else start).tasks}
        for x, start in scales(ROBERTA_B).values()
        if not isinstance(start, str)
    }
    catalogue = [heading for heading, names in A1.items() for name in names if name in SETS["table1_46"]]
    return {"scale_sets": sets, "catalogue": catalogue}


def families() -> dict[tuple[str, str], str]:
    """(study, column) → family, for the columns of Tables 3 to 5."""
    return {(f"table{k}", column): dataset.family for (k, column), dataset in reference.datasets().items()}


def train_rows() -> dict[tuple[str, str], int]:
    """(study, column) → training rows, for the columns of Tables 3 to 5."""
    return {(f"table{k}", column): dataset.train_rows for (k, column), dataset in reference.datasets().items()}
