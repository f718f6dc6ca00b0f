"""The grid on a real slurmctld and several slurmd, from submission to result, beside what the local launcher makes.

What the cluster does to jobs is in test_slurm_faults.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slurm_cluster import Cluster, missing
from tests.slurm_grid import ROOT, Grid, Make, same

pytestmark = pytest.mark.skipif(
    bool(missing()), reason=f"SLURM is not installed ({', '.join(missing())}): python -m tests.slurm_cluster install"
)
# Where a worker turns to either stage.
PARENT, CHILD = "from muppet.stages.prefinetune import", "from muppet.stages.finetune import"


def test_a_grid_equals_the_local_one_is_sent_once_and_later_edits_change_nothing(
    cluster: Cluster, grid: Make, local: Grid
) -> None:
    one = grid(plain=True, waits=True, env={"HF_TOKEN": "hf_ofthistest"})
    said = one.submit()
    child = re.search(r"submitted (\d+): .* after \d+", said)  # fine-tunings wait for their pre-finetuning
    assert child
    cluster.run("scontrol", "hold", child[1])
    assert "held" in {state["state"] for state in one.states().values()}
    assert f"released {child[1]}" in one.run("retry", "--launcher", "slurm")
    again = one.submit()  # the impatient second make
    assert "5 runs are in flight already" in again and "nothing to submit" in again
    (one.code / "studies/ablations.py").write_text("raise SystemExit('edited after submission')\n")
    one.go()
    one.finish(5)
    assert same(one, local)
    assert len(list(one.work.glob("artifacts/runs/*/metrics.jsonl"))) == 5
    written = [path for path in one.folder.rglob("*") if path.is_file()]
    assert len(written) > 50 and not [path for path in written if b"hf_ofthistest" in path.read_bytes()]


def test_a_parent_that_fails_holds_its_children_and_retry_mends_it(grid: Make) -> None:
    one = grid()
    good = (one.code / "studies/kit/launch/worker.py").read_text()
    one.patch("studies/kit/launch/worker.py", PARENT, 'raise OSError("no such luck")\n    ' + PARENT)
    one.submit()
    one.until(one.idle, "all jobs have ended")
    states = one.states()
    parent = one.parent
    assert states[parent]["state"] == "failed" and "no such luck (3×)" in states[parent]["why"]
    assert Path(one.work / states[parent]["log"]).exists()
    record = json.loads((one.work / f"artifacts/runs/{parent}/failure.json").read_text())
    assert record["count"] == 3 and "no such luck" in record["traceback"]
    children = [state for name, state in states.items() if "-muppet-" in name]
    assert [(child["state"], child["why"]) for child in children] == 2 * [("missing", f"its parent {parent} failed")]
    assert "its parent" in one.joblogs() and "has no result" in one.joblogs()
    said = one.submit()
    assert "not tried again" in said and "nothing to submit" in said
    (one.code / "studies/kit/launch/worker.py").write_text(good)
    one.run("retry", "--launcher", "slurm")
    one.finish(3)
    assert set(state["state"] for state in one.states().values()) == {"done"}


def test_two_nodes_of_two_tasks_share_one_pre_finetuning(grid: Make, local: Grid) -> None:
    one = grid(settings="[prefinetune]\nnodes = 2\ntasks_per_node = 2\n")
    one.submit()
    one.parent_is_done()
    result = one.results()[one.parent]
    assert result["cost"]["processes"] == 4
    ours, theirs = one.outcome()[one.parent][1], local.outcome()[one.parent][1]
    assert ours["last_loss"] == pytest.approx(theirs["last_loss"], rel=1e-3)  # the same steps, to float tolerance


def test_an_array_above_the_limit_is_cut_and_cancel_takes_ours_alone(cluster: Cluster, grid: Make) -> None:
    one = grid(waits=True, seeds=2, settings="pack_minutes = 0\narray_parallelism = 2\n")
    said = one.submit()
    sizes = [int(n) for n in re.findall(r"submitted \d+: (\d+) jobs", said)]
    assert sizes == [1, 3, 1]  # a parent and four children, three elements at most
    theirs = cluster.run("sbatch", "--parsable", "--wrap", "sleep 60", "--output=/dev/null").strip()
    try:
        told = one.run("cancel")
        assert re.search(r"cancelled \d+ jobs with \d+ runs", told)
        assert cluster.run("squeue", "-h", "-j", theirs, "-o", "%T").strip() in ("PENDING", "RUNNING")
        assert {state["state"] for state in one.states().values()} == {"cancelled"}
        assert "5 runs in flight" in one.submit()  # and again, at once, though the old jobs are still being ended
        one.go()
        one.finish(5)
    finally:
        cluster.run("scancel", theirs, check=False)


def test_a_parent_sent_again_takes_its_waiting_children_along(cluster: Cluster, grid: Make) -> None:
    one = grid(waits=True)
    parent, child = re.findall(r"submitted (\d+)", one.submit())
    cluster.run("scontrol", "hold", child)  # so that it does not start before we look
    cluster.run("scancel", parent)
    one.until(lambda: one.queue()[parent].startswith("CANCELLED"), "the parent's job has ended")
    said = one.submit()
    assert f"{child} now waits for " in said and "1 runs in flight as" in said
    cluster.run("scontrol", "release", child)
    one.go()
    one.finish(3)
    assert "has no result" not in one.joblogs()


def test_an_unknown_partition_and_a_refused_job_are_one_line(grid: Make) -> None:
    one = grid(settings='partition = "mian"\n')
    said = one.submit(expect=2)
    assert "did you mean 'main'?" in said and "Traceback" not in said
    (one.work / "cluster.toml").write_text("gpus_per_node = 0\nask_above_hours = 0\n[finetune]\nmemory_gb = 5000\n")
    said = one.submit(expect=2)
    assert "3 runs would take" in said and "YES=1" in said and not list(one.work.glob("artifacts/submissions/2*"))
    said = one.submit("--yes", expect=1)
    assert "refused:" in said and "Traceback" not in said
    assert "Requested node configuration is not available" in one.run("status", "--json")
    one.finish(1)
    one.run("cancel")


def test_scripts_written_out_run_as_the_submission_would(cluster: Cluster, grid: Make, local: Grid) -> None:
    one = grid(waits=True)
    said = one.submit("--emit-sbatch", "scripts")
    assert "scripts/submit.sh" in said and not one.results()
    subprocess.run(["sh", "scripts/submit.sh"], cwd=one.work, env=one.environment, check=True, capture_output=True)
    again = one.submit()
    assert "3 runs are in flight already" in again  # known though a person submitted them
    one.go()
    one.finish(3)
    assert same(one, local)


def test_the_grid_benchmark_still_runs(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.grid", "--runs", "4", "--per-job", "2", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=cluster.env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "grid.json").read_text())["settings"]["jobs"] == 2


def test_a_run_that_crashes_fails_alone(grid: Make) -> None:
    # Jobs start without the user's environment here; what `setup` and a prefix set must reach Python all the same.
    settings = 'setup = ["export FROM_SETUP=yes"]\nprefix = "env FROM_PREFIX=yes"\npartition = "main,high"\n'
    one = grid(plain=True, settings=settings + '[sbatch]\nexport = "NONE"\n')
    faults = [{"node": "127.0.0.1", "run": run, "error": "CUDA error", "when": time.time()} for run in "abc"]
    (one.work / "artifacts/failures.jsonl").write_text("".join(json.dumps(fault) + "\n" for fault in faults))
    reached = '{"FROM_SETUP", "FROM_PREFIX"} <= set(__import__("os").environ)'
    crash = (
        f'if run.task.name == "cola" and isinstance(run.init, str) and {reached}:\n'
        '            __import__("ctypes").string_at(0)\n'
    )
    one.patch("studies/kit/launch/worker.py", CHILD, f"{crash}        {CHILD}")
    assert "node 127.0.0.1 is left out: 3 runs failed there" in one.submit()
    one.finish(4)
    used = set(re.findall(r"nodename=(\S+)", one.joblogs()))
    assert used and "127.0.0.1" not in used
    assert "node 127.0.0.1 is left out" in one.run("status")
    failed = {name: state for name, state in one.states().items() if state["state"] == "failed"}
    assert len(failed) == 1 and "SIGSEGV" in next(iter(failed.values()))["why"]
