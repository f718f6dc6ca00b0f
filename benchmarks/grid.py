"""2,000 runs that do nothing, through plan, submit, the scheduler, status and collect: where the time of a grid goes.

    python -m tests.slurm_cluster run -- python -m benchmarks.grid            # 2,000 runs, one to a job
    python -m tests.slurm_cluster run -- python -m benchmarks.grid --per-job 10

The same number of jobs that run `true` is timed beside it: what the scheduler alone takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from muppet.result import Result, Score, write
from muppet.runs import Finetune, Recipe, Run, facts, run_id
from muppet.tasks import get
from studies.kit.study import Cell, Study

PROFILE = "paper"
SETTINGS = "gpus_per_node = 0\narray_parallelism = 64\n"


@lru_cache(maxsize=1)
def declared(count: int) -> dict[str, Run]:
    """`count` fine-tunings that differ in their seed."""
    recipe = Recipe(lr=1e-3, max_tokens=256, updates=1)
    made = (Finetune(init="tiny/roberta", task=get("rte"), recipe=recipe, seed=s, source="twins") for s in range(count))
    return {run_id(run): run for run in made}


def no_op(profile: str, ids: Sequence[str]) -> dict[str, str]:
    """A runner that trains nothing: writes a whole result at once."""
    from studies.kit.collect import result_path

    for name in ids:
        run = declared(int(os.environ["MUPPET_GRID"]))[name]
        score = Score(value=0.5, n=1, low=0.4, high=0.6)
        result = Result(
            id=name, facts=facts(run), scores={get("rte").key(): score}, data={}, training={},
            cost={"seconds": 0.001, "device": "cpu", "processes": 1}, environment={"dirty": False},
        )  # fmt: skip
        write(result, result_path(profile, name))
    return dict.fromkeys(ids, "done")


def main(argv: Sequence[str] | None = None) -> int:
    """Run it in a folder of its own and print the shares."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--per-job", type=int, default=1)
    args = parser.parse_args(argv)
    root = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="grid-") as folder:
        os.chdir(folder)
        os.environ |= {"MUPPET_ARTIFACTS": f"{folder}/artifacts", "MUPPET_GRID": str(args.runs)}
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        Path("cluster.toml").write_text(SETTINGS)
        seconds = measure(args.runs, args.per_job)
        jobs = -(-args.runs // args.per_job)
        alone = raw(jobs)
    whole = sum(seconds.values())
    print(f"{args.runs} runs in {jobs} jobs, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for phase, took in seconds.items():
        print(f"{phase:46}{took:8.2f} s {took / whole:7.1%}")
    print(f"{'the same number of jobs that run `true`':46}{alone:8.2f} s {alone / whole:7.1%}")
    return 0


def measure(count: int, per_job: int) -> dict[str, float]:
    """Seconds of each phase."""
    from studies.kit import cluster, collect, cost, jobs, status, submit
    from studies.kit.plan import plan

    seconds: dict[str, float] = {}
    started = time.monotonic()

    def lap(phase: str) -> None:
        nonlocal started
        now = time.monotonic()
        seconds[phase], started = now - started, now

    runs = declared(count)
    cells = tuple(
        Cell(row="plain", column=f"{n}", runs=tuple(runs.values())[n::20], score=get("rte").key()) for n in range(20)
    )
    study = Study(name="ablations", title="a grid", kind="table", cells=cells)
    made = plan({"ablations": study}, PROFILE)
    lap("plan: what is done, what is missing")
    settings = cluster.read()
    each = cost.plain_seconds(next(iter(runs.values())))
    factor = {("", ""): jobs.WORTHWHILE_S / per_job / each}  # so that a packed job holds `per_job` runs
    sent = submit.send(
        made.to_do, profile=PROFILE, artefacts=("ablations",), settings=settings, say=lambda text: None,
        calibration=cost.Calibration(factor=factor, runs=1, off=1.0), runner="benchmarks.grid:no_op",
    )  # fmt: skip
    assert len(sent.sent) == count and not sent.refused
    lap("submit: pack, snapshot, sbatch, look again")
    seconds["submit: pack, snapshot, sbatch, look again"] -= submit.CONFIRM_S
    folder = collect.result_path(PROFILE, next(iter(runs))).parent
    while not folder.is_dir() or sum(1 for _ in folder.iterdir()) < count:
        time.sleep(0.2)
    lap("in the scheduler's hands, to the last result")
    seconds["in the scheduler's hands, to the last result"] += submit.CONFIRM_S
    report = status.look(runs, PROFILE)
    assert {state.state for state in report.states.values()} == {"done"}
    lap("status: one look at everything")
    frame = collect.cells_frame(study, PROFILE)
    assert set(frame["state"]) == {"measured"} and int(frame["runs_done"].sum()) == count
    lap("collect: into cells")
    return seconds


def raw(jobs: int) -> float:
    """Seconds that arrays of the same number of `srun true` take."""
    started = time.monotonic()
    ids = []
    for start in range(0, jobs, 1000):
        last = min(1000, jobs - start) - 1
        command = ["sbatch", "--parsable", f"--array=0-{last}", "--output=/dev/null", "--wrap", "srun true"]
        ids.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    while subprocess.run(["squeue", "-h", "-j", ",".join(ids)], capture_output=True, text=True).stdout.strip():
        time.sleep(0.5)
    return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
