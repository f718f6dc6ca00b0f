"""The leakage audit: which evaluation examples share text with which training sets.

Texts are compared as lower-case words without punctuation. An evaluation example is hit by a training set when one of
its texts of at least `WORDS` words occurs there as a whole (exact), or when any `GRAM` words in a row do (13-gram, as
Brown et al. 2020 and others count contamination). Evaluation sets are indexed once; training rows stream past them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np

from muppet.data.sources import load_rows
from muppet.families import FAMILIES, examples
from muppet.families.roles import Example
from muppet.runs import Source
from muppet.tasks.task import Task

WORDS = 6  # a shorter text says too little when it occurs elsewhere
GRAM = 13
# Scripts that put no space between words: each character counts as one. Thai to Burmese, Khmer, kana, Han.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One evaluation split against one training set."""

    evaluation: str  # task/split
    train: str  # task
    exact: np.ndarray  # [n] bool, of the evaluation examples
    gram: np.ndarray  # [n] bool
    sample: str  # one text, or 13 words, that both hold

    @property
    def hit(self) -> np.ndarray:
        """[n] bool: hit either way."""
        return self.exact | self.gram

    @property
    def own(self) -> bool:
        """Whether the training set is the evaluation set's own."""
        return self.evaluation.split("/")[0] == self.train


def texts(task: Task, example: Example) -> list[str]:
    """The texts that the model reads of an example."""
    return FAMILIES[task.family].texts(task, example)


def words(text: str) -> list[str]:
    """Lower-case words without punctuation, accents composed."""
    return _WORD.findall(unicodedata.normalize("NFC", text.lower()))


@lru_cache(maxsize=1_000_000)
def _number(token: str) -> int:
    return int.from_bytes(hashlib.blake2b(token.encode(), digest_size=8).digest(), "little")


def whole(tokens: Sequence[str]) -> int:
    """A 64-bit number for a text as a whole."""
    return _number(" ".join(tokens))


def grams(tokens: Sequence[str]) -> np.ndarray:
    """[len - 12] uint64, one number for each 13 words in a row."""
    if len(tokens) < GRAM:
        return np.zeros(0, np.uint64)
    numbers = np.fromiter(map(_number, tokens), np.uint64, len(tokens))
    joined = np.zeros(len(tokens) - GRAM + 1, np.uint64)
    for step in range(GRAM):
        joined = joined * _BASE + numbers[step : step + len(joined)]
    return joined


class _Index:
    """Numbers of every evaluation set's texts, sorted, each with its set and example."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.sizes: list[int] = []
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, name: str, numbers: list[np.ndarray]) -> None:
        """`numbers[i]` are those of example i."""
        lengths = [len(part) for part in numbers]
        flat = np.concatenate([*numbers, np.zeros(0, np.uint64)])
        example = np.repeat(np.arange(len(numbers), dtype=np.int32), lengths)
        self.parts.append((flat, np.full(len(flat), len(self.names), np.int32), example))
        self.names.append(name)
        self.sizes.append(len(numbers))

    def ready(self) -> None:
        """Sort; nothing is added after this."""
        joined = [np.concatenate(column) for column in zip(*self.parts)]
        order = np.argsort(joined[0], kind="stable")
        self.numbers, self.set, self.example = (column[order] for column in joined)

    def hits(self, numbers: np.ndarray, flags: list[np.ndarray]) -> np.ndarray:
        """Flag the examples that hold one of `numbers`; returns those that occur."""
        numbers = np.unique(numbers)
        first = np.searchsorted(self.numbers, numbers, side="left")
        last = np.searchsorted(self.numbers, numbers, side="right")
        occurs = last > first
        for begin, end in zip(first[occurs].tolist(), last[occurs].tolist()):
            for which, example in zip(self.set[begin:end].tolist(), self.example[begin:end].tolist()):
                flags[which][example] = True
        return numbers[occurs]


def audit(
    evaluations: Mapping[str, tuple[Task, Sequence[Example]]], trains: Mapping[str, tuple[Task, Iterator[Example]]]
) -> list[Pair]:
    """Every evaluation set (`task/split` → task and examples) against every training set, hits or not."""
    exact, gram = _Index(), _Index()
    kept: dict[str, list[list[list[str]]]] = {}
    for name, (task, scored) in evaluations.items():
        read = [[words(text) for text in texts(task, example)] for example in scored]
        exact.add(name, [_wholes(parts) for parts in read])
        gram.add(name, [np.concatenate([*map(grams, parts), np.zeros(0, np.uint64)]) for parts in read])
        kept[name] = read
    exact.ready()
    gram.ready()
    pairs = []
    for train, (task, stream) in trains.items():
        flags = {kind: [np.zeros(size, bool) for size in index.sizes] for kind, index in (("e", exact), ("g", gram))}
        seen: set[int] = set()
        while batch := list(islice(stream, 2000)):
            read = [[words(text) for text in texts(task, example)] for example in batch]
            seen.update(exact.hits(np.concatenate([_wholes(parts) for parts in read]), flags["e"]).tolist())
            seen.update(
                gram.hits(np.concatenate([grams(part) for parts in read for part in parts]), flags["g"]).tolist()
            )
        for which, name in enumerate(exact.names):
            hit = np.flatnonzero(flags["e"][which] | flags["g"][which])
            sample = _shared(kept[name][hit[0]], seen) if len(hit) else ""
            pairs.append(
                Pair(
                    evaluation=name,
                    train=train,
                    exact=flags["e"][which],
                    gram=flags["g"][which],
                    sample=sample,
                )
            )
    return pairs


def _shared(parts: Sequence[Sequence[str]], seen: set[int]) -> str:
    """A text of an example, or 13 words of one, whose number is among `seen`."""
    for part in parts:
        if len(part) >= WORDS and whole(part) in seen:
            return " ".join(part)
    for part in parts:
        for start, number in enumerate(grams(part).tolist()):
            if number in seen:
                return " ".join(part[start : start + GRAM])
    raise AssertionError("the example was hit")


def _wholes(parts: Sequence[Sequence[str]]) -> np.ndarray:
    return np.array([whole(part) for part in parts if len(part) >= WORDS], np.uint64)


def read(task: Task, split: str, *, source: Source = "hub", cap: int | None = None) -> list[Example]:
    """The examples of a split as training and evaluation see them, in the order of their numbers in a result."""
    return list(examples(task, split, load_rows(task, split, source=source, cap=cap).rows, Counter()))


def copies(left: tuple[Task, Sequence[Example]], right: tuple[Task, Sequence[Example]]) -> float:
    """The share of the examples of `left` whose texts all stand together in one example of `right`."""
    seen = {tuple(whole(words(text)) for text in texts(right[0], example)) for example in right[1]}
    same = [tuple(whole(words(text)) for text in texts(left[0], example)) in seen for example in left[1]]
    return sum(same) / max(1, len(same))
