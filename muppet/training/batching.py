"""Token-budget sub-batches in length buckets; the three policies are three orders of the same (paper §3.2, §5.2).

Everything here is a function of (data, recipe, seed, step): no state, so a run resumes at any update at no cost.
"""

from __future__ import annotations

import heapq
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muppet.errors import UserError
from muppet.families.encoded import Part
from muppet.runs import Recipe

PIECES = 8  # of a packed forward, at least: what stays unbalanced is a fraction of one piece


@dataclass(frozen=True, kw_only=True)
class SubBatch:
    """What one of the paper's 64 workers sees in one update: units of one dataset, at most `max_tokens` padded."""

    part: int  # index of the dataset
    units: np.ndarray
    rows: int
    length: int  # tokens of the longest row
    sizes: np.ndarray  # tokens of each unit: its rows times its longest

    @property
    def tokens(self) -> int:
        """Padded tokens of all rows of all choices."""
        return self.rows * self.length


def bucket(length: np.ndarray) -> np.ndarray:
    """Upper bound of each length's bucket: steps of 2 tokens up to 16, then an eighth to a sixteenth of the length."""
    step = 2 ** np.maximum(1, np.floor(np.log2(np.maximum(length - 1, 1))).astype(np.int64) - 3)
    return -(-length // step) * step


class Deck:
    """The sub-batches of one dataset. Number and shapes are the same in every epoch; who is in which is drawn anew.

    Units are sorted by (length bucket, rows) and cut greedily; an epoch shuffles the units inside each (bucket, rows)
    group and the order of the sub-batches. Because the cuts are constant, position → sub-batch needs no replay.
    """

    def __init__(self, part: Part, recipe: Recipe, seed: int) -> None:
        length, rows = part.encoded.cost()
        if part.encoded.target_offsets is not None:  # a summary longer than its source is what is padded to
            length = np.maximum(length, np.diff(part.encoded.target_offsets))
        self.length, self.rows = np.asarray(length)[part.units], np.asarray(rows)[part.units]
        if not len(part.units):
            raise UserError(f"{part.name}: no training example is left; check its `train` split, caps and fraction")
        tokens = self.length * self.rows
        if tokens.max() > recipe.max_tokens:
            worst = int(tokens.argmax())
            raise UserError(
                f"{part.name}: one example takes {tokens[worst]} tokens ({self.rows[worst]} rows of up to"
                f" {self.length[worst]}), more than the recipe's max_tokens={recipe.max_tokens}; raise max_tokens"
                f" or lower max_length={recipe.max_length}"
            )
        self.units = part.units
        self.seed = [seed, zlib.crc32(part.name.encode())]
        bounds = bucket(self.length)
        self.sorted = np.lexsort((np.arange(len(bounds)), self.rows, bounds))
        change = np.diff(bounds[self.sorted]) | np.diff(self.rows[self.sorted])
        self.group = np.concatenate([[0], np.cumsum(change != 0)])
        starts = np.flatnonzero(np.concatenate([[True], change != 0]))
        sizes = np.diff(np.append(starts, len(self.sorted)))
        first = self.sorted[starts]
        self.cuts = _cut(
            sizes, bounds[first], self.rows[first], recipe.max_tokens, recipe.max_examples or len(self.units)
        )
        self.count = len(self.cuts) - 1
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if epoch not in self._epochs:
            random = np.random.default_rng([*self.seed, epoch])
            inside = self.sorted[np.lexsort((random.random(len(self.sorted)), self.group))]
            if len(self._epochs) > 1:
                del self._epochs[min(self._epochs)]
            self._epochs[epoch] = inside, random.permutation(self.count)
        return self._epochs[epoch]

    def take(self, part: int, position: int) -> SubBatch:
        """The sub-batch at `position` of the dataset's endless stream of epochs."""
        epoch, index = divmod(position, self.count)
        inside, order = self._epoch(epoch)
        members = inside[self.cuts[order[index]] : self.cuts[order[index] + 1]]
        rows, length = self.rows[members], self.length[members]
        return SubBatch(
            part=part, units=self.units[members], rows=int(rows.sum()), length=int(length.max()), sizes=rows * length
        )


def _cut(sizes: np.ndarray, length: np.ndarray, rows: np.ndarray, max_tokens: int, max_examples: int) -> np.ndarray:
    """Greedy cuts of consecutive groups of equal units under both budgets → boundaries [sub-batches + 1]."""
    cuts, at, open_rows, open_units = [0], 0, 0, 0
    for size, tokens, r in zip(sizes.tolist(), length.tolist(), rows.tolist(), strict=True):
        full = max(1, min(max_tokens // tokens // r, max_examples))
        room = min((max_tokens // tokens - open_rows) // r, max_examples - open_units)
        left = size
        while left:
            if open_units and room <= 0:
                cuts.append(at)
                open_rows = open_units = 0
            if not open_units:
                room = full
            taken = min(room, left)
            at, left, room = at + taken, left - taken, room - taken
            open_rows, open_units = open_rows + taken * r, open_units + taken
    return np.array([*cuts, at])


class Sampler:
    """Update number → its sub-batches. `batching` and `sampling` of the recipe decide the stream that updates slice.

    Natural sampling (the default) makes epoch e of the stream hold each example exactly once (`Part.weight` times); an
    update at the seam of two epochs holds the last sub-batches of one and the first of the next. Uniform and
    temperature sampling give each dataset the share size^(1/T), in examples, instead. With `batch_homogeneous` each
    update holds sub-batches of one dataset; a dataset's remainder is carried into its next update, so over time each
    of its examples comes equally often (a random phase per dataset keeps short runs unbiased).
    """

    def __init__(self, parts: Sequence[Part], recipe: Recipe, seed: int) -> None:
        self.decks = [Deck(part, recipe, seed) for part in parts]
        self.size, self.batching, self.seed = recipe.sub_batches, recipe.batching, seed
        natural = np.array(
            [deck.count * part.weight for deck, part in zip(self.decks, parts, strict=True)], dtype=float
        )
        self.quota, self.exact = natural, recipe.sampling is None and recipe.batching != "batch_homogeneous"
        if recipe.sampling is not None:
            examples = np.array([len(part.units) for part in parts], dtype=float)
            power = 1 / recipe.temperature if recipe.temperature else 0.0
            share = natural * examples ** (power - 1)
            self.quota = natural.sum() * share / share.sum()
        random = np.random.default_rng([seed, len(parts)])
        self.phase, self.sequence = random.random(len(parts)), random.permutation(len(parts))
        self._orders: dict[int, np.ndarray] = {}

    def updates(self, epochs: float) -> int:
        """Updates that go through the data `epochs` times, the last one completed from the following epoch."""
        return max(1, math.ceil(round(epochs * self.quota.sum() / self.size, 6)))

    def taken(self, epoch: int) -> np.ndarray:
        """Sub-batches of each dataset that the stream holds before `epoch`."""
        if self.exact:
            return epoch * self.quota.astype(np.int64)
        step = self.size if self.batching == "batch_homogeneous" else 1
        return step * np.floor(epoch * self.quota / step + self.phase).astype(np.int64)

    def _order(self, epoch: int) -> np.ndarray:
        """Epoch's sub-batches in order → [n, 2] of (dataset, position in the dataset's stream)."""
        if epoch not in self._orders:
            random = np.random.default_rng([self.seed, 1, epoch])
            spans = list(enumerate(zip(self.taken(epoch), self.taken(epoch + 1), strict=True)))
            blocks = [np.stack([np.full(b - a, t), np.arange(a, b)], axis=1) for t, (a, b) in spans]
            if self.batching == "heterogeneous":
                order = random.permutation(np.concatenate(blocks))
            elif self.batching == "dataset_homogeneous":
                order = np.concatenate([blocks[t] for t in self.sequence])
            else:
                chunks = np.concatenate([block.reshape(-1, self.size, 2) for block in blocks])
                order = random.permutation(chunks).reshape(-1, 2)
            if len(self._orders) > 1:
                del self._orders[min(self._orders)]
            self._orders[epoch] = order
        return self._orders[epoch]

    def _epoch_of(self, position: int) -> int:
        epoch = max(0, int(position / self.quota.sum()) - len(self.decks) - 1)
        while self.taken(epoch + 1).sum() <= position:
            epoch += 1
        return epoch

    def update(self, step: int) -> list[SubBatch]:
        """The sub-batches of update `step` (from 0)."""
        found: list[SubBatch] = []
        position = step * self.size
        while len(found) < self.size:
            epoch = self._epoch_of(position)
            start = position - int(self.taken(epoch).sum())
            for part, place in self._order(epoch)[start : start + self.size - len(found)].tolist():
                found.append(self.decks[part].take(part, place))
            position = step * self.size + len(found)
        return found

    def passes(self, updates: int) -> list[float]:
        """How often each dataset's examples were seen after `updates` updates."""
        epoch = self._epoch_of(updates * self.size)
        start = updates * self.size - int(self.taken(epoch).sum())
        partial = np.bincount(self._order(epoch)[:start, 0], minlength=len(self.decks))
        return [float(n) / deck.count for n, deck in zip(self.taken(epoch) + partial, self.decks, strict=True)]


def unit_weights(batches: Sequence[SubBatch], averaging: str) -> list[float]:
    """What one unit of each sub-batch weighs in the update's loss: the mean of sub-batch means, or of all units."""
    total = sum(len(batch.units) for batch in batches)
    return [1 / total if averaging == "example" else 1 / (len(batches) * len(batch.units)) for batch in batches]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Units of one dataset, all of a sub-batch or some; `weight` is what one unit weighs in the update's loss."""

    part: int
    units: np.ndarray
    weight: float
    cost: float  # floating-point operations


def micro_batches(batches: Sequence[SubBatch], kinds: Sequence[str], limit: int) -> list[list[int]]:
    """Group an update's sub-batches (by index) into forwards of at most `limit` padded tokens each.

    Only sub-batches of one kind and similar length meet (at most a tenth more padding), so a forward is never slower
    than its parts. The grouping knows no process count: it is the same for any number of processes.
    """
    groups: list[list[int]] = []
    rows = longest = real = 0
    last = ""
    for index in sorted(range(len(batches)), key=lambda i: (kinds[i], -batches[i].length, i)):
        batch = batches[index]
        padded = (rows + batch.rows) * max(longest, batch.length)
        if groups and kinds[index] == last and padded <= min(limit, 1.1 * (real + batch.tokens) + 256):
            groups[-1].append(index)
            rows, real = rows + batch.rows, real + batch.tokens
        else:
            groups.append([index])
            rows, longest, real, last = batch.rows, batch.length, batch.tokens, kinds[index]
    return groups


def packs(
    batches: Sequence[SubBatch],
    weights: Sequence[float],
    costs: Sequence[float],
    limit: int,
    processes: int,
) -> list[list[Piece]]:
    """Cut an update's sub-batches and share the pieces out over forwards of about `limit` tokens and equal cost.

    Without padding any rows may share a forward, and a unit's weight does not depend on where it is computed, so that
    even one process per sub-batch waits little for the others. The number of forwards is a power of two: as long as the
    processes divide it, the grouping is the same for any number of them.
    """
    count = 1 << (math.ceil(sum(batch.sizes.sum() for batch in batches) / limit) - 1).bit_length()
    count = -(-count // processes) * processes
    largest = sum(costs) / count / PIECES
    pieces = []
    for batch, weight, cost in zip(batches, weights, costs, strict=True):
        each = cost * batch.sizes / batch.sizes.sum()
        place = ((np.cumsum(each) - each) / largest).astype(np.int64)
        cuts = np.flatnonzero(np.diff(place)) + 1
        for units, share in zip(np.split(batch.units, cuts), np.split(each, cuts), strict=True):
            pieces.append(Piece(part=batch.part, units=units, weight=weight, cost=float(share.sum())))
    return [[pieces[i] for i in share] for share in assign([piece.cost for piece in pieces], count) if share]


def assign(costs: Sequence[float], processes: int) -> list[list[int]]:
    """Share out work of the given costs, longest first to the least loaded process; every process computes the same."""
    load = [(0.0, rank) for rank in range(processes)]  # a heap: equal loads go to the lowest rank
    shares: list[list[int]] = [[] for _ in range(processes)]
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        least, rank = load[0]
        heapq.heapreplace(load, (least + costs[index], rank))
        shares[rank].append(index)
    return shares
