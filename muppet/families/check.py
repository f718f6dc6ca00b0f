"""A Task of one's own, looked at before anything is read: what would fail later is one line now."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import fields

from muppet.errors import UserError, encodable, unknown
from muppet.families import FAMILIES
from muppet.families.commonsense import CHOICE
from muppet.tasks.task import Task
from muppet.values import check_fields

NONE = ("", "nan", "<NA>", "NaT")  # no classes: how data frames write that there is no value


def check(task: Task) -> None:
    """Raise UserError naming the first field that cannot be: a type, a name, a family, its roles or its classes."""
    try:
        _check(task)
    except UserError as error:
        raise UserError(f"task {task.name!r}: {error}") from None


def _check(task: Task) -> None:
    if task.rows is not None and not callable(task.rows):
        raise UserError(f"`rows` is {task.rows!r}; give a function of one row")
    check_fields(task)
    if not re.fullmatch(r"[\w.-]{1,100}", task.name):
        raise UserError("`name` is part of file names and scores; give at most 100 letters, digits, `.`, `-` and `_`")
    for name in ("columns", "files", "partition"):
        pairs = getattr(task, name) or ()
        if twice := [first for first, count in Counter(first for first, _ in pairs).items() if count > 1]:
            raise UserError(f"`{name}` says twice what {twice[0]!r} is")
    if wrong := [pair for pair in task.partition or () if not {*pair[1]} <= {*range(10)}]:
        raise UserError(f"`partition` holds {wrong[0]!r}; its tenths are 0 to 9")
    try:
        hash(task)
    except TypeError as error:
        raise UserError(f"a field holds what cannot be compared ({error}); write tuples and plain values") from None
    for field in fields(task):
        if not encodable(json.dumps(getattr(task, field.name), ensure_ascii=False, default=repr)):
            raise UserError(f"`{field.name}` holds half of a surrogate pair, which is no character; correct it")
    if not task.metrics:
        raise UserError("`metrics` is empty; name one at least")
    _check_roles(task)
    _check_classes(task)
    splits = [split for split in (task.train, *task.evaluation) if split is not None]
    if not splits:
        raise UserError("it has neither a `train` nor an `evaluation` split; name one")
    declared = task.partition or task.files
    if declared is not None and (lacking := [split for split in splits if split not in dict(declared)]):
        raise UserError(f"split {lacking[0]!r} is none of its {'partition' if task.partition else 'files'}")


def _check_classes(task: Task) -> None:
    classes = task.classes
    if not FAMILIES[task.family].has_classes:
        if classes is not None:
            raise UserError(f"a {task.family} task has no `classes`; leave them out")
    elif classes is None or len(classes) < 2:
        raise UserError(f"`classes` is {classes!r}; a {task.family} task declares the names of two classes or more")
    elif len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise UserError(f"`classes` holds {twice!r} twice")
    elif blank := [name for name in classes if name.strip() in NONE]:
        raise UserError(f"`classes` holds {blank[0]!r}; write null where a row has none, or give it a name")


def _check_roles(task: Task) -> None:
    if task.rows is not None:
        if task.columns:
            raise UserError("`rows` takes the place of `columns`; leave one of them out")
        return
    roles, needed = [role for role, _ in task.columns], FAMILIES[task.family].learns
    known = [*needed, *FAMILIES[task.family].may_learn]
    numbered = [role for role in roles if task.family == "commonsense" and CHOICE.fullmatch(role)]
    for role in roles:
        if role not in (*known, *numbered):
            raise unknown(f"role in `columns` of a {task.family} task", role, known)
    if lacking := [role for role in needed if role not in roles and not (role == "choices" and numbered)]:
        raise UserError(f"`columns` names no {lacking[0]!r}, which {task.family} rows need")
    if task.family == "commonsense" and not {"context", "question"} & {*roles}:
        raise UserError("`columns` names neither 'context' nor 'question'; commonsense rows need one of them")
