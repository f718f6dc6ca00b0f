"""Result files into rows: strict about every file, quick about ten thousand of them.

A file that cannot be trusted is refused by name and the rest goes on. What was read is kept in a cache keyed by path,
time and size, so that a second look costs a directory listing. pandas is imported when a frame is asked for: plan and
status do without.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muppet import paths
from muppet.paths import write_text
from muppet.result import SCHEMA, ResultError, Score, read
from studies.kit.ledger.folder import RESULTS, files

if TYPE_CHECKING:
    import pandas as pd

NO_SCORE = Score(value=float("nan"), n=0)
RUN_COLUMNS = {
    "run": "object",
    "key": "object",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "n": "int64",
    "last": "float64",
    "last_low": "float64",
    "last_high": "float64",
    "trivial": "float64",
    "seconds": "float64",
    "device": "object",
    "precision": "object",
    "processes": "int64",
    "dirty": "bool",
    "other_start": "bool",  # from other weights than its pre-finetuning's result names: that was done again
    "path": "object",
}


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


# ---------------------------------------------------------------- files


def _stamps(folder: Path) -> Iterable[tuple[str, tuple[int, int]]]:
    """(path, (mtime in ns, size)) of every result file under `folder`."""
    for stage in ("prefinetune", "finetune"):
        for entry in files(folder / stage):
            if entry.name.endswith(".json"):
                with contextlib.suppress(FileNotFoundError):  # a link to nothing, or gone since
                    stat = entry.stat()
                    yield entry.path, (stat.st_mtime_ns, stat.st_size)


def _rows(path: str) -> list[list[Any]]:
    result = read(Path(path))
    cost, environment, trivial = result.cost, result.environment, result.training.get("trivial") or {}
    return [
        [
            result.id,
            key,
            score.value,
            score.low,
            score.high,
            score.n,
            *((last := result.last.get(key, NO_SCORE)).value, last.low, last.high),
            _number(trivial.get(key)),
            float(cost.get("seconds") or 0),
            str(cost.get("device") or ""),
            str(cost.get("precision") or ""),
            int(cost.get("processes") or 1),
            bool(environment.get("dirty")),
            _other_start(result.training.get("start") or {}),
            path,
        ]
        for key, score in (result.scores or {"": NO_SCORE}).items()
    ]


def _other_start(start: Mapping[str, Any]) -> bool:
    return start.get("recorded") not in (None, start.get("weights"))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


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
