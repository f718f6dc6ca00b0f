"""The declared artefacts: cells match the paper's, shared runs are one run, and what the docstrings count is so."""

import errno
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from muppet.errors import UserError
from muppet.runs import Finetune, Prefinetune, run_id
from studies.__main__ import main
from studies.kit import load
from studies.kit.decisions import OVERRIDE
from studies.kit.distinct import SAME
from studies.kit.ledger import reference
from studies.kit.profiles import published
from studies.kit.study import Cell, Study
from studies.recipes import BART, ROBERTA_B, ROBERTA_L, prefinetuning

NAMES = ("table3", "table4", "table5", "table6", "figure1", "figure2", "figure3", "ablations")
SUMMARIES = ("R1", "R2", "RL")


@cache
def studies(profile: str = "paper") -> dict[str, Study]:
    return load.load_studies(profile)


def runs(study: str, kind: type = Finetune) -> dict[str, Finetune | Prefinetune]:
    return {name: run for name, run in studies()[study].runs().items() if isinstance(run, kind)}


def cell(study: str, row: str, column: str, metric: str | None = None) -> Cell:
    return next(c for c in studies()[study].cells if (c.row, c.column) == (row, column) and metric in (None, c.metric))


def test_every_artefact_is_declared() -> None:
    assert tuple(studies()) == NAMES


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_a_table_has_every_cell_that_the_paper_prints_and_names_no_other(k: int) -> None:
    study = studies()[f"table{k}"]
    printed = {(p.row, p.column) for p in reference.table(k)}
    declared = {(c.row, c.column) for c in study.cells}
    assert printed <= declared
    assert {row for row, _ in declared if "(released)" not in row} == {row for row, _ in printed}
    assert {column for _, column in declared} - set(study.beyond) == {column for _, column in printed}
    for p in reference.table(k):
        if p.metric in SUMMARIES:
            assert cell(f"table{k}", p.row, p.column, p.metric)


def test_one_prefinetuning_of_base_serves_every_artefact() -> None:
    ours = {run_id(prefinetuning(ROBERTA_B, seed=seed)) for seed in range(3)}
    for name in ("table3", "table4", "table5", "figure1", "ablations"):
        assert ours <= set(studies()[name].runs()), name
    last = [c for c in studies()["figure1"].cells if c.column.endswith("(all)")]
    assert len(last) == 5 and {run_id(run.init) for c in last for run in c.runs} == ours
    assert run_id(prefinetuning(ROBERTA_L)) in studies()["table6"].runs()
    assert all(
        run_id(prefinetuning(BART)) in studies()[name].runs() for name in ("table3", "table4", "table5", "ablations")
    )


@pytest.mark.parametrize(
    ("table", "column"), [("table3", "RTE"), ("table3", "MNLI"), ("table3", "SQuAD"), ("table4", "BoolQ")]
)
def test_the_figures_share_the_tables_runs(table: str, column: str) -> None:
    plain, muppet = cell(table, "RoBERTa-B", column).runs, cell(table, "RoBERTa-B + MUPPET", column).runs
    assert plain == cell("figure1", column, "0 sets").runs == cell("figure2", "RoBERTa-B", column).runs
    assert muppet == cell("figure1", column, "42 sets (all)").runs


def test_ablations_share_the_plain_and_muppet_rows() -> None:
    for row in ("RoBERTa-B", "RoBERTa-B + MUPPET", "BART", "BART + MUPPET"):
        for table, column in (("table3", "RTE"), ("table4", "CQA")):
            assert cell("ablations", row, column).runs == cell(table, row, column).runs


def test_each_ablation_changes_its_run_and_the_base_is_a_row() -> None:
    study = studies()["ablations"]
    assert set(study.base) | set(study.base.values()) <= set(study.rows)
    for row, base in study.base.items():
        for column in study.columns:
            assert cell("ablations", row, column).runs != cell("ablations", base, column).runs, (row, column)


def test_figure_3_at_all_the_data_is_the_tables_run_and_draws_are_nested_in_seeds() -> None:
    whole = cell("figure3", "QNLI | 0 sets", "100 %").runs
    assert set(whole) <= set(cell("table3", "RoBERTa-B", "QNLI").runs) and len(whole) == 5
    part = cell("figure3", "CoLA | 34 sets", "21.25 %").runs
    assert [(run.fraction, run.draw, run.seed) for run in part] == [(0.2125, i, i) for i in range(5)]
    assert (
        len({c.column for c in studies()["figure3"].cells}) == 9
        and len({c.row for c in studies()["figure3"].cells}) == 16
    )


