"""Scaling: small runs have other ids, keep what an experiment varies, and form a whole Table 3."""

import re
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.runs import R3F, Finetune, Prefinetune, Recipe, base_model, parent, run_id
from muppet.tasks import get
from studies import recipes
from studies.kit import profiles
from studies.kit.decisions import OVERRIDE
from studies.kit.load import fewer, load_studies

RUNS = [
    recipes.prefinetuning(recipes.ROBERTA_B),
    *recipes.finetunings(recipes.ROBERTA_B, get("rte")),
    *recipes.finetunings(recipes.prefinetuning(recipes.ROBERTA_B), get("squad"))[:10],
]
# What profiles set; everything else of a recipe belongs to the experiment.
SIZE = {
    "lr",
    "max_tokens",
    "updates",
    "epochs",
    "warmup_updates",
    "warmup_share",
    "adam_eps",
    "dropout",
    "max_length",
    "max_examples",
    "sub_batches",
}


@pytest.mark.parametrize("name", ["smoke", "mini"])
@given(run=st.sampled_from(RUNS))
@settings(max_examples=30, deadline=None)
def test_a_small_run_never_has_the_id_of_a_declared_one(name: str, run: Finetune | Prefinetune) -> None:
    small = profiles.get(name)(run)
    assert small is None or run_id(small) != run_id(run)


def test_paper_leaves_every_run_as_declared() -> None:
    assert all(profiles.get("paper")(run) is run for run in RUNS)


@pytest.mark.parametrize("name", ["smoke", "mini"])
@given(
    batching=st.sampled_from(["heterogeneous", "batch_homogeneous", "dataset_homogeneous"]),
    scaling=st.sampled_from(["log_n", "none", "inverse_loss", "dataset_size"]),
    heads=st.sampled_from(["shared", "per_dataset"]),
    r3f=st.sampled_from([None, R3F()]),
)
@settings(max_examples=30, deadline=None)
def test_what_an_experiment_varies_survives_scaling(name: str, **varied: object) -> None:
    declared = recipes.prefinetuning(recipes.ROBERTA_B)
    changes = varied | {"loss_scaling": varied.pop("scaling")}
    run = replace(declared, recipe=replace(declared.recipe, **changes))
    small = profiles.get(name)(run)
    if name == "mini" and changes["loss_scaling"] == "dataset_size":
        assert small is None  # rows are capped, so sizes say little: left out
        return
    assert small is not None
    sized = SIZE | ({"attention_dropout"} if name == "smoke" else set())  # which trains without any
    for field in {f.name for f in fields(Recipe)} - sized:
        assert getattr(small.recipe, field) == getattr(run.recipe, field), field


@pytest.mark.parametrize(("name", "seeds"), [("smoke", profiles.SMOKE_SEEDS), ("mini", profiles.MINI_SEEDS)])
def test_a_search_becomes_one_point(name: str, seeds: int) -> None:
    small = {run_id(s) for run in recipes.finetunings(recipes.ROBERTA_B, get("rte")) if (s := profiles.get(name)(run))}
    assert len(small) == seeds


@pytest.mark.parametrize("name", ["smoke", "mini"])
def test_a_child_starts_from_its_scaled_parent(name: str) -> None:
    scale = profiles.get(name)
    declared = recipes.prefinetuning(recipes.ROBERTA_B)
    child = scale(recipes.finetunings(declared, get("rte"))[0])
    assert child is not None and parent(child) == scale(declared)


def test_smoke_needs_no_download_and_fills_the_roberta_rows() -> None:
    study = load_studies("smoke", ["table3"])["table3"]
    assert all(run.source == "twins" for run in study.runs().values())
    assert all(base_model(run).startswith("tiny/") for run in study.runs().values())
    rows = {cell.row for cell in study.cells if cell.runs}
    assert rows == set(recipes.rows())
    models = {run.model for run in study.runs().values() if isinstance(run, Prefinetune)}
    assert {"tiny/roberta", "tiny/roberta-large"} <= models


def test_mini_has_the_base_rows_alone_on_real_data_with_fifteen_datasets_or_more() -> None:
    study = load_studies("mini", ["table3"])["table3"]
    assert {cell.row for cell in study.cells if cell.runs} == {"RoBERTa-B", "RoBERTa-B + MUPPET"}
    assert {cell.why for cell in study.cells if cell.row.startswith(("RoBERTa-L", "BART"))} == {"not in this profile"}
    pre = [run for run in study.runs().values() if isinstance(run, Prefinetune)]
    assert {run.seed for run in pre} == set(recipes.PRE_SEEDS) and len({replace(run, seed=0) for run in pre}) == 1
    assert len(pre[0].tasks) >= 26 and {task.family for task in pre[0].tasks} >= {
        "classification",
        "commonsense",
        "span",
    }
    assert all(run.source == "hub" and run.train_rows for run in study.runs().values())
    for cell in study.cells:
        if cell.row.endswith("MUPPET") and cell.runs:  # a replicate is a pre-finetuning, a draw and a fine-tuning
            assert sorted((run.seed, parent(run).seed) for run in cell.runs) == [(0, 0), (1, 1), (2, 2)], cell.key


