"""Figures from the cells that are there: curves, grouped bars and heat-maps, as PDF, PNG and the plotted data as CSV.

A figure never waits for its points. What is missing is written on it, and a figure without any point says so. The same
cells give the same bytes: no dates, no machine's fonts, no random ids.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from muppet import paths
from muppet.errors import UserError
from muppet.paths import write_text
from studies.kit import distinct
from studies.kit.ledger.intervals import bounds
from studies.kit.study import Study
from studies.pages.cells import SILENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MUTED, FAINT = "#555c66", "#8a8f98"
STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that every machine draws the same glyphs
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": "#333a45",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": "#1f2328",
    "pdf.fonttype": 42,
}
NO_BREAK = "\u00a0"
MARKERS = ("o", "s", "D", "^", "v")
WHISKERS = "Means over runs; whiskers: 95 % over runs and evaluation examples, from three runs."
CSV_COLUMNS = (
    "row column x metric state value low high n seeds_done seeds_total machine protocol".split()
)  # fractions of 1, as everywhere but on paper


def render(study: Study, profile: str, frame: pd.DataFrame, root: Path = Path("figures")) -> list[Path]:
    """Draw `study` from its cells (`cells_frame`) to `root/profile/name.{pdf,png,csv}`; returns the paths."""
    points = plotted(study, frame)
    stem = root / profile / study.name
    pdf, png, csv = (stem.with_suffix(ending) for ending in (".pdf", ".png", ".csv"))
    table = points.to_csv(index=False, columns=list(CSV_COLUMNS), lineterminator="\n")
    mark = paths.cache() / f"drawn-{profile}-{study.name}.txt"
    inputs = (
        profile,
        study.title,
        study.kind,
        shrunk(study, points),
        table,
        Path(__file__).read_text(encoding="utf-8"),
    )
    try:
        drawn = mark.read_text(encoding="utf-8")
    except OSError:
        drawn = ""
    if drawn != _stamp(inputs, pdf, png):  # drawing takes seconds
        figure = draw(study, profile, points)
        for path in (pdf, png):
            paths.write_bytes(path, _bytes(figure, path.suffix[1:]))
        with contextlib.suppress(OSError):  # a place where it cannot be written only costs time
            write_text(mark, _stamp(inputs, pdf, png))
    write_text(csv, table)
    return [pdf, png, csv]


def png(study: Study, profile: str, frame: pd.DataFrame) -> bytes:
    """The figure as PNG, for the report page."""
    return _bytes(draw(study, profile, plotted(study, frame)), "png", dpi=144)


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
    if parts:
        parts.insert(0, f"{len(shown) - len(absent)} of {len(shown)} points measured")
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


def draw(study: Study, profile: str, points: pd.DataFrame) -> Figure:
    """A matplotlib figure of `points`; its kind is the study's."""
    import seaborn
    from matplotlib.figure import Figure

    kinds = {"curve": _curves, "bars": _bars, "heatmap": _heatmaps}
    if study.kind not in kinds:
        raise UserError(f"{study.name} is a {study.kind}, not a figure; draw one of: figure1, figure2, figure3")
    with _style():
        figure = Figure()
        if points["value"].notna().any():
            kinds[study.kind](figure, held(points), seaborn.color_palette("colorblind"))
        else:
            figure.set_size_inches(7.2, 2.6)
            figure.text(0.5, 0.5, "No point is measured yet.", ha="center", va="center", fontsize=13, color=MUTED)
        height = figure.get_size_inches()[1]
        figure.suptitle(
            f"{study.title}  (profile {profile})",
            x=0.01,
            ha="left",
            fontsize=11,
            fontweight="bold",
            y=1 + 0.12 / height,
        )
        key = WHISKERS if study.kind != "heatmap" and points["low"].notna().any() else ""
        text = " ".join(filter(None, (missing(points), shrunk(study, points), key)))
        note = "\n".join(textwrap.wrap(text, int(figure.get_size_inches()[0] * 15)))
        if note:
            figure.text(0.01, -0.08 / height, note, ha="left", va="top", fontsize=7.5, color="#8a3b00")
    return figure


