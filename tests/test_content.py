"""A row function is known by what it holds: two with other content never share an id or a token cache, and the same
content is the same in every process."""

import functools
import operator
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from muppet.content import content
from muppet.data.cache import encode
from muppet.errors import UserError
from muppet.model.pretrained import open_tokenizer
from muppet.runs import Finetune, Prefinetune, Recipe, facts, run_id
from muppet.tasks import Task

RECIPE = Recipe(lr=1e-5, max_tokens=100, updates=1)


def closing_over(held: Any) -> Any:
    return lambda row: [{"text": row["text"], "label": str(held)[:1]}]


def by_default(held: Any) -> Any:
    def read(row: Any, table: Any = held) -> Any:
        return [row, table]

    return read


def by_keyword(held: Any) -> Any:
    def read(row: Any, *, table: Any = held) -> Any:
        return [row, table]

    return read


def plain(held: Any, row: Any) -> Any:
    return [row, held]


class Reader:
    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, row: Any) -> Any:
        return [row, self.held]

    def read(self, row: Any) -> Any:
        return [row, self.held]


class Slotted:
    __slots__ = ("held",)

    def __init__(self, held: Any) -> None:
        self.held = held

    def __call__(self, row: Any) -> Any:
        return [row, self.held]


@dataclass(frozen=True)
class Kept:
    held: Any

    def __call__(self, row: Any) -> Any:
        return [row, self.held]


def wrapped(held: Any) -> Any:
    def inner(row: Any) -> Any:
        return [row, held]

    return functools.wraps(inner)(lambda row: inner(row))


WAYS = {
    "closure": closing_over,
    "default": by_default,
    "keyword": by_keyword,
    "partial": lambda held: functools.partial(plain, held),
    "object": Reader,
    "method": lambda held: Reader(held).read,
    "slots": Slotted,
    "dataclass": Kept,
    "decorator": wrapped,
    "function": lambda held: closing_over(closing_over(held)),
}


def frame(changed: bool) -> pd.DataFrame:
    """Pandas shows its first and last rows alone."""
    return pd.DataFrame({"word": [f"w{i}" if i != 500 or not changed else "other" for i in range(1000)]})


VALUES = {
    "frame": frame,
    "series": lambda changed: frame(changed)["word"],
    "array": lambda changed: np.arange(5000) + changed * (np.arange(5000) == 2500),
    "set": lambda changed: {f"w{i + changed}" for i in range(20)},
    "object": lambda changed: Reader(changed),
    "builtin": lambda changed: str.upper if changed else str.lower,
    "pattern": lambda changed: re.compile("b" if changed else "a"),
    "class": lambda changed: type("Made", (), {"table": [changed], "look": closing_over(changed)}),
    "nested": lambda changed: {"tables": [(frame(changed),)]},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", VALUES)
def test_what_a_row_function_holds_is_known_by_its_content(way: str, value: str) -> None:
    one, other, again = (content(WAYS[way](VALUES[value](changed))) for changed in (False, True, False))
    assert one == again != other


def test_two_frames_never_share_a_token_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    (tmp_path / "rows.csv").write_text("text\n" + "a word\n" * 6)

    def encoded(changed: bool) -> list[int]:
        labels = frame(changed)

        def read(row: Any) -> Any:
            return [{"text": row["text"], "label": int(labels["word"][500] == "other")}]

        files = (("train", str(tmp_path / "rows.csv")),)
        task = Task(name="mine", family="classification", path="mine", rows=read, classes=("a", "b"), files=files)
        return np.asarray(encode(task, "train", open_tokenizer("tiny/bert"), max_length=32).labels).tolist()

    assert [encoded(changed) for changed in (False, True, False)] == [[0] * 6, [1] * 6, [0] * 6]


NOTEBOOK = """
import re
import numpy as np
TABLE = {"a": np.arange(4000)}
def read(row):
    try:
        return [helper(row, TABLE) for _ in "a" if row in {"x", "y", "z"}]
    except KeyError:
        return read(row)
def helper(row, table):
    return Table(re.sub("a", WORD, row)).look(table)
class Table:
    def __init__(self, row): self.row = row
    @staticmethod
    def made(): return 1
    @property
    def size(self): return 1
    def look(self, table): return [self.row, table, self.made(), self.size]
WORD = "b"
"""


def typed(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "/tmp/ipykernel_1/1.py", "exec"), names)
    return names


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("4000)", "4001)"),
        ('WORD = "b"', 'WORD = "c"'),
        ("return [self.row, table", "return [table"),
        ("def made(): return 1", "def made(): return 2"),
        ("def size(self): return 1", "def size(self): return 2"),
        ('re.sub("a", WORD', 're.sub("b", WORD'),
        ("except KeyError", "except ValueError"),
    ],
)
def test_what_is_typed_in_counts_with_all_that_it_reads(before: str, after: str) -> None:
    assert before in NOTEBOOK
    one, again, other = (content(typed(text)["read"]) for text in (NOTEBOOK, NOTEBOOK, NOTEBOOK.replace(before, after)))
    assert one == again != other


