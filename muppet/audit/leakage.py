"""The audit over the catalogue, and a run's scores on the examples that no training set hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from muppet.audit.overlap import Pair, audit, copies, read
from muppet.errors import Absent, UserError
from muppet.families.roles import Example
from muppet.result import Result, unpack_items
from muppet.result import read as read_result
from muppet.runs import Source
from muppet.tasks import ALL, COPIES, SETS, Task, mixture


@dataclass(frozen=True, kw_only=True)
class Report:
    """Pairs by share of hit examples, largest first, and what else there is to say."""

    pairs: list[Pair]
    lines: list[str]


def run(evaluation: Sequence[Task] | None, train: Sequence[Task] | None, *, cap: int | None = None) -> Report:
    """Audit `evaluation` against `train`; by default every evaluation split against every A.1 set that is there.

    Of tasks that count as unseen by pre-finetuning (not in the scale curve's pool) the training rows are audited too:
    a fine-tuning on rows that pre-finetuning has read is no test of transfer (P13).
    """
    absent: list[str] = []
    evaluated = {}
    for task in evaluation or ALL.values():
        unseen = (task.train,) if task.train and task.name not in SETS["scale_pool"] else ()
        for split in (*task.evaluation, *unseen):
            limit = (cap or 10**9) if split == task.train else None
            if (examples := _read(task, split, absent, limit)) is not None:
                evaluated[f"{task.name}/{split}"] = (task, examples)
    trains = {}
    for task in train or mixture("a1_47"):
        if task.train and (examples := _read(task, task.train, absent, cap or 10**9)) is not None:
            trains[task.name] = (task, examples)
    if not evaluated or not trains:
        what = "training set" if evaluated else "evaluation set"
        raise Absent(f"nothing to compare: no {what} was found ({', '.join(absent)}); set MUPPET_HUB or go online")
    pairs = audit(evaluated, {name: (task, iter(examples)) for name, (task, examples) in trains.items()})
    pairs = [pair for pair in pairs if pair.evaluation != f"{pair.train}/{trains[pair.train][0].train}"]
    lines = [f"{len(evaluated)} evaluation splits × {len(trains)} training sets"]
    for copy, original in COPIES.items():
        if copy in trains and original in trains:
            share = copies(trains[copy], trains[original])
            lines.append(f"{copy} repeats {original}: {100 * share:.1f} % of its training rows stand there")
        elif copy in ALL and train is None:
            lines.append(f"{copy} repeats {original} by its description; not checked, its rows were not found")
    if absent:
        lines.append(f"not found, so not compared: {', '.join(dict.fromkeys(absent))}")
    return Report(pairs=sorted(pairs, key=lambda pair: -float(pair.hit.mean())), lines=lines)


def _read(task: Task, split: str, absent: list[str], cap: int | None = None) -> list[Example] | None:
    """The examples of a split; None, and a line in `absent`, when it is nowhere."""
    try:
        return read(task, split, cap=cap)
    except Absent:
        absent.append(f"{task.name}/{split}")
        return None


def clean_scores(path: Path, train: Sequence[Task] | None = None) -> str:
    """The scores of a fine-tuning's result on all examples, and on those that no pre-finetuning training set hits.

    The training sets are those of the run's pre-finetuning, whose result is looked for beside this one, or `train`.
    """
    result = read_result(path)
    if result.facts.get("stage") != "finetune":
        raise UserError(f"{path}: is a {result.facts.get('stage')}; give the result of a fine-tuning")
    names = [task.name for task in train] if train else _parent_tasks(result, path)
    known = ALL | {task.name: task for task in train or ()}
    source: Source = result.facts["source"]
    lines = [f"{result.id}: against {len(names)} training sets"]
    for key, score in result.scores.items():
        name, split, metric = key.split("/", 2)
        if score.items is None or split == "held_out" or name not in ALL:
            continue
        task = ALL[name]
        examples = read(task, split, source=source, cap=result.facts.get("evaluation_rows"))
        items = np.array(unpack_items(score.items))
        if len(items) != len(examples):
            raise UserError(
                f"{path}: score `{key}` has {len(items)} items and the split has {len(examples)} examples here; "
                "use the data that the run used (MUPPET_HUB)"
            )
        trains = {}
        for other in (known[n] for n in names if n != name and n in known):
            if source == "hub" and (rows := _read(other, other.train or "train", [], 10**9)) is not None:
                trains[other.name] = (other, iter(rows))
        pairs = audit({f"{name}/{split}": (task, examples)}, trains)
        hit = np.logical_or.reduce([pair.hit for pair in pairs]) if pairs else np.zeros(len(items), bool)
        clean = (
            "no example is clean" if hit.all() else f"{100 * items[~hit].mean():.1f} on the {int((~hit).sum())} clean"
        )
        dirty = f", {100 * items[hit].mean():.1f} on the {int(hit.sum())} hit" if hit.any() else ""
        lines.append(
            f"{key}: {100 * items.mean():.1f} on all {len(items)}, {clean}{dirty} ({len(trains)} sets were found)"
        )
    if len(lines) == 1:
        raise UserError(
            f"{path}: none of its scores is of the examples of a dataset of the catalogue; compare the files"
        )
    return "\n".join(lines)


def _parent_tasks(result: Result, path: Path) -> list[str]:
    """The tasks of the pre-finetuning that `result` started from."""
    start = result.facts["init"]
    if isinstance(start, str):
        raise UserError(f"{path}: started from {start}, which is no pre-finetuning of ours; name its sets with --train")
    parent = path.parent.parent / "prefinetune" / f"{start['run']}.json"
    if not parent.is_file():
        raise UserError(f"{path}: the result of its pre-finetuning, {parent}, is not there; name the sets with --train")
    return [task["name"] for task in read_result(parent).facts["tasks"]]
