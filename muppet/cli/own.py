"""`--train-file` and its like: a Task from files of one's own and the columns that play its roles."""

from __future__ import annotations

import argparse
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.cli.options import ROLES
from muppet.data.files import even, read
from muppet.data.sources import TableRows
from muppet.errors import UserError, short, some
from muppet.families import FAMILIES
from muppet.families.check import check
from muppet.families.roles import listed
from muppet.runs import digest
from muppet.tasks import ALL, Task
from muppet.tasks.task import Row

TOLD_BY = (  # the role that tells the family
    ("tree", "parsing"), ("tags", "tagging"), ("target", "summarization"), ("answers", "span"),
    ("choices", "commonsense"), ("label", "classification"),
)  # fmt: skip
NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE)
METRICS: dict[str, tuple[str, ...]] = {
    "regression": ("pearson", "spearman"),
    "span": ("f1", "em"),
    "summarization": ("rouge1", "rouge2", "rougeL", "rougeLsum"),
    "parsing": ("bracket_f1",),
}


def task_of(args: argparse.Namespace) -> Task | None:
    """The Task that the options describe; None when they name no file. Raises UserError naming file and column."""
    if args.train_file is None:
        given = [name for name in ("eval_file", "family", "metrics", "name", *ROLES) if getattr(args, name) is not None]
        if given:
            raise UserError(f"--{given[0].replace('_', '-')} goes with --train-file")
        return None
    if blank := [name for name in ("name", "metrics", *ROLES) if getattr(args, name) == ""]:
        raise UserError(f"--{blank[0]} is empty; give it a value, or leave it out")
    rows = _rows(args.train_file)
    columns = _columns(args, args.train_file, rows[0])
    roles = {"choices" if role.startswith("choice") else role for role, _ in columns}
    label = dict(columns).get("label", "")
    labels = [row.get(label) for row in rows]
    family = args.family or _family(args.train_file, roles, labels, rows[0])
    given = [role for role in ROLES if getattr(args, role) is not None]
    known = {*FAMILIES[family].learns, *FAMILIES[family].may_learn, *given}
    columns = tuple(pair for pair in columns if pair[0] in known or pair[0].startswith("choice"))
    if twice := [name for name, count in Counter(name for _, name in columns).items() if count > 1]:
        raise UserError(f"{args.train_file}: column {twice[0]!r} plays two roles; name another column for one of them")
    if args.eval_file and not args.twins:
        for role, name in _columns(args, args.eval_file, _rows(args.eval_file)[0]):
            if (role in known or role.startswith("choice")) and (role, name) not in columns:
                raise UserError(
                    f"{args.eval_file}: column {name!r} would be read as {role!r}, and {args.train_file} has none; put"
                    " it there too, null where a row has none, or rename it"
                )
    files = [("train", str(args.train_file))] + ([("validation", str(args.eval_file))] if args.eval_file else [])
    classes = _classes(args, family, dict(columns), rows)
    task = Task(
        name=_name(args), family=family, path=f"local/{_name(args)}", files=tuple(files), columns=columns,
        evaluation=("validation",) if args.eval_file else (), classes=classes,
        metrics=tuple(args.metrics.split(",")) if args.metrics else _metrics(family, classes),
        no_answer=_unanswered(dict(columns), rows) if family == "span" else None,
    )  # fmt: skip
    check(task)
    return identified(task)


def _rows(file: Path) -> Sequence[Row]:
    table = even(read(file))
    return table if isinstance(table, list) else TableRows(table, str(file))


def identified(task: Task) -> Task:
    """A task of one's own with the digest of the files that it reads on this machine."""
    if task.files is not None:  # one that is not there is told when its rows are asked for: twins need none
        there = [Path(file) for _, file in task.files if Path(file).is_file()]
        return replace(task, content=digest([paths.file_digest(file) for file in there])[:32])
    folder = Path(task.path)
    return replace(task, content=paths.folder_digest(folder)[:32]) if folder.is_dir() else task


