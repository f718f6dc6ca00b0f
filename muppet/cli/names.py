"""Names on a command line → Task values: a dataset, a named set, `here`, or a Python file with the Tasks it defines."""

from __future__ import annotations

import runpy
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from muppet.data.mirror import has_train_rows
from muppet.errors import Absent, UserError, unknown
from muppet.tasks import ALL, SETS, Task, mixture

HERE = "here"  # every task of these families whose training rows the mirror holds
HERE_FAMILIES = ("classification", "commonsense", "span")


def tasks(names: Iterable[str]) -> list[Task]:
    """The tasks of the names, in order and without repeats. Raises UserError for two tasks of one name."""
    every = list(dict.fromkeys(task for name in names for task in named(name)))
    if twice := [name for name, count in Counter(task.name for task in every).items() if count > 1]:
        raise UserError(f"two tasks are called {twice[0]!r}; rename one")
    return every


def named(name: str) -> tuple[Task, ...]:
    """The tasks of one name. Raises UserError for an unknown one, or a file that defines no Task."""
    if name.endswith(".py"):
        return _defined(name)
    if name == HERE:
        held = tuple(task for task in ALL.values() if task.family in HERE_FAMILIES and has_train_rows(task))
        if not held:
            raise Absent("no training rows are on this machine; set MUPPET_HUB to a mirror folder")
        return held
    if name not in ALL and name not in SETS:
        raise unknown("task or named set", name, [*ALL, *SETS, HERE])
    return mixture(name)


def single(name: str, option: str, command: str) -> Task:
    """The task of the name that `command` was given as `option`. Raises UserError also when there are several."""
    several = named(name)
    if len(several) != 1:
        raise UserError(f"{option} {name} names {len(several)} datasets; {command} takes one")
    return several[0]


def _defined(file: str) -> tuple[Task, ...]:
    if not Path(file).is_file():
        raise UserError(f"{file}: no such file")
    from muppet.cli.own import identified
    from muppet.families.check import check

    try:
        values = runpy.run_path(file)
        defined = {id(value): value for name, value in values.items() if isinstance(value, Task) and name[0] != "_"}
        for task in defined.values():
            check(task)
        if not defined:
            raise UserError(f"{file} defines no Task; assign a muppet.tasks.Task(...) to a name in it")
        return tuple(task if ALL.get(task.name) == task else identified(task) for task in defined.values())
    except UserError as error:
        raise error if str(error).startswith(file) else UserError(f"{file}: {error}") from None
    except (Exception, SystemExit) as error:  # anyone's code
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1] if frames else None
        why = str(error.msg if isinstance(error, SyntaxError) else error).strip().split("\n")[0]
        where = file if line is None else f"{file} line {line}"
        raise UserError(f"{where}: {type(error).__name__}: {why}; correct the file") from None
