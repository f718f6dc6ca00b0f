"""What must hold on a device before its numbers count: `python -m benchmarks.gates [--device cuda]`, on tiny models.

Each gate prints a line with what was measured and its bound; the exit status is 1 when one is missed or fails.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import need
from benchmarks.step import difference
from muppet import tasks
from muppet.families.encoded import Part
from muppet.model import attention
from muppet.model.batch import make_batch, moved, pack_rows
from muppet.runs import R3F, Prefinetune, Recipe
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.stages import opening
from muppet.tasks.task import Generation
from muppet.training.trainer import Trainer

RECIPE = Recipe(lr=1e-3, max_tokens=400, updates=4, max_length=96, sub_batches=4, dropout=0.0, attention_dropout=0.0)
FAMILIES = "mnli stsb commonsense_qa squad_v2 conll2000"
LENGTHS = np.array([1, 1, 3, 64, 100, 200, 512, 512])  # of attention's rows
FLOAT32, BF16 = 1e-5, 2e-2  # of the largest entry: float32's rounding over some hundred terms; bf16 has 8 bits


def loop(device: Device, names: str = FAMILIES, model: str = "tiny/roberta", **changes: Any) -> Trainer:
    """The trainer of a pre-finetuning on twins."""
    recipe = replace(RECIPE, **changes)
    chosen = tuple(tasks.get(name) for name in names.split())
    run = Prefinetune(model=model, tasks=chosen, recipe=recipe, source="twins", train_rows=40)
    made, parts, specs = opening.load(run.model, recipe, 0), [], []
    for task in chosen:
        encoded = opening.open_split(run, task, "train", made, Processes(), cap=40, evaluation=False)
        parts.append(Part(encoded=encoded, units=opening.subset(encoded)[0]))
        specs.append(opening.make_spec(task, encoded, recipe.heads))
    opening.add_missing_heads(made, specs, 0)
    return Trainer(made, parts, specs, recipe, 0, device, Processes())


def gradient(trainer: Trainer) -> dict[str, torch.Tensor]:
    """That of the trainer's next update, moved to the CPU."""
    trainer.update()
    return {n: p.grad.detach().float().cpu() for n, p in trainer.model.named_parameters() if p.grad is not None}


