"""Artefacts and pages from what is there: one artefact after its runs, or everything (`make render`, `make all`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from studies.kit import load
from studies.kit.ledger import folder, results
from studies.kit.ledger.cells import cells_frame
from studies.kit.ledger.results import Collected
from studies.kit.study import Study

STRANGERS = 3  # results of no declared run that are named one by one


def artefact(name: str, args: argparse.Namespace) -> int:
    """Render one artefact and show its cells, or those of ONLY and CLAIM; 2 when one of its results is refused."""
    study, collected = load.load_studies(args.profile, [name])[name], results.read_all(args.profile)
    _write(study, args.profile, collected, shown=load.cut({name: study}, args.only, args.cells)[name])
    return _refused(collected, {name: study})


def main(args: argparse.Namespace) -> int:
    """`make render`: artefacts, statistics, Table 1, decisions, claims, meta; 2 when a result is refused."""
    from studies.pages import claims, meta, statistics, table1

    studies = load.load_studies(args.profile)
    collected = results.read_all(args.profile)
    for study in studies.values():
        _write(study, args.profile, collected)
    print(f"wrote {statistics.write(studies, args.profile, collected)}")
    strangers = sorted(collected.done - load.runs(studies.values()).keys())
    for name in strangers[:STRANGERS]:
        print(f"of no declared run, so in no table: {folder.result_path(args.profile, name)}", file=sys.stderr)
    if strangers:
        why = "made under another DECIDE or by another version of the recipes"
        print(f"{len(strangers)} results of no declared run in all: {why}", file=sys.stderr)
    status = max(page(args) for page in (table1.main, claims.decisions, claims.main, meta.main))
    return _refused(collected, studies) or status


def everything(args: argparse.Namespace) -> int:
    """What `main` renders, and the pages over all profiles."""
    from studies.pages import reproduction
    from studies.pages.report import page

    return max(write(args) for write in (main, page.main, reproduction.main))


def _write(study: Study, profile: str, collected: Collected, *, shown: Study | None = None) -> None:
    """Write one artefact from what is there, and print those of a table's cells that `shown` has."""
    frame = cells_frame(study, profile, collected)
    if study.kind == "table":
        from studies.pages import tables

        own = {path: why for path, why in collected.refused.items() if Path(path).stem in study.runs()}
        written = tables.render(study, profile, frame, refused=own)
        if shown:
            tables.terminal(shown, profile, frame)
    else:
        from studies.pages import figures

        written = figures.render(study, profile, frame)
    print("wrote " + ", ".join(map(str, written)))


def _refused(collected: Collected, studies: Mapping[str, Study]) -> int:
    """Name the results of `studies` that cannot be trusted; 2 when there are any."""
    known = load.runs(studies.values())
    refused = [why for path, why in collected.refused.items() if Path(path).stem in known]
    for why in refused:
        print(f"refused: {why}", file=sys.stderr)
    return 2 if refused else 0
