"""On a GPU, RoBERTa-base and -large in bf16: real tokens per second and model FLOP utilisation of each way of batching.

Utilisation is against the best matrix product measured in the same process. Weights are random (speed does not mind),
row lengths are real.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks import policies
from benchmarks.batching import Drawn
from benchmarks.common import ROUNDS, Bar, Report, hint, median
from benchmarks.mixture import SHAPES, Mixture, artifacts, flops_per_token, mixture, roberta, trainer
from benchmarks.step import Separate, difference
from muppet.model.multitask import MultiTask
from muppet.runs import R3F, Prefinetune, Recipe
from muppet.runtime.device import Device
from muppet.training.trainer import Trainer
from studies.kit.cost import estimate
from studies.kit.load import load_studies
from studies.recipes import ROBERTA_B

RECIPE = Recipe(lr=1e-5, max_tokens=4400, updates=10_000, max_length=512)
MICRO = (16384, 32768, 65536)
TRAINER = "Trainer-style, 32 rows"
NOTES = (
    "rows of the recorded lengths of real ones, random tokens, spread evenly over the tokens of the mixture: large batches"
    " come up more often than in training",
    "Trainer-style: an optimiser step after each batch of 32 rows of one dataset, padded to its longest",
)


def gemm_peak(kind: str) -> float:
    """Best FLOP/s of large matrix products in bf16."""
    best, dtype = 0.0, torch.bfloat16 if kind == "cuda" else torch.float32
    for m, k, n in (
        ((8192, 8192, 8192), (16384, 1024, 4096), (32768, 768, 3072)) if kind == "cuda" else ((256, 256, 256),)
    ):
        a, b = torch.randn(m, k, device=kind, dtype=dtype), torch.randn(k, n, device=kind, dtype=dtype)
        for _ in range(3):
            times = 20
            wait(kind)
            started = time.perf_counter()
            for _ in range(times):
                a @ b
            wait(kind)
            best = max(best, times * 2.0 * m * k * n / (time.perf_counter() - started))
    return best


def wait(kind: str) -> None:
    """Until the GPU has done what it was given."""
    if kind == "cuda":
        torch.cuda.synchronize()


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of training: which batches, changes of the recipe, and the device."""

    policy: policies.Policy
    device: Device
    changes: Mapping[str, Any] = field(default_factory=dict)
    updates: int = 1  # of one turn
    loop: type[Trainer] = Trainer


GROUPS = ("bars", "compiled", "rest")  # of ways: what decides a bar first, each on a model of its own


def ways(micro: Sequence[int], group: str) -> dict[str, Way]:
    """Name → way. All but the compiled one take the layers as they are: what is compiled stays so for what follows."""
    largest, plain = max(micro), Device(bf16=True, compile=False)
    padded = replace(plain, packed=False)

    def packed(size: int, **changes: Any) -> Way:
        return Way(policy=policies.buckets, device=replace(plain, packed=True, micro_tokens=size), changes=changes)

    if group == "bars":
        return {
            f"packed, {largest:,}": packed(largest),
            f"packed, {largest:,}, R3F": packed(largest, r3f=R3F()),
            TRAINER: Way(policy=policies.fixed, device=padded, changes={"sub_batches": 1}, updates=16, loop=Separate),
        }
    if group == "compiled":
        way = packed(largest)
        return {f"packed, {largest:,}, compiled": replace(way, device=replace(way.device, compile=True))}
    return {f"packed, {size:,}": packed(size) for size in sorted(micro)[:-1]} | {
        f"buckets, up to {largest:,}": Way(policy=policies.buckets, device=replace(padded, micro_tokens=largest)),
        "fairseq's batches": Way(policy=policies.fairseq, device=padded, loop=Separate),
        "buckets": Way(policy=policies.buckets, device=padded, loop=Separate),
    }


def row(name: str, way: Way, model: MultiTask, mixed: Mixture, recipe: Recipe, rounds: int, peak: float) -> dict:
    """Train `rounds` turns this way, after one to warm up → what it came to, or why it failed: one way that a machine
    cannot go must not hide the others."""
    kind = model.device.type
    try:
        return {"way": name} | _measured(way, model, mixed, replace(recipe, **way.changes), rounds, peak)
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        return {"way": name, "failed": f"{type(error).__name__}: {said[0][:120]}"}
    finally:
        model.zero_grad(set_to_none=True)
        if kind == "cuda":
            torch.cuda.empty_cache()


