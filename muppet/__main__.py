"""`python -m muppet`: pre-finetune, fine-tune, predict and export, for people with a model or data of their own.

python -m muppet prefinetune --model roberta-base --tasks rte,boolq,squad --out my-muppet
python -m muppet finetune --model my-muppet --task rte --out my-rte
python -m muppet predict --model my-rte < rows.jsonl
python -m muppet export RUN --out FOLDER
python -m muppet data check
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from muppet.errors import Stopped, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a user's mistake is one line and exit status 2, a run that was told to stop ends with 3."""
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if given[:1] == ["data"]:
            from muppet.cli.data import main as data

            return data(given[1:])
        args = _parser().parse_args(given)
        return int(args.do(args))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}; what was there before is unchanged", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 3


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m muppet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")

    pre = commands.add_parser("prefinetune", help="train one model on many datasets at once (paper §3, Table 8)")
    pre.add_argument(
        "--tasks", required=True, help="names or named sets, with commas; a .py file gives the Tasks it defines"
    )
    pre.add_argument("--updates", type=_positive(int), default=1000, help="steps of the optimiser (default 1000)")
    pre.add_argument(
        "--sub-batches",
        type=_positive(int),
        default=64,
        help="sub-batches of an update, on all processes together (default 64)",
    )
    pre.set_defaults(do=_prefinetune)

    fine = commands.add_parser("finetune", help="train on one dataset and score it (paper §4)")
    fine.add_argument("--task", required=True, help="a dataset's name, or a .py file that defines one Task")
    fine.add_argument(
        "--epochs", type=_positive(float), default=10.0, help="passes over the training rows (default 10)"
    )
    fine.add_argument("--batch", type=_positive(int), default=32, help="examples of an update (default 32)")
    fine.add_argument("--reuse-head", action="store_true", help="start from the pre-finetuned head")
    fine.set_defaults(do=_finetune)

    for command, rate, tokens in ((pre, 3e-5, 4400), (fine, 1e-5, 16384)):
        command.add_argument("--model", required=True, help="a Hub id, a folder, or a tiny/… model")
        command.add_argument("--out", required=True, type=Path, help="the folder to write: model, heads, card, result")
        command.add_argument("--lr", type=_positive(float), default=rate, help=f"learning rate (default {rate:g})")
        command.add_argument(
            "--max-tokens", type=_positive(int), default=tokens, help=f"of a sub-batch (default {tokens})"
        )
        command.add_argument("--max-length", type=_positive(int), default=256, help="tokens of a row (default 256)")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--rows", type=_positive(int), help="use at most so many rows of a dataset")
        command.add_argument("--twins", action="store_true", help="train on synthetic twins: no download")

    predict = commands.add_parser("predict", help="answers for rows given as JSON lines")
    predict.add_argument("--model", required=True, help="a folder that `finetune` or `prefinetune` wrote")
    predict.add_argument("--head", help="which head answers, when the folder has several")
    predict.add_argument("file", nargs="?", type=Path, help="JSON lines (default: standard input)")
    predict.set_defaults(do=_predict)

    export = commands.add_parser("export", help="copy a finished run's model to a folder, once it is seen to load")
    export.add_argument("run", help="a run's id, or a model folder")
    export.add_argument("--out", required=True, type=Path)
    export.set_defaults(do=_export)
    commands.add_parser("data", help="check | list | show | overlap: the datasets (see `data --help`)")
    return made


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise ValueError(text)
        return value

    read.__name__ = f"positive {kind.__name__}"  # what argparse calls it in its message
    return read


def _prefinetune(args: argparse.Namespace) -> int:
    from muppet.runs import Prefinetune, Recipe

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
        tasks=tuple(task for name in args.tasks.split(",") for task in _tasks(name.strip())),
        recipe=recipe,
        seed=args.seed,
        source="twins" if args.twins else "hub",
        train_rows=args.rows,
    )
    from muppet.runtime.hold import hold
    from muppet.stages.prefinetune import prefinetune

    with hold(_id(run)):
        with _bar("pre-finetuning") as progress:
            result = prefinetune(run, progress=progress)
        _print_losses(result.training)
        return _deliver(result, None, args.out)


