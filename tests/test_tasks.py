"""The catalogue: complete, consistent, and each odd dataset's row function right on a row of its own schema."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from muppet.errors import UserError
from muppet.families import examples
from muppet.metrics import METRICS
from muppet.runs import digest, facts
from muppet.tasks import A1, ALL, COPIES, FIVE, SETS, Task, get, mixture, scale_order
from muppet.tasks.mrc import drop, hotpot, natural_questions, record, trivia
from muppet.tasks.structured import CHUNKS, PENN, UPOS


def read(task: Task, *rows):
    """The examples of rows given in the dataset's own columns, and what was dropped."""
    dropped: Counter[str] = Counter()
    return list(examples(task, "train", rows, dropped)), dropped


def test_named_sets_have_the_sizes_that_name_them():
    assert [len(SETS[name]) for name in ("a1_47", "table1_46", "unique_45", "scale_pool")] == [47, 46, 45, 40]
    for name, names in SETS.items():
        assert len(set(names)) == len(names), name
        assert all(entry in ALL for entry in names), name
    assert set(SETS["a1_47"]) - set(SETS["table1_46"]) == {"multi_news"}
    assert set(SETS["a1_47"]) - set(SETS["unique_45"]) == set(COPIES)
    assert [len(names) for names in A1.values()] == [26, 5, 10, 6]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_scale_sets_are_nested_and_hold_the_five_from_the_first_point_on(seed):
    order = scale_order(seed)
    assert set(order) == set(SETS["scale_pool"])
    assert set(FIVE) <= set(order[:10])
    assert not {"qnli", "cola"} & set(order)
    for k in range(5, 41):  # every family is in every prefix roughly as in the whole
        shares = {family: sum(name in names for name in order[:k]) for family, names in A1.items()}
        assert abs(shares["Classification"] - k * 24 / 40) <= 4
    assert scale_order(0) != scale_order(1)


def test_scale_sets_of_the_default_order():
    steps = [SETS[f"scale_{k}"] for k in (10, 16, 22, 28, 34, 40)]
    for smaller, larger in zip(steps, steps[1:]):
        assert larger[: len(smaller)] == smaller


def test_small_mixture_is_real_and_covers_three_families():
    tasks = mixture("small_mixture")
    assert len(tasks) >= 15
    assert {task.family for task in tasks} == {"classification", "commonsense", "span"}


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_every_task_is_whole(task):
    roles = {role for role, _ in task.columns}
    assert (task.rows is None) != (not roles), "either columns or a row function"
    needed = {
        "classification": {"text", "label"},
        "regression": {"text", "label"},
        "commonsense": {"label"},
        "span": {"question", "context", "answers"},
        "summarization": {"source", "target"},
        "tagging": {"tokens", "tags"},
        "parsing": {"tree"},
    }
    assert task.rows is not None or needed[task.family] <= roles
    assert (task.classes is not None) == (task.family in ("classification", "tagging"))
    assert task.classes is None or len(set(task.classes)) == len(task.classes) >= 2
    assert (task.no_answer is not None) == (task.family == "span")
    assert task.train_rows and task.evaluation_rows and task.licence and task.checked
    own = {"f1": "squad_f1", "em": "squad_em"} if task.family == "span" else {}
    assert all(own.get(metric, metric) in METRICS for metric in task.metrics)
    assert task.evaluation and task.train
    if not task.path.startswith("local/"):
        assert task.revision, "pinned, or the conversion branch"


def test_identity_holds_the_data_revision_and_not_the_notes():
    task = get("rte")
    assert digest(facts(task)) != digest(facts(replace(task, revision="other")))
    assert digest(facts(task)) == digest(facts(replace(task, note="x", licence="y", train_rows=1)))
    assert facts(get("wic"))["rows"] == "muppet.tasks.classification.wic"


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean 'hellaswag'"):
        get("helaswag")
    with pytest.raises(UserError, match="did you mean 'unique_45'"):
        mixture("unique_54")
    assert mixture("rte") == (get("rte"),)


def test_the_catalogue_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'datasets', 'numpy', 'pandas', 'nltk'}"
    code = f"import sys, muppet.tasks; print(sorted({{m.split('.')[0] for m in sys.modules}} & {heavy}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


# Row functions --------------------------------------------------------------------------------------------------------


