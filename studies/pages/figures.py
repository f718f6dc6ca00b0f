"""Figures from the cells that are there, as PDF, PNG and the plotted data as CSV (`drawing.py` draws each kind).

A figure never waits for its points. What is missing is written on it, and a figure without any point says so. The same
cells give the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from muppet import paths
from muppet.paths import write_text
from muppet.runs import Finetune
from studies.kit import cost, distinct, profiles
from studies.kit.ledger.intervals import bounds
from studies.kit.study import Study
from studies.pages import drawing
from studies.pages.cells import METRICS, SILENT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_BREAK = "\u00a0"
WHISKERS = (
    "Means over runs; whiskers: 95 % over runs and evaluation examples, from three runs, and over checkpoints only "
    "where a point has several."
)
CSV_COLUMNS = (
    "row column x metric state value low high n seeds_done seeds_total machine protocol".split()
)  # fractions of 1, as everywhere but on paper


def render(study: Study, profile: str, frame: pd.DataFrame, root: Path = Path("figures")) -> list[Path]:
    """Draw `study` from its cells (`cells_frame`) to `root/profile/name.{pdf,png,csv}`; returns the paths."""
    points = plotted(study, frame)
    stem = root / profile / study.name
    pdf, png, csv = (stem.with_suffix(ending) for ending in (".pdf", ".png", ".csv"))
    table = points.to_csv(index=False, columns=list(CSV_COLUMNS), lineterminator="\n")
    mark, said = paths.cache() / f"drawn-{profile}-{study.name}.txt", note(study, profile, points)
    code = (Path(file).read_text(encoding="utf-8") for file in (__file__, drawing.__file__))
    inputs = (profile, study.title, study.kind, said, table, *code)
    try:
        drawn = mark.read_text(encoding="utf-8")
    except OSError:
        drawn = ""
    if drawn != _stamp(inputs, pdf, png):  # drawing takes seconds
        figure = draw(study, profile, points, said)
        for path in (pdf, png):
            paths.write_bytes(path, drawing.as_bytes(figure, path.suffix[1:]))
        with contextlib.suppress(OSError):  # a place where it cannot be written only costs time
            write_text(mark, _stamp(inputs, pdf, png))
    write_text(csv, table)
    return [pdf, png, csv]


def png(study: Study, profile: str, points: pd.DataFrame) -> bytes:
    """The figure as PNG, for the report page."""
    return drawing.as_bytes(draw(study, profile, points, note(study, profile, points)), "png", dpi=144)


def plotted(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """The points of the figure: one row a cell in declared order, with its `x` and how many datasets its pre-finetuning
    really holds (`sets`); unmeasured ones have no value, and no interval leaves the metric's range."""
    places = {
        (cell.row, cell.column): (cell.x, distinct.sets(cell.runs[0]) if cell.runs else None, index)
        for index, cell in enumerate(study.cells)
    }
    columns = zip(*(places[key] for key in zip(frame["row"], frame["column"], strict=True)), strict=True)
    points = frame.assign(**dict(zip(("x", "sets", "_order"), columns, strict=True)))
    points = (
        points.sort_values("_order", kind="stable").drop_duplicates(["row", "column", "metric"]).reset_index(drop=True)
    )
    numbers = ["x", "sets", "value", "low", "high"]
    points[numbers] = points[numbers].astype(float)
    ends = [bounds(metric) for metric in points["metric"]]
    points["low"] = points["low"].clip(lower=[low for low, _ in ends])
    points["high"] = points["high"].clip(upper=[high for _, high in ends])
    return points


def held(points: pd.DataFrame) -> pd.DataFrame:
    """The points that the profile has, measured or not."""
    return points[~points["state"].isin([*SILENT, distinct.SAME])]


