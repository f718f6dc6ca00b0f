"""How an update's units are shared out over forwards and processes: memory bounds a forward, never an update."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from muppet.families.encoded import Part
from muppet.training.batching import SubBatch

PIECES = 8  # of a packed forward, at least: what stays unbalanced is a fraction of one piece


def unit_weights(batches: Sequence[SubBatch], averaging: str, parts: Sequence[Part]) -> list[np.ndarray]:
    """What each unit of each sub-batch weighs in the update's loss; all weights of an update sum to 1.

    `example`: the mean over units; `sub_batch`: of the sub-batches' means; `token`: over the tokens of summaries.
    """
    if averaging == "sub_batch":
        return [np.full(len(batch.units), 1 / (len(batches) * len(batch.units))) for batch in batches]
    counts = [np.ones(len(batch.units)) for batch in batches]
    if averaging == "token":
        for count, batch in zip(counts, batches, strict=True):
            offsets = parts[batch.part].encoded.target_offsets
            if offsets is not None:
                count[:] = offsets[batch.units + 1] - offsets[batch.units]
    total = sum(count.sum() for count in counts)
    return [count / total for count in counts]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Units of one dataset in one forward, with what each weighs in the update's loss."""

    part: int
    units: np.ndarray
    weights: np.ndarray
    cost: float  # floating-point operations


Flops = Callable[[float, float], float]  # (tokens, length of the longest row) → floating-point operations


def micro_batches(
    batches: Sequence[SubBatch], weights: Sequence[np.ndarray], kinds: Sequence[str], limit: int, flops: Flops
) -> list[list[Piece]]:
    """Share an update's units out over padded forwards of at most `limit` tokens each (or one unit).

    Only units of one kind and similar length meet (at most a tenth more padding and a sixteenth of `limit`), whichever
    sub-batches they are of. The grouping knows no process count: it is the same for any number of processes.
    """
    kind = np.repeat(np.unique(kinds, return_inverse=True)[1], [len(batch.units) for batch in batches])
    owner = np.repeat(np.arange(len(batches)), [len(batch.units) for batch in batches])
    length = np.concatenate([batch.unit_lengths for batch in batches])
    rows = np.concatenate([batch.unit_rows for batch in batches])
    unit, weight = np.concatenate([batch.units for batch in batches]), np.concatenate(weights)
    order = np.lexsort((owner, -length, kind))
    starts, held, longest, real, last = list[int](), 0, 0, 0, -1
    for place, (k, n, r) in enumerate(zip(kind[order].tolist(), length[order].tolist(), rows[order].tolist())):
        real += n * r
        if k != last or (held + r) * longest > min(limit, 1.1 * real + limit / 16):
            starts.append(place)
            held, longest, real, last = 0, n, n * r, k
        held += r
    forwards = []
    for members in np.split(order, starts[1:]):
        longest = int(length[members].max())
        members = members[np.argsort(owner[members], kind="stable")]
        pieces = np.split(members, np.flatnonzero(np.diff(owner[members])) + 1)
        forwards.append(
            [
                Piece(
                    part=batches[owner[piece[0]]].part,
                    units=unit[piece],
                    weights=weight[piece],
                    cost=flops(int(rows[piece].sum()) * longest, longest),
                )
                for piece in pieces
            ]
        )
    return forwards


def packs(
    batches: Sequence[SubBatch], weights: Sequence[np.ndarray], limit: int, processes: int, flops: Flops
) -> list[list[Piece]]:
    """Cut an update's sub-batches and share the pieces out over forwards of about `limit` tokens and equal cost.

    Without padding any rows may share a forward, and a unit's weight does not depend on where it is computed, so that
    even one process per sub-batch waits little for the others. The number of forwards is a power of two: as long as the
    processes divide it, the grouping is the same for any number of them.
    """
    tokens = [int(batch.sizes.sum()) for batch in batches]
    costs = [flops(size, batch.length) for size, batch in zip(tokens, batches, strict=True)]
    count = 1 << (math.ceil(sum(tokens) / limit) - 1).bit_length()
    count = -(-count // processes) * processes
    largest = sum(costs) / count / PIECES
    pieces = []
    for batch, weight, cost, size in zip(batches, weights, costs, tokens, strict=True):
        each = cost * batch.sizes / size
        place = ((np.cumsum(each) - each) / largest).astype(np.int64)
        cuts = np.flatnonzero(np.diff(place)) + 1
        for units, own, share in zip(*(np.split(x, cuts) for x in (batch.units, weight, each)), strict=True):
            pieces.append(Piece(part=batch.part, units=units, weights=own, cost=float(share.sum())))
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
