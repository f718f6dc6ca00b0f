"""Predictions of a trained model on a split, and their scores, in-process and offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muppet.data.cache import Encoded
from muppet.errors import UserError
from muppet.metrics import bootstrap, score
from muppet.model.batch import make_batch
from muppet.model.heads import HeadSpec
from muppet.model.losses import MASKED
from muppet.model.multitask import MultiTask
from muppet.result import Score, pack_items
from muppet.runtime.device import Device
from muppet.runtime.distributed import Processes, gather
from muppet.tasks.task import Generation, Task
from muppet.training.batching import Part
from muppet.trees import decode

ANSWER_LENGTH = 30  # tokens of a predicted span, at most


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One split: scores by metric, and one line per example."""

    scores: dict[str, Score]
    lines: list[dict[str, Any]]
    settings: dict[str, Any]


def evaluate(
    model: MultiTask, part: Part, spec: HeadSpec | None, split: str, device: Device, here: Processes
) -> Evaluated:
    """Score `part` with all metrics of its task, each with its 95 % item bootstrap. Every process takes a share of the
    forwards, and all get the result."""
    task = part.encoded.task
    outputs = predict(model, part, spec, device, here)
    chosen = sorted({*part.encoded.unit_example[part.units].tolist()})
    predictions, references = answers(part, spec, outputs, chosen)
    scores: dict[str, Score] = {}
    settings: dict[str, Any] = {}
    if spec is None:
        settings["generation"] = asdict(task.generation or Generation())
    if task.family == "span":
        settings["answer_tokens"] = ANSWER_LENGTH
    items: np.ndarray | None = None
    for metric in task.metrics:
        value = score(official(task, metric), predictions, references)
        low, high = bootstrap(value, seed=0)
        low, high = min(low, value.value), max(high, value.value)  # resampling a score that is no mean can miss it
        packed = None if value.items is None else pack_items(value.items.tolist())
        scores[metric] = Score(value=value.value, n=value.n, low=low, high=high, items=packed)
        settings[metric] = value.settings
        if items is None and value.items is not None and len(value.items) == len(chosen):  # else not one per example
            items = value.items
    lines = []
    for index, example in enumerate(chosen):
        line = {"task": task.name, "split": split, "example": example, "prediction": predictions[index]}
        line["gold"] = references[index]
        if items is not None:
            line["score"] = round(float(items[index]), 4)
        lines.append(line)
    return Evaluated(scores=scores, lines=lines, settings=settings)


