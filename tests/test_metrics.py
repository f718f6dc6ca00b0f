"""Metrics: equal to the official algorithms on hand cases and on real rows; intervals that resample what was scored."""

from __future__ import annotations

import itertools
import math
import random
import string

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muppet import paths
from muppet.errors import UserError
from muppet.metrics import METRICS, bootstrap, load, score
from muppet.metrics.answers import normalise
from muppet.metrics.summaries import sentences

quick = settings(max_examples=60, deadline=None)


def mirror_rows(path: str, count: int) -> list[dict]:
    """The first rows of a parquet file of the mirror."""
    root = paths.mirror()
    if root is None or not (root / path).exists():
        pytest.skip(f"MUPPET_HUB is not set, or has no {path}")
    import pyarrow.parquet as pq

    return pq.read_table(root / path).slice(0, count).to_pylist()


# Classes and numbers --------------------------------------------------------------------------------------------------


def test_hand_values_of_class_metrics() -> None:
    guess, gold = [1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0]  # tp 2, fp 1, fn 1, tn 2
    assert score("accuracy", guess, gold).value == pytest.approx(4 / 6)
    assert score("f1", guess, gold).value == pytest.approx(2 / 3)
    assert score("macro_f1", guess, gold).value == pytest.approx(2 / 3)
    assert score("matthews", guess, gold).value == pytest.approx((2 * 2 - 1 * 1) / math.sqrt(3 * 3 * 3 * 3))
    assert score("accuracy", guess, gold).items.tolist() == [1, 0, 1, 0, 1, 1]  # type: ignore[union-attr]


def test_hand_values_of_correlations() -> None:
    assert score("pearson", [1, 2, 3], [2, 4, 6]).value == pytest.approx(1)
    assert score("spearman", [1, 2, 30], [3, 2, 1]).value == pytest.approx(-1)
    assert score("spearman", [1, 1, 2], [1, 2, 3]).value == pytest.approx(
        math.sqrt(3) / 2
    )  # a tie shares its mean rank
    constant = score("pearson", [5, 5, 5], [1, 2, 3])
    assert constant.value == 0 and constant.settings == {"undefined": True} and bootstrap(constant) == (0, 0)


def test_multirc_counts_questions() -> None:
    value = score("multirc_em", [1, 0, 1, 1], [("p0/q0", 1), ("p0/q0", 0), ("p0/q1", 1), ("p0/q1", 0)])
    assert (value.value, value.n, value.items.tolist()) == (0.5, 2, [1, 0])  # type: ignore[union-attr]


@st.composite
def resampled(draw: st.DrawFn, elements: st.SearchStrategy) -> tuple[list, list, list[int]]:
    """Predictions, references, and how often each example counts (at least one counts)."""
    count = draw(st.integers(1, 12))
    sides = [draw(st.lists(elements, min_size=count, max_size=count)) for _ in range(2)]
    weights = draw(st.lists(st.integers(0, 4), min_size=count, max_size=count).filter(any))
    return sides[0], sides[1], weights


def assert_resamples(metric: str, guess: list, gold: list, weights: list[int]) -> None:
    """The value under weights is the value of the examples repeated that often: what a bootstrap must compute."""
    value = score(metric, guess, gold)
    assert value.weighted(np.ones(value.n)) == pytest.approx(value.value, abs=1e-9)
    repeat = [index for index, weight in enumerate(weights) for _ in range(weight)]
    again = score(metric, [guess[i] for i in repeat], [gold[i] for i in repeat])
    assert value.weighted(np.array(weights, dtype=float)) == pytest.approx(again.value, abs=1e-9)


@quick
@given(resampled(st.integers(0, 1)), st.sampled_from(["accuracy", "f1"]))
def test_binary_metrics_resample_exactly(case: tuple[list, list, list[int]], metric: str) -> None:
    assert_resamples(metric, *case)


@quick
@given(resampled(st.integers(0, 3)), st.sampled_from(["accuracy", "macro_f1", "matthews"]))
def test_many_class_metrics_resample_exactly(case: tuple[list, list, list[int]], metric: str) -> None:
    assert_resamples(metric, *case)


