"""Result files into rows: strict about every file, quick about ten thousand of them.

A file that cannot be trusted is refused by name and the rest goes on. What was read is kept in a cache keyed by path,
time and size, so that a second look costs a directory listing. pandas is imported when a frame is asked for: plan and
status do without.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muppet import paths, result
from muppet.paths import write_text
from muppet.result import ResultError, Score, read
from studies.kit.ledger.folder import RESULTS, files, result_path

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("prefinetune", "finetune")
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

    @cached_property
    def refused_runs(self) -> dict[str, str]:
        """`refused` by the id that a file is named after."""
        return {Path(path).stem: why for path, why in self.refused.items()}

    @property
    def spent(self) -> dict[str, dict[str, Any]]:
        """What each run cost: `seconds`, `device`, `processes`."""
        named = (dict(zip(RUN_COLUMNS, row)) for row in self.rows)
        return {row["run"]: {name: row[name] for name in ("seconds", "device", "processes")} for row in named}


def read_all(profile: str) -> Collected:
    """Every result of `profile`. Nothing is raised for a bad file: it stands in `refused`."""
    stamps = dict(_stamps(RESULTS / profile))
    astray = {path: why for path in stamps if (why := _astray(profile, path))}
    stamps = {path: stamp for path, stamp in stamps.items() if path not in astray}
    rows, refused = _cached(profile, stamps)
    known = {row[-1] for row in rows} | set(refused)
    unread = {}  # looked at again next time: what comes to be readable keeps its time and size
    for path in sorted(stamps.keys() - known):
        try:
            rows += _rows(path)
        except ResultError as error:
            refused[path] = str(error)
        except OSError as error:
            unread[path] = f"{path}: cannot be read ({error.strerror}); repair that, then give the same command again"
    if len(known) != len(stamps):
        rows.sort(key=lambda row: row[:2])
        _keep(profile, rows, refused, stamps)
    return Collected(rows=rows, refused=refused | unread | astray)


# ---------------------------------------------------------------- files


def _stamps(folder: Path) -> Iterable[tuple[str, tuple[int, int]]]:
    """(path, (mtime in ns, size)) of every result file under `folder`."""
    for stage in STAGES:
        for entry in files(folder / stage):
            if entry.name.endswith(".json"):
                try:
                    stat = entry.stat()
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ELOOP):  # a link to nothing or itself, or gone since
                        raise
                else:
                    yield entry.path, (stat.st_mtime_ns, stat.st_size)


def _astray(profile: str, path: str) -> str:
    """Why a result does not lie where a launch looks for it: a second one of its run, or one that was moved; or empty.
    It depends on the other files, so no cache holds it."""
    stage, name = Path(path).stem.split("-", 1)[0], Path(path).stem
    if stage not in STAGES or Path(path) == RESULTS / profile / stage / f"{name}.json":
        return ""
    place = result_path(profile, name)
    return "" if Path(path) == place else f"{path}: a launch looks for this result in {place}; keep one of it, there"


def _rows(path: str) -> list[list[Any]]:
    run = read(Path(path))
    cost, environment, trivial = run.cost, run.environment, run.training.get("trivial", {})
    start = run.training.get("start", {})
    return [
        [
            run.id,
            key,
            score.value,
            score.low,
            score.high,
            score.n,
            *((last := run.last.get(key, NO_SCORE)).value, last.low, last.high),
            trivial.get(key),
            float(cost.get("seconds") or 0),
            str(cost.get("device") or ""),
            str(cost.get("precision") or ""),
            int(cost.get("processes") or 1),
            bool(environment.get("dirty")),
            start.get("recorded") not in (None, start.get("weights")),
            path,
        ]
        for key, score in (run.scores or {"": NO_SCORE}).items()
    ]


def _cache_file(profile: str) -> Path:
    return paths.cache() / f"collected-{profile}.json"


def _cached(profile: str, stamps: dict[str, tuple[int, int]]) -> tuple[list[list[Any]], dict[str, str]]:
    """What an earlier look read of the files that have not changed since."""
    try:
        mark, _, text = _cache_file(profile).read_text(encoding="utf-8").partition("\n")
        if mark != _mark(text):
            return [], {}
        kept = json.loads(text)
        same = {path for path, stamp in kept["stamps"].items() if stamps.get(path) == tuple(stamp)}
        rows = [row for row in kept["rows"] if row[-1] in same]
        return rows, {path: why for path, why in kept["refused"].items() if path in same}
    except (OSError, ValueError):
        return [], {}


def _keep(profile: str, rows: list[list[Any]], refused: dict[str, str], stamps: dict[str, tuple[int, int]]) -> None:
    """Write the cache whole; a place where it cannot be written only costs time."""
    text = json.dumps({"stamps": stamps, "refused": refused, "rows": rows})
    with contextlib.suppress(OSError):
        write_text(_cache_file(profile), f"{_mark(text)}\n{text}")


def _mark(text: str) -> str:
    """SHA-256 of a cache, the folder that it is of, and the code that read it: stricter code reads all again."""
    code = (Path(str(file)).read_text(encoding="utf-8") for file in (__file__, result.__file__))
    return hashlib.sha256("\0".join((text, str(RESULTS.resolve()), *code)).encode()).hexdigest()
