"""Runs on this machine: what it has, whether to ask first, and the launch itself (`crew.py` has its workers)."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from muppet import paths
from muppet.errors import UserError
from muppet.runtime.asked import asked
from muppet.runtime.rank import this_process
from studies.kit.decisions import OVERRIDE
from studies.kit.launch import RUNNER
from studies.kit.launch.crew import Launch, Tally
from studies.kit.launch.plan import Plan
from studies.kit.ledger.folder import RESULTS
from studies.kit.show import hours

DEV = Path("/dev")
ASK_ABOVE_S = 3 * 3600.0  # estimated wall time above which YES=1 is asked for
SHARING = 8  # workers on one GPU whose models are small: each by itself leaves it idle while kernels are launched


def gpus() -> list[str]:
    """The GPUs of this machine that runs may use, as CUDA_VISIBLE_DEVICES names them; no torch. Raises UserError where
    MUPPET_DEVICE=cuda finds none."""
    device, allowed = asked("MUPPET_DEVICE"), os.environ.get("CUDA_VISIBLE_DEVICES")
    if device == "cpu":
        return []
    found = present()
    if not found and (device or allowed) and any((DEV / node).exists() for node in ("kfd", "dxg")):
        found = ["0"]  # AMD's, or one under Windows, which torch calls cuda too; unasked, it may be a screen's alone
    if found and allowed is not None:
        found = [name for name in allowed.split(",") if name and name != "-1"]
    if device and not found:
        raise UserError(
            "MUPPET_DEVICE=cuda, but nvidia-smi or /dev shows no GPU of this machine that CUDA_VISIBLE_DEVICES allows;"
            " unset it, or LAUNCHER=slurm sends the runs to a cluster"
        )
    return found


def present() -> list[str]:
    """NVIDIA's GPUs of this machine, numbered, whatever CUDA_VISIBLE_DEVICES names."""
    if not shutil.which("nvidia-smi"):  # as in a container that has a GPU and none of its tools
        return [str(i) for i in range(len([*DEV.glob("nvidia[0-9]*")]))]
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    return [str(i) for i, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


def default_jobs(planned: Plan) -> int:
    """A worker per GPU, `SHARING` of them where no model is of a GPU's size; else two where there are two cores."""
    each = 1 if planned.wants_gpu else min(SHARING, os.cpu_count() or 1)
    return len(gpus()) * each or min(2, os.cpu_count() or 1)


def ask(planned: Plan, jobs: int, yes: bool) -> None:
    """Raise UserError when what is to do takes long here and nobody has said yes."""
    devices, cores = gpus(), os.cpu_count() or 1
    took = planned.seconds("gpu") / min(jobs, len(devices)) if devices else planned.seconds("cpu") / cores
    if yes or took <= ASK_ABOVE_S:
        return
    machine = f"{len(devices)} GPU(s)" if devices else f"{cores} CPU core(s) without a GPU"
    raise UserError(
        f"PROFILE={planned.profile}: {len(planned.to_do):,} runs would take about {hours(took)} on this machine "
        f"({machine}), or {planned.seconds('gpu') / 3600:,.0f} GPU-hours. YES=1 runs them here, LAUNCHER=slurm "
        "on a cluster; RUN=0 renders what is there"
    )


def launch(planned: Plan, args: argparse.Namespace) -> int:
    """`make … LAUNCHER=local`: do what is to do, here and now → exit status: 1 when a run failed."""
    if not planned.to_do:
        return 0
    if this_process().count > 1:
        raise UserError("workers start by themselves, once: call this without torchrun or srun, or with JOBS=n workers")
    jobs = args.jobs or default_jobs(planned)
    ask(planned, jobs, args.yes or args.hours is not None)
    for place in (paths.artifacts(), RESULTS / planned.profile):
        paths.probe(place)
    first, then = map(len, planned.waves)
    estimate = planned.seconds("gpu" if gpus() else "cpu") / jobs
    print(f"to do: {first} pre-finetunings, {then} fine-tunings, {jobs} at a time; about {hours(estimate)}", flush=True)
    tally = run(planned, jobs, until=time.monotonic() + 3600 * args.hours if args.hours else None)
    done, failed, left = tally.count("done", "skipped"), tally.count("failed"), tally.count("waiting", "stopped")
    if tally.interrupted:
        print(f"stopped: {done} runs are done and kept, {left} are left; the same command goes on", file=sys.stderr)
        raise KeyboardInterrupt
    if failed:
        print(f"{failed} of {len(planned.to_do)} runs failed, {left} wait for a failed one; see above", file=sys.stderr)
    if tally.seconds:
        print(_time_is_up(tally, jobs, args))
    return 1 if failed else 0


def _time_is_up(tally: Tally, jobs: int, args: argparse.Namespace) -> str:
    """What is left when no other run would end in time, and the command that goes on."""
    whole, least = hours(sum(tally.seconds.values()) / jobs), min(tally.seconds.values())
    said = f"the time is up: {tally.count('done', 'skipped')} of {len(tally.outcomes):,} runs are done, "
    said += f"{len(tally.seconds):,} are left, about {whole} (the shortest {hours(least)}); "
    return said + ("HOURS is too short for any; " * (least > 3600 * args.hours)) + f"to go on: {command(args)}"


def command(args: argparse.Namespace) -> str:
    """The `make` line that asks for the same again."""
    given = {
        name.upper(): str(getattr(args, name)) for name in ("profile", "only", "claim", "seeds", "search", "jobs")
    } | {"HOURS": f"{args.hours:g}", "DECIDE": os.environ.get(OVERRIDE, "")}
    words = [f"{name}={shlex.quote(value)}" for name, value in given.items() if value not in ("", "None")]
    return " ".join(["make", args.command, *words])


def run(planned: Plan, jobs: int, runner: str = RUNNER, until: float | None = None) -> Tally:
    """Do what `planned` has to do with `jobs` workers; returns what came of each run.

    `runner` is a `module:function` like `worker.execute`. No run is started that would not end before `until`, by
    `time.monotonic`.
    """
    width = max(1, min(jobs, len(planned.to_do)))
    threads = max(1, (os.cpu_count() or 1) // width)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # workers inherit these
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return Launch(planned, width, runner, until, gpus()).loop()
