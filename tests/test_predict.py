"""Prediction by a saved head: the evaluation's own answers, and rows that cannot be read."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from muppet import tasks
from muppet.__main__ import main
from muppet.runs import Finetune
from muppet.stages.finetune import finetune
from tests.core import artifacts, finish, launch, recipe, shared_artifacts  # noqa: F401
from tests.own_files import SMALL, one_error

pytestmark = pytest.mark.usefixtures("artifacts")


def test_predictions_are_the_evaluations(tmp_path, capsys):
    """Rows longer than the run's max_length, and blanks in questions: both are read as in training."""
    row = {"article": "good thing . " * 60, "options": ["a _ good one", "bad", "some", "what else"]}
    rows = [row | {"question": f"it was _ {i} .", "answer": "ABCD"[i % 4]} for i in range(24)]
    (tmp_path / "all").mkdir()
    for name in ("train.jsonl", "validation.jsonl"):
        (tmp_path / "all" / name).write_text("".join(json.dumps(one | {"n": i}) + "\n" for i, one in enumerate(rows)))
    race = replace(tasks.get("race"), name="race2", path=str(tmp_path / "all"), blank="_", train_rows=None)
    made = recipe(updates=3, sub_batches=1, max_length=48, max_tokens=2048)
    result = finetune(Finetune(init="tiny/roberta", task=race, recipe=made), save=tmp_path / "model")
    from muppet import paths

    lines = (paths.run_dir(result.id) / "predictions.jsonl").read_text().splitlines()
    evaluated = [json.loads(line)["prediction"] for line in lines]
    for as_in in ("roles", "columns"):
        asked = [
            {"context": one["article"], "question": one["question"], "choices": one["options"]}
            if as_in == "roles"
            else one
            for one in rows
        ]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
        capsys.readouterr()
        assert main(["predict", "--model", str(tmp_path / "model"), str(tmp_path / "rows.jsonl")]) == 0
        answers = [json.loads(line)["choice"] for line in capsys.readouterr().out.splitlines()]
        assert answers == evaluated


@pytest.fixture(scope="module")
def rte_model(tmp_path_factory, shared_artifacts) -> Path:  # noqa: F811
    out = tmp_path_factory.mktemp("models") / "rte"
    before = os.environ.get("MUPPET_ARTIFACTS")
    os.environ["MUPPET_ARTIFACTS"] = str(shared_artifacts)
    try:
        assert main(["finetune", "--model", "tiny/roberta", "--task", "rte", "--twins", *SMALL, "--out", str(out)]) == 0
    finally:
        if before is not None:
            os.environ["MUPPET_ARTIFACTS"] = before
    return out


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.jsonl",
            b'{"text": "a", "pair": "b"}\n\n{"text": "a"}\n',
            "a.jsonl line 3: no 'pair', which classification",
        ),
        ("a.csv", b"text,pair\na,b\nc,\n", "a.csv line 3: no 'pair'"),
        ("a.jsonl", b'{"text": 5, "pair": "b"}\n', "a.jsonl line 1: `text` is 5, not text"),
        ("a.jsonl", b'{"text": "\\ud800", "pair": "b"}\n', "a.jsonl line 1: `text` holds half of a surrogate pair"),
        ("a.jsonl", b'{"text": "\xff", "pair": "b"}\n', "a.jsonl line 1: not UTF-8"),
        ("a.csv", b"text;pair\na;b\n", "a.csv line 2: no 'pair', 'text'"),
    ],
)
def test_a_row_that_the_head_cannot_read_is_named_by_file_and_line(rte_model, tmp_path, capsys, name, data, message):
    (tmp_path / name).write_bytes(data)
    assert main(["predict", "--model", str(rte_model), str(tmp_path / name)]) == 2
    error = one_error(capsys)
    assert message in error or "line 2: no 'text'" in error


def test_a_byte_order_mark_and_the_columns_of_training_are_read(rte_model, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_bytes(
        b'\xef\xbb\xbf{"sentence1": "a", "sentence2": "b"}\n{"text": "a", "pair": "b"}\n'
    )
    assert main(["predict", "--model", str(rte_model), str(tmp_path / "a.jsonl")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_a_role_that_the_head_was_not_trained_on_is_refused(tmp_path, capsys):
    out = str(tmp_path / "cola")
    assert main(["finetune", "--model", "tiny/roberta", "--task", "cola", "--twins", *SMALL, "--out", out]) == 0
    (tmp_path / "a.jsonl").write_text('{"text": "a", "pair": "b"}\n')
    capsys.readouterr()
    assert main(["predict", "--model", out, str(tmp_path / "a.jsonl")]) == 2
    assert "line 1: it has 'pair', and this head was trained on text alone" in one_error(capsys)
