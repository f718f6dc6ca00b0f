"""Texts to token rows in large batches, through a tokenizer's own scheme of special tokens."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from muppet.errors import UserError

QUESTION_LENGTH = 64  # tokens of a question that go with every window of a long context
_identities: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True)
class Window:
    """One stretch of an example's context, behind its question."""

    example: int  # index in the batch
    ids: list[int]
    first: int  # the context's first token in the row, and one past its last
    last: int
    offsets: np.ndarray  # [len(ids), 2] characters of the context; (0, 0) outside it


class Segmenter:
    """A tokenizer with a row length. `notes` counts what was cut."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        special = tokenizer.num_special_tokens_to_add(pair=True)
        if not special:
            raise UserError(f"{type(tokenizer).__name__} marks no end of a text ([SEP], </s>); give the model's own")
        if max_length < special + 8:
            raise UserError(f"max_length is {max_length}: a row needs {special} special tokens and 8 of text at least")
        self.max_length, self.special = max_length, special
        self.notes: Counter[str] = Counter()
        self.slow = None if getattr(tokenizer, "is_fast", False) else tokenizer
        if self.slow is None:
            from tokenizers import Tokenizer

            self.fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # a copy: truncation is its state
            self.fast.no_padding()

    def rows(self, texts: list[str], pairs: list[str] | None) -> tuple[list[list[int]], list[int], list[Any]]:
        """Token rows of at most `max_length`, longest segment cut first; where each second segment starts; encodings.

        The start is the row's length when there is no second segment. Encodings (with character offsets) are those of
        the `tokenizers` library, and an empty list for a tokenizer written in Python.
        """
        if self.slow is not None:
            return self._slow_rows(texts, pairs)
        encodings = self._encode(texts, pairs)
        self.notes["rows cut"] += sum(1 for encoding in encodings if encoding.overflowing)
        ids = [encoding.ids for encoding in encodings]
        if pairs is None:
            return ids, [len(row) for row in ids], encodings
        return ids, [_second(encoding) for encoding in encodings], encodings

    def _encode(self, texts: list[str], pairs: list[str] | None) -> list[Any]:
        """Encodings of the rows; texts that occur several times, as those before each choice do, are tokenised once."""
        once = list(dict.fromkeys(texts))
        if pairs is None or 2 * len(once) > len(texts):
            self.fast.enable_truncation(self.max_length, strategy="longest_first")
            return self.fast.encode_batch(texts if pairs is None else list(zip(texts, pairs)))
        self.fast.no_truncation()
        first = dict(zip(once, self.fast.encode_batch(once, add_special_tokens=False)))
        second = self.fast.encode_batch(pairs, add_special_tokens=False)
        self.fast.enable_truncation(self.max_length, strategy="longest_first")
        return [self.fast.post_process(first[text], pair) for text, pair in zip(texts, second)]

    def _slow_rows(self, texts: list[str], pairs: list[str] | None) -> tuple[list[list[int]], list[int], list[Any]]:
        """Tokenizers written in Python have no segment types, so where the second segment starts does not matter."""
        assert self.slow is not None
        whole = self.slow(texts, pairs, truncation=False, verbose=False)["input_ids"]
        ids = self.slow(texts, pairs, truncation="longest_first", max_length=self.max_length)["input_ids"]
        self.notes["rows cut"] += sum(1 for full, cut in zip(whole, ids) if len(cut) < len(full))
        return ids, [len(row) for row in ids], []

    def windows(self, questions: list[str], contexts: list[str], stride: int) -> list[Window]:
        """Question against context, in windows that overlap by `stride` tokens (a third of a row at most)."""
        if self.slow is not None:
            raise UserError(
                f"{type(self.slow).__name__} gives no character offsets; span tasks need a model with a fast tokenizer"
            )
        budget = min(QUESTION_LENGTH, (self.max_length - self.special) // 2)
        self.fast.no_truncation()
        short = self.fast.encode_batch(questions, add_special_tokens=False)
        questions = [self._cut(text, encoding, budget) for text, encoding in zip(questions, short)]
        room = self.max_length - self.special
        stride = min(stride, room - budget - 1, self.max_length // 3)
        self._fits([text for text, encoding in zip(questions, short) if len(encoding.ids) > budget], room - stride)
        self.fast.enable_truncation(self.max_length, stride=stride, strategy="only_second")
        windows, ends = [], {}
        for example, encoding in enumerate(self.fast.encode_batch(list(zip(questions, contexts)))):
            pieces = [_window(example, piece) for piece in (encoding, *encoding.overflowing)]
            end = max(_end(piece) for piece in pieces)
            if contexts[example][end:].strip():  # lost, or of no token
                ends[example] = end
            windows += pieces
        self.fast.no_truncation()
        for example, end in ends.items():
            if _end(_window(example, self.fast.encode(questions[example], contexts[example]))) > end:
                size = len(contexts[example])
                raise UserError(
                    f"tokenizers {version('tokenizers')} loses windows of long contexts: {size - end} of {size}"
                    " characters of one are in none; install another version (0.23.2 is known for it)"
                )
        return windows

    def _fits(self, cut: list[str], room: int) -> None:
        """Raise UserError for a question that leaves no room for new context although it was cut: a cut inside a
        character of several tokens keeps them all."""
        for text, encoding in zip(cut, self.fast.encode_batch(cut, add_special_tokens=False)):
            if len(encoding.ids) >= room:
                raise UserError(
                    f"max_length={self.max_length} leaves no room for a context beside the question {text!r}, which"
                    f" takes {len(encoding.ids)} tokens; raise max_length"
                )

    def _cut(self, text: str, encoding: Any, budget: int) -> str:
        if len(encoding.ids) <= budget:
            return text
        self.notes["questions cut"] += 1
        return text[: encoding.offsets[budget - 1][1]]

    def targets(self, texts: list[str], max_length: int) -> list[list[int]]:
        """Rows of a decoder's output, cut at the end."""
        if self.slow is not None:
            whole = self.slow(text_target=texts, truncation=False, verbose=False)["input_ids"]
            ids = self.slow(text_target=texts, truncation=True, max_length=max_length)["input_ids"]
            self.notes["targets cut"] += sum(1 for full, cut in zip(whole, ids) if len(cut) < len(full))
            return ids
        self.fast.enable_truncation(max_length)
        encodings = self.fast.encode_batch(texts)
        self.notes["targets cut"] += sum(1 for encoding in encodings if encoding.overflowing)
        return [encoding.ids for encoding in encodings]


