"""Files of one's own: their kinds and columns, what is wrong in them, and that other content is another identity."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet.__main__ import _parser
from muppet.cli.own import task_of
from muppet.data import files, sources
from muppet.errors import UserError
from muppet.families import examples
from muppet.runs import Finetune, Recipe, digest, facts, run_id
from muppet.tasks import Task, get
from tests.own_files import own, read


def from_file(place: Path, rows: list[dict], *more: str) -> Task:
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["finetune", "--model", "m", "--out", "out", "--train-file", str(place), *more]
    task = task_of(_parser().parse_args(given))
    assert task is not None
    return task


def test_of_thousands_of_names_a_row_s_error_lists_the_first(tmp_path):
    classes = tuple(f"class {k}" for k in range(2000))
    with pytest.raises(UserError) as caught:
        read(own("classification", "text", "label", classes=classes), {"text": "a", "label": "other"})
    assert "class 29, … (2,000 in all)" in str(caught.value) and len(str(caught.value)) < 600
    with pytest.raises(UserError) as caught:
        from_file(tmp_path / "own.jsonl", [{f"column {k}": "a" for k in range(1000)}])
    assert "(1,000 in all)" in str(caught.value)


def test_a_file_of_squads_shape_says_whether_questions_go_without_an_answer(tmp_path):
    row = {"question": "?", "context": "a b"}
    said, none = ({"text": text, "answer_start": [0] * len(text)} for text in (["a"], []))
    for kept in (dict, json.dumps):  # an object of JSON, or the text of one as in a cell
        rows = [row | {"answers": kept(answers)} for answers in (said, none)]
        assert from_file(tmp_path / "own.jsonl", rows).no_answer is True
        assert from_file(tmp_path / "own.jsonl", rows[:1]).no_answer is False


@pytest.mark.parametrize(
    ("row", "more", "message"),
    [
        ({"text": "a", "label": 1.0}, (), r"own.jsonl: column 'label' of row 0 holds 1.0, which is no class"),
        ({"text": "a", "y": "b"}, ("--family", "classification"), "`columns` names no 'label'"),
        ({"choices": ["a", "b"], "label": 0}, (), "`columns` names neither 'context' nor 'question'"),
        ({"text": "a", "label": "b"}, ("--text", "label"), "own.jsonl: column 'label' plays two roles"),
        ({"text": "a", "label": "b"}, ("--text", ""), "--text is empty; give it a value, or leave it out"),
    ],
)
def test_what_a_file_lacks_is_named(tmp_path, row, more, message):
    with pytest.raises(UserError, match=message):
        from_file(tmp_path / "own.jsonl", [row, row], *more)


@pytest.mark.parametrize("label", ["1e-05", "2.5E0", "-.5", "+0.25", " 0.5", "0,5", "1.", 0.5])
def test_a_number_with_a_fraction_is_no_class(tmp_path, label):
    rows = [{"text": "a", "label": one} for one in (label, "0.5" if label == "1." else label)]
    assert from_file(tmp_path / "own.jsonl", rows).family == "regression"


@pytest.mark.parametrize(
    ("train", "scored", "message"),
    [
        (
            {"question": "?", "choice1": "a", "choice2": "b", "label": 0},
            {"choice3": "c"},
            "column 'choice3' would be read",
        ),
        ({"text": "a", "label": "x"}, {"pair": "b"}, "column 'pair' would be read as 'pair', and .*own.jsonl has none"),
        ({"text": "a", "label": "x"}, {"question": "b", "tags": ["c"]}, None),
    ],
)
def test_a_column_to_read_is_in_both_files(tmp_path, train, scored, message):
    rows = [train, train | {"label": 1 if train["label"] == 0 else "y"}]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row | scored) + "\n" for row in rows))
    more = ("--eval-file", str(tmp_path / "dev.jsonl"))
    if message is None:  # no role of the family's
        assert from_file(tmp_path / "own.jsonl", rows, *more).evaluation == ("validation",)
        return
    with pytest.raises(UserError, match=f"dev.jsonl: {message}"):
        from_file(tmp_path / "own.jsonl", rows, *more)


CLASSES = [{"text": "a", "label": label} for label in ("neutral", "entailment", "contradiction")]


@pytest.mark.parametrize(
    ("rows", "scored", "message"),
    [
        (
            [{"text": "a", "label": "caf\u00e9"}, {"text": "a", "label": "cafe\u0301"}],
            [],
            "which composed accents alone",
        ),
        (
            CLASSES,
            [{"text": "a", "label": 0}],
            "row 0: label '0' is none of the classes contradiction, entailment, neu",
        ),
        (CLASSES, [{"text": "a", "label": None}, {"text": "a", "label": "Neutral"}], "row 1: label 'Neutral' is none"),
        (
            [{"text": "a", "label": "x"}, {"text": "a", "label": ""}],
            [],
            "`classes` holds ''; write null where a row has",
        ),
        ([{"text": "a", "label": "Yes"}, {"text": "a", "label": "yes"}], [], "which capitals alone tell apart"),
        ([{"text": "a", "label": "x"}, {"text": "a", "label": "nan"}], [], "`classes` holds 'nan'; write null where a"),
        ([{"tokens": ["a"], "tags": "B"}], [], "column 'tags' of row 0 holds 'B'; give a list of tags"),
        ([{"tokens": ["a"], "tags": 5}], [], "column 'tags' of row 0 holds 5; give a list of tags"),
        ([{"text": "a", "label": "x\ud83d"}, {"text": "a", "label": "y"}], [], "`classes` holds half of a surrogate"),
    ],
)
def test_a_class_has_one_name_and_no_number(tmp_path, rows, scored, message):
    more = ()
    if scored:
        (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scored))
        more = ("--eval-file", str(tmp_path / "dev.jsonl"))
    with pytest.raises(UserError, match=message):
        from_file(tmp_path / "own.jsonl", rows, *more)


def test_numbers_beside_names_are_the_same_classes_in_every_process(tmp_path):
    labels = ["1", "01", "-0", "0", "00", "2"]
    task = from_file(tmp_path / "own.jsonl", [{"text": "a", "label": label} for label in labels])
    assert task.classes == ("-0", "0", "00", "01", "1", "2")


def test_columns_are_those_of_any_row(tmp_path):
    """A pair, or a third choice, that the first row lacks is not left out of all rows without a word; a row of JSON
    that lacks one has none, as in a table."""
    pairs = [{"text": "a", "label": "x"}, {"text": "a", "pair": "b", "label": "y"}]
    choices = [{"question": "?", "choice1": "a", "choice2": "b", "label": 0} | more for more in ({}, {"choice3": "c"})]
    read_as = []
    for rows in (pairs, choices):
        task = replace(from_file(tmp_path / "own.jsonl", rows), evaluation=())
        dropped: Counter[str] = Counter()
        read_as.append((list(examples(task, "train", sources.load_rows(task, "train").rows, dropped)), dropped))
    (((pair,), lacking), (ranked, none)) = read_as
    assert pair["pair"] == "b" and lacking == {"missing text": 1}
    assert [example["choices"] for example in ranked] == [["a", "b"], ["a", "b", "c"]] and not none


def test_answers_in_brackets_and_contexts_of_nothing(tmp_path):
    task = own("span", "question", "context", "answers", no_answer=True)
    ((one, other), dropped) = read(
        task,
        {"question": "?", "context": "see [1] there", "answers": "[1]"},
        {"question": "?", "context": "see it there", "answers": '{"text": ["it"], "answer_start": [4]}'},
        {"question": "?", "context": "", "answers": None},
    )
    assert (one["spans"], other["spans"], dropped) == ([(4, 7)], [(4, 6)], {"empty context": 1})
    with pytest.raises(UserError, match="row 0: `id` holds half of a surrogate pair"):
        read(own("span", "id", "question", "context", "answers"),
             {"id": "\ud83d", "question": "?", "context": "a b", "answers": "a"})  # fmt: skip


# Files ----------------------------------------------------------------------------------------------------------------


def test_every_kind_of_file_gives_the_same_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"text": 'a, "b"', "label": "x"}, {"text": "zwei\nZeilen", "label": None}, {"text": "NA", "label": "y"}]
    (tmp_path / "a.jsonl").write_text(files.write(rows, "jsonl"))
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + files.write(rows, "csv").encode())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert files.read(tmp_path / "a.jsonl") == files.read(tmp_path / "a.csv") == rows
    assert list(sources.TableRows(files.read(tmp_path / "a.parquet"))) == rows
    (tmp_path / "a.tsv").write_text('text\tlabel\nan open " quote\tx\n')
    assert files.read(tmp_path / "a.tsv") == [{"text": 'an open " quote', "label": "x"}]
    (tmp_path / "b.csv").write_text(",text\n0,a\n")  # with an index, as data frames are written
    assert files.read(tmp_path / "b.csv") == [{"": "0", "text": "a"}]


@given(st.lists(st.lists(st.text(st.sampled_from("a,\"\r\n\t '"), max_size=4), min_size=2, max_size=2), min_size=1))
def test_what_is_written_as_csv_is_read_again(cells):
    rows = [{"answer": one, "other": other} for one, other in cells]
    kept = files.parse(files.write(rows, "csv").encode(), "a.csv", "csv")
    assert [row for _, row in kept] == [{name: cell or None for name, cell in row.items()} for row in rows]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"text,label\nx,y\nz\n", "a.csv line 3: 1 cells, where the header has 2"),
        ("a.csv", b'text,label\n"x,y\n', "a.csv line 2: not CSV"),
        ("a.csv", b"text,text\nx,y\n", "a.csv line 1: column 'text' stands twice"),
        ("a.csv", b",,text\n0,1,x\n", "a.csv line 1: column '' stands twice"),
        ("a.csv", b"text,label\n", "a.csv: no rows"),
        ("a.csv", b"", "a.csv: no rows"),
        ("a.csv", b"text\ngr\xfcn\n", "a.csv line 2: not UTF-8 (byte 0xfc)"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "a.jsonl line 2: not JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl line 1: list, not a JSON object"),
        ("a.jsonl", b'{"a": 1}\n{"a": 1, "a": 2}\n', "a.jsonl line 2: not JSON ('a' stands twice in an object)"),
        ("a.jsonl", b'{"a": ' + b"9" * 5000 + b"}\n", "a.jsonl line 1: not JSON (Exceeds the limit"),
        ("a.parquet", b"PAR1", "a.parquet: cannot be read as parquet"),
        ("a.xlsx", b"", "a.xlsx: rows are read from .csv"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        files.read(tmp_path / name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_parquet_file_holds_that_is_no_text_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    latin = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array(["ab"]).buffers()[1:2], pa.py_buffer(b"a\xff")])
    pq.write_table(pa.table({"text": latin}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a.parquet: cannot be read as parquet .*Invalid UTF8"):
        files.read(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a"], "day": pa.array([10**7], pa.date32())}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="column 'day' cannot be read"):
        list(sources.TableRows(files.read(tmp_path / "a.parquet")))


def test_a_parquet_file_without_rows_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a.parquet: no rows"):
        files.read(tmp_path / "a.parquet")


# Identity -------------------------------------------------------------------------------------------------------------


def fingerprint(task: Task) -> tuple[int, str]:
    rows = sources.load_rows(task, "train")
    return rows.total, rows.fingerprint


@pytest.mark.parametrize("way", ["files", "path"])
def test_other_rows_in_the_same_file_are_other_data(tmp_path, monkeypatch, way):
    monkeypatch.delenv("MUPPET_HUB", raising=False)
    file = tmp_path / "train.jsonl"
    task = own("classification", "text", "label", classes=("a", "b"))
    task = replace(task, files=(("train", str(file)),)) if way == "files" else replace(task, path=str(tmp_path))

    def put(count: int, text: str = "t") -> None:
        file.write_text("".join(json.dumps({"text": f"{text} {i}", "label": i % 2}) + "\n" for i in range(count)))

    put(400)
    assert fingerprint(task)[0] == 400
    before = fingerprint(task)[1]
    put(50)
    assert fingerprint(task)[0] == 50 and fingerprint(task)[1] != before
    time = file.stat().st_mtime_ns
    put(50, "u")  # of the same size
    os.utime(file, ns=(time + 1, time + 1))
    assert fingerprint(task)[0] == 50 and fingerprint(task)[1] != before
    put(400)
    assert fingerprint(task) == (400, before)


def test_a_row_function_of_ones_own_is_its_source(tmp_path):
    import runpy

    def rows(text: str):
        file = tmp_path / "mine.py"
        file.write_text(text)
        return runpy.run_path(str(file))["read"]

    def id_of(text: str) -> str:
        task = replace(own(classes=("a", "b")), rows=rows(text))
        return run_id(Finetune(init="tiny/bert", task=task, recipe=Recipe(lr=1, max_tokens=9, updates=1)))

    one = id_of("N = 1\ndef read(row):\n    return [row]\n")
    assert one == id_of("N = 1\ndef read(row):\n    return [row]\n")
    assert one != id_of("N = 1\ndef read(row):\n    return []\n") != id_of("N = 2\ndef read(row):\n    return [row]\n")
    assert id_of("read = lambda row: 1/0\n") != id_of("read = lambda row: 2/0\n")

    def taking(column: str):
        return lambda row: [{"text": row[column]}]

    assert digest(facts(replace(own(), rows=taking("a")))) != digest(facts(replace(own(), rows=taking("b"))))
    assert digest(facts(replace(own(), rows=partial(max, "a")))) != digest(
        facts(replace(own(), rows=partial(max, "b")))
    )
    read_by = [
        runpy.run_path(str(file))["R"]
        for file in (tmp_path / "1.py", tmp_path / "2.py")
        if file.write_text(f"class R:\n def __call__(self, row):\n  return [row] * {file.stem}\nR = R()\n")
    ]
    assert len({digest(facts(replace(own(), rows=read))) for read in read_by}) == 2
    assert facts(get("wic"))["rows"] == "muppet.tasks.classification.wic"


def test_what_own_tasks_say_is_no_fact_of_the_catalogues():
    for name in ("rte", "race", "snli"):
        assert not {"missing", "blank", "files", "content"} & facts(get(name)).keys()
        assert get(name).unlabelled or get(name).filled
    assert not Path("local/mine").exists()
