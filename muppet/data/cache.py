"""One split of one task as token arrays: built once per (data, tokenizer, settings), memory-mapped by every run after.

A row is the tokenizer's own `[CLS] text [SEP]` or `[CLS] text [SEP] pair [SEP]`. A unit is what a sub-batch is
made of, one or more rows: one row (classification, regression, summarization, tagging, parsing), one row per choice
(commonsense: text against choice), or one window (span: question against a stretch of the context). A window
that does not hold the whole answer has the span (0, 0), as in common SQuAD practice; an example is left out of training
when none of its windows holds an answer that it has.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections import Counter
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from muppet import paths
from muppet.data.sources import Rows, load_rows
from muppet.errors import UserError
from muppet.families import FAMILIES, examples
from muppet.families.encoded import Encoded
from muppet.families.layout import Layout, Writer
from muppet.families.segments import Segmenter, tokenizer_identity
from muppet.runs import Source, digest, facts
from muppet.runtime.rank import is_first
from muppet.tasks.task import Task, dataset_name

VERSION = 4  # of the preprocessing: a change of its meaning raises it, and old caches are left behind
BATCH = 1000  # examples tokenised in one call


def encode(
    task: Task,
    split: str,
    tokenizer: Any,
    *,
    max_length: int,
    source: Source = "hub",
    cap: int | None = None,
    evaluation: bool = False,
) -> Encoded:
    """Open the split from the cache, building it first when it is not there.

    Concurrent builders are safe: each builds in a folder of its own, and the first to rename it into place wins. A
    cache whose files are missing or of another size is named, and built again.
    """
    rows = load_rows(task, split, source=source, cap=cap)
    made_of = {"version": VERSION, "task": facts(task), "split": split, "data": rows.fingerprint}
    made_of |= {"tokenizer": tokenizer_identity(tokenizer), "max_length": max_length, "evaluation": evaluation}
    place = paths.cache() / f"{task.name}-{split}-{digest(made_of)[:24]}"
    if place.exists():
        try:
            return _open(place, task, split)
        except _Damaged as error:
            print(f"token cache {place} is damaged ({error}): building it again", file=sys.stderr)
            _remove(place)
    _build(place, task, split, rows, tokenizer, max_length, evaluation)
    return _open(place, task, split)


def encode_rows(task: Task, rows: Rows, tokenizer: Any, *, max_length: int, folder: Path) -> Encoded:
    """The same for rows in hand, with what evaluation needs; `folder` must not exist yet, and is the caller's."""
    _build(folder, task, "input", rows, tokenizer, max_length, evaluation=True)
    return _open(folder, task, "input")


class _Damaged(Exception):
    pass


def _open(place: Path, task: Task, split: str) -> Encoded:
    try:
        meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
        arrays = {name: _map(place / f"{name}.bin", *spec) for name, spec in meta.pop("arrays").items()}
        size, checksum = meta.pop("gold")
        _map(place / "gold.jsonl", "u1", [size], checksum)
        return Encoded(task=task, split=split, folder=place, **meta, **arrays)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Damaged(str(error)) from None


def _map(file: Path, dtype: str, shape: list[int], checksum: int) -> np.ndarray:
    if file.stat().st_size != np.dtype(dtype).itemsize * int(np.prod(shape)):
        raise _Damaged(f"{file.name} has another size")
    if not all(shape):
        return np.zeros(shape, dtype)
    array = np.memmap(file, dtype=dtype, mode="r", shape=tuple(shape))
    if is_first() and zlib.crc32(array) != checksum:  # one of a run's processes looks, for all of them
        raise _Damaged(f"{file.name} has other bytes than were written")
    return array


def _remove(place: Path) -> None:
    """Out of the way first, so that no one opens it half-deleted."""
    with paths.beside(place) as aside, suppress(FileNotFoundError):
        os.replace(place, aside / "old")


def _build(place: Path, task: Task, split: str, rows: Rows, tokenizer: Any, max_length: int, evaluation: bool) -> None:
    try:
        with paths.beside(place) as building:
            _write(building, task, split, rows, tokenizer, max_length, evaluation)
            os.rename(building, place)
    except OSError as error:
        if not place.is_dir():  # else another builder was first, and built the same
            raise UserError(
                f"the token cache {paths.cache()} cannot be written ({error}); free space or move MUPPET_ARTIFACTS"
            ) from error


def _write(folder: Path, task: Task, split: str, rows: Rows, tokenizer: Any, max_length: int, evaluation: bool) -> None:
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    writer = Writer(folder, np.uint16 if len(tokenizer) < 2**16 else np.int32)
    segmenter = Segmenter(tokenizer, max_length)
    family, layout = FAMILIES[task.family], Layout(task, segmenter, writer, evaluation)
    stream = examples(task, split, rows.rows, dropped, seen)
    try:
        while batch := list(islice(stream, BATCH)):
            family.lay_out(layout, batch)
            layout.n_examples += len(batch)
    except UserError as error:
        raise UserError(f"{error} (found: {rows.found})") from None
    except Exception as error:
        if type(error) is not Exception:  # what the tokenizers library raises has no class of its own
            raise
        raise UserError(
            f"{dataset_name(task)} split {split}: the model's tokenizer cannot read it ({error}); give the one that"
            " the model was trained with"
        ) from None
    if layout.n_examples == 0:
        raise UserError(
            f"{dataset_name(task)} split {split} has {rows.total} rows but not one example "
            f"({', '.join(f'{n} × {reason}' for reason, n in dropped.items())}); "
            + ("use a labelled split" if "no label" in dropped else "correct the rows or the Task")
        )
    writer.finish(
        fingerprint=rows.fingerprint,
        found=rows.found,
        total=rows.total,
        dropped=dict(dropped),
        notes=dict(segmenter.notes),
        n_examples=layout.n_examples,
        roles=sorted(seen),
        tag_names=layout.tag_names,
    )
