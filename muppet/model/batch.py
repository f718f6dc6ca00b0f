"""From the token cache to one forward's tensors: padded rows, and what each family needs beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

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
    weights: Tensor | None = None  # [U] of its units in the update's loss


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
    weights: Sequence[np.ndarray] | None = None,
) -> Batch:
    """One batch of the units `chosen` as (dataset, units) pairs, with the `weights` of each pair's units;
    `specs[dataset]` is the head that reads its rows. Single numbers stay on the CPU, for Python to read."""
    tokens, lengths, second, segments, row = [], [], [], [], 0
    for number, (part, units) in enumerate(chosen):
        encoded = parts[part].encoded
        rows = ranges(encoded.unit_rows, units)
        tokens.append(plain(encoded.tokens)[ranges(encoded.offsets, rows)])
        lengths.append(plain(encoded.offsets)[rows + 1] - plain(encoded.offsets)[rows])
        second.append(plain(encoded.second)[rows])
        numbers = FAMILIES[encoded.task.family].fields(encoded, units, specs[part])
        segments.append(
            Segment(
                part=part,
                rows=slice(row, row + len(rows)),
                fields={name: _tensor(value) for name, value in numbers.items()},
                weights=None if weights is None else _tensor(weights[number].astype(np.float32)),
            )
        )
        row += len(rows)
    joined = (np.concatenate(tokens), np.concatenate(lengths), np.concatenate(second))
    batch = pack_rows(*joined) if packed else pad_rows(*joined, pad)
    return moved(replace(batch, segments=tuple(segments)), device)


def moved(batch: Batch, device: torch.device) -> Batch:
    """`batch` where it can be computed on `device`."""
    return batch if device.type == "cpu" else copied(batch, device)


def copied(batch: Batch, device: torch.device) -> Batch:
    """`batch` with its tensors on `device`, all views of one copy, but for single numbers."""
    tensors: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    _each(batch, note)
    there = iter(in_one_copy(tensors, device))
    return _each(batch, lambda _: next(there))


def in_one_copy(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """`tensors` on `device`, in one copy that nobody waits for: from memory that is not locked, each of some fifty a
    forward would first wait for all work that a GPU has been given."""
    ends = np.cumsum([-(-tensor.nbytes // 16) * 16 for tensor in tensors]).tolist()  # aligned for every type
    host = torch.empty(ends[-1], dtype=torch.uint8, pin_memory=device.type == "cuda")
    places = [slice(end, end + tensor.nbytes) for end, tensor in zip([0, *ends], tensors)]
    for place, tensor in zip(places, tensors, strict=True):
        host[place].view(tensor.dtype).copy_(tensor.flatten())
    there = host.to(device, non_blocking=True)
    return [there[place].view(tensor.dtype).view(tensor.shape) for place, tensor in zip(places, tensors, strict=True)]


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with `change` of each tensor in it that is no single number."""
    if isinstance(value, Tensor):
        return change(value) if value.ndim else value
    if isinstance(value, dict):
        return {name: _each(one, change) for name, one in value.items()}
    if isinstance(value, Batch | Segment | Packing):
        return replace(value, **{field.name: _each(getattr(value, field.name), change) for field in fields(value)})
    if isinstance(value, tuple):
        return tuple(_each(one, change) for one in value)
    return value


def pad_rows(tokens: np.ndarray, lengths: np.ndarray, second: np.ndarray, pad: int) -> Batch:
    """Rows padded to the longest, from their tokens one row after another [T], lengths [R] and `second` [R]."""
    longest = int(lengths.max())
    ids = np.full((len(lengths), longest), pad, dtype=np.int64)
    ids[np.arange(longest) < lengths[:, None]] = tokens
    return Batch(
        ids=_tensor(ids),
        lengths=_tensor(lengths),
        second=_tensor(second.astype(np.int64)),
        padded=bool((lengths < longest).any()),
        tokens=int(lengths.sum()),
    )


def pack_rows(tokens: np.ndarray, lengths: np.ndarray, second: np.ndarray) -> Batch:
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
        offsets=_tensor(offsets.astype(np.int32)),
        starts=_tensor(starts),
        own=lengths,
        positions=_tensor(positions),
        types=_tensor((positions >= np.repeat(second[order], laid)).astype(np.int64)),
    )
    return Batch(
        ids=_tensor(tokens[np.repeat(before[order], laid) + positions].astype(np.int64)),
        lengths=_tensor(lengths),
        second=_tensor(second.astype(np.int64)),
        padded=False,
        tokens=len(tokens),
        packing=packing,
    )


def _tensor(value: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(value, order="C"))  # `ascontiguousarray` would make a row of a single number
