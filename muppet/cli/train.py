"""`python -m muppet prefinetune | finetune | predict | export`: what the commands do.

What needs torch is imported when a command has read its arguments, so that a mistake in them is told at once.
"""

from __future__ import annotations

import argparse
import io
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.cli.names import named, single
from muppet.cli.own import task_of
from muppet.errors import Stopped, UserError, unknown
from muppet.families.encoded import told
from muppet.result import Result, Score, write
from muppet.runs import Finetune, Prefinetune, Recipe, Run, run_id
from muppet.runtime.hold import hold
from muppet.runtime.rank import is_first


def prefinetune(args: argparse.Namespace) -> int:
    """Train on the named datasets, print the loss of each, and put the model into `--out`."""
    _free(args.out, args.overwrite)
    _writable("artifacts", paths.run_dir("a-run"), "set MUPPET_ARTIFACTS to another folder")
    recipe = Recipe(
        lr=args.lr,
        max_tokens=args.max_tokens,
        updates=args.updates,
        sub_batches=args.sub_batches,
        warmup_share=0.06,
        max_length=args.max_length,
        label_smoothing=0.1,
    )
    own = task_of(args)
    names = args.tasks.split(",") if args.tasks else []
    run = Prefinetune(
        model=args.model,
        tasks=(*(task for name in names for task in named(name.strip())), *([own] if own else ())),
        recipe=recipe,
        seed=args.seed,
        source="twins" if args.twins else "hub",
        train_rows=args.rows,
        model_digest=_digest(args.model),
    )
    if not run.tasks:
        raise UserError("nothing to train on: give --tasks, --train-file, or both")
    from muppet.stages import prefinetune as stage

    return _train(args, run, "pre-finetuning", stage.prefinetune, _print_losses)


def finetune(args: argparse.Namespace) -> int:
    """Train on one dataset, print its scores, and put the model into `--out`."""
    _free(args.out, args.overwrite)
    _writable("artifacts", paths.run_dir("a-run"), "set MUPPET_ARTIFACTS to another folder")
    own = task_of(args)
    if (own is None) == (args.task is None):
        raise UserError("fine-tuning takes one task: give --task or --train-file")
    task = own or single(args.task, "--task", "fine-tuning")
    if not task.evaluation:
        raise UserError(f"{task.name}: there is nothing to score it on; give --eval-file, or a Task with `evaluation`")
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
        model_digest=_digest(args.model),
    )
    from muppet.stages import finetune as stage

    return _train(args, run, "fine-tuning", partial(stage.finetune, save=paths.model_dir(run_id(run))), _print_scores)


def _train(
    args: argparse.Namespace, run: Run, what: str, stage: Callable[..., Result], tell: Callable[[Result], None]
) -> int:
    with hold(run_id(run)):
        with _bar(what) as progress:
            result = stage(run, progress=progress)
        if is_first():
            tell(result)
            _deliver(result, paths.model_dir(result.id), args)
    return 0


def _print_scores(result: Result) -> None:
    """Each score, of which class an F1 is, and whether a correlation is one at all."""
    classes = result.facts["task"].get("classes")
    for key, score in result.scores.items():
        name, split, metric = key.split("/", 2)
        none = (result.training["metrics"][f"{name}/{split}"].get(metric) or {}).get("undefined")
        said = "not defined, as one side is constant: " * bool(none)
        said += f"of {classes[1]!r}: " if metric == "f1" and classes else ""
        print(f"{key}: {said}{_in_words(score, result.training['trivial'].get(key))}")


def _in_words(score: Score, trivial: float | None) -> str:
    """A score in percent, its interval where it has one (a metric of the Hub has none), and what needs no model."""
    beside = f"; without learning {100 * trivial:.1f}" if trivial is not None else ""
    interval = ""
    if score.low is not None and score.high is not None:
        interval = f"95 % item bootstrap {100 * score.low:.1f} to {100 * score.high:.1f}, "
    return f"{100 * score.value:.1f} ({interval}n = {score.n}{beside})"


def _digest(model: str) -> str | None:
    """Of the files of a model folder: overwritten, it is another model."""
    return paths.folder_digest(Path(model))[:32] if (Path(model) / "config.json").is_file() else None


def _print_losses(result: Result) -> None:
    """Each dataset's loss, scaled as trained (Eq. 1: a uniform guess has 1), when it is new and at the end."""
    from rich.console import Console
    from rich.table import Table

    heads = ("dataset", "examples", "epochs", "first loss", "last loss")
    table = Table(*heads, title="scaled loss over the first and the last fifth of what was seen of each")
    for name, seen in result.training["datasets"].items():
        losses = (f"{x:.3f}" if x is not None else "–" for x in (seen["first_loss"], seen["last_loss"]))
        table.add_row(name, f"{seen['examples']:,}", f"{seen['epochs']:.2f}", *losses)
    Console().print(table)


