"""Numbers as a reader sees them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def terminal() -> Console:
    """A console that says BrokenPipeError when nobody reads on, where rich's own ends the program with status 1."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Quiet()


def points(difference: float) -> str:
    """A difference in points with its sign: to one place, two where the second says something."""
    text = f"{100 * difference:+.2f}"
    return text[:-1] if text.endswith("0") else text


def between(low: float, high: float) -> str:
    """An interval of differences, in points."""
    return f"[{points(low)}, {points(high)}]"


def p_text(p: float) -> str:
    """A p value to read."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def percent(fraction: float, places: int = 1) -> str:
    """A fraction of 1 in percent."""
    return "nan" if math.isnan(fraction) else f"{100 * fraction:.{places}f}"


def hours(seconds: float) -> str:
    """`seconds` in the largest fitting unit."""
    units = ((2 * 365 * 86400, 365 * 86400, "years"), (2 * 86400, 86400, "days"), (3600, 3600, "h"), (60, 60, "min"))
    for least, size, unit in units:
        if seconds >= least:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """`seconds` that are left, to no more digits than an estimate has."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes / 60:.1f} h" if minutes < 2880 else f"{minutes / 1440:.1f} days"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, …"""
    return f"{number}{'th' if 10 < number % 100 < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
