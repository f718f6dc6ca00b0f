"""Cells from results: every state, the interval over runs and items, and each protocol as it is defined."""

import math
from dataclasses import replace
from statistics import fmean, median, stdev

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as t_dist

from muppet import result
from muppet.result import Score
from muppet.runs import run_id
from muppet.tasks import get
from studies.kit.ledger import folder as records
from studies.kit.ledger.cells import PROTOCOLS, cells_frame, reduce
from studies.kit.ledger.results import read_all
from studies.kit.study import Cell, Study
from tests.kit import PARENT, child, finish, result_of, small_study

pytestmark = pytest.mark.usefixtures("empty_folder")


def cell_of(frame: pd.DataFrame, row: str, column: str) -> pd.Series:
    (found,) = frame[(frame["row"] == row) & (frame["column"] == column)].to_dict("records")
    return pd.Series(found)


def test_every_state_of_a_cell() -> None:
    study = small_study()
    extra = (
        Cell(row="BART", column="RTE", why="not yet: encoder–decoders"),
        Cell(row="MT-DNN", column="QQP", why="paper only"),
    )
    study = replace(study, cells=study.cells + extra)
    finish(child(init="tiny/roberta"), 0.5)
    bad = finish(child(init="tiny/roberta", task="sst2"), 0.5)
    bad.write_text("")
    records.fail(run_id(PARENT), "no space")
    frame = cells_frame(study, "smoke")
    states = {(row, column): state for row, column, state in frame[["row", "column", "state"]].values}
    assert states == {
        ("RoBERTa-B", "RTE"): "measured",
        ("RoBERTa-B", "SST-2"): "refused",
        ("RoBERTa-B + MUPPET", "RTE"): "failed",
        ("RoBERTa-B + MUPPET", "SST-2"): "failed",
        ("BART", "RTE"): "not yet: encoder–decoders",
        ("MT-DNN", "QQP"): "paper only",
    }
    pair = frame[frame["row"] == "MT-DNN"]
    assert list(pair["printed"]) == ["91.9", "89.2"] and pair["paper"].tolist() == pytest.approx([0.919, 0.892])


def test_a_measured_cell_holds_the_mean_and_its_interval_over_runs_and_items() -> None:
    for seed, value in enumerate((0.60, 0.65, 0.70)):
        finish(child(init="tiny/roberta", seed=seed), value, n=277, profile="paper")
    cell = cell_of(cells_frame(small_study(seeds=4), "paper"), "RoBERTa-B", "RTE")
    assert (cell["printed"], cell["paper"], cell["n"]) == ("78.7", pytest.approx(0.787), 277)
    assert cell["value"] == pytest.approx(0.65) and cell["difference"] == pytest.approx(0.65 - 0.787)
    assert (cell["seeds_done"], cell["seeds_total"], cell["runs_done"], cell["runs_total"]) == (3, 4, 3, 4)
    items = 0.05 / 1.959964
    assert cell["item_error"] == pytest.approx(items)  # the runs' own intervals are 0.05 wide on each side
    variance, over_runs = 0.05**2 / 3 + items**2, 0.05**2 / 3
    half = t_dist.ppf(0.975, 2 * (variance / over_runs) ** 2) * variance**0.5 / (0.65 * 0.35)
    centre = math.log(0.65 / 0.35)
    expected = [1 / (1 + math.exp(-centre - step)) for step in (-half, half)]
    assert [cell["low"], cell["high"]] == pytest.approx(expected)


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_or_two_runs_have_scores_and_no_interval(seeds: int) -> None:
    for seed in range(seeds):
        finish(child(init="tiny/roberta", seed=seed), 0.6 + seed / 10)
    cell = cell_of(cells_frame(small_study(), "smoke"), "RoBERTa-B", "RTE")
    assert pd.isna(cell["low"]) and pd.isna(cell["high"]) and cell["seeds"] == (0.6, 0.7)[:seeds]


