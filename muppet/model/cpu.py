"""What a CPU does faster than PyTorch's modules in an encoder's place: dropout, and the gradient of the token table."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muppet.model.attention import dropout_mask
from muppet.model.encoder import Encoder


class Dropout(nn.Dropout):
    """Dropout by `dropout_mask`: half the time, of which drawing is most."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        return input * dropout_mask(input.shape, self.p).to(input.dtype)


class TokenTable(nn.Embedding):
    """An embedding that adds its gradient to `weight.grad` in place, in the rows that were looked up.

    PyTorch's fills a gradient as large as the table in every backward pass and adds it to the last one. This one keeps
    a single gradient; with the first backward pass after `weight.grad` was set to None, it clears the rows of before.
    Nothing else may have a gradient for the weights, nor may other processes add theirs.
    """

    kept: Tensor | None = None  # the gradient; 0 but for the rows of `touched`
    touched: list[Tensor]

    def forward(self, input: Tensor) -> Tensor:
        return _Lookup.apply(self.weight, input, self)

    def add(self, ids: Tensor, gradient: Tensor) -> None:
        """Add `gradient` [N, H] to the rows `ids` [N]."""
        if self.weight.grad is None:
            if self.kept is None:
                self.kept = torch.zeros_like(self.weight)
            else:
                self.kept.index_fill_(0, torch.cat(self.touched), 0.0)
            self.weight.grad, self.touched = self.kept, []
        self.weight.grad.index_add_(0, ids, gradient)
        self.touched.append(ids)
        if self.padding_idx is not None:
            self.weight.grad[self.padding_idx] = 0.0


class _Lookup(torch.autograd.Function):
    """Rows of a `TokenTable`, whose weights get their gradient from it and none from autograd."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, table: TokenTable) -> Tensor:
        ctx.ids, ctx.table = ids.flatten(), table
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        ctx.table.add(ctx.ids, gradient.flatten(0, -2))
        return None, None, None


def hasten(model: Encoder, alone: bool) -> None:
    """Put these modules into `model`, under the same names. The table only when this process is `alone` and the table
    serves nothing but the input: an encoder–decoder's is its output layer too."""
    for module in model.backbone.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout
    table = model.backbone.get_input_embeddings()
    if alone and not model.seq2seq and type(table) is nn.Embedding:
        table.__class__ = TokenTable
