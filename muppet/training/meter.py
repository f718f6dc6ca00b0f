"""What a training measures as it goes: the loss curves, shares and costs that its result tells of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Sums = tuple[Tensor, Tensor]  # scaled losses and units, by dataset
ENDS = 0.2  # of a dataset's examples, at each end of the training
BINS = 100  # of the loss curves that a run keeps
KEPT = ("losses", "units", "shares", "counts")


class Meter:
    """Sums of scaled losses by dataset over `BINS` stretches of the updates, shares of the loss, tokens, time."""

    def __init__(self, updates: int, datasets: int) -> None:
        self.updates, self.bins = updates, min(updates, BINS)
        self.losses = torch.zeros(self.bins, datasets, dtype=torch.float64)
        self.units = torch.zeros(self.bins, datasets, dtype=torch.int64)
        # Of each dataset, summed over updates: what its units weigh in the loss, as averaged and then also as scaled.
        self.shares = torch.zeros(2, datasets, dtype=torch.float64)
        names = ("real_tokens", "padded_tokens", "flops", "seconds", "cpu_seconds", "evaluation_seconds")
        self.counts = dict.fromkeys(names, 0.0)  # `seconds` are the updates', without evaluations

    def add(self, step: int, losses: Sequence[float], units: Sequence[int]) -> None:
        """Count update `step`."""
        place = step * self.bins // self.updates
        self.losses[place] += torch.tensor(losses, dtype=torch.float64)
        self.units[place] += torch.tensor(units)

    def sums(self) -> Sums:
        """Scaled losses and units by dataset, over all updates so far."""
        return self.losses.sum(dim=0), self.units.sum(dim=0)

    def ends(self, dataset: int | None, share: float = ENDS) -> tuple[float | None, float | None]:
        """Mean scaled loss of a dataset, or of all, over the first and the last `share` of its own examples; None: it
        had no example."""
        columns = slice(None) if dataset is None else slice(dataset, dataset + 1)
        losses, units = self.losses[:, columns].sum(dim=1), self.units[:, columns].sum(dim=1)
        if not units.any():
            return None, None
        means = []
        for order in (torch.arange(self.bins), torch.arange(self.bins).flip(0)):
            enough = int((units[order].cumsum(0) < share * units.sum()).sum()) + 1
            means.append(float(losses[order[:enough]].sum() / units[order[:enough]].sum()))
        return means[0], means[1]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: getattr(self, name) for name in KEPT}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's."""
        for name in KEPT:
            setattr(self, name, state[name])
