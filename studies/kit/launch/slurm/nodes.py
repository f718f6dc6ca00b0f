"""Nodes on which runs keep failing of the node's own faults: what is sent leaves them out, for a day."""

from __future__ import annotations

import re
import time
from collections.abc import Collection

from studies.kit.ledger import folder

FAULT = re.compile(
    r"CUDA error|cudaError|No CUDA GPUs|NCCL|uncorrectable ECC|\bXid\b|SIGBUS|SIGILL|Input/output error|"
    r"Stale file handle|Transport endpoint",
    re.IGNORECASE,
)
RUNS = 3  # that must have failed on a node, each of a fault, before it is left out
WITHIN_S = 86_400.0  # that a fault counts


def faulty() -> dict[str, str]:
    """Node → why it is left out; those with the most faults first."""
    runs: dict[str, dict[str, str]] = {}
    for one in folder.faults():
        if abs(time.time() - one["when"]) < WITHIN_S and FAULT.search(one["error"]):
            runs.setdefault(one["node"], {})[one["run"]] = one["error"]
    worst = sorted(runs.items(), key=lambda pair: -len(pair[1]))
    return {
        node: f"{len(errors)} runs failed there within a day, last: {list(errors.values())[-1].splitlines()[0]}"
        for node, errors in worst
        if len(errors) >= RUNS
    }


def left_out(nodes: Collection[str]) -> dict[str, str]:
    """The faulty ones of a cluster's `nodes`, at most a quarter of them: where most fail, it is not the nodes."""
    bad = {node: why for node, why in faulty().items() if node in nodes}
    return dict(list(bad.items())[: max(1, len(nodes) // 4)]) if len(nodes) > 1 else {}
