"""Estimates with an error and its degrees of freedom: of one arm, of a contrast of arms, and what they can tell.

Scores are fractions of 1. Sources of variance are added, and Satterthwaite's formula gives the sum its degrees of
freedom (Satterthwaite 1946); an interval is Student's. scipy is imported by the functions that need it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist, fmean, variance

CONFIDENCE = 0.95
POWER = 0.8
FEWEST = 3  # runs (or checkpoints) below which scores are listed and no interval is given
CORRELATIONS = ("matthews", "spearman", "pearson")  # metrics in [-1, 1]; every other one lies in [0, 1]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its confidence interval; the bounds are NaN where one observation cannot give them."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value, its standard error, and the degrees of freedom of that error (infinite where it is known)."""

    value: float
    error: float
    df: float = math.inf

    def quantile(self, share: float) -> float:
        """The point of Student's distribution (of the normal one, for a known error) below which `share` lies."""
        if math.isinf(self.df):
            return NormalDist().inv_cdf(share)
        from scipy.special import stdtrit

        return float(stdtrit(self.df, share))

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The two-sided interval."""
        half = self.quantile((1 + confidence) / 2) * self.error
        return Interval(value=self.value, low=self.value - half, high=self.value + half)

    def within(self, low: float, high: float, confidence: float = CONFIDENCE) -> Interval:
        """The interval of a score that lies between `low` and `high`, on the logit scale by the delta method.

        Of a correlation (bounds -1 and 1) that scale is twice Fisher's z. At a bound there is no logit: the plain
        interval is cut there.
        """
        share = (self.value - low) / (high - low)
        if not 0 < share < 1:
            plain = self.interval(confidence)
            return Interval(value=self.value, low=max(low, plain.low), high=min(high, plain.high))
        centre = math.log(share / (1 - share))
        half = self.quantile((1 + confidence) / 2) * self.error / (high - low) / (share * (1 - share))
        ends = [low + (high - low) * _expit(centre + step) for step in (-half, half)]
        return Interval(value=self.value, low=ends[0], high=ends[1])

    def p(self, against: float = 0.0) -> float:
        """The two-sided p of the value's being `against`."""
        gap = abs(self.value - against)
        if self.error == 0:
            return 0.0 if gap > 1e-12 else 1.0
        if math.isinf(self.df):
            return math.erfc(gap / self.error / math.sqrt(2))
        from scipy.special import stdtr

        return 2 * float(stdtr(self.df, -gap / self.error))

    @property
    def detectable(self) -> float:
        """The smallest true difference that is told from zero in four of five repetitions."""
        return (self.quantile((1 + CONFIDENCE) / 2) + self.quantile(POWER)) * self.error


def contrast(weights: Sequence[float], estimates: Sequence[Estimate]) -> Estimate:
    """The weighted sum of independent estimates; the degrees of freedom are Satterthwaite's."""
    parts = [(w * e.error) ** 2 for w, e in zip(weights, estimates, strict=True)]
    total = sum(parts)
    spent = sum(part**2 / e.df for part, e in zip(parts, estimates, strict=True))
    value = sum(w * e.value for w, e in zip(weights, estimates, strict=True))
    return Estimate(value=value, error=math.sqrt(total), df=total**2 / spent if spent else math.inf)


def of_runs(scores: Sequence[float], checkpoints: Sequence[str] = (), *, folds: bool = False) -> Estimate | None:
    """The mean over runs; None for fewer than three.

    `checkpoints` names the pre-finetuning behind each run. With several, the checkpoint is what is repeated: the
    spread of their means holds the variance of pre-finetuning and that of fine-tuning, and three are needed.

    The runs may be the `folds` of a cross-validation. Each row is tested in one of them, so their spread holds the
    error over items too. What it cannot show is that their training rows overlap: Nadeau and Bengio (2003) add test
    rows over training rows, 1 / (k - 1), to the 1 / k of a mean over k folds.
    """
    groups: dict[str, list[float]] = {}
    for name, score in zip(checkpoints or ("",) * len(scores), scores, strict=True):
        groups.setdefault(name, []).append(score)
    units = [fmean(group) for group in groups.values()] if len(groups) > 1 else list(scores)
    if len(units) < FEWEST:
        return None
    runs = Estimate(value=fmean(scores), error=math.sqrt(variance(units) / len(units)), df=len(units) - 1)
    if not folds:
        return runs
    last = len(scores) - 1
    overlap = Estimate(value=0.0, error=math.sqrt(variance(scores) / last), df=last)
    both = contrast((1, 1), (runs, overlap))
    return replace(both, df=min(both.df, last))  # no more than one spread has: the two are of the same folds


def with_items(runs: Estimate, item_error: float | None) -> Estimate:
    """`runs` with the error over evaluation items added; items are so many that their error counts as known."""
    if not item_error:
        return runs
    items = Estimate(value=0.0, error=item_error)
    return contrast((1, 1), (runs, items))


def item_error(low: float, high: float) -> float:
    """The standard error behind a 95 % interval over items."""
    return (high - low) / 2 / NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def bounds(metric: str) -> tuple[float, float]:
    """The range of a metric."""
    return (-1.0, 1.0) if metric.lower() in CORRELATIONS else (0.0, 1.0)


def trivial_limit(value: float, n: int, metric: str) -> float:
    """The upper end of the 95 % interval of a trivial answer's score over `n` examples.

    A mean of items in [0, 1] varies at most as a proportion does (Wilson's interval); of a correlation it is
    Fisher's z.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    if metric.lower() in CORRELATIONS:
        clipped = min(max(value, -0.999), 0.999)
        return math.tanh(math.atanh(clipped) + z / math.sqrt(max(n - 3, 1)))
    value = min(max(value, 0.0), 1.0)
    centre = value + z * z / (2 * n)
    half = z * math.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return (centre + half) / (1 + z * z / n)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p: at most 5 % chance of one false decision among all (Holm 1979)."""
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
