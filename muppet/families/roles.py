"""From a dataset's rows to examples: the columns' roles read, checked, and put into one shape per family.

An example is a plain dict:

* classification `text, pair, label` (int); regression `text, pair, label` (float)
* commonsense `text, choices, label`: one model row is (text, choice)
* span `id, question, context, spans` ((start, end) characters in the context; none: no answer), `gold` (list of texts,
  or of lists of the texts that make up an answer together)
* summarization `source, target`
* tagging `tokens, tags` (ints); parsing `tree` (bracketed)
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from muppet.errors import UserError
from muppet.tasks.task import Row, Task

Example = dict[str, Any]


class Drop(Exception):
    """This row is left out; the argument is the reason it is counted under."""


def examples(task: Task, split: str, rows: Sequence[Row], dropped: Counter[str]) -> Iterator[Example]:
    """Yield the examples of `rows` in order; `dropped` counts by reason those that are left out.

    Raises UserError naming dataset, split, row and fix: a column that is absent or of another type, a label outside the
    classes, an answer key that names no choice.
    """
    read = READERS[task.family]
    for index, row in enumerate(rows):
        try:
            given = _by_role(task, row)
            if not given:
                raise Drop("answer is no span of the context" if task.family == "span" else "row without an example")
            for roles in given:
                yield read(task, roles)
        except Drop as reason:
            dropped[str(reason)] += 1
        except _BadRow as error:
            raise UserError(f"{dataset_name(task)} split {split} row {index}: {error}") from None


def dataset_name(task: Task) -> str:
    """`task (path, config)`, as messages name a dataset."""
    return f"{task.name} ({task.path}{', ' + task.config if task.config else ''})"


class _BadRow(Exception):
    """What is wrong with a row and what to do; `examples` adds where."""


def _by_role(task: Task, row: Row) -> list[Row]:
    if task.rows is None:
        return [{role: _column(row, name) for role, name in task.columns}]
    try:
        return task.rows(row)
    except KeyError as error:
        raise _absent(str(error.args[0]), row) from None
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise _BadRow(
            f"its columns are not of the types that {task.rows.__name__} reads ({error}); row: {_short(row)}"
        ) from None


def _column(row: Row, name: str) -> Any:
    if name in row:
        return row[name]
    if " + " in name:
        return " ".join(_text(_column(row, part), part) for part in name.split(" + "))
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise _absent(part, value if isinstance(value, dict) else row)
        value = value[part]
    return value


def _absent(name: str, row: Row) -> _BadRow:
    near = difflib.get_close_matches(name, list(row), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return _BadRow(
        f"column {name!r} is absent; {hint}the columns are {', '.join(map(repr, row))}; mend the Task's columns"
    )


def _text(value: Any, role: str) -> str:
    if value is None:
        raise Drop("missing text")
    if not isinstance(value, str):
        raise _BadRow(f"`{role}` is {_short(value)}, not text; mend the data or the Task's columns")
    return value


def _texts(value: Any, role: str) -> list[str]:
    if value is None:
        raise Drop("missing text")
    if not isinstance(value, (list, tuple)):
        raise _BadRow(f"`{role}` is {_short(value)}, not a list of texts; mend the data or the Task's columns")
    return [_text(item, role) for item in value]


def _classification(task: Task, row: Row) -> Example:
    assert task.classes is not None
    label = row["label"]
    if label is None or label == -1 or label == "" or label == "-":
        raise Drop("no label")
    if isinstance(label, str):
        if label not in task.classes:
            near = difflib.get_close_matches(label, task.classes, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise _BadRow(
                f"label {label!r}{hint} is none of the classes {', '.join(task.classes)}; mend the row or the Task"
            )
        label = task.classes.index(label)
    if not isinstance(label, int):
        raise _BadRow(f"label {_short(label)} is neither a class number nor a class name; mend the row or the Task")
    if not 0 <= label < len(task.classes):
        raise _BadRow(
            f"label {label} is outside the classes 0..{len(task.classes) - 1}; mend the row or the Task's classes"
        )
    return {"text": _text(row["text"], "text"), "pair": _pair(row), "label": int(label)}


def _regression(task: Task, row: Row) -> Example:
    label = row["label"]
    if label is None or label == -1:
        raise Drop("no label")
    if isinstance(label, (str, bool)) or not isinstance(label, (int, float)) or label != label:
        raise _BadRow(f"label {_short(label)} is not a number; mend the row or the Task's columns")
    return {"text": _text(row["text"], "text"), "pair": _pair(row), "label": float(label)}


def _pair(row: Row) -> str | None:
    return _text(row["pair"], "pair") if "pair" in row else None


def _commonsense(task: Task, row: Row) -> Example:
    """The context against each choice; with a question between the two, the question goes with the choice."""
    if "choices" in row:
        choices = _texts(row["choices"], "choices")
    else:
        choices = [_text(row[role], role) for role in sorted(role for role in row if role.startswith("choice"))]
    if len(choices) < 2:
        raise Drop("fewer than two choices")
    label = _choice(row["label"], len(choices), row.get("keys"))
    context, question = row.get("context"), row.get("question")
    if context and question:
        return {"text": _text(context, "context"), "choices": [_asked(question, c) for c in choices], "label": label}
    return {"text": _text(context or question, "question"), "choices": choices, "label": label}


def _asked(question: Any, choice: str) -> str:
    question = _text(question, "question")
    return question.replace("_", choice, 1) if "_" in question else f"{question} {choice}"


def _choice(label: Any, n: int, keys: Any) -> int:
    """The index of the right choice, from an index, a letter, or one of `keys`."""
    if label is None or label == -1 or label == "":
        raise Drop("no label")
    if keys is not None:
        keys = list(keys)
        if label not in keys or keys.index(label) >= n:
            raise _BadRow(
                f"answer key {label!r} names no choice; the choices are {', '.join(map(repr, keys))}; mend the row"
            )
        return keys.index(label)
    if isinstance(label, str) and label.strip().isdigit():
        index = int(label)
    elif isinstance(label, str) and len(label) == 1:
        index = ord(label.upper()) - ord("A")
    elif isinstance(label, int):
        index = int(label)
    else:
        raise _BadRow(
            f"answer key {_short(label)} is neither a number nor a letter; mend the row or the Task's columns"
        )
    if not 0 <= index < n:
        raise _BadRow(f"answer key {label!r} names no choice; the row has {n} choices; mend the row")
    return index


def _span(task: Task, row: Row) -> Example:
    question, context = _text(row["question"], "question").strip(), _text(row["context"], "context")
    answers = row["answers"]
    if not isinstance(answers, dict) or not {"text", "answer_start"} <= answers.keys():
        raise _BadRow(
            f"`answers` is {_short(answers)}, not {{'text': […], 'answer_start': […]}}; mend the Task's columns"
        )
    texts, starts = _texts(answers["text"], "answers"), list(answers["answer_start"])
    gold = _gold(row["gold"]) if row.get("gold") else texts
    if not texts and not task.no_answer:
        raise Drop("no answer")
    spans = [span for text, start in zip(texts, starts) if (span := locate(context, text, start)) is not None]
    if texts and not spans:
        raise Drop("answer is no span of the context")
    return {"id": str(row.get("id", "")), "question": question, "context": context, "spans": spans, "gold": gold}


def _gold(value: Any) -> list[Any]:
    """Gold answers: texts, or lists of the texts that make up an answer together (DROP)."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, (list, tuple)) for item in value):
        return _texts(value, "gold")
    return [_texts(item, "gold") for item in value]