def _measured(way: Way, model: MultiTask, mixed: Mixture, recipe: Recipe, rounds: int, peak: float) -> dict[str, Any]:
    kind, seconds, work, real = model.device.type, [], [], []  # type: ignore[var-annotated]
    loop, forwards = trainer(model, mixed, recipe, replace(way.device, kind=kind), way.loop), 0

    def forward(*_: Any) -> None:
        nonlocal forwards
        forwards += 1

    counting = model.register_forward_hook(forward)
    loop.sampler = drawn = Drawn(mixed, way.policy, recipe, recipe.sub_batches)  # type: ignore[assignment]
    if kind == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(rounds + 1):
        wait(kind)
        before, started, done = loop.meter.counts["real_tokens"], time.perf_counter(), 0.0
        for _ in range(way.updates):
            loop.update()
            batches = [drawn.batches[i] for i in drawn.last]
            tokens = [policies.real_tokens(mixed.parts[b.part], b.units) for b in batches]
            done += sum(n * flops_per_token(model, b.length) for n, b in zip(tokens, batches, strict=True))
        wait(kind)
        seconds.append(time.perf_counter() - started)
        real.append(loop.meter.counts["real_tokens"] - before)
        work.append(done)
    counting.remove()
    return {
        "real tokens / s": median([n / s for n, s in zip(real[1:], seconds[1:], strict=True)]),
        "MFU": median([w / s / peak for w, s in zip(work[1:], seconds[1:], strict=True)]),
        "tokens / forward": sum(real) / forwards,
        "at most": loop.device.micro_tokens,  # what was asked for, or as much as memory allows
        "first turn, s": seconds[0],  # with what is compiled or loaded once
        "recomputes": bool(loop.device.gradient_checkpointing),
        "real tokens / update": sum(real) / len(real) / way.updates,
        "peak GB": torch.cuda.max_memory_allocated() / 1e9 if kind == "cuda" else None,
    }


