"""From comparisons to a verdict, on both axes. Datasets are counted, not columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from studies.claims.claim import Judgement, Pair, Source, not_measured, not_printed, not_testable, some
from studies.claims.effects import Direction, Effect, average, effect
from studies.kit.ledger.intervals import holm
from studies.kit.show import points

LEVEL = 0.05  # of a claim's decisions together


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that a claim says: a difference larger than `size`, in one dataset or on average over several."""

    name: str
    datasets: tuple[tuple[Pair, ...], ...]  # each a dataset's metrics
    size: float = 0.0

    @property
    def gain(self) -> float:
        """The difference, averaged over metrics, then over datasets."""
        return fmean(fmean(pair.gain for pair in pairs) for pairs in self.datasets)

    def printed(self) -> int:
        """1, 0 or -1: what the prints show. A tie is 0; of one dataset's metrics, any that is down counts."""
        if len(self.datasets) > 1:
            return _sign(self.gain - self.size, fmean(fmean(p.slack for p in pairs) for pairs in self.datasets))
        signs = [_sign(pair.gain - self.size, pair.slack) for pair in self.datasets[0]]
        return -1 if min(signs) < 0 else max(signs)

    def effect(self, source: Source) -> Effect:
        """The difference as `source` measured it."""
        if len(self.datasets) == 1:
            return effect(source, self.datasets[0], self.name, self.size)
        each = [effect(source, pairs, pairs[0].base.column) for pairs in self.datasets]
        return average(each, self.name, self.size)


def single(pairs: Sequence[Pair], size: float = 0.0) -> Case:
    """A case of one dataset, named by its place."""
    base = pairs[0].base
    return Case(name=f"{base.study} {base.column} / {base.row}", datasets=(tuple(pairs),), size=size)


def universal(source: Source, cases: Sequence[Case], expected: int, what: str, note: str = "") -> Judgement:
    """A claim that every one of `expected` cases shows: on the print axis for the paper, as evidence for the rest."""
    if source.name == "paper":
        return _printed(cases, expected, what, note)
    return weighed([case.effect(source) for case in cases], expected, what, note)


def _printed(cases: Sequence[Case], expected: int, what: str, note: str) -> Judgement:
    """CONTRADICTED by one case that is down; NOT SUPPORTED while one is a tie or not printed; else CONSISTENT."""
    if not cases:
        return not_printed("the paper prints none of the cells")
    signs = [case.printed() for case in cases]
    up, equal, down = (signs.count(sign) for sign in (1, 0, -1))
    text = f"{up} of {expected} {what}" + (f", {equal} equal" if equal else "") + (f", {down} not" if down else "")
    short = "Short of it" if any(case.size for case in cases) else "Down"
    for label, sign in ((short, -1), ("Equal", 0)):
        listed = [_listed(case) for case, own in zip(cases, signs, strict=True) if own == sign]
        text += f". {label}: {'; '.join(listed)}" if listed else ""
    if len(cases) < expected:
        text += f". {expected - len(cases)} are not printed"
    text += f". {note}" if note else ""
    if down:
        return Judgement(verdict="CONTRADICTED", text=text)
    return Judgement(verdict="CONSISTENT" if up == expected else "NOT SUPPORTED", text=text)


def decided(effects: Sequence[Effect]) -> list[Direction]:
    """What each shows; a direction that Holm does not confirm is UNDECIDED."""
    tested = [each for each in effects if each.p is not None]
    adjusted = dict(zip(map(id, tested), holm([each.p for each in tested if each.p is not None]), strict=True))
    return [
        "UNDECIDED" if adjusted.get(id(each), 0) > LEVEL and each.direction in ("UP", "DOWN") else each.direction
        for each in effects
    ]


def weighed(effects: Sequence[Effect], expected: int, what: str, note: str = "") -> Judgement:
    """The evidence of measured effects for a claim about every one of `expected`.

    CONTRADICTED: one is DOWN after Holm. SUPPORTED: all that are expected are there and UP after Holm. MIXED: all are
    there and decided, none is DOWN, and some are EQUIVALENT. NOT TESTABLE: none can tell. Else INCONCLUSIVE, with the
    difference that could have been told.
    """
    if not effects:
        return not_measured(f"{what}: none of {expected} measured")
    groups: dict[str, list[Effect]] = {}
    for each, shown in zip(effects, decided(effects), strict=True):
        groups.setdefault(shown, []).append(each)
    up, down, equal = (groups.get(name, []) for name in ("UP", "DOWN", "EQUIVALENT"))
    order = ("UP", "DOWN", "EQUIVALENT", "UNDECIDED", "UNINFORMATIVE")
    counts = ", ".join(f"{len(groups[name])} {name}" for name in order if name in groups)
    text = f"{what}: {counts}" + (f"; {len(effects)} of {expected} measured" if len(effects) < expected else "")
    for name in ("DOWN", "UP", "EQUIVALENT", "UNDECIDED"):
        text += f". {name}: {_some(groups[name])}" if name in groups else ""
    if idle := groups.get("UNINFORMATIVE", []):
        text += f". UNINFORMATIVE: {some(list(map(str, idle)))}; of the first, {idle[0].uninformative}"
    text += f". {note}" if note else ""
    if down:
        return Judgement(verdict="CONTRADICTED", text=text)
    if len(effects) >= expected and len(up) == len(effects):
        return Judgement(verdict="SUPPORTED", text=text)
    if len(effects) >= expected and len(up) + len(equal) == len(effects):
        return Judgement(verdict="MIXED", text=text)
    if len(idle) == len(effects):
        return not_testable(text)
    return Judgement(verdict="INCONCLUSIVE", text=text + _detectable(groups.get("UNDECIDED", [])))


