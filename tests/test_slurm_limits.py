"""A site's limits on jobs, on a real cluster with accounts: what fits is sent, the rest is fed as room comes."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm_cluster import ACCOUNTING, DATABASE, PROGRAMS, Cluster, missing
from tests.slurm_grid import Grid

LACKING = missing((*PROGRAMS, *ACCOUNTING))
pytestmark = pytest.mark.skipif(
    bool(LACKING), reason=f"not installed: {', '.join(LACKING)}; apt-get install slurm-wlm munge {' '.join(DATABASE)}"
)
JOBS = 9  # that the controller keeps in mind, ended ones included


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("limited")
    with Cluster(root=root, nodes=2, accounting=True, max_jobs=JOBS) as started:
        yield started


def test_what_a_site_takes_is_sent_and_the_rest_is_fed(limited: Cluster, tmp_path: Path) -> None:
    settings = "pack_minutes = 0\narray_parallelism = 4\n"
    one = Grid(folder=tmp_path / "1", cluster=limited, seeds=3, settings=settings, waits=True)
    limited.run("sacctmgr", "-i", "modify", "user", getpass.getuser(), "set", "maxsubmitjobs=3")
    said = one.submit()
    assert "3 runs in flight" in said and re.search(r"4 runs wait for room \(MaxSubmitJobs of account \w+ = 3\)", said)
    assert "nothing submitted" in one.submit()
    # A site that does not tell its limits: sbatch itself says that it is full, which is no silence of the controller.
    limited.run("sacctmgr", "-i", "modify", "user", getpass.getuser(), "set", "maxsubmitjobs=-1")
    limited.run("sacctmgr", "-i", "modify", "qos", "normal", "set", "maxsubmitjobsperuser=5")
    mute = tmp_path / "bin/sacctmgr"
    mute.parent.mkdir()
    mute.write_text("#!/bin/sh\nexit 1\n")
    mute.chmod(0o755)
    one.env["PATH"] = f"{mute.parent}:{limited.env['PATH']}"
    said = one.submit()
    assert "2 runs in flight" in said and "2 runs wait for room (sbatch: QOSMaxSubmitJobPerUserLimit" in said
    assert "does not answer" not in said
    assert "waits for room" in str(one.states()) or "missing" in str(one.states())
    del one.env["PATH"]
    one.patch("studies/kit/launch/slurm/__init__.py", "FEED_S = 60.0", "FEED_S = 0.5")
    feeding = one.start("feed")
    one.go()
    said = feeding.communicate(timeout=300)[0]
    assert feeding.returncode == 0, said
    assert "wait for room (MaxSubmitJobsPerUser of QOS normal = 5)" in said and "runs in flight as" in said
    one.finish(7)
    assert "has no result" not in one.joblogs()

    # Ended jobs stay in the controller's memory for a while, and count.
    two = Grid(folder=tmp_path / "2", cluster=limited, like=one, seeds=3, seed=1, settings=settings)
    said = two.submit()
    assert f"wait for room (the controller's MaxJobCount = {JOBS})" in said
    assert sum(state["state"] == "missing" for state in two.states().values()) == 7 - (JOBS - 1 - 7)