def test_the_scale_curve_is_nested_holds_the_five_and_keeps_the_unseen_out() -> None:
    sets = {}
    for c in studies()["figure1"].cells:
        if c.x and not c.column.endswith("(all)"):
            sets[c.x] = {task.name for task in c.runs[0].init.tasks}
    assert sorted(sets) == [10, 16, 22, 28, 34, 38]  # of the 40 entries two repeat others
    assert all(len(names - {"superglue", "multinli"}) == k for k, names in sets.items())
    assert all(sets[a] < sets[b] for a, b in zip(sorted(sets), sorted(sets)[1:]))
    assert {"rte", "boolq", "race", "squad", "mnli"} <= sets[10]
    seen = {task.name for run in runs("figure3", Prefinetune).values() for task in run.tasks}
    assert not {"qnli", "cola"} & seen and len(runs("figure3", Prefinetune)) == 7


def test_the_three_policies_differ_in_the_order_alone() -> None:
    first, *others = runs("figure2", Prefinetune).values()
    assert len(first.tasks) == 35
    policies = ("heterogeneous", "batch_homogeneous", "dataset_homogeneous")
    assert sorted((run.recipe.batching, run.seed) for run in (first, *others)) == sorted(product(policies, range(3)))
    for run in others:
        assert (run.tasks, run.recipe.updates) == (first.tasks, first.recipe.updates)


@pytest.mark.parametrize(
    ("study", "row", "base"),
    [
        ("table3", "RoBERTa-B + MUPPET", "RoBERTa-B"),
        ("figure2", "Batch Homogeneous", "RoBERTa-B"),
        ("table3", "BART + MUPPET", "BART"),
        ("ablations", "BART + MUPPET, no R3F", "BART"),
    ],
)
def test_arms_that_are_compared_have_three_seeds_of_pre_finetuning_and_no_fine_tuning_more(
    study: str, row: str, base: str
) -> None:
    one = cell(study, row, "RTE")
    assert len(one.runs) == len(cell(study, base, "RTE").runs) == 60
    assert {(run.seed, run.init.seed) for run in one.runs} == {(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)}
    assert {run.init.seed for run in cell("table3", "RoBERTa-L + MUPPET", "RTE").runs} == {0}
    for profile, seeds in (("base", {0}), ("mini", {0, 1, 2}), ("smoke", {0})):
        starts = {run.seed for run in studies(profile)[study].runs().values() if isinstance(run, Prefinetune)}
        assert starts == seeds, profile


def test_the_papers_protocol_trains_on_all_rows_and_the_honest_one_holds_some_out() -> None:
    for study in studies().values():
        for one in study.cells:
            assert all(run.held_out is None for run in one.runs)
            assert all(run.held_out in (0.1, 0.02) for run in one.honest)
            assert not one.honest or [replace(run, held_out=None) for run in one.honest] == list(one.runs)
    whole = cell("figure3", "CoLA | 34 sets", "100 %")
    assert all((run.fraction, run.held_out) == (None, None) for run in whole.runs)


def test_under_the_honest_protocol_its_runs_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE, "protocol=honest")
    honest = load.load_studies("paper", ("table3", "figure3"))
    tuned = [run for run in honest["table3"].runs().values() if isinstance(run, Finetune)]
    assert len(tuned) == len(runs("table3")) and all(run.held_out for run in tuned)
    assert set(honest["figure3"].runs()) == set(studies()["figure3"].runs())  # one point: nothing to select


def test_weights_are_evaluated_at_each_epochs_end_or_ten_times() -> None:
    assert {run.evaluations for run in cell("table3", "RoBERTa-L", "MNLI").runs} == {10}
    assert {run.evaluations for run in cell("table3", "RoBERTa-L", "SQuAD").runs} == {2}  # two epochs
    assert {run.evaluations for run in cell("table4", "BART", "CNN/DailyMail").runs} == {10}  # 20,000 updates
    assert {run.evaluations for run in runs("table6").values()} == {10}
    for profile, evaluations in (("mini", {1}), ("smoke", {2})):
        tuned = [run for run in studies(profile)["table3"].runs().values() if isinstance(run, Finetune)]
        assert {run.evaluations for run in tuned} == evaluations


def test_warm_up_and_dropout_are_the_published_ones() -> None:
    for row, share, activation in (("BART", 0.06, 0.0), ("RoBERTa-B", 0.25, None)):
        recipes = {run.recipe for run in cell("table3", row, "QQP").runs}
        assert {(one.warmup_share, one.activation_dropout) for one in recipes} == {(share, activation)}
    assert 6796 / 113272 == pytest.approx(0.06, abs=1e-4) and 28318 / 113272 == pytest.approx(0.25, abs=1e-4)
    assert {run.recipe.activation_dropout for run in cell("table4", "BART", "Gigaword").runs} == {0.0}
    assert prefinetuning(BART).recipe.activation_dropout == 0.0


