"""The doctor names what is wrong and what to do, and never falls over."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from muppet.errors import UserError
from studies.kit.launch import doctor, local
from studies.kit.launch.slurm import controller, preflight


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("MUPPET_HUB", raising=False)
    monkeypatch.setattr(controller, "installed", lambda: False)


def found(about: str) -> doctor.Check:
    return next(one for one in doctor.checks("smoke") if one.about == about)


def test_smoke_needs_nothing_but_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(argparse.Namespace(profile="smoke")) in (
        0,
        1,
    )  # a GPU without its driver is a problem of the machine
    said = capsys.readouterr().out
    assert "nothing to fetch, runs on CPUs" in said and "no SLURM commands here" in said and "Python" in said


def test_a_gpu_without_its_tools_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(local, "DEV", tmp_path)
    assert (found("GPU").state, found("GPU").result) == ("note", "none here")
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "2.11.0")
    assert found("GPU") == doctor.Check("ok", "GPU", "device 0, and no nvidia-smi to name it")


def test_locked_packages_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements.lock"
    monkeypatch.setattr(doctor, "LOCK", lock)
    lock.write_text("pytest==0.0.1\n")
    assert found("packages").state == "note" and "locked: 0.0.1" in found("packages").result
    lock.write_text("no-such-package-here==1\n")
    assert found("packages").state == "problem" and "make setup" in found("packages").do


def test_a_mirror_that_is_none_and_a_disk_that_is_full_are_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_HUB", "/nowhere")
    assert found("data").state == "problem" and "/nowhere" in found("data").result

    def full(folder: Path) -> None:
        raise UserError(f"{folder}: cannot be written (No space left on device)")

    monkeypatch.setattr(preflight, "writable", full)
    assert found("disk").state == "problem" and "No space left" in found("disk").result


def test_locks_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def seen() -> tuple[str, str]:
        (one,) = [one for one in doctor.checks("smoke") if one.about == "locks"]
        return one.state, one.result

    assert seen() == ("ok", "files can be locked")

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    assert seen()[0] == "note" and "leases" in seen()[1]
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert seen()[0] == "problem" and "lock nothing" in seen()[1]


def test_a_scheduler_is_asked_and_its_silence_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller, "installed", lambda: True)

    def away(name: str | None) -> tuple[str, int | None]:
        raise controller.Unreachable("sinfo: the SLURM controller does not answer")

    monkeypatch.setattr(controller, "partition_limit", away)
    assert found("scheduler").state == "note" and "does not answer" in found("scheduler").result
    (tmp_path / "cluster.toml").write_text("gpus_per_node = 0\n")
    assert found("scheduler").state == "problem" and "LAUNCHER=local" in found("scheduler").do
    (tmp_path / "cluster.toml").unlink()
    monkeypatch.setattr(controller, "partition_limit", lambda name: ("gpu", 120))
    monkeypatch.setattr(controller, "max_array", lambda: 1001)
    monkeypatch.setattr(controller, "nodes", lambda: {"n1": "node1"})
    monkeypatch.setattr(preflight, "visible", lambda hosts: None)
    assert found("scheduler").result == "SLURM answers: partition gpu (at most 120 min), 1 machines, arrays below 1001"
    assert found("cluster.toml").state == "note" and "cluster.example.toml" in found("cluster.toml").do