def test_wsc_marks_the_pronoun():
    row = {
        "text": "Mark told Pete many lies about himself , which Pete believed .",
        "span1_index": 0,
        "span2_index": 6,
        "span1_text": "Mark",
        "span2_text": "himself",
        "label": 1,
    }
    (example,), _ = read(get("wsc"), row)
    assert example["text"] == "Mark told Pete many lies about *himself* , which Pete believed ."
    assert example["pair"] == "Mark"


def test_composite_columns_are_joined():
    (example,), _ = read(get("multirc"), {"paragraph": "p", "question": "q?", "answer": "a", "label": 0})
    assert (example["text"], example["pair"]) == ("p", "q? a")


@pytest.mark.parametrize(
    "options, correct, expected",
    [
        ("a ) 38 , b ) 27.675 , c ) 30 , d ) data inadequate , e ) none of these", "a", "38"),
        ("a ) 1,000 , b ) 2,000 , c ) 3 , d ) 4 , e ) 5", "b", "2,000"),
        ("['a ) 4', 'b ) 4 π', 'c ) 16', 'd ) 8 π', 'e ) 16']", "b", "4 π"),
        ("a ) rs . 400 , b ) rs . 300 , c ) rs . 500 , d ) rs . 350 , e ) none", "e", "none"),
    ],
)
def test_math_qa_options(options, correct, expected):
    (example,), _ = read(get("math_qa"), {"Problem": "how many ?", "options": options, "correct": correct})
    assert len(example["choices"]) == 5
    assert example["choices"][example["label"]] == expected


def test_sciq_hides_the_right_answer_among_the_distractors_evenly():
    row = {"support": "", "correct_answer": "yes", "distractor1": "a", "distractor2": "b", "distractor3": "c"}
    rows = [row | {"question": f"q{i}?"} for i in range(400)]
    found, _ = read(get("sciq"), *rows)
    places = [example["label"] for example in found]
    assert all(example["choices"][example["label"]] == "yes" for example in found)
    assert min(places.count(k) for k in range(4)) > 50


def test_labels_that_count_from_one():
    row = {"context": "c", "question": "q", "answerA": "a", "answerB": "b", "answerC": "c", "label": "3"}
    (example,), _ = read(get("social_i_qa"), row)
    assert example["label"] == 2
    row = {"sentence": "He put _ away.", "option1": "x", "option2": "y", "answer": "2"}
    (example,), _ = read(get("winogrande"), row)
    assert (example["text"], example["choices"], example["label"]) == ("He put", ["x away.", "y away."], 1)


def test_race_fills_the_blank():
    row = {"article": "text", "question": "He _ home.", "options": ["went", "ran", "a", "b"], "answer": "B"}
    (example,), _ = read(get("race"), row)
    assert example["choices"][example["label"]] == "He ran home."


def test_arc_answers_by_letter_or_number():
    for keys, answer in (("ABCD", "C"), ("1234", "3")):
        row = {"question": "q", "choices": {"text": ["w", "x", "y", "z"], "label": list(keys)}, "answerKey": answer}
        (example,), _ = read(get("arc_easy"), row)
        assert example["label"] == 2


def test_universal_dependencies_leaves_contractions_out():
    row = {"tokens": ["don't", "do", "n't"], "upos": [UPOS.index("_"), UPOS.index("AUX"), UPOS.index("PART")]}
    (example,), _ = read(get("ud_pos"), row)
    assert example["tokens"] == ["do", "n't"]


def test_fever_swaps_claim_and_evidence():
    row = {"premise": "the claim", "hypothesis": "the evidence", "label": 0, "fever_gold_label": "NOT ENOUGH INFO"}
    (example,), _ = read(get("fever_nli"), row)
    assert (example["text"], example["pair"]) == ("the evidence", "the claim")
    assert get("fever_nli").classes[example["label"]] == "neutral"


def test_tag_lists_match_the_datasets():
    assert (len(CHUNKS), len(PENN), len(UPOS), len(get("conll2003").classes)) == (23, 45, 18, 9)
    assert CHUNKS[11:15] == ("B-NP", "I-NP", "B-PP", "I-PP")


# Spans ----------------------------------------------------------------------------------------------------------------


def test_hotpot_prefers_the_supporting_sentence_and_drops_yes():
    row = {
        "id": "1",
        "question": "Who?",
        "answer": "Terry",
        "supporting_facts": {"title": ["B"], "sent_id": [1]},
        "context": {"title": ["A", "B"], "sentences": [["Terry is first."], ["One.", " Then Terry came."]]},
    }
    (roles,) = hotpot(row)
    start = roles["answers"]["answer_start"][0]
    assert roles["context"][start:].startswith("Terry came.")
    assert hotpot(row | {"answer": "yes"}) == []
    assert hotpot(row | {"answer": "nowhere"}) == []


