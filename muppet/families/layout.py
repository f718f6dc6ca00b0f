"""How the examples of each family become rows and units, and the flat files they are written to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muppet.errors import UserError
from muppet.families.roles import Example, dataset_name
from muppet.families.segments import Segmenter, Window
from muppet.tasks.task import Task

STRIDE = 128  # tokens that neighbouring windows of a context share (less where rows are short)
TARGET_LENGTH = 256  # tokens of a summary in training


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
    """Rows and units of one family; subclasses say what an example's rows are."""

    tag_names: list[str] | None = None

    def __init__(self, task: Task, segmenter: Segmenter, writer: Writer, evaluation: bool) -> None:
        self.task, self.segmenter, self.writer, self.evaluation = task, segmenter, writer, evaluation
        self.n_examples = self.n_rows = self.n_tokens = 0
        writer.append("offsets", [0], np.int64)
        writer.append("unit_rows", [0], np.int64)
        for name, dtype in (("tokens", writer.token_dtype), ("second", np.int32), ("unit_example", np.int32)):
            writer.append(name, [], dtype)

    def add(self, batch: list[Example]) -> None:
        raise NotImplementedError

    def _rows(self, ids: Sequence[Sequence[int]], second: Sequence[int]) -> None:
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        flat = np.fromiter((token for row in ids for token in row), self.writer.token_dtype, int(lengths.sum()))
        self.writer.append("tokens", flat, self.writer.token_dtype)
        self.writer.append("offsets", self.n_tokens + np.cumsum(lengths), np.int64)
        self.writer.append("second", second, np.int32)
        self.n_tokens += int(lengths.sum())

    def _units(self, rows_per_unit: Sequence[int], example: Sequence[int]) -> None:
        self.writer.append("unit_rows", self.n_rows + np.cumsum(np.asarray(rows_per_unit, np.int64)), np.int64)
        self.writer.append("unit_example", example, np.int32)
        self.n_rows += int(sum(rows_per_unit))

    def _one_row_each(self, batch: list[Example], texts: list[str], pairs: list[str] | None) -> Any:
        ids, second, more = self.segmenter.rows(texts, pairs)
        self._rows(ids, second)
        self._units([1] * len(batch), range(self.n_examples, self.n_examples + len(batch)))
        self.n_examples += len(batch)
        return more

    def _gold(self, values: list[dict[str, Any]]) -> None:
        for value in values if self.evaluation else ():
            self.writer.add_gold(value)


class _Sentences(Layout):
    def add(self, batch: list[Example]) -> None:
        pairs = None if batch[0]["pair"] is None else [example["pair"] for example in batch]
        self._one_row_each(batch, [example["text"] for example in batch], pairs)
        dtype = np.float32 if self.task.family == "regression" else np.int64
        self.writer.append("labels", [example["label"] for example in batch], dtype)
        self._gold([{} for _ in batch])


class _Choices(Layout):
    def add(self, batch: list[Example]) -> None:
        texts = [example["text"] for example in batch for _ in example["choices"]]
        choices = [choice for example in batch for choice in example["choices"]]
        ids, second, _ = self.segmenter.rows(texts, choices)
        self._rows(ids, second)
        self._units([len(e["choices"]) for e in batch], range(self.n_examples, self.n_examples + len(batch)))
        self.n_examples += len(batch)
        self.writer.append("labels", [example["label"] for example in batch], np.int64)
        self._gold([{} for _ in batch])


class _Spans(Layout):
    def add(self, batch: list[Example]) -> None:
        windows = self.segmenter.windows([e["question"] for e in batch], [e["context"] for e in batch], STRIDE)
        spans = [_token_span(window, batch[window.example]["spans"]) for window in windows]
        self._rows([window.ids for window in windows], [window.first for window in windows])
        self._units([1] * len(windows), [self.n_examples + window.example for window in windows])
        self.n_examples += len(batch)
        self.writer.append("spans", spans, np.int32, 2)
        self.writer.append("context", [(window.first, window.last) for window in windows], np.int32, 2)
        if self.evaluation:
            for window in windows:
                self.writer.append("char_offsets", window.offsets, np.int32, 2)
        self._gold([{"id": e["id"], "answers": e["gold"], "context": e["context"]} for e in batch])


