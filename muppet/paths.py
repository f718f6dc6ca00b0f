"""Where things lie. Results are in git; artifacts (checkpoints, logs, predictions, token cache) are not."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from muppet.errors import UserError

SHARDED = ".sharded"  # in a folder of many runs: what is new there lies a folder deeper
ROOT = Path(__file__).resolve().parents[1]  # the checkout, or the folder that the packages are installed in
MINILM = "sentence-transformers/all-MiniLM-L6-v2"  # PROFILE=mini's model, which a Python package holds too


def artifacts() -> Path:
    """`$MUPPET_ARTIFACTS`, or `artifacts/` in the current folder."""
    return Path(os.environ.get("MUPPET_ARTIFACTS") or "artifacts")


def run_dir(run_id: str) -> Path:
    """One run's folder: `model/`, `checkpoint/`, `progress.json`, `failure.json`, `predictions.jsonl`, `log.txt`."""
    return shelf(artifacts() / "runs" / run_id)


def shelf(path: Path) -> Path:
    """Where a run's file or folder lies: `path`, or a folder deeper, by its id's end, where its folder is sharded."""
    deeper = path.parent / path.name.removesuffix(".json")[-2:] / path.name
    return path if path.exists() or not ((path.parent / SHARDED).exists() or deeper.exists()) else deeper


def model_dir(run_id: str) -> Path:
    """The model that a finished pre-finetuning left: encoder and heads."""
    return run_dir(run_id) / "model"


def cache() -> Path:
    """The token cache that all runs share."""
    return artifacts() / "cache"


def mirror() -> Path | None:
    """`$MUPPET_HUB`, the folder in the Hub's layout that is looked into first."""
    value = os.environ.get("MUPPET_HUB")
    return Path(value) if value else None


def file_digest(file: Path) -> str:
    """SHA-256 of a file, read again when its size or time has changed."""
    now = file.stat()
    return _sha256(file, now.st_size, now.st_mtime_ns)


def folder_digest(folder: Path) -> str:
    """SHA-256 of the names and contents of a folder's files, without what only describes them: cards and results."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "README.md")
    kept = [file for file in files if not file.name.startswith((".", "finetune-", "prefinetune-"))]
    return hashlib.sha256("\n".join(f"{f.relative_to(folder)} {file_digest(f)}" for f in kept).encode()).hexdigest()


@lru_cache(maxsize=None)
def _sha256(file: Path, _size: int, _time: int) -> str:
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def make_folder(path: Path) -> Path:
    """`path`, made where it is missing. In a folder that is a group's (setgid, and writable for it) what is made is the
    group's too, whatever this user's umask."""
    if not path.is_dir():
        above = make_folder(path.parent).stat().st_mode
        path.mkdir(exist_ok=True)
        if above & stat.S_ISGID and above & stat.S_IWGRP:
            with suppress(PermissionError):  # another of the group was quicker: it is that one's
                path.chmod(path.stat().st_mode | stat.S_IWGRP)
    return path


def alive(pid: int) -> bool:
    """Whether a process of this machine has this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # none has so large a number
        return False
    except PermissionError:  # another user's
        pass
    return True


@contextmanager
def beside(place: Path) -> Iterator[Path]:
    """A new folder next to `place`, to make in it what is then renamed to `place`. Afterwards it is gone, as are those
    that processes of this machine left there when they were killed."""
    ours = f".{place.name}.{socket.gethostname()}."
    for left in make_folder(place.parent).glob(f"{glob.escape(ours)}*"):
        pid = left.name.removeprefix(ours).partition(".")[0]
        if pid.isdecimal() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    temporary = make_folder(place.with_name(f"{ours}{os.getpid()}.{secrets.token_hex(4)}"))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(folder: Path, name: str = "") -> None:
    """Raise UserError for a model's folder that holds anything else than what this program wrote: it would be replaced
    as a whole. `name` is what the message calls it."""
    name = name or str(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not (folder / "heads.json").is_file():
        raise UserError(f"{name} exists and is no model folder of this program; give a new folder")
    try:
        ours = set(json.loads((folder / "heads.json").read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError):
        ours = set()
    for place in sorted(folder.iterdir()):
        result = re.fullmatch(r"(pre)?finetune-.*\.json|\.(pre)?finetune-.*\.json\.\w+", place.name)  # or half of one
        if place.name not in ours and not result:
            raise UserError(f"{name} also holds {place.name}, which this program did not write; move it away")


def probe(folder: Path) -> None:
    """Make `folder`, and a file in it that goes again: known before hours are spent on what cannot be written. Raises
    OSError."""
    try:
        with tempfile.TemporaryFile(dir=make_folder(folder)) as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = str(folder)
        raise


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Inside, what torch and safetensors raise of a file that cannot be written is an OSError, as Python's own is; one
    that names no file, as of a full disk, names `folder`."""
    try:
        yield
    except Exception as error:
        # torch goes on to close its archive, and says that alone
        found = error if isinstance(error, OSError) else error.__context__
        if number := re.search(r"\(os error (\d+)\)", str(error)):
            found = OSError(int(number[1]), os.strerror(int(number[1])))
        if not isinstance(found, OSError):
            raise
        found.filename = found.filename or str(folder)
        raise found from None


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole, or not at all, whoever else writes it."""
    make_folder(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # as where the disk is full
            error.filename = str(path)
        raise
