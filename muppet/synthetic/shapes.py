"""Rows as datasets have them, told by words of the lexicon: a text, a pair, a similarity, choices."""

from __future__ import annotations

import random
from collections.abc import Callable

from muppet.synthetic.lexicon import cued, sentence, word
from muppet.tasks.task import Row

Maker = Callable[[random.Random, int], Row]

YES_NO = ("good", "bad")  # of labels whose class 0 is the affirmative one
NO_YES = ("bad", "good")
NLI = ("good", "maybe", "bad")
TOPICS = tuple(f"topic{k}" for k in range(6))
INDEX = object()  # stands for a running number


def single(text: str, kinds: tuple[str, ...], label: str = "label", **extra: object) -> Maker:
    """The text tells the label, a class number."""

    def make(rng: random.Random, index: int) -> Row:
        which = rng.randrange(len(kinds))
        cues = cued(rng, kinds[which], _others(kinds, which))
        return {text: sentence(rng, cues), label: which} | extra_columns(extra, index)

    return make


def pair(text: str, pair: str, kinds: tuple[str, ...], names: tuple[str, ...] = (), **extra: object) -> Maker:
    """The second segment tells the label; with `names`, labels are class names."""

    def make(rng: random.Random, index: int) -> Row:
        which = rng.randrange(len(kinds))
        row = {text: sentence(rng, [])} | {pair: sentence(rng, cued(rng, kinds[which], _others(kinds, which)), 4, 9)}
        return row | {"label": names[which] if names else which} | extra_columns(extra, index)

    return make


def _others(kinds: tuple[str, ...], which: int) -> tuple[str, ...]:
    return tuple(kind for index, kind in enumerate(kinds) if index != which)


def extra_columns(extra: dict[str, object], index: int) -> Row:
    """The columns that no role reads; `INDEX` stands for a running number."""
    return {name: index if value is INDEX else value for name, value in extra.items()}


def similarity(rng: random.Random, index: int) -> Row:
    """Two texts and how alike they are, 0 to 5: the number of good words among five."""
    good = rng.randint(0, 5)
    cues = [word(rng, "good") for _ in range(good)] + [word(rng, "bad") for _ in range(5 - good)]
    rng.shuffle(cues)
    return {"sentence1": sentence(rng, []), "sentence2": sentence(rng, cues), "label": float(good), "idx": index}


def choices(rng: random.Random, n: int) -> tuple[list[str], int]:
    """`n` answers, the right one with good words, and its index."""
    right = rng.randrange(n)
    kinds = ["good" if k == right else rng.choice(("bad", "maybe")) for k in range(n)]
    return [sentence(rng, [word(rng, kind)], 3, 5)[:-2] for kind in kinds], right
