"""What a run leaves: where each file lies and how it is read. No other module of `studies` names these files.

    results/<profile>/<stage>/<id>.json    the result; the run is done when it is there
    artifacts/runs/<id>/                   <id>.json (see `again`), failure.json, progress.json, started.json,
                                           attempts.json, holder.json,
                                           log.txt, metrics.jsonl, tensorboard/, checkpoint/
    artifacts/failures.jsonl               every failure, with its node

A record that is absent or damaged reads as an empty one: it is news of a run, never the truth about it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.errors import UserError
from muppet.paths import write_text
from muppet.runs import Run, run_id
from muppet.values import is_number

RESULTS = Path("results")
ATTEMPTS = 3  # failures with one and the same error, after which a run waits for `make retry`
TAIL = 20  # lines of a traceback or log that a failure record keeps
FAULTS = "failures.jsonl"  # in artifacts/: which run failed on which node
SHARD = 2  # characters of a shard's name
MANY = 10_000  # files of one folder, beyond which file systems grow slow
LOG_BYTES = 8_000  # of a log's end, in which these lines are looked for
NUMBERS = frozenset("count pid seconds step steps stops tokens_per_second eta_seconds".split())  # of all records
LARGEST = 2**53  # of them
TEXTS = frozenset(("error", "host", "log", "node", "run"))


def result_path(profile: str, run: Run | str) -> Path:
    """Where the result of `run` (or of the run with this id) lies: `results/<profile>/<stage>/<id>.json`."""
    name = run if isinstance(run, str) else run_id(run)
    return paths.shelf(RESULTS / profile / name.split("-", 1)[0] / f"{name}.json")


def again(name: str) -> Path:
    """Where the result of pre-finetuning `name` goes that is done again for its model alone: the first one stays."""
    return paths.run_dir(name) / f"{name}.json"


def done(profile: str, name: str) -> bool:
    """Whether run `name` has a result and, where it is a pre-finetuning, the model that others start from."""
    model = not name.startswith("prefinetune-") or (paths.model_dir(name) / "config.json").is_file()
    return model and result_path(profile, name).exists()


def files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What lies in a folder of results or runs, sharded or not; nothing where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(entry.name) == SHARD and entry.is_dir():
                    yield from files(Path(entry.path))
                elif not entry.name.startswith("."):
                    yield entry
    except FileNotFoundError:
        return


def make_room(profile: str, ids: Iterable[str]) -> None:
    """Shard the folders that would pass MANY files with the runs `ids`; what lies there stays where it is."""
    wanted: dict[Path, set[str]] = {}
    for name in ids:
        wanted.setdefault(RESULTS / profile / name.split("-", 1)[0], set()).add(name)
        wanted.setdefault(paths.artifacts() / "runs", set()).add(name)
    for folder, names in wanted.items():
        names.update(entry.name.removesuffix(".json") for entry in files(folder))
        if len(names) > MANY and not (folder / paths.SHARDED).exists():
            why = "what is new here lies a folder deeper, by the last characters of its id\n"
            write_text(folder / paths.SHARDED, why)


def log(name: str) -> Path:
    """Where what run `name` prints is kept."""
    return paths.run_dir(name) / "log.txt"


def print_to(name: str) -> None:
    """From now on this process prints to the log of run `name`, C libraries included."""
    sys.stdout.flush(), sys.stderr.flush()
    log(name).parent.mkdir(parents=True, exist_ok=True)
    with log(name).open("ab") as file:
        os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)


def begun() -> frozenset[str]:
    """Ids of the runs that have a folder, and so may have a failure or a process: one look, not one per run."""
    try:
        return frozenset(entry.name for entry in files(paths.artifacts() / "runs"))
    except OSError:
        return frozenset()


def failures(ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The failure records of those of `ids` that failed last."""
    records = {name: failure(name) for name in begun().intersection(ids)}
    return {name: record for name, record in records.items() if record}


def failure(name: str) -> dict[str, Any]:
    """How run `name` failed last: `error`, `traceback`, `count` (in a row with this error), `when`, `log`."""
    return _read(_note(name, "failure"))


def progress(name: str) -> dict[str, Any]:
    """What training last said of run `name`: `step`, `steps`, `tokens_per_second`, `eta_seconds`."""
    return _read(_note(name, "progress"))


def started(name: str) -> dict[str, Any]:
    """The note of starts of run `name` that got no further than `step`: `count` of those that did not end in order, and
    `stops`, of those that a signal ended."""
    return _read(_note(name, "started"))


