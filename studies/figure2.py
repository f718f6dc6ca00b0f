"""Figure 2: three ways of putting batches together (paper §5.2).

    make figure2                        every bar at smoke size
    make figure2 PROFILE=paper LAUNCHER=slurm

Three pre-finetunings of RoBERTa-base on 35 datasets, the five evaluation sets among them (P33), alike but for the order
of their sub-batches, each with three seeds (P60); then 12 points × 5 seeds on each set: 900 fine-tunings. The base
model's line is Figure 1's first point.
What to expect: the paper shows heterogeneous batches ahead "by a significant margin" on all five, and prints no number.
"""

from __future__ import annotations

from dataclasses import replace

from muppet.runs import Order
from studies.kit.study import Study
from studies.recipes import ROBERTA_B, Start, five, measured, prefinetuning, repeated, scale_order

DATASETS = 35
POLICIES: dict[str, Order] = {
    "Dataset Homogeneous": "dataset_homogeneous",
    "Batch Homogeneous": "batch_homogeneous",
    "Batch Heterogeneous": "heterogeneous",
}


def study() -> Study:
    """A row per policy, and the base model's."""
    run = prefinetuning(ROBERTA_B, scale_order(ROBERTA_B)[:DATASETS])
    rows: dict[str, Start] = {"RoBERTa-B": ROBERTA_B}
    for row, policy in POLICIES.items():
        rows[row] = repeated(replace(run, recipe=replace(run.recipe, batching=policy)))
    cells = [
        replace(measured(row, column, start, task, metric), x=0 if start == ROBERTA_B else DATASETS)
        for row, start in rows.items()
        for column, (task, metric) in five().items()
    ]
    return Study(
        name="figure2",
        title="Figure 2: batching policies",
        kind="bars",
        cells=tuple(cells),
        base=dict.fromkeys(POLICIES, "RoBERTa-B"),
        note=f"As declared, RoBERTa-base on {DATASETS} datasets; equal updates for the three policies (P33).",
    )
