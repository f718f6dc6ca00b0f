"""Rows of one's own: their columns, labels, blanks, answers and files, and that other content is another identity."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from muppet.__main__ import _parser
from muppet.cli.own import task_of
from muppet.data import files, sources
from muppet.errors import UserError
from muppet.families import examples
from muppet.families.commonsense import asked
from muppet.runs import Finetune, Recipe, digest, facts, run_id
from muppet.tasks import Task, get
from muppet.tasks.classification import wsc
from muppet.tasks.mrc import hotpot
from muppet.tasks.task import occurrences

CHOICES = tuple((f"choice{k}", f"choice{k}") for k in range(1, 11))


def read(task: Task, *rows: dict) -> tuple[list[dict], Counter[str]]:
    dropped: Counter[str] = Counter()
    return list(examples(task, "train", rows, dropped)), dropped


def own(family: str = "classification", *roles: str, **more) -> Task:
    return Task(name="mine", family=family, path="local/mine", columns=tuple((role, role) for role in roles), **more)


# Columns and labels ---------------------------------------------------------------------------------------------------


def test_numbered_choices_are_in_numeric_order():
    task = replace(own("commonsense", "question", "label"), columns=(("question", "q"), *CHOICES, ("label", "label")))
    row = {"q": "?", "label": 1} | {f"choice{k}": f"option {k}" for k in range(1, 11)}
    ((example,), _) = read(task, row)
    assert example["choices"] == [f"option {k}" for k in range(1, 11)]
    assert example["choices"][example["label"]] == "option 2"
    ((example,), _) = read(task, row | {f"choice{k}": None for k in range(5, 11)})
    assert len(example["choices"]) == 4
    assert read(task, row | {"choice3": None})[1] == {"missing text": 1}


def test_only_what_a_task_says_is_missing_is_missing():
    task = own("regression", "text", "label", metrics=("pearson",))
    rows = [{"text": "a", "label": label} for label in (-1.0, 0.0, 1.0)]
    assert [example["label"] for example in read(task, *rows)[0]] == [-1.0, 0.0, 1.0]
    assert read(replace(task, missing=(-1,)), *rows)[1] == {"no label": 1}
    task = own("classification", "text", "label", classes=("-", "+"))
    assert [e["label"] for e in read(task, {"text": "a", "label": "-"}, {"text": "b", "label": "+"})[0]] == [0, 1]
    with pytest.raises(UserError, match=r"label -1 is outside the classes 0..1; .*say missing=\(-1,\)"):
        read(task, {"text": "a", "label": -1})
    assert read(task, {"text": "a", "label": None})[1] == {"no label": 1}


def test_a_label_that_is_a_classs_name_is_that_class():
    stars = own("classification", "text", "label", classes=("1", "2", "3"))
    assert [e["label"] for e in read(stars, *({"text": "a", "label": x} for x in (1, "1", 3, "3")))[0]] == [0, 0, 2, 2]
    named = replace(stars, classes=("neg", "pos"))
    assert [e["label"] for e in read(named, *({"text": "a", "label": x} for x in (1, "1", "neg")))[0]] == [1, 1, 0]
    assert [e["label"] for e in read(own("regression", "text", "label"), {"text": "a", "label": "2.5"})[0]] == [2.5]


@pytest.mark.parametrize(
    ("question", "blank", "filled"),
    [
        ("user_name met _ today", "_", "user_name met tea today"),
        ("He drinks _.", "_", "He drinks tea."),
        ("He drinks_.", "_", "He drinks tea."),
        ("____ is a drink", "_", "tea is a drink"),
        ("_ and _", "_", "tea and _"),
        ("What of user_name?", "_", "What of user_name? tea"),
        ("What does _ mean?", None, "What does _ mean? tea"),
        ("A [MASK] here", "[MASK]", "A tea here"),
    ],
)
def test_a_blank_is_filled_once_where_the_dataset_has_blanks(question, blank, filled):
    assert asked(question, "tea", blank) == filled
    task = own("commonsense", "context", "question", "choices", "label", blank=blank)
    ((example,), _) = read(task, {"context": "c", "question": question, "choices": ["tea", "x"], "label": 0})
    assert example["choices"][0] == filled


def test_an_answer_without_offset_is_a_whole_word_first_and_counted_when_there_are_several():
    context = "Founded in 1952, it has 5 members."
    assert occurrences(context, "5") == [24] and occurrences("1952", "5") == [2] and occurrences("a+b", "+") == [1]
    row = {
        "id": "1",
        "question": "How many?",
        "answer": "5",
        "supporting_facts": {"title": ["A"], "sent_id": [0]},
        "context": {"title": ["A"], "sentences": [[context]]},
    }
    (roles,) = hotpot(row)
    assert roles["answers"]["answer_start"] == [2 + 24]
    (roles,) = hotpot(row | {"supporting_facts": {"title": [], "sent_id": []}})
    assert roles["answers"]["answer_start"] == [2 + 24]
    task = own("span", "question", "context", "answers", no_answer=False)
    one, two = ({"question": "q", "context": c, "answers": "5"} for c in (context, "5 of 5"))
    first, second = read(task, one, two)[0]
    assert read(replace(task, no_answer=True), one | {"answers": ""}, two | {"answers": None})[0][1]["spans"] == []
    assert first["spans"] == [(24, 25)] and not first["several"] and second["spans"] == [(0, 1)] and second["several"]


def test_the_pronoun_of_wsc_stands_where_its_index_says_or_nearest():
    row = {"text": "He said they might want to use it , as it was.", "span1_text": "x", "label": 0, "span2_text": "it"}
    said = {index: wsc(row | {"span2_index": index})[0]["text"] for index in (7, 6, 9)}
    assert said[7] == said[6] == "He said they might want to use *it* , as it was."
    assert said[9] == "He said they might want to use it , as *it* was."
    assert wsc(row | {"text": 'She said "to him," once.', "span2_text": "him", "span2_index": 3})[0]["text"] == (
        'She said "to *him*," once.'
    )
    assert wsc(row | {"span2_text": "them", "span2_index": 7}) == []


def test_a_row_function_that_fails_is_one_line():
    task = replace(own("classification", classes=("a", "b")), rows=lambda row: 1 / 0)
    with pytest.raises(UserError, match="row 0: .*ZeroDivisionError"):
        read(task, {"x": 1})
    with pytest.raises(UserError, match="gives None; return a list"):
        read(replace(task, rows=lambda row: None), {"x": 1})
    with pytest.raises(UserError, match="half of a surrogate pair"):
        read(own("classification", "text", "label", classes=("a", "b")), {"text": "a \ud800", "label": 0})
    with pytest.raises(UserError, match="row 0: it has no `label`, which classification rows need"):
        read(replace(task, rows=lambda row: [{"text": "a"}]), {"x": 1})


@pytest.mark.parametrize("starts", [["2"], [2.0], 2, None, [2, 4]])
def test_a_start_that_is_none_is_one_line(starts):
    answers = {"text": ["b"], "answer_start": starts}
    with pytest.raises(UserError, match="row 0: `answer_start` is .*, not a whole number for each of 1 answers"):
        read(own("span", "question", "context", "answers"), {"question": "?", "context": "a b", "answers": answers})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"context": 5, "label": 0}, "`context` is 5, not text"),
        ({"question": 5, "label": 0}, "`question` is 5, not text"),
        ({"question": "?", "label": "ß"}, "answer key 'ß' is neither a number nor a letter"),
        ({"question": "?", "label": "²"}, "answer key '²' is neither a number nor a letter"),
        ({"question": "?", "label": "9" * 5000}, "answer key '9*… is neither a number nor a letter"),
        ({"question": "?", "label": "A", "keys": 5}, "`keys` is 5, not a list"),
    ],
)
def test_what_is_wrong_with_a_choice_is_one_line_that_names_it(row, message):
    with pytest.raises(UserError, match=f"row 0: {message}"):
        read(own("commonsense", "choices", *row), row | {"choices": ["x", "y"]})


def test_a_tag_that_is_a_class_is_that_class_and_no_number():
    task = own("tagging", "tokens", "tags", classes=("1", "2", "3"))
    ((example,), _) = read(task, {"tokens": ["a", "b"], "tags": [1, "3"]})
    assert example["tags"] == [0, 2]


def test_a_number_is_the_name_of_a_class_that_is_called_so_and_no_place():
    """Labels 0 and 1 beside the classes 1 and 2: the first is none of them, whatever stands in its place."""
    for task, row in (
        (own("classification", "text", "label", classes=("1", "2")), {"text": "a", "label": 0}),
        (own("tagging", "tokens", "tags", classes=("1", "2")), {"tokens": ["a"], "tags": [0]}),
    ):
        with pytest.raises(UserError, match=r"(label|tag) 0 is none of the (2 )?classes 1, 2"):
            read(task, row)


@pytest.mark.parametrize("label", [10**400, 1e39, -1e38, float("inf")])
def test_a_number_that_float32_cannot_hold_is_named(label):
    with pytest.raises(UserError, match=r"label -?(1|inf).* is larger than 1e\+37"):
        read(own("regression", "text", "label"), {"text": "a", "label": label})


def test_of_thousands_of_names_a_row_s_error_lists_the_first(tmp_path):
    classes = tuple(f"class {k}" for k in range(2000))
    with pytest.raises(UserError) as caught:
        read(own("classification", "text", "label", classes=classes), {"text": "a", "label": "other"})
    assert "class 29, … (2,000 in all)" in str(caught.value) and len(str(caught.value)) < 600
    with pytest.raises(UserError) as caught:
        from_file(tmp_path / "own.jsonl", [{f"column {k}": "a" for k in range(1000)}])
    assert "(1,000 in all)" in str(caught.value)


def from_file(place: Path, rows: list[dict], *more: str) -> Task:
    place.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["finetune", "--model", "m", "--out", "out", "--train-file", str(place), *more]
    task = task_of(_parser().parse_args(given))
    assert task is not None
    return task


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
    ],
)
def test_what_a_file_lacks_is_named(tmp_path, row, more, message):
    with pytest.raises(UserError, match=message):
        from_file(tmp_path / "own.jsonl", [row, row], *more)


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


def test_a_cell_nested_too_deeply_is_one_line():
    deep = "[" * 100_000
    with pytest.raises(UserError, match=r"row 0: `choices` is '\[\["):
        read(own("commonsense", "question", "choices", "label"), {"question": "q", "choices": deep, "label": 0})


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
