"""Eq. 1 and what goes into it: cross-entropy per unit, its scaling by ln n, and the R3F divergence. All in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MASKED = -1e9  # the logit of what is no candidate: its softmax is exactly 0, and differences of two stay finite


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """The categorical decisions of U units, N in all: one per classification, two per span, one per word or token.

    logits [N, K] (`MASKED` where k is no candidate), targets [N], unit [N] in 0..U-1, n [U] the number of candidates of
    the unit's decisions (Eq. 1's n(i)).
    """

    logits: Tensor
    targets: Tensor
    unit: Tensor
    n: Tensor


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


def cross_entropy(decisions: Decisions, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of each unit's decisions → [U] (paper Table 2).

    With label smoothing the target has mass 1 - smoothing, and smoothing is spread evenly over all K classes, so that
    uniform logits cost exactly ln K with and without it.
    """
    losses = F.cross_entropy(decisions.logits.float(), decisions.targets, reduction="none", label_smoothing=smoothing)
    return per_unit(losses, decisions.unit, len(decisions.n))


def symmetric_kl(clean: Decisions, noised: Decisions) -> Tensor:
    """KL(clean ‖ noised) + KL(noised ‖ clean), mean over each unit's decisions → [U] (Aghajanyan et al. 2020)."""
    p, q = (F.log_softmax(d.logits.float(), dim=-1) for d in (clean, noised))
    divergence = ((p.exp() - q.exp()) * (p - q)).sum(dim=-1)
    return per_unit(divergence, clean.unit, len(clean.n))


def scale(loss: Tensor, n: Tensor) -> Tensor:
    """Eq. 1 (paper §3.3): loss [U] over ln n [U], so that uniform predictions cost 1 whatever the family."""
    return loss / n.float().log()


def categorical(logits: Sequence[Tensor], targets: Tensor, unit: Tensor, n: Tensor, smoothing: float = 0.0) -> Losses:
    """The losses of `logits`, each [N, K]: (clean,), or (clean, noised) with R3F; the rest as in `Decisions`."""
    decisions = [Decisions(logits=half, targets=targets, unit=unit, n=n) for half in logits]
    divergence = symmetric_kl(*decisions) if len(decisions) == 2 else None
    return Losses(loss=cross_entropy(decisions[0], smoothing), n=n, divergence=divergence)
