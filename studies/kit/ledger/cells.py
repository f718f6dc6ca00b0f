"""Cells from results: every run of a cell reduced to one number by a protocol, beside what the paper prints.

pandas is imported when a frame is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from muppet.result import Score
from muppet.runs import Prefinetune, Run, parent, run_id
from studies.kit import profiles
from studies.kit.decisions import option
from studies.kit.ledger import reference
from studies.kit.ledger.folder import failures
from studies.kit.ledger.intervals import bounds, item_error, of_runs, with_items
from studies.kit.ledger.reference import Printed
from studies.kit.ledger.results import Collected, read_all
from studies.kit.study import Cell, Study

if TYPE_CHECKING:
    import pandas as pd

PROTOCOLS = ("paper", "honest", "last")


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """A cell under one protocol; scores are fractions of 1.

    `value` is the mean over the chosen point's runs, and `low`, `high` are the 95 % interval of that mean over runs and
    evaluation items, within the metric's range; there is none below three runs. `seeds_done` counts the chosen point's
    seeds, `runs_done` every finished run. `difference` stands only where the profile's numbers are like the paper's.
    Of a cross-validation (`folds`) the runs are its folds, and `value` is the score of their rows together.
    """

    study: str
    row: str
    column: str
    metric: str
    protocol: str
    state: str  # measured, pending, failed, refused, paper only, not in this profile, or what the study says
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    seeds: tuple[float, ...] = ()  # the chosen point's scores, one a run
    seeds_done: int = 0
    seeds_total: int = 0
    runs_done: int = 0
    runs_total: int = 0
    item_error: float | None = None  # standard error over evaluation items, the mean of the chosen runs' own; no folds'
    folds: bool = False
    checkpoints: tuple[str, ...] = ()  # the pre-finetuning behind each chosen run; empty without one
    trivial: float | None = None  # the score of an answer without learning, as the runs recorded it
    paper: float | None = None
    printed: str | None = None
    difference: float | None = None
    picked: tuple[str, ...] = ()  # ids of the runs that stand for the cell
    machine: str = ""  # precision and device of the chosen runs; several, where they differ
    dirty: bool = False  # a chosen run was done with uncommitted changes to the code


def cells_frame(
    study: Study, profile: str, collected: Collected | None = None, protocols: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per cell and protocol, in declared order; the columns are `CellResult`'s fields.

    By default only the protocol in force (decision `protocol`) is given. A cell without runs stands once for each
    metric that the paper prints there (a pair such as accuracy/F1).
    """
    import pandas as pd

    collected = collected or read_all(profile)
    kinds = protocols or (str(option("protocol")),)
    scores = {kind: _scores(study, collected.frame, kind) for kind in kinds}
    trivial = _trivial(study, collected.frame)
    comparable = profiles.get(profile).comparable
    printed = printed_cells(study)
    lost = dict.fromkeys(collected.refused_runs, "refused")
    lost |= dict.fromkeys(failures(name for name in study.runs() if name not in collected.done), "failed")
    dirty = frozenset(collected.frame.loc[collected.frame["dirty"], "run"])
    done_on = collected.frame[["run", "precision", "device"]].itertuples(index=False)
    machines = {run: ", ".join(filter(None, pair)) for run, *pair in done_on}
    rows = []
    for cell in study.cells:
        metrics = [metric for row, column, metric in printed if (row, column) == (cell.row, cell.column)]
        for metric in metrics if metrics and not cell.runs and cell.metric not in metrics else [cell.metric]:
            paper = printed.get((cell.row, cell.column, metric))
            own = replace(cell, metric=metric)
            for kind in kinds:
                result = _measure(study, own, kind, scores[kind], lost, dirty, paper)
                machine = " / ".join(sorted({machines[name] for name in result.picked}))
                result = replace(result, trivial=trivial.get((*result.picked[:1], cell.score)), machine=machine)
                rows.append(result if comparable else replace(result, difference=None))
    frame = pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(CellResult)])
    numbers = ["value", "low", "high", "item_error", "trivial", "paper", "difference"]
    return frame.astype(dict.fromkeys(numbers, "float64") | {"n": "Int64"})


