"""From the token cache to one forward's tensors: padded rows, and what each family needs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from muppet.model.heads import Fields, HeadSpec
from muppet.training.batching import Part

if TYPE_CHECKING:
    from muppet.data.cache import Encoded


IGNORED = -100  # target positions past the end of a summary


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The rows of one dataset inside a batch, as `rows` of the batch, with the family's fields (see `fields`)."""

    part: int
    units: int
    rows: slice
    fields: Fields


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Where the R rows of a packed batch lie among its T tokens: sorted by length, as attention in runs wants them."""

    lengths: tuple[int, ...]  # of the rows as they lie
    offsets: Tensor  # [R+1] of the rows as they lie
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
    specs: Sequence[HeadSpec | None],
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
        tokens.append(_plain(encoded.tokens)[ranges(encoded.offsets, rows)])
        lengths.append(_plain(encoded.offsets)[rows + 1] - _plain(encoded.offsets)[rows])
        second.append(_plain(encoded.second)[rows])
        numbers = {  # a single number is for Python to read, which on a GPU would wait for all work before
            name: _tensor(value, device if value.ndim else torch.device("cpu"))
            for name, value in fields(encoded, units, specs[part]).items()
        }
        segments.append(Segment(part=part, units=len(units), rows=slice(row, row + len(rows)), fields=numbers))
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
        offsets=_tensor(offsets, device),
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


def ranges(bounds: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The numbers bounds[i] .. bounds[i + 1] - 1 for each i of `which`, one range after another."""
    starts = _plain(bounds)[which]
    sizes = _plain(bounds)[which + 1] - starts
    ends = np.cumsum(sizes)
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)


def _plain(array: np.ndarray) -> np.ndarray:
    """Without memmap's bookkeeping on every index."""
    return array.view(np.ndarray)


def _tensor(value: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value)).to(device, non_blocking=True)


def fields(encoded: Encoded, units: np.ndarray, spec: HeadSpec | None) -> dict[str, np.ndarray]:
    """The numbers beside the tokens that the family's logits and decisions need, for `units` in order.

    Always `targets` and `unit` (see `losses.Decisions`) and `n` [U], Eq. 1's count; regression has n = e, so that its
    loss stays as it is (Eq. 1 speaks of predictions over classes). Summarization: targets [U, T], n is the vocabulary.
    """
    family, count = encoded.task.family, len(units)
    every = np.arange(count)
    if family == "summarization":
        assert encoded.targets is not None and encoded.target_offsets is not None
        starts, ends = encoded.target_offsets[units], encoded.target_offsets[units + 1]
        lengths = ends - starts
        targets = np.full((count, int(lengths.max())), IGNORED, dtype=np.int64)
        for row, (a, b) in enumerate(zip(starts, ends, strict=True)):
            targets[row, : b - a] = encoded.targets[a:b]
        return {"targets": targets, "unit": np.repeat(every, lengths)}
    assert spec is not None
    if family == "classification":
        classes = np.full(count, spec.outputs)
        return {"targets": np.asarray(encoded.labels)[units], "unit": every, "n": classes}
    if family == "regression":
        targets = (np.asarray(encoded.labels)[units] - spec.low) / ((spec.high - spec.low) or 1.0)
        return {"targets": targets.astype(np.float32), "unit": every, "n": np.full(count, np.e)}
    if family == "commonsense":
        choices = encoded.unit_rows[units + 1] - encoded.unit_rows[units]
        return {
            "targets": np.asarray(encoded.labels)[units],
            "unit": every,
            "n": choices,
            "row_unit": np.repeat(every, choices),
            "row_choice": np.concatenate([np.arange(c) for c in choices]),
            "widest": np.array(choices.max()),
        }
    if family == "span":
        bounds, null = np.asarray(encoded.context)[units], null_counted(encoded, units)
        spans = np.asarray(encoded.spans)[units]
        n = bounds[:, 1] - bounds[:, 0] + null
        targets = np.concatenate([spans[:, 0], spans[:, 1]]).astype(np.int64)
        both = np.concatenate([every, every])
        return {"targets": targets, "unit": both, "n": n, "first": bounds[:, 0], "last": bounds[:, 1], "null": null}
    if family in ("tagging", "parsing"):
        assert encoded.word_offsets is not None
        starts, ends = encoded.word_offsets[units], encoded.word_offsets[units + 1]
        flat = np.concatenate([np.arange(a, b) for a, b in zip(starts, ends, strict=True)])
        words, unit = np.asarray(encoded.words)[flat], np.repeat(every, ends - starts)
        kept = words >= 0  # the others were cut off with the row's end
        return {
            "targets": np.asarray(encoded.tags)[flat][kept].astype(np.int64),
            "word": words[kept].astype(np.int64),
            "unit": unit[kept],
            "n": np.full(count, spec.outputs),
        }
    raise AssertionError(family)


def null_counted(encoded: Encoded, units: np.ndarray) -> np.ndarray:
    """[U]: is the first token a candidate? Yes where the dataset has questions without an answer, and where the example
    has several windows (neighbours in `unit_example`), some of which then hold no answer."""
    if encoded.task.no_answer:
        return np.ones(len(units), dtype=bool)
    example = np.asarray(encoded.unit_example)
    before, after = example[np.maximum(units - 1, 0)], example[np.minimum(units + 1, len(example) - 1)]
    here = example[units]
    return ((before == here) & (units > 0)) | ((after == here) & (units < len(example) - 1))
