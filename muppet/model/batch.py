"""From the token cache to one forward's tensors: padded rows, and what each family needs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from muppet.families import FAMILIES
from muppet.families.encoded import Part, plain, ranges
from muppet.families.spec import HeadSpec
from muppet.model.heads import Fields


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The rows of one dataset inside a batch, as `rows` of the batch, with its family's fields."""

    part: int
    rows: slice
    fields: Fields


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Where the R rows of a packed batch lie among its T tokens: sorted by length, as attention in runs wants them."""

    lengths: tuple[int, ...]  # of the rows as they lie
    longest: int  # of them
    offsets: Tensor  # [R+1] of the rows as they lie, int32 as the kernels of PyTorch want them
    starts: Tensor  # [R] in the batch's own order of rows
    own: np.ndarray  # [R] lengths in the batch's own order
    positions: Tensor  # [T] place of each token in its row, from 0
    types: Tensor  # [T] 0, or 1 from the second text on

    def repeated(self, copies: int) -> Packing:
        """Where the rows of `copies` such batches lie, one batch after another."""
        if copies == 1:
            return self
        shifts, end = range(copies), len(self.positions)
        return Packing(
            lengths=self.lengths * copies,
            longest=self.longest,
            offsets=torch.cat([self.offsets[:1], *(self.offsets[1:] + end * shift for shift in shifts)]),
            starts=torch.cat([self.starts + end * shift for shift in shifts]),
            own=np.tile(self.own, copies),
            positions=self.positions.repeat(copies),
            types=self.types.repeat(copies),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows padded to a common length: ids [R, L], lengths [R], second [R] (where the second text starts).

    With `packing` nothing is padded and ids is [T].
    """

    ids: Tensor
    lengths: Tensor
    second: Tensor
    padded: bool  # some row is shorter than L
    tokens: int  # real tokens
    segments: tuple[Segment, ...] = ()
    packing: Packing | None = None


def make_batch(
    parts: Sequence[Part],
    specs: Sequence[HeadSpec],
    chosen: Sequence[tuple[int, np.ndarray]],
    pad: int,
    device: torch.device,
    packed: bool = False,
) -> Batch:
    """One batch of the units `chosen` as (dataset, units) pairs; `specs[dataset]` is the head that reads its rows."""
    tokens, lengths, second, segments, row = [], [], [], [], 0
    for part, units in chosen:
        encoded = parts[part].encoded
        rows = ranges(encoded.unit_rows, units)
        tokens.append(plain(encoded.tokens)[ranges(encoded.offsets, rows)])
        lengths.append(plain(encoded.offsets)[rows + 1] - plain(encoded.offsets)[rows])
        second.append(plain(encoded.second)[rows])
        numbers = {  # a single number is for Python to read, which on a GPU would wait for all work before
            name: _tensor(value, device if value.ndim else torch.device("cpu"))
            for name, value in FAMILIES[encoded.task.family].fields(encoded, units, specs[part]).items()
        }
        segments.append(Segment(part=part, rows=slice(row, row + len(rows)), fields=numbers))
        row += len(rows)
    joined = (np.concatenate(tokens), np.concatenate(lengths), np.concatenate(second))
    return replace((pack_rows if packed else pad_rows)(*joined, pad, device), segments=tuple(segments))


def pad_rows(tokens: np.ndarray, lengths: np.ndarray, second: np.ndarray, pad: int, device: torch.device) -> Batch:
    """Rows padded to the longest, from their tokens one row after another [T], lengths [R] and `second` [R]."""
    longest = int(lengths.max())
    ids = np.full((len(lengths), longest), pad, dtype=np.int64)
    ids[np.arange(longest) < lengths[:, None]] = tokens
    return Batch(
        ids=_tensor(ids, device),
        lengths=_tensor(lengths, device),
        second=_tensor(second.astype(np.int64), device),
        padded=bool((lengths < longest).any()),
        tokens=int(lengths.sum()),
    )


def pack_rows(tokens: np.ndarray, lengths: np.ndarray, second: np.ndarray, pad: int, device: torch.device) -> Batch:
    """The same rows, packed: sorted by length, one after another."""
    order = np.argsort(lengths, kind="stable")
    laid, before = lengths[order], np.cumsum(lengths) - lengths
    offsets = np.concatenate([[0], np.cumsum(laid)])
    positions = np.arange(len(tokens)) - np.repeat(offsets[:-1], laid)
    starts = np.empty(len(order), np.int64)
    starts[order] = offsets[:-1]
    packing = Packing(
        lengths=tuple(laid.tolist()),
        longest=int(laid[-1]),
        offsets=_tensor(offsets.astype(np.int32), device),
        starts=_tensor(starts, device),
        own=lengths,
        positions=_tensor(positions, device),
        types=_tensor((positions >= np.repeat(second[order], laid)).astype(np.int64), device),
    )
    return Batch(
        ids=_tensor(tokens[np.repeat(before[order], laid) + positions].astype(np.int64), device),
        lengths=_tensor(lengths, device),
        second=_tensor(second.astype(np.int64), device),
        padded=False,
        tokens=len(tokens),
        packing=packing,
    )


def _tensor(value: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value)).to(device, non_blocking=True)
