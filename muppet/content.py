"""What a function of one's own is, as a text: the same for the same content, whatever the process and the addresses.

It is its file (or its code, where it was typed in), and what it holds: what it closes over, its defaults, the object
that it is bound to, and the globals that it reads. Values are what is in them, arrays and data frames too; functions
and classes of another module are their names.
"""

from __future__ import annotations

import copyreg
import dis
import functools
import hashlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from muppet.errors import UserError

PLAIN = (type(None), type(...), bool, int, float, complex, str)
WRITTEN = (FunctionType, staticmethod, classmethod, property, functools.cached_property)  # in a class, in Python
CODE = (  # of what a function does, without where it stands: a notebook calls its cells by the number of its process
    "co_code co_consts co_names co_varnames co_freevars co_cellvars co_argcount co_kwonlyargcount co_flags"
    " co_exceptiontable"
).split()


def is_own(function: Any) -> bool:
    """Whether a row function is one's own: those of muppet.tasks are their names, which they keep for ever."""
    return not str(getattr(function, "__module__", "")).startswith("muppet.tasks.")


def content(function: Any) -> str:
    """The content of a row function, as it is now. Raises UserError where it holds what cannot be told, as an open
    file."""
    try:
        return _Content().of(function)
    except (UserError, RecursionError) as error:
        name = getattr(function, "__qualname__", type(function).__name__)
        raise UserError(
            f"row function {name}: {error}: its rows could be taken for another's; let it hold plain values, arrays or"
            " data frames, or read the rest as `module.name` of a module that it imports, which is not counted"
        ) from None


class _Content:
    """Of a function or object; `home` is the module that defines the first that is met."""

    def __init__(self) -> None:
        self.home: str | None = None
        self.known: dict[int, tuple[Any, str]] = {}

    def of(self, value: Any) -> str:
        """The content of any value; of plain ones, and of lists, tuples and dicts of them, it is Python's own text."""
        kind = type(value)
        if kind in PLAIN:
            return repr(value)
        if kind is list or kind is tuple:
            inside = ", ".join(map(self.of, value))
            return f"[{inside}]" if kind is list else f"({inside}{',' * (len(value) == 1)})"
        if kind is dict:
            return f"{{{', '.join(f'{self.of(key)}: {self.of(one)}' for key, one in value.items())}}}"
        if kind is set or kind is frozenset:
            return f"{kind.__name__} of {sorted(map(self.of, value))}"
        if kind is bytes or kind is bytearray:
            return f"{kind.__name__} {hashlib.sha256(value).hexdigest()}"
        if id(value) not in self.known:  # which also keeps it, so that no other gets its id
            self.known[id(value)] = value, "itself"
            self.known[id(value)] = value, self._of_object(value)
        return self.known[id(value)][1]

    def _of_object(self, value: Any) -> str:
        if isinstance(value, FunctionType | type):
            name, self.home = f"{value.__module__}.{value.__qualname__}", self.home or value.__module__
            if value.__module__ != self.home and "<" not in value.__qualname__ or not is_own(value):
                return name  # but not where a call has made it: it may hold something
            if isinstance(value, FunctionType):
                return f"{name} {_short(self._of_function(value))}"
            own = {
                key: one
                for key, one in vars(value).items()
                if isinstance(one, WRITTEN) or not (key[0] == "_" or inspect.isroutine(one))
            }
            return f"{name} {_short(self.of([value.__bases__, own]))}"
        if isinstance(value, functools.partial):
            inner, given = self.of(value.func), self.of((value.args, value.keywords))
            return f"{inner} {_short(json.dumps(given, ensure_ascii=False))}"
        if isinstance(value, MethodType):
            return f"{self.of(value.__func__)} {self.of(value.__self__)}"
        if isinstance(value, ModuleType):
            return value.__name__
        if isinstance(value, CodeType):
            return self.of([getattr(value, name) for name in CODE])
        if isinstance(value, property | functools.cached_property):
            return self.of([getattr(value, name, None) for name in ("fget", "fset", "func")])
        within = getattr(value, "__wrapped__", None)  # static and class methods, and what functools.lru_cache makes
        return self._of_parts(value) if within is None else f"{type(value).__name__} {self.of(within)}"

    def _of_function(self, function: FunctionType) -> bytes:
        try:
            text = Path(inspect.getsourcefile(function) or "").read_bytes()
        except (TypeError, OSError):  # typed in, not read from a file
            text = self.of(function.__code__).encode()
        cells = [cell.cell_contents for cell in function.__closure__ or () if cell != CellType()]
        names = sorted({*_globals(function.__code__)} & function.__globals__.keys())
        further = (function.__kwdefaults__, vars(function), {name: function.__globals__[name] for name in names})
        held = [self.of([*cells, function.__defaults__]), *(self.of(one) for one in further if one)]
        return text + "".join(held).encode()

    def _of_parts(self, value: Any) -> str:
        """What a copy of an object would be made of."""
        kind = self.of(type(value))
        reduce = copyreg.dispatch_table.get(type(value))
        try:
            parts = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:  # anyone's code
            raise UserError(f"it holds a {type(value).__name__}, whose content cannot be told ({error})") from None
        if isinstance(parts, str):
            return f"{kind} {parts}"
        return f"{kind} {_short(self.of([*parts[:3], *(list(items or ()) for items in parts[3:5])]))}"


def _short(whole: str | bytes) -> str:
    return hashlib.sha256(whole.encode() if isinstance(whole, str) else whole).hexdigest()[:16]


def _globals(code: CodeType) -> Iterator[str]:
    """The names that code, and code inside it, looks up outside of functions."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and not str(step.argval).startswith("__"):
            yield step.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)
