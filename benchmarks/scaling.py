"""Time per update on 1 and 2 processes; peak memory against model, budget and number of datasets."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Bar, Report, hint, median
from benchmarks.mixture import artifacts, minilm, mixture, source
from muppet import paths, tasks
from muppet.errors import UserError
from muppet.families.encoded import Part

ROOT = Path(__file__).parents[1]
FULL = 4_800_000  # examples of the paper's mixture (§3.2)


def launch(task: dict[str, Any], processes: int = 1) -> list[dict[str, Any]]:
    """Run `python -m benchmarks.scaling` as one run of some processes → what each of them found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(processes):
        env = os.environ | {"OMP_NUM_THREADS": "1", "MUPPET_DEVICE": "cpu", "PYTHONPATH": str(ROOT)}
        if processes > 1:
            env |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}
            env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-m", "benchmarks.scaling", json.dumps(task)]
        started.append(subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    try:
        done = [process.communicate(timeout=3600) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
    for process, (_, said) in zip(started, done, strict=True):
        if process.returncode:
            raise UserError(f"a process of the benchmark failed: {said.strip()[-400:]}")
    return [json.loads(out.strip().splitlines()[-1]) for out, _ in done]


def train(task: dict[str, Any]) -> dict[str, Any]:
    """Inside a process: some updates → seconds of each, tokens, peak memory."""
    import torch

    from muppet.model.multitask import MultiTask
    from muppet.runs import Recipe
    from muppet.runtime.device import Device
    from muppet.runtime.distributed import join
    from muppet.training.trainer import Trainer

    torch.set_num_threads(1)
    recipe = Recipe(
        lr=1e-5,
        max_tokens=task["max_tokens"],
        updates=100,
        max_length=task["max_length"],
        sub_batches=task["sub_batches"],
    )
    imported = _rss()
    here = join("cpu")
    model = minilm(task["layers"]) if task["model"] == "minilm" else MultiTask.load(task["model"])
    mixed = mixture(model, recipe, task["datasets"], rows=task["rows"], twins=True)
    parts = (
        [enlarged(part, task["examples"] // len(mixed.parts)) for part in mixed.parts]
        if task.get("examples")
        else mixed.parts
    )
    device = Device(packed=task.get("packed"), gradient_checkpointing=task.get("checkpointing", False))
    trainer = Trainer(model, parts, mixed.specs, recipe, 0, device, here)
    before, walls, cpus = _rss(), [], []
    for _ in range(task["updates"]):
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.update()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {
        "wall": walls,
        "cpu": cpus,
        "imported": imported,
        "ready": before,
        "peak": _rss(),
        "datasets": len(parts),
        "examples": sum(len(part.units) for part in parts),
        "found": mixed.note,
        "tokens": trainer.meter.counts["real_tokens"] / trainer.step,
        "digest": _digest(model),
    }


def _rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _digest(model: Any) -> float:
    return float(sum(p.detach().double().abs().sum() for p in model.backbone.parameters()))


def enlarged(part: Part, examples: int) -> Part:
    """The dataset at another size: its own rows again and again, in files of their own that are mapped like any cache."""
    encoded = part.encoded
    times = max(1, examples // encoded.n_examples)
    folder = paths.cache() / f"enlarged-{part.name}-{encoded.fingerprint[:12]}-{times}"
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, values: np.ndarray) -> None:
        np.save(folder / f"{name}.npy", values)
        arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r")

    shift = np.arange(times)
    keep("tokens", np.tile(encoded.tokens, times))
    for name, total in (("offsets", len(encoded.tokens)), ("unit_rows", len(encoded.second))):
        bounds = getattr(encoded, name)[1:]
        keep(name, np.concatenate([[0], (bounds[None] + shift[:, None] * total).ravel()]))
    keep("unit_example", (encoded.unit_example[None] + shift[:, None] * encoded.n_examples).ravel().astype(np.int32))
    for name in ("second", "labels", "spans", "context"):
        if getattr(encoded, name) is not None:
            values = np.asarray(getattr(encoded, name))
            keep(name, np.tile(values, (times,) + (1,) * (values.ndim - 1)))
    larger = replace(
        encoded, n_examples=encoded.n_examples * times, total=encoded.n_examples * times, folder=folder, **arrays
    )
    return Part(encoded=larger, units=np.arange(len(larger.unit_rows) - 1))


def forty() -> list[str]:
    """40 datasets over the three encoder families."""
    fitting = ("classification", "regression", "commonsense", "span")
    return [name for name, task in tasks.ALL.items() if task.family in fitting and task.train][:40]


def measure(rounds: int = 5, smaller: bool = False) -> Report:
    """Seconds per update by processes, and megabytes by what is trained."""
    short = ["sst2", "mrpc", "qqp", "mnli", "trec", "snli", "copa", "commonsense_qa"]
    base = {
        "model": "minilm",
        "layers": 1 if smaller else 2,
        "datasets": short,
        "rows": 300,
        "max_tokens": 512,
        "max_length": 64,
        "sub_batches": 64,
        "updates": rounds + 1,
    }
    rows, digests = [], []
    with artifacts():
        launch(base | {"updates": 1})  # the token cache is built once
        single = 0.0
        for count in (1, 2):
            found = launch(base, count)
            cpu, wall = (
                median([max(f[kind][i] for f in found) for i in range(1, rounds + 1)]) for kind in ("cpu", "wall")
            )
            single = single or cpu
            digests.append(found[0]["digest"])
            rows.append(
                {
                    "what": "time",
                    "case": f"{count} process{'es' * (count > 1)}",
                    "CPU s of the busiest": cpu,
                    "wall s": wall,
                    "CPU speed-up": single / cpu,
                    "peak MB": max(f["peak"] for f in found) / 1e6,
                }
            )
            hint(rows[-1]["case"])
        names = short if smaller else forty()
        full = base | {"layers": None, "updates": 1, "sub_batches": 2}
        budget = full | {"max_tokens": 4400, "max_length": 256}
        many = budget | {"datasets": names}
        cases = {
            "8 datasets, 512 tokens": full,
            "8 datasets, 4400 tokens": budget,
            "8 datasets, 4400 tokens, recomputing": budget | {"checkpointing": True},
            f"{len(names)} datasets, 4400 tokens": many,
            f"{len(names)} datasets, 4400 tokens, full size": many | {"examples": 20_000 if smaller else FULL},
        }
        peaks = {}
        for case, task in cases.items():
            (only,) = launch(task)
            peaks[case] = only["peak"]
            rows.append(
                {
                    "what": "memory",
                    "case": case,
                    "peak MB": only["peak"] / 1e6,
                    "imports alone MB": only["imported"] / 1e6,
                    "before the first update MB": only["ready"] / 1e6,
                    "examples": only["examples"],
                }
            )
            hint(case)
    worst = max(peak for case, peak in peaks.items() if case.startswith(f"{len(names)} datasets"))
    same = abs(digests[0] - digests[1]) / digests[0]
    return Report(
        name="scaling",
        rows=rows,
        settings={
            "model": "MiniLM (times: 2 of its layers)",
            "rounds": rounds,
            "time_max_tokens": base["max_tokens"],
            "time_sub_batches": base["sub_batches"],
            "source": source(),
        },
        bars=[
            Bar(what=f"peak GB, MiniLM and {len(names)} datasets", bar=3.0, at_least=False, measured=worst / 1e9),
            Bar(what="CPU speed-up of 2 processes", bar=1.9, measured=float(rows[1]["CPU speed-up"])),  # type: ignore[arg-type]
        ],
        notes=[
            f"{case}: {only['found']}",
            f"weights after the updates differ by {same:.0e} between 1 and 2 processes",
            "peak memory counts pages of the memory-mapped token cache that were touched",
        ],
    )


def main(arguments: Sequence[str]) -> None:
    """What `launch` starts."""
    print(json.dumps(train(json.loads(arguments[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])
