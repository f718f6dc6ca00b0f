"""What the tests of the training core share: in-memory data of any shape, and tiny trainings on the twins."""

from __future__ import annotations

import dataclasses
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from muppet import tasks
from muppet.families.encoded import Encoded
from muppet.runs import Prefinetune, Recipe
from muppet.tasks.task import Generation, Task

settings.register_profile("core", deadline=None)  # the first example pays for imports
settings.load_profile("core")
ROWS = 40  # of each twin dataset
SMALL = Recipe(lr=1e-4, max_tokens=330, updates=100, max_length=64, sub_batches=4)  # of the benchmarks


@pytest.fixture(scope="session")
def shared_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny models and token caches are built once per test session."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def artifacts(shared_artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """`$MUPPET_ARTIFACTS` set, no mirror, no network."""
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(shared_artifacts))
    monkeypatch.delenv("MUPPET_HUB", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield shared_artifacts


def small(name: str) -> Task:
    """A task whose summaries are short."""
    task = tasks.get(name)
    if task.family != "summarization":
        return task
    return dataclasses.replace(task, generation=Generation(beams=2, max_tokens=12))


def recipe(**changes: Any) -> Recipe:
    """A recipe of few and small updates."""
    plain: dict[str, Any] = {"lr": 1e-3, "updates": 4, "max_length": 64, "sub_batches": 8}
    if "max_examples" not in changes:
        plain["max_tokens"] = 256
    return Recipe(**(plain | changes))


def mixture(names: str, model: str = "tiny/roberta", *, rows: int = ROWS, seed: int = 0, **changes: Any) -> Prefinetune:
    """A pre-finetuning on the twins of the datasets in `names`."""
    chosen = tuple(small(name) for name in names.split())
    return Prefinetune(model=model, tasks=chosen, recipe=recipe(**changes), seed=seed, source="twins", train_rows=rows)


def make_trainer(run: Prefinetune, device: Any = None) -> Any:
    """The trainer of a pre-finetuning, before its first update."""
    from muppet.runtime.device import Device
    from muppet.runtime.rank import Processes
    from muppet.stages import opening
    from muppet.training.trainer import Trainer

    model = opening.load(run.model, run.recipe, run.seed)
    here, parts, specs = Processes(), [], []
    for task in run.tasks:
        encoded = opening.open_split(run, task, "train", model, here, cap=run.train_rows, evaluation=False)
        parts.append(opening.training_part(encoded, opening.subset(encoded)[0]))
        specs.append(opening.make_spec(task, encoded, run.recipe.heads))
    opening.add_missing_heads(model, specs, run.seed)
    return Trainer(model, parts, specs, run.recipe, run.seed, device or Device(), here)


def encoded(lengths: Sequence[Sequence[int]], name: str = "mrpc") -> Encoded:
    """In-memory data: a unit per entry, its rows of these lengths."""
    rows = [length for unit in lengths for length in unit]
    offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
    counts = [len(unit) for unit in lengths]
    return Encoded(
        task=tasks.get(name),
        split="train",
        fingerprint="f",
        found="twins",
        total=len(lengths),
        dropped={},
        notes={},
        n_examples=len(lengths),
        folder=Path("."),
        tokens=np.full(int(offsets[-1]), 9, np.uint16),
        offsets=offsets,
        second=np.array(rows, np.int32),
        unit_rows=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        unit_example=np.arange(len(lengths), dtype=np.int32),
        labels=np.zeros(len(lengths), np.int64),
    )


def launch(count: int, *arguments: str, last: Sequence[str] | None = None) -> list[subprocess.Popen[str]]:
    """Start `python -m tests.core_process …` as `count` processes of one run; `last` is for the last one alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(count):
        env = dict(os.environ, OMP_NUM_THREADS="1", MUPPET_DEVICE="cpu")
        if count > 1:
            env |= {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        given = arguments if last is None or rank < count - 1 else last
        command = [sys.executable, "-m", "tests.core_process", *given]
        started.append(
            subprocess.Popen(
                command,
                env=env,
                cwd=Path(__file__).parents[1],
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
    return started


def finish(started: Sequence[subprocess.Popen[str]], timeout: float = 900) -> list[tuple[int, str, str]]:
    """Wait for all processes → (exit code, stdout, stderr) of each; none is left behind."""
    try:
        found = [process.communicate(timeout=timeout) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
    return [(process.returncode, out, err) for process, (out, err) in zip(started, found)]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Inside, no file of this process can be longer: whatever writes one fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
