"""Numbers as a reader sees them."""

from __future__ import annotations

import math


def points(difference: float) -> str:
    """A difference in points with its sign: to one place, two where the second says something."""
    text = f"{100 * difference:+.2f}"
    return text[:-1] if text.endswith("0") else text


def p_text(p: float) -> str:
    """A p value to read."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def percent(fraction: float, places: int = 1) -> str:
    """A fraction of 1 in percent."""
    return "nan" if math.isnan(fraction) else f"{100 * fraction:.{places}f}"