def missing(points: pd.DataFrame) -> str:
    """What the figure lacks, in a sentence or two; empty when every point is there."""
    shown = held(points)
    absent, parts = shown[shown["value"].isna()], []
    for state, group in absent.groupby("state", sort=True):
        places = [
            f"{row} ({', '.join(columns) if len(columns) <= 4 else f'{len(columns)} points'})".replace(" ", NO_BREAK)
            for row, columns in ((row, list(cells["column"])) for row, cells in group.groupby("row", sort=False))
        ]
        rest = f"; and {len(places) - 6} more rows" if len(places) > 6 else ""
        parts.append(f"{state}: {'; '.join(places[:6])}{rest}")
    partial = (shown["value"].notna() & (shown["seeds_done"] < shown["seeds_total"])).sum()
    if parts or partial:
        fewer = f", {partial} of them from fewer runs than declared" if partial else ""
        parts.insert(0, f"{len(shown) - len(absent)} of {len(shown)} points measured{fewer}")
    if len(shown) < len(points):
        gone = [
            name.rpartition(" | ")[2].replace(" ", NO_BREAK)
            for way in ("row", "column")
            for name in dict.fromkeys(points[way])
            if name not in set(shown[way])
        ]
        named = ", ".join(dict.fromkeys(gone)) or f"{len(points) - len(shown)} of the points"
        parts.append(f"not in this profile, or not distinguishable there: {named}")
    return ". ".join(parts) + "." * bool(parts)


def shrunk(study: Study, points: pd.DataFrame) -> str:
    """Which mixtures hold fewer datasets than their name says; empty when none does."""
    if study.kind == "bars":
        most = held(points)["sets"].max()
        return f"The mixtures hold {most:g} datasets." if most > 0 else ""
    names = points["column" if study.kind == "curve" else "row"].str.rpartition(" | ")[2]
    counts = dict(zip(names, points["sets"], strict=True))
    fewer = [f"{sets:g} for {name}" for name, sets in counts.items() if sets < int(name.split()[0])]
    return f"Mixtures with fewer datasets than the paper's name for them: {', '.join(fewer)}." if fewer else ""


def exhausted(study: Study) -> str:
    """Which shares of the data a heat-map's trainings are too short to tell apart; empty when none."""
    seen: dict[str, dict[str, float]] = {}
    for cell in study.cells if study.kind == "heatmap" else ():
        if cell.runs and isinstance(run := cell.runs[0], Finetune):
            seen.setdefault(cell.row.partition(" | ")[0], {})[cell.column.replace(" ", NO_BREAK)] = cost.seen(run)
    alike = {name: [share for share, n in rows.items() if n == max(rows.values())] for name, rows in seen.items()}
    said = [
        f"{name} ends after {max(seen[name].values()):,.0f} rows, which {shares[0]} of the data has"
        for name, shares in alike.items()
        if len(shares) > 1
    ]
    return f"A training on {'; on '.join(said)}: larger shares add none." if said else ""


def note(study: Study, profile: str, points: pd.DataFrame) -> str:
    """What stands below the figure: what it lacks, what was measured, and how to read it."""
    one = profiles.get(profile)
    what = "" if one.comparable else f"Measured: {one.caption.partition('.')[0]}."
    key = WHISKERS if study.kind != "heatmap" and points["low"].notna().any() else ""
    return " ".join(filter(None, (missing(points), what, shrunk(study, points), exhausted(study), key)))


def draw(study: Study, profile: str, points: pd.DataFrame, said: str) -> Figure:
    """A matplotlib figure of `points`, with what is `said` below it; its kind is the study's."""
    import seaborn
    from matplotlib.figure import Figure

    with drawing.style():
        figure = Figure()
        if points["value"].notna().any():
            named = points.assign(metric=[METRICS.get(metric, metric) for metric in points["metric"]])
            drawing.KINDS[study.kind](figure, held(named), seaborn.color_palette("colorblind"))
        else:
            figure.set_size_inches(7.2, 2.6)
            figure.text(
                0.5, 0.5, "No point is measured yet.", ha="center", va="center", fontsize=13, color=drawing.MUTED
            )
        height = figure.get_size_inches()[1]
        figure.suptitle(
            f"{study.title}  (profile {profile})",
            x=0.01,
            ha="left",
            fontsize=11,
            fontweight="bold",
            y=1 + 0.12 / height,
        )
        if said:
            text = "\n".join(textwrap.wrap(said, int(figure.get_size_inches()[0] * 15)))
            figure.text(0.01, -0.08 / height, text, ha="left", va="top", fontsize=7.5, color="#8a3b00")
    return figure


def _stamp(inputs: Sequence[str], *files: Path) -> str:
    """SHA-256 of all that a drawing depends on (what is plotted, the code) and of the files that came of it."""
    digest = hashlib.sha256("\0".join(inputs).encode())
    for path in files:
        digest.update(path.read_bytes() if path.exists() else b"absent")
    return digest.hexdigest()