def _measure(
    study: Study,
    cell: Cell,
    protocol: str,
    scores: dict[tuple[str, str], Score],
    lost: dict[str, str],
    dirty: frozenset[str],
    paper: Printed | None,
) -> CellResult:
    value = paper.value if paper else None
    cell = replace(cell, runs=cell.needs(protocol))
    common: dict[str, Any] = {"study": study.name, "row": cell.row, "column": cell.column, "metric": cell.metric}
    common |= {"protocol": protocol, "paper": value, "printed": paper.printed if paper else None}
    if not cell.runs:
        return CellResult(**common, state=cell.why or "paper only")
    ids = [run_id(run) for run in cell.runs]
    seeds = len({run.seed for run in cell.runs})
    have = {name: score for name in ids if (score := _score(scores, name, cell.score))}
    common |= {"runs_done": len(have), "runs_total": len(ids), "seeds_total": seeds, "folds": cell.folds}
    picked = reduce(cell, scores, protocol)
    if not picked:
        parents = [run_id(before) for run in cell.runs if (before := parent(run)) is not None]
        states = {lost[name] for name in (*ids, *parents) if name in lost and name not in have}
        return CellResult(**common, state=min(states, default="pending"))
    chosen = [have[name] for name in picked]
    values = [score.value for score in chosen]
    whole = _pooled(chosen) if cell.folds else replace(chosen[0], value=fmean(values))
    start = {run_id(run): run_id(init) for run in cell.runs if (init := parent(run)) is not None}
    checkpoints = tuple(start[name] for name in picked if name in start)
    errors = [item_error(score.low, score.high) for score in chosen if score.low is not None and score.high is not None]
    over_items = fmean(errors) if errors and not cell.folds else None
    runs = of_runs(values, checkpoints if len(checkpoints) == len(values) else (), folds=cell.folds)
    range_ = bounds(cell.score.rsplit("/", 1)[-1])
    interval = with_items(replace(runs, value=whole.value), over_items).within(*range_) if runs else None
    return CellResult(
        **common,
        state="measured",
        value=whole.value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=whole.n,
        seeds=tuple(values),
        seeds_done=len(chosen),
        item_error=over_items,
        checkpoints=checkpoints,
        difference=whole.value - value if value is not None else None,
        picked=tuple(picked),
        dirty=any(name in dirty for name in picked),
    )


def reduce(cell: Cell, scores: dict[tuple[str, str], Score], protocol: str) -> list[str]:
    """Ids of the finished runs that stand for the cell: all seeds (or folds) of one point of the search; none when no
    point can be judged yet.

    `paper`: the point whose median over seeds is best on the evaluation split (§4, P37), by the score that judges the
    cell: all scores of a task come from one point. `honest`: the point whose mean over seeds is best on held-out
    training rows; a search of one point needs no selection. `last`: as `paper`, with `scores` of the weights at the
    end. A point with more finished seeds goes before one with fewer, so that half a grid is not judged by its luckiest
    run. Folds count only together.
    """
    if not any(_score(scores, run_id(run), cell.score) for run in cell.runs):
        return []
    points = _points(cell)
    honest = protocol == "honest" and len(points) > 1
    judge = cell.select if honest else cell.judge or cell.score
    best: tuple[int, float] | None = None
    picked: list[str] = []
    for runs in points:
        names = [run_id(run) for run in runs if _score(scores, run_id(run), cell.score)]
        judged = [score.value for name in names if judge and (score := _score(scores, name, judge))]
        if not judged or len(judged) < len(names) or (cell.folds and len(names) < len(runs)):
            continue
        rank = (len(names), fmean(judged) if honest or cell.folds else median(judged))
        if best is None or rank > best:
            best, picked = rank, names
    return picked


