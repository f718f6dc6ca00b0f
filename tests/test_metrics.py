"""Metrics of classes, numbers and tags: equal to the official algorithms on hand cases and on real rows; intervals that
resample what was scored; wrong input of every metric named."""

from __future__ import annotations

import math
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.metrics import METRICS, bootstrap, score
from tests.scored import mirror_rows, one_of_each

quick = settings(max_examples=60, deadline=None)


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


def test_many_classes_take_no_more_room_than_examples() -> None:
    """What was kept of 20,000 examples of 3,000 classes: 1.4 GB, gone through a thousand times."""
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3000, 20_000)
    guess = np.where(rng.random(20_000) < 0.6, gold, rng.integers(0, 3000, 20_000))
    tracemalloc.start()
    for metric in ("macro_f1", "matthews"):
        low, high = bootstrap(score(metric, guess.tolist(), gold.tolist()), rounds=20)
        assert 0.5 < low < high < 0.7
    assert tracemalloc.get_traced_memory()[1] < 400e6  # sklearn's own table of classes is 72 MB
    tracemalloc.stop()


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_correlations_know_no_scale(scale: float) -> None:
    x, y = [1.0, -1.0, 0.25, 0.5], [1.0, 2.0, 4.0, 0.5]
    for metric in ("pearson", "spearman"):
        plain, scaled = score(metric, x, y), score(metric, [scale * one for one in x], y)
        assert scaled.value == pytest.approx(plain.value) and bootstrap(scaled) == pytest.approx(bootstrap(plain))


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
        ("rougeL", ["a b"], ["Мы идём в парк, a b."], "reads the letters a to z and digits alone, and most"),
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


def test_catalogue_says_which_metrics_are_means() -> None:
    for name, metric in METRICS.items():
        pair = one_of_each(name)
        value = score(name, [pair[0]] * 2, [pair[1]] * 2)
        assert (value.items is not None) == metric.mean, name
        assert metric.unit == ("correlation" if name in {"matthews", "pearson", "spearman"} else "fraction")


@pytest.mark.parametrize("one", ["abc", {0: 1}, {1}, None, (x for x in [1])])
def test_what_is_no_list_is_no_list_of_examples(one: object) -> None:
    """A text is a sequence of texts: each letter would be scored as an example."""
    for sides in ((one, ["a", "b", "c"]), (["a", "b", "c"], one)):
        with pytest.raises(UserError, match=f"are one {type(one).__name__}; give a list of them"):
            score("rouge1", *sides)  # type: ignore[arg-type]


def test_classes_may_be_numpys_truths_and_questions_must_be_hashable() -> None:
    assert score("f1", np.array([True, False]), np.array([True, True])).value == pytest.approx(2 / 3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="example 0 of the references"):
        score("multirc_em", [1], [((["q"],), 1)])