def _finetune(args: argparse.Namespace) -> int:
    from muppet.runs import Finetune, Recipe

    _free(args.out)
    tasks = _tasks(args.task)
    if len(tasks) != 1:
        raise UserError(f"--task {args.task} names {len(tasks)} datasets; fine-tuning takes one")
    recipe = Recipe(
        lr=args.lr,
        max_tokens=args.max_tokens,
        epochs=args.epochs,
        warmup_share=0.06,
        adam_betas=(0.9, 0.98),
        adam_eps=1e-6,
        weight_decay=0.1,
        max_length=args.max_length,
        max_examples=args.batch,
        sub_batches=1,
        label_smoothing=0.1,
    )
    run = Finetune(
        init=args.model,
        task=tasks[0],
        recipe=recipe,
        seed=args.seed,
        reuse_head=args.reuse_head,
        source="twins" if args.twins else "hub",
        train_rows=args.rows,
        evaluation_rows=args.rows,
    )
    from muppet.paths import run_dir
    from muppet.runtime.hold import hold
    from muppet.stages.finetune import finetune

    model = run_dir(_id(run)) / "model"
    with hold(_id(run)):
        with _bar("fine-tuning") as progress:
            result = finetune(run, progress=progress, save=model)
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


def _predict(args: argparse.Namespace) -> int:
    from muppet.stages.predict import predictions, read_rows

    if args.file is None:
        rows = read_rows(sys.stdin, "standard input")
    else:
        with open(args.file, encoding="utf-8") as file:
            rows = read_rows(file, str(args.file))
    for answer in predictions(args.model, rows, args.head):
        print(json.dumps(answer, ensure_ascii=False))
    return 0


def _export(args: argparse.Namespace) -> int:
    from muppet.errors import unknown
    from muppet.paths import artifacts, model_dir

    _free(args.out)
    source = Path(args.run) if Path(args.run).is_dir() else model_dir(args.run)
    if not (source / "config.json").is_file():
        raise unknown(
            "finished run with a model",
            args.run,
            [p.parents[1].name for p in artifacts().glob("runs/*/model/config.json")],
        )
    from muppet.model.multitask import MultiTask

    model = MultiTask.load(str(source))
    _copy(source, args.out)
    print(f"{args.out}: {model.backbone.config.model_type}, heads: {', '.join(sorted(model.specs())) or 'none'}")
    return 0


def _tasks(name: str) -> tuple[Any, ...]:
    """The tasks of a name, a named set, or a Python file."""
    from muppet.tasks import Task, mixture

    if not name.endswith(".py"):
        return mixture(name)
    import runpy

    if not Path(name).is_file():
        raise UserError(f"{name}: no such file")
    found = tuple(value for value in runpy.run_path(name).values() if isinstance(value, Task))
    if not found:
        raise UserError(f"{name} defines no Task; assign a muppet.tasks.Task(...) to a name in it")
    return found


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


def _deliver(result: Any, model: Path | None, out: Path) -> int:
    """Copy the model to `out` and put the result beside it; then the run's checkpoints are no longer needed."""
    from muppet.paths import model_dir, run_dir
    from muppet.result import write
    from muppet.runtime.rank import is_first

    if is_first():
        _copy(model or model_dir(result.id), out)
        write(result, out / f"{result.id}.json")
        shutil.rmtree(run_dir(result.id) / "checkpoint", ignore_errors=True)
        print(f"{out}: model, heads and card; result in {result.id}.json")
    return 0


def _id(run: Any) -> str:
    from muppet.runs import run_id

    return run_id(run)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A progress bar on stderr, fed by a run's progress."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task(what, total=None)

        def progress(told: dict[str, Any]) -> None:
            label = f"{what}: loss {told['loss']:.3f}, {told['tokens_per_second']:,.0f} tokens/s"
            bar.update(line, completed=told["step"], total=told["steps"], description=label)

        yield progress


if __name__ == "__main__":
    sys.exit(main())
