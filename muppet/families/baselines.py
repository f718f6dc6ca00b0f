"""What needs no learning: the scores that stand beside a fine-tuning, so that a reader sees what the model adds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from muppet.errors import UserError
from muppet.metrics.summaries import sentences
from muppet.trees import decode

if TYPE_CHECKING:
    from nltk.tree import Tree

Label = TypeVar("Label", bound=Hashable)


def majority(labels: Sequence[Label]) -> Label:
    """The most frequent label of the training rows, the first seen on a tie. Raises UserError for no labels."""
    if not len(labels):
        raise UserError("the majority of no labels: the training split is empty")
    return Counter(labels).most_common(1)[0][0]


def majority_tags(
    train: Iterable[tuple[Sequence[str], Sequence[str]]], evaluation: Iterable[Sequence[str]]
) -> list[list[str]]:
    """Each word's most frequent tag in training, the most frequent tag of all for a word not seen there.

    `train` holds (words, tags) per sentence; returns the tags of each sentence of `evaluation`, given as words.
    """
    by_word: dict[str, Counter[str]] = {}
    for words, tags in train:
        for word, tag in zip(words, tags, strict=True):
            by_word.setdefault(word, Counter())[tag] += 1
    fallback = majority([tag for counts in by_word.values() for tag in counts.elements()])
    best = {word: counts.most_common(1)[0][0] for word, counts in by_word.items()}
    return [[best.get(word, fallback) for word in words] for words in evaluation]


def right_branching(words: Sequence[str], pos_tags: Sequence[str] | None = None, *, label: str = "VP") -> Tree:
    """The tree in which each word opens a constituent over the rest: S at the top, `label` below.

    A last word without letters or digits hangs from the top, as full stops do. In English most constituents branch to
    the right, and VP is the label that fits most of them.
    """
    body = len(words) - (len(words) > 1 and not any(character.isalnum() for character in words[-1]))
    tags = [f"+1 {label}"] * (len(words) - 1) + ["end"]
    if len(words) > 1:
        tags[0] = "+1 S"
        if body < len(words):
            tags[body - 1] = "=1 S"
    return decode(words, pos_tags, tags)


def lead(source: str, count: int = 1) -> str:
    """The first `count` sentences of a source, one a line: the usual yardstick of news summarisation (3 for CNN/DM)."""
    return "\n".join(sentences(source)[:count])
