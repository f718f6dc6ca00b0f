"""What every benchmark shares: interleaved rounds, a report that prints and is kept, and on what it was measured."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from muppet.errors import UserError
from muppet.paths import write_text
from studies.pages import grid

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "numpy", "pandas")
ROUNDS = 5


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What this project promises itself; `measured` None where it cannot be measured here, and `why` says so."""

    what: str
    bar: float
    measured: float | None
    at_least: bool = True
    why: str = ""

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured >= self.bar if self.at_least else self.measured <= self.bar


@dataclass(frozen=True, kw_only=True)
class Report:
    """One benchmark's outcome: rows of a table, bars, and the settings it was measured with."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    settings: Mapping[str, Any]
    bars: Sequence[Bar] = ()
    notes: Sequence[str] = ()

    def text(self) -> str:
        """The table, the notes, and each bar with its verdict."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [[shown(row.get(name)) for name in columns] for row in self.rows]
        lines = [grid(cells, columns, "simple")]
        lines += [f"note: {note}" for note in self.notes]
        for bar in self.bars:
            wanted = f"{'≥' if bar.at_least else '≤'} {bar.bar:g}"
            why = f" ({bar.why})" if bar.why else ""
            lines.append(f"bar: {bar.what}: {shown(bar.measured)} ({wanted}): {verdict(bar.met)}{why}")
        return "\n".join(lines)

    def write(self, folder: Path = RESULTS) -> Path:
        """Keep the report as `<name>.json`, whole, with machine, versions and commit."""
        plain = {
            "benchmark": self.name,
            "measured": date.today().isoformat(),
            "settings": dict(self.settings),
            "rows": [{key: _rounded(value) for key, value in row.items()} for row in self.rows],
            "bars": [
                {key: _rounded(value) for key, value in asdict(bar).items()} | {"met": bar.met} for bar in self.bars
            ],
            "notes": list(self.notes),
            **where(),
        }
        path = folder / f"{self.name}.json"
        write_text(path, json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
        return path


def verdict(met: bool | None) -> str:
    """In words."""
    return {True: "met", False: "MISSED", None: "not measured"}[met]


def shown(value: Any) -> str:
    """A table's cell."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def where() -> dict[str, Any]:
    """Machine, versions, commit; nothing that names a host or a person."""
    from muppet.stages.record import CODE

    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"machine": machine(), "versions": versions, **CODE}


def machine() -> dict[str, Any]:
    """CPU model and cores, the vector instructions that matter, memory, GPU."""
    import psutil
    import torch

    from muppet.runtime.device import cpu_has_bf16
    from muppet.stages.record import cpu

    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bf16_instructions": cpu_has_bf16(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load_at_end": round(os.getloadavg()[0], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Seconds of one call."""

    cpu: float
    wall: float


def clocked(work: Callable[[], Any]) -> Clock:
    """Do `work` → CPU time of this process and wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Clock(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def interleave(variants: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[Clock]]:
    """Time every variant once per round, each round starting with another one, so that a change of the machine's mood
    hits all of them."""
    found: dict[str, list[Clock]] = {name: [] for name in variants}
    names = list(variants)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(clocked(variants[name]))
    return found


def median(values: Sequence[float]) -> float:
    """The median."""
    return float(statistics.median(values))


def ratio(ours: Sequence[Clock], theirs: Sequence[Clock]) -> float:
    """Their CPU time over ours: the median over rounds."""
    return median([b.cpu / a.cpu for a, b in zip(ours, theirs, strict=True)])


def need(condition: object, message: str) -> None:
    """Raise UserError with `message` unless `condition`."""
    if not condition:
        raise UserError(message)


def hint(message: str) -> None:
    """Say something while measuring."""
    print(f"  … {message}", file=sys.stderr, flush=True)
