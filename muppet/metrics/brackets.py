"""Labelled bracket F1, counted as evalb counts with its parameter file COLLINS.prm (Sekine and Collins 1997)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from muppet.metrics.value import Value, f1_of, from_counts
from muppet.trees import ROOTS, constituents, normalise, one_line, preterminals, read

if TYPE_CHECKING:
    from nltk.tree import Tree

PUNCTUATION = frozenset({",", ":", "``", "''", "."})  # parts of speech whose words are deleted before brackets are read


def bracket_f1(predictions: Sequence[Tree | str], references: Sequence[Tree | str]) -> Value:
    """F1 over the labelled brackets of all sentences.

    Roots, traces, punctuation and functional tags are deleted, ADVP and PRT are one label, equal brackets of one
    sentence are matched one to one, parts of speech do not count. Which words are punctuation is read from the gold
    tree for both sides, since parts of speech are not predicted. A sentence whose words differ from the gold ones is
    left out, as evalb does, and counted in the settings as `errors`; so is one of punctuation alone, as `skipped`.
    """
    counts, errors, skipped = [], 0, 0
    for index, (prediction, reference) in enumerate(zip(predictions, references, strict=True)):
        guess = _tree(prediction, f"metric 'bracket_f1': prediction {index}")
        gold = _tree(reference, f"metric 'bracket_f1': reference {index}")
        skip = [leaf.label() in PUNCTUATION for leaf in preterminals(gold)]
        if [leaf[0] for leaf in preterminals(guess)] != [leaf[0] for leaf in preterminals(gold)]:
            errors += 1
            counts.append((0, 0, 0))
        elif all(skip):
            skipped += 1
            counts.append((0, 0, 0))
        else:
            ours, theirs = _brackets(guess, skip), _brackets(gold, skip)
            counts.append(((ours & theirs).total(), ours.total(), theirs.total()))
    return from_counts(counts, f1_of, rules="evalb, COLLINS.prm", over="sentences", errors=errors, skipped=skipped)


def _tree(tree: Tree | str, where: str) -> Tree:
    return normalise(read(tree if isinstance(tree, str) else one_line(tree), where), where)


def _brackets(tree: Tree, skip: Sequence[bool]) -> Counter[tuple[str, int, int]]:
    return Counter(
        ("ADVP" if label == "PRT" else label, start, end)
        for label, start, end in constituents(tree, skip)
        if label not in ROOTS
    )
