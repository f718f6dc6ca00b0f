"""The made-up language of the synthetic twins: pronounceable words, each lexicon with one meaning in every task."""

from __future__ import annotations

import random
from functools import lru_cache

SIZES = {  # words of each lexicon
    "good": 24, "bad": 24, "maybe": 24, "filler": 200, "noun": 60, "verb": 40, "adjective": 40, "name": 40, "place": 40,
    "group": 40, **{f"topic{k}": 10 for k in range(6)},
}
CAPITAL = ("name", "place", "group")
FUNCTION = (
    "the a an of in on and or to from with is was are were who what which where when how why not no yes it that this"
    " they he she because so then after before about said question answer . , ? !"
).split()


@lru_cache(maxsize=None)
def lexicons() -> dict[str, tuple[str, ...]]:
    """Every lexicon, the same on every machine; no word stands in two."""
    rng = random.Random(20210101)
    onsets, vowels, codas = (
        "b d f g k l m n p r s t v z br dr gr kl pl st tr".split(),
        "aeiou",
        ["", "n", "r", "l", "s", "m"],
    )
    seen: set[str] = set(FUNCTION)
    words_of: dict[str, tuple[str, ...]] = {}
    for name, size in SIZES.items():
        words: list[str] = []
        while len(words) < size:
            word = "".join(rng.choice(onsets) + rng.choice(vowels) for _ in range(2)) + rng.choice(codas)
            if word not in seen:
                seen.add(word)
                words.append(word.capitalize() if name in CAPITAL else word)
        words_of[name] = tuple(words)
    return words_of


def word(rng: random.Random, lexicon: str) -> str:
    """One word of a lexicon."""
    return rng.choice(lexicons()[lexicon])


def sentence(rng: random.Random, cues: list[str], low: int = 6, high: int = 14) -> str:
    """Filler words with the cues, in this order, at random places."""
    words = [
        word(rng, "filler") if rng.random() < 0.7 else rng.choice(FUNCTION[:-4]) for _ in range(rng.randint(low, high))
    ]
    places = sorted(rng.sample(range(len(words) + 1), k=len(cues)), reverse=True)
    for place, cue in zip(places, reversed(cues)):
        words.insert(place, cue)
    return " ".join(words) + " ."


def cued(rng: random.Random, lexicon: str, others: tuple[str, ...], strength: int = 3) -> list[str]:
    """`strength` cues of one lexicon and often a misleading one of another, shuffled."""
    cues = [word(rng, lexicon) for _ in range(strength)]
    if others and rng.random() < 0.4:
        cues.append(word(rng, rng.choice(others)))
    rng.shuffle(cues)
    return cues
