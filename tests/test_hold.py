"""Who holds a run where the file system has no locks: a lease, its heartbeat, its end, and what a dead holder spent."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from muppet import paths
from muppet.runtime import hold as holding
from muppet.runtime.hold import Busy, hold


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))


def without_locks(number: int = errno.ENOLCK) -> None:
    """This process's file systems have no locks from now on."""

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    fcntl.flock = flock  # type: ignore[assignment]


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def no_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", fcntl.flock)  # put back afterwards
    without_locks(request.param)


def left(age: float = 0.0, *, lasted: float = 60.0, **holder: Any) -> None:
    """A lease on `run` that was touched last `age` seconds ago, by a process that is not ours."""
    touched = time.time() - age
    path = paths.run_dir("run") / "holder.json"
    content = {"host": "elsewhere", "pid": 1, "job": "", "began": touched - lasted, "token": "t"}
    paths.write_text(path, json.dumps(content | holder))
    os.utime(path, (touched, touched))


def test_without_locks_a_run_is_held_once(no_locks: None) -> None:
    with hold("run"):
        with pytest.raises(Busy, match="another process"), hold("run"):
            pass
    with hold("run"):
        pass
    assert not (paths.run_dir("run") / "holder.json").exists()


def test_a_holder_of_this_machine_that_died_holds_nothing(no_locks: None) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left(host=socket.gethostname(), pid=ended.pid)
    with hold("run") as lost:
        assert lost == pytest.approx(60, abs=1)
    left(host=socket.gethostname(), pid=os.getppid())  # alive
    with pytest.raises(Busy), hold("run"):
        pass


def test_a_holder_elsewhere_holds_until_it_is_silent_or_known_to_have_ended(no_locks: None) -> None:
    left(age=holding.STALE_S - 30, job="7_1")
    with pytest.raises(Busy), hold("run"):
        pass
    with pytest.raises(Busy), hold("run", lambda holder: False):
        pass
    with hold("run", lambda holder: holder["job"] == "7_1") as lost:
        assert lost == pytest.approx(60, abs=1)
    left(age=holding.STALE_S + 30)
    with hold("run"):
        pass


def test_a_lease_is_touched_while_it_is_held_and_another_s_is_left_alone(
    no_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "HEARTBEAT_S", 0.02)
    path = paths.run_dir("run") / "holder.json"
    with hold("run"):
        os.utime(path, (0, 0))
        time.sleep(0.3)
        assert path.stat().st_mtime > time.time() - 60
    monkeypatch.setattr(holding, "HEARTBEAT_S", 0.0)  # so that a touch and the change of hands meet
    for _ in range(30):
        with hold("run"):
            time.sleep(0.005)
            left(age=1000)  # it was taken for ended, and another took it
            time.sleep(0.005)
            assert path.stat().st_mtime < time.time() - 900
        path.unlink()  # there still: it is another's


def _try(start: Any, results: Any) -> None:
    without_locks()
    start.wait(30)
    try:
        with hold("run"):
            results.put("held")
            time.sleep(2)
    except Busy:
        results.put("busy")


def test_of_many_that_see_a_lease_end_one_takes_it() -> None:
    context = multiprocessing.get_context("fork")
    left(age=1000)
    start, results = context.Barrier(6), context.Queue()
    processes = [context.Process(target=_try, args=(start, results)) for _ in range(6)]
    for one in processes:
        one.start()
    said = [results.get(timeout=30) for _ in processes]
    for one in processes:
        one.join(30)
    assert sorted(said) == ["busy"] * 5 + ["held"]


def test_with_locks_what_a_dead_holder_left_is_no_obstacle_and_its_time_is_known() -> None:
    left(age=10, lasted=100)
    with hold("run") as lost:
        assert lost == pytest.approx(100, abs=1)
    with hold("run") as lost:
        assert lost == 0.0
