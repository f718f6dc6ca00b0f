"""From runs to jobs to arrays: pure planning, no scheduler asked.

Pre-finetunings get a job each. Fine-tunings are packed so that starting up does not dominate, yet spread widely enough
to use the array's parallelism. Jobs whose parent is still to come stand in arrays of their own, one dependency each.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace

from muppet.runs import Run, parent, run_id
from studies.kit import cost
from studies.kit.launch.slurm.cluster import STARTUP_S, Cluster, Resources, resources

WORTHWHILE_S = 10 * STARTUP_S  # a packed job lasts at least so long, so that starting up is a tenth of it


@dataclass(frozen=True, kw_only=True)
class PackedJob:
    """Runs that share a job, in order. `parent`: the run that must have finished before, when it has not yet."""

    ids: tuple[str, ...]
    parent: str | None
    resources: Resources
    seconds: float  # estimated, on one process


@dataclass(frozen=True, kw_only=True)
class JobArray:
    """Jobs with the same resources and the same parent, few enough for one sbatch."""

    jobs: tuple[PackedJob, ...]
    parent: str | None
    resources: Resources


def pack(
    runs: Mapping[str, Run], cluster: Cluster, calibration: cost.Calibration, *, done: Set[str] = frozenset()
) -> list[PackedJob]:
    """Jobs for `runs` (by id), parents first. `done`: ids of parents that need not be waited for."""
    groups: dict[tuple[str | None, Resources], list[tuple[str, float]]] = {}
    packed: list[PackedJob] = []
    shapes: dict[tuple[cost.Size, int], Resources] = {}  # ten thousand fine-tunings have a handful of shapes
    for name, run in runs.items():
        if run.stage == "prefinetune":
            took = cost.seconds(run, calibration)
            asked = resources(run, cluster, seconds=took)
            packed.append(PackedJob(ids=(name,), parent=None, resources=asked, seconds=took))
            continue
        above = run_id(first) if (first := parent(run)) else None
        waits = None if above in done else above
        kind = (cost.model_size(run), run.recipe.sub_batches)
        if kind not in shapes:
            shapes[kind] = replace(resources(run, cluster, seconds=0), minutes=0)
        groups.setdefault((waits, shapes[kind]), []).append((name, cost.seconds(run, calibration)))
    for (waits, _), members in groups.items():
        for ids, took in _spread(members, cluster):
            shared = resources(runs[ids[0]], cluster, seconds=took)
            packed.append(PackedJob(ids=ids, parent=waits, resources=shared, seconds=took))
    return packed


def _spread(members: list[tuple[str, float]], cluster: Cluster) -> list[tuple[tuple[str, ...], float]]:
    """Split (id, seconds) into jobs of about equal length, the longest runs first to the emptiest job."""
    total = sum(took for _, took in members)
    target = max(WORTHWHILE_S, min(cluster.pack_minutes * 60, total / cluster.array_parallelism))
    if cluster.pack_minutes == 0:
        target = 0.0
    bins = max(1, min(len(members), math.ceil(total / target) if target else len(members)))
    held: list[list[str]] = [[] for _ in range(bins)]
    load = [(0.0, place) for place in range(bins)]  # a heap
    for name, took in sorted(members, key=lambda pair: -pair[1]):
        least, emptiest = load[0]
        heapq.heapreplace(load, (least + took, emptiest))
        held[emptiest].append(name)
    return [(tuple(held[place]), took) for took, place in sorted(load, key=lambda pair: pair[1]) if held[place]]


def arrays(jobs: Iterable[PackedJob], max_array: int) -> list[JobArray]:
    """Jobs as arrays that sbatch takes: an array's greatest index is below `max_array` (SLURM's MaxArraySize)."""
    groups: dict[tuple[object, ...], list[PackedJob]] = {}
    for job in jobs:
        stage = job.ids[0].split("-", 1)[0]
        groups.setdefault((stage, job.parent, replace(job.resources, minutes=0)), []).append(job)
    split = []
    for members in groups.values():
        ordered = sorted(members, key=lambda job: -job.seconds)
        for start in range(0, len(ordered), max(1, max_array)):
            chunk = tuple(ordered[start : start + max(1, max_array)])
            longest = max((job.resources for job in chunk), key=lambda r: r.minutes)
            split.append(JobArray(jobs=chunk, parent=chunk[0].parent, resources=longest))
    return sorted(split, key=lambda array: not array.jobs[0].ids[0].startswith("prefinetune"))
