"""Tokenising into the cache, the cache's size, and collating a batch, against `datasets` with `tokenizer.pad`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.common import ROUNDS, Bar, Report, interleave, median, need, ratio
from benchmarks.mixture import artifacts, minilm, source
from muppet import tasks
from muppet.data.cache import encode
from muppet.data.sources import load_rows
from muppet.families import examples
from muppet.families.encoded import Part
from muppet.model.batch import make_batch
from muppet.model.multitask import MultiTask
from muppet.stages import opening
from muppet.tasks.task import Task

CPU = torch.device("cpu")
BATCH = 32
CALLS, THEIR_CALLS = 200, 20  # batches collated in one turn


def texts(task: Task, rows: int) -> tuple[list[str], list[str]]:
    """The texts and pairs of a classification task, as a user of `datasets` would tokenise them."""
    loaded = load_rows(task, opening.train_split(task), source=source(), cap=rows)
    found = list(examples(task, opening.train_split(task), loaded.rows, Counter()))
    return [example["text"] for example in found], [example["pair"] for example in found]


def tokenisers(model: MultiTask, task: Task, rows: int, folder: Path) -> dict[str, Callable[[], Any]]:
    """Ways to tokenise the same rows."""
    import datasets

    first, second = texts(task, rows)
    need(second[0] is not None, f"{task.name} has no pairs")
    tokenizer = model.tokenizer
    raw = datasets.Dataset.from_dict({"text": first, "pair": second})

    def cache() -> None:
        place = folder / str(time.monotonic_ns())
        with mock.patch.dict("os.environ", MUPPET_ARTIFACTS=str(place)):
            encode(task, opening.train_split(task), tokenizer, max_length=128, source=source(), cap=rows)
        shutil.rmtree(place)

    def map_with(batched: bool) -> None:
        raw.map(
            lambda row: tokenizer(row["text"], row["pair"], truncation=True, max_length=128),
            batched=batched,
            new_fingerprint=str(time.monotonic_ns()),
        )

    return {
        "this project, into the cache": cache,
        "datasets.map, batched": lambda: map_with(True),
        "datasets.map, one by one": lambda: map_with(False),
    }


def collators(model: MultiTask, task: Task, rows: int) -> tuple[dict[str, Callable[[], Any]], int, int]:
    """Ways to make `CALLS` batches of 32 rows; bytes of the cache and of the same columns as `datasets` keeps them."""
    import datasets
    from transformers import DataCollatorWithPadding

    encoded = encode(task, opening.train_split(task), model.tokenizer, max_length=128, source=source(), cap=rows)
    part, spec = Part(encoded=encoded, units=opening.subset(encoded)[0]), opening.make_spec(task, encoded, "shared")
    random = np.random.default_rng(0)
    chosen = [random.choice(part.units, size=min(BATCH, len(part.units)), replace=False) for _ in range(CALLS)]
    bounds = list(zip(encoded.offsets[:-1].tolist(), encoded.offsets[1:].tolist(), strict=True))
    ids = [encoded.tokens[a:b].tolist() for a, b in bounds]
    types = [[int(i >= s) for i in range(len(row))] for row, s in zip(ids, encoded.second.tolist(), strict=True)]
    ones = [[1] * len(row) for row in ids]
    columns = {
        "input_ids": ids,
        "token_type_ids": types,
        "attention_mask": ones,
        "labels": np.asarray(encoded.labels).tolist(),
    }
    raw = datasets.Dataset.from_dict(columns)
    collate, (first, second) = DataCollatorWithPadding(model.tokenizer), texts(task, rows)

    def ours(packed: bool) -> None:
        for units in chosen:
            make_batch([part], [spec], [(0, units)], model.pad, CPU, packed)

    def theirs() -> None:
        for units in chosen[:THEIR_CALLS]:
            collate([raw[int(unit)] for unit in units])

    def fly() -> None:
        for units in chosen[:THEIR_CALLS]:
            rows = [int(unit) for unit in units]
            model.tokenizer(
                [first[i] for i in rows],
                [second[i] for i in rows],
                truncation=True,
                max_length=128,
                padding=True,
                return_tensors="pt",
            )

    kept = sum(file.stat().st_size for file in encoded.folder.iterdir())
    return (
        {
            "this project, padded": lambda: ours(False),
            "this project, packed": lambda: ours(True),
            "datasets + tokenizer.pad": theirs,
            "tokenised on the fly": fly,
        },
        kept,
        int(raw.data.nbytes),
    )


def measure(rounds: int = ROUNDS, name: str = "mnli", rows: int = 2000) -> Report:
    """CPU time per row tokenised, and per batch collated."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    task = tasks.get(name)
    with artifacts(), tempfile.TemporaryDirectory() as scratch:
        model = minilm(1)
        tokenising = interleave(tokenisers(model, task, rows, Path(scratch)), rounds)
        ways, kept, arrow = collators(model, task, rows)
        collating = interleave(ways, rounds)
    table: list[dict[str, Any]] = []
    ours = tokenising["this project, into the cache"]
    for way, clocks in tokenising.items():
        table.append(
            {
                "what": "tokenise",
                "way": way,
                "CPU ms": 1000 * median([c.cpu for c in clocks]) / rows,
                "wall ms": 1000 * median([c.wall for c in clocks]) / rows,
                "per": "row",
                "× this project": ratio(ours, clocks),
            }
        )
    calls = {way: CALLS if "project" in way else THEIR_CALLS for way in collating}
    best = [c.cpu / CALLS for c in collating["this project, padded"]]
    for way, clocks in collating.items():
        each = [c.cpu / calls[way] for c in clocks]
        table.append(
            {
                "what": "collate",
                "way": way,
                "CPU ms": 1000 * median(each),
                "wall ms": 1000 * median([c.wall / calls[way] for c in clocks]),
                "per": f"{BATCH} rows",
                "× this project": median([b / a for a, b in zip(best, each, strict=True)]),
            }
        )
    times = {row["way"]: row["× this project"] for row in table}
    return Report(
        name="data",
        rows=table,
        settings={
            "dataset": task.name,
            "rows": rows,
            "max_length": 128,
            "rounds": rounds,
            "cache_bytes_per_row": round(kept / rows, 1),
            "datasets_bytes_per_row": round(arrow / rows, 1),
            "source": source(),
        },
        bars=[
            Bar(
                what="datasets + tokenizer.pad over this project, collating",
                bar=20.0,
                measured=times["datasets + tokenizer.pad"],
            )
        ],
        notes=[f"the cache takes {kept / rows:.0f} bytes a row, the same columns in Arrow {arrow / rows:.0f}"],
    )
