"""What was handed to the scheduler: a file per submission in artifacts/submissions, written around each sbatch.

A job is recognised in the queue by its name, which no other job has; ids serve to print and to cancel, for a controller
that lost its state gives them out again. The truth about a run is its result; this record only says what is in flight.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.errors import UserError
from muppet.paths import write_text
from muppet.runtime.hold import Taken, lease
from studies.kit.launch.slurm.controller import Entry
from studies.kit.ledger.folder import progress, result_path

SCHEMA = 1
LOCK_S = 600.0  # for which another submission is waited for


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One array (or single job) of a submission: element i runs `runs[i]`, in order."""

    name: str
    runs: tuple[tuple[str, ...], ...]
    after: str | None = None  # the run that its jobs wait for
    job: str | None = None  # None: not accepted (yet), or written out for the user to submit
    folder: str = ""  # of its logs
    resources: str = ""
    why: str = ""  # not accepted: what the scheduler said

    def key(self, element: int) -> str:
        """The queue's id of an element."""
        return f"{self.job}_{element}" if len(self.runs) > 1 else str(self.job)

    def log(self, element: int) -> Path:
        """The first task's log."""
        return Path(self.folder) / f"{self.key(element)}_0_log.out"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """One `make … LAUNCHER=slurm`."""

    id: str
    when: float  # seconds since the epoch
    profile: str
    artefacts: tuple[str, ...]
    snapshot: str
    arrays: tuple[Sent, ...] = ()
    cancelled: float | None = None  # when a person last cancelled jobs of it
    ended: tuple[str, ...] = ()  # the queue's ids of the jobs and elements that a person cancelled
    schema: int = SCHEMA


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """How a run was last sent: in which element of which array."""

    submission: Submission
    sent: Sent
    element: int
    entry: Entry | None  # what the queue says of it; None: nothing

    @property
    def active(self) -> bool:
        """Whether its job waits or runs, and is not being ended because a person cancelled it."""
        if self.entry is None or not self.entry.active:
            return False
        return not (self.cancelled and self.entry.state in ("COMPLETING", "STAGE_OUT"))

    @property
    def waits(self) -> bool:
        """Whether its job has not begun."""
        return self.entry is not None and self.entry.state == "PENDING"

    @cached_property
    def left(self) -> tuple[str, ...]:
        """The runs of its job that have no result yet, in order."""
        ids = self.sent.runs[self.element]
        return tuple(one for one in ids if not result_path(self.submission.profile, one).exists())

    @cached_property
    def begun(self) -> tuple[str, ...]:
        """Those of `left` that the job has begun; the first in any case."""
        return tuple(one for one in self.left if one == self.left[0] or progress(one))

    @property
    def cancelled(self) -> bool:
        """Whether a person cancelled its job."""
        one = self.submission
        return one.cancelled is not None and (not one.ended or self.sent.key(self.element) in one.ended)


def folder() -> Path:
    """Where submissions are kept."""
    return paths.artifacts().absolute() / "submissions"


def new_id() -> str:
    """A name for a submission that sorts by time and no other has."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(2)


def write(submission: Submission) -> None:
    """Record a submission, whole."""
    text = json.dumps(dataclasses.asdict(submission), indent=1) + "\n"
    write_text(folder() / submission.id / "submission.json", text)


def read_all(profile: str | None = None) -> list[Submission]:
    """All submissions (of one profile), oldest first."""
    recorded = [_read(path) for path in sorted(folder().glob("*/submission.json"))]
    return [one for one in recorded if profile in (None, one.profile)]


def _read(path: Path) -> Submission:
    try:
        plain: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        arrays = tuple(
            Sent(**(sent | {"runs": tuple(tuple(ids) for ids in sent["runs"])})) for sent in plain.pop("arrays")
        )
        lists = {"artefacts": tuple(plain["artefacts"]), "ended": tuple(plain.get("ended", ()))}
        return Submission(**(plain | lists | {"arrays": arrays}))
    except PermissionError:
        raise _foreign(path.parent) from None
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: not a submission's record ({error}); move it away (runs in flight may then be sent twice)"
        ) from None


@contextmanager
def lock() -> Iterator[None]:
    """Held while submitting, so that two submissions at once see each other's jobs."""
    end = time.monotonic() + LOCK_S
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(lease(folder()))
                break
            except Taken:
                if time.monotonic() > end:
                    raise UserError(
                        f"another submission has held {folder()} for {LOCK_S:g} s; wait for it, or end it if it hangs"
                    ) from None
                time.sleep(0.1)
            except PermissionError as error:
                raise _foreign(Path(error.filename or folder())) from None
        yield


def _foreign(path: Path) -> UserError:
    return UserError(
        f"{path} belongs to user {path.stat().st_uid}, and what one user has in flight is hidden from another: set "
        "MUPPET_ARTIFACTS to a folder of your own (results may be shared, submissions are not)"
    )


def dispatches(submissions: Iterable[Submission], entries: Iterable[Entry]) -> dict[str, Dispatch]:
    """How each run was last sent, joined with the queue. The last submission wins, unless an earlier one is still
    active; `submissions` come oldest first."""
    by_name: dict[str, dict[int, Entry]] = {}
    for entry in entries:
        _, _, index = entry.job.partition("_")
        by_name.setdefault(entry.name, {})[int(index) if index.isdigit() else 0] = entry
    last: dict[str, Dispatch] = {}
    for submission in submissions:
        for sent in submission.arrays:
            listed = by_name.get(sent.name, {})
            if sent.job is None:  # a refused job stays in the queue for a while, as failed
                listed = {index: entry for index, entry in listed.items() if entry.active}
            if sent.job is None and listed:  # accepted, though we never heard: take it up
                sent = dataclasses.replace(sent, job=next(iter(listed.values())).job.partition("_")[0])
            for element, ids in enumerate(sent.runs):
                this = Dispatch(submission=submission, sent=sent, element=element, entry=listed.get(element))
                for name in ids:
                    if not (name in last and last[name].active and not this.active):
                        last[name] = this
    return last


def in_flight(dispatched: Mapping[str, Dispatch]) -> dict[str, Dispatch]:
    """The runs whose job waits or runs."""
    return {name: one for name, one in dispatched.items() if one.active}
