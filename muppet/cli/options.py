"""The options of a file of one's own; this module is light, since `--help` reads it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from muppet.tasks.task import FamilyName

ROLES = "text pair label context question choices answers source target tokens tags tree".split()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a file of one's own."""
    group = parser.add_argument_group(
        "rows of your own", "a .csv, .tsv, .jsonl or .parquet file; a role that is not given is the column of its name"
    )
    group.add_argument("--train-file", type=Path, metavar="FILE")
    group.add_argument("--eval-file", type=Path, metavar="FILE")
    for role in ROLES:
        what = "COLUMN or COLUMN,COLUMN,…" if role == "choices" else "COLUMN"
        group.add_argument(f"--{role}", metavar=what)
    group.add_argument("--family", choices=get_args(FamilyName), help="when the columns do not tell it: regression")
    group.add_argument("--metrics", help="with commas (default: the family's)")
    group.add_argument("--name", help="of the task (default: own-FILE)")
