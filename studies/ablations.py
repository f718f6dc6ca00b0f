"""Ablations: the effects that the paper asserts without a number (§3.2-3.5, §4), and the control that it lacks.

    make ablations                      every row at smoke size
    make ablations PROFILE=mini         RoBERTa-B rows on real data
    make ablations PROFILE=paper LAUNCHER=slurm

Each row changes one thing of a MUPPET row: R3F (C34), the sampling of datasets (C35), heads per dataset (C36), the
scaling of losses (C37), re-use of heads (C38). The controls: one MNLI stage alone, known to help RTE (C32), and MNLI
twice in the mixture, as the appendix lists it (P5). 31 new pre-finetunings, three seeds of each but RoBERTa-L's (P60);
12 points × 5 seeds on five sets where the effects would show. Plain and MUPPET rows are Table 3's and 4's. What to
expect: the paper calls sampling "consistently detrimental" and R3F "pivotal" for BART; how much, it does not print.
"""

from __future__ import annotations

from dataclasses import replace

from muppet.runs import R3F, Finetune, Prefinetune
from muppet.tasks import get
from studies.kit.study import Cell, Study
from studies.recipes import (
    BART,
    ROBERTA_B,
    ROBERTA_L,
    Start,
    apart,
    finetuning,
    measured,
    mixture,
    prefinetuning,
    repeated,
    squad,
)

OURS = "RoBERTa-B + MUPPET"
CHANGES = {  # of the recipe of RoBERTa-base's pre-finetuning
    "no loss scaling": {"loss_scaling": "none"},
    "scaling by inverse loss": {"loss_scaling": "inverse_loss"},
    "scaling by dataset size": {"loss_scaling": "dataset_size"},
    "uniform sampling": {"sampling": "uniform"},
    "temperature sampling": {"sampling": "temperature", "temperature": 2.0},
    "a head per dataset": {"heads": "per_dataset"},
    "with R3F": {"r3f": R3F()},
}
ACCURACY = {"RTE": "rte", "MRPC": "mrpc", "BoolQ": "boolq", "CQA": "commonsense_qa"}


def mnli_stage(model: str) -> Prefinetune:
    """Fine-tuning on MNLI as an intermediate stage, with the recipe of fine-tuning."""
    return Prefinetune(model=model, tasks=(get("mnli"),), recipe=finetuning(get("mnli"), "roberta"))


def study() -> Study:
    """A row per change, over five sets of Tables 3 and 4."""
    ours, bart = prefinetuning(ROBERTA_B), prefinetuning(BART)
    changed = {f"{OURS}, {name}": replace(ours.recipe, **change) for name, change in CHANGES.items()}  # type: ignore[arg-type]
    rows: dict[str, Start] = {"RoBERTa-B": ROBERTA_B, OURS: repeated(ours)}
    rows |= {row: repeated(replace(ours, recipe=recipe)) for row, recipe in changed.items()}
    rows |= {
        f"{OURS}, new heads": repeated(ours),
        f"{OURS}, MNLI twice": repeated(prefinetuning(ROBERTA_B, (*mixture(ROBERTA_B), get("multinli")))),
        "RoBERTa-B + one MNLI stage": repeated(mnli_stage(ROBERTA_B)),
        "RoBERTa-L": ROBERTA_L,
        "RoBERTa-L + MUPPET": prefinetuning(ROBERTA_L),
        "RoBERTa-L + one MNLI stage": mnli_stage(ROBERTA_L),
        "BART": BART,
        "BART + MUPPET": repeated(bart),
        "BART + MUPPET, no R3F": repeated(replace(bart, recipe=replace(bart.recipe, r3f=None))),
    }
    tasks = {column: (get(name), "accuracy") for column, name in ACCURACY.items()} | {"SQuAD": squad()}
    cells: list[Cell] = []
    for row, start in rows.items():
        for column, (task, metric) in tasks.items():
            cell = measured(row, column, start, task, metric)
            if row.endswith("new heads"):
                runs = tuple(replace(run, reuse_head=False) for run in cell.runs if isinstance(run, Finetune))
                cell = replace(cell, runs=runs, honest=apart(runs))
            cells.append(cell)
    return Study(
        name="ablations",
        title="Ablations: what the paper asserts without a number",
        kind="table",
        cells=tuple(cells),
        base={row: row.partition("," if "," in row else " + ")[0] for row in rows if " + " in row},
        note="A row with a comma changes one thing of the MUPPET row that it names, and is compared with it.",
    )
