"""PyTorch's attention kernels for rows of unequal length, which CPUs lack, computed exactly: what calls them, and how
they stand in compiled code, is then tested as it is. Forward and backward are written out; autograd's formulas, which
hand one's outputs to the other, are PyTorch's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from muppet.model import attention


def _rows(offsets: Tensor) -> Iterator[slice]:
    bounds = offsets.tolist()
    for start, end in zip(bounds, bounds[1:], strict=False):
        yield slice(start, end)


def _forward(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """Attention [T, heads, D] inside rows, in float64, and its log-sum-exp [heads, T]."""
    out, lse = torch.empty_like(query), query.new_empty(query.shape[1], len(query), dtype=torch.float32)
    for row in _rows(offsets):
        scores = _scores(query[row], key[row], scale)
        out[row] = (scores.softmax(-1) @ value[row].double().transpose(0, 1)).transpose(0, 1).to(out.dtype)
        lse[:, row] = scores.logsumexp(-1).float()
    return out, lse


def _scores(query: Tensor, key: Tensor, scale: float | None) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return scale * query.double().transpose(0, 1) @ key.double().permute(1, 2, 0)


def _backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, lse: Tensor, offsets: Tensor, scale: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The three gradients, from the saved log-sum-exp as the kernels do it."""
    grads = [torch.empty_like(x) for x in (query, key, value)]
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    for row in _rows(offsets):
        g, q, k, v = (x[row].double().transpose(0, 1) for x in (grad, query, key, value))
        weights = (_scores(query[row], key[row], scale) - lse[:, row, None].double()).exp()
        inner = g @ v.transpose(1, 2)
        dscores = factor * weights * (inner - (weights * inner).sum(-1, keepdim=True))
        for to, made in zip(
            grads, (dscores @ k, dscores.transpose(1, 2) @ q, weights.transpose(1, 2) @ g), strict=True
        ):
            to[row] = made.transpose(0, 1).to(to.dtype)
    return grads[0], grads[1], grads[2]


@contextmanager
def on_cpu(calls: list[tuple[str, Any]] | None = None, exact: bool = True) -> Iterator[None]:
    """Inside, packed rows on the CPU go through `attention.variable_length`; `calls` collects (kernel, dropout), which
    drops nothing: it is the kernel's own.

    Without `exact` nothing is computed: what is left is the time that everything but the kernel takes.
    """
    seen = calls if calls is not None else []
    library = torch.library.Library("aten", "IMPL")

    def flash(q, k, v, where_q, where_k, max_q, max_k, dropout, causal, debug, **more):  # type: ignore[no-untyped-def]
        assert q.dtype in (torch.bfloat16, torch.float16) and q.dim() == 3 and not causal and not debug
        assert where_q.dtype == torch.int32 and max_q == max_k >= int(where_q.diff().max())
        seen.append(("flash", dropout))
        state = torch.zeros(2, dtype=torch.uint64)
        if not exact:
            return (
                torch.empty_like(q),
                q.new_empty(q.shape[1], len(q), dtype=torch.float32),
                state,
                state,
                q.new_empty(0),
            )
        return *_forward(q, k, v, where_q, more.get("scale")), state, torch.empty(0), q.new_empty(0)

    def flash_backward(g, q, k, v, out, lse, where_q, where_k, max_q, max_k, dropout, causal, *rest, **more):  # type: ignore[no-untyped-def]
        if not exact:
            return torch.empty_like(q), torch.empty_like(q), torch.empty_like(q)
        return _backward(g, q, k, v, lse, where_q, more.get("scale"))

    def efficient(q, k, v, bias, where_q, where_k, max_q, max_k, dropout, mask, lse=False, **more):  # type: ignore[no-untyped-def]
        assert q.dtype == torch.float32 and q.dim() == 4 and len(q) == 1 and bias is None and mask == 0 and lse
        assert where_q.dtype == torch.int32 and max_q == max_k >= int(where_q.diff().max())
        seen.append(("efficient", dropout))
        zero = torch.zeros((), dtype=torch.int64)
        if not exact:
            return torch.empty_like(q), q.new_empty(1, q.shape[2], q.shape[1]), zero, zero, max_q, max_k
        out, sums = _forward(q[0], k[0], v[0], where_q, more.get("scale"))
        return out[None], sums[None], zero, zero, max_q, max_k

    def efficient_backward(g, q, k, v, bias, out, where_q, where_k, max_q, max_k, lse, *rest, **more):  # type: ignore[no-untyped-def]
        if not exact:
            return torch.empty_like(q), torch.empty_like(q), torch.empty_like(q), None
        return *(x[None] for x in _backward(g[0], q[0], k[0], v[0], lse[0], where_q, more.get("scale"))), None

    kept = dict(attention.KERNELS)
    try:
        library.impl("_flash_attention_forward", flash, "CPU")
        library.impl("_flash_attention_backward", flash_backward, "CPU")
        library.impl("_efficient_attention_forward", efficient, "CPU")
        library.impl("_efficient_attention_backward", efficient_backward, "CPU")
        attention.KERNELS["cpu"] = attention.variable_length
        yield
    finally:
        attention.KERNELS.update(kept)
        library._destroy()
