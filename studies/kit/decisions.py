"""The decisions on everything the paper leaves open (studies/decisions.toml), and the options that study files read.

`MUPPET_DECIDE="squad=v2.0-f1,reuse_head=never"` overrides options without an edit; `make … DECIDE=…` sets it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from muppet.errors import UserError, unknown

FILE = Path(__file__).resolve().parents[1] / "decisions.toml"
OVERRIDE = "MUPPET_DECIDE"
TEXTS = ("where", "problem", "decision", "why")


@dataclass(frozen=True, kw_only=True)
class Option:
    """One question that a reader may want answered otherwise."""

    name: str
    take: str | int  # the answer in force
    choices: tuple[str, ...]  # empty: any whole number from 0

    @property
    def others(self) -> str:
        """The answers that are not taken, to read."""
        return ", ".join(choice for choice in self.choices if choice != self.take) or "any whole number from 0"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One ambiguity of the paper and what is done about it. P: the paper; Q: implementation; E: errors elsewhere."""

    id: str
    where: str
    problem: str
    decision: str
    why: str
    cells: tuple[str, ...]  # globs over study/row/column
    options: tuple[Option, ...]


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """All decisions; indexed by an option's name or a decision's id."""

    entries: tuple[Decision, ...]

    @cached_property
    def options(self) -> dict[str, Option]:
        """Options by name."""
        return {option.name: option for entry in self.entries for option in entry.options}

    def __getitem__(self, name: str) -> Option:
        """The option of this name; a UserError offers the nearest."""
        if name not in self.options:
            raise unknown("option", name, self.options)
        return self.options[name]

    def entry(self, id: str) -> Decision:
        """The decision of this id; a UserError offers the nearest."""
        by_id = {entry.id: entry for entry in self.entries}
        if id not in by_id:
            raise unknown("decision", id, by_id)
        return by_id[id]

    def override(self, text: str) -> Decisions:
        """These decisions with `name=answer` pairs, commas or spaces between; a UserError names what is unknown."""
        answers: dict[str, Option] = {}
        for pair in text.replace(",", " ").split():
            name, equals, answer = pair.partition("=")
            if not equals:
                raise UserError(f"{OVERRIDE}: {pair!r} is not of the form option=answer")
            if name in answers:
                raise UserError(f"{OVERRIDE}: option {name!r} is given twice; keep one")
            answers[name] = _answer(self[name], answer, OVERRIDE)
        return Decisions(
            entries=tuple(
                replace(entry, options=tuple(answers.get(option.name, option) for option in entry.options))
                for entry in self.entries
            )
        )


@lru_cache(maxsize=None)
def load(path: Path | None = None) -> Decisions:
    """The decisions as committed (or of `path`), read strictly: a UserError names file, entry and field."""
    path = path or FILE
    try:
        with path.open("rb") as file:
            plain = tomllib.load(file)
    except FileNotFoundError:
        raise UserError(f"{path}: file is missing; restore it from git") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None
    entries = tuple(_decision(f"{path}: [{id}]", id, fields) for id, fields in plain.items())
    names = [option.name for entry in entries for option in entry.options]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise UserError(f"{path}: option {min(doubled)!r} is declared twice; keep one")
    return Decisions(entries=entries)


def current() -> Decisions:
    """The committed decisions with the environment's overrides."""
    return _current(os.environ.get(OVERRIDE, ""))


def option(name: str) -> str | int:
    """The answer in force to option `name`: what study files read. Raises UserError for an unknown option."""
    return current()[name].take


@lru_cache(maxsize=None)
def _current(text: str) -> Decisions:
    return load().override(text)


def _decision(where: str, id: str, fields: Any) -> Decision:
    if not isinstance(fields, dict):
        raise UserError(f"{where}: is no table; write [{id}] and its fields")
    known = {*TEXTS, "cells", "options"}
    for name in fields:
        if name not in known:
            raise UserError(f"{where}: {unknown('field', name, known)}")
    for name in TEXTS:
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise UserError(f"{where}: field `{name}` is missing or no text")
    cells = fields.get("cells")
    if not isinstance(cells, list) or not all(isinstance(glob, str) and glob.count("/") >= 2 for glob in cells):
        raise UserError(f"{where}: field `cells` must be a list of study/row/column globs")
    options = fields.get("options", {})
    if not isinstance(options, dict):
        raise UserError(f"{where}: field `options` is no table; write [{id}.options.NAME]")
    return Decision(
        id=id,
        cells=tuple(cells),
        options=tuple(_option(f"{where}: option {name!r}", name, value) for name, value in options.items()),
        **{name: fields[name].strip() for name in TEXTS},
    )


def _option(where: str, name: str, fields: Any) -> Option:
    if not isinstance(fields, Mapping) or not {"take"} <= set(fields) <= {"take", "choices"}:
        raise UserError(f"{where}: takes the fields `take` and `choices`")
    choices, take = fields.get("choices", []), fields["take"]
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices) or len(choices) == 1:
        raise UserError(f"{where}: `choices` must be two or more texts, or absent for a whole number")
    empty = Option(name=name, take="", choices=tuple(choices))
    if choices and not isinstance(take, str) or not choices and (isinstance(take, bool) or not isinstance(take, int)):
        raise UserError(f"{where}: `take` is {take!r}, not one of the choices or a whole number")
    return _answer(empty, str(take), where)


def _answer(option: Option, text: str, where: str) -> Option:
    take: str | int = text
    if option.choices:
        if text not in option.choices:
            raise UserError(f"{where}: {unknown(f'answer to {option.name!r}', text, option.choices)}")
    else:
        if not re.fullmatch("[0-9]{1,9}", text):
            raise UserError(f"{where}: {option.name!r} takes a whole number from 0 to 999999999, not {text[:20]!r}")
        take = int(text)
    return Option(name=option.name, take=take, choices=option.choices)
