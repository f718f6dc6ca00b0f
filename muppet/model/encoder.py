"""Rows one after another in one flat forward, without padding: exact, because attention stays inside each row.

A model may be fed this way only when its attention goes through transformers' attention interface, whose function is
then `attend`, and its positions can be given. Anything else would attend across examples or shift positions without a
word, so `refusal` names what stands against it, and `enable` also compares two forwards before it believes a model.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from muppet.errors import UserError
from muppet.model.batch import Batch, Packing, pack_rows, pad_rows
from muppet.model.heads import Hidden
from muppet.model.r3f import second_half_noised
from muppet.runs import R3F

if TYPE_CHECKING:
    from muppet.model.multitask import MultiTask

KERNEL = "muppet_packed"
POSITIONS_FROM_0 = ("bert", "electra")
POSITIONS_AFTER_PAD = ("roberta", "xlm-roberta", "camembert")  # the first token's position is the padding index + 1
PROBE = (7, 90, 1, 33)  # lengths of the rows that `enable` compares
TOLERANCE = 1e-4  # of their states, relative to the largest


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packing: Packing | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention inside each row of [C, heads, T, D], C copies of the same T packed tokens → [C, T, heads, D].

    Without `packing` the rows are padded ones, and it is transformers' own SDPA.
    """
    if packing is None:
        more = {"dropout": dropout, "scaling": scaling}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more, **others)
    return inside_rows(query, key, value, dropout, scaling, packing), None


@torch.compiler.disable  # lengths differ in every forward: compiled code is cut here and not made anew each time
def inside_rows(
    query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float | None, packing: Packing
) -> Tensor:
    """Attention of [C, heads, T, D] inside the rows that lie among the C·T tokens → [C, T, heads, D]."""
    flat = [x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)]
    kernel = nested if query.is_cuda else by_length
    return kernel(flat, packing, dropout, scaling).unflatten(0, (len(query), -1))


def nested(qkv: Sequence[Tensor], packing: Packing, dropout: float, scaling: float | None) -> Tensor:
    """Attention of [T, heads, D] through nested tensors: one variable-length kernel, with dropout."""
    bounds = {"min_seqlen": packing.lengths[0], "max_seqlen": packing.lengths[-1]}  # sorted
    rows = [torch.nested.nested_tensor_from_jagged(x, packing.offsets, **bounds).transpose(1, 2) for x in qkv]
    return F.scaled_dot_product_attention(*rows, dropout_p=dropout, scale=scaling).transpose(1, 2).values()


def by_length(qkv: Sequence[Tensor], packing: Packing, dropout: float, scaling: float | None) -> Tensor:
    """The same, the rows of one length at a time: neither a mask nor a copy."""
    drops = bool(dropout) and qkv[0].device.type == "cpu"  # where PyTorch's fast kernel takes no dropout
    attention = attention_with_dropout if drops else F.scaled_dot_product_attention
    runs = [(length, len(list(rows))) for length, rows in groupby(packing.lengths)]
    out = []
    for (length, rows), *pieces in zip(runs, *(x.split([n * rows for n, rows in runs]) for x in qkv), strict=True):
        query, key, value = (x.unflatten(0, (rows, length)).transpose(1, 2) for x in pieces)
        out.append(attention(query, key, value, dropout_p=dropout, scale=scaling).transpose(1, 2).flatten(0, 1))
    return torch.cat(out)


def attention_with_dropout(query: Tensor, key: Tensor, value: Tensor, dropout_p: float, scale: float | None) -> Tensor:
    """Scaled dot-product attention, [.., L, D] → [.., L, D], written out: a quarter faster than PyTorch's on a CPU."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    weights = torch.softmax((query * scale) @ key.transpose(-1, -2), dim=-1)
    return (weights * dropout_mask(weights.shape, dropout_p).to(weights.dtype)) @ value


def dropout_mask(shape: Sequence[int], dropout: float) -> Tensor:
    """[shape] 0 with probability `dropout`, else 1 / (1 - dropout), to within 2^-16, whose mean is exactly 1.

    16 random bits per place, four places from one draw of the CPU's generator: drawing is most of what dropout costs.
    """
    count, dropped = math.prod(shape), round(dropout * 2**16)
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:count].view(shape)
    return (bits >= dropped - 2**15).float().mul_(2**16 / max(1, 2**16 - dropped))


AttentionInterface.register(KERNEL, attend)
AttentionMaskInterface.register(KERNEL, sdpa_mask)


def refusal(model: MultiTask) -> str | None:
    """Why the model's rows cannot be packed; None when they can."""
    kind, backbone = model.backbone.config.model_type, model.backbone
    if model.seq2seq:
        return f"{kind} is an encoder–decoder without position ids: a row's positions would run on from the last"
    if not getattr(backbone, "_supports_attention_backend", False):
        return f"{kind} computes attention in a way of its own, which would attend across rows"
    known = POSITIONS_FROM_0 + POSITIONS_AFTER_PAD
    if kind not in known:
        return f"it is not known how {kind} counts positions (known: {', '.join(known)})"
    return None


