"""Two stages of `gpu_stay.sh`: `versions` (software, device, peaks), and `profile FOLDER` (where an update's time goes)."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.common import need, where
from benchmarks.gpu import RECIPE, gemm_peak
from benchmarks.mixture import SHAPES, artifacts, mixture, roberta, trainer
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
        if kind == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        source.clone()
        if kind == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size / (time.perf_counter() - started))
    return best


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
    need(sys.argv[1:2] in (["versions"], ["profile"]), "give `versions` or `profile FOLDER`")
    if sys.argv[1] == "versions":
        versions()
    else:
        profile(Path(sys.argv[2]))
