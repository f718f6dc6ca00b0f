"""The reference layer: transcribed twice, read strictly, and its known faults reproduced."""

import csv
from pathlib import Path

import pytest

from muppet.errors import UserError
from studies import recipes
from studies.kit.ledger import reference
from studies.kit.ledger.stats import grim

SECOND = Path(__file__).parent / "second_transcription"
HEADER = ",".join(reference.COLUMNS)


@pytest.mark.parametrize("k", reference.TABLES)
def test_two_transcriptions_agree_cell_by_cell(k):
    first = {(c.row, c.column, c.metric): c.printed for c in reference.table(k)}
    with (SECOND / f"table{k}.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    second = {(line["row"], line["column"], line["metric"]): line["value"] for line in lines}
    assert len(second) == len(lines)
    assert first == second


def test_units_and_places():
    cells = {c.key: c for k in reference.TABLES for c in reference.table(k)}
    rte = cells[3, "RoBERTa-B + MUPPET", "RTE", "accuracy"]
    assert (rte.value, rte.printed, rte.n) == (0.878, "87.8", 277)
    assert rte.half == pytest.approx(0.0005)
    assert cells[3, "ELECTRA-B", "SST-2", "accuracy"].half == pytest.approx(0.005)  # printed as 95
    assert cells[4, "BART + MUPPET", "CNN/DailyMail", "RL"].half == pytest.approx(0.0005)  # printed as 41.4
    total = cells[1, "Total", "train", "count"]
    assert (total.value, total.half) == (4.8e6, 5e4)
    assert cells[7, "Adam-betas", "value", "text"].value is None
    assert all(0 <= c.value <= 1 for c in cells.values() if c.metric not in ("count", "text"))


def test_every_column_of_tables_3_to_5_has_its_dataset():
    columns = {(c.table, c.column) for k in (3, 4, 5) for c in reference.table(k)}
    assert columns == set(reference.datasets())


def test_appendix_reproduces_the_sums_of_the_reading():
    sums: dict[str, int] = {}
    for entry in reference.appendix():
        sums[entry.family] = sums.get(entry.family, 0) + (entry.train_rows or 0)
    assert len(reference.appendix()) == 47
    assert sums["Classification"] == 2_745_823
    assert sums["CommonSense"] == 286_163
    multinews = next(e.train_rows for e in reference.appendix() if e.name == "Multinews")
    assert sums["Summarization"] - multinews == 524_543  # Table 1's 524K leaves Multi-News out


def test_misaligned_column_is_mended_from_the_published_one():
    rows = reference.independent()
    names, published = [r.dataset for r in rows], [r.published for r in rows]
    mended = reference.realign(names, published)
    assert mended == [r.realigned for r in rows]
    moved = [name for name, old, new in zip(names, published, mended, strict=True) if old != new]
    assert moved == names[names.index("dbpedia") : names.index("anli")]  # dbpedia loses its value, anli keeps its


def test_the_mended_column_is_the_right_one():
    """Two marks of the shift that need no outside knowledge: reachable counts, and agreement with the base model."""
    shifted = [r for r in reference.independent() if r.realigned is not None and r.realigned != r.published]
    sized = [r for r in shifted if r.evaluation_rows]
    assert len(sized) >= 8
    assert all(grim(r.realigned, r.evaluation_rows, 0.00005) for r in sized)
    assert sum(not grim(r.published, r.evaluation_rows, 0.00005) for r in sized) >= 5
    gap = {
        name: sum(abs(getattr(r, name) - r.base) for r in shifted) / len(shifted) for name in ("published", "realigned")
    }
    assert gap["realigned"] < 0.05 < 0.2 < gap["published"]


def test_an_unshifted_column_is_refused():
    with pytest.raises(UserError, match="not shifted"):
        reference.realign(["a", "dbpedia", "c"], [0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["row,column,metric,value,split,n,provenance"], r"table3\.csv: row 1: column `note` is missing"),
        ([HEADER + ",extra"], r"row 1: column `extra` is unknown"),
        (
            [HEADER, "A,RTE,accuracy,78.7,,277,x,", "A,RTE,accuracy,78.8,,277,x,"],
            r"row 3: a second row for 3 / A / RTE",
        ),
        ([HEADER, "A,RTE,accuracy,78.7%,,277,x,"], r"row 2: value '78.7%' is no number"),
        ([HEADER, "A,RTE,accuracy,787,,277,x,"], r"row 2: value '787' is above 100"),
        ([HEADER, "A,RTE,accuracy,78.7,,many,x,"], r"row 2: column `n` is 'many'"),
        ([HEADER, "A,RTE,accuracy,,,277,x,"], r"row 2: column `value` is empty"),
        ([HEADER, "A,RTE,accuracy,78.7,,277"], r"row 2: 6 fields where the header has 8"),
    ],
)
def test_bad_rows_are_named(tmp_path, lines, message):
    (tmp_path / "table3.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=message) as error:
        reference.table(3, tmp_path)
    assert "\n" not in str(error.value)


def test_missing_file_and_unknown_table(tmp_path):
    with pytest.raises(UserError, match="file is missing"):
        reference.table(3, tmp_path)
    with pytest.raises(UserError, match="unknown table '9'"):
        reference.table(9)


@pytest.mark.parametrize(("k", "recipe"), [(7, recipes.TABLE7), (8, recipes.TABLE8)])
def test_tables_7_and_8_are_the_recipes(k, recipe):
    printed = {cell.row: cell.printed for cell in reference.table(k)}
    assert printed.pop("Optimizer").lower() == recipe.optimizer
    assert printed.pop("LR Scheduler") == f"{recipe.schedule} decay"
    assert printed.pop("Adam-betas") == str(recipe.adam_betas)
    fields = {
        "Adam-eps": recipe.adam_eps,
        "LR": recipe.lr,
        "Dropout": recipe.dropout,
        "Weight Decay": recipe.weight_decay,
        "Warmup Updates": recipe.warmup_updates,
        "Total Updates": recipe.updates,
        "Max Tokens": recipe.max_tokens,
    }
    assert {name: float(text) for name, text in printed.items()} == fields


def test_a_mean_of_three_runs_or_more_gives_the_printed_rte_and_no_median_does():
    """P38: a run scores k/277; a median of any number of runs is one of these or halfway between two."""
    runs = [k / 277 for k in range(278)]
    medians = {*runs, *((a + b) / 2 for a in runs[230:250] for b in runs[230:250])}
    assert {round(1000 * value) for value in medians} & {877, 878, 879} == {877, 879}
    assert "87.8" not in {f"{100 * value:.1f}" for value in medians}
    assert f"{100 * 730 / (3 * 277):.1f}" == "87.8"
