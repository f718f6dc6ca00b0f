"""What a user did that cannot be done, said in one line with the way out."""

from __future__ import annotations

import difflib
import io
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

LISTED = 30  # names that a message lists
NEAREST = 3
SHOWN = 80  # characters of a value that a message shows


class UserError(ValueError):
    """Bad input. The message names the file, the field and what to do; the command lines print it and exit with 2."""


class Absent(UserError):
    """Data that is nowhere to be had: not wrong, only missing. The message says what was tried."""


class Stopped(Exception):
    """A signal asked a run to stop; its checkpoint is written, and the same run goes on from there."""


def some(names: Iterable[object]) -> str:
    """The names with commas; of very many the first, and how many there are."""
    every = [str(name) for name in names]
    return ", ".join(every[:LISTED]) + (f", … ({len(every):,} in all)" if len(every) > LISTED else "")


def encodable(text: str) -> bool:
    """Whether a text holds no half of a surrogate pair, which no file can."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def one_line(text: str) -> str:
    """A text as one line of a terminal: what is no visible character (line breaks, NUL, escapes) is written as in a
    Python literal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def short(value: object) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def brief(error: Exception) -> str:
    """What an error says, as a part of a line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose names stand once: of two alike json keeps the last without a word. Raises ValueError."""
    plain = dict(pairs)
    if len(plain) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in an object")
    return plain


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is none of `known`; it offers the nearest, or lists them, or some of many."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean {near[0]!r}?"
    elif len(names) <= LISTED:
        hint = f"choose one of: {some(names)}"
    else:
        nearest = difflib.get_close_matches(name, names, n=NEAREST, cutoff=0.0)
        hint = f"there are {len(names):,}, such as {', '.join(nearest)}"
    return UserError(f"unknown {kind} {name!r}: {hint}")


def show_all() -> None:
    """From now on standard output takes every text: what its encoding lacks is escaped. A standard stream that was
    closed leads nowhere, lest a file that is opened get its number, and what a library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number, in workers too
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def exit_status(command: Callable[[], int]) -> int:
    """Do a command → its exit status: its own, 2 and one line for a user's mistake or a disk's, 3 for a stopped run,
    130 after Ctrl-C."""
    show_all()
    try:
        return command()
    except UserError as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads on
        return 0
    except OSError as error:
        print(f"error: {one_line(str(error))}; what was there before is unchanged", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
