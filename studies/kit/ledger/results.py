"""Results into tidy frames: strict about every file, quick about ten thousand of them.

A file that cannot be trusted is refused by name and the rest goes on. What was read is kept in a cache keyed by path,
time and size, so that a second look costs a directory listing. pandas is imported when a frame is asked for: plan and
status do without.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from muppet import paths
from muppet.paths import write_text
from muppet.result import SCHEMA, ResultError, Score, read
from muppet.runs import Prefinetune, Run, parent, run_id
from studies.kit.decisions import option
from studies.kit.ledger import reference
from studies.kit.ledger.reference import Printed
from studies.kit.study import Cell, Study

if TYPE_CHECKING:
    import pandas as pd

RESULTS = Path("results")
PROTOCOLS = ("paper", "honest")
NO_SCORE = Score(value=float("nan"), n=0)
RUN_COLUMNS = {
    "run": "object",
    "key": "object",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "n": "int64",
    "seconds": "float64",
    "device": "object",
    "processes": "int64",
    "dirty": "bool",
    "path": "object",
}


def result_path(profile: str, run: Run | str) -> Path:
    """Where the result of `run` (or of the run with this id) lies: `results/<profile>/<stage>/<id>.json`."""
    name = run if isinstance(run, str) else run_id(run)
    return RESULTS / profile / name.split("-", 1)[0] / f"{name}.json"


@dataclass(frozen=True, kw_only=True)
class Collected:
    """All results of a profile. `rows`: one per run and score (RUN_COLUMNS), sorted, and one with an empty key for a
    run that has no score (a pre-finetuning). `refused`: path → why."""

    rows: Sequence[Sequence[Any]]
    refused: dict[str, str]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The rows as a frame."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(RUN_COLUMNS)).astype(RUN_COLUMNS)

    @cached_property
    def done(self) -> frozenset[str]:
        """Ids of the runs with a trusted result."""
        return frozenset(row[0] for row in self.rows)

    @property
    def spent(self) -> dict[str, dict[str, Any]]:
        """What each run cost: `seconds`, `device`, `processes`."""
        named = (dict(zip(RUN_COLUMNS, row)) for row in self.rows)
        return {row["run"]: {name: row[name] for name in ("seconds", "device", "processes")} for row in named}


def read_all(profile: str) -> Collected:
    """Every result of `profile`. Nothing is raised for a bad file: it stands in `refused`."""
    stamps = dict(_stamps(RESULTS / profile))
    rows, refused = _cached(profile, stamps)
    known = {row[-1] for row in rows} | set(refused)
    for path in sorted(stamps.keys() - known):
        try:
            rows += _rows(path)
        except (ResultError, OSError) as error:
            refused[path] = str(error)
    if len(known) != len(stamps):
        rows.sort(key=lambda row: row[:2])
        _keep(profile, rows, refused, stamps)
    return Collected(rows=rows, refused=refused)


def runs_frame(profile: str) -> pd.DataFrame:
    """One row per run and score: `run`, `key`, `value`, `low`, `high`, `n`, and facts of the run (see RUN_COLUMNS)."""
    frame = read_all(profile).frame
    return frame[frame["key"] != ""].reset_index(drop=True)


def begun() -> frozenset[str]:
    """Ids of the runs that have a folder, and so may have a failure or a process: one look, not one per run."""
    try:
        return frozenset(os.listdir(paths.run_dir("")))
    except OSError:
        return frozenset()


def failures(ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The failure records of those of `ids` that failed last: `error`, `traceback`, `count`, `when`."""
    found: dict[str, dict[str, Any]] = {}
    for name in begun().intersection(ids):
        try:
            found[name] = json.loads((paths.run_dir(name) / "failure.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            continue
    return found


# ---------------------------------------------------------------- cells


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A cell under one protocol; scores are fractions of 1.

    `low`, `high`: the 95 % interval over evaluation items (mean of the chosen runs' own); `seed_low`, `seed_high`: the
    95 % interval of the mean over seeds. `seeds_done` counts the chosen point's seeds, `runs_done` every finished run.
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
    seeds: tuple[float, ...] = ()  # the chosen point's scores, one a seed
    seeds_done: int = 0
    seeds_total: int = 0
    runs_done: int = 0
    runs_total: int = 0
    seed_low: float | None = None
    seed_high: float | None = None
    paper: float | None = None
    printed: str | None = None
    difference: float | None = None
    picked: tuple[str, ...] = ()  # ids of the runs that stand for the cell
    dirty: bool = False  # a chosen run was done with uncommitted changes to the code


def cells_frame(
    study: Study, profile: str, collected: Collected | None = None, protocols: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per cell and protocol, in declared order; the columns are `Measured`'s fields.

    By default only the protocol in force (decision `protocol`) is given. A cell without runs stands once for each
    metric that the paper prints there (a pair such as accuracy/F1).
    """
    import pandas as pd

    collected = collected or read_all(profile)
    kinds = protocols or (str(option("protocol")),)
    scores = _scores(study, collected.frame)
    printed = _printed(study)
    lost = {Path(path).stem: "refused" for path in collected.refused}
    lost |= dict.fromkeys(failures(name for name in study.runs() if name not in collected.done), "failed")
    dirty = frozenset(collected.frame.loc[collected.frame["dirty"], "run"])
    rows = []
    for cell in study.cells:
        metrics = [metric for row, column, metric in printed if (row, column) == (cell.row, cell.column)]
        for metric in metrics if metrics and not cell.runs and cell.metric not in metrics else [cell.metric]:
            paper = printed.get((cell.row, cell.column, metric))
            rows += [_measure(study, replace(cell, metric=metric), kind, scores, lost, dirty, paper) for kind in kinds]
    frame = pd.DataFrame([asdict(row) for row in rows], columns=[f.name for f in fields(Measured)])
    numbers = ["value", "low", "high", "seed_low", "seed_high", "paper", "difference"]
    return frame.astype(dict.fromkeys(numbers, "float64") | {"n": "Int64"})


def _measure(
    study: Study,
    cell: Cell,
    protocol: str,
    scores: dict[tuple[str, str], Score],
    lost: dict[str, str],
    dirty: frozenset[str],
    paper: Printed | None,
) -> Measured:
    value = paper.value if paper else None
    common: dict[str, Any] = {
        "study": study.name,
        "row": cell.row,
        "column": cell.column,
        "metric": cell.metric,
        "protocol": protocol,
        "paper": value,
        "printed": paper.printed if paper else None,
    }
    if not cell.runs:
        return Measured(**common, state=cell.why or "paper only")
    ids = [run_id(run) for run in cell.runs]
    seeds = 1 if cell.folds else len({run.seed for run in cell.runs})
    have = {name: score for name in ids if (score := _score(scores, name, cell.score))}
    common |= {"runs_done": len(have), "runs_total": len(ids), "seeds_total": seeds}
    picked = reduce(cell, scores, protocol)
    if not picked:
        parents = [run_id(up) for run in cell.runs if (up := parent(run)) is not None]
        states = {lost[name] for name in (*ids, *parents) if name in lost and name not in have}
        return Measured(**common, state=min(states, default="pending"))
    chosen = [have[name] for name in picked]
    if cell.folds:
        chosen = [_pooled(chosen)]
    values = [score.value for score in chosen]
    middle = median(values) if protocol == "paper" else fmean(values)
    low, high = _seed_interval(values)
    items = [score for score in chosen if score.low is not None and score.high is not None]
    return Measured(
        **common,
        state="measured",
        value=middle,
        low=fmean(score.low or 0 for score in items) if items else None,
        high=fmean(score.high or 0 for score in items) if items else None,
        n=chosen[0].n,
        seeds=tuple(values),
        seeds_done=len(chosen),
        seed_low=low,
        seed_high=high,
        difference=middle - value if value is not None else None,
        picked=tuple(picked),
        dirty=any(name in dirty for name in picked),
    )


def reduce(cell: Cell, scores: dict[tuple[str, str], Score], protocol: str) -> list[str]:
    """Ids of the finished runs that stand for the cell: all seeds (or folds) of one point of the search; none when no
    point can be judged yet.

    `paper`: the point whose median over seeds is best on the evaluation split (§4, P37). `honest`: the point whose
    mean over seeds is best on held-out training rows; a search of one point needs no selection. A point with more
    finished seeds goes before one with fewer, so that half a grid is not judged by its luckiest run. Folds count only
    together.
    """
    if not any(_score(scores, run_id(run), cell.score) for run in cell.runs):
        return []
    points: dict[Run, list[Run]] = {}
    for run in cell.runs:
        points.setdefault(_point(run, cell.folds), []).append(run)
    honest = protocol == "honest" and len(points) > 1
    judge = cell.select if honest else cell.score
    best: tuple[int, float] | None = None
    picked: list[str] = []
    for runs in points.values():
        names = [run_id(run) for run in runs if _score(scores, run_id(run), cell.score)]
        judged = [score.value for name in names if judge and (score := _score(scores, name, judge))]
        if not judged or len(judged) < len(names) or (cell.folds and len(names) < len(runs)):
            continue
        rank = (len(names), fmean(judged) if honest or cell.folds else median(judged))
        if best is None or rank > best:
            best, picked = rank, names
    return picked


def _point(run: Run, folds: bool) -> Run:
    """What the seeds of one point share; folds differ in their task's partition too."""
    if isinstance(run, Prefinetune):
        return replace(run, seed=0)
    task = replace(run.task, partition=None) if folds else run.task
    return replace(run, seed=0, draw=None, task=task)


def _score(scores: dict[tuple[str, str], Score], name: str, key: str) -> Score | None:
    """The score `key` of run `name`; of several keys joined by ` + `, their mean weighted by n when all are there."""
    parts = [scores.get((name, one)) for one in key.split(" + ")]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return found[0] if len(found) == 1 else _pooled(found)


def _pooled(parts: Sequence[Score]) -> Score:
    """Scores over separate items as one: mean weighted by n, and the interval that independent parts give it."""
    n = sum(part.n for part in parts)
    value = sum(part.value * part.n for part in parts) / n
    if any(part.low is None or part.high is None for part in parts):
        return Score(value=value, n=n)
    down = sum((part.n / n * (part.value - (part.low or 0))) ** 2 for part in parts) ** 0.5
    up = sum((part.n / n * ((part.high or 0) - part.value)) ** 2 for part in parts) ** 0.5
    return Score(value=value, n=n, low=value - down, high=value + up)


def _seed_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % Student interval of the mean over seeds, around the middle; none for a single seed."""
    from studies.kit.ledger.stats import seed_interval

    interval = seed_interval(values)
    return (interval.low, interval.high) if len(values) > 1 else (None, None)


def _scores(study: Study, frame: pd.DataFrame) -> dict[tuple[str, str], Score]:
    """(run, key) → score, for the runs of `study`."""
    import pandas as pd

    if frame.empty:
        return {}
    here = frame[frame["run"].isin(study.runs())]
    return {
        (run, key): Score(value=value, n=n, low=None if pd.isna(low) else low, high=None if pd.isna(high) else high)
        for run, key, value, low, high, n in here[["run", "key", "value", "low", "high", "n"]].itertuples(index=False)
    }


def _printed(study: Study) -> dict[tuple[str, str, str], Printed]:
    """The paper's cells of this artefact by (row, column, metric); figures print none."""
    if not study.name.startswith("table"):
        return {}
    return {(p.row, p.column, p.metric): p for p in reference.table(int(study.name.removeprefix("table")))}


# ---------------------------------------------------------------- files


def _stamps(folder: Path) -> Iterable[tuple[str, tuple[int, int]]]:
    """(path, (mtime in ns, size)) of every result file under `folder`."""
    for stage in ("prefinetune", "finetune"):
        try:
            with os.scandir(folder / stage) as entries:
                for entry in entries:
                    if entry.name.endswith(".json") and not entry.name.startswith("."):
                        stat = entry.stat()
                        yield entry.path, (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            continue


def _rows(path: str) -> list[list[Any]]:
    result = read(Path(path))
    cost, environment = result.cost, result.environment
    return [
        [
            result.id,
            key,
            score.value,
            score.low,
            score.high,
            score.n,
            float(cost.get("seconds") or 0),
            str(cost.get("device") or ""),
            int(cost.get("processes") or 1),
            bool(environment.get("dirty")),
            path,
        ]
        for key, score in (result.scores or {"": NO_SCORE}).items()
    ]


def _cache_file(profile: str) -> Path:
    return paths.cache() / f"collected-{profile}.json"


def _cached(profile: str, stamps: dict[str, tuple[int, int]]) -> tuple[list[list[Any]], dict[str, str]]:
    """What an earlier look read of the files that have not changed since."""
    try:
        kept = json.loads(_cache_file(profile).read_text(encoding="utf-8"))
        if kept["version"] != _version():
            return [], {}
        same = {path for path, stamp in kept["stamps"].items() if stamps.get(path) == tuple(stamp)}
        rows = [row for row in kept["rows"] if row[-1] in same]
        return rows, {path: why for path, why in kept["refused"].items() if path in same}
    except (OSError, KeyError, TypeError, ValueError, AttributeError, IndexError):
        return [], {}


def _keep(profile: str, rows: list[list[Any]], refused: dict[str, str], stamps: dict[str, tuple[int, int]]) -> None:
    """Write the cache whole; a place where it cannot be written only costs time."""
    kept = {"version": _version(), "stamps": stamps, "refused": refused, "rows": rows}
    with contextlib.suppress(OSError):
        write_text(_cache_file(profile), json.dumps(kept))


def _version() -> list[Any]:
    """What a cache must have been written with: the schema of results, and this folder."""
    return [SCHEMA, list(RUN_COLUMNS), str(RESULTS.resolve())]