def search_scores(study: Study, collected: Collected) -> dict[tuple[str, str, str], list[float]]:
    """(row, column, metric) → the mean over seeds of each point of the search that has a score."""
    scores = _scores(study, collected.frame, "paper")
    means: dict[tuple[str, str, str], list[float]] = {}
    for cell in study.cells:
        for runs in _points(cell):
            own = [score.value for run in runs if (score := _score(scores, run_id(run), cell.score))]
            if own:
                means.setdefault((cell.row, cell.column, cell.metric), []).append(fmean(own))
    return means


def _points(cell: Cell) -> list[list[Run]]:
    """The runs of a cell by point of its search."""
    points: dict[Run, list[Run]] = {}
    for run in cell.runs:
        points.setdefault(_point(run, cell.folds), []).append(run)
    return list(points.values())


def _point(run: Run, folds: bool) -> Run:
    """What the seeds of one point share, those of its pre-finetuning too; folds differ in their task's partition."""
    if isinstance(run, Prefinetune):
        return replace(run, seed=0)
    if isinstance(run.init, Prefinetune) and run.init.seed:
        run = replace(run, init=replace(run.init, seed=0))
    task = replace(run.task, partition=None) if folds else run.task
    return replace(run, seed=0, draw=None, task=task)


def _score(scores: dict[tuple[str, str], Score], name: str, key: str) -> Score | None:
    """The score `key` of run `name`; of several keys joined by ` + `, their mean weighted by n when all are there."""
    parts = [scores.get((name, one)) for one in key.split(" + ")]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return known[0] if len(known) == 1 else _pooled(known)


def _pooled(parts: Sequence[Score]) -> Score:
    """Scores over separate items as one: mean weighted by n, and the interval that independent parts give it."""
    n = sum(part.n for part in parts)
    value = sum(part.value * part.n for part in parts) / n
    if any(part.low is None or part.high is None for part in parts):
        return Score(value=value, n=n)
    below = sum((part.n / n * (part.value - (part.low or 0))) ** 2 for part in parts) ** 0.5
    above = sum((part.n / n * ((part.high or 0) - part.value)) ** 2 for part in parts) ** 0.5
    return Score(value=value, n=n, low=value - below, high=value + above)


def _trivial(study: Study, frame: pd.DataFrame) -> dict[tuple[str, ...], float]:
    """(run, key) → the score of an answer without learning, where the run recorded one."""
    known = frame[frame["trivial"].notna() & frame["run"].isin(_ids(study))]
    return {(run, key): value for run, key, value in zip(known["run"], known["key"], known["trivial"], strict=True)}


def _scores(study: Study, frame: pd.DataFrame, protocol: str) -> dict[tuple[str, str], Score]:
    """(run, key) → score, for the runs of `study`: of the weights that the run kept as best, or of its last ones."""
    import pandas as pd

    if frame.empty:
        return {}
    ids = _ids(study)
    kept = {name for name, apart in ids.items() if keeps_best(protocol, held_out=apart)}
    names = ["run", "key", "n", "value", "low", "high", "last", "last_low", "last_high"]
    scores = {}
    for run, key, n, *both in frame.loc[frame["run"].isin(ids), names].itertuples(index=False):
        value, low, high = (None if pd.isna(x) else x for x in (both[:3] if run in kept else both[3:]))
        if value is not None:
            scores[run, key] = Score(value=value, n=n, low=low, high=high)
    return scores


def keeps_best(protocol: str, *, held_out: bool) -> bool:
    """Whether `protocol` reads the weights that a run kept as best, and not its last ones.

    They were best on the evaluation split, so `last` does not read them, nor does `honest` where a run holds no rows
    out to judge by.
    """
    return protocol == "paper" or (protocol == "honest" and held_out)


def _ids(study: Study) -> dict[str, bool]:
    """Every run that some protocol reads → whether it holds rows out."""
    return {
        run_id(run): held
        for cell in study.cells
        for held, runs in ((False, cell.runs), (True, cell.honest))
        for run in runs
    }


def printed_cells(study: Study) -> dict[tuple[str, str, str], Printed]:
    """The paper's cells of this artefact by (row, column, metric)."""
    if study.reference is None:
        return {}
    return {(p.row, p.column, p.metric): p for p in reference.table(study.reference)}
