"""One comparison and what it shows: UP, DOWN, EQUIVALENT, UNDECIDED, or UNINFORMATIVE before it is asked."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from studies.claims.claim import Number, Pair, Source
from studies.kit.ledger.intervals import Estimate, contrast, of_runs, trivial_limit, with_items
from studies.kit.show import between, percent, points

Direction = Literal["UP", "DOWN", "EQUIVALENT", "UNDECIDED", "UNINFORMATIVE"]
MARGIN = 0.005  # half a point: a difference that lies within it is none that the paper's tables could show


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A difference, a fraction of 1, with what it shows against `size`."""

    name: str
    gain: float
    estimate: Estimate | None  # None: no interval can be given
    shown: str  # the scores, or the interval, to read
    size: float = 0.0  # the claim is that the difference is larger
    margin: float = MARGIN
    uninformative: str = ""  # why the comparison cannot tell, whatever its numbers
    detectable: float | None = None  # the smallest true difference that this comparison would tell from zero
    arms: tuple[Number, ...] = ()  # the two that are compared
    items: float | None = None  # standard error of the difference over evaluation examples

    @property
    def p(self) -> float | None:
        """The two-sided p of the difference's being `size`."""
        return None if self.estimate is None or self.uninformative else self.estimate.p(self.size)

    @property
    def direction(self) -> Direction:
        """What the 95 % interval shows (EQUIVALENT: the 90 % one)."""
        if self.uninformative:
            return "UNINFORMATIVE"
        if self.estimate is None:
            return "UNDECIDED"
        wide, narrow = self.estimate.interval(), self.estimate.interval(0.90)
        if wide.low > self.size:
            return "UP"
        if wide.high < self.size:
            return "DOWN"
        return "EQUIVALENT" if max(abs(narrow.low), abs(narrow.high)) <= self.margin else "UNDECIDED"

    def __str__(self) -> str:
        return f"{self.name} {self.shown}"


def arm(number: Number) -> Estimate | None:
    """The mean over runs of one arm, without the error over items; None for one or two runs.

    A number that someone printed is taken as it stands.
    """
    return of_runs(number.seeds, number.checkpoints, folds=number.folds) if number.seeds else None


def with_checkpoints(
    estimate: Estimate, numbers: Sequence[Number], weights: Sequence[float], spread: Estimate | None
) -> Estimate:
    """`estimate`, a weighted sum of `numbers`, with the error that those of them have which stand on one checkpoint:
    `spread` is how far checkpoints lie apart, which fine-tunings of one do not show. No interval gets narrower."""
    alone = [weight for number, weight in zip(numbers, weights, strict=True) if len(set(number.checkpoints)) == 1]
    if spread is None or not alone:
        return estimate
    both = contrast((1, math.hypot(*alone)), (estimate, spread))
    return replace(both, df=min(both.df, estimate.df))


def effect(
    source: Source, pairs: Sequence[Pair], name: str, size: float = 0.0, spread: Estimate | None = None
) -> Effect:
    """The difference in one dataset: its metrics are averaged run by run, and count once. `spread`: of checkpoints,
    where the difference is to hold beyond those that it was measured on."""
    upper, lower = _merged([pair.muppet for pair in pairs]), _merged([pair.base for pair in pairs])
    gain = round(upper.value - lower.value, 10)
    margin = max(MARGIN, upper.half, lower.half)
    errors = [0.0 if number.folds else number.item_error or _binomial(number) for number in (upper, lower)]
    items = None
    if all(error is not None for error in errors):
        items = math.hypot(*(error for error in errors if error is not None))
    signs: tuple[int, ...] = (1, -1)
    ends = [arm(number) if number.seeds else _printed(number, source) for number in (upper, lower)]
    if upper.folds and lower.folds:  # of which both arms train and are tested on the same rows
        signs, differences = (1,), [a - b for a, b in zip(upper.seeds, lower.seeds, strict=True)]
        ends = [of_runs(differences, upper.checkpoints or lower.checkpoints, folds=True)]
    elif source.paired_error and len(pairs) == 1:
        items = source.paired_error(upper, lower) or items
    estimate = None
    if all(end is not None for end in ends):
        estimate = with_items(contrast(signs, [end for end in ends if end is not None]), items)
        estimate = with_checkpoints(replace(estimate, value=gain), (upper, lower), (1, 1), spread)
    # Without an interval over runs, what the evaluation set alone lets one see is the least.
    least = estimate or (Estimate(value=gain, error=items) if items else None)
    return Effect(
        name=name,
        gain=gain,
        estimate=estimate,
        shown=_shown(upper, lower, gain, estimate),
        size=size,
        margin=margin,
        uninformative=_gate(upper, lower),
        detectable=least.detectable if least else None,
        arms=(upper, lower),
        items=items,
    )


