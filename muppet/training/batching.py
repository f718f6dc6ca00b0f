"""Sub-batches and the order they are trained in; the three policies are orders of the same examples (paper §3.2, §5.2).

Everything here is a function of (data, recipe, seed, step): no state, so a run resumes at any update at no cost.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muppet.errors import UserError
from muppet.families.encoded import Part, told
from muppet.runs import Recipe

GRAIN = 2**31  # shares that are no whole numbers are rounded to this fraction


@dataclass(frozen=True, kw_only=True)
class SubBatch:
    """Units of one dataset that are averaged together: what one of the paper's 64 workers sees in one update."""

    part: int  # index of the dataset
    units: np.ndarray
    unit_rows: np.ndarray  # rows of each unit
    unit_lengths: np.ndarray  # tokens of each unit's longest row

    @property
    def rows(self) -> int:
        return int(self.unit_rows.sum())

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return int(self.unit_lengths.max())

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each unit: its rows times its longest."""
        return self.unit_rows * self.unit_lengths

    @property
    def tokens(self) -> int:
        """Padded tokens of all rows of all choices."""
        return self.rows * self.length


def bucket(length: np.ndarray) -> np.ndarray:
    """Upper bound of each length's bucket: steps of 2 tokens up to 16, then an eighth to a sixteenth of the length."""
    step = 2 ** np.maximum(1, np.floor(np.log2(np.maximum(length - 1, 1))).astype(np.int64) - 3)
    return -(-length // step) * step


class Deck:
    """The sub-batches of one dataset. Their number is the same in every epoch; who is in which is drawn anew.

    With `max_tokens`, units are sorted into length buckets and cut where the longest row times the units would exceed
    it (a ranking example counts as its longest choice); an epoch shuffles the units inside each bucket and the order
    of the sub-batches. With `max_examples`, an epoch is one random permutation of the examples, cut at every so many;
    the last sub-batch holds the rest, and all windows of an example stay together. Cuts are constant, so position →
    sub-batch needs no replay.
    """

    def __init__(self, part: Part, recipe: Recipe, seed: int) -> None:
        if not len(part.units):
            why = told(part.encoded.notes)
            raise UserError(
                f"{part.name}: no training example is left{f' ({why})' * bool(why)}; check its `train` split, caps,"
                " fraction and the length of rows"
            )
        length, rows = part.encoded.cost()
        if part.encoded.target_offsets is not None:  # a summary longer than its source is what is padded to
            length = np.maximum(length, np.diff(part.encoded.target_offsets))
        self.length, self.rows = np.asarray(length)[part.units], np.asarray(rows)[part.units]
        self.units = part.units
        self.seed = [seed, zlib.crc32(part.name.encode())]
        self.group = self.example = np.zeros(0, np.int64)
        if recipe.max_examples is not None:
            _, self.example = np.unique(np.asarray(part.encoded.unit_example)[part.units], return_inverse=True)
            self.starts = np.arange(0, int(self.example.max()) + 1, recipe.max_examples)
        else:
            assert recipe.max_tokens is not None
            self.starts = self._buckets(part, recipe.max_tokens, recipe.max_length)
        self.count = len(self.starts)
        self._drawn: tuple[int, np.ndarray, np.ndarray] = (-1, self.starts, self.starts)

    def _buckets(self, part: Part, max_tokens: int, max_length: int) -> np.ndarray:
        """Sort the units into length buckets → where each sub-batch starts."""
        worst = int(self.length.argmax())
        if self.length[worst] > max_tokens:
            raise UserError(
                f"{part.name}: one example takes {self.length[worst]} tokens (the longest of its {self.rows[worst]}"
                f" rows), more than the recipe's max_tokens={max_tokens}; raise max_tokens or lower"
                f" max_length={max_length}"
            )
        bounds = bucket(self.length)
        self.sorted = np.argsort(bounds, kind="stable")
        bound, self.group, sizes = np.unique(bounds[self.sorted], return_inverse=True, return_counts=True)
        return _cut(sizes, bound, max_tokens)

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """(members in order, [count, 2] first and one-past-last member of each sub-batch) of an epoch."""
        if self._drawn[0] != epoch:  # positions are asked for in order: one epoch at a time is enough
            random, size = np.random.default_rng([*self.seed, epoch]), len(self.units)
            if len(self.example):
                place = random.permutation(int(self.example[-1]) + 1)[self.example]
                order = np.argsort(place, kind="stable")
                cuts = np.searchsorted(place[order], self.starts)
                turn = np.arange(self.count)
            else:
                order = self.sorted[np.lexsort((random.random(size), self.group))]
                cuts, turn = self.starts, random.permutation(self.count)
            self._drawn = epoch, order, np.stack([cuts, np.append(cuts[1:], size)], axis=1)[turn]
        return self._drawn[1:]

    def take(self, part: int, position: int) -> SubBatch:
        """The sub-batch at `position` of the dataset's endless stream of epochs."""
        epoch, index = divmod(position, self.count)
        order, cuts = self._epoch(epoch)
        members = order[cuts[index, 0] : cuts[index, 1]]
        return SubBatch(
            part=part, units=self.units[members], unit_rows=self.rows[members], unit_lengths=self.length[members]
        )


def _cut(sizes: np.ndarray, length: np.ndarray, max_tokens: int) -> np.ndarray:
    """Greedy cuts of consecutive groups of `sizes` units, each of `length` tokens → where each sub-batch starts."""
    starts, at, held = [0], 0, 0
    for size, tokens in zip(sizes.tolist(), length.tolist(), strict=True):
        full = max(1, max_tokens // tokens)
        if held >= full:
            starts.append(at)
            held = 0
        starts += range(at + full - held, at + size, full)
        at += size
        held = at - starts[-1]
    return np.array(starts)


def apportion(quota: np.ndarray, total: int, random: np.random.Generator) -> np.ndarray:
    """`total` in whole numbers ∝ `quota` (whole numbers): each share rounded up or down, without bias, exact where it
    comes out even (systematic sampling)."""
    ends = (np.cumsum(quota) * total + random.integers(quota.sum())) // quota.sum()
    return np.diff(ends, prepend=0)


class Sampler:
    """Update number → its sub-batches.

    How many sub-batches each dataset has over the whole budget of updates is settled first, and is the same for the
    three policies: they see the same examples, and differ in the order alone (reading P33). By default shares are
    natural, so that an epoch of the stream holds each example once (`Part.weight` times, paper §3.4); uniform and
    temperature sampling give each dataset the share size^(1/T), of what the recipe averages over: examples, or
    sub-batches.

    `heterogeneous` mixes the datasets evenly over the budget. `dataset_homogeneous` goes through them one after
    another, each once. With `batch_homogeneous` every update is of one dataset: its sub-batches are spread evenly over
    its updates, so an update holds some more or fewer than `sub_batches`.
    """

    def __init__(self, parts: Sequence[Part], recipe: Recipe, seed: int) -> None:
        self.decks = [Deck(part, recipe, seed) for part in parts]
        self.size, self.batching, self.seed = recipe.sub_batches, recipe.batching, seed
        quota = np.array([deck.count * part.weight for deck, part in zip(self.decks, parts, strict=True)])
        self.epoch = int(quota.sum())  # sub-batches of one natural epoch
        epochs = round((recipe.epochs or 0) * self.epoch / self.size, 6)
        self.updates = recipe.updates if recipe.updates is not None else max(1, math.ceil(epochs))
        if recipe.sampling is not None:
            size = quota if recipe.averaging == "sub_batch" else np.array([len(part.units) for part in parts])
            share = quota * size.astype(float) ** (1 / recipe.temperature - 1 if recipe.temperature else -1)
            quota = np.maximum(1, np.round(share / share.sum() * GRAIN)).astype(np.int64)
        random = np.random.default_rng([seed, len(parts)])
        self.counts = apportion(quota, self.updates * self.size, random)  # sub-batches of each dataset
        self.sequence = random.permutation(len(parts))
        self.blocks = max(1, self.updates * self.size // self.epoch)
        self.phase = random.integers(self.blocks, size=len(parts))
        self._block: tuple[int, np.ndarray] = (-1, self.counts)
        if self.batching == "batch_homogeneous":
            self.each = self._updates_each()
            self.turns = random.permutation(np.repeat(np.arange(len(parts)), self.each))
            self.rank = _ranks(self.turns)

    def _updates_each(self) -> np.ndarray:
        """The updates of each dataset under `batch_homogeneous`: at least one, else ∝ its sub-batches."""
        seen = int((self.counts > 0).sum())
        if seen > self.updates:
            raise UserError(
                f"batching='batch_homogeneous' gives every update one dataset, but {seen} datasets share"
                f" {self.updates} updates; raise `updates` to {seen} at least"
            )
        each = np.where(self.counts > 0, np.maximum(1, self.counts // self.size), 0)
        while (left := self.updates - int(each.sum())) != 0:  # a step per dataset at most
            held = self.counts / np.maximum(each, 1)
            each[held.argmax() if left > 0 else np.where(each > 1, held, np.inf).argmin()] += np.sign(left)
        return each

    def _taken(self, block: int) -> np.ndarray:
        """Sub-batches of each dataset that the mixed stream holds before `block` (an epoch, or a little more)."""
        return (self.counts * block + self.phase) // self.blocks

    def _order(self, block: int) -> np.ndarray:
        """A block's sub-batches in order → [n, 2] of (dataset, position in the dataset's stream)."""
        if self._block[0] != block:
            start, end = self._taken(block), self._taken(block + 1)
            random = np.random.default_rng([self.seed, 1, block])
            part = random.permutation(np.repeat(np.arange(len(start)), end - start))
            self._block = block, np.stack([part, start[part] + _ranks(part)], axis=1)
        return self._block[1]

    def _heterogeneous(self, step: int) -> list[tuple[int, int]]:
        position, places = step * self.size, list[tuple[int, int]]()
        block = max(0, position * self.blocks // (self.updates * self.size) - 2)
        while len(places) < self.size:
            while int(self._taken(block + 1).sum()) <= position:
                block += 1
            start = position - int(self._taken(block).sum())
            places += map(tuple, self._order(block)[start : start + self.size - len(places)].tolist())
            position = step * self.size + len(places)
        return places

    def _one_after_another(self, step: int) -> list[tuple[int, int]]:
        ends = np.cumsum(self.counts[self.sequence])
        positions = np.arange(step * self.size, (step + 1) * self.size)
        turn = np.searchsorted(ends, positions, side="right")
        part = self.sequence[turn]
        return list(zip(part.tolist(), (positions - ends[turn] + self.counts[part]).tolist(), strict=True))

    def _one_dataset(self, step: int) -> list[tuple[int, int]]:
        part, rank = int(self.turns[step]), int(self.rank[step])
        count, each = int(self.counts[part]), int(self.each[part])
        return [(part, place) for place in range(rank * count // each, (rank + 1) * count // each)]

    def update(self, step: int) -> list[SubBatch]:
        """The sub-batches of update `step` (from 0)."""
        assert 0 <= step < self.updates, step
        places = {
            "heterogeneous": self._heterogeneous,
            "dataset_homogeneous": self._one_after_another,
            "batch_homogeneous": self._one_dataset,
        }[self.batching](step)
        return [self.decks[part].take(part, place) for part, place in places]

    @property
    def passes(self) -> list[float]:
        """How often each dataset's examples are seen in the whole training."""
        return [int(n) / deck.count for n, deck in zip(self.counts, self.decks, strict=True)]


def _ranks(labels: np.ndarray) -> np.ndarray:
    """Of each entry, how many equal ones come before it."""
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return ranks
