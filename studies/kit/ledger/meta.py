"""Many differences as one: a random-effects mean that knows which share a dataset, and what a new one may be."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from studies.kit.ledger.intervals import Estimate, Interval


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The mean of differences with its interval over clusters, and where a new dataset's difference lies (95 %)."""

    mean: Interval
    prediction: Interval
    heterogeneity: float  # standard deviation of the true differences
    n: int  # differences
    clusters: int


def heterogeneity(differences: Sequence[float], variances: Sequence[float]) -> float:
    """The variance of the true differences by DerSimonian and Laird's moments (1986); 0 when there is none."""
    weights = [1 / v for v in variances]
    total = sum(weights)
    mean = sum(w * y for w, y in zip(weights, differences, strict=True)) / total
    q = sum(w * (y - mean) ** 2 for w, y in zip(weights, differences, strict=True))
    scale = total - sum(w * w for w in weights) / total
    return max(0.0, (q - len(differences) + 1) / scale)


def pooled(
    differences: Sequence[float], clusters: Sequence[Hashable], variances: Sequence[float] | None = None
) -> Pooled:
    """The mean of `differences`, weighted by inverse variance and heterogeneity, or equally without `variances`.

    The error is a sandwich over clusters (differences of one dataset are no independent evidence) with the small-sample
    factor m / (m - 1) and Student's m - 1 degrees of freedom. The prediction interval is of one more cluster: from the
    spread of the clusters' means without variances, from the heterogeneity with them (Higgins et al. 2009).
    """
    tau2 = heterogeneity(differences, variances) if variances else 0.0
    weights = [1 / (v + tau2) for v in variances] if variances else [1.0] * len(differences)
    total = sum(weights)
    mean = sum(w * y for w, y in zip(weights, differences, strict=True)) / total
    groups: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(clusters):
        groups.setdefault(cluster, []).append(i)
    m = len(groups)
    if m < 3:
        raise ValueError(f"a mean over clusters needs three or more, not {m}")
    spread = sum(sum(weights[i] * (differences[i] - mean) for i in group) ** 2 for group in groups.values())
    error = math.sqrt(spread * m / (m - 1)) / total
    if variances is None:
        tau2 = stdev(fmean(differences[i] for i in group) for group in groups.values()) ** 2
    new = Estimate(value=mean, error=math.sqrt(tau2 + error**2), df=m - 1 if variances is None else max(m - 2, 1))
    return Pooled(
        mean=Estimate(value=mean, error=error, df=m - 1).interval(),
        prediction=new.interval(),
        heterogeneity=math.sqrt(tau2),
        n=len(differences),
        clusters=m,
    )
