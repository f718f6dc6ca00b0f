"""How others and we cut a dataset into batches: each policy gives the batches of one epoch of one dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from muppet.families.encoded import Part
from muppet.runs import Recipe
from muppet.training.batching import Deck, SubBatch

ROWS_PER_BATCH = 32  # the usual batch size; a question of four choices is four rows

Policy = Callable[[Part, Recipe], list[SubBatch]]


def sizes(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Of the part's units: tokens of the longest row, and rows."""
    length, rows = part.encoded.cost()
    return length[part.units], rows[part.units]


def cut(part: Part, members: Sequence[np.ndarray]) -> list[SubBatch]:
    """The units `members` (indices into the part's units) as batches, of dataset 0 for now."""
    length, rows = sizes(part)
    return [SubBatch(part=0, units=part.units[m], unit_rows=rows[m], unit_lengths=length[m]) for m in members]


def examples(part: Part) -> int:
    """Examples in a batch of 32 rows."""
    return max(1, ROWS_PER_BATCH // round(float(sizes(part)[1].mean())))


def _chunks(part: Part, order: np.ndarray) -> list[SubBatch]:
    size = examples(part)
    return cut(part, [order[i : i + size] for i in range(0, len(order), size)])


def fixed(part: Part, recipe: Recipe) -> list[SubBatch]:
    """Batches of 32 rows in random order, each padded to its longest row."""
    return _chunks(part, np.random.default_rng(0).permutation(len(part.units)))


def grouped(part: Part, recipe: Recipe) -> list[SubBatch]:
    """The same, grouped by length as transformers' Trainer does (sorted inside random mega-batches of 50)."""
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices

    seeded = torch.Generator().manual_seed(0)
    order = get_length_grouped_indices(sizes(part)[0].tolist(), examples(part), generator=seeded)
    return _chunks(part, np.array(order))


def _greedy(part: Part, recipe: Recipe, *, all_rows: bool, sentences: int) -> list[SubBatch]:
    """Examples in random order, as many as the token budget holds once padded."""
    length, rows = sizes(part)
    batches: list[list[int]] = [[]]
    longest = count = 0
    for unit in np.random.default_rng(0).permutation(len(part.units)).tolist():
        more = int(rows[unit]) if all_rows else 1
        wider = max(longest, int(length[unit]))
        if batches[-1] and (wider * (count + more) > recipe.max_tokens or len(batches[-1]) == sentences):
            batches.append([])
            wider, count = int(length[unit]), 0
        batches[-1].append(unit)
        longest, count = wider, count + more
    return cut(part, [np.array(held) for held in batches])


def fairseq(part: Part, recipe: Recipe) -> list[SubBatch]:
    """fairseq's recipe: random order, `max_tokens`, at most 32 sentences, an example as long as its longest option."""
    return _greedy(part, recipe, all_rows=False, sentences=32)


def budget(part: Part, recipe: Recipe) -> list[SubBatch]:
    """Random order, `max_tokens` over the rows of all options."""
    return _greedy(part, recipe, all_rows=True, sentences=len(part.units))


def buckets(part: Part, recipe: Recipe) -> list[SubBatch]:
    """This project's: fairseq's budget over length buckets, with as many examples as it holds."""
    deck = Deck(part, recipe, 0)
    return [deck.take(0, position) for position in range(deck.count)]


def real_tokens(part: Part, units: np.ndarray) -> int:
    """Tokens of `units` without padding."""
    encoded = part.encoded
    first, last = encoded.unit_rows[units], encoded.unit_rows[units + 1]
    return int((encoded.offsets[last] - encoded.offsets[first]).sum())


def draws(
    parts: Sequence[Part], cut: Sequence[Sequence[SubBatch]], shares: np.ndarray, by: str
) -> tuple[list, np.ndarray]:
    """All batches, each with its dataset's index, and how often each comes up in the full-size mixture.

    `shares` are of examples. By `tokens` the probability is that of a random real token being in the batch, by `batches`
    that of a random batch being this one.
    """
    batches, mass = [], []
    for index, (part, made) in enumerate(zip(parts, cut, strict=True)):
        passes = shares[index] / len(np.unique(part.encoded.unit_example[part.units]))
        for batch in made:
            batches.append(replace(batch, part=index))
            mass.append(passes * (real_tokens(part, batch.units) if by == "tokens" else 1))
    return batches, np.array(mass) / np.sum(mass)


def systematic(mass: np.ndarray, count: int, start: float) -> np.ndarray:
    """Indices of `count` draws at equal steps along the cumulated `mass` from a start in [0, 1): every part of it is seen."""
    points = (np.arange(count) + start) / count
    return np.minimum(np.searchsorted(np.cumsum(mass), points, side="right"), len(mass) - 1)
