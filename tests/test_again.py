"""`make again`: a repeat lies apart, is compared with its result, and the exit status says whether they are equal."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

import pytest

from muppet import paths
from muppet.errors import UserError
from muppet.runs import run_id
from studies.kit.launch import again, local
from studies.kit.launch.plan import Plan
from studies.kit.ledger.folder import result_path
from tests.kit import PARENT, child, finish, instant, result_of, small_study

NAME = run_id(child())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", "artifacts")
    monkeypatch.setattr(local, "run", here)
    monkeypatch.setattr(again, "chosen", lambda args: {"table3": small_study()})
    return tmp_path


def here(planned: Plan, jobs: int) -> local.Tally:
    """A launch without processes."""
    for name in planned.to_do:
        print("doing", name)
        instant(planned.profile, [name], lambda progress: None)
    return local.Tally(outcomes=dict.fromkeys(planned.to_do, "done"))


def asked(name: str | None = NAME) -> int:
    return again.main(argparse.Namespace(profile="smoke", run=name))


@pytest.mark.parametrize(("first", "status", "said"), [(0.6, 0, "\nequal"), (0.5, 1, "\nnot equal, on the same class")])
def test_a_repeat_is_compared_and_touches_nothing(folder: Path, capsys, first: float, status: int, said: str) -> None:
    finish(PARENT), finish(child(), first)
    before, environment = {path: path.read_bytes() for path in folder.rglob("*.json")}, dict(os.environ)
    assert asked() == status
    out = capsys.readouterr().out
    assert said in out and f"{100 * first:.2f} of 200 then, 60.00 of 200 now" in out
    assert {path: path.read_bytes() for path in before} == before
    assert Path.cwd() == folder and dict(os.environ) == environment
    assert (folder / "artifacts/again" / result_path("smoke", NAME)).exists()
    assert asked() == status  # from the start, not from the repeat that is there


def test_the_parent_is_repeated_where_its_model_is_gone_and_only_there(folder: Path, capsys) -> None:
    finish(PARENT), finish(child(), 0.6)
    assert asked() == 0 and "doing prefinetune" not in capsys.readouterr().out
    (paths.model_dir(run_id(PARENT)) / "config.json").unlink()
    assert asked() == 0 and "doing prefinetune" in capsys.readouterr().out
    assert not (folder / paths.model_dir(run_id(PARENT)) / "config.json").exists()


def test_what_cannot_be_repeated_is_one_line() -> None:
    with pytest.raises(UserError, match="there is no result to compare with"):
        asked()
    with pytest.raises(UserError, match="make again RUN=<id>"):
        asked(None)


def test_weights_count_and_another_machine_is_named() -> None:
    then = replace(
        result_of(child(), 0.6, environment={"cpu": "old", "packages": {"torch": "2.1"}}),
        training={"weights": "aa", "last_loss": 0.5, "start": {"weights": "cc"}},
    )
    assert again.compare(then, then)[1]
    for training in ({"weights": "bb"}, {"last_loss": 0.25}, {"start": {"weights": "dd"}}):
        now = replace(then, training=then.training | training, cost=then.cost | {"precision": "bf16"})
        lines, equal = again.compare(then, now)
        assert not equal and lines[-1] == "not equal, on another class of machine"
        assert "  machine: precision None then, bf16 now" in lines
    assert again.compare(then, replace(then, environment=then.environment | {"cpu": "new"}))[1]
