"""Metrics of answers and summaries: equal to the official algorithms on hand cases and on real rows."""

from __future__ import annotations

import itertools
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muppet.metrics import score
from muppet.metrics.answers import normalise
from muppet.metrics.summaries import sentences
from tests.scored import mirror_rows

quick = settings(max_examples=60, deadline=None)


# SQuAD, ReCoRD, DROP --------------------------------------------------------------------------------------------------


def official_squad(prediction: str, golds: list[str]) -> tuple[float, float]:
    """(EM, F1) of v1.1, written from its description and apart from the code under test."""

    def form(text: str) -> list[str]:
        kept = "".join(c for c in text.lower() if c not in string.punctuation)
        return [w for w in kept.split() if w not in {"a", "an", "the"}]

    best = [0.0, 0.0]
    for gold in golds:
        ours, theirs = form(prediction), form(gold)
        left, common = list(theirs), 0
        for word in ours:
            if word in left:
                left.remove(word)
                common += 1
        f1 = 0.0 if common == 0 else 2 / (len(ours) / common + len(theirs) / common)
        best = [max(best[0], float(ours == theirs)), max(best[1], f1)]
    return best[0], best[1]


def test_squad_hand_cases() -> None:
    guess = ["the Broncos!", "Denver Broncos", "in 1990", "Paris", ""]
    gold = [["Broncos"], ["The Broncos", "Denver  Broncos of Colorado"], ["1990", "year 1990"], ["London"], ["x"]]
    assert score("squad_em", guess, gold).items.tolist() == [1, 0, 0, 0, 0]  # type: ignore[union-attr]
    f1 = score("squad_f1", guess, gold)
    assert f1.items.tolist() == pytest.approx([1, 2 / 3, 2 / 3, 0, 0])  # type: ignore[union-attr]
    assert f1.value == pytest.approx(sum([1, 2 / 3, 2 / 3]) / 5)
    assert normalise("A cat, an  owl and the-dog’s") == "cat owl and thedog’s"


words = st.lists(st.sampled_from(["the", "A", "cat", "cat,", "dog", "U.S.", "10-11", "an"]), max_size=5).map(" ".join)


@quick
@given(words, st.lists(words, min_size=1, max_size=3))
def test_squad_equals_the_official_algorithm(prediction: str, golds: list[str]) -> None:
    em, f1 = official_squad(prediction, golds)
    for name in ("squad", "record"):
        assert score(f"{name}_em", [prediction], [golds]).value == em
        assert score(f"{name}_f1", [prediction], [golds]).value == pytest.approx(f1)


def test_gold_answers_of_the_mirror_score_one_and_shuffled_ones_as_the_official_algorithm() -> None:
    golds = [row["answers"]["text"] for row in mirror_rows("rajpurkar/squad/plain_text/validation.parquet", 400)]
    assert score("squad_em", [g[0] for g in golds], golds).value == 1
    guess = [" ".join(golds[-i][-1].split()[:3]) + " " + golds[i][0] for i in range(len(golds))]
    expected = np.array([official_squad(p, g) for p, g in zip(guess, golds)])
    assert score("squad_em", guess, golds).value == pytest.approx(expected[:, 0].mean())
    assert score("squad_f1", guess, golds).items == pytest.approx(expected[:, 1])


def test_squad_v2_hand_cases() -> None:
    golds: list[list[str]] = [["cat"], [], ["black dog"], []]
    assert score("squad_v2_em", ["cat", "", "dog", "owl"], golds).items.tolist() == [1, 1, 0, 0]  # type: ignore[union-attr]
    assert score("squad_v2_f1", ["cat", "", "dog", "owl"], golds).value == pytest.approx((1 + 1 + 2 / 3) / 4)
    scored = [("cat", 0.5), ("owl", 1.0), ("dog", -3.0), ("owl", -1.0)]  # above 0: no answer
    value = score("squad_v2_f1", scored, golds)
    assert value.items.tolist() == pytest.approx([0, 1, 2 / 3, 0]) and value.settings == {"threshold": 0}  # type: ignore[union-attr]


@quick
@given(
    st.lists(
        st.tuples(words, st.integers(-3, 3), st.lists(words.filter(normalise), max_size=2)), min_size=1, max_size=8
    )
)
def test_best_threshold_is_the_best_of_all(rows: list[tuple[str, int, list[str]]]) -> None:
    golds = [gold for _, _, gold in rows]
    for kind in ("em", "f1"):
        tried = []
        for threshold in range(-4, 4):
            answers = ["" if at > threshold else text for text, at, _ in rows]
            tried.append(score(f"squad_v2_{kind}", answers, golds).value)
        found = score(f"squad_v2_best_{kind}", [(text, float(at)) for text, at, _ in rows], golds)
        assert found.value == pytest.approx(max(tried))


