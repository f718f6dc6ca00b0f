"""Trees: errors name what and where; the encoding is invertible; any tags are a tree; brackets count as in evalb."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tree import Tree

from muppet import paths
from muppet.errors import UserError
from muppet.families.classification import majority
from muppet.families.parsing import right_branching
from muppet.families.summarization import lead
from muppet.families.tagging import majority_tags
from muppet.metrics import bootstrap, score
from muppet.trees import TreeError, decode, encode, example, normalise, one_line, preterminals, read, read_all

quick = settings(max_examples=100, deadline=None)
CAT = "(TOP (S (NP (DT the) (NN cat)) (VP (VBZ sleeps)) (. .)))"


def sample(split: str) -> list[dict]:
    root = paths.mirror()
    file = root and root / "local/ptb_sample/default" / f"{split}.parquet"
    if not file or not file.exists():
        pytest.skip("MUPPET_HUB is not set, or has no local/ptb_sample")
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pylist()


# Reading and the normal form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(S (NP (NN a))", "row 3, line 1, column 1: the '(' here is never closed"),
        ("(S\n  (NN a)))", "row 3, line 2, column 10: a ')' closes nothing"),
        ("word", "line 1, column 1: 'word' stands outside the brackets"),
        ("(S (NN a)) (S (NN b))", "row 3: 2 trees where one is expected"),
        ("", "row 3: 0 trees"),
        ("(S (NP a (NN b)))", "line 1, column 4: (NP a (NN …)) holds a word and more"),
        ("(S (NN a b))", "line 1, column 4: (NN a b) holds a word and more"),
        ("(S (NP (-NONE- *)))", "row 3: the tree has no words"),
        ("()", "row 3: the tree has no words"),
        ("(", "never closed"),
        ("(S (NP (DT the) (cat)))", "line 1, column 17: (cat) holds nothing; a word stands behind its tag"),
        ("(S ( (NN a) (VB b)) (. .))", "row 3: a bracket inside the tree has no label"),
    ],
)
def test_a_text_that_is_no_tree_is_named(text: str, message: str) -> None:
    with pytest.raises(TreeError) as caught:
        example(text, "row 3")
    assert message in str(caught.value)


def test_reading_equals_nltks() -> None:
    for text in (CAT, "( (S (NP-SBJ-1 (-NONE- *)) (VP (VB go))) )", "(S\n (NN a)\n (ADVP|PRT (RB up)))"):
        assert read(text, "x") == Tree.fromstring(text)
    assert [tree.label() for tree in read_all("( (S (NN a)) )\n\n( (NP (NN b)) )\n", "x")] == ["", ""]


def test_normal_form() -> None:
    text = (
        "( (S (NP-SBJ-1 (-NONE- *)) (NP=2 (NN a)) (ADVP|PRT-CLR (-LRB- -LRB-)) (SBAR (-NONE- 0) (S (-NONE- *T*-1)))) )"
    )
    expected = "(TOP (S (NP (NN a)) (ADVP|PRT (-LRB- -LRB-))))"
    assert normalise(read(text, "x")) == read(expected, "x") == normalise(read(expected, "x"))
    for text in ("(NN a)", "(TOP (NN a))", "(ROOT (TOP (NN a)))"):
        assert normalise(read(text, "x")) == read("(TOP (NN a))", "x")
    assert normalise(read("(S1 (NP (NN a)) (VP (VB b)))", "x")) == read("(TOP (NP (NN a)) (VP (VB b)))", "x")


def test_normal_form_equals_the_samples_own_clean_trees() -> None:
    for row in sample("test"):
        tree = normalise(read(row["tree"], row["id"]))
        assert tree == normalise(read(row["tree_clean"], row["id"]))
        assert tree.pos() == list(zip(row["tokens"], row["pos_tags"]))


# Trees as tags --------------------------------------------------------------------------------------------------------


def test_tags_by_hand() -> None:
    words, pos_tags, tags = example(CAT, "x")
    assert words == ["the", "cat", "sleeps", "."] and pos_tags == ["DT", "NN", "VBZ", "."]
    assert tags == ["+2 NP", "-1 S", "+0 S VP", "end"]
    assert decode(words, pos_tags, tags) == read(CAT, "x")
    deep = "(TOP (S (VP (S (VP (VP (VB a) (NN b)) (NN c)))) (. .)))"  # a unary chain, and a fall to the top
    assert encode(read(deep, "x")) == ["+3 VP", "-1 VP(S(VP", "-1 S", "end"]
    far = "(TOP (S (A (B (C (D (E (NN a) (NN b)) (NN c)) (NN d)) (NN e)) (NN f)) (F (NN g) (NN h))))"
    assert encode(read(far, "x"))[0] == "+6 E"
    fall = "(TOP (S (NN z) (A (NN y) (B (NN a) (NN b))) (NN c)))"
    assert encode(read(fall, "x")) == ["+1 S", "+1 A", "+1 B", "=1 S", "end"]
    low = "(TOP (A (NN u) (B (NN v) (C (NN w) (D (NN x) (E (NN y) (F (NN a) (NN b))) (NN c))))))"
    assert encode(read(low, "x")) == ["+1 A", "+1 B", "+1 C", "+1 D", "+1 E", "+1 F", "-2 D", "end"]  # not near the top


def test_depths_stop_at_the_top() -> None:
    flat = decode(["a", "b", "c", "d"], None, ["+1 NP", "-5 S", "=1 S", "end"])
    assert flat == read("(TOP (S (XX a) (XX b) (XX c) (XX d)))", "x")  # and the label is the one with most votes


labels = st.sampled_from(["S", "NP", "VP", "TOP", "ADVP|PRT", "X+Y"])


def trees(pos_tags: str) -> st.SearchStrategy[Tree]:
    leaves = st.builds(lambda pos, word: Tree(pos, [word]), st.sampled_from(pos_tags.split()), st.sampled_from("abc,"))
    return st.recursive(
        leaves, lambda inner: st.builds(Tree, labels, st.lists(inner, min_size=1, max_size=4)), max_leaves=14
    )


@settings(max_examples=300, deadline=None)
@given(trees("NN . : TOP"))
def test_every_tree_survives(tree: Tree) -> None:
    plain = normalise(tree)
    words, pos_tags, tags = example(str(tree), "x")
    assert decode(words, pos_tags, tags) == plain and normalise(plain) == plain and len(tags) == len(words)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_tree_of_the_sample_survives(split: str) -> None:
    rows = sample(split)
    for row in rows:
        words, pos_tags, tags = example(row["tree"], row["id"])
        assert decode(words, pos_tags, tags) == normalise(read(row["tree"], row["id"])), row["id"]
    assert len(rows) == {"train": 3396, "validation": 273, "test": 245}[split]


chain = st.lists(labels, min_size=1, max_size=3).map("(".join)
level = st.integers(-9, 9).map("{:+d}".format) | st.integers(1, 3).map("={}".format)
any_tag = st.one_of(
    st.builds("{} {}".format, level, chain),
    st.builds("{} {} {}".format, level, chain, chain),
    st.just("end"),
    chain.map("end {}".format),
)
any_word = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(any_word, any_tag), min_size=1, max_size=15))
def test_any_tags_are_a_whole_tree(pairs: list[tuple[str, str]]) -> None:
    words, tags = [word for word, _ in pairs], [tag for _, tag in pairs]
    tree = decode(words, None, tags)
    assert tree.label() == "TOP"
    assert tree.leaves() == [word.replace("(", "-LRB-").replace(")", "-RRB-") for word in words]
    assert all(leaf.label() == "XX" for leaf in preterminals(tree))
    assert read(str(tree), "x") == tree == normalise(tree)
    assert one_line(tree) == " ".join(str(tree).split())
    assert decode(words, None, encode(tree)) == tree


def test_depth_is_no_limit() -> None:
    words = ["w"] * 3000
    tree = decode(words, ["NN"] * 3000, ["+1 S(VP NP"] * 3000)
    assert len(preterminals(tree)) == 3000
    value = score("bracket_f1", [tree], [Tree("TOP", [Tree("S", [Tree("NN", ["w"]) for _ in words])])])
    assert 0 < value.value < 0.001
    text = one_line(tree)
    assert one_line(decode(*example(text, "x"))) == text and score("bracket_f1", [text], [text]).value == 1


@pytest.mark.parametrize(
    ("words", "pos_tags", "tags", "message"),
    [
        (["a", "b"], None, ["end"], "2 words, 1 tags"),
        ([], None, [], "at least one"),
        (["a"], ["NN", "NN"], ["end"], "2 parts of speech"),
        (["a"], None, ["B-NP"], "'B-NP' is no tag of a tree"),
        (["a"], None, ["+1 "], "'+1 ' is no tag of a tree"),
        (["a"], None, ["=0 S"], "'=0 S' is no tag of a tree"),
    ],
)
def test_tags_that_cannot_be_decoded_are_named(words: list, pos_tags: list | None, tags: list, message: str) -> None:
    with pytest.raises(UserError) as caught:
        decode(words, pos_tags, tags)
    assert message in str(caught.value)


# Brackets -------------------------------------------------------------------------------------------------------------


def evalb(prediction: str, gold: str) -> tuple[int, int, int]:
    """(matched, predicted, gold) brackets by evalb's pass over the text with COLLINS.prm, apart from our code."""
    deleted = {"TOP", "-NONE-", ",", ":", "``", "''", "."}

    def brackets(text: str) -> list[list]:
        tokens = text.replace("(", " ( ").replace(")", " ) ").split()
        found: list[list] = []
        stack: list[list] = []
        words = at = 0
        while at < len(tokens):
            if tokens[at] == "(" and tokens[at + 3 : at + 4] == [")"] and tokens[at + 2] not in "()":
                words += tokens[at + 1] not in deleted
                at += 4
            elif tokens[at] == "(":
                stack.append([tokens[at + 1], words, None])
                found.append(stack[-1])
                at += 2
            else:
                stack.pop()[2] = words
                at += 1
        kept = [[label.split("-")[0].split("=")[0], start, end] for label, start, end in found if start != end]
        return [bracket for bracket in kept if bracket[0] not in deleted]

    ours, theirs = brackets(prediction), brackets(gold)
    left, matched = list(ours), 0
    for label, start, end in theirs:
        for other in left:
            if other[1:] == [start, end] and (other[0] == label or {other[0], label} == {"ADVP", "PRT"}):
                left.remove(other)
                matched += 1
                break
    return matched, len(ours), len(theirs)


