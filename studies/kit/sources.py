"""The sources that claims are judged by: the paper's print, an outside replication, released checkpoints, our runs."""

from __future__ import annotations

from studies.kit import reference
from studies.kit.claim import Key, Number, Source

# Datasets of the outside replication that are columns of the paper; the others stand in the study `beyond`.
COLUMNS = {
    "mnli": ("table3", "MNLI"), "qqp": ("table3", "QQP"), "rte": ("table3", "RTE"), "qnli": ("table3", "QNLI"),
    "mrpc": ("table3", "MRPC"), "sst2": ("table3", "SST-2"), "boolq": ("table4", "BoolQ"),
}  # fmt: skip


def paper() -> Source:
    """The paper's own cells of Tables 3 to 6."""
    numbers: dict[Key, Number] = {}
    for k in (3, 4, 5, 6):
        for cell in reference.table(k):
            assert cell.value is not None and cell.half is not None
            number = Number(
                study=f"table{k}", row=cell.row, column=cell.column, metric=cell.metric, value=cell.value,
                shown=cell.printed, half=cell.half, n=cell.n,
            )  # fmt: skip
            numbers[number.study, cell.row, cell.column, cell.metric] = number
    return Source(name="paper", label="paper", numbers=numbers, families=families(), train_rows=train_rows())


def independent() -> Source:
    """The outside replication of the released base checkpoint, realigned (decision E3)."""
    numbers: dict[Key, Number] = {}
    kinds, rows = families(), train_rows()
    for line in reference.independent():
        study, column = COLUMNS.get(line.dataset, ("beyond", line.dataset))
        kinds.setdefault((study, column), "sentence prediction")
        if line.train_rows:
            rows[study, column] = line.train_rows
        metric = "accuracy" if line.evaluation_rows else "score"
        for row, value in (("RoBERTa-B", line.base), ("RoBERTa-B + MUPPET", line.realigned)):
            if value is not None:
                numbers[study, row, column, metric] = Number(
                    study=study, row=row, column=column, metric=metric, value=value, shown=f"{100 * value:.2f}",
                    half=0.00005, n=line.evaluation_rows,
                )  # fmt: skip
    return Source(name="independent", label="independent", numbers=numbers, families=kinds, train_rows=rows)


def families() -> dict[tuple[str, str], str]:
    """(study, column) → family, for the columns of Tables 3 to 5."""
    return {(f"table{k}", column): dataset.family for (k, column), dataset in reference.datasets().items()}


def train_rows() -> dict[tuple[str, str], int]:
    """(study, column) → training rows, for the columns of Tables 3 to 5."""
    return {(f"table{k}", column): dataset.train_rows for (k, column), dataset in reference.datasets().items()}
