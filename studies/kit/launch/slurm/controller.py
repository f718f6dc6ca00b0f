"""Speaking with SLURM: the queue in one call, commands that outlast a busy or absent controller, clear refusals."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from muppet.errors import UserError, unknown
from studies.kit.launch.slurm.cluster import parse_minutes

Answer = TypeVar("Answer")

# What SLURM prints when it could not be asked, as against when it said no.
TRANSIENT = re.compile(
    r"unable to contact|timed out|zero bytes were|standby mode|temporarily|connection refused|transport endpoint|"
    r"configuration source|fetch config|connect failure|connection reset|socket|munge",
    re.IGNORECASE,
)
# What it prints when it takes no more jobs for now: a limit of the user's, of a QOS, or its own (MaxJobCount).
FULL = re.compile(r"Submit\w*Limit|unable to accept job|queue full|Resource temporarily unavailable", re.IGNORECASE)
MAX_ARRAY = 1001  # SLURM's MaxArraySize where nobody sets or tells it
ANSWER_S = 90.0  # for which a submission is tried again while the controller is away; $MUPPET_PATIENCE overrides
ACTIVE = frozenset(
    "PENDING CONFIGURING RUNNING SUSPENDED STOPPED COMPLETING REQUEUED REQUEUE_HOLD REQUEUE_FED RESIZING SIGNALING "
    "SPECIAL_EXIT STAGE_OUT RESV_DEL_HOLD".split()
)
FIELDS = (
    ("JobArrayID", 40),
    ("JobID", 24),
    ("Name", 80),
    ("State", 24),
    ("Reason", 60),
    ("RestartCnt", 12),
    ("TimeUsed", 24),
    ("NodeList", 120),
)


class Unreachable(UserError):
    """The controller does not answer; nothing is known and nothing was done."""


class Refused(UserError):
    """SLURM answered, and said no."""


class Full(UserError):
    """SLURM answered that it takes no more jobs for now."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One job, or one element of an array, as the queue shows it (also a finished one, while SLURM remembers it)."""

    job: str  # `123`, or `123_4`
    name: str
    state: str  # SLURM's word: PENDING, RUNNING, …
    reason: str
    restarts: int
    used: str  # time
    nodes: str

    @property
    def active(self) -> bool:
        """Whether it is waiting or running."""
        return self.state in ACTIVE

    @property
    def held(self) -> bool:
        """Whether it waits for a person (`scontrol release`), as after a failed requeue."""
        return self.state in ("PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT") and "held" in self.reason.lower()


def installed() -> bool:
    """Whether SLURM's commands are on this machine."""
    return all(shutil.which(name) for name in ("sbatch", "squeue", "scontrol"))


def require() -> None:
    """Raise UserError where there is no SLURM."""
    if not installed():
        raise UserError(
            "LAUNCHER=slurm: no sbatch, squeue and scontrol here; log in to the cluster, or use LAUNCHER=local"
        )


