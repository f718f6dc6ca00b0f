"""Table 4: further sentence prediction, commonsense reasoning and summarization (paper §4).

    make table4                         every row at smoke size
    make table4 PROFILE=mini            CommonsenseQA and OpenBookQA on real data, RoBERTa-B rows
    make table4 PROFILE=paper LAUNCHER=slurm

The pre-finetunings are Table 3's and BoolQ's base runs are Figure 1's; new are 2,010 fine-tunings: 12 points × 5
seeds for each of 32 cells, 3 × 5 for each of BART's 6 summarization cells. Commonsense re-uses the head of
pre-finetuning (P32); Gigaword and Reddit TIFU are in no list of pre-finetuning data (P9).
What to expect: +1 to +4 for RoBERTa. For BART the paper's own cells fall by 3.3 (CQA), 8.2 (HellaSwag) and 0.6 (P43).
"""

from __future__ import annotations

from muppet.tasks import get
from studies.kit.study import Cell, Study
from studies.recipes import BASE, measured, rows, summarized

ACCURACY = {"BoolQ": "boolq", "CQA": "commonsense_qa", "HellaSwag": "hellaswag", "OpenQA": "openbookqa"}
SUMMARIES = {"CNN/DailyMail": "cnn_dailymail", "Gigaword": "gigaword", "Reddit TIFU": "reddit_tifu"}
REFERENCE = {  # rows that the paper takes from elsewhere, and the columns they fill
    "T5-L": (*ACCURACY, "CNN/DailyMail"),
    "T5-11B": (*ACCURACY, "CNN/DailyMail"),
    "PEGASUS": (*SUMMARIES,),
    "ERNIE-GEN": ("CNN/DailyMail", "Gigaword"),
    "ProphetNet": ("CNN/DailyMail", "Gigaword"),
}


def study() -> Study:
    """Accuracy columns for every row, ROUGE for BART, and the rows that are the paper's alone."""
    cells: list[Cell] = []
    for row, start in rows().items():
        cells += [measured(row, column, start, get(name), "accuracy") for column, name in ACCURACY.items()]
        if row.startswith("BART"):
            for column, name in SUMMARIES.items():
                cells += summarized(row, column, start, get(name))
    for row, columns in REFERENCE.items():
        for column in columns:
            metrics = ("R1", "R2", "RL") if column in SUMMARIES else ("accuracy",)
            cells += [Cell(row=row, column=column, metric=metric, why="paper only") for metric in metrics]
    return Study(
        name="table4",
        title="Table 4: sentence prediction, commonsense, summarization",
        kind="table",
        reference=4,
        cells=tuple(cells),
        base=BASE,
        note="Summarization is scored on the test split (P42). The paper counts Gigaword and Reddit TIFU among the "
        "datasets of pre-finetuning; its appendix does not list them (P9).",
    )
