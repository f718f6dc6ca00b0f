"""A task is a value: a dataset, which of its columns play which role, a family, and how it is scored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from muppet.values import check_bounds, check_fields, hash_once

FamilyName = Literal["classification", "regression", "commonsense", "span", "summarization", "tagging", "parsing"]
Row = dict[str, Any]

PARQUET = "refs/convert/parquet"  # the branch of a repository that holds the Hub's own script-free conversion
CARD = "card in github.com/huggingface/datasets, datasets/"  # where columns were confirmed
TENTHS = (("train", tuple(range(8))), ("validation", (8,)), ("test", (9,)))  # 80/10/10, see Task.partition
NO_IDENTITY: Mapping[str, Any] = MappingProxyType({"identity": False})
# By dataset: the labels that say that a row has none, where `Task.missing` does not say.
UNLABELLED: Mapping[str, tuple[Any, ...]] = MappingProxyType({
    **dict.fromkeys((
        "nyu-mll/glue", "aps/super_glue", "stanfordnlp/snli", "nyu-mll/multi_nli", "stanfordnlp/imdb", "allenai/swag",
        "allenai/cosmos_qa", "ybisk/piqa",
    ), (-1,)),
    **dict.fromkeys(("Rowan/hellaswag", "tau/commonsense_qa", "allenai/winogrande", "pietrolesci/nli_fever"), ("",)),
})
BLANKS: Mapping[str, str] = MappingProxyType({"ehovy/race": "_", "allenai/sciq": "_"})  # the same of `Task.blank`


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How a summary is decoded: beam search, stopped when `beams` summaries are finished. Lengths: tokens written."""

    beams: int = 4
    length_penalty: float = 1.0  # a summary's score is its log-probability over length ** length_penalty
    min_tokens: int = 1
    max_tokens: int = 128
    no_repeat_ngram: int = 3  # 0: repeats are allowed

    def __post_init__(self) -> None:
        check_fields(self)
        check_bounds(self, "beams", "1 or more", lambda value: value > 0)
        check_bounds(self, "min_tokens no_repeat_ngram", "0 or more", lambda value: value >= 0)
        least = max(1, self.min_tokens)
        check_bounds(self, "max_tokens", f"{least} or more", lambda value: value >= least)


@hash_once
@dataclass(frozen=True, kw_only=True)
class Task:
    """One dataset and the meaning given to it. A change of meaning takes a new `name`.

    `columns` maps roles to the dataset's own column names, as pairs. The roles of each family:

    * classification, regression: `text`, optional `pair`, `label`
    * commonsense: `context` and/or `question`, `choices` (a list column) or `choice1`, `choice2`, …; `label`: an index,
      a letter, or, with `keys` (the choices' own names, a list column), one of them
    * span: `question`, `context`, `answers` (SQuAD's shape), optional `id`
    * summarization: `source`, `target`
    * tagging: `tokens`, `tags`
    * parsing: `tree` (bracketed)

    A column is written `a + b` where two are joined by a space, and `a.b` where it is field b of struct a.

    `rows` is for the datasets whose schema is none of these: it turns one original row into rows that have the roles
    as their keys (an empty list drops the row, and the drop is counted).
    """

    name: str
    family: FamilyName
    path: str
    config: str | None = None
    revision: str | None = None
    train: str | None = "train"
    evaluation: tuple[str, ...] = ("validation",)
    columns: tuple[tuple[str, str], ...] = ()
    classes: tuple[str, ...] | None = None
    metrics: tuple[str, ...] = ("accuracy",)  # the first is the one a table prints
    rows: Callable[[Row], list[Row]] | None = None
    no_answer: bool | None = None  # span: the dataset has questions without an answer
    generation: Generation | None = None  # summarization: how its summaries are decoded; None: as `Generation` says
    # Where the only original split is `train`: our splits, each as tenths 0..9 of the rows in order of their hash.
    partition: tuple[tuple[str, tuple[int, ...]], ...] | None = None
    missing: tuple[Any, ...] | None = None  # labels that say that a row has none; None: `UNLABELLED`'s
    blank: str | None = None  # what a choice is put in the place of, in a question; None: `BLANKS`'s
    # Rows of one's own: a .csv, .tsv, .jsonl or .parquet file for each split, instead of what `path` names, and the
    # digest of these files and of a folder that `path` names, which the command line puts here.
    files: tuple[tuple[str, str], ...] | None = None
    content: str | None = None
    # What a reader wants to know; no part of the identity.
    hub: tuple[str, str, str] | None = field(default=None, metadata=NO_IDENTITY)  # path, config, revision to load
    train_rows: int | None = field(default=None, metadata=NO_IDENTITY)  # labelled rows of the original train split
    evaluation_rows: int | None = field(default=None, metadata=NO_IDENTITY)
    carved: str | None = field(default=None, metadata=NO_IDENTITY)  # mirror-only configuration with a train split
    licence: str = field(default="", metadata=NO_IDENTITY)
    checked: str = field(default="", metadata=NO_IDENTITY)  # where the columns were confirmed
    note: str = field(default="", metadata=NO_IDENTITY)

    @property
    def unlabelled(self) -> tuple[Any, ...]:
        """The labels that say that a row has none, beside None."""
        return UNLABELLED.get(self.path, ()) if self.missing is None else self.missing

    @property
    def filled(self) -> str | None:
        """What a choice is put in the place of, in a question."""
        return BLANKS.get(self.path) if self.blank is None else self.blank

    @property
    def metric(self) -> str:
        """The metric a table prints."""
        return self.metrics[0]

    def key(self, split: str | None = None, metric: str | None = None) -> str:
        """The name of a score in a result: `task/split/metric`; the first evaluation split and metric by default."""
        return f"{self.name}/{split or self.evaluation[0]}/{metric or self.metric}"


def occurrences(text: str, part: str) -> list[int]:
    """Where `part` stands in `text`: as whole words, or where it does not, inside them."""
    plain = re.escape(part)
    words = ("\\b" if part[:1].isalnum() else "") + plain + ("\\b" if part[-1:].isalnum() else "")
    return [one.start() for one in re.finditer(words, text)] or [one.start() for one in re.finditer(plain, text)]


def dataset_name(task: Task) -> str:
    """`task (path, config)`, as messages name a dataset."""
    if task.files is not None:
        return f"{task.name} ({', '.join(dict.fromkeys(file for _, file in task.files))})"
    return f"{task.name} ({task.path}{', ' + task.config if task.config else ''})"