def f1_of(matched: int, predicted: int, true: int) -> float:
    return 2 * matched / (predicted + true) if predicted + true else 0.0


@pytest.mark.parametrize(
    ("prediction", "gold", "matched", "predicted", "true"),
    [
        (CAT, CAT, 3, 3, 3),  # TOP and parts of speech do not count
        ("(TOP (S (NP (DT the)) (VP (NN cat) (VBZ sleeps)) (. .)))", CAT, 1, 3, 3),
        ("(TOP (X (NP (DT the) (NN cat)) (VP (VBZ sleeps)) (. .)))", CAT, 2, 3, 3),  # a wrong label
        ("(TOP (S (S (NP (DT the) (NN cat)) (VP (VBZ sleeps))) (. .)))", CAT, 3, 4, 3),  # the full stop's place is free
        ("(TOP (S (NP (NP (NN a)))))", "(TOP (S (NP (NN a))))", 2, 3, 2),  # equal brackets match one to one
        ("(TOP (S (VB give) (ADVP (RP up))))", "(TOP (S (VB give) (PRT (RP up))))", 2, 2, 2),
        ("(TOP (S (NP (NN a)) (PRN (, ,) (: --))))", "(TOP (S (NP (NN a)) (, ,) (: --)))", 2, 2, 2),  # nothing is left
        ("(TOP (S (NP (NN a))))", "( (S (NP-SBJ-1 (NN a)) (SBAR (-NONE- 0) (S (-NONE- *T*-1)))) )", 2, 2, 2),
    ],
)
def test_bracket_hand_counts(prediction: str, gold: str, matched: int, predicted: int, true: int) -> None:
    assert score("bracket_f1", [prediction], [gold]).value == pytest.approx(f1_of(matched, predicted, true))
    if not gold.startswith("( "):  # evalb counts a root without a label; here it is a root like TOP
        assert evalb(prediction, gold) == (matched, predicted, true)


