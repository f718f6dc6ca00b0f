"""How much of a synchronous step 1 to 64 workers spend computing, and how much waiting for the slowest: no model, FLOPs only.

An update is 64 batches of the full-size mixture; each worker computes its share of them and then waits. The cost of a
batch is that of RoBERTa-base's matrix products on its padded tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from benchmarks import policies
from benchmarks.common import Bar, Report
from benchmarks.mixture import Mixture, artifacts, minilm, mixture
from muppet.runs import Recipe
from muppet.runtime.device import MICRO_TOKENS
from muppet.training.batching import SubBatch
from muppet.training.forwards import Piece, assign, micro_batches, packs

RECIPE = Recipe(lr=1e-5, max_tokens=4400, updates=1, max_length=512)
WORKERS = (1, 2, 4, 8, 16, 32, 64)
LAYERS, WIDTH = 12, 768  # RoBERTa-base
UPDATES = 40

Loads = Callable[[Sequence[SubBatch], int], list[float]]  # an update's batches, workers → FLOPs of each worker


def flops(tokens: float, length: float) -> float:
    """Of `tokens` in rows of `length`, forward and backward."""
    return tokens * LAYERS * WIDTH * (72.0 * WIDTH + 12.0 * length)


def in_order(batches: Sequence[SubBatch], workers: int) -> list[float]:
    """Every worker takes the next 64 / workers batches."""
    costs = np.array([flops(batch.tokens, batch.length) for batch in batches])
    return costs.reshape(workers, -1).sum(axis=1).tolist()


def padded(batches: Sequence[SubBatch], workers: int) -> list[float]:
    """This project's padded forwards, longest first to the least loaded worker."""
    limit = min(MICRO_TOKENS, max(batch.tokens for batch in batches))
    return _loads(micro_batches(batches, ones(batches), ["rows"] * len(batches), limit, flops), workers)


def packed(batches: Sequence[SubBatch], workers: int) -> list[float]:
    """This project's packed forwards."""
    return _loads(packs(batches, ones(batches), MICRO_TOKENS, workers, flops), workers)


def ones(batches: Sequence[SubBatch]) -> list[np.ndarray]:
    """Equal weights: they cost nothing."""
    return [np.ones(len(batch.units)) for batch in batches]


def _loads(forwards: Sequence[Sequence[Piece]], workers: int) -> list[float]:
    costs = [sum(piece.cost for piece in pieces) for pieces in forwards]
    return [sum(costs[i] for i in share) for share in assign(costs, workers)]


def efficiency(
    mixed: Mixture, policy: policies.Policy, loads: Loads, recipe: Recipe, workers: int, updates: int
) -> tuple[float, float]:
    """(mean load over the largest, useful FLOPs over all that the workers could have done meanwhile), means over updates."""
    batches, mass = policies.draws(
        mixed.parts, [policy(part, recipe) for part in mixed.parts], mixed.shares(), "batches"
    )
    random = np.random.default_rng(0)
    waits, useful = [], []
    for _ in range(updates):
        chosen = [batches[i] for i in random.choice(len(batches), size=recipe.sub_batches, p=mass)]
        load = loads(chosen, workers)
        real = sum(flops(policies.real_tokens(mixed.parts[b.part], b.units), b.length) for b in chosen)
        waits.append(float(np.mean(load)) / max(load))
        useful.append(min(1.0, real / (workers * max(load))))
    return float(np.mean(waits)), float(np.mean(useful))


def measure(names: Sequence[str] = (), updates: int = UPDATES, workers: Sequence[int] = WORKERS) -> Report:
    """Synchronous efficiency of each policy and number of workers."""
    policy: dict[str, tuple[policies.Policy, Loads]] = {
        "this project, packed": (policies.buckets, packed),
        "this project, padded": (policies.buckets, padded),
        "token budget, random order": (policies.budget, in_order),
        "fairseq's recipe": (policies.fairseq, in_order),
        "32 rows, by length": (policies.grouped, in_order),
        "32 rows": (policies.fixed, in_order),
    }
    with artifacts():
        mixed = mixture(minilm(1), RECIPE, names)
    rows, found = [], {}
    for name, (cut, loads) in policy.items():
        for count in workers:
            found[name, count] = efficiency(mixed, cut, loads, RECIPE, count, updates)
        rows.append(
            {"policy": name}
            | {f"{count} workers": found[name, count][0] for count in workers}
            | {f"with padding, {max(workers)}": found[name, max(workers)][1]}
        )
    return Report(
        name="balance",
        rows=rows,
        settings={
            "batches": RECIPE.sub_batches,
            "max_tokens": RECIPE.max_tokens,
            "updates": updates,
            "model": "RoBERTa-base FLOPs",
        },
        bars=[
            Bar(
                what=f"synchronous efficiency of {max(workers)} workers, packed",
                bar=0.95,
                measured=found["this project, packed", max(workers)][0],
            ),
        ],
        notes=[mixed.note, "a share of 1 means that no worker waits; the last column also counts padding as lost"],
    )
