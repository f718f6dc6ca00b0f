"""Fixtures that several files share: a SLURM cluster, and grids of runs on it; and a guard around every test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.slurm_cluster import Cluster
from tests.slurm_grid import Grid

# Expected numbers hold on every machine: a CPU with bf16 instructions would else use them. Child processes inherit it.
os.environ["MUPPET_PRECISION"] = "fp32"

# Properties are tried on the same inputs in every run, so that a red suite is the change's own fault;
# HYPOTHESIS_PROFILE=search draws others.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


# Files that take minutes, longest first: begun last, one of them alone would keep the suite waiting.
LONG = ("slurm_table3", "slurm_cluster", "slurm_faults", "benchmarks", "paper_size", "slurm_limits", "worker", "make")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first; the rest as collected."""
    order = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True)
def same_folder() -> Iterator[None]:
    """A test that leaves another working directory behind fails itself, and not one that comes after it."""
    before = os.getcwd()
    yield
    after = os.getcwd()
    os.chdir(before)
    assert after == before


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty, with artifacts of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    return tmp_path


@pytest.fixture
def never_trained(monkeypatch):
    """Whatever is refused is refused before the first step."""
    monkeypatch.setattr("muppet.training.trainer.Trainer.update", lambda *_: pytest.fail("an update was made"))


@pytest.fixture(scope="module")
def token_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts that the tests of one file share."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def token_artifacts(token_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`$MUPPET_ARTIFACTS` is `token_folder`; no mirror."""
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(token_folder))
    monkeypatch.delenv("MUPPET_HUB", raising=False)


@pytest.fixture(scope="module")
def tokenizers(token_folder: Path) -> dict[str, Any]:
    """By kind: of two tiny models, and one of sentence pieces."""
    from transformers import AutoTokenizer

    from muppet.synthetic import models
    from tests.tokenized import sentence_pieces

    os.environ["MUPPET_ARTIFACTS"] = str(token_folder)
    made = {kind: AutoTokenizer.from_pretrained(models.folder(f"tiny/{kind}")) for kind in ("roberta", "bert")}
    return made | {"pieces": sentence_pieces()}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes of two CPUs; arrays of at most three elements."""
    with Cluster(root=tmp_path_factory.mktemp("cluster"), nodes=3, max_array=3, grace=20) as started:
        yield started


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """The grid run by the local launcher, without interruption: what the cluster must arrive at."""
    made = Grid(folder=tmp_path_factory.mktemp("local") / "grid", cluster=None, plain=True)
    made.run("ablations", "--jobs", "2")
    return made


@pytest.fixture
def grid(cluster: Cluster, local: Grid, tmp_path: Path) -> Iterator[Callable[..., Grid]]:
    """Makes a grid; what it leaves in the queue is cancelled."""
    made: list[Grid] = []

    def make(**options: Any) -> Grid:
        like = None if "artefact" in options else local
        made.append(Grid(folder=tmp_path / str(len(made)), cluster=cluster, like=like, **options))
        return made[-1]

    yield make
    left = [job for one in made for job, state in one.queue().items() if state in ("PENDING", "RUNNING")]
    if left:
        cluster.run("scancel", *left, check=False)
