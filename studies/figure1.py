"""Figure 1: how many datasets pre-finetuning needs (paper §5.1).

    make figure1                        every point at smoke size
    make figure1 PROFILE=mini           real data and a small pretrained encoder
    make figure1 PROFILE=paper LAUNCHER=slurm

RoBERTa-base pre-finetuned on 10, 16, 22, 28, 34, 40 and all datasets, each set holding the ones before (P18, P35),
against no pre-finetuning; then 12 points × 5 seeds on five sets, all of which every mixture has seen (P19): 9
pre-finetunings (the last point has the tables' three seeds, P60) and 2,400 fine-tunings, of which the first and the
last point of four sets are Table 3's and 4's. A point lies at its mixture's distinct datasets: "40 sets" at 38 (P35).
What to expect: below 10 to 25 datasets worse than no pre-finetuning, for all but one set; past that a linear rise. The
paper prints no number, so the claims (C23-C25) are judged on our points alone.
"""

from __future__ import annotations

from dataclasses import replace

from studies.kit.study import Study
from studies.recipes import ROBERTA_B, five, measured, scales


def study() -> Study:
    """A curve per dataset, a point per mixture."""
    cells = [
        replace(measured(row, name, start, task, metric), x=x)
        for row, (task, metric) in five().items()
        for name, (x, start) in scales(ROBERTA_B).items()
    ]
    return Study(
        name="figure1",
        title="Figure 1: scores against the number of pre-finetuning datasets",
        kind="curve",
        cells=tuple(cells),
        note="The evaluation sets are in every mixture: no curve of transfer (P19). Figure 3 has unseen sets.",
    )
