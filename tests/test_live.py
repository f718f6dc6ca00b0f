"""What a training says while it goes on: lines of JSON always, TensorBoard's files where it is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from muppet.runs import Prefinetune, Recipe, run_id
from muppet.runtime.live import live
from muppet.stages.prefinetune import prefinetune
from muppet.tasks import get
from muppet.training.meter import Meter
from muppet.training.trainer import learning_rate

RECIPE = Recipe(lr=1e-3, max_tokens=256, max_length=64, updates=6, warmup_updates=2, sub_batches=4)
RUN = Prefinetune(model="tiny/roberta", tasks=(get("rte"), get("cola")), recipe=RECIPE, source="twins", train_rows=32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    return tmp_path / "runs" / run_id(RUN)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_training_leaves_lines_and_they_say_what_was_trained(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 3))  # each look at the clock is three seconds later: a line for every update
    monkeypatch.setattr("muppet.training.train.time.monotonic", lambda: float(next(clock)))
    counted: list[tuple[Sequence[float], Sequence[int]]] = []  # by update: scaled losses and units of each dataset
    add = Meter.add
    monkeypatch.setattr(Meter, "add", lambda self, step, *sums: (counted.append(sums), add(self, step, *sums)))
    told: list[dict[str, Any]] = []
    prefinetune(RUN, progress=told.append)
    rows = lines(folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in rows] == [one["loss"] for one in told]
    assert [row["learning_rate"] for row in rows] == [learning_rate(RECIPE, 6, step) for step in range(6)]
    assert all(set(row["losses"]) <= {"rte", "cola"} and row["tokens_per_second"] > 0 for row in rows)
    assert {name for row in rows for name in row["losses"]} == {"rte", "cola"}
    for row, (losses, units) in zip(rows, counted, strict=True):
        means = {name: loss / n for name, loss, n in zip(("rte", "cola"), losses, units, strict=True) if n}
        assert row["losses"] == pytest.approx(means, abs=1e-6)


def test_what_is_watched_changes_nothing_and_what_cannot_be_written_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = prefinetune(RUN).training
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").mkdir()  # so that no line can be written

    def broken(*_: object) -> None:
        raise RuntimeError("a broken installation")

    monkeypatch.setattr("muppet.runtime.live._board", broken)
    assert prefinetune(RUN).training == before


def test_tensorboard_s_writer_gets_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            assert (folder, purge_step) == (str(tmp_path / "tensorboard"), 5)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            seen.append((name, value, step))

        def close(self) -> None:
            seen.append(("closed", 0.0, 0))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with live(tmp_path, 4) as rows:
        rows.put({"step": 5, "loss": 0.5, "losses": {"rte": 0.25}})
    assert seen == [("loss", 0.5, 5), ("losses/rte", 0.25, 5), ("closed", 0.0, 0)]


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install '.[watch]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first in (0, 2):  # the second attempt goes on from step 2: what was written of step 3 is forgotten
        with live(tmp_path, first) as rows:
            for step in range(first + 1, 4):
                rows.put({"step": step, "loss": first + step, "losses": {"rte": 1.0}})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 1.0), (2, 2.0), (3, 5.0)]
    assert "losses/rte" in events.Tags()["scalars"]
