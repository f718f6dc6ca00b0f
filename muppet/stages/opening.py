"""What both stages do before training: what they are asked is looked at, data in, heads on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from muppet.data.cache import encode
from muppet.errors import UserError
from muppet.families import FAMILIES, head_key
from muppet.families.encoded import Encoded, Part
from muppet.families.spec import HeadSpec
from muppet.families.summarization import TARGET_LENGTH
from muppet.model import MultiTask
from muppet.runs import Recipe, Run, check_run, facts
from muppet.runtime.device import Device
from muppet.runtime.distributed import together
from muppet.runtime.rank import Processes
from muppet.tasks.task import Generation, Task


def begin(run: Any, kind: type[Run], device: Any) -> tuple[Device, dict[str, Any]]:
    """What a stage does first, before anything takes time → its device, and the facts of its run as they are before any
    row is read. Raises UserError for what is no run of this `kind`, or no device, and for a field that cannot be."""
    if not isinstance(run, kind):
        raise UserError(f"{kind.stage}() takes a muppet.runs.{kind.__name__}, and is given a {type(run).__name__}")
    if not isinstance(device, Device | None):
        raise UserError(f"`device` is {device!r}; give a muppet.runtime.device.Device, as Device(kind='cuda')")
    check_run(run)
    device = device or Device.detect()
    if device.kind == "cuda" and not torch.cuda.is_available():
        raise UserError("`device` is a GPU, and torch finds none; leave it out, or install a CUDA build of torch")
    return device, facts(run)


def open_split(
    run: Run, task: Task, split: str, model: MultiTask, processes: Processes, *, cap: int | None, evaluation: bool
) -> Encoded:
    """The split's token cache; the first process builds it, the others then open it."""
    limit = model.positions()
    if limit is not None and run.recipe.max_length > limit:
        raise UserError(
            f"max_length={run.recipe.max_length} is more than the {limit} positions of {model.origin};"
            " lower the recipe's max_length"
        )
    opened: list[Encoded] = []
    settings: dict[str, Any] = {"max_length": run.recipe.max_length, "source": run.source, "cap": cap}
    for turn in (processes.first, not processes.first):
        with together(processes):
            if turn:
                opened.append(encode(task, split, model.tokenizer, **settings, evaluation=evaluation))
    return opened[0]


def check_heads(tasks: Sequence[Task], heads: Literal["shared", "per_dataset"]) -> None:
    """Raise UserError where two tasks would train one head although their families share none."""
    owners: dict[str, Task] = {}
    for task in tasks:
        other = owners.setdefault(head_key(task, heads), task)
        shared = heads == "shared" and FAMILIES[task.family].shared_head and other.family == task.family
        if other is not task and not shared:
            raise UserError(
                f"tasks {other.name!r} and {task.name!r} would train one head, {head_key(task, heads)!r}; rename one"
            )


def train_split(task: Task) -> str:
    """The split that `task` is trained on; raises UserError when it has none."""
    if task.train is None:
        raise UserError(f"{task.name} has no training split; it can only be evaluated on")
    return task.train


def fits(model: MultiTask, task: Task) -> None:
    """Raise UserError when the model cannot learn the task's family, or has no room for its summaries."""
    if not FAMILIES[task.family].needs_decoder:
        return
    if not model.seq2seq:
        raise UserError(
            f"{task.name} is a {task.family} task, and {model.origin} has no decoder; use BART, Marian or T5"
        )
    limit, longest = model.positions(), max(TARGET_LENGTH, (task.generation or Generation()).max_tokens)
    if limit is not None and longest > limit:
        raise UserError(
            f"{task.name}: summaries take up to {longest} tokens, and {model.origin} has {limit} positions; use a model"
            " with more"
        )


def make_spec(task: Task, encoded: Encoded, heads: Literal["shared", "per_dataset"]) -> HeadSpec:
    """The head that `task` trains, as its data says."""
    return FAMILIES[task.family].spec(task, encoded, head_key(task, heads))


def training_part(encoded: Encoded, units: np.ndarray, weight: int = 1) -> Part:
    """`units` without those that cannot be learnt from (see `Family.learnable`). Raises UserError for one for which
    Eq. 1 divides by ln 1: a question of one choice, a context of one token."""
    family = FAMILIES[encoded.task.family]
    part = Part(encoded=encoded, units=family.learnable(encoded, units), weight=weight)
    family.check(part)
    return part


def subset(
    encoded: Encoded, *, held_out: float | None = None, fraction: float | None = None, draw: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(training units, held-out units): whole examples. The held-out share is the same in every run of a task;
    fractions are nested within one `draw` (paper §5.3; reading P34) and are of what is not held out."""
    key = zlib.crc32(encoded.task.name.encode())
    count = encoded.n_examples
    order = np.random.default_rng([key, 1]).permutation(count)
    away = order[: max(1, round(held_out * count))] if held_out else order[:0]
    rest = np.setdiff1d(np.arange(count), away)
    if fraction is not None:
        again = np.random.default_rng([key, 2, draw or 0]).permutation(len(rest))
        rest = rest[again[: max(1, round(fraction * len(rest)))]]
    if not len(rest):
        raise UserError(f"{encoded.task.name}: nothing is left to train on ({count} examples, held_out={held_out})")
    example = np.asarray(encoded.unit_example)
    return np.flatnonzero(np.isin(example, rest)), np.flatnonzero(np.isin(example, away))


def add_missing_heads(model: MultiTask, specs: Sequence[HeadSpec], seed: int) -> None:
    """Give the model a fresh head for every spec whose key it does not have."""
    for spec in specs:
        if spec.has_weights and spec.key not in model.heads:
            model.add_head(spec, seed)


def load(name: str, recipe: Recipe, seed: int) -> MultiTask:
    """The model with the recipe's dropout."""
    return MultiTask.load(
        name,
        seed=seed,
        dropout=recipe.dropout,
        attention_dropout=recipe.attention_dropout,
        activation_dropout=recipe.activation_dropout,
    )
