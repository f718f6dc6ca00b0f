"""Collecting 100, 1,000 and 10,000 results: cold (every file is read), and warm (the cache knows them all)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.common import ROUNDS, Bar, Clock, Report, clocked, hint, median
from muppet import paths, result, tasks
from muppet.result import Result, Score
from muppet.runs import Finetune, Recipe, facts, run_id

COUNTS = (100, 1_000, 10_000)
ITEMS = 1000  # evaluation examples of a run
PROFILE = "bench"


def make(count: int, start: int = 0) -> None:
    """Write the results of `count` fine-tunings as runs leave them: two scores with intervals, one with its items."""
    from studies.kit.ledger.folder import result_path

    random = np.random.default_rng(0)
    with mock.patch("os.fsync"):  # ten thousand flushes to disk are no part of collecting
        for seed in range(start, start + count):
            run = Finetune(
                init="roberta-base", task=tasks.get("rte"), recipe=Recipe(lr=1e-5, max_tokens=4400, epochs=3), seed=seed
            )
            items = (random.permutation(ITEMS) < 0.7 * ITEMS).astype(float).tolist()
            score = Score(value=0.7, n=ITEMS, low=0.67, high=0.73)
            whole = replace(score, items=result.pack_items(items))
            scores = {"rte/validation/accuracy": whole, "rte/held_out/accuracy": score}
            result.write(
                Result(
                    id=run_id(run),
                    facts=facts(run),
                    scores=scores,
                    data={"rte/train": {"rows": 2490, "fingerprint": "f" * 64, "found": "hub", "dropped": {}}},
                    training={
                        "updates": 500,
                        "first_loss": 1.0,
                        "last_loss": 0.5,
                        "datasets": {"rte": {"epochs": 3.0}},
                    },
                    cost={"seconds": 100.0, "tokens": 10**6, "flops": 1e15, "device": "cpu", "processes": 1},
                    environment={"python": "3.11", "packages": {}, "commit": "0" * 40, "dirty": False},
                ),
                result_path(PROFILE, run),
            )


@contextmanager
def scratch() -> Iterator[Path]:
    """A project folder of its own, with artifacts of its own."""
    with (
        tempfile.TemporaryDirectory() as name,
        chdir(name),
        mock.patch.dict(os.environ, MUPPET_ARTIFACTS=f"{name}/artifacts"),
    ):
        yield Path(name)


def collect(count: int) -> None:
    """Read the profile, and check that nothing is missing."""
    from studies.kit.ledger.results import read_all

    found = read_all(PROFILE)
    assert len(found.done) == count and not found.refused, (len(found.done), len(found.refused))


def measure(rounds: int = ROUNDS, counts: Sequence[int] = COUNTS) -> Report:
    """CPU and wall seconds for each number of results."""
    import studies.kit.ledger.results  # noqa: F401 - its import is startup's business

    rows: list[dict[str, Any]] = []
    found, size = {}, 0
    with scratch():
        for count in counts:
            made = len(list(Path("results").rglob("*.json"))) if Path("results").exists() else 0
            make(count - made, made)
            size = sum(file.stat().st_size for file in Path("results").rglob("*.json")) // count
            clocks: dict[str, list[Clock]] = {"cold": [], "warm": [], "one more": []}
            for number in range(rounds):
                shutil.rmtree(paths.cache(), ignore_errors=True)
                clocks["cold"].append(clocked(lambda: collect(count)))
                clocks["warm"].append(clocked(lambda: collect(count)))
                newest = max(Path("results").rglob("*.json"), key=lambda file: file.name)
                os.utime(newest, ns=(number, number))  # one result was written again
                clocks["one more"].append(clocked(lambda: collect(count)))
            hint(f"{count} results")
            found[count] = {state: median([c.wall for c in values]) for state, values in clocks.items()}
            rows += [
                {
                    "results": count,
                    "cache": state,
                    "CPU s": median([c.cpu for c in values]),
                    "wall s": found[count][state],
                    "ms per result": 1000 * median([c.cpu for c in values]) / count,
                }
                for state, values in clocks.items()
            ]
    most = max(counts)
    cpu = {(row["results"], row["cache"]): row["CPU s"] for row in rows}
    return Report(
        name="collect",
        rows=rows,
        settings={"bytes_per_result": size, "items": ITEMS, "rounds": rounds},
        bars=[
            Bar(
                what=f"CPU seconds for {most:,} results, {state}",
                bar=bar,
                at_least=False,
                measured=float(cpu[most, state]),
            )
            for state, bar in (("cold", 3.0), ("warm", 1.0))
        ],
        notes=["`one more`: the cache knows all files but one"],
    )
