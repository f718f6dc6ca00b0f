"""What a run leaves behind: one small JSON file, written last and whole. Its existence means that the run is done."""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muppet.errors import UserError, json_object
from muppet.paths import write_text
from muppet.runs import Run, digest, facts, run_id
from muppet.values import is_number

SCHEMA = 2


class ResultError(UserError):
    """A result file that cannot be trusted; the message names the file and the field."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score, a fraction of 1 (correlations: in [-1, 1]), with its 95 % item-bootstrap interval."""

    value: float
    n: int  # examples it was computed over
    low: float | None = None
    high: float | None = None
    items: str | None = None  # per-example scores in dataset order: one byte each (0..255 for 0..1), zlib, base64


@dataclass(frozen=True, kw_only=True)
class Point:
    """One evaluation along a fine-tuning: after how many updates, what its weights were judged by (the higher the
    better), and its scores; summaries are decoded for the best and the last point only, others have none."""

    update: int
    judged: float
    scores: dict[str, Score]

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Point:
        """The point that `dataclasses.asdict` made plain."""
        return cls(**{**plain, "scores": {key: Score(**value) for key, value in plain["scores"].items()}})


@dataclass(frozen=True, kw_only=True)
class Result:
    """All that is kept of one run."""

    id: str
    facts: dict[str, Any]
    scores: dict[str, Score]  # `task/split/metric`, of the best point of the curve
    data: dict[str, dict[str, Any]]  # `task/split` → rows, fingerprint, found, dropped
    training: dict[str, Any]  # updates, loss per task, epochs per dataset, …
    cost: dict[str, Any]  # seconds, tokens, flops, device, processes, peak_memory_bytes
    environment: dict[str, Any]  # versions, commit, dirty, hardware
    curve: list[Point] = field(default_factory=list)  # the evaluations of a fine-tuning, in order
    schema: int = field(default=SCHEMA)

    @property
    def last(self) -> dict[str, Score]:
        """The scores of the weights that the training ended with."""
        ended_best = not self.curve or best(self.curve) == len(self.curve) - 1
        return self.scores if ended_best else self.curve[-1].scores


def best(curve: Sequence[Point]) -> int:
    """The place of the best point; of equals the latest, as fairseq's `checkpoint_best` is the latest."""
    return max(range(len(curve)), key=lambda place: (curve[place].judged, place))


def without_items(scores: Mapping[str, Score]) -> dict[str, Score]:
    """`scores` without those of single examples."""
    return {key: dataclasses.replace(score, items=None) for key, score in scores.items()}


def pack_items(items: Sequence[float]) -> str:
    """Per-example scores in [0, 1] → text: a byte each (steps of 1/255), compressed, base64. 0 and 1 are exact."""
    if not all(0 <= item <= 1 for item in items):
        raise ValueError("item scores lie in [0, 1]")
    return base64.b64encode(zlib.compress(bytes(round(255 * item) for item in items), 9)).decode()


def unpack_items(text: str) -> list[float]:
    """The scores that `pack_items` packed, to the nearest 1/255; raises ResultError when the text is no such thing."""
    try:
        return [byte / 255 for byte in zlib.decompress(base64.b64decode(text, validate=True))]
    except (ValueError, zlib.error) as error:
        raise ResultError(f"field `items` is damaged ({error}); run again") from None


def write(result: Result, path: Path) -> None:
    """Write `result` to `path` whole: a temporary file, flushed to disk, then renamed over it."""
    plain = dataclasses.asdict(result)
    for holder in (plain, *plain["curve"]):
        holder["scores"] = {k: {f: v for f, v in s.items() if v is not None} for k, s in holder["scores"].items()}
    plain["checksum"] = digest(plain)
    write_text(path, json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path, run: Run | None = None) -> Result:
    """Read a result strictly; with `run`, check that it is that run's.

    Raises ResultError when the file is truncated, edited, of another schema, holds a score that contradicts itself (see
    `_check_score`) or is of a task that the run does not score, lacks a score that it does (`due`), or when its facts
    are not those its id (or `run`) stands for; the message names the field.
    """
    if path.exists() and not path.is_file():
        raise ResultError(f"{path}: no file; move it away and run again")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=json_object)
        checksum = plain.pop("checksum")
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ResultError(f"{path}: not a whole result file ({error}); delete it and run again") from None
    if plain.get("schema") != SCHEMA:
        raise ResultError(f"{path}: field `schema` is {plain.get('schema')!r}, this code reads {SCHEMA}; run again")
    if digest(plain) != checksum:
        raise ResultError(f"{path}: field `checksum` does not match, the file was edited; restore it or run again")
    names = {f.name for f in dataclasses.fields(Result)}
    if names != set(plain):
        raise ResultError(f"{path}: fields {sorted(names ^ set(plain))} are missing or unknown; run again")
    if wrong := _misfit(plain):
        raise ResultError(f"{path}: field `{wrong}` is not what this code writes there; run again")
    try:
        scores = {key: Score(**value) for key, value in plain["scores"].items()}
        curve = [Point.of(point) for point in plain["curve"]]
    except (TypeError, AttributeError, KeyError) as error:
        raise ResultError(f"{path}: fields `scores` and `curve`: {error}; run again") from None
    for key, score in [*scores.items(), *(pair for point in curve for pair in point.scores.items())]:
        if why := _check_score(score):
            raise ResultError(f"{path}: score `{key}` {why}; run again")
    name = plain["id"]
    if not isinstance(name, str) or not name.endswith("-" + digest(plain["facts"])[:12]):
        raise ResultError(f"{path}: field `id` is not the hash of the facts; run again")
    if name != path.stem:
        raise ResultError(f"{path}: field `id` is {name}, not the file's name: a renamed copy; delete it or rename it")
    try:
        keys = {*scores, *(key for point in curve for key in point.scores)}
        foreign = sorted(keys - _scored(plain["facts"], keys))
        kept = scores.keys() & curve[-1].scores.keys() if curve else scores.keys()
        absent = sorted(due(plain["facts"]) - kept)
    except (TypeError, KeyError, AttributeError) as error:
        raise ResultError(f"{path}: field `facts` is not a run's ({error}); run again") from None
    if foreign:
        raise ResultError(f"{path}: score `{foreign[0]}` is of a task that this run does not score; run again")
    if absent:
        raise ResultError(f"{path}: score `{absent[0]}` is missing, which this run declares; delete it and run again")
    if run is not None and plain["id"] != run_id(run):
        field_name = _difference(plain["facts"], facts(run))
        raise ResultError(f"{path}: field `{field_name}` is not the declared run's; run again")
    return Result(**(plain | {"scores": scores, "curve": curve}))


