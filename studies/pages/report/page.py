"""`make report`: one self-contained page, `paper_tables/report.html`, over the profiles whose results are in git.

It opens from the file system, asks no server, and is byte-equal for equal results. Smoke results are not in git, so
with PROFILE=smoke they go on a page of their own, `paper_tables/smoke/report.html`; the committed page stays as it is.
"""

from __future__ import annotations

import argparse
import base64
import json
import struct
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from muppet.paths import write_text
from studies.claims.meta import analyses
from studies.claims.sources import RELEASED
from studies.kit import decisions
from studies.kit.decisions import option
from studies.kit.ledger.profile import ProfileResults, open_profile
from studies.kit.study import Study
from studies.pages import COMMITTED, TABLES, figures, small
from studies.pages.claims import Judged, all_sources, judge, tallies, where
from studies.pages.report import content
from studies.pages.report.content import Ledger
from studies.pages.tables import PROTOCOL

SOURCES = ("paper", "independent", "released", "ours")
TALLIED = {"paper": "in the paper’s own print", "independent": "by the outside replication", "ours": "by our runs"}
SIGNS = {  # verdict → sign and colour
    **dict.fromkeys(("CONSISTENT", "SUPPORTED"), ("✓", "holds")),
    "CONTRADICTED": ("✗", "fails"),
    **dict.fromkeys(("NOT SUPPORTED", "MIXED"), ("◐", "partial")),
    "INCONCLUSIVE": ("?", "partial"),
    **dict.fromkeys(("NOT TESTABLE", "NOT PRINTED", "NOT MEASURED"), ("–", "none")),
}


def main(args: argparse.Namespace) -> int:
    """The command: write the pages and print where they are."""
    paths = [write(COMMITTED, TABLES / "report.html")]
    if args.profile not in COMMITTED:
        paths.append(write((args.profile,), TABLES / args.profile / "report.html"))
    for path in paths:
        print(path)
    return 0


def write(names: Sequence[str], path: Path) -> Path:
    """Render the page over the profiles `names` to `path`."""
    write_text(path, render([open_profile(name) for name in names]))
    return path


def render(loaded: Sequence[ProfileResults]) -> str:
    """The page as text. The first profile with a result is the one shown first."""
    import jinja2
    from markupsafe import Markup  # around what is code or JSON already, not to be escaped

    loaded = sorted(loaded, key=lambda one: not one.collected.done)
    ledger = content.build(loaded)
    judged = judge(all_sources([one.name for one in loaded]))
    claims = claims_shown(judged)
    template = jinja2.Environment(autoescape=True, trim_blocks=False).from_string(_asset("page.html.j2"))
    data = {
        "cells": ledger.cells,
        "comparable": [one["name"] for one in ledger.profiles if one["comparable"]],
        "runs": ledger.runs,
        "environments": ledger.environments,
        "titles": {name: study.title for name, study in loaded[0].studies.items()},
        "protocols": PROTOCOL,
        "protocol": str(option("protocol")),
    }
    text: str = template.render(
        style=Markup(_asset("style.css")),
        script=Markup(_asset("page.js")),
        data=Markup(_json(data)),
        all_cells=ledger.cells,
        profiles=ledger.profiles,
        sources=SOURCES,
        small=small,
        study=small.section(one, judged) if (one := small.studied(loaded)) else None,
        claims=claims,
        tallies=[(source, counts) for source, counts in tallies(judged) if source.name in TALLIED],
        tallied=TALLIED,
        analyses=analyses(),
        tables=[table(ledger, study) for study in loaded[0].studies.values() if study.kind == "table"],
        figures=[figure for one in loaded for figure in drawn(one)],
        table1=counted(),
        decisions=decisions_shown(),
    )
    return text + "\n"


def table(ledger: Ledger, study: Study) -> dict[str, Any]:
    """A table study: columns, and per row the indices of its cells; released rows stand inside those they belong to."""
    place: dict[tuple[str, str], list[int]] = {}
    for i, cell in enumerate(ledger.cells):
        if cell["study"] == study.name:
            place.setdefault((cell["row"], cell["column"]), []).append(i)
    rows = [row for row in dict.fromkeys(row for row, _ in place) if not row.endswith(RELEASED)]
    columns = list(dict.fromkeys(column for _, column in place))
    head, _, title = study.title.partition(": ")
    return {
        "study": study,
        "short": head if title else study.title,
        "beyond": len(set(columns) & set(study.beyond)),
        "columns": [{"name": column, "beyond": column in study.beyond} for column in columns],
        "rows": [{"name": row, "cells": [place.get((row, column), []) for column in columns]} for row in rows],
    }


def drawn(one: ProfileResults) -> list[dict[str, Any]]:
    """The figures of one profile, as PNG in base64 with their sizes in CSS pixels."""
    images = []
    for name, study in one.studies.items():
        if study.kind == "table":
            continue
        points = figures.plotted(study, one.frame(name))
        image = figures.png(study, one.name, points)
        width, height = struct.unpack(">II", image[16:24])
        shown = {"study": study, "profile": one.name, "alt": f"{study.title}. {figures.missing(points)}".strip()}
        size = {"width": width * 2 // 3, "height": height * 2 // 3}
        images.append(shown | size | {"png": base64.b64encode(image).decode()})
    return images


def claims_shown(judged: Judged) -> list[dict[str, Any]]:
    """Every claim with its verdict from each source; ours once per profile."""
    shown = []
    for claim, findings in judged:
        verdicts: list[dict[str, Any]] = []
        for source, finding in findings:
            sign, css = SIGNS[finding.verdict]
            verdicts.append({"source": source, "finding": finding, "sign": sign, "css": css})
        words = " ".join(finding.verdict for _, finding in findings)
        shown.append({"claim": claim, "section": where(claim), "verdicts": verdicts, "words": words})
    return shown


def counted() -> dict[str, Any]:
    """Table 1 beside the catalogue's counts, and a line for each that disagrees."""
    from studies import table1

    cells = table1.counts()
    rows = {cell.row: [other for other in cells if other.row == cell.row] for cell in cells}
    return {"columns": table1.COLUMNS, "rows": list(rows.items()), "gaps": table1.disagreements(cells)}


def decisions_shown() -> list[dict[str, Any]]:
    """Every decision with its options."""
    return [
        {
            "entry": entry,
            "option": ", ".join(f"{o.name}={o.take}" for o in entry.options),
            "facts": [
                ("where", entry.where),
                ("decision", entry.decision),
                ("why", entry.why),
                *((f"option {o.name}", f"{o.take}; else {o.others}") for o in entry.options),
                *([("cells", ", ".join(entry.cells))] if entry.cells else []),
            ],
        }
        for entry in decisions.current().entries
    ]


def _asset(name: str) -> str:
    return files("studies.pages.report").joinpath(name).read_text(encoding="utf-8")


def _json(data: Any) -> str:
    """Compact JSON in which no text can open or end an element."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
