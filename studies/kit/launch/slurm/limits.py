"""How many more jobs a site takes from us: its limits, read where the controller tells them."""

from __future__ import annotations

import math
import os
import pwd
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from muppet.errors import UserError
from studies.kit.launch.slurm import controller
from studies.kit.launch.slurm.arrays import JobArray
from studies.kit.launch.slurm.cluster import Cluster
from studies.kit.launch.slurm.controller import Entry


def room(entries: Sequence[Entry], settings: Cluster) -> tuple[float, str]:
    """How many more jobs fit, elements of arrays counted one by one, and the limit that says so."""
    ours = sum(entry.active for entry in entries)
    known = [(math.inf, "no limit is known")]
    if settings.max_jobs is not None:
        known.append((settings.max_jobs - ours, f"max_jobs = {settings.max_jobs} in cluster.toml"))
    try:
        config = controller.ask("scontrol", "show", "config")
        if number := re.search(r"^MaxJobCount\s*=\s*(\d+)", config, re.MULTILINE):
            all_jobs = len(controller.ask("squeue", "--noheader", "--array", "--states=all", "--format=%i").split())
            # One less than it says, ended jobs that it still remembers included: tried on 22.05.
            known.append((int(number[1]) - 1 - all_jobs, f"the controller's MaxJobCount = {number[1]}"))
        if re.search(r"^AccountingStorageEnforce\s*=.*\b(limits|safe)\b", config, re.MULTILINE):
            known += [(limit - ours, f"{name} = {limit}") for limit, name in _of_account(settings)]
    except UserError:
        pass  # where nothing is told, sbatch will say when it is full
    return min(known)


def _of_account(settings: Cluster) -> list[tuple[int, str]]:
    """(limit, its name) of jobs submitted, of this user's association and quality of service."""
    user = pwd.getpwuid(os.getuid()).pw_name
    shown = _accounting("user", user, "withassoc", "format=DefaultAccount,Account,MaxSubmitJobs,DefaultQOS,QOS")
    limits: list[tuple[int, str]] = []
    for line in shown.splitlines():
        default, account, jobs, own, many = line.split("|")
        if account != (settings.account or default):
            continue
        limits += [(int(jobs), f"MaxSubmitJobs of account {account}")] if jobs.isdigit() else []
        qos = settings.qos or own or (many if "," not in many else "normal")
        shown = _accounting("qos", qos, "format=MaxSubmitJobsPerUser")
        limits += [(int(jobs), f"MaxSubmitJobsPerUser of QOS {qos}") for jobs in shown.split() if jobs.isdigit()]
    return limits


def _accounting(kind: str, name: str, *more: str) -> str:
    return controller.ask("sacctmgr", "--noheader", "--parsable2", "show", kind, "where", f"name={name}", *more)


def fitting(arrays: Iterable[JobArray], count: float) -> list[JobArray]:
    """The first `count` jobs of `arrays`, the last array cut."""
    kept = []
    for array in arrays:
        if count < 1:
            break
        kept.append(replace(array, jobs=array.jobs[: int(min(len(array.jobs), count))]))
        count -= len(kept[-1].jobs)
    return kept