def _columns(args: argparse.Namespace, file: Path, row: Row) -> tuple[tuple[str, str], ...]:
    """(role, column): those given, and the columns that are called like a role."""
    columns: list[tuple[str, str]] = []
    for role in ROLES:
        name = getattr(args, role)
        several = name.split(",") if name and role == "choices" and "," in name else []
        if name is None and role == "choices" and role not in row:
            several = sorted((c for c in row if re.fullmatch(r"choice\d+", c)), key=lambda c: int(c[6:]))
        pairs = [(f"choice{number}", one.strip()) for number, one in enumerate(several, 1)] or [(role, name or role)]
        if name is None and not several and role not in row:
            continue
        for _, column in pairs:
            if column not in row:
                raise UserError(f"--{role} {column}: {file} has no such column; it has {some(row)}")
        columns += pairs
    return tuple(columns)


def _family(file: Path, roles: set[str], labels: list[Any], row: Row) -> Any:
    family = next((family for role, family in TOLD_BY if role in roles), None)
    if family is None:
        raise UserError(
            f"{file}: which column is the answer? give --label, --choices, --answers, --target or --tags; it has"
            f" {some(map(repr, row))}"
        )
    fractions = [x for x in labels if isinstance(x, float) or (isinstance(x, str) and NUMBER.fullmatch(x.strip()))]
    return (
        "regression"
        if family == "classification" and any(float(str(x).replace(",", ".")) % 1 for x in fractions)
        else family
    )


def _unanswered(columns: dict[str, str], rows: Iterable[Row]) -> bool:
    """Whether some row's answer, a text or of SQuAD's shape, is none."""
    given = (listed(row.get(columns.get("answers", ""))) for row in rows)
    return not all(answers.get("text") if isinstance(answers, dict) else answers for answers in given)


def _classes(
    args: argparse.Namespace, family: str, columns: dict[str, str], rows: Iterable[Row]
) -> tuple[str, ...] | None:
    """The labels or tags that occur in training, in order: of numbers, or of letters. Raises UserError for two that
    look alike, and for one that occurs in evaluation alone: a number would be taken for a place in that order."""
    role = {"classification": "label", "tagging": "tags"}.get(family)
    if role not in columns:
        return None
    labels = {label for _, label in _labels(args.train_file, columns[role], family, rows)}
    alike: dict[str, str] = {}
    for label in sorted(labels):
        if (other := alike.setdefault(_form(label).casefold(), label)) != label:
            apart = "spaces" if other.strip() == label.strip() else "composed accents"
            apart = apart if _form(other) == _form(label) else "capitals"
            raise UserError(
                f"{args.train_file}: column {columns[role]!r} holds {other!r} and {label!r}, which {apart} alone tell"
                " apart; write them alike, or declare them as the `classes` of a Task"
            )
    numbers = all(re.fullmatch(r"-?\d{1,18}", label) for label in labels)
    classes = sorted(labels, key=lambda label: (int(label), label) if numbers else label)
    scored = _rows(args.eval_file) if args.eval_file and not args.twins else ()
    for number, label in _labels(args.eval_file, columns[role], family, scored):
        if label not in labels:
            raise UserError(
                f"{args.eval_file} row {number}: {role.removesuffix('s')} {short(label)} is none of the classes"
                f" {some(classes)}, those of {args.train_file}; correct one of the two"
            )
    return tuple(classes)


def _form(label: str) -> str:
    return unicodedata.normalize("NFC", label).strip()


def _labels(file: Path, column: str, family: str, rows: Iterable[Row]) -> Iterator[tuple[int, str]]:
    """(row, label) of what a column of labels, or of lists of tags, holds."""
    for number, row in enumerate(rows):
        value = listed(row.get(column)) if family == "tagging" else [row.get(column)]
        if not isinstance(value, list | None):
            raise UserError(f"{file}: column {column!r} of row {number} holds {short(value)}; give a list of tags")
        for label in value or ():
            if not isinstance(label, (str, int, type(None))):
                raise UserError(
                    f"{file}: column {column!r} of row {number} holds {short(label)}, which is no class; give texts or"
                    " whole numbers"
                )
            if label is not None:
                yield number, str(label)


def _metrics(family: str, classes: tuple[str, ...] | None) -> tuple[str, ...]:
    if family == "tagging" and all(tag == "O" or tag[:2] in ("B-", "I-") for tag in classes or ()):
        return ("chunk_f1",)
    return METRICS.get(family, ("accuracy",))


def _name(args: argparse.Namespace) -> str:
    name = args.name or "own-" + re.sub(r"[^\w.-]+", "_", args.train_file.stem)
    if name in ALL:
        raise UserError(f"{name!r} is the name of a dataset of the catalogue; give --name")
    return name
