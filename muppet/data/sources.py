"""Rows of a task's split: from the mirror folder, the Hub, or the synthetic twins.

Rows are looked for in `$MUPPET_HUB` first, then on the Hub; the licensed Treebank in `$MUPPET_PTB`; twins are drawn.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from muppet import paths
from muppet.data import mirror, treebank
from muppet.data.files import even, read, read_shard
from muppet.errors import Absent, UserError, brief
from muppet.runs import TWIN_ROWS, Source, digest
from muppet.synthetic import twins
from muppet.tasks.task import PARQUET, Row, Task, dataset_name

PEEKED = 200  # rows of the Hub's that `data check` reads


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows of one split, in the dataset's own columns."""

    rows: Sequence[Row]
    found: str  # mirror, mirror (carved), hub, folder (the Treebank's, or one that the path names), file, twins
    fingerprint: str  # of the data that `rows` holds: equal data, equal fingerprint on every machine
    total: int  # rows of the split where it was found, before the cap


def load_rows(task: Task, split: str, *, source: Source = "hub", cap: int | None = None) -> Rows:
    """The rows of `split`, at most `cap` of them: a sample that is the same everywhere, and nested over caps.

    Raises UserError when the split is nowhere (it says what was tried and what to do), is empty, or when a full-size
    run (`cap=None`) would train on a part of it.
    """
    if cap is not None and cap < 1:
        raise UserError(f"{dataset_name(task)} split {split}: a cap of {cap} rows leaves nothing; give 1 or more")
    if source == "twins":
        return _twins(task, split, cap)
    original = split
    if task.partition is not None:
        if split not in dict(task.partition):
            raise UserError(f"{dataset_name(task)} has no split {split!r}; ours are {', '.join(dict(task.partition))}")
        original = "train"
    table, where, fingerprint = read_split(task, original)
    if task.partition is not None:
        part = partition(task, split, table)
        table, fingerprint = _taken(table, part), digest([fingerprint, split, task.partition])
    total = len(table)
    if total == 0:
        raise UserError(f"{dataset_name(task)} split {split} is empty ({where}); nothing can be learnt or scored on it")
    if cap is None and split == task.train:
        _whole(task, split, total, where)
    if cap is not None and cap < total:
        seed = int(hashlib.sha256(f"{task.path}/{task.config}/{split}".encode()).hexdigest()[:8], 16)
        table = _taken(table, np.sort(np.random.default_rng(seed).permutation(total)[:cap]))
        fingerprint = digest([fingerprint, cap])
    return Rows(rows=_rows(table), found=where, fingerprint=fingerprint[:32], total=total)


def _whole(task: Task, split: str, total: int, where: str) -> None:
    """A full-size run never trains on a sample unless it is asked to."""
    shares = dict(task.partition or {})
    expected = (task.train_rows or 0) * (len(shares[split]) / 10 if split in shares else 1)
    if where.endswith("(carved)") or total < 0.99 * expected:
        fixes = {
            "hub": "get the original and put it in a mirror folder",
            "file": "complete the file",
            "folder": f"complete {'$' + treebank.VARIABLE if task.path == 'local/ptb' else task.path}",
        }
        fix = fixes.get(where, f"unset MUPPET_HUB ({paths.mirror()}) to use the Hub")
        raise UserError(
            f"{dataset_name(task)} split {split}: {total} of {round(expected)} rows were found ({where}); a full-size"
            f" run needs them all: {fix}, or cap the rows (the mini profile does)"
        )


def peek(task: Task, split: str) -> Rows:
    """What `data check` reads: all rows of what is on this machine, the first of the Hub's."""
    original = "train" if task.partition is not None else split
    if task.path == "local/ptb" or task.files is not None or mirror.files(task.path, task.config, original):
        if task.partition is not None:
            return load_rows(task, split, cap=10**9)
        table, where, fingerprint = read_split(task, split)
        return Rows(rows=_rows(table), found=where, fingerprint=fingerprint, total=len(table))
    rows = list(islice(_open_hub(task, original, streaming=True), PEEKED))
    return Rows(rows=rows, found="hub", fingerprint="", total=len(rows))