def attends(kind: str, bf16: bool) -> float:
    """Attention and its gradients, rows of 1 to 512 tokens, against float64 row by row."""
    packing = moved(pack_rows(np.arange(LENGTHS.sum()), LENGTHS, LENGTHS), torch.device(kind)).packing
    assert packing is not None
    torch.manual_seed(0)
    exact = [torch.randn(int(LENGTHS.sum()), 4, 64, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    dtype = torch.bfloat16 if bf16 else torch.float32
    ours = [x.detach().to(kind, dtype).requires_grad_() for x in exact]
    out = attention.KERNELS[kind](ours, packing, 0.0, None)
    plain = attention.by_length(exact, packing, 0.0, None)
    out.float().square().sum().backward()
    plain.square().sum().backward()
    pairs = [(out, plain), *((a.grad, b.grad) for a, b in zip(ours, exact, strict=True))]
    return max(float((a.detach().cpu().double() - b.detach()).abs().max() / b.detach().abs().max()) for a, b in pairs)


def dropout_mean(kind: str, bf16: bool) -> float:
    """Distance from 1 of the mean of attention over ones with dropout 0.1."""
    packing = moved(pack_rows(np.arange(LENGTHS.sum()), LENGTHS, LENGTHS), torch.device(kind)).packing
    assert packing is not None
    dtype = torch.bfloat16 if bf16 else torch.float32
    query, key = (torch.randn(int(LENGTHS.sum()), 4, 64, device=kind, dtype=dtype) for _ in range(2))
    out = attention.KERNELS[kind]([query, key, torch.ones_like(query)], packing, 0.1, None)
    return abs(float(out.float().mean()) - 1) if float(out.float().std()) > 0.01 else float("inf")


def resumed(kind: str) -> float:
    """An update after a checkpoint's restoration, against the same update without; no two need be equal bit for bit."""
    first, again = loop(Device(kind=kind)), loop(Device(kind=kind))
    first.update()
    again.restore(1, copy.deepcopy(first.state()))
    return difference(gradient(again), gradient(first))


def generates(kind: str) -> float:
    """Share of summaries that differ from the CPU's."""
    said = []
    for where in ("cpu", kind):
        trainer = loop(Device(kind=where), "xsum", "tiny/bart", updates=1)
        chosen = [(0, np.arange(6))]
        batch = make_batch(trainer.parts, trainer.specs, chosen, trainer.model.pad, Device(kind=where).torch)
        said.append(trainer.model.eval().generate(batch, Generation(beams=2, max_tokens=12)))
    return float(np.mean([a != b for a, b in zip(*said, strict=True)]))


def group_of_one(kind: str) -> float:
    """A sum over a process group of one process, by the device's own library."""
    import torch.distributed as dist

    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group(
            "nccl" if kind == "cuda" else "gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1
        )
        value = torch.ones(3, device=kind)
        dist.all_reduce(value)
        dist.destroy_process_group()
    return float((value - 1).abs().max())


def synchronisations(kind: str) -> float:
    """Waits for the GPU in an update after the first; on a CPU there are none."""
    trainer = loop(Device(kind=kind, bf16=True))
    trainer.update()
    if kind != "cuda":
        return 0.0
    import warnings

    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trainer.update()
    torch.cuda.set_sync_debug_mode("default")
    return float(len(seen))


def gates(kind: str) -> dict[str, tuple[Callable[[], float], float]]:
    """Name → what measures it, and the most that it may be."""
    plain = Device(kind="cpu", packed=False)

    def against_cpu(device: Device, **changes: Any) -> float:
        return difference(gradient(loop(device, **changes)), gradient(loop(plain, **changes)))

    def recomputed(bf16: bool, compiled: bool = False) -> float:
        """With dropout: what is computed again must drop the same."""
        drops = {"dropout": 0.1, "attention_dropout": 0.1}
        usual = Device(kind=kind, packed=True, bf16=bf16, compile=compiled)
        ways = [replace(usual, gradient_checkpointing=again) for again in (True, False)]
        return difference(*(gradient(loop(way, **drops)) for way in ways))

    silent = R3F(eps=0.0)  # noise is drawn in another order
    found: dict[str, tuple[Callable[[], float], float]] = {
        "attention, fp32, against float64": (lambda: attends(kind, False), FLOAT32),
        "attention, bf16, against float64": (lambda: attends(kind, True), BF16),
        "attention's dropout keeps the mean, bf16": (lambda: dropout_mean(kind, True), 0.01),
        "attention's dropout keeps the mean, fp32": (lambda: dropout_mean(kind, False), 0.01),
        "packed gradient, fp32, against padded on the CPU": (
            lambda: against_cpu(Device(kind=kind, packed=True)),
            10 * FLOAT32,
        ),
        "padded gradient, fp32, against padded on the CPU": (
            lambda: against_cpu(Device(kind=kind, packed=False)),
            10 * FLOAT32,
        ),
        "packed gradient, bf16, against padded fp32": (
            lambda: against_cpu(Device(kind=kind, packed=True, bf16=True)),
            5 * BF16,
        ),
        "R3F's gradient, fp32": (lambda: against_cpu(Device(kind=kind, packed=True), r3f=silent), 10 * FLOAT32),
        "recomputing with dropout, fp32": (lambda: recomputed(False), 10 * FLOAT32),
        "recomputing with dropout, bf16": (lambda: recomputed(True), BF16),
        "resumed update": (lambda: resumed(kind), 10 * FLOAT32),
        "summaries that differ from the CPU's": (lambda: generates(kind), 0.0),
        "waits for the GPU in an update": (lambda: synchronisations(kind), 4.0),
    }
    if kind == "cuda":  # Inductor's code for a CPU is another, and takes minutes
        whole = Device(kind=kind, packed=True, bf16=True, compile=True)
        found["compiled layers' gradient, bf16"] = (lambda: against_cpu(whole), 5 * BF16)
        found["recomputing compiled layers with dropout, bf16"] = (lambda: recomputed(True, compiled=True), BF16)
    return found | {"a process group of one": (lambda: group_of_one(kind), 0.0)}  # last, where NCCL may wait for ever


def main(kind: str) -> int:
    """Print every gate → how many are missed or failed, at most 1."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MUPPET_ARTIFACTS"] = str(Path(folder))
        need(kind == "cpu" or torch.cuda.is_available(), "no GPU here; --device cpu tries the gates themselves")
        for name, (measure, bound) in gates(kind).items():
            started = time.monotonic()
            try:
                value = measure()
                good, said = value <= bound, f"{value:.2e} (≤ {bound:.0e})"
            except Exception as error:  # the next gate says something all the same
                good, said = False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            missed |= not good
            print(f"{'ok  ' if good else 'MISS'} {name}: {said}, {time.monotonic() - started:.1f} s", flush=True)
    return int(missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gates", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    sys.exit(main(parser.parse_args().device))
