"""bf16 against fp32 on a CPU: the CPU time of an update, by the model's width, and the scores of fine-tunings in both.

The scores are those of MiniLM on real sets, the same runs in both precisions: they may differ by less than their seeds
do. `$MUPPET_HUB` names the mirror with the sets; without it only time is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks import policies
from benchmarks.batching import RECIPE as MIXED
from benchmarks.batching import Drawn, Ours
from benchmarks.common import ROUNDS, Bar, Report, clocked, hint, interleave, median, ratio
from benchmarks.mixture import MINILM, SHAPES, artifacts, minilm, mixture, roberta, source
from muppet import tasks
from muppet.model.multitask import MultiTask
from muppet.runs import Finetune, Recipe
from muppet.runtime.device import Device
from muppet.stages.finetune import finetune
from studies.kit.ledger.intervals import Estimate

SETS = ("sst2", "stsb", "conll2000")  # one label, one number, a tag per word
SEEDS = 3
RECIPE = Recipe(lr=1e-4, updates=120, warmup_updates=10, max_length=128, max_examples=16, sub_batches=1)
ROWS, SCORED = 3000, 400  # rows to train on and to score
NAMES = ("sst2", "mnli", "stsb", "commonsense_qa")  # whose rows are timed
NO_CHECKPOINT = 1e9  # seconds: both precisions have one id, and must not go on from one another


def shapes() -> dict[str, tuple[MultiTask, Recipe]]:
    """What is timed: MiniLM, and two layers of RoBERTa-base's width and of less, down to the smoke profile's."""
    short = replace(MIXED, max_tokens=1024, max_length=128)
    return {
        "MiniLM, 6 × 384": (minilm(), short),
        "RoBERTa-base's width, 2 × 768": (roberta((2, *SHAPES["base"][1:]), "cpu"), short),
        "2 × 256": (roberta((2, 256, 8), "cpu"), short),
        "2 × 128": (roberta((2, 128, 4), "cpu"), short),
        "tiny, 2 × 64": (roberta((2, 64, 2), "cpu"), short),
    }


def times(rounds: int, names: Sequence[str] = NAMES) -> list[dict[str, Any]]:
    """CPU seconds of an update of two sub-batches, both precisions in turns."""
    rows: list[dict[str, Any]] = []
    for name, (model, recipe) in shapes().items():
        mixed = mixture(model, recipe, names, rows=400, recorded_lengths=True)
        drawn = Drawn(mixed, policies.buckets, recipe)
        ways = {kind: Ours(model, mixed, drawn, Device(bf16=kind == "bf16"), recipe) for kind in ("fp32", "bf16")}
        turns = {kind: way.turn for kind, way in ways.items()}
        interleave(turns, 1)
        clocks = interleave(turns, rounds)
        seconds = {kind: median([clock.cpu for clock in made]) for kind, made in clocks.items()}
        rows.append({"what": f"CPU s an update: {name}", **seconds, "CPU": ratio(clocks["fp32"], clocks["bf16"])})
        hint(f"{name}: {rows[-1]['CPU']:.2f}")
    return rows


def scores(sets: Sequence[str], seeds: int, recipe: Recipe, model: str = MINILM) -> list[dict[str, Any]]:
    """Of each set the mean score in fp32 and bf16, how far apart they are, and half the 95 % interval over seeds."""
    rows = []
    for name in sets:
        task, found = tasks.get(name), {"fp32": [], "bf16": []}  # type: ignore[var-annotated]
        spent = {"fp32": 0.0, "bf16": 0.0}
        for seed in range(seeds):
            run = Finetune(
                task=task,
                init=model,
                recipe=recipe,
                seed=seed,
                source=source(),
                train_rows=ROWS,
                evaluation_rows=SCORED,
            )
            for kind in found:
                device, made = Device(bf16=kind == "bf16", checkpoint_seconds=NO_CHECKPOINT), []
                spent[kind] += clocked(lambda: made.append(finetune(run, device=device))).cpu
                found[kind].append(made[0].scores[f"{name}/{task.evaluation[0]}/{task.metrics[0]}"].value)
                hint(f"{name}, seed {seed}, {kind}: {found[kind][-1]:.4f}, {spent[kind]:.0f} CPU s so far")
        spread = statistics.stdev(found["fp32"])
        means = {kind: statistics.fmean(values) for kind, values in found.items()}
        rows.append(
            {
                "what": f"mean {task.metrics[0]}: {name}",
                **means,
                "CPU": spent["bf16"] / spent["fp32"],
                "apart": abs(means["fp32"] - means["bf16"]),
                "± over seeds": Estimate(value=0.0, error=spread / seeds**0.5, df=seeds - 1).interval().high,
            }
        )
    return rows


def measure(rounds: int = ROUNDS, sets: Sequence[str] = SETS, seeds: int = SEEDS, recipe: Recipe = RECIPE) -> Report:
    """Both."""
    with artifacts():
        rows = times(rounds)
        scored = scores(sets, seeds, recipe) if source() == "hub" else []
    bars = [
        Bar(
            what=f"{row['what']}: apart over the seeds' interval in fp32",
            bar=1.0,
            at_least=False,
            measured=row["apart"] / row["± over seeds"] if row["± over seeds"] else None,
            why="" if row["± over seeds"] else "all seeds scored the same",
        )
        for row in scored
    ]
    return Report(
        name="precision",
        rows=[*rows, *scored],
        settings={"rounds": rounds, "seeds": seeds, "updates": recipe.updates, "examples scored": SCORED},
        bars=bars,
        notes=[
            "CPU is that of bf16 over fp32: an update's, the median of rounds in turns, or a whole fine-tuning's",
            *([] if scored else ["no scores: MUPPET_HUB names no mirror"]),
        ],
    )
