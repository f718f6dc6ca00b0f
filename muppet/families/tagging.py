"""Tagging: one tag per word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from muppet.errors import UserError, short
from muppet.families.classification import majority
from muppet.families.encoded import Encoded, Part, ranges
from muppet.families.family import Family, Outputs
from muppet.families.layout import Layout
from muppet.families.roles import BadRow, Drop, Example, listed, named_by_numbers, texts
from muppet.families.spec import HeadSpec, spec_of_classes
from muppet.tasks.task import FamilyName, Row, Task, dataset_name


class Tagging(Family):
    """One of the head's tags for each word, read off its first sub-word."""

    name: ClassVar[FamilyName] = "tagging"
    gold: ClassVar[str] = "tags"
    learns_from_gold = True  # which words had which tags
    has_classes = True
    learns: ClassVar[tuple[str, ...]] = ("tokens", "tags")
    asks = ("tokens",)

    def read(self, task: Task, row: Row) -> Example:
        assert task.classes is not None
        tokens, tags = texts(row["tokens"], "tokens"), listed(row["tags"])
        if not tokens:
            raise Drop("empty sentence")
        if tags is None:
            raise Drop("no label")
        if not isinstance(tags, (list, tuple)) or len(tags) != len(tokens):
            raise BadRow(
                f"`tags` must be a list of {len(tokens)} tags, one per token, and is {short(tags)}; correct the row"
            )
        return {"tokens": tokens, "tags": [_tag(tag, task.classes) for tag in tags]}

    def rows(self, task: Task, example: Example) -> list[list[str]]:
        """Words are joined by single spaces and found again by their characters, so that any tokenizer serves."""
        return [[" ".join(example["tokens"])]]

    def truth(self, task: Task, example: Example) -> str:
        assert task.classes is not None
        return " ".join(f"{token}/{task.classes[tag]}" for token, tag in zip(example["tokens"], example["tags"]))

    def lay_out(self, layout: Layout, batch: list[Example]) -> None:
        classes = list(layout.task.classes or ())
        self.lay_words(layout, [(example["tokens"], example["tags"]) for example in batch], classes)
        layout.add_gold([{"tokens": e["tokens"], "tags": [classes[tag] for tag in e["tags"]]} for e in batch])

    def lay_words(self, layout: Layout, sentences: Sequence[tuple[list[str], list[int]]], names: list[str]) -> None:
        """Rows of sentences, each words and the numbers of their tags among `names`."""
        encodings = layout.add_texts([[[" ".join(words)]] for words, _ in sentences])
        if not encodings:
            raise UserError(
                f"{dataset_name(layout.task)}: tagging needs character offsets; use a model with a fast tokenizer"
            )
        layout.tag_names = names
        for (words, tags), encoding in zip(sentences, encodings):
            first = _first_tokens(words, encoding)
            kept = slice(None) if layout.evaluation else first >= 0
            layout.segmenter.notes["words cut"] += int((first < 0).sum())
            layout.writer.append("words", first[kept], np.int32)
            layout.writer.append("tags", np.asarray(tags, np.int32)[kept], np.int32)
            layout.writer.append_ends("word_offsets", [len(first[kept])])

    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        return spec_of_classes(task, key, encoded.tag_names)

    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> dict[str, np.ndarray]:
        """Also `word`: each word's first token in its row. Words that were cut off with the row's end are left out."""
        assert encoded.word_offsets is not None
        lengths = encoded.word_offsets[units + 1] - encoded.word_offsets[units]
        flat = ranges(encoded.word_offsets, units)
        words, unit = np.asarray(encoded.words)[flat], np.repeat(np.arange(len(units)), lengths)
        kept = words >= 0
        return {
            "targets": np.asarray(encoded.tags)[flat][kept].astype(np.int64),
            "word": words[kept].astype(np.int64),
            "unit": unit[kept],
            "n": np.full(len(units), spec.outputs),
        }

    def official(self, metric: str, task: Task) -> str:
        return "token_accuracy" if metric == "accuracy" else metric

    def predictions(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> list[Any]:
        return [self.word_tags(encoded, spec, outputs, example) for example in chosen]

    def word_tags(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, example: int) -> list[str]:
        """A tag for every word of a sentence; a word that was cut off with its row's end gets the plainest tag."""
        unit, names = encoded.unit(example), spec.classes or ()
        assert encoded.words is not None and encoded.word_offsets is not None
        in_row = np.asarray(encoded.words[encoded.word_offsets[unit] : encoded.word_offsets[unit + 1]]) >= 0
        guesses: Iterator[int] = iter(outputs[unit])
        return [names[next(guesses)] if seen else self.plainest(names) for seen in in_row.tolist()]

    def plainest(self, names: Sequence[str]) -> str:
        """The tag that says least."""
        return "O" if "O" in names else names[0]

    def guesses(self, train: Part, encoded: Encoded, chosen: Sequence[int], tokenizer: Any) -> list[Any]:
        """Each word's most frequent tag in training."""
        learnt, gold = train.encoded.gold(), encoded.gold()
        known = [(learnt[e]["tokens"], learnt[e]["tags"]) for e in train.examples()]
        return majority_tags(known, [gold[e]["tokens"] for e in chosen])

    def unanswered(self, task: Task, row: Row) -> Row:
        assert task.classes is not None
        return row | {"tags": [task.classes[0]] * len(row["tokens"])}

    def answer(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, example: int) -> dict[str, Any]:
        return {self.gold: self.predictions(encoded, spec, outputs, [example])[0]}


def _first_tokens(words: list[str], encoding: Any) -> np.ndarray:
    """[words] the row's index of each word's first token; -1 for words past the row's end, or of no token: the next
    token is then another word's."""
    real = [index for index, sequence in enumerate(encoding.sequence_ids) if sequence == 0]
    begins, ends = np.array([encoding.offsets[index] for index in real], np.int64).reshape(-1, 2).T
    lengths = np.array([len(word) for word in words])
    starts = np.cumsum(lengths + 1) - lengths - 1
    place = np.searchsorted(ends, starts, side="right")
    own = np.append(begins, np.iinfo(np.int64).max)[place] < starts + lengths
    return np.where(own, np.append(real, -1)[place], -1).astype(np.int32)


def _tag(tag: Any, classes: tuple[str, ...]) -> int:
    if isinstance(tag, (str, int)) and str(tag) in classes:
        return classes.index(str(tag))
    if isinstance(tag, int) and 0 <= tag < len(classes) and not named_by_numbers(classes):
        return tag
    few = ", ".join(classes[:6])
    raise BadRow(f"tag {short(tag)} is none of the {len(classes)} classes {few}, …; correct the row or the Task")


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