def _second(encoding: Any) -> int:
    sequence = encoding.sequence_ids
    return sequence.index(1) if 1 in sequence else len(sequence)


def _window(example: int, encoding: Any) -> Window:
    sequence = encoding.sequence_ids
    first = _second(encoding)
    last = len(sequence) - sequence[::-1].index(1) if 1 in sequence else first
    offsets = np.zeros((len(sequence), 2), np.int32)
    offsets[first:last] = np.reshape(encoding.offsets[first:last], (-1, 2))  # of no token, too
    return Window(example=example, ids=encoding.ids, first=first, last=last, offsets=offsets)


def _end(window: Window) -> int:
    """Characters of the context up to the end of the window's last token."""
    return int(window.offsets[:, 1].max())


def types_texts(tokenizer: Any) -> bool:
    """Whether the second text of a pair has a token type of its own, as in BERT's scheme. In RoBERTa's it has none,
    whatever room the model's configuration, by default, leaves for one."""
    return getattr(tokenizer, "is_fast", False) and 1 in tokenizer.backend_tokenizer.encode("", "").type_ids


def tokenizer_identity(tokenizer: Any) -> str:
    """A hash of what the tokenizer does: its serialised pipeline, or a Python tokenizer's class and vocabulary."""
    if tokenizer not in _identities:
        if getattr(tokenizer, "is_fast", False):
            plain = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        else:
            vocabulary: Sequence[Any] = sorted(tokenizer.get_vocab().items())
            plain = [type(tokenizer).__name__, vocabulary, {k: str(v) for k, v in tokenizer.special_tokens_map.items()}]
        _identities[tokenizer] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return _identities[tokenizer]
