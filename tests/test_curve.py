"""Evaluations along a fine-tuning: the curve, the best weights, and that a killed run ends with the same of both."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from muppet import paths
from muppet.errors import UserError
from muppet.model.multitask import MultiTask
from muppet.result import Point, Score, best, read, write
from muppet.runs import R3F, Finetune, Prefinetune, Recipe, check_run, run_id
from muppet.runtime.device import Device
from muppet.runtime.distributed import Processes
from muppet.stages import finetune as stage
from muppet.stages.evaluate import evaluate, token_loss
from muppet.stages.finetune import finetune
from muppet.stages.opening import make_spec, open_split, subset
from muppet.training.trainer import Trainer
from tests.core import artifacts, recipe, shared_artifacts, small  # noqa: F401

pytestmark = pytest.mark.usefixtures("artifacts")
KEY = "mnli/validation_matched/accuracy"


def fine(name: str = "mnli", init: str = "tiny/roberta", updates: int = 6, **more) -> Finetune:
    made = recipe(updates=updates, sub_batches=1, max_examples=8, lr=1e-2, schedule="constant", dropout=0.1)
    rows = {"source": "twins", "train_rows": 40, "evaluation_rows": 20}
    return Finetune(init=init, task=small(name), recipe=made, **(rows | more))


@pytest.mark.parametrize("seed", [0, 1])
def test_each_point_is_what_a_shorter_training_ends_with_and_the_best_is_kept(seed, tmp_path):
    run = fine(seed=seed, evaluations=3)
    result = finetune(run, save=tmp_path / "model")
    assert [point.update for point in result.curve] == [2, 4, 6]
    for point in result.curve:
        alone = finetune(fine(seed=seed, updates=point.update))
        assert {k: s.value for k, s in point.scores.items()} == {k: s.value for k, s in alone.scores.items()}
        assert point.judged == point.scores[KEY].value and len(alone.curve) == 1
    top = best(result.curve)
    assert {k: s.value for k, s in result.scores.items()} == {k: s.value for k, s in result.curve[top].scores.items()}
    assert result.curve[top].judged == max(point.judged for point in result.curve)
    assert {k: s.value for k, s in result.last.items()} == {k: s.value for k, s in result.curve[2].scores.items()}
    assert all(score.items for score in (*result.scores.values(), *result.last.values()))
    lines = [json.loads(line) for line in (paths.run_dir(result.id) / "predictions.jsonl").read_text().splitlines()]
    assert sum(line["score"] for line in lines) / len(lines) == pytest.approx(result.scores[KEY].value)
    write(result, tmp_path / f"{result.id}.json")
    assert read(tmp_path / f"{result.id}.json", run) == result
    share = result.cost["evaluation_seconds"] / (result.cost["evaluation_seconds"] + result.cost["training_seconds"])
    assert result.cost["evaluation_share"] == pytest.approx(share, abs=0.05)
    saved = MultiTask.load(str(tmp_path / "model"))
    data = open_split(run, run.task, "validation_matched", saved, Processes(), cap=20, evaluation=True)
    part, spec = stage.Part(encoded=data, units=subset(data)[0]), saved.specs()["mnli"]
    again = evaluate(saved, part, spec, "validation_matched", Device(), Processes())
    assert again.scores["accuracy"].value == result.scores[KEY].value


def test_some_of_these_runs_were_best_before_their_end():
    """Without one, the tests above and below would not see the best weights come back."""
    assert any(best(finetune(fine(seed=seed, evaluations=3)).curve) < 2 for seed in range(2))


@pytest.mark.parametrize("dies_at", [1, 3, 5])
def test_a_run_killed_between_evaluations_ends_with_the_same_curve_and_result(dies_at, monkeypatch):
    run = fine(seed=1, evaluations=3, held_out=0.25)
    whole = finetune(run)
    update = Trainer.update

    def dying(self: Trainer) -> float:
        if self.step == dies_at:
            raise KeyboardInterrupt
        return update(self)

    other = paths.artifacts() / "elsewhere"
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(other))
    monkeypatch.setattr(Trainer, "update", dying)
    with pytest.raises(KeyboardInterrupt):
        finetune(run, device=Device(checkpoint_seconds=0))
    monkeypatch.setattr(Trainer, "update", update)
    again = finetune(run)
    assert (again.curve, again.scores) == (whole.curve, whole.scores)
    folder = paths.run_dir(run_id(run))
    assert list(folder.glob("checkpoint/step-*")) == [folder / "checkpoint" / f"step-{dies_at:08d}"]  # went on from it


def test_rows_held_out_are_the_judge_where_there_are_some():
    result = finetune(fine(evaluations=3, held_out=0.25))
    assert [point.judged for point in result.curve] == [
        point.scores["mnli/held_out/accuracy"].value for point in result.curve
    ]


def test_several_tasks_are_judged_by_their_mean_over_examples():
    others = (replace(small("anli_r2"), evaluation=("dev_r2",)),)
    run = fine("anli_r1", evaluations=2, evaluate_on=others)
    for point in finetune(run).curve:
        one, two = (point.scores[f"anli_r{k}/dev_r{k}/accuracy"] for k in (1, 2))
        assert point.judged == pytest.approx((one.value * one.n + two.value * two.n) / (one.n + two.n))


def test_summaries_of_several_places_are_judged_by_the_mean_of_their_losses():
    def judged(split: str, **more) -> float:
        run = fine("aeslc", "tiny/bart", updates=2)
        return finetune(replace(run, task=replace(run.task, evaluation=(split,)), **more)).curve[-1].judged

    test = replace(small("aeslc"), evaluation=("test",))
    assert judged("validation", evaluate_on=(test,)) == pytest.approx((judged("validation") + judged("test")) / 2)


def test_summaries_are_judged_by_loss_on_the_validation_split_and_decoded_for_best_and_last_alone(monkeypatch):
    decoded: list[int] = []
    once = stage.Examiner.evaluate
    monkeypatch.setattr(stage.Examiner, "evaluate", lambda self: decoded.append(1) or once(self))
    run = fine("aeslc", "tiny/bart", evaluations=4, updates=4)
    result = finetune(run)
    top = best(result.curve)
    assert len(decoded) == len({top, 3})
    assert [bool(point.scores) for point in result.curve] == [place in (top, 3) for place in range(4)]
    assert all(point.judged < 0 for point in result.curve)
    model = MultiTask.load("tiny/bart")
    data = open_split(run, run.task, "validation", model, Processes(), cap=20, evaluation=True)
    part, spec = stage.Part(encoded=data, units=subset(data)[0]), make_spec(run.task, data, "shared")
    loss = token_loss(model, part, spec, Device(), Processes(), 0.0)
    few = token_loss(model, part, spec, Device(micro_tokens=64), Processes(), 0.0)  # however rows are put together
    assert loss == pytest.approx(few, rel=1e-5) and -result.curve[0].judged < loss
    rows, targets = (
        [torch.from_numpy(part.astype(np.int64))[None] for part in np.split(flat, bounds[1:-1])]
        for flat, bounds in ((data.tokens, data.offsets), (data.targets, data.target_offsets))
    )
    with torch.no_grad():  # by the model's own loss, one summary at a time
        alone = [float(model.backbone(row, labels=target).loss) for row, target in zip(rows, targets, strict=True)]
    assert loss == pytest.approx(np.average(alone, weights=np.diff(data.target_offsets)), rel=1e-4)


def test_of_equals_the_latest_is_best():
    def point(judged: float) -> Point:
        return Point(update=1, judged=judged, scores={})

    assert best([point(0.5), point(0.7), point(0.7), point(0.6)]) == 2


def test_wrong_numbers_are_one_line():
    with pytest.raises(UserError, match="mnli: 7 evaluations of a training of 6 updates"):
        check_run(fine(evaluations=7))
    with pytest.raises(UserError, match="`evaluations` of Finetune is 0; give 1 or more"):
        check_run(fine(evaluations=0))
    by_epochs = replace(fine(), recipe=recipe(updates=None, epochs=1.0, sub_batches=1, max_examples=40), evaluations=9)
    with pytest.raises(UserError, match="mnli: 9 evaluations of a training of 1 updates"):
        finetune(by_epochs)
    with pytest.raises(UserError, match="`seed` of Finetune is -1"):
        check_run(fine(seed=-1))
    with pytest.raises(UserError, match="mnli has weight 0 in `train_on`; a weight is a whole number of passes"):
        check_run(fine(train_on=((small("mnli"), 0),)))
    with pytest.raises(UserError, match="`weight` of R3F is -1"):
        R3F(weight=-1)
    with pytest.raises(UserError, match="`weight_decay` of Recipe is -0.1"):
        Recipe(lr=1e-5, max_examples=1, updates=1, weight_decay=-0.1)
    with pytest.raises(UserError, match="`seed` of Prefinetune is -2"):
        check_run(Prefinetune(model="tiny/roberta", tasks=(), recipe=fine().recipe, seed=-2))


def test_a_point_that_contradicts_itself_is_refused(tmp_path):
    result = finetune(fine(evaluations=2))
    wrong = replace(result, curve=[replace(result.curve[0], scores={KEY: Score(value=55.0, n=20)}), result.curve[1]])
    path = tmp_path / f"{result.id}.json"
    write(wrong, path)
    with pytest.raises(UserError, match="not a fraction of 1"):
        read(path)