def test_another_model_s_numbers_are_not_set_against_the_paper_s() -> None:
    finish(child(init="tiny/roberta"), 0.6)
    cell = cell_of(cells_frame(small_study(), "smoke"), "RoBERTa-B", "RTE")
    assert cell["printed"] == "78.7" and pd.isna(cell["difference"])


def test_the_score_without_learning_stands_beside_the_cell() -> None:
    key = "rte/validation/accuracy"
    run = child(init="tiny/roberta")
    result.write(replace(result_of(run, 0.6), training={"trivial": {key: 0.527}}), records.result_path("smoke", run))
    cell = cell_of(cells_frame(small_study(), "smoke"), "RoBERTa-B", "RTE")
    assert cell["trivial"] == pytest.approx(0.527)


LRS = (1e-5, 2e-5, 3e-5)


@st.composite
def grids(draw) -> dict[tuple[float, int], tuple[float, float]]:
    """(lr, seed) → (held-out, evaluation) score."""
    unit = st.integers(0, 1000).map(lambda k: k / 1000)
    return {(lr, seed): (draw(unit), draw(unit)) for lr in LRS for seed in range(3)}


@given(grids())
@settings(max_examples=40, deadline=None)
def test_protocols_equal_their_definitions(grid) -> None:
    runs = {key: child(init="tiny/roberta", seed=key[1], lr=key[0]) for key in grid}
    keys = {"score": "rte/validation/accuracy", "select": "rte/held_out/accuracy"}
    cell = Cell(row="r", column="c", runs=tuple(runs.values()), **keys)
    scores = {}
    for key, (held_out, evaluation) in grid.items():
        scores[run_id(runs[key]), "rte/held_out/accuracy"] = Score(value=held_out, n=10)
        scores[run_id(runs[key]), "rte/validation/accuracy"] = Score(value=evaluation, n=10)

    def of(lr: float, which: int) -> list[float]:
        return [grid[lr, seed][which] for seed in range(3)]

    picked = reduce(cell, scores, "paper")
    values = [scores[name, cell.score].value for name in picked]
    assert median(values) == max(median(of(lr, 1)) for lr in LRS)
    picked = reduce(cell, scores, "honest")
    held = [scores[name, cell.select].value for name in picked]
    assert len(picked) == 3 and fmean(held) == max(fmean(of(lr, 0)) for lr in LRS)


def test_honest_measures_nothing_without_held_out_scores_to_select_by() -> None:
    study = small_study(seeds=1, lrs=LRS)
    for lr in LRS:
        finish(child(init="tiny/roberta", lr=lr), 0.5)
    frame = cells_frame(study, "smoke", protocols=PROTOCOLS)
    here = frame[(frame["row"] == "RoBERTa-B") & (frame["column"] == "RTE")]
    assert dict(zip(here["protocol"], here["state"])) == {"paper": "measured", "honest": "pending", "last": "measured"}


def curved(run, curve: list[float], key: str = "rte/validation/accuracy"):
    """The result of `run` whose evaluations gave `curve`: its scores are of the best of them."""
    points = [
        result.Point(update=k, judged=v, scores={key: Score(value=v, n=200, low=v - 0.01, high=v + 0.01)})
        for k, v in enumerate(curve, 1)
    ]
    top = points[result.best(points)].scores
    result.write(replace(result_of(run, 0.5), scores=top, curve=points), records.result_path("smoke", run))


def test_all_protocols_are_read_from_one_run_that_trained_on_all_rows() -> None:
    """`honest` and `last` do not read weights that were best on the evaluation set."""
    for seed, curve in enumerate(([0.5, 0.7, 0.6], [0.4, 0.5, 0.6])):
        curved(child(init="tiny/roberta", seed=seed), curve)
    frame = cells_frame(small_study(), "smoke", protocols=PROTOCOLS)
    cells = frame[(frame["row"] == "RoBERTa-B") & (frame["column"] == "RTE")].set_index("protocol")
    assert {name: sorted(cells.loc[name, "seeds"]) for name in PROTOCOLS} == {
        "paper": [0.6, 0.7], "honest": [0.6, 0.6], "last": [0.6, 0.6]
    }  # fmt: skip
    assert cells["item_error"].notna().all()


