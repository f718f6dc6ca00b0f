"""`python -m benchmarks [name …]`: measure, print, keep as JSON under benchmarks/results/. Without names, all of them."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

from muppet.errors import UserError, unknown

NAMES = (
    "batching",
    "balance",
    "step",
    "sampling",
    "startup",
    "smoke",
    "data",
    "collect",
    "scaling",
    "precision",
    "launches",
    "gpu",
)


def main(arguments: argparse.Namespace) -> int:
    """`make bench`: what ONLY names (one, or several with commas), or all."""
    return run([name for name in (arguments.only or "").replace(",", " ").split()])


def run(names: list[str], folder: Path | None = None, minutes: float | None = None) -> int:
    """Measure `names` in turn; the exit status. `minutes` are for the GPU's. Raises UserError for a name that is none."""
    for name in names:
        if name not in NAMES:
            raise unknown("benchmark", name, NAMES)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    torch.set_num_threads(1)
    from benchmarks.common import RESULTS

    for name in names or NAMES:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        started = time.monotonic()
        if name == "gpu":
            report = module.measure(minutes=minutes, folder=folder or RESULTS)
        else:
            report = module.measure()
        if report is None:
            continue
        print(report.text())
        print(f"wrote {report.write(folder or RESULTS)} after {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, help="folder of the JSON files (default benchmarks/results)")
    parser.add_argument("--minutes", type=float, help="of the GPU's benchmark: what is not begun by then is left out")
    parser.add_argument(
        "--tiny", action="store_true", help="try the GPU's on a tiny model, where there is none; needs --out"
    )
    parser.add_argument("--readme", action="store_true", help="measure nothing; bring benchmarks/README.md up to date")
    given = parser.parse_args()
    try:
        if given.readme:
            from benchmarks import page

            page.write()
            sys.exit(0)
        if given.tiny:
            if given.names != ["gpu"] or given.out is None:
                parser.error("--tiny goes with `gpu` and --out FOLDER: it measures nothing that is to be kept")
            from benchmarks import gpu

            made = gpu.tiny(given.out)
            print(made.text() if made else "")
            sys.exit(0)
        sys.exit(run(given.names, given.out, given.minutes))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
