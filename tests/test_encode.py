"""Rows as tokens: layouts equal the tokenizer's own, and spans hold their answers."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from muppet.data.cache import encode, encode_rows
from muppet.data.sources import Rows
from muppet.errors import UserError
from muppet.families import FAMILIES
from muppet.families.encoded import Encoded, Part
from muppet.families.segments import Segmenter
from muppet.families.span import null_counted
from muppet.families.tagging import _first_tokens
from muppet.stages.opening import make_spec, training_part
from muppet.tasks import ALL, get
from muppet.training.batching import Deck
from tests.core import encoded as in_memory
from tests.core import recipe
from tests.tokenized import twin

pytestmark = pytest.mark.usefixtures("token_artifacts")


def row(encoded: Encoded, index: int) -> list[int]:
    return encoded.tokens[encoded.offsets[index] : encoded.offsets[index + 1]].tolist()


@pytest.mark.parametrize("kind", ["roberta", "bert", "pieces"])
@pytest.mark.parametrize("length", [128, 12])
@pytest.mark.parametrize("task", ["cola", "mnli", "race", "xsum"])
def test_rows_are_what_the_tokenizer_itself_gives(kind, length, task, tokenizers):
    tokenizer = tokenizers[kind]
    encoded = encode(get(task), "train", tokenizer, max_length=length, source="twins", cap=40)
    pairs = []
    for example in twin(task):
        if task == "race":
            pairs += [(example["text"], choice) for choice in example["choices"]]
        else:
            pairs.append((example["source"],) if task == "xsum" else (example["text"], example["pair"]))
    for index, pair in enumerate(pairs):
        pair = [text for text in pair if text is not None]
        own = tokenizer(*pair, truncation="longest_first", max_length=length)
        assert row(encoded, index) == own["input_ids"]
        second = encoded.second[index]
        if len(pair) == 1:
            assert second == len(own["input_ids"])
        else:
            assert own.sequence_ids(0).index(1) == second
            if "token_type_ids" in own and any(own["token_type_ids"]):
                assert own["token_type_ids"].index(1) == second
    assert (encoded.notes["rows cut"] > 0) == (length == 12)
    assert encoded.tokens.dtype == np.uint16


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_every_task_encodes(task, tokenizers):
    encoded = encode(task, task.train, tokenizers["roberta"], max_length=64, source="twins", cap=25)
    units = len(encoded.unit_rows) - 1
    assert encoded.offsets[0] == 0 and encoded.offsets[-1] == len(encoded.tokens)
    assert encoded.unit_rows[-1] == len(encoded.offsets) - 1 == len(encoded.second)
    assert sorted(set(encoded.unit_example.tolist())) == list(range(encoded.n_examples))
    longest, rows = encoded.cost()
    assert len(longest) == len(rows) == units and longest.max() <= 64 and rows.min() >= 1
    assert not encoded.tokens.flags.writeable
    if task.family in ("classification", "commonsense"):
        assert encoded.labels.dtype == np.int64 and len(encoded.labels) == units
    if task.family == "regression":
        assert encoded.labels.dtype == np.float32
    if task.family in ("tagging", "parsing"):
        assert encoded.word_offsets[-1] == len(encoded.words) == len(encoded.tags)
        assert encoded.tags.max() < len(encoded.tag_names)
    if task.family == "summarization":
        assert encoded.target_offsets[-1] == len(encoded.targets) and len(encoded.target_offsets) == units + 1


# Spans ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["roberta", "bert", "pieces"])
def test_spans_hold_the_answer_in_every_window_that_holds_it(kind, tokenizers):
    tokenizer = tokenizers[kind]
    encoded = encode(get("squad_v2"), "train", tokenizer, max_length=24, source="twins", cap=40, evaluation=True)
    gold, answered, empty = encoded.gold(), set(), 0
    for unit, example in enumerate(encoded.unit_example.tolist()):
        first, last = encoded.spans[unit]
        context, begin = gold[example]["context"], encoded.offsets[unit]
        low, high = encoded.context[unit]
        offsets = encoded.char_offsets[begin : encoded.offsets[unit + 1]]
        assert low == encoded.second[unit] and np.all(offsets[:low] == 0) and np.all(offsets[high:] == 0)
        if (first, last) != (0, 0):
            assert low <= first <= last < high
            assert context[offsets[first, 0] : offsets[last, 1]].strip() == gold[example]["answers"][0]
            answered.add(example)
        else:
            empty += 1
            text = context[offsets[low, 0] : offsets[high - 1, 1]]
            assert not gold[example]["answers"] or gold[example]["answers"][0] not in text
    assert empty and answered == {index for index, item in enumerate(gold) if item["answers"]}


@pytest.mark.parametrize("task", ["squad", "squad_v2"])
def test_an_answer_of_characters_that_the_tokenizer_drops_is_left_out_of_training_and_counted(
    task, tokenizers, tmp_path
):
    """BERT drops U+200B. A target under the mask would cost a billion; "no answer" would be wrong."""
    drop, rows = "\u200b", []
    for number, (context, answer) in enumerate(
        [
            (f"{drop}Paris is big", f"{drop}Paris"),
            (f"it is Paris{drop}", f"Paris{drop}"),
            (f"it is {drop} Paris", drop),
            (f"it is {drop}Paris", f"{drop}Paris"),  # inside, the answer's own tokens are found
            ("it is Paris", "Paris"),
        ]
    ):
        answers = {"text": [answer], "answer_start": [context.index(answer)]}
        rows.append({"id": str(number), "question": "what ?", "context": context, "answers": answers})
    given = Rows(rows=rows, fingerprint="own", found="here", total=len(rows))
    encoded = encode_rows(get(task), given, tokenizers["bert"], max_length=32, folder=tmp_path / "cache")
    part = training_part(encoded, np.arange(len(encoded.unit_example)))
    assert encoded.notes["answers in no window"] == 3 and part.examples() == [3, 4] and encoded.n_examples == 5
    fields = FAMILIES["span"].fields(encoded, part.units, make_spec(get(task), encoded, "shared"))
    low, high = np.tile(encoded.context[part.units], (2, 1)).T
    assert np.all((fields["targets"] >= low) & (fields["targets"] < high))
    nothing = Part(encoded=encoded, units=part.units[:0])
    with pytest.raises(
        UserError, match=r"no training example is left \(3 answers in no window\); .* the length of rows"
    ):
        Deck(nothing, recipe(), 0)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.data())
def test_no_answer_is_a_candidate_where_the_dataset_has_it_or_the_context_several_windows(windows, data):
    example = np.repeat(np.arange(len(windows)), windows)
    units = np.array(data.draw(st.permutations(range(len(example)))))
    given_ = replace(in_memory([[5]] * len(example)), unit_example=example)
    assert null_counted(replace(given_, task=get("squad")), units).tolist() == [windows[e] > 1 for e in example[units]]
    assert null_counted(replace(given_, task=get("squad_v2")), units).all()


@pytest.mark.parametrize("kind", ["roberta", "bert", "pieces"])
@pytest.mark.parametrize("max_length", range(12, 40))
def test_a_question_of_characters_of_several_tokens_fits_or_is_refused(kind, max_length, tokenizers):
    """A public thread on the tokenizer library: such a question left less room than windows overlap by, a panic."""
    segmenter = Segmenter(tokenizers[kind], max_length)
    try:
        windows = segmenter.windows(["😀" * 40, "why ?"], ["because it is so . " * 20] * 2, 128)
    except UserError as error:
        assert f"max_length={max_length} leaves no room for a context beside the question" in str(error)
        assert "\n" not in str(error) and max_length < 32
    else:
        assert {window.example for window in windows} == {0, 1}
        assert all(len(window.ids) <= max_length and window.last > window.first for window in windows)


def test_windows_overlap_and_cover_the_context(tokenizers):
    segmenter = Segmenter(tokenizers["roberta"], 30)
    context = " ".join(f"word{k}" for k in range(60))
    windows = segmenter.windows(["what is it ?"], [context], 128)
    assert len(windows) > 2
    for before, after in zip(windows, windows[1:]):
        assert after.offsets[after.first, 0] < before.offsets[before.last - 1, 1]
    assert windows[0].offsets[windows[0].first, 0] == 0
    assert windows[-1].offsets[windows[-1].last - 1, 1] == len(context)


def test_a_tokenizer_that_loses_windows_is_refused(tokenizers):
    """As tokenizers 0.23.2 does: the first window alone, and nothing said."""

    class Losing:
        def __init__(self, fast):
            self.fast = fast

        def __getattr__(self, name):
            return getattr(self.fast, name)

        def encode_batch(self, texts, **options):
            for one in self.fast.encode_batch(texts, **options):
                yield SimpleNamespace(ids=one.ids, offsets=one.offsets, sequence_ids=one.sequence_ids, overflowing=[])

    segmenter = Segmenter(tokenizers["roberta"], 30)
    segmenter.fast = Losing(segmenter.fast)
    short, long = "one two .", " ".join(f"word{k}" for k in range(60))
    assert len(segmenter.windows(["what is it ?"], [short], 128)) == 1
    with pytest.raises(UserError, match=r"tokenizers \S+ loses windows of long contexts: \d+ of 409 characters"):
        segmenter.windows(["what is it ?"] * 2, [short, long], 128)


@pytest.mark.parametrize("kind", ["roberta", "bert", "pieces"])
@pytest.mark.parametrize("end", ["  ", "\u200b", "\u0301\u0301", "\x00\x07", "", " \U0001f600"])
def test_whatever_ends_a_context_is_no_lost_window(kind, end, tokenizers):
    for words in (1, 60):
        context = " ".join(f"word{k}" for k in range(words)) + end
        windows = Segmenter(tokenizers[kind], 30).windows(["what ?"], [context], 128)
        assert (len(windows) > 2) == (words == 60)


def test_a_question_longer_than_a_row_is_cut_and_counted(tokenizers):
    segmenter = Segmenter(tokenizers["bert"], 32)
    windows = segmenter.windows(["why " * 200], ["because it is so ."], 128)
    assert segmenter.notes["questions cut"] == 1
    assert len(windows) == 1 and len(windows[0].ids) <= 32 and windows[0].last > windows[0].first


def test_a_tokenizer_that_marks_no_end_or_lacks_a_piece_is_refused(tokenizers, tmp_path, token_artifacts):
    from transformers import PreTrainedTokenizerFast

    plain = json.loads(tokenizers["bert"].backend_tokenizer.to_str())
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(plain | {"post_processor": None})))
    with pytest.raises(UserError, match="marks no end of a text"):
        Segmenter(bare, 64)
    plain["model"]["unk_token"] = "[NONE]"
    less = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(plain)))
    rows = Rows(rows=[{"sentence": "\u65e5\u672c", "label": 0}], found="input", fingerprint="x", total=1)
    with pytest.raises(UserError, match=r"cola .* split input: the model's tokenizer cannot read it \(WordPiece"):
        encode_rows(get("cola"), rows, less, max_length=64, folder=tmp_path / "rows")


def test_a_context_of_no_token_is_a_window_without_one(tokenizers):
    (window,) = Segmenter(tokenizers["bert"], 64).windows(["who ?"], ["\u200b"], 16)
    assert window.first == window.last and not window.offsets.any()


def test_a_row_needs_room(tokenizers):
    with pytest.raises(UserError, match="max_length is 6"):
        Segmenter(tokenizers["roberta"], 6)


# Tags, trees, summaries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["roberta", "bert", "pieces"])
def test_words_point_at_their_first_piece(kind, tokenizers):
    tokenizer = tokenizers[kind]
    encoded = encode(get("conll2003"), "train", tokenizer, max_length=128, source="twins", cap=30, evaluation=True)
    for unit, gold in enumerate(encoded.gold()):
        ids = row(encoded, unit)
        places = encoded.words[encoded.word_offsets[unit] : encoded.word_offsets[unit + 1]]
        tags = encoded.tags[encoded.word_offsets[unit] : encoded.word_offsets[unit + 1]]
        assert [encoded.tag_names[tag] for tag in tags] == gold["tags"]
        assert len(places) == len(gold["tokens"]) and np.all(np.diff(places) > 0)
        assert places[0] == (0 if kind == "pieces" else 1)
        ends = [*places[1:].tolist(), len(ids) - 1]
        for word, start, end in zip(gold["tokens"], places.tolist(), ends):
            text = tokenizer.decode(ids[start:end]).strip()
            assert text.replace(" ", "").lower() == word.lower()


def test_words_past_the_end_are_left_out_of_training_and_marked_in_evaluation(tokenizers):
    task, tokenizer = get("conll2000"), tokenizers["roberta"]
    train = encode(task, "train", tokenizer, max_length=12, source="twins", cap=30)
    judged = encode(task, "train", tokenizer, max_length=12, source="twins", cap=30, evaluation=True)
    cut = train.notes["words cut"]
    assert cut > 0 and train.words.min() >= 1 and (judged.words == -1).sum() == cut
    assert len(judged.words) - len(train.words) == cut
    assert len(judged.words) == sum(len(gold["tags"]) for gold in judged.gold())


def test_trees_become_tags_that_make_the_tree_again(tokenizers):
    from muppet.trees import decode, normalise
    from muppet.trees import read as read_tree

    given = dict(max_length=128, source="twins", cap=30, evaluation=True)
    encoded = encode(get("ptb_parsing"), "train", tokenizers["roberta"], **given)
    for unit, gold in enumerate(encoded.gold()):
        tags = encoded.tags[encoded.word_offsets[unit] : encoded.word_offsets[unit + 1]]
        tree = decode(gold["tokens"], gold["pos_tags"], [encoded.tag_names[tag] for tag in tags])
        assert tree == normalise(read_tree(gold["tree"], "gold"))


def test_a_tree_that_does_not_parse_is_named(tokenizers, tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = tmp_path / "local" / "ptb_sample" / "default"
    place.mkdir(parents=True)
    bad = [{"tree": "(TOP (S (NN a))"}]
    pq.write_table(pa.Table.from_pylist(bad), place / "train.parquet")
    monkeypatch.setenv("MUPPET_HUB", str(tmp_path))
    with pytest.raises(UserError, match=r"\(local/ptb_sample, default\) split train row 0: `tree`, line .*closed"):
        encode(get("ptb_sample_parsing"), "train", tokenizers["roberta"], max_length=32, cap=9)


def test_summaries_keep_the_tokenizers_ends(tokenizers):
    tokenizer = tokenizers["roberta"]
    encoded = encode(get("aeslc"), "train", tokenizer, max_length=64, source="twins", cap=10, evaluation=True)
    for unit, gold in enumerate(encoded.gold()):
        target = encoded.targets[encoded.target_offsets[unit] : encoded.target_offsets[unit + 1]]
        assert target.tolist() == tokenizer(gold["target"])["input_ids"]


@pytest.mark.parametrize("kind", ["bert", "roberta", "pieces"])
def test_a_word_of_no_token_takes_no_other_words(tokenizers, kind):
    """An empty word, spaces, what a tokenizer drops: the other words' places are as without it."""
    encode_one = Tokenizer.from_str(tokenizers[kind].backend_tokenizer.to_str()).encode
    words = ["the", "cat", "sat"]
    plain = _first_tokens(words, encode_one(" ".join(words)))
    for at in range(4):
        for nothing in ("", "  ", *(["\u200b\ufeff"] if kind == "bert" else [])):
            given = [*words[:at], nothing, *words[at:]]
            encoding = encode_one(" ".join(given))
            places = _first_tokens(given, encoding)
            others = np.delete(places, at)
            assert places[at] not in others and len(set(others)) == 3 and (others >= 0).all()
            assert kind != "bert" or (places[at] == -1 and others.tolist() == plain.tolist())