def test_the_honest_protocol_reads_the_runs_that_hold_rows_out() -> None:
    """By what was best on these rows, and by nothing else; the paper's protocol does not read them."""
    whole = child(init="tiny/roberta")
    apart = replace(whole, held_out=0.1)
    cell = Cell(row="r", column="c", runs=(whole,), honest=(apart,), score="rte/validation/accuracy")
    curved(whole, [0.8, 0.3])
    points = [
        result.Point(update=k, judged=held, scores={key: Score(value=value, n=200) for key, value in scores.items()})
        for k, held, scores in (
            (1, 0.9, {"rte/validation/accuracy": 0.55, "rte/held_out/accuracy": 0.9}),
            (2, 0.2, {"rte/validation/accuracy": 0.75, "rte/held_out/accuracy": 0.2}),
        )
    ]
    done = replace(result_of(apart, 0.5), scores=points[0].scores, curve=points)
    result.write(done, records.result_path("smoke", apart))
    study = Study(name="x", title="x", kind="table", cells=(cell,))
    frame = cells_frame(study, "smoke", protocols=PROTOCOLS).set_index("protocol")
    assert frame["value"].to_dict() == {"paper": 0.8, "honest": 0.55, "last": 0.3}
    assert frame["picked"].to_dict() == {
        "paper": (run_id(whole),), "honest": (run_id(apart),), "last": (run_id(whole),)
    }  # fmt: skip
    assert set(study.runs()) == {run_id(whole)} and set(replace(study, protocol="honest").runs()) == {run_id(apart)}


def test_the_scores_of_a_task_come_from_one_point_of_its_search() -> None:
    runs = [child(init="tiny/roberta", lr=lr) for lr in LRS[:2]]
    for run, (accuracy, f1) in zip(runs, ((0.9, 0.1), (0.8, 0.7)), strict=True):
        finish(replace(run, task=get("mrpc")), {"mrpc/validation/accuracy": accuracy, "mrpc/validation/f1": f1})
    own = {"runs": tuple(replace(run, task=get("mrpc")) for run in runs), "judge": "mrpc/validation/accuracy"}
    cells = tuple(
        Cell(row="r", column=metric, score=f"mrpc/validation/{metric}", **own) for metric in ("accuracy", "f1")
    )
    frame = cells_frame(Study(name="x", title="x", kind="table", cells=cells), "smoke")
    assert frame["value"].tolist() == [0.9, 0.1]


def test_a_half_done_search_is_not_judged_by_its_luckiest_run() -> None:
    for seed in range(2):
        finish(child(init="tiny/roberta", lr=LRS[0], seed=seed), 0.5)
    finish(child(init="tiny/roberta", lr=LRS[1], seed=0), 0.99)
    cell = cell_of(cells_frame(small_study(seeds=2, lrs=LRS), "smoke"), "RoBERTa-B", "RTE")
    assert cell["value"] == 0.5 and (cell["runs_done"], cell["runs_total"]) == (3, 6)


def test_several_keys_are_their_mean_weighted_by_n() -> None:
    run = child(init="tiny/roberta")
    finish(run, {"rte/one/accuracy": 0.2, "rte/two/accuracy": 0.8}, n=100)
    cell = Cell(row="r", column="c", runs=(run,), score="rte/one/accuracy + rte/two/accuracy")
    frame = cells_frame(Study(name="x", title="x", kind="table", cells=(cell,)), "smoke")
    assert frame["value"][0] == pytest.approx(0.5) and frame["n"][0] == 200
    assert frame["item_error"][0] == pytest.approx(0.05 / 1.959964 / 2**0.5)  # of two equal parts
    absent = replace(cell, score="rte/one/accuracy + c/dev/accuracy")
    frame = cells_frame(Study(name="x", title="x", kind="table", cells=(absent,)), "smoke")
    assert frame["state"][0] == "pending"


