"""What can be known before anything is submitted, said in one line: folders, disk, models and data."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from muppet import paths
from muppet.errors import UserError
from muppet.runs import Run
from studies.kit import cost
from studies.kit.fetch import needs
from studies.kit.launch.slurm.cluster import Cluster
from studies.kit.ledger.folder import RESULTS

LOCAL_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run")
LOCAL_FILESYSTEMS = ("tmpfs", "ramfs", "devtmpfs")


def check(missing: Mapping[str, Run], *, profile: str, settings: Cluster) -> None:
    """Raise UserError for a folder that cannot be written, a disk that is too small, or (for sealed jobs) a
    model or dataset that was not fetched."""
    for stage in sorted({run.stage for run in missing.values()}):
        writable(RESULTS / profile / stage)
    writable(paths.artifacts())
    room(missing)
    if settings.sealed:
        needs.require(missing.values(), profile)


def writable(folder: Path) -> None:
    """Raise UserError unless a file can be made in `folder` (or where it would be made)."""
    try:
        paths.probe(folder)
    except OSError as error:
        raise UserError(
            f"{folder.absolute()}: cannot be written ({error.strerror}); results would be lost: make room or let this "
            "user write there, or work in another folder"
        ) from None


def room(missing: Mapping[str, Run]) -> None:
    """Raise UserError when the disk has less room than the runs will need."""
    needed = sum(cost.estimate(run).disk for run in missing.values()) + 50e6
    free = shutil.disk_usage(paths.artifacts()).free
    if free < needed:
        raise UserError(
            f"{paths.artifacts().absolute()}: {free / 1e9:.1f} GB free, the {len(missing)} runs need about "
            f"{needed / 1e9:.1f} GB; free some, or set MUPPET_ARTIFACTS to a larger disk"
        )


def visible(hosts: set[str]) -> None:
    """Raise UserError when jobs on other machines could not see the folders that they write to."""
    if not hosts - {socket.gethostname(), socket.gethostname().split(".")[0], "localhost"}:
        return
    for folder, name in ((paths.artifacts().absolute(), "MUPPET_ARTIFACTS"), (Path.cwd(), "the working folder")):
        kind = filesystem(folder)
        if kind in LOCAL_FILESYSTEMS or any(folder.is_relative_to(local) for local in LOCAL_FOLDERS):
            raise UserError(
                f"{folder} ({kind}) is of this machine alone: compute nodes cannot see logs, checkpoints and code "
                f"in it; put {name} on a shared file system"
            )


def filesystem(folder: Path, mounts: str | None = None) -> str:
    """The type of the file system that `folder` is on (`ext4`, `nfs4`, `lustre`, …)."""
    text = Path("/proc/mounts").read_text() if mounts is None else mounts
    best, kind = "", "unknown"
    for line in text.splitlines():
        _, point, what, *_ = line.split()
        if (folder == Path(point) or folder.is_relative_to(point)) and len(point) >= len(best):
            best, kind = point, what
    return kind