class TableRows(Sequence[Row]):
    """The rows of an Arrow table as dicts, made when they are asked for; `name` is what errors call it."""

    def __init__(self, table: Any, name: str = "") -> None:
        self.table, self.name = table, name

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        return _dicts(self.table.slice(range(len(self))[index], 1), self.name)[0]

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), 1000):
            yield from _dicts(self.table.slice(start, 1000), self.name)


def _dicts(table: Any, of: str) -> list[Row]:
    try:
        return table.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        for name in table.column_names:
            try:
                table.column(name).to_pylist()
            except (ValueError, OverflowError) as error:
                where = f"{of}: " * bool(of)
                raise UserError(
                    f"{where}column {name!r} cannot be read ({error}); write it as text, or leave it out"
                ) from None
        raise


def _rows(table: Any) -> Sequence[Row]:
    return table if isinstance(table, list) else TableRows(table)


def _taken(table: Any, indices: np.ndarray) -> Any:
    return [table[index] for index in indices.tolist()] if isinstance(table, list) else table.take(indices)


def read_split(task: Task, split: str) -> tuple[Any, str, str]:
    """The split as an Arrow table, or as a list of rows; where it was found; and its fingerprint."""
    if task.files is not None:
        if split not in dict(task.files):
            raise UserError(f"{task.name} has no file for split {split!r}; its files are {dict(task.files)}")
        file = Path(dict(task.files)[split])
        table = read(file) if task.rows else even(read(file))  # what a function reads is its own affair
        return table, "file", paths.file_digest(file)
    if task.path == "local/ptb":
        import pyarrow as pa

        return pa.Table.from_pylist(treebank.rows(split)), "folder", treebank.fingerprint(split)
    instead = mirror.carved(task)
    files = mirror.files(task.path, task.carved if instead else task.config, split)
    if not files and instead:
        files, instead = mirror.files(task.path, task.config, split), False
    if not files:
        return _hub(task, split)
    where = "mirror (carved)" if instead else "mirror" if paths.mirror() in files[0].parents else "folder"
    return _united([read_shard(file) for file in files], files), where, digest([paths.file_digest(f) for f in files])


def _united(tables: list[Any], files: Sequence[Path]) -> Any:
    lists = [isinstance(table, list) for table in tables]
    if all(lists):
        return [row for rows in tables for row in rows]
    import pyarrow as pa

    try:
        if any(lists):
            raise pa.ArrowInvalid("some are Parquet, and some are not")
        return pa.concat_tables(tables, promote_options="permissive")  # of one kind, whatever its width
    except pa.ArrowException as error:
        raise UserError(f"{files[0].parent}: its files differ in their columns ({error}); get them again") from None


def _hub(task: Task, split: str) -> tuple[Any, str, str]:
    loaded = _open_hub(task, split, streaming=False)
    if (folder := Path(task.path)).is_dir():
        return loaded.with_format("arrow")[:], "folder", digest([paths.folder_digest(folder), task.config, split])
    import datasets

    # The library keeps a dataset in a folder that is called after the commit that was resolved, or after the files'.
    base = Path(datasets.config.HF_DATASETS_CACHE).resolve()
    commit = [os.path.relpath(Path(file["filename"]).resolve(), base) for file in loaded.cache_files]
    return loaded.with_format("arrow")[:], "hub", digest([commit, task.path, task.config, split])


