"""Eq. 1 and what goes into it: cross-entropy per unit, its scaling by ln n, and the R3F divergence. All in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MASKED = -1e9  # the logit of what is no candidate: its softmax is exactly 0, and differences of two stay finite


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Of U units: `loss` [U] unscaled, `n` [U] of Eq. 1, `divergence` [U] of R3F or None."""

    loss: Tensor
    n: Tensor
    divergence: Tensor | None


def per_unit(values: Tensor, unit: Tensor, units: int) -> Tensor:
    """Mean of `values` [N] over the decisions of each unit → [U]."""
    total = values.new_zeros(units).index_add(0, unit, values)
    count = values.new_zeros(units).index_add(0, unit, torch.ones_like(values))
    return total / count.clamp(min=1)  # a sentence whose words were all cut off costs nothing


def cross_entropy(logits: Tensor, targets: Tensor, unit: Tensor, units: int, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of each unit's decisions → [U] (paper Table 2); the arguments are as in `categorical`.

    With label smoothing the target has mass 1 - smoothing, and smoothing is spread evenly over all K classes, so that
    uniform logits cost exactly ln K with and without it.
    """
    losses = F.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=smoothing)
    return per_unit(losses, unit, units)


def symmetric_kl(clean: Tensor, noised: Tensor, unit: Tensor, units: int) -> Tensor:
    """KL(clean ‖ noised) + KL(noised ‖ clean), mean over each unit's decisions → [U] (Aghajanyan et al. 2020)."""
    p, q = (F.log_softmax(logits.float(), dim=-1) for logits in (clean, noised))
    return per_unit(((p.exp() - q.exp()) * (p - q)).sum(dim=-1), unit, units)


def scale(loss: Tensor, n: Tensor) -> Tensor:
    """Eq. 1 (paper §3.3): loss [U] over ln n [U], so that uniform predictions cost 1 whatever the family."""
    return loss / n.float().log()


def categorical(logits: Sequence[Tensor], targets: Tensor, unit: Tensor, n: Tensor, smoothing: float = 0.0) -> Losses:
    """The losses of U units' N decisions: one per classification, two per span, one per word or token.

    logits, each [N, K] (`MASKED` where k is no candidate): (clean,), or (clean, noised) with R3F; targets [N]; unit [N]
    in 0..U-1; n [U] the number of candidates of the unit's decisions (Eq. 1's n(i)).
    """
    divergence = symmetric_kl(logits[0], logits[1], unit, len(n)) if len(logits) == 2 else None
    return Losses(loss=cross_entropy(logits[0], targets, unit, len(n), smoothing), n=n, divergence=divergence)
