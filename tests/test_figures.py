"""Figures: the plotted data are the cells, what is missing is said, and the same cells give the same bytes."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from muppet.runs import parent
from muppet.tasks import COPIES
from studies.kit.load import load_studies
from studies.kit.study import Cell, Study
from studies.pages import figures

SCALES = (0, 10, 16, 40)


@pytest.fixture(autouse=True)
def artifacts(tmp_path, monkeypatch):
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))


CURVE = Study(
    name="figure1",
    title="Scores over scale",
    kind="curve",
    cells=tuple(Cell(row=row, column=f"{k} sets", x=k) for row in ("RTE", "BoolQ") for k in SCALES),
)
BARS = Study(
    name="figure2",
    title="Batching",
    kind="bars",
    cells=tuple(
        Cell(row=row, column=column, x=x)
        for row, x in (("RoBERTa-B", 0), ("heterogeneous", 35), ("homogeneous", 35))
        for column in ("RTE", "BoolQ")
    ),
)
HEATMAP = Study(
    name="figure3",
    title="Data",
    kind="heatmap",
    cells=tuple(
        Cell(row=f"{task} | {k}", column=f"{f} %", x=f / 100)
        for task in ("QNLI", "CoLA")
        for k in SCALES
        for f in (10, 55, 100)
    ),
)


def frame(study: Study, measured: int | None = None) -> pd.DataFrame:
    """Cells as `collect.cells_frame` gives them, the first `measured` of them with values that differ."""
    rows = []
    for i, cell in enumerate(study.cells):
        there = measured is None or i < measured
        value = round(0.5 + 0.01 * i, 4)
        rows.append(
            {"study": study.name, "row": cell.row, "column": cell.column, "metric": cell.metric, "protocol": "paper"}
            | {"state": "measured" if there else "pending", "seeds_done": 5 * there, "seeds_total": 5, "paper": None}
            | {"machine": "bf16, cpu" if there else ""}
            | {"value": value if there else None, "n": 277 if there else None, "difference": None}
            | {name: value + step if there else None for name, step in STEPS.items()}
        )
    return pd.DataFrame(rows)


STEPS = {"low": -0.03, "high": 0.03}


def drawn(study: Study, profile: str, cells: pd.DataFrame) -> Figure:
    points = figures.plotted(study, cells)
    return figures.draw(study, profile, points, figures.note(study, profile, points))


@pytest.mark.parametrize("study", [CURVE, BARS, HEATMAP], ids=lambda study: study.kind)
@pytest.mark.parametrize("measured", [0, 1, None])
def test_every_kind_renders_with_none_one_some_and_all_points(
    study: Study, measured: int | None, tmp_path: Path
) -> None:
    paths = figures.render(study, "smoke", frame(study, measured), tmp_path)
    assert [path.name for path in paths] == [f"{study.name}.{ending}" for ending in ("pdf", "png", "csv")]
    assert paths[0].read_bytes().startswith(b"%PDF") and paths[1].read_bytes().startswith(b"\x89PNG")
    assert not [path for path in tmp_path.rglob(".*")], "no temporary file is left"


def test_same_cells_give_same_bytes_whatever_the_order_and_the_settings(tmp_path: Path) -> None:
    import matplotlib

    cells = frame(BARS, 4)
    first = [path.read_bytes() for path in figures.render(BARS, "smoke", cells, tmp_path / "a")]
    with matplotlib.rc_context({"font.family": "serif", "axes.facecolor": "red"}):
        second = [
            path.read_bytes()
            for path in figures.render(BARS, "smoke", cells.sample(frac=1, random_state=3), tmp_path / "b")
        ]
    assert first == second
    changed = cells.assign(value=cells["value"] + 0.1)
    assert figures.render(BARS, "smoke", changed, tmp_path / "c")[1].read_bytes() != first[1]


def test_plotted_data_stand_in_the_csv(tmp_path: Path) -> None:
    table = pd.read_csv(figures.render(HEATMAP, "smoke", frame(HEATMAP, 5), tmp_path)[2])
    assert list(table.columns) == list(figures.CSV_COLUMNS)
    assert list(zip(table["row"], table["column"])) == [(cell.row, cell.column) for cell in HEATMAP.cells]
    assert table["value"].notna().sum() == 5 and table["value"].iloc[4] == 0.54 and table["x"].iloc[1] == 0.55


def test_what_is_missing_is_named_by_state() -> None:
    cells = frame(CURVE, 5)
    cells.loc[7, "state"] = "failed"
    text = figures.missing(figures.plotted(CURVE, cells)).replace(figures.NO_BREAK, " ")
    assert text == "5 of 8 points measured. failed: BoolQ (40 sets). pending: BoolQ (10 sets, 16 sets)."
    assert figures.missing(figures.plotted(CURVE, frame(CURVE))) == ""
    cells = frame(CURVE)
    cells.loc[:1, "seeds_done"] = [1, 4]
    text = figures.missing(figures.plotted(CURVE, cells))
    assert text == "8 of 8 points measured, 2 of them from fewer runs than declared."


def test_the_figure_shows_the_measured_values_and_the_base(tmp_path: Path) -> None:
    figure = drawn(CURVE, "smoke", frame(CURVE))
    panel = figure.axes[1]
    curve = next(line for line in panel.lines if len(line.get_xdata()) == len(SCALES))
    assert list(curve.get_xdata()) == list(SCALES) and list(curve.get_ydata()) == pytest.approx([54, 55, 56, 57])
    assert any(list(line.get_ydata()) == pytest.approx([54, 54]) for line in panel.lines), "the base model's line"


def test_nothing_is_drawn_through_a_point_that_is_not_measured_and_what_the_profile_lacks_is_not_drawn() -> None:
    cells = frame(CURVE)
    cells.loc[1, ["state", "value", "low", "high"]] = ["pending", None, None, None]
    cells.loc[2, ["state", "value", "low", "high"]] = ["not in this profile", None, None, None]
    panel = drawn(CURVE, "smoke", cells).axes[0]
    line = next(one for one in panel.lines if len(one.get_xdata()) == 3)
    assert list(line.get_xdata()) == [0, 10, 40] and [math.isnan(y) for y in line.get_ydata()] == [False, True, False]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["0", "10", "40"]
    text = figures.missing(figures.plotted(CURVE, cells)).replace(figures.NO_BREAK, " ")
    rest = "not in this profile, or not distinguishable there: 1 of the points."
    assert text == f"6 of 7 points measured. pending: RTE (10 sets). {rest}"


def test_a_point_is_labelled_by_the_datasets_that_it_holds_and_no_whisker_leaves_the_range() -> None:
    study = load_studies("mini", ["figure3"])["figure3"]
    cells = frame(study).assign(high=1.7, low=-0.3)
    points = figures.plotted(study, cells)
    assert points["high"].max() == 1 and points["low"].min() == 0
    for cell, (_, line) in zip(study.cells, points.iterrows(), strict=True):
        start = parent(cell.runs[0]) if cell.runs else None
        held = {COPIES.get(task.name, task.name) for task in start.tasks} if start else set()
        assert line["sets"] == len(held) or not cell.runs
    cells.loc[[not cell.runs for cell in study.cells], "state"] = "not in this profile"
    panel = drawn(study, "mini", cells).axes[0]
    labels = [text.get_text() for text in panel.get_yticklabels()]
    assert labels == [f"{sets:g}" for sets in dict.fromkeys(points["sets"].dropna())]
    whole = load_studies("smoke", ["figure3"])["figure3"]  # 40 entries and 38 are the same number of datasets
    panel = drawn(whole, "smoke", frame(whole)).axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()][-2:] == ["38", "38 (each once)"]


def test_bars_state_why_they_are_absent() -> None:
    texts = {text.get_text() for text in drawn(BARS, "smoke", frame(BARS, 4)).axes[0].texts}
    assert texts == {"pending"}


@pytest.mark.parametrize("profile, said", [("mini", True), ("paper", False)])
def test_a_figure_of_another_model_names_it(profile: str, said: bool) -> None:
    notes = [text.get_text() for text in drawn(BARS, profile, frame(BARS)).texts]
    assert ("all-MiniLM-L6-v2 in RoBERTa-base's place" in " ".join(notes).replace("\n", " ")) == said


def test_shares_of_the_data_that_a_training_is_too_short_for_are_named() -> None:
    """At mini 150 updates of 16 go through 2,400 rows of QNLI, which 55 % of 5,000 has; CoLA's go through all."""
    said = figures.exhausted(load_studies("mini", ["figure3"])["figure3"])
    assert said == "A training on QNLI ends after 2,400 rows, which 55\u00a0% of the data has: larger shares add none."
    assert figures.exhausted(load_studies("paper", ["figure3"])["figure3"]) == ""  # epochs