def locate(context: str, text: str, start: int | None) -> tuple[int, int] | None:
    """Where `text` is in `context`, as characters (start, end): at `start`, or else nearest to it; None: nowhere."""
    text, lead = text.strip(), len(text) - len(text.lstrip())
    if not text:
        return None
    start = 0 if start is None or start < 0 else start + lead
    if context[start : start + len(text)] == text:
        return start, start + len(text)
    before, after = context.rfind(text, 0, start + len(text)), context.find(text, start)
    found = [place for place in (before, after) if place >= 0]
    if not found:
        return None
    nearest = min(found, key=lambda place: abs(place - start))
    return nearest, nearest + len(text)


def _summarization(task: Task, row: Row) -> Example:
    source, target = _text(row["source"], "source").strip(), _text(row["target"], "target").strip()
    if not source or not target:
        raise Drop("empty source or target")
    return {"source": source, "target": target}


def _tagging(task: Task, row: Row) -> Example:
    assert task.classes is not None
    tokens, tags = _texts(row["tokens"], "tokens"), row["tags"]
    if not tokens:
        raise Drop("empty sentence")
    if not isinstance(tags, (list, tuple)) or len(tags) != len(tokens):
        raise _BadRow(
            f"`tags` must be a list of {len(tokens)} tags, one per token, and is {_short(tags)}; mend the row"
        )
    return {"tokens": tokens, "tags": [_tag(tag, task.classes) for tag in tags]}


def _tag(tag: Any, classes: tuple[str, ...]) -> int:
    if isinstance(tag, str) and tag in classes:
        return classes.index(tag)
    if isinstance(tag, int) and 0 <= tag < len(classes):
        return tag
    raise _BadRow(
        f"tag {_short(tag)} is none of the {len(classes)} classes {', '.join(classes[:6])}, …; mend the row or the Task"
    )


def _parsing(task: Task, row: Row) -> Example:
    tree = _text(row["tree"], "tree").strip()
    if not tree:
        raise Drop("empty tree")
    return {"tree": tree}


def _short(value: Any, width: int = 80) -> str:
    shown = repr(value)
    return shown if len(shown) <= width else shown[: width - 1] + "…"


READERS: dict[str, Callable[[Task, Row], Example]] = {
    "classification": _classification,
    "regression": _regression,
    "commonsense": _commonsense,
    "span": _span,
    "summarization": _summarization,
    "tagging": _tagging,
    "parsing": _parsing,
}


def needed_columns(task: Task) -> Iterable[str]:
    """The dataset's top-level columns that the task's roles read (none are known of a row function)."""
    return dict.fromkeys(part.split(".")[0] for _, name in task.columns for part in name.split(" + "))
