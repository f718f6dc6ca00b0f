"""Predictions of a trained model on a split, and their scores, in-process and offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from muppet.errors import UserError
from muppet.families import FAMILIES, answers, official
from muppet.families.encoded import Part
from muppet.families.spec import HeadSpec
from muppet.metrics import METRICS, bootstrap, inputs, score
from muppet.metrics.inputs import Input
from muppet.model import MultiTask
from muppet.model.batch import make_batch
from muppet.result import Score, pack_items
from muppet.runtime.device import Device
from muppet.runtime.distributed import gather
from muppet.runtime.rank import Processes
from muppet.tasks.task import FamilyName, Generation, Task

# (prediction, reference) of two examples of each family, as its metrics take them; those of classes have
# one for each class of the task
SAMPLES: dict[FamilyName, tuple[tuple[Any, Any], tuple[Any, Any]]] = {
    "commonsense": ((0, 0), (2, 2)),
    "regression": ((0.0, 0.0), (1.0, 1.0)),
    "span": (("a man", ["a man"]), ("a dog", ["a dog"])),
    "summarization": (("A man walks the dog.", "A man walks the dog."), ("A cat sat there.", "A cat sat there.")),
    "parsing": (("(S (NN a) (VB b))", "(S (NN a) (VB b))"), ("(S (NN c))", "(S (NN c))")),
}
# The same with no-answer questions
SCORED: tuple[tuple[Any, Any], tuple[Any, Any]] = ((("a man", -1.0), ["a man"]), (("a dog", 1.0), []))
# What each family predicts: a class number would pass for any number, and a tree for any text.
PREDICTED: dict[FamilyName, tuple[Input, ...]] = {
    "classification": (inputs.CLASS,),
    "commonsense": (inputs.CLASS,),
    "regression": (inputs.NUMBER,),
    "span": (inputs.ANSWER, inputs.SCORED, inputs.SPANS),
    "summarization": (inputs.TEXT,),
    "tagging": (inputs.TAGS,),
    "parsing": (inputs.TREE,),
}


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One split: scores by metric, and one line per example."""

    scores: dict[str, Score]
    lines: list[dict[str, Any]]
    settings: dict[str, Any]


def evaluate(
    model: MultiTask, part: Part, spec: HeadSpec, split: str, device: Device, processes: Processes
) -> Evaluated:
    """Score `part` with all metrics of its task, each with its 95 % item bootstrap. Every process takes a share of the
    forwards, and all get the result."""
    task = part.encoded.task
    with device.enough(f"{part.name}, scoring {split}"):
        outputs = predict(model, part, spec, device, processes)
    chosen = part.examples()
    predictions, references = answers(part, spec, outputs, chosen)
    scores: dict[str, Score] = {}
    settings = FAMILIES[task.family].settings(task)
    items: np.ndarray | None = None
    for metric in task.metrics:
        value = score(official(task, metric), predictions, references)
        low = high = None
        if value.weighted is not None:
            ends = bootstrap(value, seed=0)
            low, high = min(*ends, value.value), max(*ends, value.value)  # resampling what is no mean can miss it
        packed = None if value.items is None else pack_items(value.items.tolist())
        scores[metric] = Score(value=value.value, n=value.n, low=low, high=high, items=packed)
        settings[metric] = value.settings
        if items is None and value.items is not None and len(value.items) == len(chosen):  # else not one per example
            items = value.items
    lines = [
        {"task": task.name, "split": split, "example": example, "prediction": predictions[i], "gold": references[i]}
        | ({} if items is None else {"score": round(float(items[i]), 4)})
        for i, example in enumerate(chosen)
    ]
    return Evaluated(scores=scores, lines=lines, settings=settings)


