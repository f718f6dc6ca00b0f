"""The grid on a real slurmctld and several slurmd: what a cluster does to jobs, and that every run still ends right."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm_cluster import Cluster, missing
from tests.slurm_grid import Grid

pytestmark = pytest.mark.skipif(
    bool(missing()), reason=f"SLURM is not installed ({', '.join(missing())}): python -m tests.slurm_cluster install"
)
long = pytest.mark.skipif(
    os.environ.get("MUPPET_CLUSTER_TESTS") != "all", reason="waits for minutes: MUPPET_CLUSTER_TESTS=all runs it"
)
START = "started, device, name = time"  # the first statement of both stages
Make = Callable[..., Grid]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes of two CPUs; arrays of at most three elements."""
    with Cluster(root=tmp_path_factory.mktemp("cluster"), nodes=3, max_array=3, grace=20) as started:
        yield started


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Grid:
    """The grid run by the local launcher, without interruption: what the cluster must arrive at."""
    made = Grid(folder=tmp_path_factory.mktemp("local") / "grid", cluster=None, plain=True)
    made.run("ablations", "--jobs", "2")
    return made


@pytest.fixture
def grid(cluster: Cluster, local: Grid, tmp_path: Path) -> Iterator[Make]:
    """Makes a grid; what it leaves in the queue is cancelled."""
    made: list[Grid] = []

    def make(**options: Any) -> Grid:
        like = None if "artefact" in options else local
        made.append(Grid(folder=tmp_path / str(len(made)), cluster=cluster, like=like, **options))
        return made[-1]

    yield make
    left = [job for one in made for job, state in one.queue().items() if state in ("PENDING", "RUNNING")]
    if left:
        cluster.run("scancel", *left, check=False)


def same(one: Grid, local: Grid) -> bool:
    """Whether `one` arrived at what the local launcher did, bit for bit, in all that it ran."""
    ours, theirs = one.outcome(), local.outcome()
    assert any(name.endswith("model.safetensors") for name in ours)
    return ours == {name: theirs[name] for name in ours}


def test_a_grid_equals_the_local_one_is_sent_once_and_later_edits_change_nothing(
    cluster: Cluster, grid: Make, local: Grid
) -> None:
    one = grid(plain=True)
    said = one.submit()
    child = re.search(r"submitted (\d+): .* after \d+", said)  # fine-tunings wait for their pre-finetuning
    assert child
    cluster.run("scontrol", "hold", child[1])
    assert "held" in {state["state"] for state in one.states().values()}
    assert f"released {child[1]}" in one.run("retry", "--launcher", "slurm")
    again = one.submit()  # the impatient second make
    assert "5 runs are in flight already" in again and "nothing to submit" in again
    (one.code / "studies/ablations.py").write_text("raise SystemExit('edited after submission')\n")
    one.finish(5)
    assert same(one, local)


@long
def test_the_whole_smoke_table_3(grid: Make) -> None:
    one = grid(artefact="table3", profile="smoke", settings="array_parallelism = 2\n")
    runs = len(one.states())
    assert runs > 80
    one.submit()
    one.finish(runs, seconds=3600)
    said = one.submit()
    assert "nothing to submit" in said and "pending" not in said and "failed" not in said
    assert set(state["state"] for state in one.states().values()) == {"done"}


@long
def test_a_preempted_pre_finetuning_goes_on_and_ends_bit_identical(cluster: Cluster, grid: Make, local: Grid) -> None:
    one = grid(slow=1.0)
    one.submit()
    parent = one.parent
    one.until(lambda: one.progress(parent) > 0, "the pre-finetuning is under way")
    assert one.states()[parent]["state"] == "running"
    others = ["srun", "--partition=high", "--nodes=3", "--exclusive", "--job-name=others", "sleep", "600"]
    with subprocess.Popen(others, env=cluster.env, stderr=subprocess.DEVNULL) as more_important:
        one.until(lambda: one.states()[parent]["state"] == "preempted", "the pre-finetuning has given way")
        more_important.terminate()
    one.finish(3)
    assert "got SIGUSR2" in one.joblogs() and "queued again" in one.joblogs()
    assert "restart_count=1" in one.joblogs()
    assert "has no result" not in one.joblogs()  # children waited for the parent's real end, not for its first stop
    assert same(one, local)


@long
def test_a_pre_finetuning_that_runs_out_of_time_goes_on_and_ends_bit_identical(grid: Make, local: Grid) -> None:
    one = grid(slow=8.0, settings="signal_s = 20\n[prefinetune]\nminutes = 2\n")
    one.submit()
    one.finish(3)
    assert "got SIGUSR2" in one.joblogs() and "restart_count=" in one.joblogs()
    assert same(one, local)


def test_a_node_that_dies_costs_nothing_but_time(cluster: Cluster, grid: Make, local: Grid) -> None:
    one = grid(slow=1.0)
    one.submit()
    parent = one.parent
    one.until(lambda: one.progress(parent) > 0, "the pre-finetuning is under way")
    state = one.states()[parent]
    node = re.search(r"on (\S+)", state["why"])
    assert node
    cluster.crash_node(node[1])
    try:
        one.finish(3)
        nodes = set(re.findall(r"0 of them done; .*nodename=(\S+)", one.joblogs()))
        assert nodes - {node[1]}
        assert same(one, local)
    finally:
        cluster.start_node(node[1])
        cluster.run("scontrol", "update", f"NodeName={node[1]}", "State=RESUME", check=False)