def test_equal_no_answer_scores_fall_on_one_side() -> None:
    value = score("squad_v2_best_em", [("x", 1.0), ("y", 1.0), ("z", 1.0)], [["x"], [], []])
    assert value.value == pytest.approx(2 / 3) and value.settings["threshold"] < 1


@pytest.mark.parametrize(
    ("prediction", "golds", "em", "f1"),
    [
        ("5", ["5.0"], 1, 1),  # numbers compare as floats
        ("5 yards", ["5"], 0, 0.67),
        ("6 yards", ["5 yards"], 0, 0),  # the words agree but the number is wrong
        ("46-yard", ["46 yard"], 1, 1),  # hyphens part words
        ("1,000", ["1000"], 1, 1),
        ("the Bears", ["Lions", "Bears"], 1, 1),  # the best annotator
        (["Lions", "the Bears"], [["Bears", "Lions"]], 1, 1),  # spans are a bag
        (["Lions"], [["Bears", "Lions"]], 0, 0.5),  # one of two aligned
        (["red fox", "dog"], [["dog", "fox"]], 0, 0.83),  # (1 + 2/3) / 2, rounded as officially
        (["Lions", "Lions"], [["Lions"]], 0, 0.5),
        ("", ["Lions"], 0, 0),
        ("Spain", [["Spain", "Italy", "Germany"]], 0, 0.33),  # joint spans are no alternatives
        ("", ["Bears", ""], 0, 0),  # an empty answer counts for nothing
        ("", [""], 0, 0),
        ("Bears", ["", "the Bears"], 1, 1),
    ],
)
def test_drop_hand_cases(prediction: str | list[str], golds: list, em: float, f1: float) -> None:
    assert score("drop_em", [prediction], [golds]).value == em
    assert score("drop_f1", [prediction], [golds]).value == pytest.approx(f1)


def official_drop(prediction: list[str], golds: list[list[str]]) -> tuple[float, float]:
    """(EM, F1) of the DROP script by trying every alignment, written apart from the code under test."""

    def form(text: str) -> str:
        words = []
        for word in text.lower().replace("-", " ").split(" "):
            try:
                word = str(float(word))
            except ValueError:
                word = "".join(c for c in word if c not in string.punctuation)
                word = str(float(word)) if word.isdigit() else word
            words += [] if word in ("a", "an", "the") else [word]
        return " ".join(word for word in words if word)

    def agree(ours: set[str], theirs: set[str]) -> float:
        numbers = {w for w in theirs if w[0].isdigit()}
        common = len(ours & theirs)
        if (numbers and not numbers & ours) or not common:
            return 0.0
        return 2 / (len(ours) / common + len(theirs) / common)

    best = (0.0, 0.0)
    for gold in golds:
        if not gold[0].strip():
            continue
        ours, theirs = [form(x) for x in prediction], [form(x) for x in gold]
        short, long = sorted([ours, theirs], key=len)
        totals = [
            sum(
                agree(set(a.split()), set(b.split())) if short is ours else agree(set(b.split()), set(a.split()))
                for a, b in zip(short, order)
            )
            for order in itertools.permutations(long, len(short))
        ]
        exact = float(sorted(ours) == sorted(theirs))
        best = max(best[0], exact), max(best[1], round(max(totals) / len(long), 2))
    return best


spans = st.lists(
    st.sampled_from(["the Bears", "Bears", "5", "5 yards", "46-yard", "Lions win"]), min_size=1, max_size=3
)


@settings(max_examples=200, deadline=None)
@given(spans.filter(lambda x: len(set(x)) == len(x)), st.lists(spans | st.just([""]), min_size=1, max_size=3))
def test_drop_equals_the_official_algorithm(prediction: list[str], golds: list[list[str]]) -> None:
    golds = [list(dict.fromkeys(gold)) for gold in golds]
    em, f1 = official_drop(prediction, golds)
    assert score("drop_f1", [prediction], [golds]).value == pytest.approx(f1)
    if len({normalise(x) for x in prediction}) == len(prediction):  # the script's sets ignore how often a span repeats
        assert score("drop_em", [prediction], [golds]).value == em