def _open_hub(task: Task, split: str, *, streaming: bool) -> Any:
    tried = f"{mirror.folder(task.path) or (paths.mirror() or '$MUPPET_HUB (unset)')}"
    if task.path.startswith("local/"):
        raise Absent(f"{dataset_name(task)} split {split}: not in {tried}, and it is not on the Hub; {task.note}")
    path, config, revision = task.hub or (task.path, task.config, task.revision or "main")
    try:
        import datasets
    except ImportError as error:
        raise Absent(
            f"{dataset_name(task)} split {split}: not in the mirror ({tried}), and the package that reads the Hub does"
            f" not load ({error}); pip install datasets, or set MUPPET_HUB to a mirror that has it"
        ) from None

    _probe_hub()
    try:
        if revision == PARQUET:
            from huggingface_hub import HfFileSystem

            shards = converted(HfFileSystem(), path, config, split)
            return datasets.load_dataset("parquet", data_files={"rows": shards}, split="rows", streaming=streaming)
        return datasets.load_dataset(path, config, revision=revision, split=split, streaming=streaming)
    except Exception as error:  # the Hub's client raises some twenty kinds; all mean that the split cannot be had
        raise Absent(
            f"{dataset_name(task)} split {split} cannot be loaded: tried the mirror ({tried}) and the Hub ({path}, "
            f"revision {revision}: {brief(error)}); set MUPPET_HUB to a mirror that has it, or go online and "
            f"run `python -m muppet data check {task.name}`"
        ) from None


@lru_cache(maxsize=None)
def _probe_hub() -> None:
    """Ask once whether the Hub answers; if not, its clients use their caches alone instead of retrying for long."""
    import datasets
    import huggingface_hub

    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return
    try:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=5)
    except Exception as error:
        print(f"the Hub does not answer ({error}): only what is on this machine is used", file=sys.stderr)
        huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def converted(filesystem: Any, path: str, config: str | None, split: str) -> list[str]:
    """The files of a split on the Hub's conversion branch: `<config>/<split>/*.parquet`.

    A repository with a single configuration may call it otherwise; a split that is too large for the conversion is
    called `partial-<split>`, and its missing rows are then noticed by their number.
    """
    root = f"datasets/{path}@{PARQUET.replace('/', '%2F')}"
    names = [entry["name"].rsplit("/", 1)[-1] for entry in filesystem.ls(root) if entry["type"] == "directory"]
    name = names[0] if len(names) == 1 else config or "default"
    for folder in (split, f"partial-{split}"):
        if shards := sorted(filesystem.glob(f"{root}/{name}/{folder}/*.parquet")):
            return [f"hf://{file}" for file in shards]
    raise FileNotFoundError(f"no {name}/{split} on {PARQUET}; it has {', '.join(sorted(names))}")


def partition(task: Task, split: str, table: Any) -> np.ndarray:
    """Indices of the rows of `split` when only `train` exists: tenths of the rows in order of their content's hash.

    Equal rows are neighbours in that order, so copies stay on one side of a cut (but for one row at each cut).
    """
    assert task.partition is not None
    hashes = [hashlib.sha256(json.dumps(row, sort_keys=True, default=str).encode()).digest() for row in _rows(table)]
    order = np.array(sorted(range(len(hashes)), key=hashes.__getitem__), dtype=np.int64)
    edges = [len(order) * tenth // 10 for tenth in range(11)]
    kept = [order[edges[tenth] : edges[tenth + 1]] for tenth in dict(task.partition)[split]]
    return np.sort(np.concatenate(kept))


class TwinRows(Sequence[Row]):
    """A twin's rows, drawn when they are first asked for: where their token cache is, nobody asks."""

    def __init__(self, task: Task, split: str, n: int) -> None:
        twins.maker(task)  # a task that has no twin is refused before its rows are asked for
        self.of, self.n = (task, split, n), n

    @cached_property
    def drawn(self) -> list[Row]:
        return twins.rows(*self.of)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        return self.drawn[index]


def _twins(task: Task, split: str, cap: int | None) -> Rows:
    n = cap or TWIN_ROWS
    fingerprint = digest(["twins", twins.VERSION, task.name, split, n])[:32]
    return Rows(rows=TwinRows(task, split, n), found="twins", fingerprint=fingerprint, total=n)