PUBLISHED = """
model   | MNLI  QNLI  QQP    RTE  SST-2 MRPC CoLA STS-B
RoBERTa | 1e-5  1e-5  1e-5   2e-5 1e-5  1e-5 1e-5 2e-5
rows    | 32    32    32     16   32    16   16   16
warm-up | 7432  1986  28318  122  1256  137  320  214
updates | 123873 33112 113272 2036 20935 2296 5336 3598
BART    | 5e-6  1e-5  1e-5   1e-5 5e-6  2e-5 2e-5 2e-5
rows    | 128   32    32     32   128   64   64   32
warm-up | 1858  1986  6796   61   314   68   80   107
updates | 30968 33112 113272 1018 5233  1148 1334 1799
"""  # copied from README.glue.md of fairseq's examples/roberta and examples/bart


@pytest.mark.parametrize(("row", "eps", "decay"), [("RoBERTa-L", 1e-6, 0.1), ("BART", 1e-8, 0.01)])
def test_glue_is_fine_tuned_as_published(row: str, eps: float, decay: float) -> None:
    table = [line.replace("|", " ").split() for line in PUBLISHED.strip().splitlines()]
    at = next(i for i, line in enumerate(table) if row.startswith(line[0]))
    for place, column in enumerate(table[0][1:], start=1):
        lr, examples, warmup, updates = (float(line[place]) for line in table[at : at + 4])
        runs = cell("table3", row, column).runs
        recipes = {run.recipe for run in runs}
        assert {(one.max_examples, one.weight_decay, one.epochs) for one in recipes} == {(examples, decay, 10)}, column
        assert all(one.warmup_share == pytest.approx(warmup / updates, abs=1e-3) for one in recipes), column
        (point,) = {run.recipe for run in runs if published(run)}
        assert (point.lr, point.adam_eps, point.dropout) == (lr, eps, 0.1), column


def test_race_commonsense_qa_and_summaries_are_fine_tuned_as_published() -> None:
    (race,) = {run.recipe for run in cell("figure1", "RACE", "0 sets").runs if published(run)}
    assert (race.epochs, race.schedule, race.lr, race.max_examples, race.weight_decay) == (
        5,
        "constant",
        1e-5,
        16,
        0.01,
    )
    assert race.warmup_share is race.warmup_updates is None
    (cqa,) = {run.recipe for run in cell("table4", "RoBERTa-B", "CQA").runs if published(run)}
    assert (cqa.updates, cqa.warmup_updates, cqa.lr, cqa.max_examples, cqa.weight_decay) == (3000, 150, 1e-5, 16, 0.01)
    (news,) = {run.recipe for run in cell("table4", "BART", "CNN/DailyMail", "R1").runs if published(run)}
    assert (news.updates, news.warmup_updates, news.lr, news.max_tokens) == (20_000, 500, 3e-5, 2048)
    assert news.sub_batches == 4 * 8  # accumulated, on 8 GPUs
    assert (news.clip_norm, news.adam_betas, news.adam_eps, news.weight_decay) == (0.1, (0.9, 0.999), 1e-8, 0.01)


def test_all_scores_of_a_task_are_judged_by_one() -> None:
    for columns in (("CNN/DailyMail",), ("Gigaword",)):
        three = [cell("table4", "BART", columns[0], metric) for metric in ("R1", "R2", "RL")]
        assert len({one.judge for one in three}) == 1 and len({one.score for one in three}) == 3
    assert cell("table3", "BART", "QQP").judge == cell("table3", "BART", "QQP F1").judge


def test_what_a_profile_does_not_keep_apart_is_not_run() -> None:
    """Found by comparing ids, datasets and effective weights; the paper's own runs are all apart."""
    alike = {
        profile: {(c.row, c.column) for study in studies(profile).values() for c in study.cells if c.why == SAME}
        for profile in ("paper", "base", "mini", "smoke")
    }
    assert not alike["paper"] and not alike["base"]
    ours = "RoBERTa-B + MUPPET, "
    assert {row for row, _ in alike["mini"]} == {
        ours + "MNLI twice",
        "CoLA | 38 sets (each once)",
        "QNLI | 38 sets (each once)",
    }
    assert {row for row, _ in alike["smoke"]} == {  # capped rows make all sets alike
        ours + "scaling by dataset size",
        ours + "uniform sampling",
        ours + "temperature sampling",
    }
    for profile in ("mini", "smoke"):
        for study in studies(profile).values():
            assert all(not c.runs and not c.honest for c in study.cells if c.why == SAME)
    mini = {c.column: c.x for c in studies("mini")["figure1"].cells if c.runs}
    sets = {c.column: len(c.runs[0].init.tasks) for c in studies("mini")["figure1"].cells if c.x and c.runs}
    assert {column: mini[column] for column in sets} == sets and sets["10 sets"] < 10


