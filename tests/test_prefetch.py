"""Fetching for sealed jobs: what is needed, a manifest with digests, and refusing at submission."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muppet.errors import UserError
from muppet.runs import Finetune, Prefinetune, Recipe
from muppet.synthetic import models as tiny
from muppet.synthetic import twins
from muppet.tasks import get
from studies.kit.fetch import needs, prefetch
from studies.kit.launch.slurm import snapshot

RECIPE = Recipe(lr=1e-3, max_tokens=256, max_length=64, updates=2, sub_batches=2)
MODEL = "someone/small"
PARENT = Prefinetune(model=MODEL, tasks=(get("rte"), get("cola")), recipe=RECIPE, train_rows=20)
CHILD = Finetune(init=PARENT, task=get("rte"), recipe=RECIPE, held_out=0.1, train_rows=20, evaluation_rows=10)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the Hub's layout with one small model and the splits of two tasks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    root = tmp_path / "mirror"
    shutil.copytree(tiny.folder("tiny/roberta"), root / "models" / MODEL)
    for name in ("rte", "cola"):
        task = get(name)
        for split in ("train", *task.evaluation):
            path = root / task.path / (task.config or "") / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(twins.rows(task, split, 40)), path)
    monkeypatch.setenv("MUPPET_HUB", str(root))
    return root


def test_needs_are_the_models_and_splits_that_runs_open() -> None:
    assert needs.models([PARENT, CHILD, replace(CHILD, init="tiny/roberta")]) == [MODEL]
    needed = {(s.task.name, s.split, s.cap, s.evaluation) for s in needs.splits([PARENT, CHILD])}
    assert needed == {
        ("rte", "train", 20, False),
        ("cola", "train", 20, False),
        ("rte", "train", 20, True),
        ("rte", "validation", 10, True),
    }
    assert needs.splits([replace(CHILD, source="twins")]) == []


def test_what_was_fetched_serves_without_the_mirror_and_is_not_fetched_again(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prefetch.fetch([PARENT, CHILD], "mini") == 0
    manifest = needs.manifest("mini")
    assert f"models/{MODEL}/model.safetensors" in manifest
    assert {name for name in manifest if name.endswith(".parquet")} == {
        "nyu-mll/glue/rte/train.parquet",
        "nyu-mll/glue/rte/validation.parquet",
        "nyu-mll/glue/cola/train.parquet",
    }
    assert all(prefetch.digest_of(needs.folder() / name) == digest for name, digest in manifest.items())
    caches = sorted(path.name for path in (Path("artifacts") / "cache").iterdir())
    assert len(caches) == 4
    shutil.rmtree(mirror)
    monkeypatch.delenv("MUPPET_HUB")
    needs.require([PARENT, CHILD], "mini")
    stamps = {name: (needs.folder() / name).stat().st_mtime_ns for name in manifest}
    assert prefetch.fetch([PARENT, CHILD], "mini") == 0
    assert stamps == {name: (needs.folder() / name).stat().st_mtime_ns for name in manifest}
    assert caches == sorted(path.name for path in (Path("artifacts") / "cache").iterdir())
    variables = snapshot.environment(Path("code"), "mini", sealed=True)
    assert variables["MUPPET_HUB"] == str(needs.folder()) and variables["HF_HUB_OFFLINE"] == "1"


def test_a_damaged_file_is_refused_at_submission_and_fetched_again(mirror: Path) -> None:
    assert prefetch.fetch([PARENT], "mini") == 0
    victim = needs.folder() / "nyu-mll/glue/rte/train.parquet"
    victim.write_bytes(b"short")
    with pytest.raises(UserError, match="rte/train.parquet.*make prefetch PROFILE=mini"):
        needs.require([PARENT], "mini")
    assert prefetch.fetch([PARENT], "mini") == 0
    needs.require([PARENT], "mini")


def test_what_is_missing_is_named_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    monkeypatch.delenv("MUPPET_HUB", raising=False)
    with pytest.raises(UserError) as told:
        needs.require([PARENT, CHILD], "mini")
    assert f"model {MODEL}" in str(told.value) and "dataset nyu-mll/glue/cola/train" in str(told.value)
    assert "make prefetch PROFILE=mini" in str(told.value) and "sealed = false" in str(told.value)
    needs.require([replace(CHILD, init="tiny/roberta", source="twins")], "smoke")


def test_what_cannot_be_had_is_named_and_the_rest_is_kept(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    absent = replace(PARENT, tasks=(get("rte"), get("imdb")))
    assert prefetch.fetch([absent], "mini") == 1
    assert "not fetched: " in (said := capsys.readouterr().out) and "imdb" in said
    assert "nyu-mll/glue/rte/train.parquet" in needs.manifest("mini")


def test_nothing_to_fetch_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert prefetch.fetch([replace(CHILD, init="tiny/roberta", source="twins")], "smoke") == 0
    assert "needs nothing from outside" in capsys.readouterr().out


def test_a_manifest_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    path = needs.folder() / "manifest-mini.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"files": 3}))
    with pytest.raises(UserError, match="manifest-mini.json: not a manifest"):
        needs.manifest("mini")
