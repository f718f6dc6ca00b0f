"""`make table3` at smoke in an empty folder, by one worker: the CPU seconds of all of it, and what they go to."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from benchmarks.batching import gemm_peak
from benchmarks.common import Bar, Report
from benchmarks.startup import call

WIDTHS = (64, 96)  # of the tiny models


def measure(only: str = "*") -> Report:
    """CPU seconds of a launch that fills Table 3, once: its runs are repetitions enough. `only`: a glob of cells."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        call(["-c", "import torch, transformers"], folder)  # the disk's cache warm
        command = ["-m", "studies", "table3", "--only", only, "--jobs", "1", "--yes"]
        cpu, wall, _ = call(command, folder, MUPPET_ARTIFACTS=str(folder / "artifacts"))
        costs = [json.loads(path.read_text())["cost"] for path in folder.glob("results/smoke/*/*.json")]
    peak = gemm_peak(WIDTHS)
    updates = sum(cost["cpu_seconds"] for cost in costs)
    products = sum(cost["flops"] for cost in costs) / peak
    parts = {
        "all of it": cpu,
        "forwards and backwards of training": updates,
        "the rest: imports, tokenising, optimiser, evaluation, pages": cpu - updates,
        "what the trainings' FLOPs take at the GEMM peak": products,
    }
    return Report(
        name="smoke",
        rows=[{"what": name, "CPU s": seconds, "share": seconds / cpu} for name, seconds in parts.items()],
        settings={
            "runs": len(costs),
            "wall s": wall,
            "tokens": sum(cost["tokens"] for cost in costs),
            "gemm_peak_gflops": peak / 1e9,
        },
        bars=[Bar(what="CPU seconds of make table3, set-up not counted", bar=90.0, at_least=False, measured=cpu)],
        notes=["the bar was set for cores with AMX"],
    )