@contextmanager
def _style() -> Iterator[None]:
    """The library's defaults and STYLE, whatever the user's own settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _curves(figure: Figure, points: pd.DataFrame, palette: Sequence[Any]) -> None:
    """A panel per row: score over x, the base model (x = 0) as a line, whiskers for the interval of the mean.
    Nothing is drawn through a point that is not measured."""
    rows = list(dict.fromkeys(points["row"]))
    columns = min(3, len(rows))
    lines = -(-len(rows) // columns)
    figure.set_size_inches(3.3 * columns, 2.5 * lines)
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, row in zip(grid.flat, rows, strict=False):
        colour, marker = palette[rows.index(row) % len(palette)], MARKERS[rows.index(row) % len(MARKERS)]
        every = points[points["row"] == row].sort_values("x", kind="stable")
        cells = every[every["value"].notna()]
        base = cells[cells["x"] == 0]
        if len(base):
            axes.axhline(100 * base["value"].iloc[0], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.1, zorder=1)
            axes.annotate(
                "no pre-finetuning",
                (1, 100 * base["value"].iloc[0]),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                fontsize=7,
                color=MUTED,
            )
        axes.errorbar(
            every["x"],
            100 * every["value"],
            yerr=_whiskers(every),
            color=colour,
            marker=marker,
            markersize=4.5,
            linewidth=1.6,
            elinewidth=0.9,
            capsize=2,
        )
        axes.set_title(f"{row} ({cells['metric'].iloc[0] if len(cells) else every['metric'].iloc[0]})", loc="left")
        axes.set_xticks(every["x"], [_tick(x, column) for x, column in zip(every["x"], every["column"], strict=True)])
        _at_most_100(axes)
        margin = 0.04 * max(every["x"].max() - every["x"].min(), 1)
        axes.set_xlim(every["x"].min() - margin, every["x"].max() + margin)
        axes.tick_params(axis="x", labelsize=7.5)
        absent = every[every["value"].isna()]
        axes.plot(
            absent["x"], [0.03] * len(absent), "x", transform=axes.get_xaxis_transform(), color="#a34200", markersize=4
        )
        if cells.empty:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", color=FAINT)
    for axes in list(grid.flat)[len(rows) :]:
        axes.axis("off")
    figure.tight_layout(h_pad=1.4, w_pad=1.2)


def _bars(figure: Figure, points: pd.DataFrame, palette: Sequence[Any]) -> None:
    """A group per column, a bar per row; a row at x = 0 (no pre-finetuning) is a dashed line."""
    rows, columns = list(dict.fromkeys(points["row"])), list(dict.fromkeys(points["column"]))
    figure.set_size_inches(max(6.4, 1.75 * len(columns)), 3.4)
    axes: Axes = figure.subplots()
    base = [row for row in rows if (points.loc[points["row"] == row, "x"] == 0).any()]
    barred = [row for row in rows if row not in base]
    width = 0.8 / len(barred)
    for i, row in enumerate(barred):
        cells = points[points["row"] == row].set_index("column").reindex(columns)
        place = [j + (i - (len(barred) - 1) / 2) * width for j in range(len(columns))]
        axes.bar(
            place,
            100 * cells["value"],
            width * 0.92,
            label=row,
            color=palette[i],
            yerr=_whiskers(cells),
            hatch=("", "//", "..", "xx")[i % 4],
            edgecolor="white",
            linewidth=0.5,
            error_kw={"elinewidth": 1, "capsize": 2.5, "ecolor": "#333a45"},
        )
        for x, value, state in zip(place, cells["value"], cells["state"], strict=True):
            if pd.isna(value):
                axes.annotate(
                    state,
                    (x, 0),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 4),
                    rotation=90,
                    textcoords="offset points",
                    ha="center",
                    va="bottom",
                    fontsize=7,
                    color=FAINT,
                )
    for row in base:
        cells = points[points["row"] == row].set_index("column").reindex(columns)
        axes.hlines(
            100 * cells["value"],
            [j - 0.45 for j in range(len(columns))],
            [j + 0.45 for j in range(len(columns))],
            color="#333a45",
            linestyle=(0, (4, 3)),
            linewidth=1.2,
            label=row,
        )
    low = 100 * points[["value", "low"]].min().min()
    axes.set_ylim(bottom=max(0, 5 * (low // 5) - 5))
    _at_most_100(axes)
    metrics = points.drop_duplicates("column").set_index("column")["metric"]
    axes.set_xticks(range(len(columns)), [f"{column}\n{metrics[column]}" for column in columns])
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("% (axis does not start at 0)" if axes.get_ylim()[0] > 0 else "%")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: rows.index(labels[i]))
    axes.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        ncols=len(rows),
        loc="lower left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        fontsize=8,
        borderaxespad=0.2,
    )
    figure.tight_layout()


def _heatmaps(figure: Figure, points: pd.DataFrame, palette: Sequence[Any]) -> None:
    """A map per dataset (`dataset | scale` in the row's name): scale over fraction, each cell with its score."""
    import seaborn

    names = points["row"].str.split(" | ", regex=False, expand=True)
    datasets = list(dict.fromkeys(names[0]))
    columns = list(dict.fromkeys(points["column"]))
    figure.set_size_inches(max(6.6, 0.62 * len(columns) + 1.2), (0.36 * names[1].nunique() + 1.0) * len(datasets))
    for axes, dataset in zip(figure.subplots(len(datasets), 1, squeeze=False).flat, datasets, strict=True):
        cells = points[names[0] == dataset].assign(scale=names[1])
        table = 100 * cells.pivot(index="scale", columns="column", values="value").reindex(
            index=list(dict.fromkeys(cells["scale"])), columns=columns
        )
        sets = cells.groupby("scale")["sets"].max()
        table.index = [_tick(sets[name], name).strip() for name in table.index]
        axes.set_facecolor("#f1f2f4")
        if table.notna().any(axis=None):
            seaborn.heatmap(
                table,
                ax=axes,
                annot=True,
                fmt=".1f",
                annot_kws={"size": 7.5},
                cmap="cividis",
                linewidths=1,
                linecolor="white",
                cbar_kws={"label": f"{cells['metric'].iloc[0]}, %", "pad": 0.02},
            )
        for y, x in zip(*table.isna().to_numpy().nonzero(), strict=True):
            axes.text(x + 0.5, y + 0.5, "·", ha="center", va="center", color=FAINT)
        if not table.notna().any(axis=None):
            axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center", color=FAINT)
        axes.grid(visible=False)
        axes.set_title(dataset, loc="left")
        axes.set_xlabel("share of the fine-tuning data")
        axes.set_ylabel("distinct datasets in pre-finetuning")
        axes.tick_params(axis="both", length=0, rotation=0, labelsize=8)
    figure.tight_layout(h_pad=1.5)


def _at_most_100(axes: Axes) -> None:
    """No tick beyond what a score can be."""
    axes.set_ylim(top=min(axes.get_ylim()[1], 101))


def _tick(sets: float, name: str) -> str:
    """How many datasets (where no run says it, its name's); the last point's number stands a line lower, beside its
    neighbour's."""
    count, _, rest = name.replace(" sets", "").partition(" (")
    count = count if pd.isna(sets) else f"{sets:g}"
    return f"\n{count} ({rest}" if rest else count


def _whiskers(cells: pd.DataFrame) -> list[pd.Series] | None:
    """Lengths of the whiskers, points of a percent: the interval of the mean."""
    below, above = cells["value"] - cells["low"], cells["high"] - cells["value"]
    if below.isna().all():
        return None
    return [100 * below.fillna(0).clip(lower=0), 100 * above.fillna(0).clip(lower=0)]


def _stamp(inputs: Sequence[str], *files: Path) -> str:
    """SHA-256 of all that a drawing depends on (what is plotted, this file) and of the files that came of it."""
    digest = hashlib.sha256("\0".join(inputs).encode())
    for path in files:
        digest.update(path.read_bytes() if path.exists() else b"absent")
    return digest.hexdigest()


def _bytes(figure: Figure, kind: str, dpi: int = 200) -> bytes:
    """The figure in one format, free of dates and program versions."""
    clean = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}[kind]
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format=kind, metadata=clean, bbox_inches="tight", pad_inches=0.12, dpi=dpi)
    return buffer.getvalue()
