"""What the tests of one's own data and models share: small files, and what the command line leaves behind."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

from muppet.families import examples
from muppet.tasks import Task

SMALL = ("--rows", "24", "--max-length", "64", "--lr", "1e-3", "--epochs", "1")


def text_rows(count: int) -> list[dict]:
    return [
        {"text": f"the {'good' if i % 2 else 'bad'} thing {i}", "label": ("no", "yes")[i % 2]} for i in range(count)
    ]


def put(file: Path, rows: list[dict]) -> Path:
    with open(file, "w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return file


def one_error(capsys) -> str:
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def trained_examples(out: Path) -> dict:
    (file,) = out.glob("finetune-*.json")
    return json.loads(file.read_text())


def read(task: Task, *rows: dict) -> tuple[list[dict], Counter[str]]:
    """The examples of rows, and how many were left out and why."""
    dropped: Counter[str] = Counter()
    return list(examples(task, "train", rows, dropped)), dropped


def own(family: str = "classification", *roles: str, **more) -> Task:
    """A task of one's own whose columns are called as the family's roles."""
    return Task(name="mine", family=family, path="local/mine", columns=tuple((role, role) for role in roles), **more)