def _token_span(window: Window, spans: list[tuple[int, int]]) -> tuple[int, int]:
    """First and last token, in the row, of the first answer that lies whole in the window; (0, 0) when none does."""
    inside = window.offsets[window.first : window.last]
    for start, end in spans:
        if len(inside) and inside[0, 0] <= start and end <= inside[-1, 1]:
            first = int(np.searchsorted(inside[:, 1], start, side="right"))
            last = int(np.searchsorted(inside[:, 0], end, side="left")) - 1
            return window.first + first, window.first + max(first, last)
    return 0, 0


class _Summaries(Layout):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.n_targets = 0
        self.writer.append("targets", [], self.writer.token_dtype)
        self.writer.append("target_offsets", [0], np.int64)

    def add(self, batch: list[Example]) -> None:
        self._one_row_each(batch, [example["source"] for example in batch], None)
        targets = self.segmenter.targets([example["target"] for example in batch], TARGET_LENGTH)
        ends = self.n_targets + np.cumsum([len(target) for target in targets])
        self.writer.append("targets", [token for target in targets for token in target], self.writer.token_dtype)
        self.writer.append("target_offsets", ends, np.int64)
        self.n_targets = int(ends[-1])
        self._gold([{"target": example["target"]} for example in batch])


class _Tags(Layout):
    """Words are joined by single spaces and found again by their characters, so that any tokenizer serves."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.n_words = 0
        self.tag_names = list(self.task.classes or ())
        self.writer.append("words", [], np.int32)
        self.writer.append("tags", [], np.int32)
        self.writer.append("word_offsets", [0], np.int64)

    def add(self, batch: list[Example]) -> None:
        self._sentences(batch, [example["tokens"] for example in batch], [example["tags"] for example in batch])
        classes = self.task.classes or ()
        names = [[classes[tag] for tag in example["tags"]] for example in batch]
        self._gold([{"tokens": e["tokens"], "tags": tags} for e, tags in zip(batch, names)])

    def _sentences(self, batch: list[Example], sentences: list[list[str]], tags: list[list[int]]) -> None:
        encodings = self._one_row_each(batch, [" ".join(words) for words in sentences], None)
        if not encodings:
            raise UserError(
                f"{dataset_name(self.task)}: tagging needs character offsets; use a model with a fast tokenizer"
            )
        for words, sentence_tags, encoding in zip(sentences, tags, encodings):
            first = _first_tokens(words, encoding)
            kept = slice(None) if self.evaluation else first >= 0
            cut = int((first < 0).sum())
            self.segmenter.notes["words cut"] += cut
            self.n_words += len(words) - (0 if self.evaluation else cut)
            self.writer.append("words", first[kept], np.int32)
            self.writer.append("tags", np.asarray(sentence_tags, np.int32)[kept], np.int32)
            self.writer.append("word_offsets", [self.n_words], np.int64)


def _first_tokens(words: list[str], encoding: Any) -> np.ndarray:
    """[words] the row's index of each word's first token; -1 for words past the row's end."""
    real = [index for index, sequence in enumerate(encoding.sequence_ids) if sequence == 0]
    ends = np.array([encoding.offsets[index][1] for index in real])
    lengths = np.array([len(word) for word in words])
    starts = np.cumsum(lengths + 1) - lengths - 1
    place = np.searchsorted(ends, starts, side="right")
    return np.append(real, -1)[np.minimum(place, len(real))].astype(np.int32)


class _Trees(_Tags):
    """Parsing as tagging (see `muppet.trees`); a split's tags are numbered in order of appearance."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.known: dict[str, int] = {}

    def add(self, batch: list[Example]) -> None:
        from muppet.trees import example as read

        trees = [read(e["tree"], f"{dataset_name(self.task)}, {self.n_examples + i}") for i, e in enumerate(batch)]
        numbers = [[self.known.setdefault(tag, len(self.known)) for tag in tags] for _, _, tags in trees]
        self._sentences(batch, [words for words, _, _ in trees], numbers)
        self.tag_names = list(self.known)
        given = zip(batch, trees)
        self._gold([{"tree": e["tree"], "tokens": words, "pos_tags": pos} for e, (words, pos, _) in given])


LAYOUTS: dict[str, type[Layout]] = {
    "classification": _Sentences,
    "regression": _Sentences,
    "commonsense": _Choices,
    "span": _Spans,
    "summarization": _Summaries,
    "tagging": _Tags,
    "parsing": _Trees,
}