@quick
@example(([0, 0, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 3]), "pearson")  # a resample of one number only
@given(resampled(st.integers(-3, 3)), st.sampled_from(["pearson", "spearman"]))
def test_correlations_resample_exactly(case: tuple[list, list, list[int]], metric: str) -> None:
    assert_resamples(metric, *case)


chunk_tags = st.lists(st.sampled_from(["O", "B-NP", "I-NP", "B-VP", "I-VP"]), min_size=6, max_size=6)


@quick
@given(resampled(chunk_tags), st.sampled_from(["token_accuracy", "chunk_f1", "chunk_f1_strict"]))
def test_tag_metrics_resample_exactly(case: tuple[list, list, list[int]], metric: str) -> None:
    assert_resamples(metric, *case)


# Intervals ------------------------------------------------------------------------------------------------------------


def test_interval_of_a_share_is_the_binomial_one() -> None:
    gold = np.zeros(2000, dtype=int)
    guess = (np.arange(2000) % 5 == 0).astype(int)
    value = score("accuracy", guess, gold)
    low, high = bootstrap(value, seed=1)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 2000)
    assert low == pytest.approx(0.8 - half, abs=0.002) and high == pytest.approx(0.8 + half, abs=0.002)
    assert bootstrap(value, seed=1) == (low, high) != bootstrap(value, seed=2)
    assert bootstrap(value.items, seed=1) == (low, high)  # type: ignore[arg-type]


def test_interval_of_a_correlation_is_fishers() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=1500)
    y = x + generator.normal(size=1500)
    for metric in ("pearson", "spearman"):
        value = score(metric, x, y)
        low, high = bootstrap(value)
        half = 1.96 / math.sqrt(1497)
        assert math.atanh(high) - math.atanh(low) == pytest.approx(2 * half, rel=0.15)
        assert low < value.value < high


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


# Chunks ---------------------------------------------------------------------------------------------------------------


def conlleval(guess: list[list[str]], gold: list[list[str]]) -> tuple[int, int, int]:
    """(correct, predicted, gold) chunks, by conlleval's walk over the tokens, apart from the code under test."""

    def split(tag: str) -> tuple[str, str]:
        return (tag, "") if tag == "O" else (tag[0], tag[2:])

    def ends(before: tuple[str, str], here: tuple[str, str]) -> bool:
        return before[0] != "O" and (here[0] in "BO" or before[1] != here[1])

    def starts(before: tuple[str, str], here: tuple[str, str]) -> bool:
        return here[0] != "O" and (here[0] == "B" or before[0] == "O" or before[1] != here[1])

    correct = predicted = true = 0
    inside = False  # both sides are in a chunk that began together, with one type
    before = (("O", ""), ("O", ""))
    stream = [pair for p, g in zip(guess, gold) for pair in [*zip(p, g), ("O", "O")]]
    for ours, theirs in stream:
        here = (split(ours), split(theirs))
        ended = [ends(before[side], here[side]) for side in (0, 1)]
        started = [starts(before[side], here[side]) for side in (0, 1)]
        if inside and any(ended):
            correct += all(ended)
            inside = False
        elif inside and here[0][1] != here[1][1]:
            inside = False
        if all(started) and here[0][1] == here[1][1]:
            inside = True
        elif any(started):
            inside = False
        predicted += started[0]
        true += started[1]
        before = here
    return correct, predicted, true


def f1_of(correct: int, predicted: int, true: int) -> float:
    return 2 * correct / (predicted + true) if predicted + true else 0.0


def test_chunk_hand_counts_and_the_two_readings() -> None:
    gold = [["B-NP", "I-NP", "O", "B-VP", "B-NP"]]
    loose = [["I-NP", "I-NP", "O", "I-VP", "I-NP"]]  # I- after O, and I- of another type, begin a chunk for conlleval
    assert conlleval(loose, gold) == (3, 3, 3)
    assert score("chunk_f1", loose, gold).value == 1 and score("chunk_f1_strict", loose, gold).value == 0
    late = [["B-NP", "O", "O", "B-VP", "I-VP"]]
    assert conlleval(late, gold) == (0, 2, 3) and score("chunk_f1", late, gold).value == 0
    near = [["B-NP", "I-NP", "O", "B-VP", "I-NP"]]
    assert score("chunk_f1", near, gold).value == 1
    assert score("chunk_f1_strict", near, gold).value == pytest.approx(2 * 2 / (2 + 3))
    assert score("chunk_f1", [["O"]], [["O"]]).value == 0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(chunk_tags, chunk_tags), min_size=1, max_size=4))
