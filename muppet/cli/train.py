"""`python -m muppet prefinetune | finetune | predict | export`: what the commands do.

What needs torch is imported when a command has read its arguments, so that a mistake in them is told at once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.cli.names import named, single
from muppet.errors import UserError, unknown
from muppet.result import Result, write
from muppet.runs import Finetune, Prefinetune, Recipe, run_id
from muppet.runtime.hold import hold
from muppet.runtime.rank import is_first


def prefinetune(args: argparse.Namespace) -> int:
    """Train on the named datasets, print the loss of each, and put the model into `--out`."""
    _free(args.out)
    recipe = Recipe(
        lr=args.lr,
        max_tokens=args.max_tokens,
        updates=args.updates,
        sub_batches=args.sub_batches,
        warmup_share=0.06,
        max_length=args.max_length,
        label_smoothing=0.1,
    )
    run = Prefinetune(
        model=args.model,
        tasks=tuple(task for name in args.tasks.split(",") for task in named(name.strip())),
        recipe=recipe,
        seed=args.seed,
        source="twins" if args.twins else "hub",
        train_rows=args.rows,
    )
    from muppet.stages import prefinetune as stage

    with hold(run_id(run)):
        with _bar("pre-finetuning") as progress:
            result = stage.prefinetune(run, progress=progress)
        _print_losses(result.training)
        return _deliver(result, None, args.out)


def finetune(args: argparse.Namespace) -> int:
    """Train on one dataset, print its scores, and put the model into `--out`."""
    _free(args.out)
    task = single(args.task, "--task", "fine-tuning")
    recipe = Recipe(
        lr=args.lr,
        epochs=args.epochs,
        warmup_share=0.06,
        adam_betas=(0.9, 0.98),
        adam_eps=1e-6,
        weight_decay=0.1,
        max_length=args.max_length,
        max_examples=args.batch,
        sub_batches=1,
        label_smoothing=0.1,
        loss_scaling="none",
        averaging="token" if task.family == "summarization" else "example",
    )
    run = Finetune(
        init=args.model,
        task=task,
        recipe=recipe,
        seed=args.seed,
        reuse_head=args.reuse_head,
        source="twins" if args.twins else "hub",
        train_rows=args.rows,
        evaluation_rows=args.rows,
    )
    from muppet.stages import finetune as stage

    model = paths.run_dir(run_id(run)) / "model"
    with hold(run_id(run)):
        with _bar("fine-tuning") as progress:
            result = stage.finetune(run, progress=progress, save=model)
        for key, score in result.scores.items():
            low, high = (f"{100 * x:.1f}" if x is not None else "?" for x in (score.low, score.high))
            trivial = result.training["trivial"].get(key)
            beside = f"; without learning {100 * trivial:.1f}" if trivial is not None else ""
            print(f"{key}: {100 * score.value:.1f} (95 % item bootstrap {low} to {high}, n = {score.n}{beside})")
        return _deliver(result, model, args.out)


def _print_losses(training: Any) -> None:
    """Each dataset's loss, scaled as trained (Eq. 1: a uniform guess has 1), when it is new and at the end."""
    from rich.console import Console
    from rich.table import Table

    heads = ("dataset", "examples", "epochs", "first loss", "last loss")
    table = Table(*heads, title="scaled loss over the first and the last fifth of what was seen of each")
    for name, seen in training["datasets"].items():
        losses = (f"{x:.3f}" if x is not None else "–" for x in (seen["first_loss"], seen["last_loss"]))
        table.add_row(name, f"{seen['examples']:,}", f"{seen['epochs']:.2f}", *losses)
    Console().print(table)


def predict(args: argparse.Namespace) -> int:
    """Print an answer, as JSON, for each row of a file or of standard input."""
    from muppet.stages.predict import predictions, read_rows

    if args.file is None:
        rows = read_rows(sys.stdin, "standard input")
    else:
        with open(args.file, encoding="utf-8") as file:
            rows = read_rows(file, str(args.file))
    for answer in predictions(args.model, rows, args.head):
        print(json.dumps(answer, ensure_ascii=False))
    return 0


def export(args: argparse.Namespace) -> int:
    """Copy a finished run's model, once it is seen to load, into `--out`."""
    _free(args.out)
    source = Path(args.run) if Path(args.run).is_dir() else paths.model_dir(args.run)
    if not (source / "config.json").is_file():
        raise unknown(
            "finished run with a model",
            args.run,
            [p.parents[1].name for p in paths.artifacts().glob("runs/*/model/config.json")],
        )
    from muppet.model.multitask import MultiTask

    model = MultiTask.load(str(source))
    _copy(source, args.out)
    print(f"{args.out}: {model.backbone.config.model_type}, heads: {', '.join(sorted(model.specs())) or 'none'}")
    return 0


def _free(out: Path) -> None:
    """Refuse an output folder that holds something else than a model of ours."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "heads.json").is_file())):
        raise UserError(f"--out {out} exists and is no model folder of this program; give a new folder")


def _copy(source: Path, out: Path) -> None:
    """Copy a model folder; `out` appears whole or not at all."""
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    temporary = out.absolute().with_name(f".{out.absolute().name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary)
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _deliver(result: Result, model: Path | None, out: Path) -> int:
    """Copy the model to `out` and put the result beside it; then the run's checkpoints are no longer needed."""
    if is_first():
        _copy(model or paths.model_dir(result.id), out)
        write(result, out / f"{result.id}.json")
        shutil.rmtree(paths.run_dir(result.id) / "checkpoint", ignore_errors=True)
        print(f"{out}: model, heads and card; result in {result.id}.json")
    return 0


@contextmanager
def _bar(what: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A progress bar on stderr, fed by a run's progress."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task(what, total=None)

        def progress(state: Mapping[str, Any]) -> None:
            label = f"{what}: loss {state['loss']:.3f}, {state['tokens_per_second']:,.0f} tokens/s"
            bar.update(line, completed=state["step"], total=state["steps"], description=label)

        yield progress
