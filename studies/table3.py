"""Table 3: GLUE and SQuAD, plain against pre-finetuned (paper §4).

    make table3                         every row at smoke size, a few minutes on a laptop
    make table3 PROFILE=mini            real data and a small pretrained encoder, RoBERTa-B rows
    make table3 PROFILE=paper LAUNCHER=slurm

Seven pre-finetunings (RoBERTa base and BART with three seeds each, P60, RoBERTa large with one), then 12 points of a
search × 5 seeds for each of 88 cells.
The paper's table leaves out CoLA, STS-B and WNLI (P10) and names neither SQuAD's version nor its metric (P40).
What to expect: RTE gains most (the paper: +9.1 base, +4.7 large), large sets stay within a point.
"""

from __future__ import annotations

from muppet.tasks import get
from studies.kit.decisions import option
from studies.kit.study import Cell, Study
from studies.recipes import BASE, SQUAD, measured, rows, squad

ACCURACY = {"MNLI": "mnli", "QQP": "qqp", "RTE": "rte", "QNLI": "qnli", "MRPC": "mrpc", "SST-2": "sst2"}
BEYOND = {  # column → task, metric
    "CoLA": ("cola", "matthews"),
    "STS-B": ("stsb", "spearman"),
    "WNLI": ("wnli", "accuracy"),
    "QQP F1": ("qqp", "f1"),
    "MRPC F1": ("mrpc", "f1"),
    "SQuAD 1.1 EM": SQUAD["v1.1-em"],
    "SQuAD 1.1 F1": SQUAD["v1.1-f1"],
    "SQuAD 2.0 EM": SQUAD["v2.0-em"],
    "SQuAD 2.0 F1": SQUAD["v2.0-f1"],
}


def study() -> Study:
    """The paper's rows and columns, the released checkpoints, what it leaves out, and the rows that are its alone."""
    cells: list[Cell] = []
    for row, start in rows().items():
        cells += [measured(row, column, start, get(name), "accuracy") for column, name in ACCURACY.items()]
        cells.append(measured(row, "SQuAD", start, *squad(), printed="unspecified"))
        cells += [measured(row, column, start, get(name), metric) for column, (name, metric) in BEYOND.items()]
    for row in ("ELECTRA-B", "ELECTRA-L", "MT-DNN"):
        cells += [Cell(row=row, column=column, why="paper only") for column in (*ACCURACY, "SQuAD")]
    return Study(
        name="table3",
        title="Table 3: GLUE and SQuAD",
        kind="table",
        reference=3,
        cells=tuple(cells),
        base=BASE,
        beyond=tuple(BEYOND),
        note=f"SQuAD: the paper names neither version nor metric; its cell is compared with {option('squad')} (P40).",
    )