def test_chunks_equal_conlleval_on_any_tags(pairs: list[tuple[list[str], list[str]]]) -> None:
    guess, gold = [p for p, _ in pairs], [g for _, g in pairs]
    assert score("chunk_f1", guess, gold).value == pytest.approx(f1_of(*conlleval(guess, gold)))


def test_chunks_equal_conlleval_on_conll2000() -> None:
    kinds = ["ADJP", "ADVP", "CONJP", "INTJ", "LST", "NP", "PP", "PRT", "SBAR", "UCP", "VP"]
    names = ["O"] + [f"{prefix}-{kind}" for kind in kinds for prefix in "BI"]
    rows = mirror_rows("eriktks/conll2000/default/test.parquet", 400)
    gold = [[names[tag] for tag in row["chunk_tags"]] for row in rows if row["chunk_tags"]]
    assert score("chunk_f1", gold, gold).value == score("chunk_f1_strict", gold, gold).value == 1
    chance = random.Random(0)
    for rate in (0.02, 0.2, 0.9):
        guess = [[chance.choice(names) if chance.random() < rate else tag for tag in tags] for tags in gold]
        loose, strict = score("chunk_f1", guess, gold).value, score("chunk_f1_strict", guess, gold).value
        assert loose == pytest.approx(f1_of(*conlleval(guess, gold))) and strict != loose and loose < 1


def test_strict_chunks_equal_seqevals_own_score() -> None:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    chance = random.Random(1)
    tags = ["O", "B-NP", "I-NP", "B-VP", "I-VP"]
    guess, gold = ([[chance.choice(tags) for _ in range(9)] for _ in range(30)] for _ in range(2))
    expected = f1_score(gold, guess, mode="strict", scheme=IOB2)
    assert score("chunk_f1_strict", guess, gold).value == pytest.approx(expected)


def test_token_accuracy_weighs_tokens() -> None:
    value = score("token_accuracy", [["NN", "VB", "NN"], ["DT"]], [["NN", "VB", "VB"], ["NN"]])
    assert value.value == 2 / 4 and value.n == 2 and value.items is None


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "predictions", "references", "message"),
    [
        ("acuracy", [1], [1], "did you mean 'accuracy'"),
        ("accuracy", [1, 0], [1], "2 predictions for 1 references"),
        ("accuracy", [], [], "no example"),
        ("accuracy", [0.5], [1], "example 0 of the predictions is 0.5; give one class number per example"),
        ("accuracy", [1, None], [1, 1], "example 1 of the predictions is None"),
        ("accuracy", [1], [-1], "example 0 of the references has class -1"),
        ("f1", [0, 2], [0, 1], "example 1 of the predictions has class 2"),
        ("pearson", [1.0, float("nan")], [1.0, 2.0], "example 1 of the predictions is nan"),
        ("squad_f1", ["x"], [[]], "squad_v2"),
        ("squad_f1", ["x"], ["x"], "the list of its gold answers"),
        (
            "squad_v2_best_f1",
            ["x"],
            [["x"]],
            "example 0 of the predictions is 'x'; give (the best span's text, no-answer",
        ),
        ("squad_v2_best_f1", [("x", math.nan)], [["x"]], "example 0 of the predictions is ('x', nan)"),
        (
            "drop_f1",
            ["x"],
            [[]],
            "example 0 of the references is []; give the list of the annotators' answers, one or more",
        ),
        ("record_em", ["x"], [[]], "metric 'record_em': example 0 of the references is []"),
        ("accuracy", [1, 2**63], [1, 1], "example 1 of the predictions is 9223372036854775808"),
        ("pearson", [1.0, 10**400], [1.0, 2.0], "example 1 of the predictions is 1000"),
        ("rouge1", ["x"], [" "], "example 0 has an empty reference"),
        ("chunk_f1", [["O"]], [["O", "O"]], "sentence 0 has 2 gold tags and 1 predicted"),
        ("chunk_f1_strict", [["NP"]], [["O"]], "the tag 'NP'"),
        ("token_accuracy", [[]], [[]], "sentence 0 has no words"),
        ("bracket_f1", ["(S (NN a)"], ["(S (NN a))"], "prediction 0"),
    ],
)
def test_bad_input_is_named(metric: str, predictions: list, references: list, message: str) -> None:
    with pytest.raises(UserError) as caught:
        score(metric, predictions, references)
    assert message in str(caught.value)


