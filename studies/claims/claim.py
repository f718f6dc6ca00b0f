"""What a claim is: a sentence of the paper and a check over a source, whose verdict carries the deciding numbers.

A claim is judged on two axes. *Print*: what the paper's own cells say; a tie is no counter-example. *Evidence*: what
measured runs say, effect by effect (`effects.py`, `verdicts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from studies.kit.show import points

Print = Literal["CONSISTENT", "CONTRADICTED", "NOT SUPPORTED", "NOT PRINTED"]
Evidence = Literal["SUPPORTED", "CONTRADICTED", "MIXED", "INCONCLUSIVE", "NOT TESTABLE", "NOT MEASURED"]
Kind = Literal["claim", "reviewer", "identity", "reading"]
Key = tuple[str, str, str, str]  # study, row, column, metric

MODELS = ("RoBERTa-B", "RoBERTa-L", "BART")
OURS_B, OURS_L, OURS_BART = (f"{model} + MUPPET" for model in MODELS)
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
    seen: float | None = None  # training rows that a run goes through
    sets: float | None = None  # datasets that its pre-finetuning really holds, where its row's name may say more
    seeds: tuple[float, ...] = ()  # one score a run, when measured
    checkpoints: tuple[str, ...] = ()  # the pre-finetuning behind each run; empty without one
    folds: bool = False  # the runs are folds of a cross-validation
    runs: tuple[str, ...] = ()  # ids
    item_error: float | None = None  # standard error of the mean over evaluation examples
    trivial: float | None = None  # the score of an answer without learning
    score: str = ""  # the name of the metric as it is computed, when measured
    examples: str = ""  # which rows it was evaluated on, when measured: two tasks may share theirs

    @property
    def where(self) -> str:
        """`table3 RTE / RoBERTa-B`, with the metric where a column has several."""
        metric = f" {self.metric}" if self.metric in (*ROUGE, "first", "second") else ""
        return f"{self.study} {self.column}{metric} / {self.row}"


def by_key(numbers: Iterable[Number]) -> dict[Key, Number]:
    """The cells by where they stand."""
    return {(n.study, n.row, n.column, n.metric): n for n in numbers}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A number that is said to lie above another: mostly MUPPET and its base in one column."""

    base: Number
    muppet: Number
    family: str = "other"
    train_rows: int | None = None

    @property
    def gain(self) -> float:
        """MUPPET minus base, a fraction of 1; exactly 0 when both print the same."""
        return round(self.muppet.value - self.base.value, 10)

    @property
    def slack(self) -> float:
        """How far the two prints can be from their numbers, together."""
        return self.base.half + self.muppet.half

    def __str__(self) -> str:
        return f"{self.base.where} {self.base.shown} → {self.muppet.shown} ({points(self.gain)})"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One set of numbers to judge by: `paper`, `independent`, `released` or `ours`.

    Rows bear the paper's names whatever the source; `families` and `train_rows` say what stands behind a column.
    """

    name: str
    numbers: Mapping[Key, Number]
    profile: str = ""  # whose runs these are; empty for what others print
    families: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (study, column) → family
    train_rows: Mapping[tuple[str, str], int] = field(default_factory=dict)
    declared: Mapping[str, object] = field(default_factory=dict)  # facts of the declared runs, for claims about those
    comparable: bool = True  # the paper's models on whole data; else effects have a direction and no size
    paired_error: Callable[[Number, Number], float | None] | None = None  # of a difference over the same examples

    @property
    def label(self) -> str:
        """As `ours`, or `ours (mini)` at another profile than the paper's."""
        return self.name if self.profile in ("", "paper") else f"{self.name} ({self.profile})"

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
        pairs = []
        for model in models:
            for base in self.numbers.values():
                muppet = self.numbers.get((base.study, f"{model} + MUPPET", base.column, base.metric))
                if base.row == model and base.study in studies and muppet:
                    place = (base.study, base.column)
                    family, rows = self.families.get(place, "other"), self.train_rows.get(place)
                    pairs.append(Pair(base=base, muppet=muppet, family=family, train_rows=rows))
        return pairs

    def datasets(self, models: Sequence[str], studies: Sequence[str]) -> list[tuple[Pair, ...]]:
        """`pairs` by dataset and model: the metrics of one dataset (a ROUGE triple) stand together and count once."""
        groups: dict[tuple[str, str, str], list[Pair]] = {}
        for pair in self.pairs(models, studies):
            groups.setdefault((pair.base.study, pair.base.column, pair.base.row), []).append(pair)
        return [tuple(group) for group in groups.values()]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict and what decided it."""

    verdict: Print | Evidence
    text: str


Check = Callable[[Source], Judgement]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One checkable statement. `quote` is the paper's own sentence, or empty for a reviewer's question."""

    id: str
    section: str
    predicate: str  # what is checked, in a line
    check: Check  # the verdict of a source
    quote: str = ""
    kind: Kind = "claim"  # `reviewer`: a question to the numbers; `identity`: true by definition; `reading`: our own


def not_printed(text: str) -> Judgement:
    """The paper prints no number that says it."""
    return Judgement(verdict="NOT PRINTED", text=text)


def not_measured(text: str) -> Judgement:
    """No number to judge by, and which ones would do."""
    return Judgement(verdict="NOT MEASURED", text=text)


def not_testable(text: str) -> Judgement:
    """There are numbers, and they cannot tell; why."""
    return Judgement(verdict="NOT TESTABLE", text=text)


def some(names: Sequence[str], most: int = 4) -> str:
    """The first few of `names` and how many more."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
