"""The columns of a dataset's row by the roles that they play, checked; what the families' readers share.

An example is a plain dict:

* classification `text, pair, label` (int); regression `text, pair, label` (float)
* commonsense `text, choices, label`: one model row is (text, choice)
* span `id, question, context, spans` ((start, end) characters in the context; none: no answer), `gold` (list of texts,
  or of lists of the texts that make up an answer together), `several` (an answer without offset has several places)
* summarization `source, target`
* tagging `tokens, tags` (ints); parsing `tree` (bracketed), `tokens`, `pos_tags` and `tags` (see `muppet.trees`)
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

from muppet.errors import encodable, short, some
from muppet.tasks.task import Row, Task

Example = dict[str, Any]
DIGITS = 10  # a text of more is no index


class Drop(Exception):
    """This row is left out; the argument is the reason it is counted under."""


class BadRow(Exception):
    """What is wrong with a row and what to do; `families.examples` adds where."""


def by_role(task: Task, row: Row) -> list[Row]:
    """The rows, with roles as keys, that `task` makes of one row of its dataset. Raises BadRow."""
    if task.rows is None:
        return [{role: column(row, name) for role, name in task.columns}]
    name = getattr(task.rows, "__name__", "its row function")
    try:
        given = task.rows(row)
    except KeyError as error:
        raise _absent(str(error.args[0]), row) from None
    except (Exception, SystemExit) as error:  # anyone's code
        why = str(error) if isinstance(error, (TypeError, AttributeError, ValueError, IndexError)) else repr(error)
        raise BadRow(f"its columns are not of the types that {name} reads ({why}); row: {short(row)}") from None
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise BadRow(f"{name} gives {short(given)}; return a list of rows with roles as keys, empty to leave it out")
    return given


def column(row: Row, name: str) -> Any:
    """The value of a column, as a Task writes it (see `Task`). Raises BadRow when there is none."""
    if name in row:
        return row[name]
    if " + " in name:
        return " ".join(text(column(row, part), part) for part in name.split(" + "))
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise _absent(part, value if isinstance(value, dict) else row)
        value = value[part]
    return value


def _absent(name: str, row: Row) -> BadRow:
    near = difflib.get_close_matches(name, list(row), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return BadRow(
        f"column {name!r} is absent; {hint}the columns are {some(map(repr, row))}; correct the Task's columns"
    )


def text(value: Any, role: str) -> str:
    """A role's value, which must be a text; a row without it is dropped."""
    if value is None:
        raise Drop("missing text")
    if not isinstance(value, str):
        raise BadRow(f"`{role}` is {short(value)}, not text; correct the data or the Task's columns")
    if not encodable(value):
        raise BadRow(
            f"`{role}` holds half of a surrogate pair, which is no character: {short(value)}; correct the text"
        )
    return value


def texts(value: Any, role: str) -> list[str]:
    """The same for a list of texts."""
    if value is None:
        raise Drop("missing text")
    value = listed(value)
    if not isinstance(value, (list, tuple)):
        raise BadRow(f"`{role}` is {short(value)}, not a list of texts; correct the data or the Task's columns")
    return [text(item, role) for item in value]


def named_by_numbers(classes: Sequence[str]) -> bool:
    """Whether a class is called by a number (1 to 5 stars): a number is then a name, and no class's place."""
    return any(name.removeprefix("-").isdecimal() for name in classes)


def listed(value: Any) -> Any:
    """A list that is written as JSON, as in a cell of a CSV file, as a list; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):  # nested too deeply: no list of texts either
            return value
    return value
