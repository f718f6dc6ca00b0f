"""On a GPU, RoBERTa-base and -large in bf16: real tokens per second and model FLOP utilisation of each way of batching.

Utilisation is against the best matrix product measured in the same process. Weights are random (speed does not mind),
row lengths are real.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from benchmarks import policies
from benchmarks.batching import Drawn
from benchmarks.common import ROUNDS, Bar, Report, hint, median
from benchmarks.mixture import SHAPES, Mixture, artifacts, flops_per_token, mixture, roberta, trainer
from benchmarks.step import difference
from muppet.model.multitask import MultiTask
from muppet.runs import R3F, Recipe
from muppet.runtime.device import Device

RECIPE = Recipe(lr=1e-5, max_tokens=4400, updates=10_000, max_length=512)
MICRO = (8192, 16384, 32768, 65536)


def gemm_peak(kind: str) -> float:
    """Best FLOP/s of large matrix products in bf16."""
    best, dtype = 0.0, torch.bfloat16 if kind == "cuda" else torch.float32
    for m, k, n in (
        ((8192, 8192, 8192), (16384, 1024, 4096), (32768, 768, 3072)) if kind == "cuda" else ((256, 256, 256),)
    ):
        a, b = torch.randn(m, k, device=kind, dtype=dtype), torch.randn(k, n, device=kind, dtype=dtype)
        for _ in range(3):
            times = 20
            _wait(kind)
            started = time.perf_counter()
            for _ in range(times):
                a @ b
            _wait(kind)
            best = max(best, times * 2.0 * m * k * n / (time.perf_counter() - started))
    return best


def _wait(kind: str) -> None:
    if kind == "cuda":
        torch.cuda.synchronize()


def ways(micro: Sequence[int], compiled: bool) -> dict[str, tuple[policies.Policy, dict[str, Any], Device]]:
    """Name → policy, changes of the recipe, device."""
    largest, plain = max(micro), Device(bf16=True)
    found: dict[str, tuple[policies.Policy, dict[str, Any], Device]] = {
        "Trainer-style, 32 rows": (policies.fixed, {"sub_batches": 1}, replace(plain, packed=False, micro_tokens=1)),
        "fairseq's batches": (policies.fairseq, {}, replace(plain, packed=False, micro_tokens=1)),
        "buckets": (policies.buckets, {}, replace(plain, packed=False, micro_tokens=1)),
        f"buckets, up to {largest:,}": (policies.buckets, {}, replace(plain, packed=False, micro_tokens=largest)),
    }
    for size in micro:
        found[f"packed, {size:,}"] = (policies.buckets, {}, replace(plain, packed=True, micro_tokens=size))
    found[f"packed, {largest:,}, R3F"] = (
        policies.buckets,
        {"r3f": R3F()},
        replace(plain, packed=True, micro_tokens=largest),
    )
    if compiled:
        whole = replace(plain, packed=True, micro_tokens=largest, compile=True)
        found[f"packed, {largest:,}, compiled"] = (policies.buckets, {}, whole)
    return found


class Way:
    """One way of training the shared model: its own batches, the shared optimiser."""

    def __init__(
        self, model: MultiTask, mixed: Mixture, policy: policies.Policy, recipe: Recipe, device: Device, shared: Any
    ) -> None:
        self.mixed, self.kind, self.model = mixed, device.kind, model
        self.trainer = trainer(model, mixed, recipe, device)
        self.trainer.sampler = self.drawn = Drawn(mixed, policy, recipe, recipe.sub_batches)  # type: ignore[assignment]
        if shared is not None:
            self.trainer.optimizer = shared
        self.seconds, self.work, self.real, self.memory = [], [], [], 0  # type: ignore[var-annotated]
        self.failed = ""

    def turn(self, updates: int) -> None:
        """Some updates, timed with the GPU's queue empty before and after; what fails once is not tried again."""
        if self.failed:
            return
        try:
            if self.kind == "cuda":
                torch.cuda.reset_peak_memory_stats()
            _wait(self.kind)
            before, started = self.trainer.meter.counts["real_tokens"], time.perf_counter()
            work = 0.0
            for _ in range(updates):
                self.trainer.update()
                batches = [self.drawn.batches[i] for i in self.drawn.last]
                real = [policies.real_tokens(self.mixed.parts[b.part], b.units) for b in batches]
                work += sum(n * flops_per_token(self.model, b.length) for n, b in zip(real, batches, strict=True))
            _wait(self.kind)
            self.seconds.append(time.perf_counter() - started)
            self.real.append(self.trainer.meter.counts["real_tokens"] - before)
            self.work.append(work)
            if self.kind == "cuda":
                self.memory = max(self.memory, torch.cuda.max_memory_allocated())
        except Exception as error:  # one way that a machine cannot go must not hide the others
            self.failed = (
                f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120] if str(error).strip() else ''}"
            )
            self.trainer.optimizer.zero_grad(set_to_none=True)

    def row(self, name: str, peak: float) -> dict[str, Any]:
        """What it came to; the first turn warmed up."""
        if self.failed:
            return {"way": name, "failed": self.failed}
        speeds = [n / s for n, s in zip(self.real[1:], self.seconds[1:], strict=True)]
        shares = [w / s / peak for w, s in zip(self.work[1:], self.seconds[1:], strict=True)]
        return {
            "way": name,
            "real tokens / s": median(speeds),
            "MFU": median(shares),
            "peak GB": self.memory / 1e9 or None,
        }


