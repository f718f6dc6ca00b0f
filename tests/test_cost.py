"""The cost model: it scales as the work does, knows the paper's budget, and learns from finished runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet.data.sources import load_rows
from muppet.runs import R3F, Finetune, Prefinetune, Recipe
from muppet.tasks import get
from studies.kit import cost

RECIPE = Recipe(lr=1e-5, max_tokens=4400, updates=200_000)
BASE = Prefinetune(model="FacebookAI/roberta-base", tasks=(get("rte"), get("mnli"), get("squad")), recipe=RECIPE)
LARGE = replace(BASE, model="FacebookAI/roberta-large")
FINE = Finetune(
    init=BASE,
    task=get("rte"),
    recipe=replace(RECIPE, updates=None, epochs=10.0, sub_batches=1, max_tokens=None, max_examples=16),
)
runs = st.sampled_from([BASE, LARGE, FINE])


@given(runs, st.integers(2, 50))
def test_twice_the_updates_are_twice_the_training(run: Prefinetune | Finetune, times: int) -> None:
    short = replace(run, recipe=replace(run.recipe, updates=1000, epochs=None))
    long = replace(run, recipe=replace(run.recipe, updates=1000 * times, epochs=None))
    assert cost.estimate(long).tokens == pytest.approx(times * cost.estimate(short).tokens)
    assert cost.seconds(long) > cost.seconds(short) > 0


def test_the_papers_pre_finetuning_costs_what_its_arithmetic_says() -> None:
    # 200k updates × 64 sub-batches × 4400 tokens = 56.3 G slots; 0.54 and 1.9 GFLOP a token for base and large
    spent = cost.estimate(BASE)
    assert 0.8 * 56.3e9 < spent.tokens <= 56.3e9
    assert spent.flops / spent.tokens == pytest.approx(0.54e9, rel=0.15)
    assert cost.estimate(LARGE).flops / spent.tokens == pytest.approx(1.9e9, rel=0.15)


def test_natural_sizes_go_through_every_dataset_equally_often_and_other_sampling_does_not() -> None:
    natural = cost.estimate(BASE).epochs
    assert len(set(round(n, 6) for n in natural.values())) == 1
    uniform = cost.estimate(replace(BASE, recipe=replace(RECIPE, sampling="uniform"))).epochs
    assert uniform["rte"] > natural["rte"] and uniform["mnli"] < natural["mnli"]
    assert uniform["rte"] * cost.rows(get("rte"), BASE) == pytest.approx(uniform["mnli"] * cost.rows(get("mnli"), BASE))


def test_a_decoder_costs_what_its_weights_do_and_r3f_as_much_again() -> None:
    bart = replace(BASE, model="facebook/bart-large")
    spent = cost.estimate(bart)
    # 6 a weight and token: of BART-large's 406 M weights 53 M are embeddings
    assert spent.flops / spent.tokens == pytest.approx(6 * 353e6, rel=0.1)
    for run in (BASE, bart):
        twice = cost.estimate(replace(run, recipe=replace(RECIPE, r3f=R3F())))
        assert twice.flops == pytest.approx(2 * cost.estimate(run).flops)


def test_short_fine_tunings_are_made_of_floors() -> None:
    # 2,490 rows of 16 for 10 epochs: 1,556 updates; an update of twelve layers is not done in 4 ms on any GPU
    fine = cost.estimate(FINE)
    assert fine.updates == pytest.approx(2490 * 10 / 16, rel=0.01)
    assert 0.01 < (fine.seconds("gpu") - cost.OVERHEAD_S["gpu"]) / fine.updates < 0.1
    # and a pre-finetuning's updates are not: its tokens keep a GPU busy
    whole = cost.estimate(LARGE)
    assert whole.seconds("gpu") == pytest.approx(whole.flops / cost.SPEED["gpu"], rel=0.1)


def test_evaluation_and_held_out_rows_and_every_prediction_are_counted() -> None:
    short = replace(FINE, recipe=replace(FINE.recipe, updates=1, epochs=None), evaluation_rows=10)
    whole, held_out = replace(short, evaluation_rows=None), replace(short, held_out=0.5)
    assert cost.estimate(whole).scoring > 10 * cost.estimate(short).scoring
    assert cost.estimate(held_out).scoring > 10 * cost.estimate(short).scoring
    lines = get("rte").evaluation_rows - 10
    grown = cost.estimate(whole).disk - cost.estimate(short).disk
    assert grown == pytest.approx(lines * cost.OTHER_BYTES)


def test_table_6_is_evaluated_ten_times_on_three_rounds() -> None:
    from studies.kit.load import load_studies

    run = next(run for run in load_studies("paper", ["table6"])["table6"].runs().values() if isinstance(run, Finetune))
    assert run.evaluations == 10
    once = cost.estimate(replace(run, evaluations=None))
    rows = sum(get(name).evaluation_rows for name in ("anli_r1", "anli_r2", "anli_r3"))
    assert rows == 3200 and once.scoring_passes == pytest.approx(rows / cost.SCORED)
    # ten times along the training, and the best weights again at its end
    assert cost.estimate(run).scoring == pytest.approx(11 * once.scoring)
    assert cost.estimate(run).scoring_seconds("gpu") == pytest.approx(11 * once.scoring_seconds("gpu"))


def test_the_bytes_of_a_prediction_are_those_that_are_written(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from muppet import paths
    from muppet.runs import run_id
    from muppet.stages.finetune import finetune

    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    recipe = Recipe(lr=1e-3, max_tokens=256, max_length=64, updates=1, sub_batches=1)
    run = Finetune(
        init="tiny/roberta", task=get("rte"), recipe=recipe, source="twins", train_rows=32, evaluation_rows=64
    )
    finetune(run)
    written = (paths.run_dir(run_id(run)) / "predictions.jsonl").stat().st_size
    assert written == pytest.approx(64 * cost.OTHER_BYTES, rel=0.2)


def test_a_models_folder_tells_its_size(tmp_path) -> None:
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 4, "hidden_size": 312, "vocab_size": 1000}')
    size = cost.model_size(replace(BASE, model=str(tmp_path)))
    assert (size.name, size.layers, size.hidden) == ("mini", 4, 312)
    assert not cost.wants_gpu(replace(BASE, model="tiny/roberta")) and cost.wants_gpu(LARGE)


@given(st.floats(0.05, 20), st.lists(st.sampled_from([BASE, FINE]), min_size=1, max_size=6))
def test_finished_runs_correct_the_estimate(factor: float, done: list[Prefinetune | Finetune]) -> None:
    took = [
        (run, {"seconds": factor * cost.estimate(run).seconds("gpu"), "device": "NVIDIA X", "processes": 1})
        for run in done
    ]
    learnt = cost.calibrate(took)
    for run in done:
        assert cost.seconds(run, learnt) == pytest.approx(factor * cost.estimate(run).seconds("gpu"))
    assert learnt.runs == len(done) and learnt.off == pytest.approx(1.0)
    assert f"{len(done)} finished runs" in str(learnt)


def test_a_training_that_ends_before_its_rows_do_goes_through_no_more() -> None:
    whole = replace(FINE, task=get("qnli"), train_rows=5_000)
    assert cost.seen(whole) == 5_000  # ten epochs
    short = replace(whole, recipe=replace(FINE.recipe, epochs=None, updates=150))
    assert [cost.seen(replace(short, fraction=f)) for f in (0.1, 0.325, 0.55, None)] == [500, 1_625, 2_400, 2_400]


def test_what_a_gpu_took_says_nothing_of_a_cpu() -> None:
    plain = {device: cost.estimate(FINE).seconds(device) for device in ("cpu", "gpu")}
    took = [
        (FINE, {"seconds": 3 * plain["cpu"], "device": "cpu"}),
        (FINE, {"seconds": plain["gpu"] / 7, "device": "NVIDIA X"}),
    ]
    learnt = cost.calibrate(took * 3)
    assert cost.seconds(FINE, learnt, "cpu") == pytest.approx(3 * plain["cpu"])
    assert cost.seconds(FINE, learnt, "gpu") == pytest.approx(plain["gpu"] / 7) and learnt.off == pytest.approx(1.0)
    assert cost.seconds(FINE, cost.calibrate(took[:1]), "gpu") == plain["gpu"]


def test_four_processes_that_took_an_hour_spent_four() -> None:
    hour = {"seconds": 3600, "device": "cpu", "processes": 4}
    assert cost.seconds(FINE, cost.calibrate([(FINE, hour)]), "cpu") == pytest.approx(4 * 3600)


def test_nothing_finished_is_said() -> None:
    assert cost.calibrate([]) is cost.UNCALIBRATED and "no run has finished" in str(cost.UNCALIBRATED)


@pytest.mark.parametrize("cap", [None, 10, 5000])
def test_of_a_twin_the_model_counts_the_rows_that_are_drawn(cap: int | None) -> None:
    run = replace(BASE, model="tiny/roberta", source="twins", train_rows=cap)
    drawn = load_rows(get("rte"), "train", source="twins", cap=cap)
    assert cost.rows(get("rte"), run) == len(drawn.rows)
