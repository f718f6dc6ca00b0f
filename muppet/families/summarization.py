"""Summarization: the words of a summary, one after another, by the model's own output layer (paper Table 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from muppet.families.encoded import Encoded, Part
from muppet.families.family import Family, Fields, Outputs, examples_of, unit_of
from muppet.families.layout import Layout
from muppet.families.roles import Drop, Example, text
from muppet.families.spec import HeadSpec
from muppet.metrics.summaries import sentences
from muppet.tasks.task import Generation, Row, Task

TARGET_LENGTH = 256  # tokens of a summary in training
IGNORED = -100  # target positions past the end of a summary
LEAD = {"cnn_dailymail": 3}  # sentences of the trivial summary; one elsewhere
SPEC = HeadSpec(key="summarization", family="summarization", outputs=0)


class SummaryLayout(Layout):
    """One row per source: [CLS] source [SEP]; the summary's tokens beside it."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.n_targets = 0
        self.writer.append("targets", [], self.writer.token_dtype)
        self.writer.append("target_offsets", [0], np.int64)

    def add(self, batch: list[Example]) -> None:
        self.one_row_each(batch, [example["source"] for example in batch], None)
        targets = self.segmenter.targets([example["target"] for example in batch], TARGET_LENGTH)
        ends = self.n_targets + np.cumsum([len(target) for target in targets])
        self.writer.append("targets", [token for target in targets for token in target], self.writer.token_dtype)
        self.writer.append("target_offsets", ends, np.int64)
        self.n_targets = int(ends[-1])
        self.add_gold([{"target": example["target"]} for example in batch])


class Summarization(Family):
    """A text that the decoder writes."""

    name = "summarization"
    layout = SummaryLayout
    shared_head = True
    needs_decoder = True
    asks = ("source",)

    def read(self, task: Task, row: Row) -> Example:
        source, target = text(row["source"], "source").strip(), text(row["target"], "target").strip()
        if not source or not target:
            raise Drop("empty source or target")
        return {"source": source, "target": target}

    def texts(self, task: Task, example: Example) -> list[str]:
        return [example["source"], example["target"]]

    def shown(self, task: Task, example: Example) -> list[str]:
        return [f"[CLS] {example['source']} [SEP]", f"→ {example['target']}"]

    def spec(self, task: Task, encoded: Encoded, key: str) -> HeadSpec:
        return SPEC

    def fields(self, encoded: Encoded, units: np.ndarray, spec: HeadSpec) -> Fields:
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

    def answers(
        self, part: Part, spec: HeadSpec, outputs: Outputs, chosen: Sequence[int]
    ) -> tuple[list[Any], list[Any]]:
        gold = part.encoded.gold()
        summaries = [outputs[unit_of(part.encoded, example)] for example in chosen]
        return summaries, [gold[example]["target"] for example in chosen]

    def trivial(self, train: Part, part: Part, tokenizer: Any) -> dict[str, float]:
        """The first sentence of the source, or the first few."""
        encoded, chosen = part.encoded, examples_of(part)
        rows = [encoded.tokens[encoded.offsets[e] : encoded.offsets[e + 1]].tolist() for e in chosen]
        sources = tokenizer.batch_decode(rows, skip_special_tokens=True)
        gold, count = encoded.gold(), LEAD.get(encoded.task.name, 1)
        return self.scores(encoded.task, [lead(s, count) for s in sources], [gold[e]["target"] for e in chosen])

    def unanswered(self, row: Row) -> Row:
        return row | {"target": "-"}

    def answer(self, spec: HeadSpec, encoded: Encoded, outputs: Outputs, example: int) -> dict[str, Any]:
        return {"summary": outputs[unit_of(encoded, example)]}


def lead(source: str, count: int = 1) -> str:
    """The first `count` sentences of a source, one a line: the usual yardstick of news summarisation (3 for CNN/DM)."""
    return "\n".join(sentences(source)[:count])
