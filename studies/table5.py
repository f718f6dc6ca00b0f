"""Table 5: tasks that pre-finetuning did not see (paper §4.1).

    make table5                         every row at smoke size
    make table5 PROFILE=mini            structured prediction on real data, RoBERTa-B rows
    make table5 PROFILE=paper LAUNCHER=slurm

Hyperpartisan news, chunking, constituency parsing and part-of-speech tagging for every row; three long-document
summarization sets for BART. The pre-finetunings are Table 3's; new are 2,490 fine-tunings: 12 points × 10 folds of
Hyperpartisan (645 articles, no evaluation split, P15), × 5 seeds of the others, 3 × 5 of the summaries.
What to expect: the paper's RoBERTa-B falls on parsing (-0.6) and tagging (-0.5) beside the claim of a gain everywhere
(P45), and its baselines of structured prediction are weak (P44); here they get the same search as MUPPET's rows.
"""

from __future__ import annotations

from muppet.tasks import get
from studies.kit.decisions import option
from studies.kit.study import Cell, Study
from studies.recipes import BASE, folded, measured, rows, summarized

STRUCTURED = {  # column → task, metric, the paper's name for it
    "Chunking": ("conll2000", "chunk_f1", "F1"),
    "Parsing": ("ptb_parsing", "bracket_f1", "F1"),
    "POS": ("ptb_pos", "accuracy", "accuracy"),
}
SUMMARIES = {"Arxiv": "arxiv", "PubMed": "pubmed", "BigPatent": "bigpatent"}


def study() -> Study:
    """Every row has the first four columns, BART the summaries; Pegasus is the paper's numbers alone."""
    cells: list[Cell] = []
    hyperpartisan = folded if option("hyperpartisan") == "cv" else measured
    for row, start in rows().items():
        cells.append(hyperpartisan(row, "Hyperpartisan", start, get("hyperpartisan"), "accuracy"))
        for column, (name, metric, printed) in STRUCTURED.items():
            cells.append(measured(row, column, start, get(name), metric, printed))
        if row.startswith("BART"):
            for column, name in SUMMARIES.items():
                cells += summarized(row, column, start, get(name))
    for column in SUMMARIES:
        cells += [Cell(row="Pegasus", column=column, metric=metric, why="paper only") for metric in ("R1", "R2", "RL")]
    return Study(
        name="table5",
        title="Table 5: tasks outside the pre-finetuning mixture",
        kind="table",
        reference=5,
        cells=tuple(cells),
        base=BASE,
        note="Chunking is CoNLL-2000; parsing and POS are Penn Treebank sections 02-21, 22, 23 (P16), at "
        "profile mini its free sample. Hyperpartisan is the by-article part in ten folds (P15). Summarization is "
        "scored on the test split (P42).",
    )