def check_metrics(task: Task) -> None:
    """Raise UserError for a metric of the task that is unknown, cannot be loaded, or measures other things than its
    family predicts: each is tried on right answers, which hold every class of the task."""
    samples: Sequence[tuple[Any, Any]]
    if task.classes:
        samples = [([name], [name]) if task.family == "tagging" else (i, i) for i, name in enumerate(task.classes)]
    else:
        samples = SCORED if task.no_answer else SAMPLES[task.family]
    sides = [list(side) for side in zip(*samples, strict=True)]

    def fits(name: str) -> bool:
        metric = METRICS[name]
        if task.family == "commonsense" and not metric.mean:  # a choice's place means nothing beyond its example
            return False
        kinds = zip((metric.predictions, metric.references), sides, strict=True)
        return metric.predictions in PREDICTED[task.family] and all(all(map(kind.fits, side)) for kind, side in kinds)

    for metric in task.metrics:
        name = official(task, metric)
        if name in METRICS and not fits(name):
            raise UserError(
                f"{task.name}: metric {metric!r} measures no {task.family} task"
                f"{' with no-answer questions' if task.no_answer else ''}; choose of {', '.join(filter(fits, METRICS))}"
            )
        try:
            score(name, *sides)
        except UserError as error:
            raise UserError(f"{task.name}: {error}") from None


def _own_forwards(part: Part, limit: int, processes: Processes) -> Iterator[tuple[int, np.ndarray]]:
    """This process's share of the forwards, with their numbers."""
    return islice(enumerate(_forwards(part, limit)), processes.rank, None, processes.count)


def _forwards(part: Part, limit: int) -> Iterator[np.ndarray]:
    """The units in forwards of similar length and at most `limit` padded tokens, longest first."""
    length, rows = (np.asarray(x)[part.units] for x in part.encoded.cost())
    order = np.lexsort((part.units, -length))
    start = count = 0
    for index, unit in enumerate(order.tolist()):
        if index > start and (count + rows[unit]) * length[order[start]] > limit:
            yield part.units[order[start:index]]
            start = index
            count = 0
        count += int(rows[unit])
    yield part.units[order[start:]]


@torch.no_grad()
def predict(model: MultiTask, part: Part, spec: HeadSpec, device: Device, processes: Processes) -> dict[int, Any]:
    """Unit → what the model says of it: class logits [K], a number, choice scores [choices], a tag number per word
    that is in the row, (best score, first token, last token, score of no answer) of a window, or a summary's text."""
    model.to(device.torch).eval()
    model.check_finite(f"{part.name}: nothing can be predicted:")
    outputs: dict[int, Any] = {}
    generation = part.encoded.task.generation or Generation()
    beams = 1 if spec.has_weights else generation.beams
    for _, units in _own_forwards(part, device.micro_tokens // beams, processes):
        batch = make_batch([part], [spec], [(0, units)], model.pad, device.torch)
        with device.autocast(model.width):
            if not spec.has_weights:
                said: list[Any] = model.generate(batch, generation)
            else:
                ((logits,),) = model.predictions(batch, [spec])
                if bool(logits.isnan().any()) or bool((logits == torch.inf).any()):  # -inf: no candidate
                    raise UserError(
                        f"{part.name}: what the model says is not finite (head {spec.key!r}, a forward of units"
                        f" {units.min()} to {units.max()}): its weights are too large; a lower learning rate may help"
                    )
                said = model.head(spec).by_unit(logits.float(), batch.segments[0].fields)
        outputs.update(zip(units.tolist(), said, strict=True))
    return {unit: one for share in gather(processes, outputs) for unit, one in share.items()}


@torch.no_grad()
def token_loss(
    model: MultiTask, part: Part, spec: HeadSpec, device: Device, processes: Processes, smoothing: float
) -> float:
    """The mean loss of a token of the part's summaries; the same on any number of processes."""
    model.to(device.torch).eval()
    losses: dict[int, tuple[float, int]] = {}
    for number, units in _own_forwards(part, device.micro_tokens, processes):
        batch = make_batch([part], [spec], [(0, units)], model.pad, device.torch)
        with device.autocast(model.width):
            (one,) = model(batch, [spec], None, smoothing)
        tokens = torch.bincount(batch.segments[0].fields["unit"], minlength=len(units))
        losses[number] = float((one.loss.double() * tokens).sum()), int(tokens.sum())
    every = {number: pair for share in gather(processes, losses) for number, pair in share.items()}
    total, count = (sum(every[number][which] for number in sorted(every)) for which in (0, 1))
    return total / max(count, 1)