def official(task: Task, metric: str) -> str:
    """The name in `muppet.metrics` of a task's metric: SQuAD's `em` and `f1` are 2.0's with no-answer questions."""
    if task.family == "span" and metric in ("em", "f1"):
        return f"squad_v2_{metric}" if task.no_answer else f"squad_{metric}"
    if task.family == "tagging" and metric == "accuracy":
        return "token_accuracy"
    return metric


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
def predict(model: MultiTask, part: Part, spec: HeadSpec | None, device: Device, here: Processes) -> dict[int, Any]:
    """Unit → what the model says of it: class logits [K], a number, choice scores [choices], a tag number per word
    that is in the row, (best score, first token, last token, score of no answer) of a window, or a summary's text."""
    model.to(device.torch).eval()
    found: dict[int, Any] = {}
    beams = (part.encoded.task.generation or Generation()).beams if spec is None else 1
    for number, units in enumerate(_forwards(part, device.micro_tokens // beams)):
        if number % here.count != here.rank:
            continue
        batch = make_batch([part], [spec], [(0, units)], model.pad, device.torch)
        if spec is None:
            with device.autocast():
                texts = model.generate(batch, part.encoded.task.generation or Generation())
            found.update(zip(units.tolist(), texts, strict=True))
            continue
        with device.autocast():
            ((logits,),) = model.predictions(batch, [spec])
        segment = batch.segments[0].fields
        found.update(zip(units.tolist(), _by_unit(spec, logits.float(), segment, len(units)), strict=True))
    together: dict[int, Any] = {}
    for share in gather(here, found):
        together.update(share)
    return together


def _by_unit(spec: HeadSpec | None, logits: Tensor, segment: dict[str, Tensor], units: int) -> list[Any]:
    assert spec is not None
    if spec.family == "span":
        return _best_spans(logits, segment)
    if spec.family == "commonsense":
        return [row[:n] for row, n in zip(logits.cpu().numpy(), segment["n"].tolist(), strict=True)]
    if spec.family in ("tagging", "parsing"):
        counts = torch.bincount(segment["unit"], minlength=units).tolist()
        return [chunk.tolist() for chunk in logits.argmax(dim=-1).split(counts)]
    return list(logits.cpu().numpy())


def _best_spans(logits: Tensor, segment: dict[str, Tensor]) -> list[tuple[float, int, int, float]]:
    """The best span of at most `ANSWER_LENGTH` tokens inside the context of each window."""
    start, end = logits.chunk(2)  # [U, L] each
    null = start[:, 0] + end[:, 0]
    place = torch.arange(start.shape[1], device=start.device)
    inside = (place >= segment["first"][:, None]) & (place < segment["last"][:, None])
    start, end = start.masked_fill(~inside, MASKED), end.masked_fill(~inside, MASKED)
    best = torch.full_like(null, 3 * MASKED)
    first, last = torch.zeros_like(null, dtype=torch.long), torch.zeros_like(null, dtype=torch.long)
    for extra in range(min(ANSWER_LENGTH, start.shape[1])):
        value, at = (start[:, : start.shape[1] - extra] + end[:, extra:]).max(dim=1)
        better = value > best
        best = torch.where(better, value, best)
        first, last = torch.where(better, at, first), torch.where(better, at + extra, last)
    return list(zip(best.tolist(), first.tolist(), last.tolist(), null.tolist(), strict=True))


def answers(
    part: Part, spec: HeadSpec | None, outputs: dict[int, Any], chosen: Sequence[int]
) -> tuple[list[Any], list[Any]]:
    """(predictions, references) of the examples `chosen`, as the metrics take them."""
    encoded, task = part.encoded, part.encoded.task
    if task.family == "span":
        return _texts(part, outputs, chosen)
    unit_of = {int(encoded.unit_example[unit]): int(unit) for unit in part.units}
    units = [unit_of[example] for example in chosen]
    if spec is None:
        gold = encoded.gold()
        return [outputs[unit] for unit in units], [gold[example]["target"] for example in chosen]
    if task.family in ("tagging", "parsing"):
        return _tagged(part, spec, outputs, chosen, units)
    assert encoded.labels is not None
    if task.family == "regression":
        values = [spec.low + float(outputs[unit]) * (spec.high - spec.low) for unit in units]
        return values, [float(encoded.labels[unit]) for unit in units]
    winners = [int(np.argmax(outputs[unit])) for unit in units]
    if task.family == "classification":
        merged = class_map(spec, task)
        winners = [merged[winner] for winner in winners]
    return winners, [int(encoded.labels[unit]) for unit in units]


def _tagged(
    part: Part, spec: HeadSpec, outputs: dict[int, Any], chosen: Sequence[int], units: Sequence[int]
) -> tuple[list[Any], list[Any]]:
    """Tags per word, or the trees that they spell."""
    encoded, gold = part.encoded, part.encoded.gold()
    predictions: list[Any] = []
    references: list[Any] = []
    for example, unit in zip(chosen, units, strict=True):
        tags = word_tags(encoded, spec, outputs[unit], unit)
        if encoded.task.family == "parsing":
            predictions.append(one_line(decode(gold[example]["tokens"], gold[example]["pos_tags"], tags)))
            references.append(gold[example]["tree"])
        else:
            predictions.append(tags)
            references.append(gold[example]["tags"])
    return predictions, references


def word_tags(encoded: Encoded, spec: HeadSpec, guessed: Sequence[int], unit: int) -> list[str]:
    """A tag for every word of a sentence; a word that was cut off with its row's end gets the plainest tag."""
    names = spec.classes or ()
    plain = "=1 S" if spec.family == "parsing" else "O" if "O" in names else names[0]
    assert encoded.words is not None and encoded.word_offsets is not None
    inside = np.asarray(encoded.words[encoded.word_offsets[unit] : encoded.word_offsets[unit + 1]]) >= 0
    numbers = iter(guessed)
    return [names[next(numbers)] if here else plain for here in inside.tolist()]


def one_line(tree: Any) -> str:
    """A tree as bracketed text on one line."""
    return " ".join(str(tree).split())


def class_map(spec: HeadSpec, task: Task) -> list[int]:
    """For each class of the head, the class of `task` that it counts as (paper Table 6: one head, several datasets).

    A dataset with a coarser division than the head's has a class named `not_X` or `non-X` that all the head's other
    classes count as. Raises UserError when a class of the head is no class of the task.
    """
    ours, theirs = spec.classes or (), task.classes or ()
    found = []
    for name in ours:
        rest = [
            i
            for i, other in enumerate(theirs)
            for x in ours
            if x != name and other in (f"not_{x}", f"non-{x}", f"non_{x}")
        ]
        if name in theirs:
            found.append(theirs.index(name))
        elif rest:
            found.append(rest[0])
        else:
            raise UserError(
                f"head {spec.key!r} predicts {name!r}, which is no class of {task.name} ({', '.join(theirs)})"
            )
    return found


def _texts(part: Part, outputs: dict[int, Any], chosen: Sequence[int]) -> tuple[list[Any], list[Any]]:
    """Per question the best window's text; with no-answer questions, with what `window_text` says of no answer."""
    encoded, gold = part.encoded, part.encoded.gold()
    windows: dict[int, list[int]] = {}
    for unit in part.units.tolist():
        windows.setdefault(int(encoded.unit_example[unit]), []).append(unit)
    found = [window_text(encoded, outputs, windows[example], gold[example]["context"]) for example in chosen]
    predictions = [one if encoded.task.no_answer else one[0] for one in found]
    return predictions, [gold[example]["answers"] for example in chosen]


def window_text(encoded: Encoded, outputs: dict[int, Any], units: Sequence[int], context: str) -> tuple[str, float]:
    """The best span of a question's windows, and the lowest window's score of no answer minus that span's score."""
    unit = max(units, key=lambda u: outputs[u][0])
    value, first, last, _ = outputs[unit]
    row = int(encoded.unit_rows[unit])
    assert encoded.char_offsets is not None
    offsets = encoded.char_offsets[encoded.offsets[row] : encoded.offsets[row + 1]]
    return context[int(offsets[first, 0]) : int(offsets[last, 1])], min(outputs[u][3] for u in units) - value
