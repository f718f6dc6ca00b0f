"""What a claim is: a sentence of the paper and a predicate over a source; its verdict carries the deciding numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from studies.kit.show import points

Verdict = Literal["HOLDS", "FAILS", "PARTIAL", "NOT MEASURED"]
Key = tuple[str, str, str, str]  # study, row, column, metric

MODELS = ("RoBERTa-B", "RoBERTa-L", "BART")
ROUGE = ("R1", "R2", "RL")


@dataclass(frozen=True, kw_only=True)
class Number:
    """One cell of a source. Scores are fractions of 1."""

    study: str
    row: str
    column: str
    metric: str
    value: float
    shown: str  # as printed by the source; in percent
    half: float = 0.0  # half a unit of the last printed place; 0 when measured
    n: int | None = None  # evaluation examples
    x: float | None = None  # position on a curve
    seeds: tuple[float, ...] = ()  # one score a seed, when measured

    @property
    def where(self) -> str:
        """`table3 RTE / RoBERTa-B`, with the metric where a column has several."""
        metric = f" {self.metric}" if self.metric in (*ROUGE, "first", "second") else ""
        return f"{self.study} {self.column}{metric} / {self.row}"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """MUPPET and its base in one column."""

    base: Number
    muppet: Number
    family: str
    train_rows: int | None

    @property
    def gain(self) -> float:
        """MUPPET minus base, a fraction of 1; exactly 0 when both print the same."""
        return round(self.muppet.value - self.base.value, 10)

    def __str__(self) -> str:
        return f"{self.base.where} {self.base.shown} → {self.muppet.shown} ({points(self.gain)})"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One set of numbers to judge by: `paper`, `independent`, `released` or `ours`.

    Rows bear the paper's names whatever the source; `families` and `train_rows` say what stands behind a column.
    """

    name: str
    label: str
    numbers: Mapping[Key, Number]
    families: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (study, column) → family
    train_rows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    declared: Mapping[str, object] = field(default_factory=dict)  # facts of the declared runs, for claims about those

    def get(self, study: str, row: str, column: str, metric: str | None = None) -> Number | None:
        """The cell, or None; without a metric, the cell's first."""
        if metric is not None:
            return self.numbers.get((study, row, column, metric))
        return next((n for k, n in self.numbers.items() if k[:3] == (study, row, column)), None)

    def column(self, study: str, column: str, metric: str | None = None) -> list[Number]:
        """All rows of a column; without a metric, every metric's."""
        return [n for k, n in self.numbers.items() if (k[0], k[2]) == (study, column) and metric in (None, k[3])]

    def pairs(self, models: Sequence[str], studies: Sequence[str]) -> list[Pair]:
        """MUPPET against its base wherever both are there."""
        found = []
        for model in models:
            for base in self.numbers.values():
                muppet = self.numbers.get((base.study, f"{model} + MUPPET", base.column, base.metric))
                if base.row == model and base.study in studies and muppet:
                    place = (base.study, base.column)
                    found.append(
                        Pair(
                            base=base,
                            muppet=muppet,
                            family=self.families.get(place, "other"),
                            train_rows=self.train_rows.get(place),
                        )
                    )
        return found


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict and what decided it."""

    verdict: Verdict
    text: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several things that a claim says. `holds` is None when the source has no number for it."""

    name: str
    holds: bool | None
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One checkable statement. `quote` is the paper's own sentence, or empty for a reviewer's question."""

    id: str
    section: str
    quote: str
    predicate: str  # what is checked, in a line
    check: Callable[[Source], Finding]  # the verdict of a source


def not_measured(text: str) -> Finding:
    """No number to judge by, and which ones would do."""
    return Finding(verdict="NOT MEASURED", text=text)


def judged(parts: Iterable[Part], note: str = "") -> Finding:
    """HOLDS when every part does, FAILS when none of the measured ones does, PARTIAL between; the numbers follow.

    Parts that are not measured keep a verdict from HOLDS; when none is measured the verdict is NOT MEASURED.
    """
    parts = list(parts)
    known = [part for part in parts if part.holds is not None]
    absent = [part.name for part in parts if part.holds is None]
    if not known:
        return not_measured(f"no number for {_some(absent)}")
    said = [f"{p.name}: {'yes' if p.holds else 'no'}{f' ({p.text})' if p.text else ''}" for p in known]
    said += [f"not measured: {_some(absent)}"] if absent else []
    held = sum(bool(part.holds) for part in known)
    verdict: Verdict = "HOLDS" if held == len(parts) else "PARTIAL" if held else "FAILS"
    return Finding(verdict=verdict, text="; ".join(said) + (f". {note}" if note else ""))


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def universal(cells: Sequence[tuple[bool, str]], expected: int, what: str, note: str = "") -> Finding:
    """A claim about every one of `expected` cells: one counter-example refutes it, and each is named.

    cells: (holds, text) of the measured ones. Measured in part and without counter-example it is PARTIAL.
    """
    if not cells:
        return not_measured(f"none of the {expected} cells is there")
    against = [text for holds, text in cells if not holds]
    count = f"{len(cells) - len(against)} of {len(cells)} {what}"
    count += f" ({expected - len(cells)} more not measured)" if len(cells) < expected else ""
    text = count + (f". Against: {'; '.join(against)}" if against else "") + (f". {note}" if note else ".")
    verdict: Verdict = "FAILS" if against else "HOLDS" if len(cells) >= expected else "PARTIAL"
    return Finding(verdict=verdict, text=text)
