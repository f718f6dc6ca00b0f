"""How long it takes to say what is in the next update, for every declared pre-finetuning at the full size of its datasets.

Only lengths are needed: each dataset has as many rows as the catalogue says, of lengths that were recorded from real
rows (of its family, where none of its own were).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from benchmarks.common import Bar, Report, clocked, median
from benchmarks.mixture import lengths, of_lengths
from muppet.families.encoded import Part
from muppet.runs import Prefinetune
from muppet.tasks.task import Task
from muppet.training.batching import Sampler
from studies.kit import load
from studies.kit.cost import ROWS_UNKNOWN

LIKE = {
    "classification": "mnli",
    "commonsense": "race",
    "span": "squad",
    "regression": "mrpc",
    "summarization": "boolq",
}
UPDATES = 100  # timed in a row, as training asks for them
STARTS = (0.0, 0.3, 0.7)  # of the training
LIMIT_MS = 2.0  # of a median update


@cache
def full_size(task: Task, max_length: int) -> Part:
    """As many units as `task` has training rows, with lengths and nothing else."""
    count = task.train_rows or ROWS_UNKNOWN
    kept = lengths().get(task.name) or lengths()[LIKE.get(task.family, "mnli")]
    rows = np.array([len(unit) for unit in kept])
    tokens = np.minimum(np.concatenate(kept), max_length)
    repeats = -(-count // len(kept))
    unit_rows = np.concatenate([[0], np.cumsum(np.tile(rows, repeats)[:count])])
    offsets = np.concatenate([[0], np.cumsum(np.tile(tokens, repeats)[: unit_rows[-1]])])
    encoded = of_lengths(task, unit_rows, offsets, tokens=np.zeros(0, np.uint16), second=np.zeros(0, np.int32))
    return Part(encoded=encoded, units=np.arange(count))


def declared() -> dict[str, Prefinetune]:
    """Every pre-finetuning of profile `paper` on more than one dataset, by id."""
    runs = load.runs(load.load_studies("paper").values())
    return {name: run for name, run in runs.items() if isinstance(run, Prefinetune) and len(run.tasks) > 1}


def timed(run: Prefinetune, starts: Sequence[float], updates: int) -> tuple[float, float]:
    """(median, largest) milliseconds of an update."""
    parts = [full_size(task, run.recipe.max_length) for task in run.tasks]
    sampler, spent = Sampler(parts, run.recipe, run.seed), []
    for start in starts:
        first = int(start * sampler.updates)
        sampler.update(first)  # what a training that gets here holds already
        spent += [1000 * clocked(lambda: sampler.update(step)).cpu for step in range(first + 1, first + 1 + updates)]
    return median(spent), max(spent)


def measure(starts: Sequence[float] = STARTS, updates: int = UPDATES, limit: int | None = None) -> Report:
    """Milliseconds of CPU time of one `Sampler.update`, by declared mixture; `limit` of them."""
    rows, arms = [], {}
    for run in declared().values():  # those that differ in the loss alone take the same time
        arms.setdefault((run.model, len(run.tasks), run.recipe.batching, run.recipe.sampling), run)
    for run in list(arms.values())[:limit]:
        middle, largest = timed(run, starts, updates)
        rows.append(
            {
                "model": run.model.rsplit("/", 1)[-1],
                "datasets": len(run.tasks),
                "order": run.recipe.batching,
                "sampling": run.recipe.sampling or "natural",
                "median ms": middle,
                "largest ms": largest,
            }
        )
    slowest = max(float(row["median ms"]) for row in rows)
    return Report(
        name="sampling",
        rows=rows,
        settings={"updates": updates * len(starts), "examples": int(sum(t.train_rows or 0 for t in run.tasks))},
        bars=[Bar(what="slowest median update, ms", bar=LIMIT_MS, at_least=False, measured=slowest)],
        notes=["the largest is an update in which a large dataset is shuffled for its next epoch"],
    )