def predict(args: argparse.Namespace) -> int:
    """Print an answer for each row of a file or of standard input."""
    from muppet.data import files
    from muppet.data.sources import TableRows

    name = str(args.file or "standard input")
    if sys.stdout is None or (args.file is None and sys.stdin is None):
        raise UserError("standard input or output is closed; give a file of rows, and write the answers into one")
    if args.file is not None and files.KINDS.get(args.file.suffix.lower()) == "parquet":
        rows = list(enumerate(TableRows(files.read(args.file), name), start=1))
    else:
        try:
            data = sys.stdin.buffer.read() if args.file is None else args.file.read_bytes()
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror}); give a file with a row a line") from None
        guess = "jsonl" if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[", b"") else "csv"
        rows = files.parse(data, name, files.KINDS.get(args.file.suffix.lower(), guess) if args.file else guess)
    from muppet.stages.predict import predictions

    answers = list(predictions(args.model, rows, name, args.head))
    if isinstance(sys.stdout, io.TextIOWrapper):  # as rows are read, whatever the terminal's encoding
        sys.stdout.reconfigure(encoding="utf-8")
    print(files.write(answers, args.to), end="")
    return 0


def export(args: argparse.Namespace) -> int:
    """Copy a finished run's model, once it is seen to load, into `--out`."""
    _free(args.out, args.overwrite)
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


def _free(out: Path, overwrite: bool) -> None:
    """Refuse an output folder that cannot be written, or replaced as a whole where it may be replaced."""
    if out.parts[:1] and out.parts[0].startswith("~"):
        raise UserError(f"--out {out}: the shell puts no home folder there; write the whole path")
    for what, place in (("working folder", Path.cwd()), ("folder of artifacts", paths.artifacts().resolve())):
        if place.is_relative_to(out.resolve()):
            raise UserError(f"--out {out} is, or holds, the {what}, and is replaced as a whole; give another folder")
    if out.is_mount():
        raise UserError(f"--out {out} is a mount point, which cannot be replaced; give a folder in it")
    _writable(f"--out {out}", out.resolve(), "give another folder")
    paths.check_replaceable(out, f"--out {out}")
    if not overwrite and (out / "heads.json").exists():
        raise UserError(f"--out {out} exists; give --overwrite to replace the model in it, or a new folder")


def _writable(name: str, folder: Path, instead: str) -> None:
    above = next(place for place in (*folder.absolute().parents, Path("/")) if place.exists())
    try:
        paths.probe(above)
    except OSError as error:
        raise UserError(f"{name}: nothing can be written into {above} ({error.strerror}); {instead}") from None


def _copy(source: Path, out: Path) -> None:
    """Copy a model folder; `out` appears whole or not at all. Where it is a link, the folder that it names does."""
    out = out.resolve()
    with paths.beside(out) as temporary:
        try:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        except shutil.Error as error:  # of all files that failed; the first says why
            raise OSError(error.args[0][0][2]) from None
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)


def _deliver(result: Result, model: Path, args: argparse.Namespace) -> None:
    """Say what was left out, put the result beside the model and copy both to `--out`; then the run's checkpoints are
    no longer needed."""
    same: dict[str, str] = {}
    for name, data in result.data.items():
        for why, count in data["dropped"].items():
            print(f"{name}: {count} of {data['rows']} rows left out: {why}")
        if cut := told(data["notes"]):
            print(f"{name}: {cut}; rows hold {args.max_length} tokens (--max-length)")
        if result.scores and (other := same.setdefault(data["fingerprint"], name)) != name:
            print(f"{name}: holds the same rows as {other}, so that scores on it say nothing of other rows")
    write(result, model / f"{result.id}.json")
    try:
        _free(args.out, args.overwrite)  # hours later there may be something else
        _copy(model, args.out)
    except (UserError, OSError) as error:
        raise UserError(f"{error}; the model is kept: `muppet export {result.id} --out FOLDER` copies it") from None
    shutil.rmtree(paths.run_dir(result.id) / "checkpoint", ignore_errors=True)
    print(f"{args.out}: model, heads and card; result in {result.id}.json")


def interruptible(command: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Do a command; Ctrl-C ends it as SIGTERM does, with a checkpoint, one line and status 130. A second one ends it
    at once."""
    caught: list[int] = []

    def once(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        caught.append(number)
        end = signal.getsignal(signal.SIGTERM)
        if not callable(end):  # nothing is trained yet, or any more
            raise KeyboardInterrupt
        end(signal.SIGTERM, frame)

    before = signal.signal(signal.SIGINT, once)
    try:
        return command(args)
    except Stopped as stopped:
        if not caught:
            raise
        print(stopped, file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted; run it again to start from the last checkpoint, if there is one", file=sys.stderr)
    finally:
        signal.signal(signal.SIGINT, before)
    return 130


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