def test_record_takes_mentions_of_the_answer():
    row = {
        "passage": "Anna met Bob. Bob left.",
        "query": "@placeholder left",
        "answers": ["Bob"],
        "entities": ["Anna", "Bob"],
        "idx": {"passage": 3, "query": 1},
        "entity_spans": {"text": ["Anna", "Bob", "Bob"], "start": [0, 9, 14], "end": [4, 12, 17]},
    }
    (example,), _ = read(get("record"), row)
    assert example["spans"] == [(9, 12), (14, 17)] and example["gold"] == ["Bob"] and example["id"] == "3-1"
    assert record(row | {"answers": []}) == []


def test_drop_keeps_spans_and_dates_and_drops_numbers():
    row = {
        "query_id": "q",
        "question": "?",
        "passage": "The 49ers won 3 games on 5 May.",
        "answers_spans": {"spans": ["49ers"], "types": ["span"]},
    }
    assert drop(row)[0]["answers"]["text"] == ["49ers"]
    assert drop(row | {"answers_spans": {"spans": ["3"], "types": ["number"]}}) == []
    assert drop(row | {"answers_spans": {"spans": ["Rams"], "types": ["span"]}}) == []
    found, dropped = read(get("drop"), row, row | {"answers_spans": {"spans": ["3"], "types": ["number"]}})
    assert len(found) == 1 and dropped == {"answer is no span of the context": 1}


@pytest.mark.parametrize(
    ("spans", "types", "gold"),
    [
        (["Spain", "Italy", "Germany"], ["span"] * 3, [["Spain", "Italy", "Germany"]]),  # one annotator, jointly
        (["Spain", "Italy", "Spain", "Italy"], ["span"] * 4, [["Spain", "Italy"]]),  # two, who agree
        (["49ers", "the 49ers", "49ers"], ["span"] * 3, [["49ers"], ["the 49ers"]]),  # three, in other words
        (["5 May", "1952", "Spain"], ["date", "number", "span"], [["5 May"], ["1952"], ["Spain"]]),
        (["Spain", ""], ["span", "span"], [["Spain"]]),  # an empty answer is none
    ],
)
def test_drop_parts_the_annotators_answers(spans, types, gold):
    row = {
        "query_id": "q",
        "question": "?",
        "passage": "On 5 May Spain, Italy and Germany met the 49ers.",
        "answers_spans": {"spans": spans, "types": types},
    }
    (example,), _ = read(get("drop"), row)
    assert example["gold"] == gold


def test_trivia_reads_the_first_document_that_mentions_an_alias():
    row = {
        "question": "?",
        "question_id": "t",
        "answer": {"value": "Nile", "aliases": ["The Nile", "Nile"]},
        "entity_pages": {"wiki_context": ["nothing here"]},
        "search_results": {"search_context": ["a river, the Nile it is"]},
    }
    (roles,) = trivia(row)
    assert roles["context"] == "a river, the Nile it is" and roles["answers"]["text"] == ["Nile"]
    assert roles["gold"] == ["Nile", "The Nile"]
    (roles,) = trivia(row | {"answer": row["answer"] | {"normalized_aliases": ["nile"]}})
    assert roles["gold"] == ["nile"]
    late = {"wiki_context": ["word " * 900 + "Nile"]}
    assert trivia(row | {"entity_pages": late, "search_results": {"search_context": []}}) == []


def test_natural_questions_reads_the_long_answer():
    tokens = ["<P>", "It", "was", "<b>", "Ada", "Lovelace", "</b>", "then", "</P>", "Other"]
    document = {"tokens": {"token": tokens, "is_html": [t.startswith("<") for t in tokens]}}
    short = {"start_token": [4], "end_token": [6], "text": ["Ada Lovelace"]}
    none = {"start_token": [], "end_token": [], "text": []}
    row = {
        "id": "n",
        "question": {"text": "who was it"},
        "document": document,
        "annotations": {
            "long_answer": [{"start_token": -1, "end_token": -1}, {"start_token": 0, "end_token": 9}],
            "short_answers": [none, short],
        },
    }
    (example,), _ = read(get("nq"), row)
    assert example["context"] == "It was Ada Lovelace then"
    assert [example["context"][a:b] for a, b in example["spans"]] == ["Ada Lovelace"]
    row["annotations"]["short_answers"] = [none, none]
    assert natural_questions(row) == []
