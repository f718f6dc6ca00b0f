"""Rows of one's own: their columns, labels, blanks and answers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.families.classification import Regression
from muppet.families.commonsense import asked
from muppet.families.spec import HeadSpec
from muppet.tasks.classification import wsc
from muppet.tasks.mrc import hotpot
from muppet.tasks.task import occurrences
from tests.own_files import own, read

CHOICES = tuple((f"choice{k}", f"choice{k}") for k in range(1, 11))


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


def test_a_cell_nested_too_deeply_is_one_line():
    deep = "[" * 100_000
    with pytest.raises(UserError, match=r"row 0: `choices` is '\[\["):
        read(own("commonsense", "question", "choices", "label"), {"question": "q", "choices": deep, "label": 0})


def test_beside_a_class_that_is_a_number_no_number_is_a_place():
    task = own("classification", "text", "label", classes=("1", "2", "n/a"))
    assert read(task, {"text": "a", "label": "n/a"}, {"text": "a", "label": 2})[0][1]["label"] == 1
    for label in (0, True, "0"):
        with pytest.raises(UserError, match=f"row 0: label {label!r} is none of the classes 1, 2, n/a"):
            read(task, {"text": "a", "label": label})


def test_a_sentence_without_tags_is_left_out_and_counted():
    task = own("tagging", "tokens", "tags", classes=("A", "B"))
    assert read(task, {"tokens": ["a"], "tags": None}) == ([], {"no label": 1})


@given(st.integers(-(10**9), 10**9), st.floats(1e-9, 1e9))
def test_numbers_to_learn_are_told_apart_or_refused(low, width):
    """What float32 makes of three numbers in order, a tenth of their range apart: three numbers in order."""
    labels = np.array([low, low + width / 10, low + width], np.float32)
    try:
        Regression().spec(own("regression", "text", "label"), SimpleNamespace(labels=labels), "mine")
    except UserError as error:
        assert "of all 3 training rows" in str(error) or "differ by too little" in str(error)
        assert width < 2000 * np.spacing(np.float32(abs(low) + width))
    else:
        assert labels[0] < labels[1] < labels[2]
        share = (labels[1] - labels[0]) / (labels[2] - labels[0])
        assert share == pytest.approx(0.1, abs=2e-3)


@given(st.floats(1e-30, 1e30), st.floats(0, 1))
def test_a_predicted_number_is_written_to_a_ten_thousandth_of_its_range(high, share):
    encoded = SimpleNamespace(unit=lambda example: example)
    spec = HeadSpec(key="mine", family="regression", outputs=1, high=high)
    said = Regression().answer(encoded, spec, {0: share}, 0)["score"]
    assert said == pytest.approx(share * high, abs=1e-4 * high)