JUNK = st.one_of(
    st.none(), st.text(max_size=3), st.floats(), st.integers(), st.binary(max_size=2), st.just({}), st.just([[None]]),
    st.lists(st.none() | st.integers() | st.text(max_size=2), max_size=3), st.just(object()), st.just((1, "x", None)),
)  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(sorted(METRICS)), st.booleans(), st.integers(0, 2), JUNK)
def test_any_wrong_input_is_named_or_scored(metric: str, predicted: bool, at: int, junk: object) -> None:
    """Whatever stands among the predictions or references: a number, or one line that names the example."""
    good = one_of_each(metric)
    sides = [[good[0]] * 3, [good[1]] * 3]
    sides[0 if predicted else 1][at] = junk
    try:
        value = score(metric, *sides)
    except UserError as error:
        assert metric in str(error) and str(at) in str(error) and "\n" not in str(error)
    else:
        assert -1 <= value.value <= 1 and junk is not None


def one_of_each(metric: str) -> tuple:
    """A prediction and a reference that the metric takes."""
    if metric == "multirc_em":
        return 1, ("q", 1)
    if metric == "bracket_f1":
        return ("(S (NN a))",) * 2
    if metric.startswith("squad_v2_best"):
        return ("x", 0.0), ["x"]
    if metric.startswith(("token", "chunk")):
        return ["B-X"], ["B-X"]
    if metric.startswith("rouge"):
        return "x", "x"
    return ("x", ["x"]) if metric.startswith(("squad", "record", "trivia", "drop")) else (1, 1)


def test_catalogue_says_which_metrics_are_means() -> None:
    for name, metric in METRICS.items():
        pair = one_of_each(name)
        value = score(name, [pair[0]] * 2, [pair[1]] * 2)
        assert (value.items is not None) == metric.mean, name
        assert metric.unit == ("correlation" if name in {"matthews", "pearson", "spearman"} else "fraction")


# As the ecosystem has them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*METRICS, "squad", "squad_v2", "record", "trivia", "drop", "rouge"])
def test_every_metric_is_one_of_evaluates(name: str) -> None:
    """Added singly, in batches or given at once, as lists: what `score` says of the same."""
    module = load(name)
    single = name if name in METRICS else next(metric for metric in METRICS if metric.startswith(name))
    one, other = one_of_each(single)
    sides = [[one, two_of_each(single)[0]], [other, two_of_each(single)[1]]]
    whole = module.compute(predictions=sides[0], references=sides[1])
    assert whole == {metric: score(metric, *sides).value for metric in whole} and single in whole
    for index in (0, 1):
        module.add(prediction=sides[0][index], reference=sides[1][index])
    assert module.compute() == whole
    module.add_batch(predictions=sides[0], references=sides[1])
    assert module.compute() == whole
    with pytest.raises(UserError, match="example 1 of the predictions is None"):
        module.compute(predictions=[one, None], references=sides[1])


def two_of_each(metric: str) -> tuple:
    """Another pair than `one_of_each`, in the fuller form where there are two, and not right throughout."""
    if metric.startswith("squad_v2"):
        return ("x", 1.0), []
    if metric.startswith("drop"):
        return ["x", "z"], ["y", ["x", "y", "z"]]
    if metric == "bracket_f1":
        return "(S (NP (NN a)) (VB b))", "(S (NN a) (VP (VB b)))"
    return {"multirc_em": (1, ("p", 0)), "pearson": (2.5, 2.5), "spearman": (2.5, 2.5)}.get(metric, one_of_each(metric))


