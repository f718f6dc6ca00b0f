"""Simulated measurements: for each claim a world in which it is true and one in which it is not, at the paper's sizes.

Every arm has five runs, which start from three checkpoints in turn where a claim is about checkpoints, as at the last
point of Figure 1, and from one at its others (decision P60). A run's score is the truth, plus the evaluation set's
share (binomial at its size; the same for all runs of an arm), plus the run's own (half of that, at least 0.3 points),
plus its checkpoint's (0.3 points, in every dataset the same). The runs of Hyperpartisan are ten folds (P15), each with
a tenth of the evaluation set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from studies.claims.claim import MODELS, OURS_B, OURS_BART, OURS_L, Key, Number, Source, by_key
from studies.claims.comparisons import GLUE, STAGED, SUMMARIES
from studies.claims.curves import BATCH, DATASET, FULL_SCALES, HETEROGENEOUS
from studies.claims.gains import mixtures
from studies.claims.method import ABLATED
from studies.claims.sources import families, paper, train_rows

RUNS, FOLDS, CHECKPOINTS = 5, 10, 3
RUN_SHARE, RUN_LEAST, CHECKPOINT = 0.5, 0.003, 0.003  # standard deviations; a run's as a share of the items', at least
EXAMPLES = {"RTE": 277, "BoolQ": 3270, "RACE": 4887, "SQuAD": 10570, "MNLI": 9815, "QNLI": 5463, "CoLA": 1043}
EXAMPLES |= {"MRPC": 408, "CQA": 1221}
UNKNOWN = 2_000  # evaluation examples where the paper's set is not known
SCALES = (10, 16, 22, 28, 34, 40, 42)
SHARES = (0.1, 0.2125, 0.325, 0.4375, 0.55, 0.6625, 0.775, 0.8875, 1.0)
World = Callable[[np.random.Generator], Source]
Worlds = tuple[tuple[str, World], tuple[str, World]]  # one in which a claim is true, one in which it is not


# ---------------------------------------------------------------- measured numbers


def _number(
    key: Key,
    truth: float,
    n: int,
    rng: np.random.Generator,
    checkpoints: Sequence[float] = (),
    x: float | None = None,
) -> Number:
    """A number measured with noise about `truth`, by its runs from `checkpoints` (their own share each) in turn."""
    study, row, column, metric = key
    folds = column == "Hyperpartisan"
    runs = FOLDS if folds else RUNS
    error = math.sqrt(max(truth * (1 - truth), 1e-4) / n)
    spread = max(RUN_LEAST, RUN_SHARE * error)
    items = rng.normal(0, error * math.sqrt(FOLDS), FOLDS) if folds else rng.normal(0, error)
    drawn = truth + items + rng.normal(0, spread, runs)
    drawn += np.resize(checkpoints or (0.0,), runs)
    seeds = tuple(map(float, drawn))
    value = float(np.mean(seeds))
    names = tuple(f"c{i % len(checkpoints)}" for i in range(runs)) if checkpoints else ()
    return Number(
        study=study, row=row, column=column, metric=metric, value=value, shown=f"{100 * value:.1f}", n=n, x=x,
        seeds=seeds, checkpoints=names, folds=folds, item_error=None if folds else error,
    )  # fmt: skip


def _source(numbers: Iterable[Number]) -> Source:
    return Source(name="ours", numbers=by_key(numbers), families=families(), train_rows=train_rows())


# ---------------------------------------------------------------- worlds of tables


def _tables(gain: Callable[[Number], float]) -> World:
    """Tables 3 to 5: plain rows as printed, each MUPPET row `gain` above its base."""
    bases = [n for n in paper().numbers.values() if n.row in MODELS]
    kept = [n for n in bases if (n.study, f"{n.row} + MUPPET", n.column, n.metric) in paper().numbers]

    def world(rng: np.random.Generator) -> Source:
        numbers = []
        for base in kept:
            n = base.n or UNKNOWN
            key = (base.study, base.row, base.column, base.metric)
            numbers.append(_number(key, base.value, n, rng))
            truth = min(base.value + gain(base), 0.995)
            numbers.append(_number((base.study, f"{base.row} + MUPPET", base.column, base.metric), truth, n, rng))
        return _source(numbers)

    return world


def _all(amount: float) -> World:
    return _tables(lambda base: amount)


def _but(column: str) -> World:
    """Every dataset gains two points but `column`, which loses as much."""
    return _tables(lambda base: -0.02 if base.column == column else 0.02)


def _rte(against: str, difference: float) -> World:
    """RTE of `against` as printed, and of RoBERTa-base with MUPPET `difference` above it."""
    base = paper().get("table3", against, "RTE", "accuracy")
    assert base is not None

    def world(rng: np.random.Generator) -> Source:
        ends = {against: base.value, OURS_B: base.value + difference}
        return _source(_number(("table3", row, "RTE", "accuracy"), v, EXAMPLES["RTE"], rng) for row, v in ends.items())

    return world


def _lead(study: str, columns: tuple[str, ...], row: str, margin: float) -> World:
    """MUPPET `margin` above the best printed rival in every cell of `columns`."""
    cells = [n for c in columns for n in paper().column(study, c) if n.metric not in ("first", "second")]
    best: dict[tuple[str, str], Number] = {}
    for n in cells:
        place = (n.column, n.metric)
        if not n.row.endswith("+ MUPPET") and (place not in best or n.value > best[place].value):
            best[place] = n

    def world(rng: np.random.Generator) -> Source:
        return _source(
            _number((study, row, n.column, n.metric), min(n.value + margin, 0.995), n.n or UNKNOWN, rng)
            for n in best.values()
        )

    return world


def _ahead(points: int, study: str, columns: tuple[str, ...], row: str) -> Worlds:
    """MUPPET `points` above the best printed rival, and as good as it."""
    true, false = (_lead(study, columns, row, margin) for margin in (points / 100, 0.0))
    return (f"{points} point{'s' * (points > 1)} ahead", true), ("as good as the best", false)


def _sized(slope: float) -> World:
    """Gains that fall by `slope` with each tenfold of training rows, from two points at ten million."""

    def gain(base: Number) -> float:
        rows = train_rows().get((base.study, base.column), 10_000)
        return 0.02 + slope * (7 - math.log10(rows))

    return _tables(gain)


def _rounds(last: float) -> World:
    """Table 6: every round gains three points, but A3 with all the training data `last`."""

    def world(rng: np.random.Generator) -> Source:
        numbers = []
        for base, muppet in ((pair.base, pair.muppet) for pair in mixtures(paper())):
            whole = base.row.endswith("S,M,F,ANLI") and base.column == "A3"
            for n, truth in ((base, base.value), (muppet, base.value + (last if whole else 0.03))):
                numbers.append(_number(("table6", n.row, n.column, n.metric), truth, base.n or UNKNOWN, rng))
        return _source(numbers)

    return world


# ---------------------------------------------------------------- worlds of figures and ablations

START = {"RTE": 0.787, "BoolQ": 0.82, "RACE": 0.65, "SQuAD": 0.86, "MNLI": 0.876}


def _curves(shapes: Mapping[str, Callable[[float], float]]) -> World:
    """Figure 1: a row per dataset, its base and the score above it at each scale; u runs from 0 to 1."""

    def world(rng: np.random.Generator) -> Source:
        numbers = []
        for row, shape in shapes.items():
            for x in (0, *SCALES):
                truth = START[row] + (shape((x - SCALES[0]) / (SCALES[-1] - SCALES[0])) if x else 0.0)
                own = rng.normal(0, CHECKPOINT, CHECKPOINTS if x == SCALES[-1] else 1 if x else 0).tolist()
                key = ("figure1", row, f"{x} sets", "accuracy")
                numbers.append(_number(key, truth, EXAMPLES[row], rng, own, x))
        return _source(numbers)

    return world


def _dipping(u: float) -> float:
    return -0.04 + 0.08 * u


def _rising(u: float) -> float:
    return 0.01 + 0.05 * u


def _flattening(u: float) -> float:
    return 0.01 + 0.05 * -math.expm1(-8 * u)


def _peaking(u: float) -> float:
    return 0.01 + 0.10 * (1 - abs(2 * u - 0.6))


def _policies(margin: float) -> World:
    def world(rng: np.random.Generator) -> Source:
        numbers = []
        for row, extra in ((HETEROGENEOUS, margin), (BATCH, 0.0), (DATASET, 0.0)):
            own = rng.normal(0, CHECKPOINT, CHECKPOINTS).tolist()
            for column, start in START.items():
                key = ("figure2", row, column, "accuracy")
                numbers.append(_number(key, start + extra, EXAMPLES[column], rng, own))
        return _source(numbers)

    return world


def _maps(early: float, rise: float) -> World:
    """Figure 3: scores that rise by four points over the shares, by `rise` over the scales; 34 and 40 sets stand
    `early` above the base's full score with half the data."""

    def world(rng: np.random.Generator) -> Source:
        numbers = []
        for dataset, start in (("QNLI", 0.90), ("CoLA", 0.80)):
            for scale in (0, *SCALES):
                own = rise * scale / SCALES[-1] + (rng.normal(0, CHECKPOINT) if scale else 0.0)
                for share in SHARES:
                    truth = start + 0.04 * share + own
                    if scale in FULL_SCALES and early:
                        truth = start + 0.04 + early
                    key = ("figure3", f"{dataset} | {scale} sets", f"{100 * share:g} %", "accuracy")
                    numbers.append(_number(key, truth, EXAMPLES[dataset], rng, x=share))
        return _source(numbers)

    return world


