"""The Penn Treebank from the folder of its original files, for those who hold the licence (`$MUPPET_PTB`).

The folder holds the Wall Street Journal's parsed sections, `00` to `24`, each with its `.mrg` files (as in
`treebank_3/parsed/mrg/wsj`). The division is the usual one: 02-21 train, 22 validation, 23 test.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from muppet.errors import Absent, UserError
from muppet.tasks.task import Row

SECTIONS = {"train": range(2, 22), "validation": range(22, 23), "test": range(23, 24)}
VARIABLE = "MUPPET_PTB"


def files(split: str) -> list[Path]:
    """The `.mrg` files of a split, in order. UserError naming a section that is missing, or the variable to set."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise Absent(
            f"the Penn Treebank is licensed: set {VARIABLE} to the folder of its WSJ .mrg files (sections 00 to 24); "
            "the free sample is `ptb_sample_pos` and `ptb_sample_parsing`, and `ud_pos` needs no licence"
        )
    if split not in SECTIONS:
        raise UserError(f"the Penn Treebank has no split {split!r}; choose one of {', '.join(SECTIONS)}")
    listed: list[Path] = []
    for section in SECTIONS[split]:
        place = Path(folder) / f"{section:02d}"
        inside = sorted(place.glob("*.mrg")) or sorted(place.glob("*.MRG"))
        if not inside:
            raise UserError(
                f"{VARIABLE}={folder}: section {section:02d} of split {split} is missing or has no .mrg file"
            )
        listed += inside
    return listed


def fingerprint(split: str) -> str:
    """A hash of the split's files."""
    digest = hashlib.sha256()
    for file in files(split):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def rows(split: str) -> list[Row]:
    """The sentences of a split as `id, tokens, pos_tags, tree`; traces stand in the tree alone."""
    from muppet.trees import EMPTY, one_line, preterminals, read_all

    sentences: list[Row] = []
    for file in files(split):
        for number, tree in enumerate(read_all(file.read_text(encoding="latin-1"), str(file))):
            leaves = [leaf for leaf in preterminals(tree) if leaf.label() != EMPTY]
            words, tags = [leaf[0] for leaf in leaves], [leaf.label() for leaf in leaves]
            row = {"id": f"{file.stem}.{number}", "tokens": words, "pos_tags": tags, "tree": one_line(tree)}
            sentences.append(row)
    return sentences
