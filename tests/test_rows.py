"""From a dataset's row to an example: what is named, dropped and counted, and where answers are found."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.families import examples
from muppet.families.span import locate
from muppet.tasks import Task, get


def read(task: Task, *rows: dict) -> tuple[list[dict], Counter[str]]:
    dropped: Counter[str] = Counter()
    return list(examples(task, "train", rows, dropped)), dropped


@pytest.mark.parametrize(
    "name, row, message",
    [
        ("rte", {"sentence_1": "a", "sentence2": "b", "label": 0}, "'sentence1' is absent; did you mean 'sentence_1'"),
        ("rte", {"sentence1": 5, "sentence2": "b", "label": 0}, "`text` is 5, not text"),
        ("rte", {"sentence1": "a", "sentence2": "b", "label": 2}, "label 2 is outside the classes 0..1"),
        ("rte", {"sentence1": "a", "sentence2": "b", "label": 0.5}, "label 0.5 is neither"),
        ("scitail", {"premise": "a", "hypothesis": "b", "label": "entail"}, "did you mean 'entails'"),
        ("stsb", {"sentence1": "a", "sentence2": "b", "label": "high"}, "label 'high' is not a number"),
        ("stsb", {"sentence1": "a", "sentence2": "b", "label": float("nan")}, "label nan is not a number"),
        (
            "openbookqa",
            {"question_stem": "q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "E"},
            "answer key 'E' names no choice; the choices are 'A', 'B'",
        ),
        ("openbookqa", {"question_stem": "q", "choices": ["x", "y"], "answerKey": "A"}, "column 'text' is absent"),
        ("race", {"article": "t", "question": "q", "options": ["x", "y"], "answer": "D"}, "'D' names no choice"),
        ("hellaswag", {"ctx": "t", "endings": "none", "label": "0"}, "`choices` is 'none', not a list"),
        ("squad", {"id": "1", "question": "q", "context": "c", "answers": ["c"]}, "`answers` is"),
        ("conll2003", {"tokens": ["a", "b"], "ner_tags": [0]}, "must be a list of 2 tags"),
        ("conll2003", {"tokens": ["a"], "ner_tags": [99]}, "tag 99 is none of the 9 classes"),
        ("wsc", {"text": "a"}, "column 'span2_index' is absent"),
        ("hotpotqa", {"answer": "a", "supporting_facts": None}, "columns are not of the types that hotpot reads"),
    ],
)
def test_bad_rows_are_named_with_dataset_split_row_and_fix(name, row, message):
    with pytest.raises(UserError) as caught:
        read(get(name), row)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{name} (") and " split train row 0: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unlabelled_and_empty_rows_are_dropped_and_counted():
    good = {"sentence1": "a", "sentence2": "b", "label": 1}
    found, dropped = read(get("rte"), good, good | {"label": -1}, good | {"label": None}, good | {"sentence1": None})
    assert len(found) == 1 and dropped == {"no label": 2, "missing text": 1}
    found, dropped = read(get("hellaswag"), {"ctx": "t", "endings": ["x", "y"], "label": ""})
    assert not found and dropped == {"no label": 1}
    found, dropped = read(get("aeslc"), {"email_body": " ", "subject_line": "s"})
    assert not found and dropped == {"empty source or target": 1}
    found, dropped = read(get("conll2000"), {"tokens": [], "chunk_tags": []})
    assert not found and dropped == {"empty sentence": 1}


@pytest.mark.parametrize(
    "label, n, keys, expected", [(2, 4, None, 2), ("3", 4, None, 3), ("C", 4, None, 2), ("2", 3, ["1", "2", "3"], 1)]
)
def test_answer_keys(label, n, keys, expected):
    task = Task(
        name="t", family="commonsense", path="a/b", columns=(("question", "q"), ("choices", "c"), ("label", "l"))
    )
    row = {"q": "?", "c": ["x"] * n, "l": label}
    if keys:
        task, row = replace(task, columns=(*task.columns, ("keys", "k"))), row | {"k": keys}
    assert read(task, row)[0][0]["label"] == expected


@settings(deadline=None)
@given(st.text("ab ", min_size=1, max_size=30), st.integers(0, 30), st.integers(1, 5), st.integers(-3, 3))
def test_answers_are_found_where_they_are_or_nearest_to_it(context, start, length, off):
    text = context[start : start + length]
    found = locate(context, text, start)
    if not text.strip():
        assert found is None
        return
    lead = len(text) - len(text.lstrip())
    assert found == (start + lead, start + lead + len(text.strip()))
    moved = locate(context, text, start + off)
    assert moved is not None and context[moved[0] : moved[1]] == text.strip()
    if start + off >= 0:
        assert abs(moved[0] - (start + off + lead)) <= abs(off)
    else:  # no offset: a whole word first
        size = len(text.strip())
        places = [i for i in range(len(context)) if context[i : i + size] == text.strip()]
        words = [i for i in places if not f" {context} "[i].strip() and not f" {context} "[i + size + 1].strip()]
        assert moved[0] == (words or places)[0]
    assert locate(context, "xyz", start) is None


def test_misplaced_answers_are_moved_and_absent_ones_dropped():
    row = {"id": "1", "question": " q ", "context": "Nile and Nile", "answers": {"text": ["Nile"], "answer_start": [8]}}
    found, dropped = read(
        get("squad"),
        row,
        row | {"answers": {"text": ["Po"], "answer_start": [0]}},
        row | {"answers": {"text": [], "answer_start": []}},
    )
    assert found[0]["spans"] == [(9, 13)] and found[0]["question"] == "q"
    assert dropped == {"answer is no span of the context": 1, "no answer": 1}
    (example,), _ = read(get("squad_v2"), row | {"answers": {"text": [], "answer_start": []}})
    assert example["spans"] == [] and example["gold"] == []
