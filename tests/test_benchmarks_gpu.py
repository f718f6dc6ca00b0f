"""The benchmarks for a GPU, tried on a CPU: their ways, a stay's stages, and what a forward launches."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import gpu, launches
from muppet.training.trainer import Trainer
from tests.core import SMALL, artifacts, shared_artifacts  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, and measuring takes minutes")
def test_without_a_gpu_the_gpu_benchmark_says_so_and_writes_nothing(tmp_path, capsys):
    assert command.run(["gpu"], tmp_path) == 0
    assert "no GPU here" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_the_gpu_benchmark_runs_all_its_ways(artifacts):  # noqa: F811
    tiny = {"tiny": (1, 32, 2)}
    report = gpu.measure(1, "cpu", tiny, (300, 600), replace(SMALL, sub_batches=2), ("sst2", "squad"), compiled=False)
    assert report is not None and not [row for row in report.rows if "failed" in row]
    assert all(row["real tokens / s"] > 0 and row["MFU"] > 0 for row in report.rows)
    rows = {row["way"]: row for row in report.rows}
    for size in (300, 600):
        assert rows[f"packed, {size}"]["tokens / forward"] <= rows[f"packed, {size}"]["at most"] == size
    for name, batches in ((gpu.TRAINER, 1), ("fairseq's batches", 2), ("buckets", 2)):  # each is one forward
        assert rows[name]["real tokens / update"] == pytest.approx(batches * rows[name]["tokens / forward"]), name
    fp32, bf16 = (bar for bar in report.bars if "gradient of" in bar.what)
    assert fp32.met and bf16.met and 1e-5 < bf16.bar < 0.1


def test_a_way_that_fails_is_named_and_what_was_measured_is_on_disk(artifacts, tmp_path, monkeypatch):  # noqa: F811
    tiny, update = {"base": (1, 32, 2)}, Trainer.update
    seen = []

    def some(self):
        seen.append(json.loads((tmp_path / "gpu.json").read_text())["rows"] if (tmp_path / "gpu.json").exists() else [])
        if self.device.micro_tokens == 600:
            raise RuntimeError("out of memory\nmore")
        return update(self)

    monkeypatch.setattr(Trainer, "update", some)
    small = replace(SMALL, sub_batches=2)
    report = gpu.measure(1, "cpu", tiny, (300, 600), small, ("sst2",), compiled=False, folder=tmp_path)
    assert report is not None
    failed = {row["way"]: row.get("failed") for row in report.rows}
    assert failed["packed, 600"] == "RuntimeError: out of memory" and failed["packed, 300"] is None
    assert [len(rows) for rows in seen] == sorted(len(rows) for rows in seen) and len(seen[-1]) >= len(report.rows) - 1
    hours = next(bar for bar in report.bars if "hours" in bar.what)
    assert hours.measured and hours.measured > 0


def test_when_the_time_is_up_no_further_way_is_begun(artifacts, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Trainer, "update", lambda self: pytest.fail("a way was begun"))
    report = gpu.measure(1, "cpu", {"tiny": (1, 32, 2)}, (300,), SMALL, ("sst2",), compiled=True, minutes=-1)
    assert report is not None and {row["failed"] for row in report.rows} == {"not measured: the time was up"}
    assert "packed, 300, compiled" in [row["way"] for row in report.rows]


def test_what_decides_a_bar_comes_first_and_only_the_compiled_way_compiles(artifacts, monkeypatch):  # noqa: F811
    begun = []

    def row(name, way, model, *_):
        begun.append((model.width, name, way))
        return {"way": name, "failed": "not tried"}

    monkeypatch.setattr(gpu, "row", row)
    shapes = {"small": (1, 32, 2), "wide": (1, 64, 2)}
    report = gpu.measure(1, "cpu", shapes, (300, 600), replace(SMALL, sub_batches=2), ("sst2",))
    first = ["packed, 600", "packed, 600, R3F", gpu.TRAINER]
    assert [(width, name) for width, name, _ in begun[:8]] == [
        *((32, name) for name in first),
        *((64, name) for name in first),
        (32, "packed, 600, compiled"),
        (64, "packed, 600, compiled"),
    ]
    assert all(way.device.compile is name.endswith("compiled") for _, name, way in begun)
    assert [row["model"] for row in report.rows] == ["small"] * 8 + ["wide"] * 8 and len(begun) == 16


@pytest.mark.parametrize("minutes", ["30", "0"])
def test_every_stage_of_a_stay_on_a_gpu_is_tried_on_a_cpu(minutes, tmp_path):
    """In a folder of its own: what the stages write does not go among the committed results."""
    for name in ("muppet", "studies", "benchmarks", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "paper_tables" / "reference", tmp_path / "paper_tables" / "reference")
    env = os.environ | {"DEVICE": "cpu", "PYTHON": sys.executable, "JOBS": "1", "ONLY": "RoBERTa-B/RTE", "STRETCH": "5"}
    env |= {"OMP_NUM_THREADS": "1", "MUPPET_ARTIFACTS": str(tmp_path / "artifacts"), "STUDY": "table3"}
    command = ["bash", str(tmp_path / "benchmarks" / "gpu_stay.sh"), minutes, str(tmp_path / "out")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1500, check=False)
    lines = (tmp_path / "out" / "stages.txt").read_text().splitlines()
    stages = {line.split(":")[0]: line.split(": ")[1].split(" after")[0] for line in lines[:-1]}
    names = ["versions", "gates", "prefinetune", "finetune", "predict", "attention", "bench", "profile", "table3"]
    logs = {name: (tmp_path / "out" / f"{name}.log").read_text()[-2000:] for name in names if minutes != "0"}
    assert stages == dict.fromkeys(names, "not begun, the time is up" if minutes == "0" else "exit 0"), (
        logs,
        done.stderr,
    )
    if minutes != "0":
        assert json.loads((tmp_path / "out" / "gpu.json").read_text())["rows"]
        with tarfile.open(tmp_path / "out" / "stay.tar.gz") as packed:
            kept = packed.getnames()
        assert {"stages.txt", "gpu.json", *(f"{name}.log" for name in names)} <= set(kept)
        assert any(name.startswith("results/smoke/finetune/") for name in kept) and "artifacts" not in str(kept)
        assert "MISS" not in logs["gates"] and list((tmp_path / "results" / "smoke" / "finetune").glob("*.json"))


def test_counted_launches_are_those_of_the_layers():
    """Three products for query, key and value, one behind attention, two of the feed-forward block, in each layer."""
    one, two = (launches.measure(1, (layers, 16, 2)) for layers in (1, 2))
    for less, more in zip(one.rows, two.rows, strict=True):
        assert 6 < more["operations forward"] - less["operations forward"] < 60
        assert more["CPU ms forward"] > 0 and more["CPU ms backward"] > 0
    assert all(bar.met for bar in two.bars)
