"""How examples become rows and units, and the flat files they are written to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muppet.families.roles import Example
from muppet.families.segments import Segmenter
from muppet.tasks.task import Task


class Writer:
    """Appends to flat files; `meta.json`, written last, makes the folder a cache."""

    def __init__(self, folder: Path, token_dtype: Any) -> None:
        self.folder, self.token_dtype = folder, token_dtype
        self.open: dict[str, tuple[Any, np.dtype, list[int]]] = {}
        self.gold = open(folder / "gold.jsonl", "w", encoding="utf-8")

    def append(self, name: str, values: Any, dtype: Any, width: int | None = None) -> None:
        """Add `values` ([n], or [n, width]) at the end of array `name`."""
        if name not in self.open:
            self.open[name] = (
                open(self.folder / f"{name}.bin", "wb"),
                np.dtype(dtype),
                [0] if width is None else [0, width],
            )
        file, kept, shape = self.open[name]
        array = np.asarray(values, dtype=kept).reshape(-1 if width is None else (-1, width))
        shape[0] += len(array)
        file.write(array.tobytes())

    def add_gold(self, value: dict[str, Any]) -> None:
        """One example's gold line."""
        self.gold.write(json.dumps(value, ensure_ascii=False) + "\n")

    def finish(self, **meta: Any) -> None:
        """Flush everything, then write meta.json."""
        self.gold.flush()
        os.fsync(self.gold.fileno())
        meta["gold_bytes"] = self.gold.tell()
        self.gold.close()
        meta["arrays"] = {}
        for name, (file, dtype, shape) in self.open.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            meta["arrays"][name] = [dtype.str, shape]
        with open(self.folder / "meta.json", "w", encoding="utf-8") as out:
            json.dump(meta, out)
            out.flush()
            os.fsync(out.fileno())


class Layout:
    """Rows and units of one split; the families' subclasses say what an example's rows are."""

    tag_names: list[str] | None = None

    def __init__(self, task: Task, segmenter: Segmenter, writer: Writer, evaluation: bool) -> None:
        self.task, self.segmenter, self.writer, self.evaluation = task, segmenter, writer, evaluation
        self.n_examples = self.n_rows = self.n_tokens = 0
        writer.append("offsets", [0], np.int64)
        writer.append("unit_rows", [0], np.int64)
        for name, dtype in (("tokens", writer.token_dtype), ("second", np.int32), ("unit_example", np.int32)):
            writer.append(name, [], dtype)

    def add(self, batch: list[Example]) -> None:
        """Write the rows, units, labels and gold lines of some examples."""
        raise NotImplementedError

    def add_rows(self, ids: Sequence[Sequence[int]], second: Sequence[int]) -> None:
        """Token rows, and where the second segment of each starts."""
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter((token for row in ids for token in row), self.writer.token_dtype, int(lengths.sum()))
        self.writer.append("tokens", flat, self.writer.token_dtype)
        self.writer.append("offsets", self.n_tokens + np.cumsum(lengths), np.int64)
        self.writer.append("second", second, np.int32)
        self.n_tokens += int(lengths.sum())

    def add_units(self, rows_per_unit: Sequence[int], example: Sequence[int]) -> None:
        """How many of those rows make each unit, and the example that it is of."""
        self.writer.append("unit_rows", self.n_rows + np.cumsum(np.asarray(rows_per_unit, np.int64)), np.int64)
        self.writer.append("unit_example", example, np.int32)
        self.n_rows += int(sum(rows_per_unit))

    def one_row_each(self, batch: list[Example], texts: list[str], pairs: list[str] | None) -> list[Any]:
        """One row and one unit per example → the rows' encodings, see `Segmenter.rows`."""
        ids, second, encodings = self.segmenter.rows(texts, pairs)
        self.add_rows(ids, second)
        self.add_units([1] * len(batch), range(self.n_examples, self.n_examples + len(batch)))
        self.n_examples += len(batch)
        return encodings

    def add_gold(self, values: list[dict[str, Any]]) -> None:
        """What evaluation compares with, a dict per example; see `Encoded.gold`."""
        for value in values if self.evaluation else ():
            self.writer.add_gold(value)