def test_brackets_are_pooled_over_sentences_and_errors_left_out() -> None:
    other = "(TOP (NP (NN a)))"
    value = score(
        "bracket_f1", [CAT, "(TOP (VP (NN a)))", CAT, "(TOP (S (. .)))"], [CAT, other, other, "(TOP (S (. .)))"]
    )
    assert value.value == pytest.approx(2 * 3 / (4 + 4)) and value.n == 4
    assert value.settings["errors"] == 1 and value.settings["skipped"] == 1
    low, high = bootstrap(value)
    assert 0 <= low < value.value < high <= 1


@quick
@given(st.lists(st.tuples(trees("NN . :"), trees("NN . :"), st.integers(0, 3)), min_size=1, max_size=4))
def test_brackets_equal_evalbs_and_resample_exactly(cases: list[tuple[Tree, Tree, int]]) -> None:
    pairs = []
    for shape, gold, weight in cases:  # the predicted tree takes the gold words, so that only the brackets differ
        gold = normalise(gold)
        words, pos_tags = zip(*gold.pos())
        shape_tags = encode(shape)
        tags = [shape_tags[i % len(shape_tags)] for i in range(len(words))]
        pairs.append((decode(words, pos_tags, tags), gold, weight))
    counts = np.array([evalb(str(guess), str(gold)) for guess, gold, _ in pairs])
    guess, gold = [p for p, _, _ in pairs], [g for _, g, _ in pairs]
    weights = np.array([weight for *_, weight in pairs], dtype=float)
    value = score("bracket_f1", guess, gold)
    assert value.value == pytest.approx(f1_of(*counts.sum(0)))
    assert value.weighted(weights) == pytest.approx(f1_of(*(weights @ counts)))


