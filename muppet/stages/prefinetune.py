"""The first stage: one model, many datasets at once (paper §3)."""

from __future__ import annotations

import time
from collections import Counter

from muppet import paths
from muppet.errors import UserError
from muppet.families.check import check
from muppet.families.spec import row_formats
from muppet.result import Result
from muppet.runs import Prefinetune, run_id
from muppet.runtime import distributed
from muppet.runtime.device import Device
from muppet.runtime.distributed import together
from muppet.stages import opening, record
from muppet.stages.card import card
from muppet.training.train import Progress, train
from muppet.training.trainer import Trainer


def prefinetune(run: Prefinetune, *, progress: Progress | None = None, device: Device | None = None) -> Result:
    """Train `run.model` on all of `run.tasks`; leaves the model, with its heads, in `paths.model_dir(run_id(run))`.

    Returns the result without scores (the heads are scored by fine-tuning). Raises UserError for what the user can
    correct, `Stopped` after a signal: the same call goes on from the checkpoint.
    """
    started = time.monotonic()
    device, known = opening.begin(run, Prefinetune, device)
    name = run_id(run)
    paths.check_replaceable(paths.model_dir(name))
    twice = [task for task, count in Counter(task.name for task in run.tasks).items() if count > 1]
    if twice or not run.tasks:
        raise UserError(f"a pre-finetuning takes each task once, and at least one; twice: {', '.join(twice) or 'none'}")
    for task in run.tasks:
        check(task)
    opening.check_heads(run.tasks, run.recipe.heads)
    processes = distributed.join(device.kind)
    with together(processes):
        model = opening.load(run.model, run.recipe, run.seed)
    model.heads.clear()
    parts, specs = [], []
    for task in run.tasks:
        opening.fits(model, task)
        split = opening.train_split(task)
        encoded = opening.open_split(run, task, split, model, processes, cap=run.cap(task), evaluation=False)
        parts.append(opening.training_part(encoded, opening.subset(encoded)[0]))
        specs.append(opening.make_spec(task, encoded, run.recipe.heads))
    opening.add_missing_heads(model, specs, run.seed)
    trainer = Trainer(model, parts, specs, run.recipe, run.seed, device, processes)
    model.row_formats = row_formats(list(zip(specs, parts, strict=True)), run.recipe.max_length)
    train(trainer, name, paths.run_dir(name), progress)
    result = Result(
        id=name,
        facts=known,
        scores={},
        data=record.data([(opening.train_split(part.encoded.task), part) for part in parts]),
        training=record.training(trainer),
        cost=record.cost(trainer, time.monotonic() - started),
        environment=record.environment(model),
    )
    with together(processes):
        if processes.first:
            model.save(paths.model_dir(name), card(run, result))
    return result
