"""2,000 runs that do nothing, through plan, submit, the scheduler, status and collect: where the time of a grid goes.

    python -m tests.slurm_cluster run -- python -m benchmarks.grid            # 2,000 runs, one to a job
    python -m tests.slurm_cluster run -- python -m benchmarks.grid --per-job 10

The same number of jobs that run `srun true` is timed beside it, half of them before and half after, so that a change of
the machine's mood hits both: what the scheduler takes for itself. What our jobs take beyond that is their start: an
interpreter, imports, a result written. On one machine both share its cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from muppet.paths import write_text

if TYPE_CHECKING:
    from muppet.runs import Finetune
    from studies.kit.cost import Calibration

PROFILE = "paper"
SETTINGS = "gpus_per_node = 0\narray_parallelism = 64\npack_minutes = {minutes}\n[finetune]\nmemory_gb = 0.25\n"  # as `srun true` asks
READY = Path("ready")  # results written beforehand
SCHEDULER, START = "scheduler: the same jobs with `srun true`", "our jobs' start: interpreter, imports, a result"


def no_op(profile: str, ids: Sequence[str]) -> dict[str, str]:
    """A runner that does nothing: puts results in place, whole."""
    for name in ids:
        text = (READY / f"{name}.json").read_text(encoding="utf-8")
        write_text(Path("results") / profile / "finetune" / f"{name}.json", text)
    return dict.fromkeys(ids, "done")


def declare(count: int) -> dict[str, Finetune]:
    """Runs that differ in their seed, by id; their results lie ready."""
    from muppet.result import Result, Score, write
    from muppet.runs import Finetune, Recipe, facts, run_id
    from muppet.tasks import get

    recipe, task = Recipe(lr=1e-3, max_tokens=256, updates=1), get("rte")
    runs = [Finetune(init="tiny/roberta", task=task, recipe=recipe, seed=s, source="twins") for s in range(count)]
    for run in runs:
        result = Result(
            id=run_id(run),
            facts=facts(run),
            scores={task.key(): Score(value=0.5, n=1, low=0.4, high=0.6)},
            data={},
            training={},
            cost={"seconds": 0.001, "device": "cpu", "processes": 1},
            environment={"dirty": False},
        )
        write(result, READY / f"{run_id(run)}.json")
    return {run_id(run): run for run in runs}


def main(argv: Sequence[str] | None = None) -> int:
    """Run it in a folder of its own, print the shares and keep them."""
    from benchmarks.common import RESULTS
    from studies.kit.launch.slurm.arrays import WORTHWHILE_S

    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--per-job", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder of the JSON file (default benchmarks/results)"
    )
    args = parser.parse_args(argv)
    out, root = args.out.absolute(), Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix="grid-") as folder:
        os.chdir(folder)
        os.environ |= {"MUPPET_ARTIFACTS": f"{folder}/artifacts"}
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        Path("cluster.toml").write_text(SETTINGS.format(minutes=WORTHWHILE_S / 60))
        seconds = measure(args.runs, args.per_job)
        os.chdir(root)
    report(seconds, args.runs, args.per_job, out)
    return 0


def report(seconds: Mapping[str, float], count: int, per_job: int, out: Path) -> None:
    """Print and write the phases with their shares of the whole."""
    from benchmarks.common import Bar, Report

    whole = sum(seconds.values())
    ours = whole - seconds[SCHEDULER] - seconds[START]
    made = Report(
        name="grid",
        rows=[{"phase": phase, "seconds": took, "share": took / whole} for phase, took in seconds.items()],
        settings={
            "runs": count,
            "jobs": -(-count // per_job),
            "per_job": per_job,
            "cluster": "3 nodes of 2 CPUs, loopback",
        },
        bars=[
            Bar(what="share of the scheduler's own time", bar=0.5, measured=seconds[SCHEDULER] / whole),
            Bar(what="share of plan, submit, status and collect", bar=0.1, measured=ours / whole, at_least=False),
        ],
    )
    print(made.text())
    print(f"wrote {made.write(out)}")


def measure(count: int, per_job: int) -> dict[str, float]:
    """Seconds of each phase."""
    from studies.kit.launch import status
    from studies.kit.launch.plan import plan
    from studies.kit.launch.slurm import cluster, submit
    from studies.kit.ledger.cells import cells_frame
    from studies.kit.ledger.folder import result_path
    from studies.kit.study import Cell, Study

    seconds: dict[str, float] = {}
    started = time.monotonic()

    def lap() -> float:
        nonlocal started
        before, started = started, time.monotonic()
        return started - before

    runs = declare(count)
    score = next(iter(runs.values())).task.key()
    cells = tuple(
        Cell(row="plain", column=f"{n}", runs=tuple(runs.values())[n::20], score=score) for n in range(min(20, count))
    )
    study = Study(name="ablations", title="a grid", kind="table", cells=cells)
    jobs = -(-count // per_job)
    alone = scheduler_alone(jobs // 2)
    lap()
    made = plan({"ablations": study}, PROFILE)
    settings = cluster.read()
    seconds["plan: what is done, what is missing"] = lap()
    sent = submit.send(
        replace(made, calibration=packing(next(iter(runs.values())), per_job)),
        settings,
        yes=True,
        say=lambda text: None,
        runner="benchmarks.grid:no_op",
    )
    assert sent.submission is not None and len(sent.sent) == count and not sent.refused
    assert sum(len(array.runs) for array in sent.submission.arrays) == jobs
    seconds["submit: pack, snapshot, sbatch, look again"] = lap() - submit.CONFIRM_S  # in which jobs run already
    folder = result_path(PROFILE, next(iter(runs))).parent
    while not folder.is_dir() or sum(1 for name in os.listdir(folder) if name.endswith(".json")) < count:
        time.sleep(0.2)
    finish(sent.job_ids)
    jobs_ran = lap() + submit.CONFIRM_S
    report = status.look(runs, PROFILE)
    assert {state.state for state in report.states.values()} == {"done"}
    seconds["status: one look at everything"] = lap()
    frame = cells_frame(study, PROFILE)
    assert set(frame["state"]) == {"measured"} and int(frame["runs_done"].sum()) == count
    seconds["collect: into cells"] = lap()
    alone += scheduler_alone(jobs - jobs // 2)
    return seconds | {SCHEDULER: alone, START: max(0.0, jobs_ran - alone)}


def packing(run: Finetune, per_job: int) -> Calibration:
    """Under which a job is worthwhile with `per_job` runs like `run`: a hair less, so that no rounding makes one more."""
    from studies.kit import cost
    from studies.kit.launch.slurm.arrays import WORTHWHILE_S

    factor = (1 - 1e-9) * WORTHWHILE_S / per_job / cost.seconds(run, device="cpu")
    return cost.Calibration(factor={("cpu", "", ""): factor})


def scheduler_alone(jobs: int) -> float:
    """Seconds that arrays of the same number of `srun true` take."""
    started = time.monotonic()
    ids = []
    for start in range(0, jobs, 1000):
        last = min(1000, jobs - start) - 1
        command = ["sbatch", "--parsable", f"--array=0-{last}", "--output=/dev/null", "--wrap", "srun true"]
        ids.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    finish(ids)
    return time.monotonic() - started


def finish(ids: Sequence[str]) -> None:
    """Wait until none of the jobs is left in the queue."""
    while subprocess.run(["squeue", "-h", "-j", ",".join(ids)], capture_output=True, text=True).stdout.strip():
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
