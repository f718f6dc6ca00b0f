"""One update of 64 sub-batches against 64 separate passes, with the gradients compared; R3F against the plain step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.common import ROUNDS, Bar, Report, interleave, median, ratio
from benchmarks.mixture import artifacts, minilm, mixture
from muppet.runs import R3F, Recipe
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.training.batching import SubBatch
from muppet.training.forwards import Piece
from muppet.training.trainer import Trainer

RECIPE = Recipe(lr=1e-5, max_tokens=128, updates=10_000, max_length=48)
NAMES = ("sst2", "mrpc", "qqp", "mnli", "trec", "snli", "copa")  # short rows, so that 64 sub-batches take seconds
SEPARATE = Device(packed=False)


class Separate(Trainer):
    """One forward for each sub-batch, as 64 workers would do it."""

    def _forwards(self, batches: Sequence[SubBatch], weights: Sequence[np.ndarray]) -> list[list[Piece]]:
        return [
            [Piece(part=b.part, units=b.units, weights=w, cost=self._flops(b.tokens, b.length))]
            for b, w in zip(batches, weights, strict=True)
        ]


def variants(recipe: Recipe, layers: int, names: Sequence[str]) -> dict[str, Trainer]:
    """The ways to take the same update, each with a model of its own."""
    ways = {
        "one update, packed": (recipe, Device(packed=True)),
        "one update, padded": (recipe, Device(packed=False)),
        "64 separate passes": (recipe, SEPARATE),
        "packed, with R3F": (replace(recipe, r3f=R3F()), Device(packed=True)),
        "padded, with R3F": (replace(recipe, r3f=R3F()), Device(packed=False)),
    }
    found = {}
    for name, (changed, device) in ways.items():
        model = minilm(layers)
        mixed = mixture(model, recipe, names, rows=600)
        for module in model.modules():  # those of the heads too
            if isinstance(module, torch.nn.Dropout) and recipe.dropout is not None:
                module.p = recipe.dropout
        kind = Separate if device is SEPARATE else Trainer
        found[name] = kind(model, mixed.parts, mixed.specs, changed, 0, device, Processes())
    return found


def difference(ours: Mapping[str, torch.Tensor], plain: Mapping[str, torch.Tensor]) -> float:
    """Largest difference of any gradient entry over the largest entry."""
    assert ours.keys() == plain.keys()
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    return max(float((ours[name] - plain[name]).abs().max()) for name in plain) / largest


def gradients(layers: int, names: Sequence[str], recipe: Recipe) -> dict[str, float]:
    """Of each way, how far its gradient is from that of 64 separate passes, without dropout."""
    made = variants(replace(recipe, dropout=0.0, sub_batches=16), layers, names)
    found = {}
    for name, way in made.items():
        if "R3F" not in name:
            way.update()
            found[name] = {k: p.grad for k, p in way.model.named_parameters() if p.grad is not None}
    return {name: difference(grads, found["64 separate passes"]) for name, grads in found.items()}


def measure(rounds: int = ROUNDS, layers: int = 2, recipe: Recipe = RECIPE, names: Sequence[str] = NAMES) -> Report:
    """Seconds of one update each way."""
    with artifacts():
        apart = gradients(layers, names, recipe)
        made = variants(recipe, layers, names)
        clocks = interleave({name: way.update for name, way in made.items()}, rounds + 1)
        clocks = {name: values[1:] for name, values in clocks.items()}  # the first round warms up
    plain = clocks["one update, packed"]
    rows = [
        {
            "way": name,
            "CPU s": median([c.cpu for c in values]),
            "wall s": median([c.wall for c in values]),
            "× one packed update": ratio(plain, values),
            "gradient differs by": apart.get(name),
        }
        for name, values in clocks.items()
    ]
    return Report(
        name="step",
        rows=rows,
        settings={
            "model": f"MiniLM, {layers} of 6 layers",
            "sub_batches": recipe.sub_batches,
            "rounds": rounds,
            "max_tokens": recipe.max_tokens,
            "real_tokens": int(made["one update, packed"].meter.counts["real_tokens"] / (rounds + 1)),
        },
        bars=[
            *(
                Bar(
                    what=f"R3F over the plain step, {way}",
                    bar=2.1,
                    at_least=False,
                    measured=ratio(clocks[f"one update, {way}"], clocks[f"{way}, with R3F"]),
                )
                for way in ("packed", "padded")
            ),
            Bar(
                what="packed gradient's distance from separate passes",
                bar=1e-5,
                at_least=False,
                measured=apart["one update, packed"],
            ),
        ],
        notes=["a gradient's difference is relative to its largest entry, in float32 and without dropout"],
    )
