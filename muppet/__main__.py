"""`muppet`, or `python -m muppet`: pre-finetune, fine-tune, predict, export, with a model or data of one's own.

muppet prefinetune --model roberta-base --tasks rte,boolq,squad --out my-muppet
muppet finetune --model my-muppet --task rte --out my-rte
muppet predict --model my-rte < rows.jsonl
muppet export RUN --out FOLDER
muppet data check
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from muppet.cli.options import add_options
from muppet.errors import UserError, encodable, exit_status

ROWS = """one row a line, as JSON or CSV; what the head's family reads of it:
  classification, regression   {"text": "…"}, and "pair": "…" where the head was trained on pairs
  commonsense                  {"choices": ["…", "…"]} or choice1, choice2, …; "context", "question" as in training
  span                         {"question": "…", "context": "…"}
  summarization                {"source": "…"}
  tagging, parsing             {"tokens": ["…", "…"]}
The columns that the head was trained on serve too, and come first. In CSV, a list is written as JSON."""

LARGEST = 2**32 - 1  # whole number: products of seeds and of counts stay within 64 bits
MOST_EPOCHS = 1e6  # passes; the schedule of more overflows


def main(argv: Sequence[str] | None = None) -> int:
    """Do one command → its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    return exit_status(lambda: _do(given))


def _do(given: list[str]) -> int:
    if wrong := [text for text in given if not encodable(text)]:
        raise UserError(f"{wrong[0]!r} is not UTF-8, which names in results are; rename the file or folder")
    if given[:1] == ["data"]:
        from muppet.cli import data

        return data.main(given[1:])
    args = _parser().parse_args(given)
    from muppet.cli import train

    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "prefinetune": partial(train.interruptible, train.prefinetune),
        "finetune": partial(train.interruptible, train.finetune),
        "predict": train.predict,
        "export": train.export,
    }
    return commands[args.command](args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="muppet" if Path(sys.argv[0]).name == "muppet" else "python -m muppet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")

    pre = commands.add_parser("prefinetune", help="train one model on many datasets at once (paper §3, Table 8)")
    pre.add_argument("--tasks", help="names or named sets, with commas; a .py file gives the Tasks it defines")
    pre.add_argument("--updates", type=_positive(int), default=1000, help="steps of the optimiser (default 1000)")
    pre.add_argument(
        "--sub-batches",
        type=_positive(int),
        default=64,
        help="sub-batches of an update, on all processes together (default 64)",
    )
    pre.add_argument("--max-tokens", type=_positive(int), default=4400, help="of a sub-batch (default 4400)")

    fine = commands.add_parser("finetune", help="train on one dataset and score it (paper §4)")
    fine.add_argument("--task", help="a dataset's name, or a .py file that defines one Task")
    fine.add_argument(
        "--epochs",
        type=_positive(float, most=MOST_EPOCHS),
        default=10.0,
        help="passes over the training rows (default 10)",
    )
    fine.add_argument("--batch", type=_positive(int), default=32, help="examples of an update (default 32)")
    fine.add_argument("--reuse-head", action="store_true", help="start from the pre-finetuned head")

    for command, rate in ((pre, 3e-5), (fine, 1e-5)):
        command.add_argument("--model", required=True, help="a Hub id, a folder, or a tiny/… model")
        command.add_argument("--out", required=True, type=Path, help="the folder to write: model, heads, card, result")
        command.add_argument("--lr", type=_positive(float), default=rate, help=f"learning rate (default {rate:g})")
        command.add_argument("--max-length", type=_positive(int), default=256, help="tokens of a row (default 256)")
        command.add_argument("--seed", type=_positive(int, 0), default=0)
        command.add_argument("--rows", type=_positive(int), help="use at most so many rows of a dataset")
        command.add_argument("--twins", action="store_true", help="train on synthetic twins: no download")
        _add_overwrite(command)
        add_options(command)

    predict = commands.add_parser(
        "predict",
        help="answers for rows given as JSON lines or CSV",
        epilog=ROWS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("--model", required=True, help="a folder that `finetune` or `prefinetune` wrote")
    predict.add_argument("--head", help="which head answers, when the folder has several")
    predict.add_argument("--to", choices=("jsonl", "csv"), default="jsonl", help="what is written (default jsonl)")
    predict.add_argument(
        "file", nargs="?", type=Path, help="a .jsonl, .csv, .tsv or .parquet file (default: standard input)"
    )

    export = commands.add_parser("export", help="copy a finished run's model to a folder, once it is seen to load")
    export.add_argument("run", help="a run's id, or a model folder")
    export.add_argument("--out", required=True, type=Path)
    _add_overwrite(export)
    commands.add_parser("data", help="check | list | show | overlap: the datasets (see `data --help`)")
    return parser


def _add_overwrite(command: argparse.ArgumentParser) -> None:
    command.add_argument("--overwrite", action="store_true", help="replace a model of this program in --out")


def _positive(kind: Callable[[str], Any], least: int | None = None, most: float | None = None) -> Callable[[str], Any]:
    """A number above 0, or with `least` from that on; finite, and at most `most`."""

    limit = most or (LARGEST if kind is int else sys.float_info.max)

    def read(text: str) -> Any:
        value = kind(text)
        if not (value > 0 if least is None else value >= least) or value > limit:
            raise ValueError(text)
        return value

    # what argparse calls it in its message
    read.__name__ = f"positive {kind.__name__}" if least is None else f"{kind.__name__} of {least} or more"
    return read


if __name__ == "__main__":
    sys.exit(main())
