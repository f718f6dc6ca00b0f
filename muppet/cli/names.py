"""Names on a command line → Task values: a dataset, a named set, `here`, or a Python file with the Tasks it defines."""

from __future__ import annotations

import runpy
from collections.abc import Iterable
from pathlib import Path

from muppet.data.mirror import has_train_rows
from muppet.errors import Absent, UserError, unknown
from muppet.tasks import ALL, SETS, Task, mixture

HERE = "here"  # every task of these families whose training rows the mirror holds
HERE_FAMILIES = ("classification", "commonsense", "span")


def tasks(names: Iterable[str]) -> list[Task]:
    """The tasks of the names, in order and without repeats."""
    return list(dict.fromkeys(task for name in names for task in named(name)))


def named(name: str) -> tuple[Task, ...]:
    """The tasks of one name. Raises UserError for an unknown one, or a file that defines no Task."""
    if name.endswith(".py"):
        return _defined(name)
    if name == HERE:
        return _here()
    if name not in ALL and name not in SETS:
        raise unknown("task or named set", name, [*ALL, *SETS, HERE])
    return mixture(name)


def single(name: str, option: str, command: str) -> Task:
    """The task of the name that `command` was given as `option`. Raises UserError also when there are several."""
    several = named(name)
    if len(several) != 1:
        raise UserError(f"{option} {name} names {len(several)} datasets; {command} takes one")
    return several[0]


def _here() -> tuple[Task, ...]:
    held = tuple(task for task in ALL.values() if task.family in HERE_FAMILIES and has_train_rows(task))
    if not held:
        raise Absent("no training rows are on this machine; set MUPPET_HUB to a mirror folder")
    return held


def _defined(file: str) -> tuple[Task, ...]:
    if not Path(file).is_file():
        raise UserError(f"{file}: no such file")
    defined = tuple(value for value in runpy.run_path(file).values() if isinstance(value, Task))
    if not defined:
        raise UserError(f"{file} defines no Task; assign a muppet.tasks.Task(...) to a name in it")
    return defined
