"""All that renders: from the ledger's cells to files that a person reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

TABLES = Path("paper_tables")  # below the working directory; a profile's own pages lie in a folder of its name
COMMITTED = ("paper", "mini")  # profiles whose results are in git: only these stand on the pages directly in TABLES


def grid(rows: Sequence[Sequence[Any]], heads: Sequence[str], style: str = "pipe", *, numbers: bool = False) -> str:
    """A table in Markdown or another of tabulate's styles; with `numbers`, columns of numbers stand to the right."""
    from tabulate import tabulate

    return tabulate(rows, headers=heads, tablefmt=style, disable_numparse=not numbers)
