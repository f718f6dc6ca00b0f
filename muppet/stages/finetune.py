"""The second stage: one dataset, from a pre-trained or pre-finetuned model, and its evaluation (paper §4)."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from muppet import paths
from muppet.errors import UserError
from muppet.families import FAMILIES, head_key
from muppet.families.encoded import Part
from muppet.families.spec import HeadSpec
from muppet.model import MultiTask
from muppet.paths import write_text
from muppet.result import Result, Score
from muppet.runs import Finetune, facts, run_id
from muppet.runtime import distributed
from muppet.runtime.device import Device
from muppet.runtime.distributed import together
from muppet.runtime.rank import Processes
from muppet.stages import opening, record
from muppet.stages.card import card
from muppet.stages.evaluate import Evaluated, check_metrics, evaluate
from muppet.tasks.task import Generation, Task
from muppet.training.train import Progress, Trainer, train


def finetune(
    run: Finetune, *, progress: Progress | None = None, device: Device | None = None, save: Path | None = None
) -> Result:
    """Train on `run.task`, score all its evaluation splits (and `held_out`, and the tasks of `run.evaluate_on`).

    Predictions go to `predictions.jsonl` in the run's folder; with `save` the model and its head go to that folder.
    Raises UserError for what the user can correct, `Stopped` after a signal.
    """
    started, device, name = time.monotonic(), device or Device.detect(), run_id(run)
    folder = paths.run_dir(name)
    processes = distributed.join(device.kind)
    with together(processes):
        opening.check_tasks((run.task, *(run.evaluate_on or ())))
        for task in (run.task, *(run.evaluate_on or ())):
            check_metrics(task)
        model = opening.load(_start(run), run.recipe, run.seed)
    parts, held_out = _parts(run, model, processes)
    spec = _head(run, model, parts[0].encoded.task, opening.make_spec(run.task, parts[0].encoded, run.recipe.heads))
    opening.check_evaluation(run, model, processes)
    model.row_formats = opening.row_formats(run, [(spec, part) for part in parts])
    trainer = Trainer(model, parts, [spec] * len(parts), run.recipe, run.seed, device, processes)
    train(trainer, name, folder, progress)
    read = [(opening.train_split(part.encoded.task), part) for part in parts]
    evaluated: dict[tuple[str, str], Evaluated] = {}
    beside: dict[str, float] = {}
    if held_out is not None:
        evaluated[run.task.name, "held_out"] = evaluate(model, held_out, spec, "held_out", device, processes)
    for task in (run.task, *(run.evaluate_on or ())):
        for split in task.evaluation:
            encoded = opening.open_split(run, task, split, model, processes, cap=run.evaluation_rows, evaluation=True)
            part = Part(encoded=encoded, units=opening.subset(encoded)[0])
            evaluated[task.name, split] = evaluate(model, part, spec, split, device, processes)
            unlearnt = FAMILIES[task.family].trivial(parts[0], part, model.tokenizer)
            beside |= {f"{task.name}/{split}/{metric}": value for metric, value in unlearnt.items()}
            read.append((split, part))
    result = Result(
        id=name,
        facts=facts(run),
        scores=_scores(evaluated),
        data=record.data(read),
        training=record.training(trainer)
        | {
            "head": spec.key if spec.has_weights else None,
            "metrics": {f"{t}/{s}": one.settings for (t, s), one in evaluated.items()},
            "trivial": beside,
        },
        cost=record.cost(trainer, time.monotonic() - started),
        environment=record.environment(model),
    )
    with together(processes):
        if processes.first:
            lines = [json.dumps(line, ensure_ascii=False) for one in evaluated.values() for line in one.lines]
            write_text(folder / "predictions.jsonl", "".join(line + "\n" for line in lines))
            if save is not None:
                if not spec.has_weights:
                    model.generation = run.task.generation or Generation()
                model.save(save, card(run, result))
    return result


def _scores(evaluated: dict[tuple[str, str], Evaluated]) -> dict[str, Score]:
    return {
        f"{task}/{split}/{metric}": score
        for (task, split), one in evaluated.items()
        for metric, score in one.scores.items()
    }


def _start(run: Finetune) -> str:
    """The name or folder of the model to start from."""
    if isinstance(run.init, str):
        return run.init
    folder = paths.model_dir(run_id(run.init))
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: the pre-finetuned model is not there; run {run_id(run.init)} first")
    return str(folder)


def _parts(run: Finetune, model: MultiTask, processes: Processes) -> tuple[list[Part], Part | None]:
    """The datasets to train on, and what is held out of the task's own training rows."""
    mixture: Sequence[tuple[Task, int]] = run.train_on or ((run.task, 1),)
    for task, weight in mixture:
        if task.family != run.task.family or task.classes != run.task.classes:
            raise UserError(f"{task.name} cannot train the head of {run.task.name}: another family, or other classes")
        if weight < 1:
            raise UserError(
                f"{task.name} has weight {weight} in `train_on`; a weight is a whole number of passes, 1 or more"
            )
    parts, held_out = [], None
    for task, weight in mixture:
        opening.fits(model, task)
        share = run.held_out if task.name == run.task.name else None
        keep = share is not None or FAMILIES[task.family].learns_from_gold  # held-out rows are evaluated on
        encoded = opening.open_split(
            run, task, opening.train_split(task), model, processes, cap=run.train_rows, evaluation=keep
        )
        units, away = opening.subset(encoded, held_out=share, fraction=run.fraction, draw=run.draw)
        parts.append(opening.training_part(encoded, units, weight))
        if share is not None:
            held_out = Part(encoded=encoded, units=away)
    if run.held_out is not None and held_out is None:
        raise UserError(f"`held_out` is a share of {run.task.name}'s training rows, which `train_on` does not hold")
    for task in run.evaluate_on or ():
        if task.family != run.task.family:
            raise UserError(
                f"{task.name} ({task.family}) cannot be scored with the head of {run.task.name} ({run.task.family})"
            )
    return parts, held_out


def _head(run: Finetune, model: MultiTask, task: Task, spec: HeadSpec) -> HeadSpec:
    """Keep the pre-finetuned head of the dataset, or the shared one of its family, or put on a fresh one."""
    have = model.specs()
    if not spec.has_weights:
        model.heads.clear()
        return spec
    kept: HeadSpec | None = None
    if run.reuse_head:
        keys = [key for key in (head_key(task, "per_dataset"), head_key(task, "shared")) if key in have]
        if not keys:
            raise UserError(
                f"reuse_head: {model.origin} has no head for {run.task.name}; it has"
                f" {', '.join(sorted(have)) or 'none'}"
            )
        kept = have[keys[0]]
        if (
            kept.family != spec.family
            or kept.outputs != spec.outputs
            or (kept.classes and kept.classes != spec.classes)
        ):
            raise UserError(
                f"reuse_head: the head {kept.key!r} of {model.origin} has other classes than {run.task.name}"
            )
    for key in have:
        if kept is None or key != kept.key:
            del model.heads[key]
    if kept is None:
        model.add_head(spec, run.seed)
        kept = spec
    for other in run.evaluate_on or ():
        FAMILIES[kept.family].check_scored(kept, other)
    return kept
