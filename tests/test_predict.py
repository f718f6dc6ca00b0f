"""Prediction by a saved head: the evaluation's own answers, and rows that cannot be read."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet import tasks
from muppet.__main__ import main
from muppet.families import FAMILIES
from muppet.families.roles import BadRow
from muppet.families.spec import RowFormat
from muppet.runs import Finetune
from muppet.stages.finetune import finetune
from muppet.stages.predict import _roles
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


def asked_of(columns: dict[str, str], row: dict, family: str = "classification") -> dict:
    """What a head reads of a row that was trained on `columns`."""
    roles = {"choices" if role.startswith("choice") else role for role in columns}
    return _roles(FAMILIES[family], RowFormat(max_length=9, roles=tuple(roles), columns=tuple(columns.items())), row)


@given(st.permutations(["text", "pair", "label", "other"]))
def test_a_head_reads_the_columns_that_it_was_trained_on(names):
    """Whatever they are called, and whatever else is called like a role; a row in roles alone serves too."""
    columns = dict(zip(("text", "pair", "label"), names))
    row = {name: f"in {name}" for name in names}
    assert asked_of(columns, row) == {role: f"in {columns[role]}" for role in ("text", "pair")}
    by_role = {"text": "a", "pair": "b"}
    if not {columns["text"], columns["pair"]} <= by_role.keys():
        assert asked_of(columns, by_role) == by_role


def test_choices_are_in_the_order_that_the_head_was_trained_on():
    row = {"question": "?", "choice1": "a", "choice2": "b"}
    columns = {"question": "question", "choice1": "choice2", "choice2": "choice1"}
    assert asked_of(columns, row, "commonsense")["choices"] == ["b", "a"]
    with pytest.raises(BadRow, match="it has 'choice3', and this head was trained on choice2, choice1; leave it out"):
        asked_of(columns, row | {"choice3": "c"}, "commonsense")
    assert asked_of(columns, {"question": "?", "choices": ["c", "d", "e"]}, "commonsense")["choices"] == ["c", "d", "e"]
    assert asked_of({"question": "q", "choices": "c"}, row | {"q": "!", "c": ["x", "y"]}, "commonsense") == {
        "question": "!",
        "choices": ["x", "y"],
    }


def test_what_is_cut_is_said(tmp_path, rte_model, capsys):
    row = {"text": "word " * 100, "pair": "b"}
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (row, {"text": "a", "pair": "b"})))
    assert main(["predict", "--model", str(rte_model), str(tmp_path / "rows.jsonl")]) == 0
    said = capsys.readouterr()
    assert f"{tmp_path / 'rows.jsonl'}: 1 rows cut; rows hold 64 tokens, as in training" in said.err
    assert len(said.out.splitlines()) == 2


def test_rows_that_cannot_be_read_are_one_line(tmp_path, rte_model, capsys, monkeypatch):
    start = ["predict", "--model", str(rte_model)]
    pq.write_table(pa.table({"text": ["a"], "day": pa.array([10**7], pa.date32())}), tmp_path / "a.parquet")
    assert main([*start, str(tmp_path / "a.parquet")]) == 2
    assert "a.parquet: column 'day' cannot be read" in one_error(capsys)
    (tmp_path / "a.csv").write_bytes(b'"te\nxt\x1b[31m",b\na,b\n')
    assert main([*start, str(tmp_path / "a.csv")]) == 2
    assert "it has te\\nxt\\x1b[31m, b" in one_error(capsys)
    for closed, file in (("stdin", []), ("stdout", [str(tmp_path / "a.csv")])):  # by `<&-` or `>&-`
        with monkeypatch.context() as patch:
            patch.setattr(f"sys.{closed}", None)
            assert main([*start, *file]) == 2
        assert "standard input or output is closed" in one_error(capsys)