def test_brackets_equal_evalbs_on_the_sample() -> None:
    rows = sample("test")
    chance = random.Random(0)
    gold = [str(normalise(read(row["tree"], row["id"]))) for row in rows]
    made = [example(text, "x") for text in gold]
    seen = [tag for _, _, tags in made for tag in tags]
    guess = [
        decode(words, pos_tags, [chance.choice(seen) if chance.random() < 0.1 else tag for tag in tags])
        for words, pos_tags, tags in made
    ]
    counts = np.array([evalb(str(p), g) for p, g in zip(guess, gold)])
    value = score("bracket_f1", guess, gold)
    assert value.value == pytest.approx(f1_of(*counts.sum(0))) and 0.5 < value.value < 0.95
    assert score("bracket_f1", gold, gold).value == 1


# Baselines ------------------------------------------------------------------------------------------------------------


def test_baselines_by_hand() -> None:
    assert majority([2, 1, 1, 2, 1]) == 1
    train = [(["a", "b", "a"], ["X", "Y", "X"]), (["a", "b"], ["Z", "Y"])]
    assert majority_tags(train, [["a", "b", "new"]]) == [["X", "Y", "X"]]
    expected = "(TOP (S (XX a) (VP (XX b) (VP (XX c) (XX d))) (XX .)))"
    assert right_branching(["a", "b", "c", "d", "."]) == read(expected, "x")
    assert right_branching(["a", "b"], ["NN", "NN"]) == read("(TOP (S (NN a) (NN b)))", "x")
    assert right_branching(["a"]) == read("(TOP (XX a))", "x") and right_branching(["."]).leaves() == ["."]
    assert right_branching(["a", "."]).leaves() == ["a", "."]
    assert lead("One. Two. Three. Four.", 3) == "One.\nTwo.\nThree." and lead("") == ""
    with pytest.raises(UserError):
        majority([])


def test_baselines_on_the_sample_leave_room_for_a_model() -> None:
    test = sample("test")
    train = [example(row["tree"], row["id"]) for row in sample("validation")]
    gold = [row["tree"] for row in test]
    branching = score("bracket_f1", [right_branching(row["tokens"]) for row in test], gold)
    tags = majority_tags([(words, tags) for words, _, tags in train], [row["tokens"] for row in test])
    tagged = score("bracket_f1", [decode(row["tokens"], None, t) for row, t in zip(test, tags)], gold)
    pos = majority_tags([(words, pos) for words, pos, _ in train], [row["tokens"] for row in test])
    assert 0.1 < branching.value < tagged.value < 0.5
    assert branching.settings["errors"] == tagged.settings["errors"] == 0
    frequent = max(Counter(tag for row in test for tag in row["pos_tags"]).values()) / sum(
        len(r["tokens"]) for r in test
    )
    assert frequent < score("token_accuracy", pos, [row["pos_tags"] for row in test]).value < 0.95


def test_a_tree_in_hand_is_scored_as_its_text() -> None:
    """Functional tags, traces and roots count for nothing, in a Tree of nltk as in a line of text."""
    gold = "(S (NP (NN a)) (VP (VB b)))"
    guess = "( (S (NP-SBJ (NN a)) (VP=1 (VB b) (NP (-NONE- *)))))"
    for sides in ((guess, gold), (Tree.fromstring(guess), gold), (gold, Tree.fromstring(guess))):
        value = score("bracket_f1", [sides[0]], [sides[1]])
        assert value.value == 1 and value.settings["errors"] == 0
    for wrong in (Tree("S", ["a", "dog"]), Tree("S", [Tree("NP", ["a", "dog"]), Tree("VB", ["b"])]), Tree("S", [])):
        for sides in ((wrong, gold), (gold, wrong)):
            with pytest.raises(TreeError, match="metric 'bracket_f1'"):
                score("bracket_f1", [sides[0]], [sides[1]])
