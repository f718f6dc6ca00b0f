"""`paper_tables/meta.md`: what the paper's own cells and the outside replication say, before any run."""

from __future__ import annotations

import argparse

from muppet.paths import write_text
from studies.claims.meta import Analysis, analyses
from studies.pages import TABLES, grid

HEAD = (
    "# What can be said today",
    "",
    "Analyses of the paper's own cells ([reference/](reference/)) and of the outside replication. No run of ours is "
    "needed, and none is used. Gains are MUPPET minus its base, in points.",
    "",
)


def main(args: argparse.Namespace) -> int:
    """`make meta`: write the page and say where it is."""
    write_text(TABLES / "meta.md", markdown(analyses()))
    print(f"wrote {TABLES / 'meta.md'}")
    return 0


def markdown(every: list[Analysis]) -> str:
    """The page."""
    lines = [*HEAD]
    for each in every:
        lines += [f"## {each.title}", "", each.text, "", grid(each.rows, each.heads), ""]
    return "\n".join(lines)