def agreement(shape: tuple[int, int, int], kind: str, bf16: bool, names: Sequence[str], recipe: Recipe) -> float:
    """How far the packed gradient is from the padded one, relative to the largest entry."""
    model = roberta(shape, kind)
    mixed = mixture(model, recipe, names)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    state, found = {k: v.clone() for k, v in model.state_dict().items()}, []
    for packed in (True, False):
        model.load_state_dict(state)
        # One forward either way, as memory allows: bf16 rounds the gradient of each, which is not what is compared.
        device = Device(kind=kind, bf16=bf16, packed=packed, micro_tokens=2**20)
        way = trainer(model, mixed, replace(recipe, sub_batches=8), device)
        way.update()
        found.append({k: p.grad.float() for k, p in model.named_parameters() if p.grad is not None})
        found[-1] = {k: g.clone() for k, g in found[-1].items()}
    return difference(*found)


def measure(
    rounds: int = ROUNDS,
    kind: str | None = None,
    shapes: dict[str, tuple[int, int, int]] | None = None,
    micro: Sequence[int] = MICRO,
    recipe: Recipe = RECIPE,
    names: Sequence[str] = (),
    compiled: bool = True,
) -> Report | None:
    """Tokens per second and utilisation of every way; None, with a line that says so, where there is no GPU."""
    if kind is None and not torch.cuda.is_available():
        print(
            "no GPU here, nothing measured: `make bench ONLY=gpu` measures where torch finds one (and exits 0 elsewhere)"
        )
        return None
    kind, shapes, rows, bars = kind or "cuda", shapes or SHAPES, [], []  # type: ignore[var-annotated]
    torch.set_float32_matmul_precision("highest")
    with artifacts():
        peak = gemm_peak(kind)
        for size, shape in shapes.items():
            model = roberta(shape, kind)
            mixed = mixture(model, recipe, names)
            made: dict[str, Way] = {}
            shared = None
            for name, (policy, changes, device) in ways(micro, compiled).items():
                own = roberta(shape, kind) if device.compile else model
                if own is not model:
                    mixture(own, recipe, names)
                way = Way(
                    own,
                    mixed,
                    policy,
                    replace(recipe, **changes),
                    replace(device, kind=kind),
                    None if device.compile else shared,
                )
                shared, made[name] = shared or way.trainer.optimizer, way
            for number in range(rounds + 1):
                for name, way in made.items():
                    way.turn(max(1, recipe.sub_batches // 4) if "Trainer" in name else 1)
                hint(f"{size}, round {number} of {rounds}")
            found = {name: way.row(name, peak) for name, way in made.items()}
            rows += [{"model": size} | row for row in found.values()]
            packed = [
                row for name, row in found.items() if name.startswith("packed") and "R3F" not in name and "MFU" in row
            ]
            best = max(packed, key=lambda row: row["real tokens / s"], default={"real tokens / s": 0.0, "MFU": 0.0})
            plain, with_r3f = (
                found[name].get("real tokens / s")
                for name in ("Trainer-style, 32 rows", f"packed, {max(micro):,}, R3F")
            )
            without = found[f"packed, {max(micro):,}"].get("real tokens / s")
            bars += [
                Bar(
                    what=f"{size}: packed over Trainer-style batches",
                    bar=3.0,
                    measured=best["real tokens / s"] / plain if plain else None,
                ),
                Bar(what=f"{size}: model FLOP utilisation", bar=0.4, measured=best["MFU"]),
                Bar(
                    what=f"{size}: R3F over the plain step",
                    bar=2.1,
                    at_least=False,
                    measured=without / with_r3f if without and with_r3f else None,
                ),
            ]
            del made, model, way, own, shared
            if kind == "cuda":
                torch.cuda.empty_cache()
        smallest = shapes[min(shapes)]
        for bf16, bar in ((True, 1e-3), (False, 1e-5)):
            apart = agreement(smallest, kind, bf16, names, recipe)
            bars.append(
                Bar(
                    what=f"packed and padded gradients in {'bf16' if bf16 else 'fp32'}",
                    bar=bar,
                    at_least=False,
                    measured=apart,
                )
            )
    return Report(
        name="gpu",
        rows=rows,
        settings={
            "gemm_peak_tflops": round(peak / 1e12, 1),
            "max_tokens": recipe.max_tokens,
            "sub_batches": recipe.sub_batches,
            "max_length": recipe.max_length,
            "rounds": rounds,
        },
        bars=bars,
        notes=[
            mixed.note,
            "Trainer-style: an optimiser step after each batch of 32 rows of one dataset, padded to its longest",
        ],
    )
