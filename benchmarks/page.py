"""benchmarks/README.md: its prose is written by hand; what stands between `<!-- name -->` and `<!-- /name -->` comes from
the committed results. `python -m benchmarks --readme` writes it anew."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, shown, verdict
from muppet.errors import UserError
from muppet.paths import write_text
from studies.pages import grid

PAGE = Path(__file__).with_name("README.md")
REGION = re.compile(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", re.DOTALL)


def rendered(text: str, folder: Path = RESULTS) -> str:
    """`text` with every region from the results in `folder`. Raises UserError for a region without a meaning."""
    found = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}

    def region(match: re.Match[str]) -> str:
        name = match[1]
        body = bars(found) if name == "bars" else table(name, found.get(name))
        return f"<!-- {name} -->\n\n{body}\n\n<!-- /{name} -->"

    return REGION.sub(region, text)


def table(name: str, kept: Mapping[str, Any] | None) -> str:
    """One benchmark: its table, what it says beside it, and on what it was measured."""
    if kept is None:
        return f"Not measured yet; `make bench ONLY={name}` does."
    columns = list(dict.fromkeys(column for row in kept["rows"] for column in row))
    cells = [[shown(row.get(column)) for column in columns] for row in kept["rows"]]
    lines = [grid(cells, columns), ""]
    settings = ", ".join(f"{key.replace('_', ' ')} {shown(value)}" for key, value in kept["settings"].items())
    notes = "; ".join(kept["notes"])
    said = f"{settings}. {notes}." if notes else f"{settings}."
    return "\n".join([*lines, said, "", _measured(kept)])


def bars(found: Mapping[str, Any]) -> str:
    """Every bar of every benchmark with what was measured."""
    rows = []
    for name, kept in found.items():
        for bar in kept["bars"]:
            wanted = f"{'≥' if bar['at_least'] else '≤'} {bar['bar']:g}"
            said = verdict(bar["met"]) + (f": {bar['why']}" if bar["why"] else "")
            rows.append([name, bar["what"], wanted, shown(bar["measured"]), said])
    if not rows:
        raise UserError(f"no results in {RESULTS}; measure some with `make bench`")
    return grid(rows, ["benchmark", "bar", "wanted", "measured", "verdict"])


def _measured(kept: Mapping[str, Any]) -> str:
    machine, versions = kept["machine"], kept["versions"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    bf16 = "" if machine["bf16_instructions"] else ", no bf16 instructions"
    commit = f"commit {kept['commit'][:10]}{', edited' if kept['dirty'] else ''}" if kept["commit"] else "no commit"
    return (
        f"{kept['measured']}, {commit}; {machine['cpu']}, {machine['cores']} cores, {machine['instructions']}{bf16},"
        f" {machine['memory_gib']} GiB{gpu}, load {machine['load_at_end']} at the end; torch {versions['torch']},"
        f" transformers {versions['transformers']}, Python {versions['python']}."
    )


def write(page: Path = PAGE, folder: Path = RESULTS) -> None:
    """Bring the page up to date."""
    write_text(page, rendered(page.read_text(encoding="utf-8"), folder))
