"""One split of one task as token arrays, and the part of it that is trained on or scored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from muppet.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One split, tokenised. R rows, U units, E examples, T tokens; arrays are read-only maps of the cache's files."""

    task: Task
    split: str
    fingerprint: str  # of the data
    found: str
    total: int  # rows of the split where it was found, before the cap
    dropped: dict[str, int]  # rows without an example, by reason
    notes: dict[str, int]  # what was cut: rows, questions, targets, …
    n_examples: int
    folder: Path
    tokens: np.ndarray  # [T] uint16 or int32
    offsets: np.ndarray  # [R+1] int64: row r is tokens[offsets[r]:offsets[r+1]]
    second: np.ndarray  # [R] int32: where in the row the second segment starts; the row's length when there is none
    unit_rows: np.ndarray  # [U+1] int64: unit u is rows unit_rows[u]..unit_rows[u+1]-1
    unit_example: np.ndarray  # [U] int32
    labels: np.ndarray | None = None  # [U] int64 class or right choice; float32 score (regression)
    spans: np.ndarray | None = None  # [U, 2] int32: first and last token of the answer; (0, 0): none here; -1: lost
    context: np.ndarray | None = None  # [U, 2] int32: first and one-past-last token of the context in the row
    char_offsets: np.ndarray | None = None  # [T, 2] int32 characters in the context; only with evaluation=True
    targets: np.ndarray | None = None  # flat tokens of the summaries
    target_offsets: np.ndarray | None = None  # [U+1] int64
    words: np.ndarray | None = None  # flat int32: index in the row of each word's first sub-word; -1: cut off
    tags: np.ndarray | None = None  # flat int32
    word_offsets: np.ndarray | None = None  # [U+1] int64
    roles: list[str] | None = None  # that the rows had
    tag_names: list[str] | None = None  # what the numbers in `tags` stand for; of parsing: the tags of this split

    def cost(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each unit: tokens of its longest row [U], and its rows [U], both int64."""
        lengths = np.diff(self.offsets)
        if len(self.unit_rows) < 2:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.maximum.reduceat(lengths, self.unit_rows[:-1]), np.diff(self.unit_rows)

    def unit(self, example: int) -> int:
        """The first unit of an example."""
        return int(np.searchsorted(self.unit_example, np.int32(example)))  # of its own type: no copy of the array

    def gold(self) -> list[dict[str, Any]]:
        """Per example, what evaluation compares with: only kept with `evaluation=True`.

        span: id, answers (texts), context. summarization: target. tagging: tokens, tags (names). parsing: tree, tokens,
        pos_tags. Else: empty dicts.
        """
        with open(self.folder / "gold.jsonl", encoding="utf-8") as file:
            return [json.loads(line) for line in file]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One dataset as training sees it: `units` of `encoded`, gone through `weight` times in one epoch."""

    encoded: Encoded
    units: np.ndarray
    weight: int = 1

    @property
    def name(self) -> str:
        return self.encoded.task.name

    def examples(self) -> list[int]:
        """The examples that the units belong to, in order."""
        return np.unique(self.encoded.unit_example[self.units]).tolist()


def told(notes: Mapping[str, int]) -> str:
    """What `Encoded.notes` has counted, in words; empty where nothing was cut."""
    return ", ".join(f"{count:,} {what}" for what, count in notes.items() if count)


def ranges(bounds: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The numbers bounds[i] .. bounds[i + 1] - 1 for each i of `which`, one range after another."""
    starts = plain(bounds)[which]
    sizes = plain(bounds)[which + 1] - starts
    ends = np.cumsum(sizes)
    return np.repeat(starts - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)


def plain(array: np.ndarray) -> np.ndarray:
    """Without memmap's bookkeeping on every index."""
    return array.view(np.ndarray)