def test_content_is_the_same_in_every_process() -> None:
    program = (
        f"from muppet.content import content\nnames = {{'__name__': '__main__'}}\nexec({NOTEBOOK!r}, names)\n"
        "words = {'a', 'b', 'c', 'd'}\nprint(content(names['read']), content(lambda row: [words]))"
    )
    said = set()
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1 and said.pop().count("__main__") == 2


def test_a_table_that_is_changed_in_a_notebook_is_another_run() -> None:
    names = typed(NOTEBOOK)
    task = Task(name="mine", family="classification", path="mine", rows=names["read"], classes=("a", "b"))
    before = Prefinetune(model="tiny/bert", tasks=(task,), recipe=RECIPE)
    runs = (
        before,
        Finetune(init="tiny/bert", task=task, recipe=RECIPE),
        Finetune(init=before, task=task, recipe=RECIPE),
    )
    first = [(run_id(run), facts(run)) for run in runs]
    assert first == [(run_id(run), facts(run)) for run in runs]
    names["TABLE"] = {"a": np.arange(4001)}
    assert all(one != run_id(run) and plain != facts(run) for (one, plain), run in zip(first, runs, strict=True))


def test_content_that_cannot_be_told_is_one_line(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as file:
        for held in (file, threading.Lock(), (word for word in "ab")):
            task = Task(
                name="mine", family="classification", path="mine", rows=closing_over([held]), classes=("a", "b")
            )
            with pytest.raises(
                UserError, match="row function closing_over.*: it holds a .*, whose content cannot be told"
            ):
                run_id(Finetune(init="tiny/bert", task=task, recipe=RECIPE))
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(UserError, match="row function"):
        content(closing_over(circle))


def test_what_is_written_in_c_is_its_name() -> None:
    given = (
        operator.itemgetter("a"),
        operator.itemgetter("b"),
        functools.partial(max, 1),
        functools.partial(max, 2),
        max,
    )
    assert len({content(one) for one in given}) == len(given)


def test_a_cell_that_is_not_filled_yet_is_nothing() -> None:
    def make() -> Any:
        def read(row: Any) -> Any:
            return [row, later]

        told = content(read)
        later = 1
        return told, content(read), later

    before, after, _ = make()
    assert before != after


def test_ids_of_functions_that_hold_plain_values_are_as_ever(tmp_path: Path) -> None:
    """What was known by Python's own text of its values is so still."""
    import hashlib
    import runpy

    text = b"def make(a, b):\n    return lambda row, c=(1.5, 'x'): [a, b, c]\n"
    (tmp_path / "mine.py").write_bytes(text)
    held = [1, {"k": ["\xe9", None]}]
    read = runpy.run_path(str(tmp_path / "mine.py"))["make"](*held)
    kept = hashlib.sha256(text + repr([*held, ((1.5, "x"),)]).encode()).hexdigest()[:16]
    assert content(read) == f"<run_path>.make.<locals>.<lambda> {kept}"
    task = Task(name="mine", family="classification", path="mine", rows=read, classes=("a", "b"))
    assert facts(task)["rows"] == content(read) != facts(replace(task, rows=closing_over(1)))["rows"]