def test_folds_count_only_together() -> None:
    tasks = [replace(get("rte"), partition=(("train", (1 - k,)), ("validation", (k,)))) for k in range(2)]
    runs = [replace(child(init="tiny/roberta", seed=k), task=task) for k, task in enumerate(tasks)]
    cell = Cell(row="r", column="c", runs=tuple(runs), score="rte/validation/accuracy", folds=True)
    study = Study(name="x", title="x", kind="table", cells=(cell,))
    finish(runs[0], 0.2, n=100)
    assert cells_frame(study, "smoke")["state"][0] == "pending"
    finish(runs[1], 0.8, n=200)
    frame = cells_frame(study, "smoke")
    assert frame["value"][0] == pytest.approx(0.6) and frame["n"][0] == 300 and frame["seeds_total"][0] == 2


def test_the_interval_of_folds_is_over_them_and_holds_their_items() -> None:
    runs = []
    for k in range(4):
        rest = tuple(other for other in range(4) if other != k)
        task = replace(get("rte"), partition=(("train", rest), ("validation", (k,))))
        runs.append(replace(child(init="tiny/roberta", seed=k), task=task))
    values = (0.48, 0.5, 0.52, 0.5)
    for run, value in zip(runs, values):
        finish(run, value, n=100)
    cell = Cell(row="r", column="c", runs=tuple(runs), score="rte/validation/accuracy", folds=True)
    found = cells_frame(Study(name="x", title="x", kind="table", cells=(cell,)), "smoke").iloc[0]
    assert (found["seeds"], found["value"], found["n"]) == (values, pytest.approx(0.5), 400)
    error = (stdev(values) ** 2 * (1 / 4 + 1 / 3)) ** 0.5
    half = 3.182446 * error / 0.25  # t(3, .975), on the logit scale at a half
    assert found["high"] == pytest.approx(1 / (1 + math.exp(-half)), abs=1e-6) and found["low"] == pytest.approx(
        1 - found["high"]
    )


def test_a_cell_names_the_machines_of_its_runs_and_of_no_others() -> None:
    for seed, cost in enumerate(({"precision": "bf16", "device": "cuda"}, {"device": "cpu"})):
        finish(child(init="tiny/roberta", seed=seed), 0.5, cost=cost)
        finish(child(init="tiny/roberta", task="sst2", seed=seed), 0.5)
    frame = cells_frame(small_study(), "smoke")
    machines = [cell_of(frame, "RoBERTa-B", column)["machine"] for column in ("RTE", "SST-2")]
    assert machines == ["bf16, cuda / cpu", "cpu"]


def test_a_start_from_other_weights_than_the_pre_finetuning_s_is_known() -> None:
    for seed, start in enumerate(
        ({"weights": "a", "recorded": "a"}, {"weights": "a", "recorded": "b"}, {"weights": "a"}, None)
    ):
        finish(child(init="tiny/roberta", seed=seed), 0.5, training={"start": start} if start else {})
    frame = read_all("smoke").frame.set_index("run")
    known = [frame.loc[run_id(child(init="tiny/roberta", seed=seed)), "other_start"] for seed in range(4)]
    assert known == [False, True, False, False]


def test_a_dirty_commit_is_marked() -> None:
    finish(child(init="tiny/roberta"), 0.5, environment={"dirty": True})
    finish(child(init="tiny/roberta", task="sst2"), 0.5, environment={"dirty": False})
    frame = cells_frame(small_study(), "smoke")
    assert bool(cell_of(frame, "RoBERTa-B", "RTE")["dirty"]) and not bool(cell_of(frame, "RoBERTa-B", "SST-2")["dirty"])
