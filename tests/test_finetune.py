"""Fine-tuning and evaluation: what is trained on, which head, and that perfect outputs score 1 in every family."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet import paths, tasks
from muppet.errors import UserError
from muppet.families import FAMILIES, answers, official
from muppet.families.classification import class_map
from muppet.families.encoded import Part
from muppet.families.spec import HeadSpec
from muppet.metrics import score
from muppet.model.multitask import MultiTask
from muppet.result import ResultError, pack_items, read, unpack_items, write
from muppet.runs import Finetune, run_id
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.stages.evaluate import _forwards, check_metrics
from muppet.stages.finetune import finetune
from muppet.stages.opening import make_spec, open_split, subset, training_part
from muppet.stages.prefinetune import prefinetune
from tests.core import artifacts, encoded, mixture, recipe, shared_artifacts, small  # noqa: F401
from tests.scored import hub_metric

pytestmark = pytest.mark.usefixtures("artifacts")


def fine(name: str, init="tiny/roberta", **more) -> Finetune:
    made = recipe(updates=3, sub_batches=1, max_examples=8)
    return Finetune(init=init, task=small(name), recipe=made, source="twins", train_rows=40, evaluation_rows=20, **more)


@pytest.mark.parametrize(
    ("name", "max_length"),
    [
        ("mnli", 64),
        ("stsb", 64),
        ("race", 64),
        ("squad", 24),
        ("squad_v2", 24),
        ("conll2000", 64),
        ("ptb_sample_parsing", 64),
    ],
)
def test_perfect_outputs_score_one_in_every_family(name, max_length):
    """From token positions, windows, tags and class numbers back to texts, trees and the official metric."""
    run = mixture(name, max_length=max_length)
    model, task = MultiTask.load("tiny/roberta"), run.tasks[0]
    data = open_split(run, task, task.evaluation[0], model, Processes(), cap=30, evaluation=True)
    part, spec = Part(encoded=data, units=subset(data)[0]), make_spec(task, data, "shared")
    if task.family == "regression":  # of a training set with labels beyond these rows'
        spec = dataclasses.replace(spec, low=-1.0, high=7.0)
    outputs = {}
    for unit in part.units.tolist():
        if task.family in ("classification", "commonsense"):
            outputs[unit] = np.eye(9)[data.labels[unit]][: 3 if name == "mnli" else 4]
        elif task.family == "regression":
            outputs[unit] = (data.labels[unit] - spec.low) / (spec.high - spec.low)
        elif task.family == "span":
            first, last = data.spans[unit].tolist()
            outputs[unit] = (
                9.0 if first else -9.0,
                first or int(data.context[unit, 0]),
                last or int(data.context[unit, 0]),
                0.0,
            )
        else:
            words = slice(data.word_offsets[unit], data.word_offsets[unit + 1])
            assert (data.words[words] >= 0).all()
            outputs[unit] = data.tags[words].tolist()
    predictions, references = answers(part, spec, outputs, list(range(data.n_examples)))
    if name.startswith("squad"):
        assert len(part.units) > data.n_examples  # contexts in several windows
    if task.family == "regression":  # whose correlations do not see where the numbers lie
        assert predictions == pytest.approx(references, abs=1e-5)
    for metric in task.metrics:
        assert score(official(task, metric), predictions, references).value == pytest.approx(1.0), metric


def test_a_question_is_answered_from_its_best_window_and_left_empty_by_the_lowest_score_of_no_answer(tmp_path):
    characters = np.stack([np.arange(12), np.arange(1, 13)], axis=1)  # a token each
    windows = {"task": tasks.get("squad_v2"), "unit_example": np.array([0, 0, 1]), "char_offsets": characters}
    data = dataclasses.replace(encoded([[4], [5], [3]]), n_examples=2, folder=tmp_path, **windows)
    (tmp_path / "gold.jsonl").write_text('{"context": "abcdefghijkl"}\n' * 2)
    outputs = {0: (1.0, 1, 1, 5.0), 1: (3.0, 1, 2, 7.0), 2: (9.0, 1, 1, 0.5)}
    found = FAMILIES["span"].predictions(data, HeadSpec(key="span", family="span", outputs=2), outputs, [0, 1])
    assert found == [("fg", 5.0 - 3.0), ("k", 0.5 - 9.0)]


@pytest.mark.parametrize(("name", "plain"), [("conll2000", "O"), ("ptb_sample_parsing", "=1 S")])
def test_words_that_were_cut_off_get_the_plainest_tag(name, plain):
    run = mixture(name, max_length=12)
    data = open_split(run, run.tasks[0], "test", MultiTask.load("tiny/roberta"), Processes(), cap=30, evaluation=True)
    spec, family, cut = make_spec(run.tasks[0], data, "shared"), FAMILIES[run.tasks[0].family], 0
    for unit in range(data.n_examples):
        words = data.words[data.word_offsets[unit] : data.word_offsets[unit + 1]]
        seen = int((words >= 0).sum())
        cut += len(words) - seen
        found = family.word_tags(data, spec, {unit: [len(spec.classes) - 1] * seen}, unit)
        assert found == [spec.classes[-1]] * seen + [plain] * (len(words) - seen)
    assert cut


@given(
    st.lists(st.lists(st.integers(2, 40), min_size=1, max_size=4), min_size=1, max_size=40),
    st.sampled_from([1, 64, 256]),
)
def test_what_is_scored_together_keeps_the_limit_and_each_unit_is_scored_once(shape, limit):
    forwards = list(_forwards(Part(encoded=encoded(shape), units=np.arange(len(shape))), limit))
    assert sorted(np.concatenate(forwards).tolist()) == list(range(len(shape)))
    for rows in ([shape[u] for u in units] for units in forwards):
        assert sum(map(len, rows)) * max(map(max, rows)) <= limit or len(rows) == 1


def test_one_head_scores_datasets_with_coarser_classes():
    spec = HeadSpec(key="mnli", family="classification", outputs=3, classes=("entailment", "neutral", "contradiction"))
    assert class_map(spec, tasks.get("rte")) == [0, 1, 1]
    assert class_map(spec, tasks.get("mnli")) == [0, 1, 2]
    with pytest.raises(UserError, match="head 'mnli' predicts 'entailment', which is no class of sst2"):
        class_map(spec, tasks.get("sst2"))


def test_many_classes_are_mapped_at_once():
    """Three loops of 3,000 were hours, after the training."""
    names = tuple(f"c{number}" for number in range(3000))
    spec = HeadSpec(key="many", family="classification", outputs=3000, classes=names)
    task = dataclasses.replace(tasks.get("rte"), classes=("c7", *reversed(names[:7]), *names[8:], "not_c9"))
    place = {name: i for i, name in enumerate(task.classes)}
    assert class_map(spec, task) == [place[name] for name in names]
    assert class_map(spec, dataclasses.replace(task, classes=("c7", "not_c7"))) == [int(n != "c7") for n in names]


@given(st.integers(1, 200), st.sampled_from([None, 0.1, 0.5]), st.integers(0, 4))
def test_fractions_are_nested_and_never_touch_what_is_held_out(examples, held_out, draw):
    data = encoded([[5]] * (2 * examples))
    data = dataclasses.replace(data, unit_example=np.repeat(np.arange(examples), 2), n_examples=examples)
    try:
        whole, away = subset(data, held_out=held_out)
    except UserError:
        assert examples == 1
        return
    assert sorted([*whole, *away]) == list(range(2 * examples))
    assert (away.size > 0) == (held_out is not None)
    before: set[int] = set()
    for fraction in (0.1, 0.2125, 0.55, 1.0):
        units, same = subset(data, held_out=held_out, fraction=fraction, draw=draw)
        chosen = set(data.unit_example[units].tolist())
        assert len(units) == 2 * len(chosen) and before <= chosen and not chosen & set(data.unit_example[away].tolist())
        assert len(chosen) == max(1, round(fraction * len(whole) / 2)) and same.tolist() == away.tolist()
        before = chosen
    if examples > 20:
        assert {*subset(data, fraction=0.5, draw=1)[0]} != {*subset(data, fraction=0.5, draw=2)[0]}


def test_candidates_of_one_are_refused_by_name():
    one = dataclasses.replace(encoded([[5, 5], [5]]), task=tasks.get("copa"))
    with pytest.raises(UserError, match="copa, example 1: Eq. 1 needs at least 2 candidates"):
        training_part(one, np.arange(2))


def test_a_fine_tuning_from_end_to_end(tmp_path):
    run = fine("mnli", held_out=0.2, evaluate_on=(tasks.get("rte"),))
    told = []
    result = finetune(run, progress=told.append)
    assert told[-1]["step"] == told[-1]["steps"] == 3 and told[-1]["run"] == run_id(run)
    keys = {"mnli/held_out/accuracy", "mnli/validation_matched/accuracy", "rte/validation/accuracy"}
    assert keys <= set(result.scores)
    for key, one in result.scores.items():
        assert one.low <= one.value <= one.high and one.n == (8 if "held_out" in key else 20)
        items = unpack_items(one.items)
        assert len(items) == one.n and sum(items) / one.n == pytest.approx(one.value)
    assert result.training["datasets"]["mnli"]["examples"] == 32 and result.training["head"] == "mnli"
    assert result.training["trivial"]["mnli/validation_matched/accuracy"] <= 0.7
    write(result, tmp_path / f"{result.id}.json")
    assert read(tmp_path / f"{result.id}.json", run) == result
    lines = [json.loads(line) for line in (paths.run_dir(result.id) / "predictions.jsonl").read_text().splitlines()]
    for key in keys:
        task, split, _ = key.split("/")
        mine = [line for line in lines if (line["task"], line["split"]) == (task, split)]
        right = [line["score"] for line in mine]
        assert sum(right) / len(right) == pytest.approx(result.scores[key].value)
        assert all(line["score"] == float(line["prediction"] == line["gold"]) for line in mine)
    again = finetune(run)
    assert {k: v.value for k, v in again.scores.items()} == {k: v.value for k, v in result.scores.items()}


@pytest.mark.parametrize("task", tasks.ALL.values(), ids=tasks.ALL)
def test_every_task_has_metrics_of_its_family(task):
    check_metrics(task)


@pytest.mark.parametrize(
    ("name", "metrics", "message"),
    [
        ("rte", ("accuracy", "acuracy"), "unknown metric 'acuracy': did you mean 'accuracy'"),
        ("rte", ("pearson",), "rte: metric 'pearson' measures no classification task; choose of accuracy, f1, macro"),
        ("copa", ("spearman",), "'spearman' measures no commonsense task"),
        ("mnli", ("f1",), "class 2, not 0 or 1; use `macro_f1` for more classes"),
        ("race", ("f1",), "race: metric 'f1' measures no commonsense task; choose of accuracy"),
        ("copa", ("accuracy", "macro_f1"), "'macro_f1' measures no commonsense task; choose of accuracy"),
        ("copa", ("matthews",), "'matthews' measures no commonsense task; choose of accuracy"),
        ("ptb_sample_pos", ("chunk_f1",), "has the tag '#'; chunk tags are B-X, I-X and O"),
        ("stsb", ("accuracy",), "'accuracy' measures no regression task; choose of pearson, spearman"),
        ("ptb_parsing", ("rouge1",), "'rouge1' measures no parsing task; choose of bracket_f1"),
        ("conll2000", ("drop_f1",), "'drop_f1' measures no tagging task; choose of token_accuracy, chunk_f1"),
        ("squad", ("squad_v2_best_f1",), "'squad_v2_best_f1' measures no span task; choose of squad_em, squad_f1"),
        ("squad_v2", ("trivia_f1",), "no span task with no-answer questions; choose of squad_v2_em, squad_v2_f1"),
        ("mnli", ("evaluate:no-such-module",), "'evaluate:no-such-module' cannot be loaded"),
    ],
)
def test_a_wrong_metric_is_refused_before_anything_is_read(name, metrics, message, monkeypatch):
    monkeypatch.setattr("muppet.stages.opening.load", lambda *_: pytest.fail("the model was loaded"))
    run = fine(name)
    with pytest.raises(UserError) as caught:
        finetune(dataclasses.replace(run, task=dataclasses.replace(run.task, metrics=metrics)))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: finetune(fine("rte"), device="cuda"), r"`device` is 'cuda'; give a muppet.runtime.device.Device"),
        (lambda: prefinetune(mixture("rte"), device="cpu"), r"`device` is 'cpu'; give a muppet.runtime.device.Device"),
        (lambda: finetune(mixture("rte")), "finetune() takes a muppet.runs.Finetune, and is given a Prefinetune"),
        (lambda: prefinetune(fine("rte")), "prefinetune() takes a muppet.runs.Prefinetune, and is given a Finetune"),
        (lambda: finetune("rte"), "finetune() takes a muppet.runs.Finetune, and is given a str"),
        (lambda: finetune(fine("rte"), device=Device(kind="cuda")), "`device` is a GPU, and torch finds none"),
    ],
)
def test_what_is_no_run_or_no_device_is_refused_before_anything_is_read(call, message, monkeypatch):
    monkeypatch.setattr("muppet.stages.opening.load", lambda *_: pytest.fail("the model was loaded"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=re.escape(message)):
        call()


def test_a_metric_of_the_hub_is_scored_without_an_interval(tmp_path):
    folder = hub_metric(tmp_path, "int64")
    run = fine("rte")
    metrics = ("accuracy", f"evaluate:{folder}")
    run = dataclasses.replace(run, task=dataclasses.replace(run.task, metrics=metrics))
    result = finetune(run)
    write(result, tmp_path / f"{result.id}.json")
    scores = read(tmp_path / f"{result.id}.json", run).scores
    ours, theirs = (scores[run.task.key(metric=metric)] for metric in metrics)
    assert theirs.value == ours.value and theirs.n == ours.n and theirs.low is theirs.high is theirs.items is None


def test_a_metric_of_the_hub_is_not_asked_of_guesses():
    run = mixture("rte")
    model, task = MultiTask.load("tiny/roberta"), dataclasses.replace(run.tasks[0], metrics=("accuracy", "evaluate:x"))
    data = open_split(run, task, "validation", model, Processes(), cap=30, evaluation=True)
    part = Part(encoded=data, units=subset(data)[0])
    assert FAMILIES["classification"].trivial(part, part, model.tokenizer).keys() == {"accuracy"}


def test_the_pre_finetuned_head_is_used_only_when_asked_for():
    before = mixture("copa mnli", updates=1)
    with pytest.raises(UserError, match="the pre-finetuned model is not there; run prefinetune-roberta-2sets"):
        finetune(fine("copa", init=before))
    result = prefinetune(before)
    assert not result.scores and result.training["datasets"]["copa"]["epochs"] > 0
    saved = MultiTask.load(str(paths.model_dir(run_id(before))))
    zero = recipe(updates=1, lr=1e-12, sub_batches=1, max_tokens=1024)
    folder = paths.artifacts() / "kept"
    for reuse in (True, False):
        run = dataclasses.replace(fine("copa", init=before, reuse_head=reuse), recipe=zero)
        finetune(run, save=folder)
        tuned = MultiTask.load(str(folder))
        assert list(tuned.specs()) == ["commonsense"]
        distance = float(
            (tuned.heads["commonsense"].dense.weight - saved.heads["commonsense"].dense.weight).abs().max().detach()
        )
        assert (distance < 1e-6) == reuse
    with pytest.raises(UserError, match="has no head for rte; it has commonsense, mnli"):
        finetune(fine("rte", init=before, reuse_head=True))


def test_several_datasets_train_one_head_with_their_weights():
    run = fine("mnli", train_on=((tasks.get("mnli"), 1), (tasks.get("snli"), 3)))
    result = finetune(dataclasses.replace(run, recipe=recipe(epochs=1.0, updates=None, sub_batches=1, max_tokens=1024)))
    epochs = {name: part["epochs"] for name, part in result.training["datasets"].items()}
    assert epochs == {"mnli": pytest.approx(1.0), "snli": pytest.approx(3.0)}
    with pytest.raises(UserError, match="sst2 cannot train the head of mnli"):
        finetune(fine("mnli", train_on=((tasks.get("sst2"), 1),)))
    with pytest.raises(UserError, match="sst2, which is no class|which is no class of sst2"):
        finetune(fine("mnli", evaluate_on=(tasks.get("sst2"),)))


@pytest.mark.parametrize(
    ("name", "model", "beats"),
    [
        ("conll2000", "tiny/roberta", "chunk_f1"),
        ("ptb_sample_parsing", "tiny/roberta", "bracket_f1"),
        ("aeslc", "tiny/bart", "rouge1"),
        ("copa", "tiny/roberta", "accuracy"),
    ],
)
def test_trivial_answers_stand_beside_the_scores(name, model, beats):
    result = finetune(fine(name, init=model))
    split = small(name).evaluation[0]
    beside = result.training["trivial"]
    assert 0 <= beside[f"{name}/{split}/{beats}"] <= 1 and math.isfinite(beside[f"{name}/{split}/{beats}"])
    assert f"{name}/{split}/{beats}" in result.scores
    if name == "copa":
        assert beside[f"{name}/{split}/{beats}"] == 0.5


@given(st.lists(st.integers(0, 255).map(lambda byte: byte / 255), max_size=50))
def test_items_pack_and_unpack(items):
    assert unpack_items(pack_items(items)) == pytest.approx(items)


def test_damaged_items_are_named():
    with pytest.raises(ResultError, match="`items` is damaged"):
        unpack_items(pack_items([0.0, 1.0])[:-6] + "AAAA==")
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        pack_items([1.5])


def test_what_another_put_where_the_model_is_to_go_is_said_first(tmp_path, never_trained):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    for place in (tmp_path / "notes", str(tmp_path / "notes" / "a.txt")):
        with pytest.raises(UserError, match="exists and is no model folder of this program"):
            finetune(fine("rte"), save=place)
    with pytest.raises(UserError, match="exists and is no model folder"):
        MultiTask.load("tiny/roberta").save(tmp_path / "notes", "")
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"
