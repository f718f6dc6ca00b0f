"""How much of the machine's memory this process may use: a job has less than the machine it runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MEGABYTE = 1 << 20  # SLURM's unit: bytes of the M in --mem


def allowed(root: Path = Path("/")) -> int:
    """Bytes: the smallest of the machine's memory, each enclosing control group's limit and the SLURM job's memory,
    shared evenly by the processes that torchrun or SLURM started on this node."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    node = min([machine, *_control_groups(root), *filter(None, [_number("SLURM_MEM_PER_NODE") * MEGABYTE])])
    share = node // max(1, _number("LOCAL_WORLD_SIZE") or _number("SLURM_NTASKS_PER_NODE"))
    by_cpu = _number("SLURM_MEM_PER_CPU") * max(1, _number("SLURM_CPUS_PER_TASK")) * MEGABYTE
    return min(share, by_cpu) if by_cpu else share  # --mem-per-cpu is a task's own


def _control_groups(root: Path) -> Iterator[int]:
    """The limits, in bytes, of the process's group and those around it, of versions 1 and 2; none where unlimited."""
    lines = _read(root / "proc/self/cgroup").splitlines()
    for _, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(top):
                break
            text = _read(folder / name).strip()
            if text.isdigit():  # else "max", or the group of another namespace
                yield int(text)


def _number(variable: str) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
