"""The statistics behind verdicts and tables, on scipy; intervals of means and contrasts are in `intervals.py`.

Scores are fractions of 1. Random procedures take a seed, so a verdict is the same everywhere. scipy takes a second
or two to import and is loaded only by the functions that need it; verdicts on the paper's own cells need none of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from muppet.errors import UserError
from studies.kit.ledger.intervals import CONFIDENCE, Estimate, Interval

RESAMPLES = 9_999
EXACT = 8  # up to this many pairs, every permutation is counted
Names = Sequence[Sequence[str]]  # per dataset, the checkpoint behind each run; none of an arm without several


@dataclass(frozen=True, kw_only=True)
class Signs:
    """A sign test: how many differences go up, down and nowhere, and the two-sided exact p without the ties."""

    up: int
    down: int
    equal: int
    p: float


@dataclass(frozen=True, kw_only=True)
class Rank:
    """Spearman's rho with a permutation p (`exact`: over all permutations)."""

    rho: float
    p: float
    n: int
    exact: bool


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """Two proportions: difference, half-width of its 95 % interval (unpaired), and two-sided pooled z test."""

    difference: float
    half_width: float
    z: float
    p: float


def false_discovery(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini-Hochberg adjusted p over a table's cells; a cell without a p stays without."""
    from scipy.stats import false_discovery_control

    known = [p for p in p_values if p is not None]
    adjusted = iter(false_discovery_control(known) if known else ())
    return [None if p is None else float(next(adjusted)) for p in p_values]


def iqm(scores: Sequence[ArrayLike], checkpoints: Names = (), seed: int = 0) -> Interval:
    """Interquartile mean over a family's runs; bootstrap stratified by dataset. scores: per dataset, [runs]."""
    from scipy.stats import trim_mean

    groups = [_array(group) for group in scores]
    value = float(trim_mean(np.concatenate(groups), 0.25))
    drawn = np.concatenate(_resample(groups, checkpoints, seed), axis=1)
    low, high = _percentiles(trim_mean(drawn, 0.25, axis=1))
    return Interval(value=value, low=low, high=high)


def probability_of_improvement(
    ours: Sequence[ArrayLike], base: Sequence[ArrayLike], checkpoints: Names = (), seed: int = 0
) -> Interval:
    """How often a run of ours beats one of the base (ties: half), mean over datasets. Both: per dataset, [runs];
    checkpoints: those of ours."""
    upper, lower = list(map(_array, ours)), list(map(_array, base))

    def wins(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        above, equal = a[..., :, None] > b[..., None, :], a[..., :, None] == b[..., None, :]
        return (above + 0.5 * equal).mean(axis=(-2, -1))

    value = float(np.mean([wins(a, b) for a, b in zip(upper, lower, strict=True)]))
    again = zip(_resample(upper, checkpoints, seed), _resample(lower, (), seed + 1), strict=True)
    low, high = _percentiles(np.mean([wins(a, b) for a, b in again], axis=0))
    return Interval(value=value, low=low, high=high)


def sign_test(differences: ArrayLike) -> Signs:
    """Two-sided exact sign test against equal chances of up and down."""
    d = _array(differences)
    up, down = int((d > 0).sum()), int((d < 0).sum())
    tail = sum(math.comb(up + down, k) for k in range(min(up, down) + 1))
    p = min(1.0, 2 * tail / 2 ** (up + down))
    return Signs(up=up, down=down, equal=len(d) - up - down, p=p)


def spearman(
    x: ArrayLike, y: ArrayLike, alternative: str = "two-sided", *, resamples: int = RESAMPLES, seed: int = 0
) -> Rank:
    """Spearman's rho (ties share a rank) and its permutation p: exact up to 8 pairs, else by random permutations.

    alternative: "two-sided", "less" or "greater". rho is NaN and p is 1 when either side is constant.
    """
    a, b = _ranks(_array(x)), _ranks(_array(y))
    n = len(a)
    if n != len(b) or n < 3:
        raise UserError(f"a rank correlation needs three pairs or more; got {n} and {len(b)}")
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    if norm == 0:
        return Rank(rho=math.nan, p=1.0, n=n, exact=True)
    exact = n <= EXACT
    if exact:
        shuffled = b[np.array(list(itertools.permutations(range(n))))]
    else:
        shuffled = np.random.default_rng(seed).permuted(np.tile(b, (resamples, 1)), axis=1)
    rho, drawn = float(a @ b) / norm, shuffled @ a / norm
    sign = {"less": -1, "greater": 1}.get(alternative)
    as_far = drawn * sign >= rho * sign - 1e-12 if sign else np.abs(drawn) >= abs(rho) - 1e-12
    p = float(as_far.mean()) if exact else (int(as_far.sum()) + 1) / (resamples + 1)
    return Rank(rho=rho, p=p, n=n, exact=exact)


def leave_one_out(x: ArrayLike, y: ArrayLike, alternative: str = "two-sided") -> list[Rank]:
    """`spearman` with each pair left out in turn, in order: does one dataset carry the correlation?"""
    a, b = _array(x), _array(y)
    return [spearman(np.delete(a, i), np.delete(b, i), alternative, resamples=1_999) for i in range(len(a))]


def two_proportions(ours: float, n: int, base: float, m: int) -> Proportions:
    """Two unpaired proportions `ours` of n and `base` of m."""
    error = math.sqrt(ours * (1 - ours) / n + base * (1 - base) / m)
    pooled = (ours * n + base * m) / (n + m)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    z = (ours - base) / spread if spread else 0.0
    half_width = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * error
    return Proportions(difference=ours - base, half_width=half_width, z=z, p=math.erfc(abs(z) / math.sqrt(2)))


def grim(value: float, n: int, half: float) -> bool:
    """Whether some count of n gives `value`, printed to within `half` a unit of its last place."""
    low, high = (value - half) * n, (value + half) * n
    return math.floor(high + 1e-9) >= math.ceil(low - 1e-9)


def weighted_mean(values: ArrayLike, weights: ArrayLike) -> float:
    """Mean of values with weights."""
    return float(np.average(_array(values), weights=_array(weights)))


def slope(x: ArrayLike, y: ArrayLike) -> Estimate:
    """The slope of the least-squares line; its error is that of the points about it, with n - 2 degrees of freedom."""
    from scipy.stats import linregress

    a, b = _array(x), _array(y)
    if len(a) != len(b) or len(a) < 3:
        raise UserError(f"a slope needs three points or more; got {len(a)} and {len(b)}")
    line = linregress(a, b)
    return Estimate(value=float(line.slope), error=float(line.stderr), df=len(a) - 2)


def data_efficiency(fractions: Sequence[float], scores: Sequence[float], target: float) -> float | None:
    """The smallest fraction of the training data whose score reaches `target`; None when none does."""
    reached = [f for f, score in zip(fractions, scores, strict=True) if score >= target]
    return min(reached, default=None)


def _ranks(x: np.ndarray) -> np.ndarray:
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place]


def _resample(groups: Sequence[np.ndarray], checkpoints: Names, seed: int) -> list[np.ndarray]:
    """[RESAMPLES, runs] of each dataset. Where its runs start from several checkpoints these are drawn first, as one
    draw in all datasets that share them, and of each a run."""
    drawn: list[np.ndarray] = []
    shared: dict[frozenset[str], np.ndarray] = {}
    rng = np.random.default_rng(seed)
    for i, x in enumerate(groups):
        names = list(checkpoints[i]) if checkpoints else []
        kinds = sorted(set(names))
        if len(kinds) < 2:
            drawn.append(x[rng.integers(len(x), size=(RESAMPLES, len(x)))])
            continue
        size = (RESAMPLES, len(kinds))
        picked = shared.setdefault(frozenset(kinds), rng.integers(len(kinds), size=size))
        runs = {kind: x[[name == kind for name in names]] for kind in kinds}
        own = [np.stack([rng.choice(runs[kind], RESAMPLES) for kind in kinds], axis=1) for _ in names]
        places = [picked[:, kinds.index(name)] for name in names]
        drawn.append(np.stack([o[np.arange(RESAMPLES), place] for o, place in zip(own, places)], axis=1))
    return drawn


def _percentiles(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(drawn, [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _array(values: ArrayLike) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0 or not np.isfinite(x).all():
        raise UserError("statistics need finite numbers, at least one")
    return x