def average(effects: Sequence[Effect], name: str, size: float = 0.0) -> Effect:
    """The mean of the effects in several datasets, each counted once.

    Fine-tunings of all of them start from the same checkpoints, so an arm that has several is averaged over the
    datasets checkpoint by checkpoint; other runs are independent. So are evaluation examples, but for datasets that
    share them, such as tagging and parsing of one treebank: their errors are added, as if they went together wholly.
    """
    gain = fmean(each.gain for each in effects)
    estimate = None
    if all(each.estimate is not None for each in effects):
        upper, lower = (_together(numbers) for numbers in zip(*(each.arms for each in effects), strict=True))
        errors: dict[Hashable, float] = {}
        for i, each in enumerate(effects):
            examples = each.arms[0].examples or i
            errors[examples] = errors.get(examples, 0.0) + (each.items or 0.0)
        over_items = math.hypot(*errors.values()) / len(effects)
        estimate = replace(with_items(contrast((1, -1), (upper, lower)), over_items), value=gain)
    idle = [each.uninformative for each in effects if each.uninformative]
    shown = f"mean {points(gain)}" + (_interval(estimate) if estimate else "")
    return Effect(
        name=name,
        gain=gain,
        estimate=estimate,
        shown=f"{shown}: {', '.join(f'{each.name} {points(each.gain)}' for each in effects)}",
        size=size,
        uninformative=idle[0] if len(idle) == len(effects) else "",
        detectable=estimate.detectable if estimate else None,
    )


def _together(numbers: Sequence[Number]) -> Estimate:
    """The mean of one arm over datasets, each with an estimate or a print."""
    groups: dict[Hashable, list[Number]] = {}
    for i, number in enumerate(numbers):
        several = len(set(number.checkpoints)) > 1
        groups.setdefault(frozenset(number.checkpoints) if several else i, []).append(number)
    ends = [_shared(group) or Estimate(value=group[0].value, error=0.0) for group in groups.values()]
    return contrast([len(group) / len(numbers) for group in groups.values()], ends)


def _shared(group: Sequence[Number]) -> Estimate | None:
    """One arm over datasets whose runs start from the same checkpoints; None for fewer than three of these, or runs."""
    if len(group) == 1:
        return arm(group[0])
    means = []
    for name in sorted(set(group[0].checkpoints)):
        own = [[s for s, start in zip(one.seeds, one.checkpoints) if start == name] for one in group]
        means.append(fmean(map(fmean, own)))
    return of_runs(means)


def _gate(upper: Number, lower: Number) -> str:
    """Why a comparison cannot tell, whatever its numbers; empty when it can.

    How far an answer without learning may get by chance is taken from the measured error over examples, which are
    sentences of many words in tagging; without one, from their number.
    """
    if upper.runs and upper.runs == lower.runs:
        return "the arm is its control"
    trivial = next((t for t in (upper.trivial, lower.trivial) if t is not None), None)
    if trivial is None or not upper.n:
        return ""
    best = max(upper, lower, key=lambda number: number.value)
    if best.item_error:
        limit = Estimate(value=trivial, error=best.item_error).interval().high
    else:
        limit = trivial_limit(trivial, upper.n, (upper.score or upper.metric).rsplit("/", 1)[-1])
    if best.value > limit:
        return ""
    return f"neither arm is above the answer without learning ({percent(trivial)}, up to {percent(limit)} by chance)"


def _merged(numbers: Sequence[Number]) -> Number:
    """The metrics of one arm on one dataset as one number: their mean, run by run."""
    first = numbers[0]
    if len(numbers) == 1:
        return first
    errors = [number.item_error for number in numbers if number.item_error is not None]
    same = len({len(number.seeds) for number in numbers}) == 1
    value = fmean(number.value for number in numbers)
    return replace(
        first,
        value=value,
        shown=percent(value, 2),
        half=fmean(number.half for number in numbers),
        seeds=tuple(map(fmean, zip(*(number.seeds for number in numbers)))) if same and first.seeds else (),
        item_error=fmean(errors) if len(errors) == len(numbers) else None,
        trivial=None,
    )


def _binomial(number: Number) -> float | None:
    """The error over items of a score that is a mean of items in [0, 1]: at most a proportion's."""
    if not number.n or not 0 <= number.value <= 1:
        return None
    return math.sqrt(number.value * (1 - number.value) / number.n)


def _printed(number: Number, source: Source) -> Estimate | None:
    """A rival's print is a number to beat; one printed score of an arm under test gives no interval."""
    if number.half and source.name in ("ours", "released"):
        return Estimate(value=number.value, error=0.0)
    return None


def _shown(upper: Number, lower: Number, gain: float, estimate: Estimate | None) -> str:
    if estimate is not None:
        return f"{lower.shown} → {upper.shown} ({points(gain)}{_interval(estimate)})"
    ends = [
        number.shown + f" ({', '.join(map(percent, number.seeds))})" * (len(number.seeds) > 1)
        for number in (lower, upper)
    ]
    return f"{ends[0]} → {ends[1]} ({points(gain)})"


def _interval(estimate: Estimate) -> str:
    interval = estimate.interval()
    return f" {between(interval.low, interval.high)}"