def ask(*command: str, timeout: float = 60) -> str:
    """A command's output. Raises Unreachable when the controller could not be asked, Refused when it said no."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: not on this machine") from None
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{command[0]} got no answer from the SLURM controller in {timeout:g} s") from None
    if done.returncode:
        raise failure(command[0], done.stderr or done.stdout)
    return done.stdout


def failure(program: str, text: str) -> UserError:
    """The error for what a SLURM command printed: all of it, for a site's own words stand before SLURM's."""
    lines = [line.strip().removeprefix(f"{program}: ").removeprefix("error: ") for line in text.splitlines()]
    lines = [line.removeprefix("Batch job submission failed: ") for line in lines if line] or ["no message"]
    message = "; ".join(dict.fromkeys(lines))
    if FULL.search(message):
        return Full(f"{program}: {message}")
    if TRANSIENT.search(lines[-1]):
        return Unreachable(f"{program}: the SLURM controller does not answer ({message})")
    return Refused(f"{program}: {message}")


def patience() -> float:
    """Seconds for which to try again."""
    asked = os.environ.get("MUPPET_PATIENCE") or ANSWER_S
    try:
        seconds = float(asked)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise UserError(f"MUPPET_PATIENCE is {asked!r}; give a number of seconds")
    return seconds


def retrying(action: Callable[[], Answer], say: Callable[[str], None]) -> Answer:
    """`action()`, tried again while the controller does not answer; the last Unreachable goes through."""
    end, pause = time.monotonic() + patience(), 1.0
    while True:
        try:
            return action()
        except Unreachable as error:
            if time.monotonic() + pause > end:
                raise
            say(f"{error}; trying again")
            time.sleep(pause)
            pause = min(2 * pause, 15.0)


def queue() -> list[Entry]:
    """This user's jobs, array elements one by one, finished ones too while SLURM remembers them: one call.

    The user is asked for by number: $LOGNAME may say anything.
    """
    form = ",".join(f"{name}:{width}" for name, width in FIELDS)
    return parse_queue(
        ask("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--Format={form}")
    )


def parse_queue(text: str) -> list[Entry]:
    """Entries from squeue's fixed-width lines."""
    entries = []
    for line in text.splitlines():
        cells, at = [], 0
        for _, width in FIELDS:
            cells.append(line[at : at + width].strip())
            at += width
        job, _, name, state, reason, restarts, used, nodes = cells
        if job and state:
            number = int(restarts) if restarts.isdigit() else 0
            one = Entry(job=job, name=name, state=state, reason=reason, restarts=number, used=used, nodes=nodes)
            entries.append(one)
    return entries


def max_array() -> int:
    """MaxArraySize of the controller: the greatest index of an array is one below it."""
    limit = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    return int(limit[1]) if limit else MAX_ARRAY


def partition_limit(name: str | None) -> tuple[str, int | None]:
    """The partition's name (the default one for None) and its time limit in minutes (None: no limit); of several
    (`main,high`), the shortest limit.

    Raises UserError for a partition that is not there, or is down.
    """
    known: dict[str, tuple[str, str, bool]] = {}
    for line in ask("sinfo", "--noheader", "--format=%P|%l|%a").splitlines():
        label, limit, state = (part.strip() for part in line.split("|"))
        known[label.rstrip("*")] = (limit, state, label.endswith("*"))
    chosen = name or next((label for label, (_, _, default) in known.items() if default), None)
    if chosen is None:
        raise UserError(
            "cluster.toml: this cluster has no default partition; set partition = one of: " + ", ".join(sorted(known))
        )
    minutes = []
    for one in chosen.split(","):
        if one not in known:
            raise UserError(f"partition (of cluster.toml, else $SBATCH_PARTITION): {unknown('partition', one, known)}")
        limit, state, _ = known[one]
        if state not in ("up", "drain"):
            raise UserError(
                f"cluster.toml: partition {one!r} is {state}; choose another, or ask the cluster's administrators"
            )
        minutes.append(parse_minutes(limit))
    return chosen, min((limit for limit in minutes if limit is not None), default=None)


def nodes() -> dict[str, str]:
    """The cluster's nodes, each with the machine that it is."""
    shown = ask("scontrol", "show", "nodes", "--oneliner")
    return dict(re.findall(r"^NodeName=(\S+).*\bNodeHostName=(\S+)", shown, re.MULTILINE))


def cancel(jobs: Iterable[str]) -> None:
    """Cancel the given jobs and array elements, and no others."""
    ordered = sorted(jobs)
    for start in range(0, len(ordered), 200):  # a command line has an end
        ask("scancel", *ordered[start : start + 200])


def follow(job: str, parent: str) -> None:
    """Let a waiting job wait for the end of `parent`, whatever it waited for before; one that has begun goes on."""
    with contextlib.suppress(Refused):
        ask("scontrol", "update", f"JobId={job}", f"Dependency=afterany:{parent}")


def release(jobs: Iterable[str]) -> None:
    """Let held jobs go."""
    for job in jobs:
        ask("scontrol", "release", job)
