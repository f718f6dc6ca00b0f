"""The twin of a task of one's own: rows in its columns, made as those of a dataset of its family are."""

from __future__ import annotations

import random

from muppet.errors import UserError
from muppet.synthetic import texts
from muppet.synthetic.lexicon import sentence
from muppet.synthetic.shapes import TOPICS, Maker, choices, similarity, single
from muppet.tasks.task import Row, Task


def maker_of(task: Task) -> Maker:
    """What makes the rows of `task`. Raises UserError for one that reads its rows with a function."""
    if task.rows is not None:
        raise UserError(
            f"task {task.name!r} has no synthetic twin: what its row function reads cannot be made up; declare"
            " `columns` instead, or try it on a few rows of its own (--rows)"
        )
    named = sorted((role for role, _ in task.columns if role[6:].isdecimal()), key=lambda role: int(role[6:]))

    def make(rng: random.Random, index: int) -> Row:
        row: Row = {}
        roles = _roles(task.family, task.classes or (), len(named) or 4, rng, index)
        roles |= dict(zip(named, roles.get("choices", ())))
        for role, column in task.columns:
            for part in column.split(" + "):  # joined columns all say it
                outer, *inner = part.split(".")
                row[outer] = _nested(row.get(outer), inner, roles[role])
        return row

    return make


def _nested(outer: object, names: list[str], value: object) -> object:
    """`value` as the field that `names` lead to, beside the other fields of `outer`."""
    if not names:
        return value
    inside = outer if isinstance(outer, dict) else {}
    return inside | {names[0]: _nested(inside.get(names[0]), names[1:], value)}


def _roles(family: str, classes: tuple[str, ...], n: int, rng: random.Random, index: int) -> Row:
    """One made-up row by role; `n` is its number of choices."""
    if family == "classification":
        row = single("text", tuple(TOPICS[k % len(TOPICS)] for k in range(len(classes))))(rng, index)
        return row | {"pair": sentence(rng, []), "label": classes[row["label"]]}
    if family == "regression":
        row = similarity(rng, index)
        return {"text": row["sentence1"], "pair": row["sentence2"], "label": row["label"]}
    if family == "commonsense":
        answers, right = choices(rng, n)
        asked = {"context": sentence(rng, []), "question": "what then ?"}
        return asked | {"choices": answers, "label": right, "keys": list(range(n))}
    if family == "span":
        row = texts.squad(1.0)(rng, index)
        return row | {"gold": row["answers"]["text"]}
    if family == "summarization":
        return texts.summary("source", "target")(rng, index)
    if family == "tagging":
        words = sentence(rng, []).split(" ")
        return {"tokens": words, "tags": [classes[len(word) % len(classes)] for word in words]}
    return texts.treebank()(rng, index)