def _arms(claim: str, margin: float, checkpoints: int = CHECKPOINTS) -> World:
    better, others = ABLATED[claim]
    columns = {"RTE": 0.85, "MRPC": 0.90, "BoolQ": 0.83, "CQA": 0.70, "SQuAD": 0.86}

    def world(rng: np.random.Generator) -> Source:
        numbers = []
        for row in (better, *(f"{better}, {other}" for other in others)):
            own = rng.normal(0, CHECKPOINT, checkpoints).tolist() if checkpoints > 1 else (0.0,)
            for column, start in columns.items():
                key = ("ablations", row, column, "accuracy")
                truth = start + (margin if row == better else 0.0)
                numbers.append(_number(key, truth, EXAMPLES[column], rng, own))
        return _source(numbers)

    return world


WORLDS: dict[str, Worlds] = {
    "C1": (("every gain is 2 points", _all(0.02)), ("POS loses 2", _but("POS"))),
    "C2": (("every gain is 2 points", _all(0.02)), ("HellaSwag loses 2", _but("HellaSwag"))),
    "C3": (("every gain is 2 points", _all(0.02)), ("every gain is none", _all(0.0))),
    "C4": (("every gain is 2 points", _all(0.02)), ("POS loses 2", _but("POS"))),
    "C5": (("a gain of 9 points", _rte("RoBERTa-B", 0.09)), ("a gain of 4", _rte("RoBERTa-B", 0.04))),
    "C6": (("no difference", _rte("RoBERTa-L", 0.0)), ("3 points below", _rte("RoBERTa-L", -0.03))),
    "C7": _ahead(3, "table3", ("RTE",), OURS_L),
    "C8": _ahead(1, "table4", ("HellaSwag",), OURS_L),
    "C9": (("3 points a tenfold", _sized(0.03)), ("the same gain at every size", _sized(0.0))),
    "C10": (("every gain is 3 points", _all(0.03)), ("every gain is none", _all(0.0))),
    "C11": _ahead(1, "table4", SUMMARIES["table4"], OURS_BART),
    "C12": _ahead(1, "table5", SUMMARIES["table5"], OURS_BART),
    "C13": (("every gain is 2 points", _all(0.02)), ("POS loses 2", _but("POS"))),
    "C14": (("every gain is 3 points", _rounds(0.03)), ("one loses 3", _rounds(-0.03))),
    "C16": _ahead(1, "table3", GLUE, OURS_L),
    "C17": (("every gain is 2 points", _all(0.02)), ("CQA loses 2", _but("CQA"))),
    "C23": (
        ("four of five dip by 4 points", _curves({r: _rising if r == "RTE" else _dipping for r in START})),
        ("none dips", _curves(dict.fromkeys(START, _rising))),
    ),
    "C24": (("a line up 5 points", _curves({"RTE": _rising})), ("a peak of 10 points", _curves({"RTE": _peaking}))),
    "C25": (
        ("lines up 5 points", _curves(dict.fromkeys(START, _rising))),
        ("all flatten by a third", _curves(dict.fromkeys(START, _flattening))),
    ),
    "C26": (("2 points ahead", _policies(0.02)), ("no difference", _policies(0.0))),
    "C27": (("2 points above with half", _maps(0.02, 0.0)), ("no gain", _maps(0.0, 0.0))),
    "C28": (("up 3 points over the range", _maps(0.0, 0.03)), ("no trend", _maps(0.0, 0.0))),
    "C32": (("every gain is 5 points", _all(0.05)), ("as good", _lead("table3", STAGED, OURS_L, -0.015))),
    "C33": (("every gain is 2 points", _all(0.02)), ("no gain", _all(0.0))),
    "C34": (("4 points ahead", _arms("C34", 0.04)), ("1 point ahead", _arms("C34", 0.01))),
    "C35": (("2 points ahead", _arms("C35", 0.02)), ("no difference", _arms("C35", 0.0))),
    "C36": (("4 points ahead", _arms("C36", 0.04)), ("1 point ahead", _arms("C36", 0.01))),
    "C37": (("2 points ahead", _arms("C37", 0.02)), ("no difference", _arms("C37", 0.0))),
    "C38": (("2 points ahead", _arms("C38", 0.02, 1)), ("no difference", _arms("C38", 0.0, 1))),
}
