"""A run is done by one process at a time, or by one group of processes: a lock in its folder says so."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from muppet import paths
from muppet.errors import UserError
from muppet.runtime.rank import is_first


class Busy(UserError):
    """Another process is doing this run."""


@contextmanager
def hold(run: str) -> Iterator[None]:
    """Hold `run` for this process and the ones that share it; `holder.json` says meanwhile who that is. Raises Busy."""
    import filelock

    if not is_first():
        yield
        return
    folder = paths.run_dir(run)
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise Busy(f"{run} is being trained by another process; wait for it, or stop it") from None
    holder = folder / "holder.json"
    try:
        paths.write_text(holder, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