def test_arrays_combine_and_a_trainer() -> None:
    import evaluate
    from transformers import EvalPrediction

    together = evaluate.combine([load("accuracy"), load("macro_f1"), load("matthews")])
    logits, labels = np.array([[2.0, 1.0], [0.0, 3.0], [0.0, 1.0]]), np.array([0, 1, 0])

    def compute_metrics(given: EvalPrediction) -> dict:
        return together.compute(predictions=given.predictions.argmax(-1), references=given.label_ids)

    expected = {name: score(name, [0, 1, 1], [0, 1, 0]).value for name in ("accuracy", "macro_f1", "matthews")}
    assert compute_metrics(EvalPrediction(predictions=logits, label_ids=labels)) == expected
    for guess, gold in ((0, 0), (1, 1), (1, 0)):
        together.add(guess, gold)
    assert together.compute() == expected
    with pytest.raises(UserError, match="no example"):
        load("accuracy").compute()
    with pytest.raises(UserError, match="did you mean 'squad'"):
        load("squadd")


@pytest.fixture
def module_folder(tmp_path):
    """A metric written as the Hub's are: the share of equal texts, and a second number."""
    folder = tmp_path / "same"
    folder.mkdir()
    (folder / "same.py").write_text(
        "import datasets\n"
        "import evaluate\n"
        "class Same(evaluate.Metric):\n"
        "    def _info(self):\n"
        "        text = datasets.Value('string')\n"
        "        features = datasets.Features({'predictions': text, 'references': text})\n"
        "        return evaluate.MetricInfo(description='', citation='', inputs_description='', features=features)\n"
        "    def _compute(self, predictions, references):\n"
        "        same = [p == r for p, r in zip(predictions, references)]\n"
        "        return {'same': sum(same) / len(same), 'count': 7, 'each': same}\n"
    )
    return folder


def test_a_metric_of_the_hub_by_name(module_folder) -> None:
    value = score(f"evaluate:{module_folder}", ["a", "b"], ["a", "c"])
    assert value.value == 0.5 and value.n == 2 and value.items is None and value.settings["entry"] == "same"
    with pytest.raises(UserError, match="no interval"):
        bootstrap(value)
    with pytest.raises(UserError, match="count is 7, and a score is a fraction of 1"):
        score(f"evaluate:{module_folder}:count", ["a"], ["a"])
    with pytest.raises(UserError, match="computes same, count; name one"):
        score(f"evaluate:{module_folder}:bleu", ["a"], ["a"])
    with pytest.raises(UserError, match="does not take these predictions and references"):
        score(f"evaluate:{module_folder}", [["a"]], ["a"])
    with pytest.raises(UserError) as caught:
        score("evaluate:no-such-module", ["a"], ["a"])
    assert "cannot be loaded" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["accuracy", "f1", "matthews_correlation", "squad", "squad_v2", "rouge"])
def test_parity_with_the_hubs_own_modules(name: str) -> None:
    import evaluate

    try:
        theirs = evaluate.load(name)
    except Exception as error:  # offline, or a package that the module needs is not installed
        pytest.skip(f"evaluate.load({name!r}): {' '.join(str(error).split())[:100]}")
    chance = random.Random(0)
    if name in ("accuracy", "f1", "matthews_correlation"):
        sides = [[chance.randrange(2) for _ in range(50)] for _ in range(2)]
        own = {"matthews_correlation": "matthews"}.get(name, name)
        assert score(own, *sides).value == pytest.approx(
            theirs.compute(predictions=sides[0], references=sides[1])[name]
        )
        return
    texts = [" ".join(chance.choices(["the", "cat.", "Dogs", "sat", "on", "mats"], k=6)) for _ in range(40)]
    guess, gold = texts[:20], texts[20:]
    if name == "rouge":
        result = theirs.compute(predictions=guess, references=gold, use_stemmer=True)
        for kind in ("rouge1", "rouge2", "rougeL"):
            assert score(kind, guess, gold).value == pytest.approx(result[kind])
        return
    more = {"no_answer_probability": 0.0} if name == "squad_v2" else {}
    result = theirs.compute(
        predictions=[{"id": str(i), "prediction_text": text, **more} for i, text in enumerate(guess)],
        references=[{"id": str(i), "answers": {"text": [text], "answer_start": [0]}} for i, text in enumerate(gold)],
    )
    ours = load(name).compute(predictions=guess, references=[[text] for text in gold])
    assert ours[f"{name}_f1"] == pytest.approx(result["f1"] / 100)
    assert ours[f"{name}_em"] == pytest.approx(result.get("exact_match", result.get("exact")) / 100)