def test_table_6_trains_on_weighted_mixtures_and_pools_its_rounds() -> None:
    total = cell("table6", "RoBERTa-MUPPET | S,M,F,ANLI", "ANLI")
    weights = {task.name: weight for task, weight in total.runs[0].train_on}
    assert weights == {"snli": 1, "mnli": 1, "fever_nli": 1, "anli_r1": 10, "anli_r2": 20, "anli_r3": 10}
    rounds = [cell("table6", "RoBERTa-MUPPET | S,M,F,ANLI", column) for column in ("A1", "A2", "A3")]
    assert total.score == " + ".join(c.score for c in rounds) and all(c.runs == total.runs for c in rounds)
    assert {task.name for task in total.runs[0].evaluate_on} == {"anli_r2", "anli_r3"}


def test_hyperpartisan_folds_partition_the_articles() -> None:
    folds = cell("table5", "BART", "Hyperpartisan")
    held = {run.task.partition for run in folds.runs}
    assert folds.folds and len(held) == 10
    for partition in held:
        parts = dict(partition)
        assert sorted((*parts["train"], *parts["validation"])) == list(range(10)) and len(parts["validation"]) == 1


@pytest.mark.parametrize(
    ("name", "fine", "pre"),
    [
        ("table4", 2010, 7),
        ("table5", 2490, 7),
        ("table6", 50, 1),
        ("figure1", 2400, 9),
        ("figure2", 1200, 9),
        ("figure3", 720, 7),
    ],
)
def test_the_numbers_of_runs_in_the_docstrings_are_right(name: str, fine: int, pre: int) -> None:
    assert (len(runs(name)), len(runs(name, Prefinetune))) == (fine, pre)


def test_new_prefinetunings_of_the_ablations() -> None:
    tables = {name for table in ("table3", "table4") for name in runs(table, Prefinetune)}
    assert len(runs("ablations", Prefinetune).keys() - tables) == 31


def test_smoke_measures_every_cell_that_is_not_the_papers_alone() -> None:
    for study in studies("smoke").values():
        assert all(c.runs or c.why in ("paper only", SAME) for c in study.cells), study.name


def test_an_option_reaches_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OVERRIDE, "figure1_first=stsb,scale_third_task=stsb,scale_last=include_all,anli_split=test")
    changed = load.load_studies("paper", ("figure1", "figure3", "table6"))
    assert changed["figure1"].rows[0] == "STS-B" and changed["figure1"].cells[0].score == "stsb/validation/spearman"
    assert any(row.startswith("STS-B") for row in changed["figure3"].rows)
    assert run_id(prefinetuning(ROBERTA_B)) in changed["figure3"].runs()
    assert changed["table6"].cells[0].score == "anli_r1/test_r1/accuracy"


def test_declaring_everything_imports_nothing_heavy() -> None:
    code = (
        "import sys; from studies.kit import load; load.load_studies('smoke'); "
        "print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_glob_over_all_artefacts_keeps_those_that_have_its_cells():
    kept = load.cut(studies(), "roberta-b/rte")
    assert set(kept) == {"table3", "figure2", "ablations"}
    assert all({c.key for c in study.cells} == {"RoBERTa-B/RTE"} for study in kept.values())
    assert load.cut(studies(), None) == studies()
    with pytest.raises(UserError, match="did you mean 'RoBERTa-B/RTE'"):
        load.cut(studies(), "RoBERTa-B/RTEE")


@pytest.mark.parametrize("decided", ["", "anli_split=test"])
@pytest.mark.parametrize("profile", ["paper", "mini", "smoke"])
def test_every_cell_asks_for_a_score_that_its_runs_have(profile: str, decided: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(OVERRIDE, decided)
    for study in load.load_studies(profile).values():
        for one in study.cells:
            for run in one.runs[:1]:
                assert isinstance(run, Finetune) and one.score
                made = {t.key(split, metric) for t in run.scored for split in t.evaluation for metric in t.metrics}
                assert set(one.score.split(" + ")) <= made, (study.name, one.key, one.score)


@pytest.mark.parametrize("code", [errno.EFBIG, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EIO, errno.EPERM])
def test_what_the_disk_refuses_is_one_line(code: int, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def refuse(args: object) -> int:
        raise OSError(code, os.strerror(code), "a/file")

    monkeypatch.setattr("studies.__main__.function", lambda name: refuse)
    assert main(["status"]) == 2
    assert capsys.readouterr().err.startswith(f"error: [Errno {code}] {os.strerror(code)}: 'a/file'; ")


def test_a_closed_standard_stream_is_no_file_s_number() -> None:
    child = "import os, sys; sys.exit(os.open(os.devnull, os.O_RDONLY) < 3)"  # what is not handed on is closed there
    code = "import subprocess, sys; from muppet.errors import show_all; show_all(); "
    code += f"sys.exit(open({__file__!r}).fileno() < 3 or subprocess.call([sys.executable, '-c', {child!r}]))"
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command, check=False).returncode == 0
