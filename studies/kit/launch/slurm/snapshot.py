"""The code as it is at submission, so that edits made while jobs wait change nothing; equal code is kept once."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from muppet import paths
from muppet.paths import write_text
from muppet.runtime import code
from studies.kit.fetch import needs

TRAVEL = ("MUPPET_", "HF_", "TRANSFORMERS_", "OMP_", "MKL_", "TOKENIZERS_", "NCCL_", "TORCH_", "CUDA_DEVICE_ORDER")
SEALED = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
# Never written to a file: SLURM hands the user's environment on, and `hf auth login` keeps a token that jobs find.
SECRET = re.compile(r"TOKEN(?!IZERS|_PATH)|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
LOGIN = re.compile(r"://[^/\s]+@")  # a user and password inside an address
FOLDERS = ("MUPPET_ARTIFACTS", "MUPPET_HUB", "HF_HOME", "HF_HUB_CACHE", "MUPPET_CLUSTER")


def take() -> Path:
    """Copy the code into artifacts/snapshots/<digest of its bytes>, if it is not there yet → that folder."""
    files, digest = code.sources(paths.ROOT), hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(paths.ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    target = paths.artifacts().absolute() / "snapshots" / digest.hexdigest()[:16]
    if target.is_dir():
        return target
    try:
        with paths.beside(target) as temporary:
            for path in files:
                copy = temporary / path.relative_to(paths.ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            os.rename(temporary, target)
    except OSError:
        if not target.is_dir():  # else another submission was quicker
            raise
    return target


def environment(snapshot: Path, profile: str, *, sealed: bool) -> dict[str, str]:
    """The variables that a job runs with: ours now, but for secrets, folders absolute, code from the snapshot."""
    travelling = {name: value for name, value in os.environ.items() if name.startswith(TRAVEL) and value}
    exported = {name: value for name, value in travelling.items() if not (SECRET.search(name) or LOGIN.search(value))}
    exported["MUPPET_ARTIFACTS"] = str(paths.artifacts())
    exported |= {name: str(Path(exported[name]).absolute()) for name in FOLDERS if name in exported}
    head, dirty = code.commit()
    exported |= {"MUPPET_COMMIT": head or "", "MUPPET_DIRTY": str(int(dirty)), "PYTHONUNBUFFERED": "1"}
    # the snapshot goes before everything, the folder that the job stands in is not looked into
    path = os.pathsep.join(filter(None, (str(snapshot), os.environ.get("PYTHONPATH"))))
    exported |= {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    return exported | SEALED | needs.for_jobs(profile) if sealed else exported


def interpreter(path: Path, variables: Mapping[str, str], executable: str | None = None) -> Path:
    """Write a `python` (`executable`, by default this one) that stands in this folder with these variables.

    It is deaf to USR2 until Python listens: the signal would kill an interpreter that is still starting.
    """
    lines = ["#!/bin/sh", "trap '' USR2"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(variables.items())]
    lines += [f"cd {shlex.quote(os.getcwd())} || exit 1", f'exec {shlex.quote(executable or sys.executable)} "$@"']
    write_text(path, "\n".join(lines) + "\n")
    path.chmod(0o700)
    return path
