"""Frozen values: hashed once, as runs nest dozens of tasks and a study looks them up by the ten thousand; and with
fields that are what their annotations say."""

from __future__ import annotations

import collections.abc
import dataclasses
import sys
import types
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, TypeVar

from muppet.errors import UserError, short, unknown

Value = TypeVar("Value")


def hash_once(cls: type[Value]) -> type[Value]:
    """Keep each instance's hash beside its fields; pickles leave it out, since a text's hash differs by process."""
    compute: Any = cls.__hash__

    def hashed(self: Any) -> int:
        known = self.__dict__.get("_hash")
        if known is None:
            known = compute(self)
            object.__setattr__(self, "_hash", known)
        return known

    def state(self: Any) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_hash"}

    open_class: Any = cls
    open_class.__hash__, open_class.__getstate__ = hashed, state
    return cls


def check_fields(value: Any) -> None:
    """Raise UserError for the first field of a dataclass that is not what its annotation says. Annotations are plain
    types, functions, dataclasses, literals, tuples and unions of these; numbers are finite, True is none, and one of
    NumPy's is none of Python's (but float64, which is a float)."""
    for name, default, kind, fits in _fields(type(value)):  # type: ignore[arg-type]
        one = getattr(value, name)
        if one is default or fits(one):
            continue
        literals = [part for part in (kind, *typing.get_args(kind)) if typing.get_origin(part) is Literal]
        choices = [choice for literal in literals for choice in typing.get_args(literal)]
        if choices and isinstance(one, str):
            raise unknown(f"`{name}`", one, choices)
        wanted = kind.__name__ if isinstance(kind, type) else str(kind)
        wanted = wanted.replace("float", "finite float")
        wanted += f", as ({one!r},)" * (isinstance(one, str) and "[str, ...]" in wanted)
        raise UserError(f"`{name}` of {type(value).__name__} is {short(one)}; give {wanted}")


def is_number(value: Any, least: float = -sys.float_info.max, most: float = sys.float_info.max) -> bool:
    """Whether a value is a finite number from `least` to `most`; True is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def check_bounds(value: Any, names: str, bounds: str, fits: Callable[[Any], bool]) -> None:
    """Raise UserError for the first of the fields `names` that is given and outside of `bounds`, as `fits` says."""
    for name in names.split():
        if (one := getattr(value, name)) is not None and not fits(one):
            raise UserError(f"`{name}` of {type(value).__name__} is {one}; give {bounds}")


@lru_cache(maxsize=None)
def _fields(cls: Any) -> list[tuple[str, Any, Any, Callable[[Any], bool]]]:
    kinds = typing.get_type_hints(cls)
    return [(f.name, f.default, kinds[f.name], _fits(kinds[f.name])) for f in dataclasses.fields(cls)]


def _fits(kind: Any) -> Callable[[Any], bool]:
    """Whether a value is of an annotation's kind."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in parts
    if origin in (typing.Union, types.UnionType):
        ways = [_fits(part) for part in parts]
        return lambda value: any(way(value) for way in ways)
    if origin is tuple:
        each = [_fits(part) for part in parts if part is not ...]
        if len(each) < len(parts):
            return lambda value: isinstance(value, tuple) and all(map(each[0], value))
        return lambda value: (
            isinstance(value, tuple) and len(value) == len(each) and all(fits(one) for fits, one in zip(each, value))
        )
    if origin is collections.abc.Callable:
        return callable
    if kind is Any:
        return lambda value: True
    if kind is float:
        return is_number
    if kind is int:
        return lambda value: isinstance(value, int) and not isinstance(value, bool)
    return lambda value: isinstance(value, kind)