@long
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
        one.finish(3)
        assert "restart_count=1" in one.joblogs()  # a second copy: it waited for the first, or came after it
        assert same(one, local)
        assert not list((one.work / "artifacts").glob("runs/*/failure.json"))
    finally:
        cluster.start_node(node[1])
        cluster.run("scontrol", "update", f"NodeName={node[1]}", "State=RESUME", check=False)


def test_a_controller_killed_right_after_submission_loses_no_run(cluster: Cluster, grid: Make) -> None:
    one = grid()
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


@long
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
    one.env["MUPPET_PATIENCE"] = "60"
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
    one.finish(3)


@long
def test_a_parent_that_fails_holds_its_children_and_retry_mends_it(grid: Make) -> None:
    one = grid()
    good = (one.code / "muppet/prefinetune.py").read_text()
    one.patch("muppet/prefinetune.py", START, 'raise OSError("no such luck")\n    ' + START)
    one.submit()
    one.until(lambda: one.queue() and not {"PENDING", "RUNNING"} & set(one.queue().values()), "all jobs have ended")
    states = one.states()
    parent = one.parent
    assert states[parent]["state"] == "failed" and "no such luck (3×)" in states[parent]["why"]
    assert Path(one.work / states[parent]["log"]).exists()
    record = json.loads((one.work / f"artifacts/runs/{parent}/failure.json").read_text())
    assert record["count"] == 3 and "no such luck" in record["traceback"]
    children = [state for name, state in states.items() if "-muppet-" in name]
    assert len(children) == 2 and all(child["state"] != "failed" for child in children)
    assert "its parent" in one.joblogs() and "has no result" in one.joblogs()
    said = one.submit()
    assert "not tried again" in said and "nothing to submit" in said
    (one.code / "muppet/prefinetune.py").write_text(good)
    one.run("retry", "--launcher", "slurm")
    one.finish(3)
    assert set(state["state"] for state in one.states().values()) == {"done"}


@long
def test_two_nodes_of_two_tasks_share_one_pre_finetuning(grid: Make, local: Grid) -> None:
    one = grid(settings="[prefinetune]\nnodes = 2\ntasks_per_node = 2\n")
    one.submit()
    one.finish(3)
    result = one.results()[one.parent]
    assert result["cost"]["processes"] == 4
    ours, theirs = one.outcome()[one.parent][1], local.outcome()[one.parent][1]
    assert ours["last_loss"] == pytest.approx(theirs["last_loss"], rel=1e-3)  # the same steps, to float tolerance


@long
def test_an_array_above_the_limit_is_cut_and_cancel_takes_ours_alone(cluster: Cluster, grid: Make) -> None:
    one = grid(slow=2.0, seeds=2, plain=True, settings="pack_minutes = 0\narray_parallelism = 2\n")
    said = one.submit()
    sizes = [int(n) for n in re.findall(r"submitted \d+: (\d+) jobs", said)]
    assert sorted(sizes) == [1, 1, 1, 3, 3]  # 9 runs, three elements at most
    theirs = cluster.run("sbatch", "--parsable", "--wrap", "sleep 60", "--output=/dev/null").strip()
    try:
        told = one.run("cancel")
        assert re.search(r"cancelled \d+ jobs with \d+ runs", told)
        one.until(lambda: not {"PENDING", "RUNNING"} & set(one.queue().values()), "ours are gone")
        assert cluster.run("squeue", "-h", "-j", theirs, "-o", "%T").strip() in ("PENDING", "RUNNING")
        assert {state["state"] for state in one.states().values()} <= {"cancelled", "done"}
        one.submit()  # and again: what is left is sent
        one.finish(9)
    finally:
        cluster.run("scancel", theirs, check=False)


@long
def test_an_unknown_partition_and_a_refused_job_are_one_line(grid: Make) -> None:
    one = grid(settings='partition = "mian"\n')
    said = one.submit(expect=2)
    assert "did you mean 'main'?" in said and "Traceback" not in said
    (one.work / "cluster.toml").write_text("gpus_per_node = 0\n[finetune]\nmemory_gb = 5000\n")
    said = one.submit(expect=1)
    assert "refused:" in said and "Traceback" not in said
    assert "Requested node configuration is not available" in one.run("status", "--json")
    one.finish(1)
    one.run("cancel")


@long
def test_scripts_written_out_run_as_the_submission_would(cluster: Cluster, grid: Make, local: Grid) -> None:
    one = grid()
    said = one.submit("--emit-sbatch", "scripts")
    assert "scripts/submit.sh" in said and not one.results()
    subprocess.run(["sh", "scripts/submit.sh"], cwd=one.work, env=one.environment, check=True, capture_output=True)
    again = one.submit()
    assert "3 runs are in flight already" in again  # known though a person submitted them
    one.finish(3)
    assert same(one, local)


@long
def test_a_run_that_crashes_fails_alone(grid: Make) -> None:
    one = grid(plain=True)
    crash = 'if run.task.name == "cola" and isinstance(run.init, str):\n        __import__("ctypes").string_at(0)\n    '
    one.patch("muppet/finetune.py", START, crash + START)
    one.submit()
    one.finish(4)
    failed = {name: state for name, state in one.states().items() if state["state"] == "failed"}
    assert len(failed) == 1 and "SIGSEGV" in next(iter(failed.values()))["why"]
