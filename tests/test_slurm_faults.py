"""What a real cluster does to jobs (preemption, time limits, lost nodes, a controller that dies): every run still ends
right. The other half of the tests on a cluster is in test_slurm_cluster.py; xdist gives each file a worker."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

import pytest

from tests.slurm_cluster import Cluster, missing
from tests.slurm_grid import Grid, Make, same

pytestmark = pytest.mark.skipif(
    bool(missing()), reason=f"SLURM is not installed ({', '.join(missing())}): python -m tests.slurm_cluster install"
)
NO_LOCKS = "raise OSError(errno.ENOLCK, 'No locks available')"


def test_a_preempted_pre_finetuning_goes_on_and_ends_bit_identical(cluster: Cluster, grid: Make, local: Grid) -> None:
    one = grid(slow=1.5)
    one.submit()
    parent = one.parent
    one.until(lambda: one.progress(parent) > 0, "the pre-finetuning is under way")
    assert one.states()[parent]["state"] == "running"
    others = ["srun", "--partition=high", "--nodes=3", "--exclusive", "--job-name=others", "sleep", "600"]
    with subprocess.Popen(others, env=cluster.env, stderr=subprocess.DEVNULL) as more_important:
        one.until(lambda: one.states()[parent]["state"] == "preempted", "the pre-finetuning has given way")
        more_important.terminate()
    one.go()
    one.finish(3)
    assert "got SIGUSR2" in one.joblogs() and "queued again" in one.joblogs()
    assert "restart_count=1" in one.joblogs()
    assert "has no result" not in one.joblogs()  # children waited for the parent's real end, not for its first stop
    assert same(one, local)


def test_a_pre_finetuning_that_runs_out_of_time_goes_on_and_ends_bit_identical(grid: Make, local: Grid) -> None:
    one = grid(slow=5.0, settings="signal_s = 59\n[prefinetune]\nminutes = 2\n")  # SLURM warns up to a minute early
    one.submit()
    one.until(lambda: "queued again" in one.joblogs(), "the pre-finetuning has met its limit")
    one.go()
    one.parent_is_done()
    assert "got SIGUSR2" in one.joblogs() and "restart_count=" in one.joblogs()
    assert same(one, local)


def test_a_node_that_dies_costs_nothing_but_time(cluster: Cluster, grid: Make, local: Grid) -> None:
    one = grid(slow=1.5)
    one.submit()
    parent = one.parent
    one.until(lambda: one.progress(parent) > 0, "the pre-finetuning is under way")
    state = one.states()[parent]
    node = re.search(r"on (\S+)", state["why"])
    assert node
    cluster.crash_node(node[1])
    one.go()
    try:
        one.finish(3)
        nodes = set(re.findall(r"0 of them done; .*nodename=(\S+)", one.joblogs()))
        assert nodes - {node[1]}
        assert same(one, local)
    finally:
        cluster.start_node(node[1])
        cluster.run("scontrol", "update", f"NodeName={node[1]}", "State=RESUME", check=False)


def test_a_node_that_comes_back_with_its_job_makes_two_copies_of_a_run_and_one_result(
    cluster: Cluster, grid: Make, local: Grid
) -> None:
    one = grid(slow=2.0)
    one.submit()
    parent = one.parent
    one.until(lambda: one.progress(parent) > 0, "the pre-finetuning is under way")
    node = re.search(r"on (\S+)", one.states()[parent]["why"])
    assert node
    cluster.lose_node(node[1])  # its job lives on, and is started again elsewhere
    try:
        one.until(lambda: "restart_count=1" in one.joblogs(), "the second copy has begun")
        one.go()
        one.parent_is_done()
        found = re.compile("restart_count=1(.*\n)*.*skipped|1 of them done.*restart_count=1")
        one.until(lambda: found.search(one.joblogs()), "the second copy waited for the first, or came after it")
        assert same(one, local)
        assert not list((one.work / "artifacts").glob("runs/*/failure.json"))
    finally:
        cluster.start_node(node[1])
        cluster.run("scontrol", "update", f"NodeName={node[1]}", "State=RESUME", check=False)


@pytest.mark.parametrize("how", ["requeued by an administrator", "ended by TERM alone", "its process killed"])
def test_other_ends_of_a_pre_finetuning_cost_nothing_but_time(
    cluster: Cluster, grid: Make, local: Grid, how: str
) -> None:
    one = grid(slow=1.5)
    if "killed" in how:  # on a file system without locks, where a lease must tell that its holder is dead
        one.patch("muppet/runtime/hold.py", "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)", NO_LOCKS)
    one.submit()
    parent = one.parent
    one.until(lambda: one.progress(parent) > 1, "the pre-finetuning is under way")
    job = one.states()[parent]["job"]
    if how.startswith("requeued"):
        cluster.run("scontrol", "requeue", job)
    elif how.startswith("ended"):
        cluster.run("scancel", "--signal=TERM", job)
    else:
        os.kill(json.loads((one.work / f"artifacts/runs/{parent}/holder.json").read_text())["pid"], signal.SIGKILL)
    noticed = "SIGKILL: out of memory?" if "killed" in how else "restart_count=1"
    one.until(lambda: noticed in one.joblogs(), "the job has met its end and goes on")
    one.go()
    one.parent_is_done()
    assert same(one, local)
    assert not list((one.work / "artifacts").glob("runs/*/failure.json"))
    cost = one.results()[parent]["cost"]
    assert cost["attempts"] == 2 and cost["seconds"] > one.slow * one.updates  # of both attempts


def test_a_controller_killed_right_after_submission_loses_no_run(cluster: Cluster, grid: Make) -> None:
    one = grid(confirm=6.0)
    process = one.start("ablations", "--launcher", "slurm")
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if " after " in line:  # the last array is accepted
            cluster.stop_controller()
            cluster.start_controller()
            break
    said += process.stdout.read()
    assert process.wait(timeout=120) == 0, said
    one.finish(3)
    assert "has no result" not in one.joblogs()


def test_a_controller_that_is_down_at_submission_is_waited_for_then_named(cluster: Cluster, grid: Make) -> None:
    one = grid(env={"MUPPET_PATIENCE": "4"})
    cluster.stop_controller()
    try:
        said = one.submit(expect=2)
        assert "does not answer" in said and "Traceback" not in said
        assert not list((one.work / "artifacts").glob("submissions/*/submission.json"))
        states = one.run("status")
        assert "missing" in states
    finally:
        cluster.start_controller()
    one = grid(env={"MUPPET_PATIENCE": "60"}, waits=True, confirm=6.0)  # nothing may be done before the queue is asked
    cluster.stop_controller()
    process = one.start("ablations", "--launcher", "slurm")
    assert process.stdout is not None
    said = process.stdout.readline()  # it has met the silence
    cluster.start_controller()
    said += process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert "trying again" in said and "3 runs in flight" in said
    cluster.stop_controller()
    try:
        told = one.run("status")
        assert "does not answer" in told and "unknown" in told  # usable, and says what it does not know
    finally:
        cluster.start_controller()
    one.go()
    one.finish(3)
