"""How examples become rows and units, and the flat files they are written to."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muppet.families.segments import Segmenter
from muppet.tasks.task import Task


class Writer:
    """Appends to flat files; `meta.json`, written last, makes the folder a cache."""

    def __init__(self, folder: Path, token_dtype: Any) -> None:
        self.folder, self.token_dtype = folder, token_dtype
        self.open: dict[str, tuple[Any, np.dtype, list[int]]] = {}
        self.checksums: dict[str, int] = {}
        self.ends: dict[str, int] = {}  # the last of each array of offsets
        self.gold = open(folder / "gold.jsonl", "w", encoding="utf-8")

    def append(self, name: str, values: Any, dtype: Any, width: int | None = None) -> None:
        """Add `values` ([n], or [n, width]) at the end of array `name`."""
        if name not in self.open:
            empty = [0] if width is None else [0, width]
            self.open[name] = (open(self.folder / f"{name}.bin", "wb"), np.dtype(dtype), empty)
        file, kept, shape = self.open[name]
        array = np.asarray(values, dtype=kept).reshape(-1 if width is None else (-1, width))
        shape[0] += len(array)
        self.checksums[name] = zlib.crc32(data := array.tobytes(), self.checksums.get(name, 0))
        file.write(data)

    def append_ends(self, name: str, lengths: Any) -> None:
        """Add where some lists end, given their lengths, to array `name` of offsets, which begins with 0."""
        ends = self.ends.get(name, 0) + np.cumsum(np.asarray(lengths, np.int64))
        self.append(name, ends if name in self.open else [0, *ends], np.int64)
        self.ends[name] = int(ends[-1]) if len(ends) else self.ends.get(name, 0)

    def add_gold(self, value: dict[str, Any]) -> None:
        """One example's gold line."""
        line = json.dumps(value, ensure_ascii=False) + "\n"
        self.checksums["gold"] = zlib.crc32(line.encode(), self.checksums.get("gold", 0))
        self.gold.write(line)

    def finish(self, **meta: Any) -> None:
        """Flush everything, then write meta.json."""
        self.gold.flush()
        os.fsync(self.gold.fileno())
        meta["gold"] = [self.gold.tell(), self.checksums.get("gold", 0)]
        self.gold.close()
        meta["arrays"] = {}
        for name, (file, dtype, shape) in self.open.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            meta["arrays"][name] = [dtype.str, shape, self.checksums[name]]
        with open(self.folder / "meta.json", "w", encoding="utf-8") as out:
            json.dump(meta, out)
            out.flush()
            os.fsync(out.fileno())


class Layout:
    """The rows and units of one split on their way to the files."""

    tag_names: list[str] | None = None  # what tagging's numbers stand for

    def __init__(self, task: Task, segmenter: Segmenter, writer: Writer, evaluation: bool) -> None:
        self.task, self.segmenter, self.writer, self.evaluation = task, segmenter, writer, evaluation
        self.n_examples = 0  # before the batch that is being laid out
        writer.append_ends("offsets", [])
        writer.append_ends("unit_rows", [])
        for name, dtype in (("tokens", writer.token_dtype), ("second", np.int32), ("unit_example", np.int32)):
            writer.append(name, [], dtype)

    def add_texts(self, batch: Sequence[Sequence[Sequence[str]]]) -> list[Any]:
        """One unit per example, of the given rows (see `Family.rows`) → the rows' encodings (see `Segmenter.rows`)."""
        rows = [row for rows in batch for row in rows]
        pairs = [second for _, second in rows] if len(rows[0]) == 2 else None
        ids, second, encodings = self.segmenter.rows([row[0] for row in rows], pairs)
        self.add(ids, second, [len(rows) for rows in batch], range(len(batch)))
        return encodings

    def add(
        self, ids: Sequence[Sequence[int]], second: Sequence[int], unit_rows: Sequence[int], examples: Sequence[int]
    ) -> None:
        """Token rows, where their second segments start, and each unit's count of rows and example in the batch."""
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter((token for row in ids for token in row), self.writer.token_dtype, int(lengths.sum()))
        self.writer.append("tokens", flat, self.writer.token_dtype)
        self.writer.append_ends("offsets", lengths)
        self.writer.append("second", second, np.int32)
        self.writer.append_ends("unit_rows", unit_rows)
        self.writer.append("unit_example", self.n_examples + np.asarray(examples), np.int32)

    def add_gold(self, values: list[dict[str, Any]]) -> None:
        """What evaluation compares with, a dict per example; see `Encoded.gold`."""
        for value in values if self.evaluation else ():
            self.writer.add_gold(value)
