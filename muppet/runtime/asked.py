"""What the environment asks of runs, read without torch: a value that cannot be met is known before anything starts."""

from __future__ import annotations

import os
from pathlib import Path

from muppet.errors import UserError

CHOICES = {"MUPPET_DEVICE": ("cpu", "cuda"), "MUPPET_PRECISION": ("fp32", "bf16"), "MUPPET_COMPILE": ("no", "yes")}
FOLDERS = ("MUPPET_HUB", "MUPPET_PTB")


def asked(variable: str) -> str | None:
    """What one of CHOICES asks for; None: nothing. Raises UserError for what it does not know."""
    value = os.environ.get(variable) or None
    if value not in (None, *CHOICES[variable]):
        raise UserError(f"{variable}={value!r}: choose {' or '.join(CHOICES[variable])}")
    return value


def folder(variable: str) -> Path | None:
    """The folder that one of FOLDERS names; None: it is not set. Raises UserError for what is no folder."""
    value = os.environ.get(variable)
    if value and not Path(value).is_dir():
        raise UserError(f"{variable} is {value}, which is no folder; point it at one or unset it")
    return Path(value) if value else None


def check() -> None:
    """Raise UserError for a variable whose value is none of its choices, or names no folder."""
    for variable in CHOICES:
        asked(variable)
    for variable in FOLDERS:
        folder(variable)
