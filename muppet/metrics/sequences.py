"""Metrics over tag sequences: accuracy per token, and F1 over chunks in two readings of a broken sequence."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from muppet.errors import UserError
from muppet.metrics.value import Value, f1_of, from_counts

Tags = Sequence[str]


def _sentences(
    metric: str, predictions: Sequence[Tags], references: Sequence[Tags], *, chunks: bool = False
) -> Iterator[tuple[list[str], list[str]]]:
    """The pairs (predicted, gold) of tags; raises UserError where the lengths differ or a sentence is empty.

    With `chunks`, also where a tag is none of B-X, I-X and O.
    """
    for index, (guess, gold) in enumerate(zip(predictions, references, strict=True)):
        if len(guess) != len(gold):
            raise UserError(
                f"metric {metric!r}: sentence {index} has {len(gold)} gold tags and {len(guess)} predicted ones"
            )
        if not len(gold):
            raise UserError(f"metric {metric!r}: sentence {index} has no words; drop it from the split")
        for tag in (*guess, *gold) if chunks else ():
            if tag != "O" and not (tag[:2] in ("B-", "I-") and len(tag) > 2):
                raise UserError(
                    f"metric {metric!r}: sentence {index} has the tag {tag!r}; chunk tags are B-X, I-X and O"
                )
        yield list(guess), list(gold)


def token_accuracy(predictions: Sequence[Tags], references: Sequence[Tags]) -> Value:
    """Share of tokens with the gold tag, over all sentences (how part-of-speech tagging is reported)."""
    counts = [
        (sum(ours == theirs for ours, theirs in zip(guess, gold, strict=True)), len(gold))
        for guess, gold in _sentences("token_accuracy", predictions, references)
    ]
    return from_counts(counts, lambda sums: sums[0] / sums[1], over="sentences")


def chunk_f1(predictions: Sequence[Tags], references: Sequence[Tags]) -> Value:
    """Chunk F1 as conlleval counts it: an I- tag that continues nothing, or changes type, begins a chunk."""
    from seqeval.metrics.sequence_labeling import get_entities

    counts = [
        _count(set(get_entities(guess)), set(get_entities(gold)))
        for guess, gold in _sentences("chunk_f1", predictions, references, chunks=True)
    ]
    return from_counts(counts, f1_of, mode="conlleval", over="sentences")


def chunk_f1_strict(predictions: Sequence[Tags], references: Sequence[Tags]) -> Value:
    """Chunk F1 in which a chunk must be well-formed IOB2: an I- tag that continues no chunk of its type is in none."""
    from seqeval.scheme import IOB2, Entities

    pairs = _sentences("chunk_f1_strict", predictions, references, chunks=True)
    chunks = [
        [{entity.to_tuple()[1:] for entity in side} for side in Entities(pair, scheme=IOB2).entities] for pair in pairs
    ]
    counts = [_count(guess, gold) for guess, gold in chunks]
    return from_counts(counts, f1_of, mode="strict IOB2", over="sentences")


def _count(guess: set[Hashable], gold: set[Hashable]) -> tuple[int, int, int]:
    return len(guess & gold), len(guess), len(gold)