def test_a_figure_is_drawn_again_when_what_it_shows_has_changed_and_only_then(tmp_path, monkeypatch):
    drawn = []
    draw = figures.draw
    monkeypatch.setattr(figures, "draw", lambda *given: drawn.append(1) or draw(*given))
    paths = figures.render(BARS, "smoke", frame(BARS), root=tmp_path)
    first = [path.read_bytes() for path in paths]
    figures.render(BARS, "smoke", frame(BARS), root=tmp_path)
    assert len(drawn) == 1 and [path.read_bytes() for path in paths] == first
    figures.render(BARS, "smoke", frame(BARS, measured=4), root=tmp_path)
    assert len(drawn) == 2 and [path.read_bytes() for path in paths] != first
    paths[0].write_bytes(b"%PDF cut off")
    figures.render(BARS, "smoke", frame(BARS), root=tmp_path)
    assert len(drawn) == 3 and [path.read_bytes() for path in paths] == first
    monkeypatch.setattr(figures, "note", lambda *_: "the profile is now captioned otherwise")
    figures.render(BARS, "smoke", frame(BARS), root=tmp_path)
    assert len(drawn) == 4 and [path.read_bytes() for path in paths] != first


def test_two_may_draw_one_figure_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "draw", lambda *_: None)
    monkeypatch.setattr(figures.drawing, "as_bytes", lambda *_: b"x" * 100_000)

    def often(_: int) -> None:
        for _ in range(10):
            (tmp_path / "artifacts" / "cache" / "drawn-smoke-figure1.txt").unlink(missing_ok=True)
            figures.render(CURVE, "smoke", frame(CURVE), tmp_path)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(often, range(4)))
    assert (tmp_path / "smoke" / "figure1.png").read_bytes() == b"x" * 100_000
    assert sorted(path.name for path in (tmp_path / "smoke").iterdir()) == ["figure1.csv", "figure1.pdf", "figure1.png"]
