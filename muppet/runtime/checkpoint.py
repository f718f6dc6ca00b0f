"""Checkpoints of a run in progress: whole or absent, checked when read, and only of the run that reads them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from muppet.errors import UserError
from muppet.paths import disk_errors


def save(folder: Path, run: str, step: int, state: dict[str, Any]) -> None:
    """Write `state` as the checkpoint after `step` updates, then drop the others: older, or damaged and later.

    A full disk raises OSError and leaves the previous checkpoint as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".writing.*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = folder / f".writing.{os.getpid()}"
    temporary.mkdir()
    try:
        with disk_errors(folder):
            with open(temporary / "state.pt", "wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            with open(temporary / "state.pt", "rb") as file:
                checksum = hashlib.file_digest(file, "blake2b").hexdigest()
            with open(temporary / "meta.json", "w", encoding="utf-8") as file:
                json.dump({"run": run, "step": step, "blake2b": checksum}, file)
                file.flush()
                os.fsync(file.fileno())
        place = folder / f"step-{step:08d}"
        if place.exists():
            shutil.rmtree(place)
        os.rename(temporary, place)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for other in _all(folder):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def load(folder: Path, run: str) -> tuple[int, dict[str, Any]] | None:
    """The newest whole checkpoint of `run` → (updates done, state), or None when there is none.

    A damaged checkpoint is passed over with a line on stderr; one of another run raises UserError.
    """
    for place in reversed(_all(folder)):
        try:
            meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
            owner, step, expected = meta["run"], int(meta["step"]), meta["blake2b"]
            with open(place / "state.pt", "rb") as file:
                whole = hashlib.file_digest(file, "blake2b").hexdigest() == expected
            if whole and owner == run:
                return step, torch.load(place / "state.pt", map_location="cpu", weights_only=True)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            whole, owner = False, run
        if owner != run:
            raise UserError(f"{place}: a checkpoint of another run ({owner}, not {run}); move it away or delete it")
        print(f"{place}: damaged checkpoint, passed over", file=sys.stderr)
    return None


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