def stated(parts: Sequence[tuple[str, bool, str]], note: str = "") -> Judgement:
    """A print of several parts (name, whether it is so, its numbers): one that is not so contradicts it."""
    text = "; ".join(f"{name}: {'yes' if so else 'no'}{f' ({said})' if said else ''}" for name, so, said in parts)
    verdict = "CONSISTENT" if all(so for _, so, _ in parts) else "CONTRADICTED"
    return Judgement(verdict=verdict, text=text + (f". {note}" if note else ""))  # type: ignore[arg-type]


def counted(parts: Sequence[tuple[str, bool, str]], note: str = "") -> Judgement:
    """As `stated`, of facts that need no statistics: as evidence."""
    judgement = stated(parts, note)
    verdict = "SUPPORTED" if judgement.verdict == "CONSISTENT" else "CONTRADICTED"
    return Judgement(verdict=verdict, text=judgement.text)  # type: ignore[arg-type]


def within(source: Source, pair: Pair, low: float, high: float, said: str, note: str = "") -> Judgement:
    """A claim that a difference lies from `low` to `high`.

    Evidence: CONTRADICTED when the 95 % interval lies outside; SUPPORTED when it reaches that range and is nearer to
    it than to no difference (above half of `low`) or, for a range about zero, when the 90 % interval lies inside.
    """
    if source.name == "paper":
        verdict = "CONSISTENT" if low - 1e-9 <= pair.gain <= high + 1e-9 else "CONTRADICTED"
        return Judgement(verdict=verdict, text=f"{pair}. {note}" if note else f"{pair}")  # type: ignore[arg-type]
    measured = effect(source, [pair], said)
    text = f"{measured}" + (f". {note}" if note else "")
    if measured.uninformative:
        return not_testable(f"{text}: {measured.uninformative}")
    if not source.comparable:
        return not_testable(f"{text}: {measured.direction}; another model or fewer rows, so a direction and no size")
    if measured.estimate is None:
        return Judgement(verdict="INCONCLUSIVE", text=text + _detectable([measured]))
    wide, narrow = measured.estimate.interval(), measured.estimate.interval(0.90)
    if wide.high < low or wide.low > high:
        return Judgement(verdict="CONTRADICTED", text=text)
    inside = low <= narrow.low and narrow.high <= high if low < 0 else wide.low > low / 2
    if inside:
        return Judgement(verdict="SUPPORTED", text=text)
    return Judgement(verdict="INCONCLUSIVE", text=text + _detectable([measured]))


def _sign(difference: float, slack: float) -> int:
    """The sign of a difference of prints; 0 where rounding alone could make it."""
    return 0 if abs(difference) < slack - 1e-9 or abs(difference) < 1e-9 else (1 if difference > 0 else -1)


def _listed(case: Case) -> str:
    if len(case.datasets) > 1:
        return f"{case.name}: mean {points(case.gain)} ({', '.join(_gain(pairs) for pairs in case.datasets)})"
    pairs = [pair for pair in case.datasets[0] if _sign(pair.gain - case.size, pair.slack) <= 0]
    return "; ".join(map(str, pairs))


def _gain(pairs: Sequence[Pair]) -> str:
    return f"{pairs[0].base.column} {points(fmean(pair.gain for pair in pairs))}"


def _some(effects: Sequence[Effect], most: int = 12) -> str:
    more = f"; and {len(effects) - most} more" if len(effects) > most else ""
    return "; ".join(map(str, effects[:most])) + more


def _detectable(undecided: Sequence[Effect]) -> str:
    known = [each.detectable for each in undecided if each.detectable and each.estimate]
    least = [each.detectable for each in undecided if each.detectable]
    if known:
        return f". {100 * median(known):.1f} points could have been told from zero"
    examples = f"; by evaluation examples alone it would take {100 * median(least):.1f} points" if least else ""
    return f". Without three runs an arm nothing is told from zero{examples}" if undecided else ""
