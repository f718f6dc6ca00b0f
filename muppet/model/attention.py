"""Attention inside each row of a packed batch, as a kernel behind transformers' attention interface."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from muppet.model.batch import Packing

KERNEL = "muppet_packed"  # its name among transformers' kernels


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
    flat = [x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)]  # rows lie among the C·T tokens
    return KERNELS[query.device.type](flat, packing, dropout, scaling).unflatten(0, (len(query), -1)), None


def variable_length(qkv: Sequence[Tensor], packing: Packing, dropout: float, scaling: float | None) -> Tensor:
    """Attention of [T, heads, D] by one of PyTorch's kernels for rows of unequal length, with dropout: flash attention
    in half precision, memory-efficient attention in float32.

    They are called as SDPA calls them for nested tensors, whose wrapping takes four times the CPU time of the kernel's
    launch; `varlen_attn`, the public name of the first, has no dropout.
    """
    if qkv[0].dtype == torch.float32:
        return memory_efficient(qkv, packing, dropout, scaling)
    where, longest = packing.offsets, packing.longest
    return torch.ops.aten._flash_attention_forward(
        *qkv, where, where, longest, longest, dropout, False, False, scale=scaling
    )[0]


@torch.compiler.disable  # torch 2.13 cannot trace its backward (`scale` is given twice); flash attention's it can
def memory_efficient(qkv: Sequence[Tensor], packing: Packing, dropout: float, scaling: float | None) -> Tensor:
    """See `variable_length`."""
    where, longest = packing.offsets, packing.longest
    return torch.ops.aten._efficient_attention_forward(
        *(x.unsqueeze(0) for x in qkv), None, where, where, longest, longest, dropout, 0, True, scale=scaling
    )[0].squeeze(0)


@torch.compiler.disable  # lengths differ in every forward: compiled code is cut here and not made anew each time
def by_length(qkv: Sequence[Tensor], packing: Packing, dropout: float, scaling: float | None) -> Tensor:
    """Attention of [T, heads, D], the rows of one length at a time: neither a mask nor a copy."""
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


KERNELS = {"cuda": variable_length, "cpu": by_length}
AttentionInterface.register(KERNEL, attend)
AttentionMaskInterface.register(KERNEL, sdpa_mask)
