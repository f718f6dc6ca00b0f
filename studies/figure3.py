"""Figure 3: how little fine-tuning data is enough (paper §5.3).

    make figure3                        every cell at smoke size
    make figure3 PROFILE=paper LAUNCHER=slurm

The checkpoints of Figure 1 (the last without the sets shown here) × nine shares of the training rows, equally spaced
from 10 to 100 % and nested within a draw (P34), × 5 draws, on two sets kept out of every mixture (P12): 720
fine-tunings at the published learning rate, no search. QNLI is SQuAD recast, and SQuAD is in every mixture (P13):
CoLA is the cleaner map.
What to expect: with 34 or 40 datasets, half the rows or fewer reach what the base model needs all rows for (C27).
"""

from __future__ import annotations

from dataclasses import replace

from muppet.tasks import get
from muppet.tasks.task import Task
from studies.kit.decisions import option
from studies.kit.study import Cell, Study
from studies.recipes import ROBERTA_B, Start, finetuning, finetunings, scales

FRACTIONS = (0.1, 0.2125, 0.325, 0.4375, 0.55, 0.6625, 0.775, 0.8875, 1.0)


def study() -> Study:
    """A map per held-out dataset: checkpoints down, shares of the data across."""
    datasets = {"QNLI": get("qnli"), "CoLA": get("cola")}
    third = str(option("scale_third_task"))
    datasets |= {} if third == "none" else {{"wnli": "WNLI", "stsb": "STS-B"}[third]: get(third)}
    unseen = tuple(task.name for task in datasets.values()) if option("scale_last") == "exclude_held_out" else ()
    cells = [
        cell(f"{name} | {scale}", task, start, fraction)
        for name, task in datasets.items()
        for scale, (_, start) in scales(ROBERTA_B, unseen).items()
        for fraction in FRACTIONS
    ]
    return Study(
        name="figure3",
        title="Figure 3: pre-finetuning datasets against the share of fine-tuning data",
        kind="heatmap",
        cells=tuple(cells),
        note="Shares are nested within each draw (P34). QNLI is SQuAD recast, and SQuAD is in every mixture.",
    )


def cell(row: str, task: Task, start: Start, fraction: float) -> Cell:
    """One recipe with each seed as a draw of rows; at 100 % there is nothing to draw, and the runs are a table's."""
    recipe = finetuning(task, "roberta")
    runs = [run for run in finetunings(start, task) if run.recipe == recipe]
    if fraction < 1:
        runs = [replace(run, fraction=fraction, draw=run.seed) for run in runs]
    metric = "spearman" if task.family == "regression" else "accuracy"
    key, column = task.key(metric=metric), f"{100 * fraction:g} %"
    return Cell(row=row, column=column, runs=tuple(runs), score=key, metric=metric, x=fraction)
