"""A run is done by one process at a time, or by one group of processes.

Two things in a folder say who holds it. `lock` is a file lock (flock): it ends with its process, whatever ends that.
`holder.json` is a lease for file systems that know no file locks: who holds the folder, touched while he lives.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.errors import UserError
from muppet.runtime.rank import is_first

HEARTBEAT_S = 15.0  # between two touches of a lease
STALE_S = 180.0  # without a touch, after which a lease is over: longer than a file server caches a file's time
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)  # what file systems without flock answer
Gone = Callable[[Mapping[str, Any]], bool]


class Busy(UserError):
    """Another process is doing this run."""


@contextmanager
def hold(run: str, gone: Gone | None = None) -> Iterator[float]:
    """Hold `run` for this process and the ones that share it; gives the seconds that a holder who died had spent.

    `gone`: whether the holder of a lease is known to have ended, from a scheduler, say. Raises Busy.
    """
    if not is_first():
        yield 0.0
        return
    try:
        with lease(paths.run_dir(run), gone) as lost:
            yield lost
    except Taken:
        raise Busy(f"{run} is being trained by another process; wait for it, or stop it") from None


class Taken(Exception):
    """Another process holds the folder."""


@contextmanager
def lease(folder: Path, gone: Gone | None = None) -> Iterator[float]:
    """Hold `folder`; gives the seconds from beginning to last touch of a lease whose holder died. Raises Taken."""
    folder.mkdir(parents=True, exist_ok=True)
    lock, path = flock(folder / "lock"), folder / "holder.json"
    try:
        content = _content()
        lost = _take(path, content, locked=lock is not None, gone=gone)
        over = threading.Event()
        beat = threading.Thread(target=_touch, args=(path, content, over), daemon=True)
        beat.start()
        try:
            yield lost
        finally:
            over.set()
            beat.join()
            if _ours(path, content):
                path.unlink(missing_ok=True)
    finally:
        if lock is not None:
            os.close(lock)


def flock(path: Path) -> int | None:
    """An open file whose lock is ours until it is closed; None where the file system has no locks. Raises Taken."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in NO_LOCKS:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise Taken from None
        raise
    return handle


def _take(path: Path, content: str, *, locked: bool, gone: Gone | None) -> float:
    """Write our lease → the seconds that one left behind had lasted. Raises Taken when another's is in force."""
    lost = 0.0
    before, touched = _look(path)
    if before is not None:
        if not locked and not _ended(path, before, touched, gone):
            raise Taken
        began = before.get("began")
        lost = max(0.0, touched - began) if isinstance(began, (int, float)) else 0.0
    if locked:
        paths.write_text(path, content)
        return lost
    if before is not None:  # of several that see it end, one moves it away
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            raise Taken from None
        if _look(aside)[0] != before:  # another was quicker, and it is his new lease that moved
            os.rename(aside, path)
            raise Taken
        aside.unlink(missing_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        raise Taken from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    return lost


def _content() -> str:
    number, element = (os.environ.get(name, "") for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"))
    job = f"{number}_{element}" if number else os.environ.get("SLURM_JOB_ID", "")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "job": job, "began": time.time()}
    return json.dumps(holder | {"token": secrets.token_hex(8)})


def _look(path: Path) -> tuple[dict[str, Any] | None, float]:
    """A lease (empty: not to be read) and when it was touched last; None: there is none."""
    try:
        touched = path.stat().st_mtime
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, 0.0
    except ValueError:
        return {}, touched
    return plain if isinstance(plain, dict) else {}, touched


def _ended(path: Path, holder: Mapping[str, Any], touched: float, gone: Gone | None) -> bool:
    if holder.get("host") == socket.gethostname() and isinstance(holder.get("pid"), int):
        if not paths.alive(holder["pid"]):
            return True
    elif gone is not None and gone(holder):
        return True
    clock = path.with_name(f".clock.{secrets.token_hex(4)}")  # the file server's: two machines' clocks may differ
    clock.touch()
    now = clock.stat().st_mtime
    clock.unlink()
    return now - touched > STALE_S


def _ours(path: Path, content: str) -> bool:
    """Whether the lease is still ours; one that was taken for ended is another's."""
    try:
        return path.read_text(encoding="utf-8") == content
    except (OSError, ValueError):
        return False


def _touch(path: Path, content: str, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT_S):
        with suppress(OSError, ValueError), path.open(encoding="utf-8") as file:
            if file.read() == content:
                os.utime(file.fileno())  # by its handle: a lease that was written meanwhile is another file
