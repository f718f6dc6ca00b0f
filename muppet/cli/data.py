"""`python -m muppet data check | list | show NAME | overlap`: the catalogue from the command line."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.cli.names import single, tasks
from muppet.data import mirror
from muppet.errors import Absent, UserError, exit_status
from muppet.tasks import ALL, SETS, Task

WIDTH = 70  # characters of an example in a table


def main(argv: Sequence[str] | None = None) -> int:
    """Do one command → its exit status; a mismatch in the data is 1."""
    args = _parser().parse_args(argv)
    return exit_status(lambda: args.do(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m muppet data", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="find every dataset, read every row, and say what does not fit")
    check.add_argument("tasks", nargs="*", metavar="TASK", help="tasks or named sets (default: the whole catalogue)")
    check.set_defaults(do=_check)

    listing = commands.add_parser("list", help="the catalogue")
    listing.add_argument("tasks", nargs="*", metavar="TASK", help="tasks or named sets (default: all)")
    listing.set_defaults(do=_list)

    show = commands.add_parser("show", help="examples as the model sees them")
    show.add_argument("task", metavar="TASK")
    show.add_argument("--split", help="default: train")
    show.add_argument("--rows", type=int, default=3, help="how many (default 3)")
    show.add_argument("--twins", action="store_true", help="of the synthetic twin")
    show.add_argument("--model", help="show the tokens of this model's tokenizer")
    show.add_argument("--max-length", type=int, default=512, help="tokens of a row with --model (default 512)")
    show.set_defaults(do=_show)

    overlap = commands.add_parser("overlap", help="evaluation examples that occur in pre-finetuning training sets")
    overlap.add_argument("--evaluation", nargs="+", metavar="TASK", help="default: every task that is found")
    overlap.add_argument("--train", nargs="+", metavar="TASK", help="default: the sets of appendix A.1 that are found")
    overlap.add_argument("--rows", type=int, help="cap the rows of each training set")
    overlap.add_argument("--all", action="store_true", help="print also pairs with less than 1 %% of the examples hit")
    overlap.add_argument("--result", type=Path, help="score this result on the examples that no training set hits")
    overlap.set_defaults(do=_overlap)
    return parser


# check ----------------------------------------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    rows: list[list[Any]] = []
    wrong: list[str] = []
    absent: list[str] = []
    seen: set[tuple[str, str]] = set()
    for task in tasks(args.tasks or ALL):
        for place, split in places(task):
            line = inspect(task, place, split)
            rows.append(line)
            seen.add((task.path, place.config or "default"))
            wrong += [f"{line[0]} {split}: {line[5]}"] if line[5] not in ("as declared", "") else []
            absent += [f"{task.name}/{split}"] if line[2] == "absent" else []
    headers = ["task", "split", "found", "rows", "examples", "columns", "first example"]
    print(tabulate(rows, headers=headers, tablefmt="simple", maxcolwidths=[None, None, None, None, None, 60, None]))
    held = configurations()
    unread = sorted(f"{path}/{config}" for path, config in held - seen)
    print()
    if paths.mirror() is not None and not args.tasks:
        print(
            f"{len(held)} configurations in {paths.mirror()}, {len(held & seen)} of them read; {len(wrong)} mismatches"
        )
        for other in unread:
            print(f"no task reads {other}")
    if absent:
        print(f"{len(absent)} splits are not there: {', '.join(absent)}")
        print("get them from the Hub (online), from a mirror folder (MUPPET_HUB), or use their twins (PROFILE=smoke)")
    for mismatch in wrong:
        print(f"mismatch: {mismatch}")
    return 1 if wrong else 0


def configurations() -> set[tuple[str, str]]:
    """(path, configuration) of everything that the mirror declares."""
    root = paths.mirror()
    if root is None or not root.is_dir():
        return set()
    folders = {readme.parent for readme in root.glob("*/*/README.md")}
    return {(str(folder.relative_to(root)), name) for folder in folders for name in mirror.configs(folder)}


def places(task: Task) -> list[tuple[Task, str]]:
    """Where to look for a task: its declared splits, and every other split and configuration of its mirror folder.

    A further configuration (a re-division, the same rows in another form) is read by the first task of that path that
    can read its first row.
    """
    listed = [(task, split) for split in dict.fromkeys((task.train, *task.evaluation)) if split]
    folder = mirror.folder(task.path)
    if folder is None or task.partition is not None:
        return listed
    siblings = [other for other in ALL.values() if other.path == task.path]
    for config, splits in mirror.configs(folder).items():
        if config == (task.config or "default"):
            listed += [(task, split) for split in splits if (task, split) not in listed]
        elif config not in {other.config for other in siblings}:
            owners = [other for other in siblings if other.carved == config] or siblings
            if next((other for other in owners if _reads(other, config, next(iter(splits)))), None) is task:
                listed += [(replace(task, config=config, carved=None), split) for split in splits]
    return listed


def _reads(task: Task, config: str, split: str) -> bool:
    from muppet.data.sources import peek
    from muppet.families import examples

    place = replace(task, config=config, carved=None)
    try:
        list(examples(place, split, islice(peek(place, split).rows, 1), Counter()))
    except UserError:
        return False
    return True


def inspect(task: Task, place: Task, split: str) -> list[Any]:
    """One line of the table: task, split, found, rows, examples, columns, first example."""
    from muppet.data.sources import peek
    from muppet.families import examples, shown

    name = task.name if place.config == task.config else f"{task.name} ({place.config})"
    try:
        rows = peek(replace(place, carved=None), split)
    except Absent:
        return [name, split, "absent", "", "", "", ""]
    except UserError as error:
        return [name, split, "damaged", "", "", str(error), ""]
    dropped: Counter[str] = Counter()
    first, count = "", 0
    try:
        for example in examples(place, split, rows.rows, dropped):
            first = first or short(shown(place, example)[0])
            count += 1
    except UserError as error:
        return [name, split, rows.found, rows.total, count, str(error), first]
    counted = f"{count}" + (f" ({', '.join(f'{n} {why}' for why, n in dropped.items())})" if dropped else "")
    return [name, split, rows.found, rows.total, counted, "as declared", first]


def short(row: str) -> str:
    """A model row in one short line."""
    line = row.replace("\n", " ")
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


# list, show -----------------------------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    lines = []
    for task in tasks(args.tasks or ALL):
        where = task.path + (f" {task.config}" if task.config and task.config != "default" else "")
        at = "" if task.revision is None else f"@{task.revision[:7] if len(task.revision) == 40 else task.revision}"
        sets = " ".join(name for name, names in SETS.items() if task.name in names and not name.startswith("scale_1"))
        counts = [task.train_rows, task.evaluation_rows]
        lines.append([task.name, task.family, *counts, where + at, task.licence, task.metric, sets, task.checked])
    headers = ["task", "family", "train", "evaluation", "source", "licence", "metric", "sets", "columns confirmed in"]
    print(tabulate(lines, headers=headers, tablefmt="simple"))
    print(f"\n{len(lines)} tasks; " + ", ".join(f"{name}: {len(names)}" for name, names in SETS.items()))
    return 0


def _show(args: argparse.Namespace) -> int:
    from muppet.data.sources import load_rows
    from muppet.families import examples, shown

    if args.rows < 1:
        raise UserError(f"--rows is {args.rows}; give 1 or more")
    task = single(args.task, "TASK", "show")
    split = args.split or task.train or task.evaluation[0]
    source: Any = "twins" if args.twins else "hub"
    rows = load_rows(task, split, source=source, cap=args.rows)
    print(
        f"{task.name}: {task.family}, {split}, found: {rows.found}, {rows.total} rows; metric {', '.join(task.metrics)}"
    )
    if task.note:
        print(task.note)
    dropped: Counter[str] = Counter()
    for number, example in enumerate(examples(task, split, rows.rows, dropped)):
        print(f"\n{number}")
        for line in shown(task, example):
            print("  " + line)
    for reason, count in dropped.items():
        print(f"\ndropped: {count} × {reason}")
    if args.model:
        _show_tokens(args, task, split, source)
    return 0


def _show_tokens(args: argparse.Namespace, task: Task, split: str, source: Any) -> None:
    from muppet.data.cache import encode
    from muppet.model.pretrained import open_tokenizer

    tokenizer = open_tokenizer(args.model)
    encoded = encode(task, split, tokenizer, max_length=args.max_length, source=source, cap=args.rows)
    print(f"\ntokens of {args.model}, rows of at most {args.max_length}; cut: {encoded.notes}")
    for row in range(len(encoded.second)):
        ids = encoded.tokens[encoded.offsets[row] : encoded.offsets[row + 1]]
        print("  " + " ".join(tokenizer.convert_ids_to_tokens(ids.tolist())))


# overlap --------------------------------------------------------------------------------------------------------------


def _overlap(args: argparse.Namespace) -> int:
    from tabulate import tabulate

    from muppet.audit import leakage

    if args.rows is not None and args.rows < 1:
        raise UserError(f"--rows is {args.rows}; give 1 or more")
    tasks([*(args.evaluation or ()), *(args.train or ())])  # none of one's own is called like another
    evaluation, train = (tasks(names) if names else None for names in (args.evaluation, args.train))
    if args.result is not None:
        print(leakage.clean_scores(args.result, train))
        return 0
    report = leakage.run(evaluation, train, cap=args.rows)
    lines = [
        [
            pair.evaluation,
            pair.train + (" (own)" if pair.own else ""),
            len(pair.hit),
            int(pair.exact.sum()),
            int(pair.gram.sum()),
            f"{100 * pair.hit.mean():.1f}",
            pair.sample[:WIDTH],
        ]
        for pair in report.pairs
        if pair.hit.any() and (args.all or pair.hit.mean() >= 0.01)
    ]
    headers = ["evaluation", "training set", "n", "same text", "13-gram", "% hit", "for example"]
    print(tabulate(lines, headers=headers, tablefmt="simple"))
    print()
    for line in report.lines:
        print(line)
    return 0