def _misfit(plain: Mapping[str, Any]) -> str:
    """The first field, of those that are read from results, that holds something of another kind; empty when none."""
    for name in ("facts", "data", "training", "cost", "environment"):
        if not isinstance(plain[name], dict):
            return name
    training, cost = plain["training"], plain["cost"]
    for name in ("trivial", "start"):
        if not isinstance(training.get(name, {}), dict):
            return f"training.{name}"
    numbers: dict[str, tuple[Any, float]]
    numbers = {f"training.trivial.{key}": (number, -1) for key, number in training.get("trivial", {}).items()}
    numbers |= {f"cost.{name}": (cost[name], 0) for name in ("seconds", "processes") if name in cost}
    if isinstance(plain["curve"], list):
        judged = (point.get("judged") for point in plain["curve"] if isinstance(point, dict))
        numbers |= {f"curve.{place}.judged": (number, -sys.float_info.max) for place, number in enumerate(judged)}
    return next((name for name, (number, least) in numbers.items() if not is_number(number, least)), "")


def _check_score(score: Score) -> str:
    """What contradicts itself in a score; empty when nothing does."""
    for name in ("value", "low", "high"):
        number = getattr(score, name)
        if number is None and name != "value":
            continue
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return f"has {number!r} for `{name}`, not a number"
        if not -1 <= number <= 1:
            field_name = "" if name == "value" else f"`{name}` "
            return f"is {field_name}{number}, not a fraction of 1 (percent?)"
    if isinstance(score.n, bool) or not isinstance(score.n, int) or score.n < 1:
        return f"has {score.n!r} for `n`, not a number of examples"
    low, high = (score.value if bound is None else bound for bound in (score.low, score.high))
    if not low <= score.value <= high:
        return f"is {score.value}, outside its interval from {low} to {high}"
    if score.items is None:
        return ""
    try:
        items = unpack_items(score.items)
    except (ResultError, TypeError, AttributeError):
        return "has damaged `items`"
    if len(items) != score.n:
        return f"has `n` {score.n} and {len(items)} items"
    mean = sum(items) / len(items)
    # An item is stored in steps of 1/255.
    return "" if abs(mean - score.value) <= 1 / 510 + 1e-9 else f"is {score.value}, but its items' mean is {mean:.4f}"


def _scored(facts_: Mapping[str, Any], keys: Iterable[str]) -> set[str]:
    """Those of `keys` (`task/split/metric`) whose task the run scores, by that task's metrics."""
    metrics = {task["name"]: task["metrics"] for task in _tasks(facts_)}
    parts = {key: key.split("/", 2) for key in keys}  # a metric of the Hub may have a slash
    return {key for key, part in parts.items() if len(part) == 3 and part[2] in metrics.get(part[0], ())}


def due(facts_: Mapping[str, Any]) -> set[str]:
    """The scores that the run leaves: of each of its tasks every evaluation split by every metric."""
    return {
        f"{task['name']}/{split}/{metric}"
        for task in _tasks(facts_)
        for split in task["evaluation"]
        for metric in task["metrics"]
    }


def _tasks(facts_: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a fine-tuning is scored on; a pre-finetuning is scored on nothing."""
    return [task for task in (facts_.get("task"), *(facts_.get("evaluate_on") or ())) if task]


def _difference(stored: Any, declared: Any, name: str = "facts") -> str:
    """The dotted name of the first field in which two facts differ."""
    if isinstance(stored, dict) and isinstance(declared, dict):
        for key in sorted(stored.keys() | declared.keys()):
            if stored.get(key) != declared.get(key):
                return _difference(stored.get(key), declared.get(key), f"{name}.{key}")
    return name
