"""Summarization: the words of a summary, one after another, by the model's own output layer (paper Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from muppet.families.encoded import Encoded, Part
from muppet.families.family import Family, Outputs
from muppet.families.layout import Layout
from muppet.families.roles import Drop, Example, text
from muppet.families.spec import HeadSpec
from muppet.metrics.summaries import sentences
from muppet.tasks.task import Generation, Row, Task

TARGET_LENGTH = 256  # tokens of a summary in training
IGNORED = -100  # target positions past the end of a summary
LEAD = {"cnn_dailymail": 3}  # sentences of the trivial summary; one elsewhere
SPEC = HeadSpec(key="summarization", family="summarization", outputs=0)


class Summarization(Family):
    """A text that the decoder writes."""

    name = "summarization"
    shared_head = True
    needs_decoder = True
    gold = "target"
    learns = ("source", "target")
    asks = ("source",)
    unknown: ClassVar[Row] = {"target": "-"}

    def read(self, task: Task, row: Row) -> Example:
        source, target = text(row["source"], "source").strip(), text(row["target"], "target").strip()
        if not source or not target:
            raise Drop("empty source or target")
        return {"source": source, "target": target}

    def rows(self, task: Task, example: Example) -> list[list[str]]:
        return [[example["source"]]]

    def texts(self, task: Task, example: Example) -> list[str]:
        return [example["source"], example["target"]]

    def truth(self, task: Task, example: Example) -> str:
        return example["target"]

    def lay_out(self, layout: Layout, batch: list[Example]) -> None:
        layout.add_texts([self.rows(layout.task, example) for example in batch])
        targets = layout.segmenter.targets([example["target"] for example in batch], TARGET_LENGTH)
        layout.writer.append("targets", [t for target in targets for t in target], layout.writer.token_dtype)
        layout.writer.append_ends("target_offsets", [len(target) for target in targets])
        layout.add_gold([{"target": example["target"]} for example in batch])

    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        return SPEC

    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> dict[str, np.ndarray]:
        """`targets` are [U, T], `IGNORED` past a summary's end; `n`, the vocabulary, is the model's to say."""
        assert encoded.targets is not None and encoded.target_offsets is not None
        starts, ends = encoded.target_offsets[units], encoded.target_offsets[units + 1]
        lengths = ends - starts
        targets = np.full((len(units), int(lengths.max())), IGNORED, dtype=np.int64)
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            targets[row, : end - start] = encoded.targets[start:end]
        return {"targets": targets, "unit": np.repeat(np.arange(len(units)), lengths)}

    def settings(self, task: Task) -> dict[str, Any]:
        return {"generation": asdict(task.generation or Generation())}

    def predictions(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]) -> list[Any]:
        return [outputs[encoded.unit(example)] for example in chosen]

    def guesses(self, train: Part, encoded: Encoded, chosen: Sequence[int], tokenizer: Any) -> list[Any]:
        """The first sentence of the source, or the first few."""
        rows = [encoded.tokens[encoded.offsets[e] : encoded.offsets[e + 1]].tolist() for e in chosen]
        sources = tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [lead(source, LEAD.get(encoded.task.name, 1)) for source in sources]

    def answer(self, encoded: Encoded, spec: HeadSpec, outputs: Outputs, example: int) -> dict[str, Any]:
        return {"summary": outputs[encoded.unit(example)]}


def lead(source: str, count: int = 1) -> str:
    """The first `count` sentences of a source, one a line: the usual yardstick of news summarisation (3 for CNN/DM)."""
    return "\n".join(sentences(source)[:count])