def enable(model: MultiTask, demanded: bool = True) -> bool:
    """Let `model` take packed batches (padded ones go on as before) → whether it does.

    A model that `refusal` names, or whose packed states are not those of padded rows, stays as it is; when packing is
    `demanded`, that raises UserError. The second is never expected, and is said.
    """
    reason = refusal(model)
    if reason is None:
        before = model.backbone.config._attn_implementation
        model.backbone.set_attn_implementation(KERNEL)
        difference = _difference(model)
        if difference < TOLERANCE:
            return True
        model.backbone.set_attn_implementation(before)
        reason = f"packed and padded states differ by {difference:.1e} of the largest"
        if not demanded:
            print(f"{model.found}: rows are padded, not packed: {reason}", file=sys.stderr)
    if demanded:
        raise UserError(f"{model.found}: its rows cannot be packed: {reason}; leave `packed` out to pad them")
    return False


@torch.no_grad()
def _difference(model: MultiTask) -> float:
    """Largest difference between the states of a few packed and padded rows, over the largest state."""
    generator = torch.Generator().manual_seed(0)
    lengths = np.minimum(PROBE, model.positions() or max(PROBE))
    size = model.backbone.get_input_embeddings().num_embeddings
    tokens = torch.randint(size, (int(lengths.sum()),), generator=generator).numpy()
    tokens[tokens == model.pad] = (model.pad + 1) % size
    training = model.training
    model.eval()
    rows = (tokens, lengths, lengths // 2, model.pad, model.device)
    ours, plain = (model.encode_rows(lay(*rows)).states for lay in (pack_rows, pad_rows))
    model.train(training)
    worst = max(float((ours[i, :n] - plain[i, :n]).abs().max()) for i, n in enumerate(lengths.tolist()))
    return worst / float(plain.abs().max())


class PackedHidden(Hidden):
    """The view of rows that lie in `tokens` [T, H]; `states` lays them out for the heads that read every token."""

    def __init__(self, tokens: Tensor, sentence: Tensor, starts: Tensor, lengths: np.ndarray) -> None:
        object.__setattr__(self, "sentence", sentence)
        object.__setattr__(self, "_where", (tokens, starts, lengths))

    def rows(self, rows: slice) -> Hidden:
        tokens, starts, lengths = self._where  # type: ignore[attr-defined]
        return PackedHidden(tokens, self.sentence[rows], starts[rows], lengths[rows])

    @property
    def states(self) -> Tensor:  # type: ignore[override]
        """[R, L, H]; past a row's end stand other rows' tokens, as padding that no head looks at."""
        tokens, starts, lengths = self._where  # type: ignore[attr-defined]
        places = starts[:, None] + torch.arange(int(lengths.max()), device=starts.device)
        return F.embedding(places.clamp(max=len(tokens) - 1), tokens)


def encode(model: MultiTask, batch: Batch, r3f: R3F | None) -> Hidden:
    """States of a packed batch's R rows; with `r3f` of 2R, the second half noised.

    Raises UserError unless the model is `enable`d.
    """
    packing, backbone, copies = batch.packing, model.backbone, 1 if r3f is None else 2
    assert packing is not None
    if backbone.config._attn_implementation != KERNEL:
        raise UserError(
            f"{model.found}: attention {backbone.config._attn_implementation!r} would attend across packed rows;"
            " call muppet.model.encoder.enable(model) first"
        )
    first = 0 if backbone.config.model_type in POSITIONS_FROM_0 else model.pad + 1
    inputs = {"input_ids": batch.ids, "position_ids": packing.positions + first}
    if model.typed:
        inputs["token_type_ids"] = packing.types
    packing = packing.repeated(copies)
    with second_half_noised(backbone.get_input_embeddings(), r3f):
        states = backbone(**{k: v.expand(copies, -1) for k, v in inputs.items()}, packing=packing).last_hidden_state
    tokens = states.flatten(0, 1)
    return PackedHidden(tokens, tokens.index_select(0, packing.starts), packing.starts, packing.own)