def running(name: str) -> bool:
    """Whether a live process of this machine says that it is doing the run; of other machines the queue knows."""
    holder = _read(_note(name, "holder"))
    pid = holder.get("pid")
    return holder.get("host") == socket.gethostname() and isinstance(pid, int) and paths.alive(pid)


def fail(name: str, error: BaseException | str) -> None:
    """Leave a failure record for run `name`: what went wrong, how often in a row, and the last lines that say where."""
    if isinstance(error, BaseException):
        message = f"{type(error).__name__}: {error}" if not isinstance(error, UserError) else str(error)
        lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    else:
        message, lines = error, _log_tail(name)
    before, node = failure(name), os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    record = {
        "id": name,
        "error": message,
        "traceback": "\n".join(lines[-TAIL:]),
        "count": before.get("count", 0) + 1 if before.get("error") == message else 1,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "log": str(log(name)),
        "node": node,
    }
    try:
        remember(name, record)
        with (paths.artifacts() / FAULTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"node": node, "run": name, "error": message, "when": time.time()}) + "\n")
    except OSError as disk:  # full or read-only: the run has failed all the same
        print(f"{_note(name, 'failure')}: no failure record could be written ({disk}); {message}", file=sys.stderr)


def faults() -> list[dict[str, Any]]:
    """Every failure in order of time, also of runs that have a result since: `node`, `run`, `error`, `when`."""
    try:
        lines = (paths.artifacts() / FAULTS).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    whole = [one for one in map(_parsed, lines) if one.keys() >= {"node", "run", "error", "when"}]
    return [one for one in whole if is_number(one["when"], 0, LARGEST)]


def start(name: str) -> int:
    """Note that run `name` is started → how often in a row it was, without getting any further."""
    step, before = int(progress(name).get("step") or 0), started(name)
    before = before if before.get("step") == step else {}
    count = int(before.get("count") or 0) + 1
    restore(name, {"step": step, "count": count, "stops": int(before.get("stops") or 0), "when": time.time()})
    return count


def stop(name: str) -> int:
    """Note that the last start of run `name` ended in order, by a signal → how often in a row, at this step."""
    note = started(name)
    stops = int(note.get("stops") or 0) + 1
    restore(name, note | {"count": int(note.get("count") or 1) - 1, "stops": stops})
    return stops


def restore(name: str, note: dict[str, Any]) -> None:
    """Put `note` in the place of a start's note; an empty one takes it away."""
    if note:
        _write(name, "started", note)
    else:
        _drop(name, "started")


def forget(name: str) -> None:
    """Take away the notes of a run's failures and starts, as if it had not been tried."""
    _drop(name, "failure", "started")


def attempts(name: str) -> tuple[int, float]:
    """How often run `name` was begun without coming to a result, and the seconds that this took."""
    note = _read(_note(name, "attempts"))
    return int(note.get("count") or 0), float(note.get("seconds") or 0)


def spend(name: str, seconds: float) -> None:
    """Note that an attempt at run `name` took `seconds` and came to no result."""
    count, before = attempts(name)
    with contextlib.suppress(OSError):  # a full disk is not what the attempt failed of
        _write(name, "attempts", {"count": count + 1, "seconds": round(before + seconds, 2)})


def remember(name: str, failure: dict[str, Any]) -> None:
    """Write a failure record: a new one, or one that `forget` took away."""
    _write(name, "failure", failure)


def clear(name: str) -> None:
    """Take away what a run needs no more once its result is written."""
    shutil.rmtree(paths.run_dir(name) / "checkpoint", ignore_errors=True)
    _drop(name, "failure", "started", "attempts")


def _note(name: str, kind: str) -> Path:
    return paths.run_dir(name) / f"{kind}.json"


def _write(name: str, kind: str, record: dict[str, Any]) -> None:
    write_text(_note(name, kind), json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _drop(name: str, *kinds: str) -> None:
    for kind in kinds:
        _note(name, kind).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _parsed(text: str) -> dict[str, Any]:
    """The record that `text` is; an empty one where it is none, or one of its fields is of another kind."""
    try:
        record = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(record, dict):
        return {}
    numbers = all(is_number(record[name], 0, LARGEST) for name in NUMBERS & record.keys())
    return record if numbers and all(isinstance(record[name], str) for name in TEXTS & record.keys()) else {}


def _log_tail(name: str) -> list[str]:
    try:
        with log(name).open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - LOG_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
