"""Stages of `gpu_stay.sh`: `versions` (software, device, peaks), `attention` (its kernels, alone), and `profile FOLDER`
(where an update's time goes)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import median, need, where
from benchmarks.gpu import RECIPE, gemm_peak, wait
from benchmarks.mixture import SHAPES, artifacts, lengths, mixture, roberta, trainer
from muppet.model import attention
from muppet.model.batch import moved, pack_rows
from muppet.runtime.device import Device

TINY = (1, 64, 2)  # layers, width, heads where there is no GPU


def versions() -> None:
    """Print on what everything else was measured, as JSON, and bytes and floating-point operations per second."""
    kind = Device.detect().kind
    said = where() | {"torch cuda": torch.version.cuda, "device": Device.detect().name}
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(0)
        said |= {"capability": f"{properties.major}.{properties.minor}", "bytes": properties.total_memory}
    said["gemm peak, FLOP/s"] = gemm_peak(kind)
    said["copy, bytes/s"] = _copies(kind, 2**30 if kind == "cuda" else 2**24)
    print(json.dumps(said, indent=1))


def _copies(kind: str, size: int) -> float:
    source, best = torch.zeros(size, dtype=torch.uint8, device=kind), 0.0
    for _ in range(5):
        wait(kind)
        started = time.perf_counter()
        source.clone()
        wait(kind)
        best = max(best, 2 * size / (time.perf_counter() - started))
    return best


def _some(units: Sequence[Sequence[int]], tokens: int) -> np.ndarray:
    """As many rows of a dataset as have about so many tokens."""
    rows = np.concatenate(units)
    return rows[: 1 + int((np.cumsum(rows) < tokens).sum())]


def attends() -> None:
    """Print microseconds a token of attention alone, forward and backward, for each kernel, over rows of the mixture."""
    kind = Device.detect().kind
    dtype = torch.bfloat16 if kind == "cuda" else torch.float32
    rows = np.concatenate([_some(units, 2000 if kind == "cuda" else 100) for units in lengths().values()])
    packing = moved(pack_rows(np.arange(rows.sum()), rows, rows), torch.device(kind)).packing
    assert packing is not None
    shape, drop = (int(rows.sum()), 12, 64), 0.1  # RoBERTa-base's heads
    qkv = [torch.randn(shape, device=kind, dtype=dtype, requires_grad=True) for _ in range(3)]
    names = ("variable_length", "by_length", "memory_efficient") if kind == "cuda" else ("by_length",)
    for name in names:
        kernel, seconds = getattr(attention, name), []
        for _ in range(8):
            wait(kind)
            started = time.perf_counter()
            kernel(qkv, packing, drop, None).sum().backward()
            wait(kind)
            seconds.append(time.perf_counter() - started)
        micro = 1e6 * median(seconds[2:]) / shape[0]
        print(f"{name}, {len(rows)} rows of {shape[0] / len(rows):.0f} tokens: {micro:.4f} µs a token", flush=True)


def profile(folder: Path) -> None:
    """One small update of RoBERTa-base, after one to warm up: a table by operation, and a trace to `folder`."""
    from torch.profiler import ProfilerActivity

    kind = Device.detect().kind
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if kind == "cuda" else [])]
    with artifacts():
        model = roberta(SHAPES["base"] if kind == "cuda" else TINY, kind)
        mixed = mixture(model, RECIPE, () if kind == "cuda" else ("sst2",), recorded_lengths=True)
        device = Device(kind=kind, bf16=True, packed=True, micro_tokens=32768 if kind == "cuda" else 1024)
        recipe = replace(RECIPE, sub_batches=8) if kind == "cuda" else replace(RECIPE, sub_batches=2, max_tokens=512)
        loop = trainer(model, mixed, recipe, device)
        loop.update()
        with torch.profiler.profile(activities=activities) as seen:
            loop.update()
    order = f"self_{kind}_time_total"
    print(seen.key_averages().table(sort_by=order, row_limit=40))
    if kind == "cuda":
        seen.export_chrome_trace(str(folder / "trace.json.gz"))


if __name__ == "__main__":
    wanted = sys.argv[1:] in (["versions"], ["attention"]) or (sys.argv[1:2] == ["profile"] and len(sys.argv) == 3)
    need(wanted, "give `versions`, `attention` or `profile FOLDER`")
    if sys.argv[1] == "profile":
        profile(Path(sys.argv[2]))
    else:
        {"versions": versions, "attention": attends}[sys.argv[1]]()