def test_trivia_takes_punctuation_apart_and_normalised_aliases() -> None:
    """TriviaQA's script parts words where SQuAD's joins them; what it says of these was worked out by hand."""
    guess = ["Jean-Luc Picard", "The U.S.A.", "Schindler’s List", "rock_and_roll", "A"]
    gold = [["jean luc picard"], ["u s", "u s a"], ["schindler s list"], ["rock and roll"], ["b"]]
    assert score("trivia_em", guess, gold).items.tolist() == [1, 1, 1, 1, 0]  # type: ignore[union-attr]
    assert score("squad_em", guess, gold).items.tolist() == [0, 0, 0, 0, 0]  # type: ignore[union-attr]
    assert score("trivia_f1", ["the U.S. team"], [["u s"]]).value == pytest.approx(2 * 2 / 5)


# Summaries ------------------------------------------------------------------------------------------------------------


def test_sentences_split_by_rule() -> None:
    text = 'Mr. Smith of the U.S. went home. He said "No." Then J. K. Rowling left!\nOk? 3 men . no.5 is it'
    assert sentences(text) == [
        "Mr. Smith of the U.S. went home.",
        'He said "No."',
        "Then J. K. Rowling left!",
        "Ok?",
        "3 men .",
        "no.5 is it",
    ]
    assert sentences(" \n\n") == []
    lower = "see no. 5 and fig. 3 of smith et al. here . is it? he said no. the end"
    assert sentences(lower) == ["see no. 5 and fig. 3 of smith et al. here .", "is it?", "he said no.", "the end"]
    assert sentences("... ! x") == ["... !", "x"]


def test_sentences_are_the_treebanks_with_and_without_capitals() -> None:
    """Eight of English EWT's sentences at a time, joined: most of their ends are seen, and few others."""
    rows = mirror_rows("universal-dependencies/universal_dependencies/en_ewt/test.parquet", 1000)
    for form in (str, str.lower):
        right = ours = true = 0
        for start in range(0, len(rows), 8):
            gold = [form(" ".join(row["text"].split())) for row in rows[start : start + 8]]
            ends = [
                set(np.cumsum([len(x.replace(" ", "")) for x in side])) for side in (sentences(" ".join(gold)), gold)
            ]
            right, ours, true = right + len(ends[0] & ends[1]), ours + len(ends[0]), true + len(ends[1])
        assert right / ours > 0.95 and right / true > 0.7


def test_rouge_hand_case() -> None:
    guess, gold = ["the cat sat on mats"], ["the cats sat"]
    assert score("rouge1", guess, gold).value == pytest.approx(2 * 3 / 8)  # stemming makes cats a cat
    assert score("rouge2", guess, gold).value == pytest.approx(2 * 2 / 6)
    swapped = "Dogs bark loudly. Cats sleep."
    assert score("rougeL", [swapped], ["Cats sleep. Dogs bark loudly."]).value == pytest.approx(2 * 3 / 10)
    assert score("rougeLsum", [swapped], ["Cats sleep. Dogs bark loudly."]).value == pytest.approx(1)
    plain = "the cat sat. the dog ran. a bird flew."
    assert score("rougeLsum", [plain], ["a bird flew. the dog ran. the cat sat."]).value == pytest.approx(1)
    assert score("rouge1", [""], gold).value == 0


def test_rouge_equals_rouge_score_on_aeslc() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    rows = mirror_rows("Yale-LILY/aeslc/default/test.parquet", 150)
    guess = ["\n".join(sentences(row["email_body"])[:2]) for row in rows]
    gold = [row["subject_line"] for row in rows]
    kinds = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
    scorer = RougeScorer(kinds, use_stemmer=True)
    whole = [scorer.score(g, p) for p, g in zip(guess, gold)]
    lines = [scorer.score("\n".join(sentences(g)), "\n".join(sentences(p))) for p, g in zip(guess, gold)]
    for kind in kinds:
        value = score(kind, guess, gold)
        theirs = [pair[kind].fmeasure for pair in (lines if kind == "rougeLsum" else whole)]
        assert value.items == pytest.approx(theirs) and 0 < value.value < 1


@pytest.mark.parametrize(
    ("path", "source", "target", "least"),
    [
        ("armanc/scientific_papers/arxiv/test.parquet", "article", "abstract", 0.305),
        ("armanc/scientific_papers/pubmed/test.parquet", "article", "abstract", 0.322),
        ("ctr4si/reddit_tifu/long/train.parquet", "documents", "tldr", 0.107),
    ],
)
def test_rouge_lsum_of_lower_case_rows(path: str, source: str, target: str, least: float) -> None:
    """The first 150 words of 100 real rows; .268, .289 and .086 when only a capital begins a sentence."""
    rows = [row for row in mirror_rows(path, 102) if row[source].strip() and row[target].strip()][:100]
    guess = [" ".join(row[source].split()[:150]) for row in rows]
    assert least < score("rougeLsum", guess, [row[target] for row in rows]).value < least + 0.01
