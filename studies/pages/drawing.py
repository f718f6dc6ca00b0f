"""How each kind of figure is drawn from its points: curves, grouped bars and heat-maps, in one style, as bytes that are
the same wherever they are drawn: no dates, no machine's fonts, no random ids."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd

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
MARKERS = ("o", "s", "D", "^", "v")


@contextmanager
def style() -> Iterator[None]:
    """The library's defaults and STYLE, whatever the user's own settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def as_bytes(figure: Figure, kind: str, dpi: int = 200) -> bytes:
    """The figure in one format, free of dates and program versions."""
    clean = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}[kind]
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, metadata=clean, bbox_inches="tight", pad_inches=0.12, dpi=dpi)
    return buffer.getvalue()


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
            above = cells["value"].iloc[-1] > base["value"].iloc[0]  # the curve's end: the words go below the line
            axes.annotate(
                "no pre-finetuning",
                (1, 100 * base["value"].iloc[0]),
                xycoords=("axes fraction", "data"),
                xytext=(0, -3 if above else 3),
                textcoords="offset points",
                ha="right",
                va="top" if above else "bottom",
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
        ncols=2,  # beside each other they would be wider than the bars
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


KINDS = {"curve": _curves, "bars": _bars, "heatmap": _heatmaps}
