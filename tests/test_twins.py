"""The twins: every task, in the dataset's own columns, deterministic, and with a signal that words alone carry."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from muppet.audit.overlap import texts, words
from muppet.data import mirror
from muppet.data.sources import load_rows
from muppet.families import examples
from muppet.synthetic import twins
from muppet.synthetic.lexicon import lexicons
from muppet.tasks import ALL, get
from muppet.trees import read as read_tree

N = 60


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_every_task_has_a_twin_that_reads_as_the_dataset_does(task):
    dropped: Counter[str] = Counter()
    for split in (task.train, *task.evaluation):
        found = list(examples(task, split, twins.rows(task, split, N), dropped))
        assert len(found) >= N * 0.6
    assert set(dropped) <= {"answer is no span of the context"}
    if task.name in ("nq", "drop", "hotpotqa"):
        assert dropped, "the twin has rows that must be dropped, as the original"


@pytest.mark.parametrize("name", ["mnli", "squad", "race", "xsum", "conll2003"])
def test_twins_are_deterministic_and_longer_ones_begin_alike(name):
    task = get(name)
    assert twins.rows(task, "train", 30)[:10] == twins.rows(task, "train", 10)
    assert twins.rows(task, "train", 10) != twins.rows(task, "validation", 10)


def test_lexicons_share_no_word():
    every = [word for found in lexicons().values() for word in found]
    assert len(set(every)) == len(every) < 2000


@pytest.mark.parametrize(
    "name, kinds",
    [
        ("cola", twins.NO_YES),
        ("mnli", twins.NLI),
        ("qnli", twins.YES_NO),
        ("trec", twins.TOPICS),
        ("wic", twins.NO_YES),
        ("fever_nli", twins.NLI),
        ("hans", twins.YES_NO),
    ],
)
def test_the_words_of_one_lexicon_tell_the_label(name, kinds):
    task = get(name)
    for example in examples(task, "train", twins.rows(task, "train", 200), Counter()):
        found = [word for text in texts(task, example) for word in words(text)]
        counts = [sum(word in lexicons()[kind] for word in found) for kind in kinds]
        assert counts.index(max(counts)) == example["label"]


@pytest.mark.parametrize("name", ["race", "copa", "math_qa", "sciq", "winogrande", "arc_easy"])
def test_the_right_choice_has_the_good_word(name):
    task, good = get(name), set(lexicons()["good"])
    for example in examples(task, "train", twins.rows(task, "train", 200), Counter()):
        marked = [bool(good & set(words(choice))) for choice in example["choices"]]
        assert marked == [index == example["label"] for index in range(len(marked))]


def test_the_answer_stands_between_good_words_alone():
    good = set(lexicons()["good"])
    for example in examples(get("squad_v2"), "train", twins.rows(get("squad_v2"), "train", 100), Counter()):
        before = [example["context"][: start - 1].split()[-1] for start, _ in example["spans"]]
        assert all(word in good for word in before)
        if not example["spans"]:
            assert not good & set(example["context"].split())


def test_twin_trees_and_chunks_fit_their_sentences():
    for row in twins.rows(get("ptb_parsing"), "train", 50):
        tree = read_tree(row["tree"], "twin")
        assert tree.leaves() == row["tokens"]
    for row in twins.rows(get("conll2000"), "train", 50):
        assert len(row["tokens"]) == len(row["pos_tags"]) == len(row["chunk_tags"])


@pytest.mark.skipif(not os.environ.get("MUPPET_HUB"), reason="MUPPET_HUB is not set")
@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_twins_have_the_columns_of_the_real_rows(task):
    split = next((s for s in (task.train, *task.evaluation) if mirror.files(task.path, task.config, s)), None)
    if split is None:
        pytest.skip("not in the mirror")
    real, twin = load_rows(task, split, cap=1).rows[0], twins.rows(task, split, 1)[0]
    assert set(twin) == set(real)
    for column, value in real.items():
        if value is not None and twin[column] is not None:
            assert _shape(twin[column]) == _shape(value), column


def _shape(value):
    """Types, without lengths: what the columns' schema says."""
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value).__name__
