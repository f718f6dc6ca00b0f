"""`make doctor`: what this machine has, what a profile needs, and what to do about the difference."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from muppet import paths
from muppet.errors import UserError
from muppet.runtime.hold import Taken, flock
from studies.kit import cost
from studies.kit.fetch import needs, prefetch
from studies.kit.launch import local
from studies.kit.launch.slurm import cluster, controller, preflight
from studies.kit.ledger.folder import RESULTS
from studies.kit.load import load_studies
from studies.kit.load import runs as runs_of
from studies.kit.show import terminal

LOCK = paths.ROOT / "requirements.lock"
HUB = "https://huggingface.co/api/models?limit=1"


class Check(NamedTuple):
    """One thing looked at: `ok`, `note` (works, with a limit) or `problem`, what came of it, and what to do."""

    state: Literal["ok", "note", "problem"]
    about: str
    result: str
    do: str = ""


def main(args: argparse.Namespace) -> int:
    """Print every check → 1 when one is a problem."""
    from rich.text import Text

    console, worst = terminal(), 0
    for one in checks(args.profile):
        mark = {"ok": "[green]✓[/]", "note": "[yellow]•[/]", "problem": "[red]✗[/]"}[one.state]
        text = Text(f"{one.about}: {one.result}" + (f" → {one.do}" if one.do else ""))  # others' words are no markup
        console.print(mark, text, highlight=False, soft_wrap=True)
        worst |= one.state == "problem"
    return worst


def checks(profile: str) -> Iterator[Check]:
    """Look at Python, packages, GPU, disk, hub or mirror, what is fetched, and the scheduler."""
    yield Check("ok", "Python", f"{platform.python_version()} ({sys.executable})")
    yield _packages()
    yield _gpu()
    yield from _disk()
    yield _locks()
    yield _mirror()
    yield from _fetched(profile)
    yield from _scheduler()


def _packages() -> Check:
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else ""
    locked = dict(re.findall(r"^([A-Za-z0-9_.\-]+)==([^\s;]+)", text, re.MULTILINE))
    absent, other = [], []
    for name, version in locked.items():
        try:
            have = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if have.split("+")[0] != version.split("+")[0]:
            other.append(f"{name} {have} (locked: {version})")
    if absent:
        return Check("problem", "packages", f"missing {', '.join(absent[:5])}", "run `make setup`")
    if other:
        return Check("note", "packages", ", ".join(other[:5]), "`make setup` installs the locked versions")
    return Check("ok", "packages", f"all {len(locked)} as locked")


def _gpu() -> Check:
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
        if done.returncode:
            why = (done.stderr or done.stdout).strip()[:100]
            return Check("problem", "GPU", f"nvidia-smi fails ({why})", "ask for the driver")
        names = done.stdout.strip().splitlines()
    else:
        names = [f"device {number}, and no nvidia-smi to name it" for number in local.present()]
    if not names:
        return Check("note", "GPU", "none here", "smoke and mini run on a CPU; paper needs LAUNCHER=slurm or a GPU")
    torch = importlib.metadata.version("torch") if importlib.util.find_spec("torch") else ""
    if torch.endswith("+cpu"):
        return Check(
            "problem", "GPU", f"there is one, but torch {torch} cannot use it", "install a CUDA build of torch"
        )
    return Check("ok", "GPU", "; ".join(names))


def _disk() -> Iterator[Check]:
    for folder in (paths.artifacts(), RESULTS):
        try:
            preflight.writable(folder)
        except UserError as error:
            yield Check("problem", "disk", str(error))
            continue
        free = shutil.disk_usage(folder).free
        result = f"{folder.absolute()} ({preflight.filesystem(folder.absolute())}): {free / 1e9:,.0f} GB free"
        if free > 20e9:
            yield Check("ok", "disk", result)
        else:
            hint = "PROFILE=paper leaves checkpoints of several GB: move MUPPET_ARTIFACTS to a larger disk"
            yield Check("note", "disk", result, hint)


def _locks() -> Check:
    """Whether two processes keep each other off a run here; on two nodes it can only be believed."""
    path = paths.artifacts() / ".locks"
    try:
        first = flock(path)
        if first is None:
            return Check(
                "note",
                "locks",
                f"{path.parent.absolute()} has no file locks: leases are used",
                "nothing; a run whose node died is begun again after some minutes",
            )
        try:
            again = flock(path)
        except Taken:
            return Check("ok", "locks", "files can be locked")
        finally:
            os.close(first)
            path.unlink(missing_ok=True)
        if again is not None:
            os.close(again)
        why = "its file locks lock nothing"
    except OSError as error:
        why = f"a file cannot be locked ({error.strerror})"
    return Check("problem", "locks", f"{path.parent.absolute()}: {why}", "move MUPPET_ARTIFACTS")


def _mirror() -> Check:
    root = paths.mirror()
    if root is not None:
        if not root.is_dir():
            return Check("problem", "data", f"MUPPET_HUB={root} is no folder", "point it at a mirror, or unset it")
        count = sum(1 for _ in root.glob("*/*"))
        return Check("ok", "data", f"mirror {root}, {count} repositories; what it lacks is asked of the Hub")
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        return Check("note", "data", "HF_HUB_OFFLINE=1 and no mirror", "only smoke runs; set MUPPET_HUB, or unset it")
    import urllib.request

    try:
        with urllib.request.urlopen(HUB, timeout=5):
            return Check("ok", "data", "the Hub answers")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        return Check(
            "note", "data", f"the Hub does not answer ({why})", "only smoke runs here; or set MUPPET_HUB to a mirror"
        )


def _fetched(profile: str) -> Iterator[Check]:
    runs = list(runs_of(load_studies(profile).values()).values())
    needs_gpu = any(cost.wants_gpu(run) for run in runs)
    try:
        needs.require(runs, profile)
    except UserError as error:
        yield Check("note", f"PROFILE={profile}", str(error))
    else:
        what = "nothing to fetch" if not needs.models(runs) and not needs.splits(runs) else "models and data are here"
        yield Check("ok", f"PROFILE={profile}", what + (", wants GPUs" if needs_gpu else ", runs on CPUs"))
    wrong = [
        name for name, digest in needs.manifest(profile).items() if prefetch.digest_of(needs.folder() / name) != digest
    ]
    if wrong:
        yield Check(
            "problem",
            "fetched files",
            f"{len(wrong)} are damaged, such as {wrong[0]}",
            f"run `make prefetch PROFILE={profile}` again",
        )


def _scheduler() -> Iterator[Check]:
    if not controller.installed():
        yield Check("note", "scheduler", "no SLURM commands here", "LAUNCHER=local, or log in to the cluster")
        return
    meant = Path(cluster.FILE).exists()  # who has filled in the file wants the cluster
    try:
        settings = cluster.read()
        for stage in ("prefinetune", "finetune"):
            partition, limit = controller.partition_limit(settings.of(stage, "partition"))
        size, hosts = controller.max_array(), set(controller.nodes().values())
    except UserError as error:
        yield Check(
            "problem" if meant else "note",
            "scheduler",
            str(error),
            "fix that (`scontrol ping` must answer here), or use LAUNCHER=local",
        )
        return
    limits = "no time limit" if limit is None else f"at most {limit} min"
    yield Check(
        "ok",
        "scheduler",
        f"SLURM answers: partition {partition} ({limits}), {len(hosts)} machines, arrays below {size}",
    )
    try:
        preflight.visible(hosts)
    except UserError as error:
        yield Check("problem", "folders", str(error))
    if not meant:
        yield Check(
            "note", "cluster.toml", "not there: the defaults are used", "copy cluster.example.toml and fill it in"
        )