def test_the_other_small_encoder_changes_every_run_of_mini_and_none_of_paper(monkeypatch) -> None:
    before = {name: load_studies(name)["table3"].runs() for name in ("mini", "paper")}
    monkeypatch.setenv(OVERRIDE, "mini_model=pretrained_only")
    after = {name: load_studies(name)["table3"].runs() for name in ("mini", "paper")}
    assert after["paper"].keys() == before["paper"].keys()
    assert not after["mini"].keys() & before["mini"].keys() and len(after["mini"]) == len(before["mini"])
    assert {base_model(run) for run in after["mini"].values()} == {"nreimers/MiniLM-L6-H384-uncased"}


def test_a_lower_cap_of_one_dataset_is_another_run_and_holds_for_it_alone() -> None:
    run = replace(recipes.prefinetuning(recipes.ROBERTA_B), train_rows=100)
    less = replace(run, caps=(("rte", 10), ("mnli", 1_000)))
    assert run_id(less) != run_id(run)
    assert [less.cap(get(name)) for name in ("rte", "mnli", "squad")] == [10, 100, 100]
    assert replace(less, train_rows=None).cap(get("squad")) is None


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'smoke'"):
        profiles.get("smok")


# ---------------------------------------------------------------- base


def test_base_is_roberta_base_s_part_of_every_artefact_on_whole_data() -> None:
    paper, base = load_studies("paper"), load_studies("base")
    for name, study in base.items():
        own = [cell for cell in study.cells if cell.runs]
        rows = {cell.row for cell in own}
        large = {cell.row for cell in paper[name].cells if cell.runs} - rows
        assert bool(own) == (name != "table6"), name  # which is of the large model alone
        assert not any("RoBERTa-L" in row or "BART" in row for row in rows), rows
        assert all("RoBERTa-L" in row or "BART" in row or name == "table6" for row in large), large
        for run in study.runs().values():
            assert run.train_rows is None and getattr(run, "evaluation_rows", None) is None


def test_base_has_the_published_point_and_three_seeds() -> None:
    cells = {cell.key: cell for cell in load_studies("base", ["table3"])["table3"].cells}
    for row in ("RoBERTa-B", "RoBERTa-B + MUPPET", "RoBERTa-B + MUPPET (released)"):
        for column, lr in (("RTE", 2e-5), ("MNLI", 1e-5), ("STS-B", 2e-5)):
            runs = cells[f"{row}/{column}"].runs
            assert len(runs) == profiles.BASE_SEEDS == len({run.seed for run in runs})
            assert {(run.recipe.lr, run.recipe.adam_eps, run.recipe.dropout) for run in runs} == {(lr, 1e-6, 0.1)}
            assert {run.held_out for run in runs} == {None}
    (parent_run,) = {parent(run) for run in cells["RoBERTa-B + MUPPET/RTE"].runs}
    assert parent_run == recipes.prefinetuning(recipes.ROBERTA_B)  # Table 8's, as declared


def test_base_keeps_every_fold() -> None:
    study = load_studies("base", ["table5"])["table5"]
    (cell,) = [cell for cell in study.cells if cell.key == "RoBERTa-B/Hyperpartisan"]
    assert cell.folds and sorted(run.seed for run in cell.runs) == list(range(10))


def test_fewer_seeds_and_the_published_point_are_the_same_runs_fewer_of_them() -> None:
    study = load_studies("paper", ["table3"])["table3"]
    one, point, both = (fewer(study, *asked) for asked in ((1, False), (None, True), (1, True)))
    for cell, seed, published, least in zip(study.cells, one.cells, point.cells, both.cells, strict=True):
        assert set(least.runs) <= set(seed.runs) | set(published.runs) <= set(cell.runs)
        if cell.runs:
            assert len(seed.runs) == 12 and len(published.runs) == 5 and len(least.runs) == 1, cell.key
    assert one.runs().keys() <= study.runs().keys()  # the same ids
    studies = load_studies("paper").values()
    before = [cell for whole in studies for cell in whole.cells if cell.folds]
    after = [cell for whole in studies for cell in fewer(whole, 1, False).cells if cell.folds]
    assert before and before == after  # a fold is no repetition
    small = load_studies("smoke", ["table3"])["table3"]  # whose search is another: nothing is lost
    assert all(bool(cell.runs) == bool(kept.runs) for cell, kept in zip(small.cells, fewer(small, None, True).cells))


def test_base_s_plan_says_hours_and_days_on_one_gpu(tmp_path, monkeypatch, capsys) -> None:
    from studies.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    assert main(["plan", "--profile", "base"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    said = re.search(r"on one GPU, a run after the other: ([\d,]+) GPU-hours, ([\d,.]+) days", out)
    assert said and float(said[1].replace(",", "")) / 24 == pytest.approx(float(said[2].replace(",", "")), abs=0.1)
