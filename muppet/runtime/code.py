"""Which code runs: its files, and the commit of its own checkout, whatever repository that may lie in."""

from __future__ import annotations

import subprocess
from pathlib import Path

from muppet import paths

SOURCES = ("muppet/**/*.py", "studies/**/*.py", "studies/**/*.toml")  # what a run depends on; nothing that is rendered


def sources(root: Path = paths.ROOT) -> list[Path]:
    """The files below `root` that a run depends on, in order."""
    return sorted(path for pattern in SOURCES for path in root.glob(pattern) if path.is_file())


def commit(root: Path = paths.ROOT) -> tuple[str | None, bool]:
    """The commit of the checkout in `root`, and whether its code differs from that; (None, False) where `root` is no
    checkout: unpacked from an archive, or installed."""
    own = (f"--git-dir={root / '.git'}", f"--work-tree={root}")  # else git looks in the folders above, too
    command = ("git", *own, "status", "--porcelain=v2", "--branch", "--", *(f":(glob){one}" for one in SOURCES))
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None, False
    lines = done.stdout.splitlines()
    at = next(line.split()[-1] for line in lines if line.startswith("# branch.oid "))
    return (None if at == "(initial)" else at), not all(line.startswith("#") for line in lines)
