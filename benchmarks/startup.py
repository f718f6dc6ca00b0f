"""From the command to the first step, with cold and warm token cache; and what help, plan and render import."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import ROUNDS, Bar, Report, median
from muppet.errors import UserError

ROOT = Path(__file__).parents[1]
FIRST_STEP = """
import sys
from benchmarks.mixture import source
from muppet import tasks
from muppet.stages.prefinetune import prefinetune
from muppet.runs import Prefinetune, Recipe
recipe = Recipe(lr=1e-5, max_tokens=256, updates=1, max_length=48, sub_batches=1)
names = tasks.SETS["small_mixture"] if source() == "twins" else sys.argv[2].split(",")
chosen = tuple(tasks.get(name) for name in names)
run = Prefinetune(model=sys.argv[1], tasks=chosen, recipe=recipe, source=source(), train_rows=int(sys.argv[3]))
import os
def stop(progress):
    os._exit(0)  # the first step is done
prefinetune(run, progress=stop)
"""
LIGHT = """
import runpy, sys
sys.argv, code = sys.argv[1:], 0
try:
    runpy.run_module(sys.argv[0], run_name="__main__")
except SystemExit as done:
    code = done.code or 0
heavy = [name for name in ("torch", "transformers", "datasets") if name in sys.modules]
print("heavy imports:", ",".join(heavy), file=sys.stderr)
sys.exit(code)
"""


def call(command: Sequence[str], folder: Path, **environment: str) -> tuple[float, float, str]:
    """Run it → (CPU seconds, wall seconds, its standard error). Raises UserError when it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
    done = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, timeout=900)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise UserError(f"{' '.join(command[-4:])}: {done.stderr.strip()[-400:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.perf_counter() - started, done.stderr


def measure(
    rounds: int = ROUNDS, model: str = "all-MiniLM-L6-v2", names: Sequence[str] = (), rows: int = 200
) -> Report:
    """Seconds until each command is where its user wants it."""
    names = names or ("sst2", "mrpc", "mnli", "rte", "copa", "commonsense_qa", "squad")
    first = ["-c", FIRST_STEP, model, ",".join(names), str(rows)]
    commands = {
        "python -m muppet --help": ["muppet", "--help"],
        "python -m studies --help": ["studies", "--help"],
        "python -m studies plan": ["studies", "plan"],
        "python -m studies table3, nothing to run": ["studies", "table3", "--no-run"],
    }
    found: dict[str, list[tuple[float, float]]] = {}
    heavy: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        call(["-c", "import torch, transformers"], folder)  # the disk's cache warm for all
        for number in range(rounds):
            kept = folder / f"artifacts{number}"
            for name in ("first step, cold token cache", "first step, warm token cache"):
                cpu, wall, _ = call(first, folder, MUPPET_ARTIFACTS=str(kept))
                found.setdefault(name, []).append((cpu, wall))
            for name, command in commands.items():
                cpu, wall, said = call(["-c", LIGHT, *command], folder, MUPPET_ARTIFACTS=str(kept))
                found.setdefault(name, []).append((cpu, wall))
                heavy[name] = said.rsplit("heavy imports:", 1)[-1].strip()
    times = {name: (median([c for c, _ in values]), median([w for _, w in values])) for name, values in found.items()}
    return Report(
        name="startup",
        rows=[
            {
                "command": name,
                "CPU s": cpu,
                "wall s": wall,
                "imports torch, transformers or datasets": heavy.get(name, "yes") or "no",
            }
            for name, (cpu, wall) in times.items()
        ],
        settings={"model": model, "datasets": len(names), "rows": rows, "rounds": rounds},
        bars=[
            *(
                Bar(what=f"CPU seconds of {name}", bar=2.0, at_least=False, measured=times[name][0])
                for name in list(commands)[2:]
            ),
            Bar(
                what="light commands that import torch, transformers or datasets",
                bar=0.0,
                at_least=False,
                measured=float(sum(1 for value in heavy.values() if value)),
            ),
        ],
        notes=["the first step is one sub-batch of 256 tokens; its own time is part of the number"],
    )
