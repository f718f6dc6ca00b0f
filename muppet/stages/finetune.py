"""The second stage: one dataset, from a pre-trained or pre-finetuned model, and its evaluation (paper §4)."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

from muppet import paths
from muppet.errors import UserError
from muppet.families import FAMILIES, head_key
from muppet.families.check import check
from muppet.families.encoded import Part
from muppet.families.spec import HeadSpec, row_formats
from muppet.model import MultiTask
from muppet.paths import write_text
from muppet.result import Point, Result, best, without_items
from muppet.runs import Finetune, check_evaluations, run_id
from muppet.runtime import distributed
from muppet.runtime.device import Device
from muppet.runtime.distributed import together
from muppet.runtime.rank import Processes
from muppet.stages import opening, record
from muppet.stages.card import card
from muppet.stages.evaluate import check_metrics
from muppet.stages.examiner import Examiner, Place, Scored, scores_of
from muppet.tasks.task import Generation, Task
from muppet.training.curve import Curve
from muppet.training.train import Progress, train
from muppet.training.trainer import Trainer


def finetune(
    run: Finetune, *, progress: Progress | None = None, device: Device | None = None, save: Path | str | None = None
) -> Result:
    """Train on `run.task`, score all its evaluation splits (and `held_out`, and the tasks of `run.evaluate_on`).

    With `run.evaluations` the result's scores, the predictions and the saved model are of the weights that were best.
    Predictions go to `predictions.jsonl` in the run's folder; with `save` the model and its head go to that folder.
    Raises UserError for what the user can correct, `Stopped` after a signal.
    """
    started = time.monotonic()
    device, known = opening.begin(run, Finetune, device)
    if save is not None:
        paths.check_replaceable(save := Path(save))
    name = run_id(run)
    folder = paths.run_dir(name)
    processes = distributed.join(device.kind)
    with together(processes):
        for task in (*run.scored, *(task for task, _ in run.trained)):
            check(task)
        for task in run.scored:
            check_metrics(task)
        model = opening.load(_start(run), run.recipe, run.seed)
    start = {} if isinstance(run.init, str) else {"start": {"weights": record.weights(model)}}
    parts, held_out = _parts(run, model, processes)
    spec = _head(run, model, parts[0].encoded.task, opening.make_spec(run.task, parts[0].encoded, run.recipe.heads))
    model.row_formats = row_formats([(spec, part) for part in parts], run.recipe.max_length)
    trainer = Trainer(model, parts, [spec] * len(parts), run.recipe, run.seed, device, processes)
    check_evaluations(run, trainer.updates)
    rows = _rows(run, model, held_out, processes)
    beside: dict[str, float] = {}  # before training: what no metric can read is not learnt first
    read = [(opening.train_split(part.encoded.task), part) for part in parts]
    for (name_of, split), part in rows.items():
        if split != "held_out":
            unlearnt = FAMILIES[part.encoded.task.family].trivial(parts[0], part, model.tokenizer)
            beside |= {f"{name_of}/{split}/{metric}": value for metric, value in unlearnt.items()}
            read.append((split, part))
    smoothing = run.recipe.label_smoothing or 0.0
    examiner = Examiner(trainer=trainer, spec=spec, rows=rows, judges=_judges(run), smoothing=smoothing)
    curve = Curve(run.evaluations or 1, trainer.updates, examiner.judge)
    train(trainer, name, folder, progress, curve)
    spent = time.monotonic()
    evaluated, curve.points = _best(examiner, curve)
    trainer.meter.counts["evaluation_seconds"] += time.monotonic() - spent
    result = Result(
        id=name,
        facts=known,
        scores=scores_of(evaluated),
        curve=curve.points,
        data=record.data(read),
        training=record.training(trainer)
        | start
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


def _best(examiner: Examiner, curve: Curve) -> tuple[Scored, list[Point]]:
    """Evaluate the last weights whole, then the best ones where they are others → what the best say, and the curve.

    The model is left with the best weights. Only the best and the last point keep scores by example.
    """
    trainer = examiner.trainer
    evaluated = examiner.evaluate()
    last = Point(update=trainer.updates, judged=examiner.judged(evaluated), scores=scores_of(evaluated))
    points = [*curve.points, last]
    kept = best(points)
    if kept < len(curve.points):
        assert curve.weights is not None
        trainer.model.load_state_dict(curve.weights)
        evaluated = examiner.evaluate()
    points[kept] = replace(points[kept], scores=without_items(scores_of(evaluated)))
    return evaluated, points


def _rows(run: Finetune, model: MultiTask, held_out: Part | None, processes: Processes) -> dict[Place, Part]:
    """What is evaluated, by (task, split)."""
    rows = {} if held_out is None else {(run.task.name, "held_out"): held_out}
    for task in run.scored:
        for split in task.evaluation:
            encoded = opening.open_split(run, task, split, model, processes, cap=run.evaluation_rows, evaluation=True)
            rows[task.name, split] = Part(encoded=encoded, units=opening.subset(encoded)[0])
    return rows


def _judges(run: Finetune) -> tuple[Place, ...]:
    """The splits whose score says which weights are best: the rows held out; without them, of each task the first
    evaluation split, and a test split only where there is no other."""
    if run.held_out is not None:
        return ((run.task.name, "held_out"),)
    return tuple(
        (task.name, next((split for split in task.evaluation if not split.startswith("test")), task.evaluation[0]))
        for task in run.scored
    )


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
    for task, _ in run.trained:
        if task.family != run.task.family or task.classes != run.task.classes:
            raise UserError(f"{task.name} cannot train the head of {run.task.name}: another family, or other classes")
    parts, held_out = [], None
    for task, weight in run.trained:
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
        if (kept.family, kept.outputs) != (spec.family, spec.outputs) or (kept.classes or spec.classes) != spec.classes:
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
