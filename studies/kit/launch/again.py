"""`make again RUN=…`: repeat a run in a folder of its own and compare it with its result, which nothing touches."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.errors import UserError
from muppet.result import Result, Score, read
from muppet.runs import parent, run_id
from studies.kit.launch import control, local
from studies.kit.launch.plan import plan
from studies.kit.ledger import folder
from studies.kit.ledger.folder import result_path
from studies.kit.load import chosen
from studies.kit.load import runs as runs_of

# What rounding depends on: a repeat on another class of machine may end elsewhere.
MACHINE = ("device", "precision", "threads", "processes", "micro_tokens", "cpu", "gpu", "torch")


def main(args: argparse.Namespace) -> int:
    """The command → exit status: 0 when scores and weights are equal, 1 when they are not.

    The pre-finetuning that the run starts from is repeated, too, where its model is not here.
    """
    studies = chosen(args)
    runs = runs_of(studies.values())
    name = control.one_run(args.run, runs, "again")
    path, home = result_path(args.profile, name), (paths.artifacts() / "again").absolute()
    if not path.exists():
        raise UserError(f"{path}: there is no result to compare with; `make` runs what is missing")
    then, first = read(path, runs[name]), parent(runs[name])
    wanted = {run_id(run): run for run in (first, runs[name]) if run}
    have: list[Path] = []  # the result and the model of the pre-finetuning, where both are here
    if first and folder.done(args.profile, run_id(first)):
        have = [result_path(args.profile, first).absolute(), paths.model_dir(run_id(first)).absolute()]
    with _inside(home, then):
        result_path(args.profile, name).unlink(missing_ok=True)  # of an earlier repeat
        shutil.rmtree(paths.model_dir(name), ignore_errors=True)
        if first:
            _borrow(have, result_path(args.profile, first), paths.model_dir(run_id(first)))
        for one in wanted:
            folder.forget(one)
        if local.run(dataclasses.replace(plan(studies, args.profile), runs=wanted), 1).interrupted:
            raise KeyboardInterrupt
        if not folder.done(args.profile, name):
            raise UserError(f"{name} was not repeated; {folder.log(name).absolute()} says why")
        now = read(result_path(args.profile, name), runs[name])
    print(f"{name}, repeated in {home}:")
    lines, equal = compare(then, now)
    print(*lines, sep="\n")
    return 0 if equal else 1


def compare(then: Result, now: Result) -> tuple[list[str], bool]:
    """What a run left then and now, line by line, and whether scores, loss and weights are the same."""
    pairs: dict[str, tuple[Any, Any]] = {key: (score, now.scores.get(key)) for key, score in then.scores.items()}
    for about, words in (("last_loss", "loss at the end"), ("weights", "weights"), ("start", "start")):
        if then.training.get(about) is not None:
            pairs[words] = (then.training[about], now.training.get(about))
    if "start" in pairs:
        pairs["weights it started from"] = tuple(one and one["weights"] for one in pairs.pop("start"))  # type: ignore[assignment]
    lines = [
        f"  {name}: {_text(old)} then, {_text(new)} now" + ("" if old == new else ": not equal")
        for name, (old, new) in pairs.items()
    ]
    if "weights" not in pairs:
        lines.append("  weights: not compared, the result does not say what they were")
    equal = all(old == new for old, new in pairs.values())
    old, new = _machine(then), _machine(now)
    moved = [f"{name} {old[name]} then, {new[name]} now" for name in MACHINE if old[name] != new[name]]
    known = ", ".join(f"{name} {value}" for name, value in new.items() if value is not None)
    lines.append(f"  machine: {'; '.join(moved)}" if moved else f"  machine: as then ({known})")
    before, after = (str(one.environment.get("commit") or "unknown")[:10] for one in (then, now))
    lines.append(f"  code: {before}" + ("" if before == after else f" then, {after} now"))
    where = "" if equal else ", on another class of machine" if moved else ", on the same class of machine"
    return [*lines, ("equal" if equal else "not equal") + where], equal


def _text(value: Any) -> str:
    if isinstance(value, Score):
        return f"{100 * value.value:.2f} of {value.n}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _machine(result: Result) -> dict[str, Any]:
    """The class of machine that a run was done on."""
    known = result.environment | result.cost | {"torch": result.environment.get("packages", {}).get("torch")}
    return {name: known.get(name) for name in MACHINE}


def _borrow(have: Sequence[Path], result: Path, model: Path) -> None:
    """Put the result and the model that a pre-finetuning has (nothing: they are not there) where its repeated child
    looks for them, unless it was repeated there itself."""
    if model.is_symlink():
        model.unlink()
        result.unlink(missing_ok=True)
    if have and not model.is_dir():
        for path in (result, model):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(have[0], result)
        model.symlink_to(have[1])


@contextlib.contextmanager
def _inside(home: Path, then: Result) -> Iterator[None]:
    """Results and artifacts are below `home`, and what rounding depends on is as `then`, where the machine allows."""
    home.mkdir(parents=True, exist_ok=True)
    kept = dict(os.environ)
    wish = {"MUPPET_PRECISION": then.cost.get("precision"), "OMP_NUM_THREADS": then.cost.get("threads")}
    wish |= {"MUPPET_DEVICE": "cpu"} if then.cost.get("device") == "cpu" else {}
    os.environ.update({name: str(value) for name, value in wish.items() if value and name not in kept})
    os.environ["MUPPET_ARTIFACTS"] = str(home / "artifacts")
    if hub := paths.mirror():
        os.environ["MUPPET_HUB"] = str(hub.absolute())
    try:
        with contextlib.chdir(home):
            yield
    finally:
        os.environ.clear()
        os.environ.update(kept)