def agreement(shape: tuple[int, int, int], kind: str, names: Sequence[str], recipe: Recipe) -> dict[str, float]:
    """How far gradients are from those of padded rows in float32, relative to the largest entry, by way.

    Two ways in bf16 are further from each other than each is from float32, and neither is the right one.
    """
    model = roberta(shape, kind)
    mixed = mixture(model, recipe, names, recorded_lengths=True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    state, found = {k: v.clone() for k, v in model.state_dict().items()}, {}
    for name, bf16, packed in (
        ("padded, fp32", False, False),
        ("packed, fp32", False, True),
        ("padded, bf16", True, False),
        ("packed, bf16", True, True),
    ):
        model.load_state_dict(state)
        # One forward either way, as memory allows: bf16 rounds the gradient of each, which is not what is compared.
        device = Device(kind=kind, bf16=bf16, packed=packed, micro_tokens=2**20, compile=False)
        way = trainer(model, mixed, replace(recipe, sub_batches=8), device)
        way.update()
        found[name] = {k: p.grad.float().clone() for k, p in model.named_parameters() if p.grad is not None}
    plain = found.pop("padded, fp32")
    return {name: difference(gradient, plain) for name, gradient in found.items()}


def tiny(folder: Path) -> Report | None:
    """The benchmark itself on a model and forwards that any machine can do, to try it."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    small, shapes = replace(RECIPE, max_tokens=512, sub_batches=2), {"base": (1, 32, 2)}
    return measure(1, kind, shapes, (512, 1024), small, ("sst2",), compiled=False, minutes=1, folder=folder)


def measure(
    rounds: int = ROUNDS,
    kind: str | None = None,
    shapes: dict[str, tuple[int, int, int]] | None = None,
    micro: Sequence[int] = MICRO,
    recipe: Recipe = RECIPE,
    names: Sequence[str] = (),
    compiled: bool = True,
    minutes: float | None = None,
    folder: Path | None = None,
) -> Report | None:
    """Tokens per second and utilisation of every way; None, with a line that says so, where there is no GPU.

    The report is written after every row, to `folder`; after `minutes` no further way is begun.
    """
    if kind is None and not torch.cuda.is_available():
        print(
            "no GPU here, nothing measured: `make bench ONLY=gpu` measures where torch finds one (and exits 0 elsewhere)"
        )
        return None
    kind, shapes = kind or "cuda", shapes or SHAPES
    torch.set_float32_matmul_precision("highest")
    until = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
    rows: list[dict[str, Any]] = []
    apart: dict[str, float] = {}
    with artifacts():
        peak = gemm_peak(kind)
        settings = {
            "gemm_peak_tflops": round(peak / 1e12, 1),
            "max_tokens": recipe.max_tokens,
            "sub_batches": recipe.sub_batches,
            "max_length": recipe.max_length,
            "rounds": rounds,
        }

        def report() -> Report:
            ordered = sorted(rows, key=lambda r: list(shapes).index(r["model"]))
            made = Report(
                name="gpu", rows=ordered, settings=settings, bars=_bars(rows, apart, shapes, micro, peak), notes=NOTES
            )
            if folder is not None:
                made.write(folder)
            return made

        for group, size in itertools.product(GROUPS, shapes):
            if group == "compiled" and not compiled:
                continue
            model = roberta(shapes[size], kind)
            mixed = mixture(model, recipe, names, recorded_lengths=True)
            for name, way in ways(micro, group).items():
                if time.monotonic() > until:
                    rows.append({"model": size, "way": name, "failed": "not measured: the time was up"})
                else:
                    rows.append({"model": size} | row(name, way, model, mixed, recipe, rounds, peak))
                hint(f"{size}, {name}: {rows[-1].get('failed') or format(rows[-1]['MFU'], '.1%')}")
                report()
            if group == "bars" and not apart and time.monotonic() < until:
                try:
                    apart |= agreement(shapes[size], kind, names, recipe)
                except Exception as error:
                    hint(f"gradients not compared: {type(error).__name__}: {error}")
            del model
        return report()


@cache
def table8() -> float:
    """Floating-point operations of RoBERTa-base's pre-finetuning by Table 8, as the study plans it."""
    runs = load_studies("paper", ["table3"])["table3"].runs().values()
    return next(estimate(run).flops for run in runs if isinstance(run, Prefinetune) and run.model == ROBERTA_B)


def _bars(
    rows: Sequence[Mapping[str, Any]],
    apart: Mapping[str, float],
    shapes: Mapping[str, Any],
    micro: Sequence[int],
    peak: float,
) -> list[Bar]:
    """What of the rows so far says something about a bar; None for what is missing."""
    bars: list[Bar] = []
    for size in shapes:
        speed = {r["way"]: r["real tokens / s"] for r in rows if r["model"] == size and "failed" not in r}
        own = [r for r in rows if r["model"] == size and r["way"] in speed and r["way"].startswith("packed")]
        plain = [r for r in own if "R3F" not in r["way"]]
        best = max(plain, key=lambda r: float(r["real tokens / s"]), default=None)
        largest = f"packed, {max(micro):,}"
        whole, r3f = speed.get(largest), speed.get(f"{largest}, R3F")
        theirs = speed.get(TRAINER)
        bars += [
            Bar(
                what=f"{size}: packed over Trainer-style batches",
                bar=3.0,
                measured=best["real tokens / s"] / theirs if best and theirs else None,
            ),
            Bar(what=f"{size}: model FLOP utilisation", bar=0.4, measured=best["MFU"] if best else None),
            Bar(
                what=f"{size}: R3F over the plain step",
                bar=2.1,
                at_least=False,
                measured=whole / r3f if whole and r3f else None,
            ),
        ]
        if size == "base":
            hours = table8() / (best["MFU"] * peak) / 3600 if best else None
            bars.append(
                Bar(what="base: hours of Table 8's recipe on this GPU", bar=24.0, at_least=False, measured=hours)
            )
    limits = {"packed, fp32": 1e-5, "packed, bf16": 2 * apart.get("padded, bf16", 0.0)}
    bars += [
        Bar(
            what=f"gradient of {way}, from padded rows in fp32" + ("; twice padded bf16's" if "bf16" in way else ""),
            bar=float(f"{limit:.3g}"),
            at_least=False,
            measured=apart.get(way),
        )
        for way, limit in limits.items()
    ]
    return bars
