"""One optimiser step, the same on any number of processes, and all that the next one depends on."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muppet.errors import UserError
from muppet.families.encoded import Part
from muppet.families.spec import HeadSpec
from muppet.model import MultiTask, cpu, encoder
from muppet.model.batch import Batch, Segment, make_batch
from muppet.model.losses import Losses, scale
from muppet.runs import R3F, Recipe, digest
from muppet.runtime.device import Device, OutOfMemory
from muppet.runtime.distributed import Reducer, gather, together
from muppet.runtime.rank import Processes
from muppet.training.batching import Sampler, SubBatch
from muppet.training.forwards import Piece, assign, micro_batches, packs, unit_weights
from muppet.training.meter import Meter

EMA = 0.99  # of the running loss that `loss_scaling="inverse_loss"` divides by


def learning_rate(recipe: Recipe, updates: int, step: int) -> float:
    """The learning rate of update `step` (from 0): linear warm-up, then linear decay to zero, or constant."""
    warmup = recipe.warmup_updates
    if warmup is None:
        warmup = round(updates * (recipe.warmup_share or 0.0))
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr * max(0.0, (updates - step) / max(1, updates - warmup))


def make_optimizer(model: MultiTask, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over all parameters. As in fairseq, weight decay spares neither biases nor layer norms."""
    parameters, rates = list(model.parameters()), {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, **rates)
    kind = torch.optim.AdamW if recipe.decoupled else torch.optim.Adam
    return kind(parameters, **rates, betas=recipe.adam_betas, eps=recipe.adam_eps, fused=True)


def regularised(losses: Losses, segment: Segment, r3f: R3F | None) -> Tensor:
    """The loss of each unit with R3F's divergence: of a unit's decisions the mean, or with `token_kl` their sum [U]."""
    if r3f is None or losses.divergence is None:
        return losses.loss
    count = torch.bincount(segment.fields["unit"], minlength=len(losses.loss)) if r3f.token_kl == "sum" else 1
    return losses.loss + r3f.weight * losses.divergence * count


class Trainer:
    """The state of one training: model, optimiser, sampler and what has been measured."""

    def __init__(
        self,
        model: MultiTask,
        parts: Sequence[Part],
        specs: Sequence[HeadSpec],
        recipe: Recipe,
        seed: int,
        device: Device,
        processes: Processes,
    ) -> None:
        self.sampler = Sampler(parts, recipe, seed)
        self.largest = max(int((deck.rows * deck.length).max()) for deck in self.sampler.decks)  # tokens of one example
        self.model, self.parts, self.specs, self.recipe, self.seed = model, parts, specs, recipe, seed
        self.processes, self.asked = processes, device
        self.device = self._fitted()
        model.prepare(self.device)
        if device.kind == "cpu" and not device.compile:
            cpu.hasten(model, alone=processes.count == 1)
        autocast = self.device.autocast(model.width)
        self.packed = device.packed is not False and encoder.enable(model, device.packed is True, autocast)
        self.updates = self.sampler.updates
        self._matrix, self._attention = self.model.flops_per_token()
        # Not before: `enable` tries three ways, and each would be compiled for it.
        pays = self.device.compiles(self.packed, self._all_flops)
        self.compiled = pays and model.compile_layers(demanded=bool(device.compile))
        self.optimizer = make_optimizer(self.model, recipe)
        self.parameters = list(self.model.parameters())
        self.reducer = Reducer(processes, self.parameters, model.backbone.named_parameters())
        self.names = [part.name for part in parts]
        self.meter = Meter(self.updates, len(parts))
        self.running = torch.zeros(len(parts))  # mean unscaled loss of each dataset, for inverse_loss
        self.step = 0
        examples = np.array([len(part.units) * part.weight for part in parts], dtype=float)
        self.size_factor = examples.sum() / (len(parts) * examples)  # mean over examples is 1

    # -- one update

    def update(self) -> float:
        """Sample sub-batches, forward, scale by Eq. 1, average, step (paper §3.2, §3.3) → the update's loss.

        Each process computes its share of the forwards; the step and the loss are the same on all of them.
        """
        sub_batches = self.sampler.update(self.step)
        weights = unit_weights(sub_batches, self.recipe.averaging, self.parts)
        totals: Tensor | None = None
        while totals is None:  # an update that memory did not hold starts again: it is a function of its number
            try:
                with self.device.enough(f"update {self.step + 1}"):
                    totals, flops = self._gradients(sub_batches, weights)
            except OutOfMemory as error:
                self._halve(error)
        loss = self._measure(sub_batches, weights, totals, flops)
        with self.device.enough(f"update {self.step + 1}"):
            self._apply()
        self.step += 1
        return loss

    def _gradients(self, sub_batches: Sequence[SubBatch], weights: Sequence[np.ndarray]) -> tuple[Tensor, float]:
        """Leave the update's gradients in the parameters → its totals, and the floating-point operations of all."""
        forwards = self._forwards(sub_batches, weights)
        costs = [sum(piece.cost for piece in pieces) for pieces in forwards]
        own = assign(costs, self.processes.count)[self.processes.rank]
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        # Rows: scaled, unscaled, weighted losses of each dataset, its scaled weight; last column: real tokens, padded
        # tokens, CPU seconds.
        totals = torch.zeros(4, len(self.parts) + 1, dtype=torch.float64, device=self.device.torch)
        started = time.process_time()
        for number in own:
            if number == own[-1]:
                self.reducer.last()
            self._accumulate(forwards[number], number, totals)
        totals[2, -1].fill_(time.process_time() - started)  # where `=` would wait for a GPU
        return self.reducer.finish(totals), sum(costs)

    def _fitted(self, kept: int | None = None) -> Device:
        """The device that was asked for, with forwards as large as the memory of every process holds, or of the `kept`
        tokens."""
        with together(self.processes):
            copies = 1 if self.recipe.r3f is None else 2
            device = self.model.fitted(self.asked, self.largest, copies, kept)
        return replace(device, micro_tokens=min(gather(self.processes, device.micro_tokens)))

    def _halve(self, error: OutOfMemory) -> None:
        """Go on in forwards of half the tokens. Raises `error` where one example takes as many already, or where other
        processes have begun to add up the update."""
        before, half = self.device.micro_tokens, max(self.largest, self.device.micro_tokens // 2)
        if self.processes.count > 1:
            raise OutOfMemory(f"{error}; or start on one process, which goes on in smaller forwards") from None
        if half >= before:
            raise error
        self.device = replace(self.device, micro_tokens=half)
        print(f"update {self.step + 1}: no memory for forwards of {before:,} tokens: {half:,} now", file=sys.stderr)

    def _flops(self, tokens: float, length: float) -> float:
        """Floating-point operations of `tokens` in rows of `length`, forward and backward."""
        copies = 2 if self.recipe.r3f is not None else 1
        return copies * tokens * (self._matrix + self._attention * length)

    def _all_flops(self) -> float:
        """Those of the whole training, were every update as its first."""
        return self.updates * sum(self._flops(float(b.sizes.sum()), b.length) for b in self.sampler.update(0))

    def _forwards(self, batches: Sequence[SubBatch], weights: Sequence[np.ndarray]) -> list[list[Piece]]:
        """What goes through the model together, for all processes."""
        limit = self.device.micro_tokens
        if self.packed:
            return packs(batches, weights, limit, self.processes.count, self._flops)
        kinds = ["rows" if self.specs[batch.part].has_weights else "summary" for batch in batches]
        return micro_batches(batches, weights, kinds, limit, self._flops)

    def _r3f(self, part: int) -> R3F | None:
        """How a dataset's forwards are regularised; summaries never share one with rows."""
        r3f = self.recipe.r3f
        return r3f if r3f is None or self.specs[part].has_weights else r3f.summaries or r3f

    def _forward(self, pieces: Sequence[Piece], number: int) -> tuple[Batch, list[Losses]]:
        """The losses of the units of one forward. Dropout and noise depend on (seed, update, forward) alone."""
        seed = np.random.SeedSequence([self.seed, self.step, number]).generate_state(1, np.uint64)[0] >> 1
        torch.manual_seed(int(seed))
        chosen = [(piece.part, piece.units) for piece in pieces]
        weights = [piece.weights for piece in pieces]
        batch = make_batch(self.parts, self.specs, chosen, self.model.pad, self.device.torch, self.packed, weights)
        with self.device.autocast(self.model.width):
            r3f = self._r3f(pieces[0].part)
            return batch, self.model(batch, self.specs, r3f, self.recipe.label_smoothing or 0.0)

    def _accumulate(self, pieces: Sequence[Piece], number: int, totals: Tensor) -> None:
        """Forward, scale, and add the gradient of what these units have in the update's mean loss."""
        batch, predicted = self._forward(pieces, number)
        mean = torch.zeros((), device=self.device.torch)
        for segment, losses in zip(batch.segments, predicted, strict=True):
            loss = regularised(losses, segment, self._r3f(segment.part))
            factor = self._factor(segment.part, losses.n)
            weight = segment.weights * factor
            mean = mean + (weight * loss).sum()
            measured = (factor * loss, losses.loss, weight * loss, weight)
            totals[:, segment.part] += torch.stack([value.detach().sum() for value in measured]).double()
        mean.backward()
        totals[0, -1] += batch.tokens
        totals[1, -1] += batch.ids.numel()

    def _factor(self, part: int, n: Tensor) -> Tensor:
        """What Eq. 1, or an ablation in its place, multiplies each unit's loss by [U]; `n` [U] is its count."""
        kind, one = self.recipe.loss_scaling, torch.ones_like(n, dtype=torch.float32)
        if kind == "none":
            return one
        if kind == "dataset_size":
            return one * float(self.size_factor[part])
        if kind == "inverse_loss" and float(self.running[part]) > 0:
            return one / float(self.running[part])
        return scale(one, n)  # Eq. 1; also until a dataset's loss was first seen

    def _measure(
        self, sub_batches: Sequence[SubBatch], weights: Sequence[np.ndarray], totals: Tensor, flops: float
    ) -> float:
        """Take the update's `totals`, of all processes, into what is known of the training → the update's loss."""
        rows = totals.tolist()  # the one time in an update that the host waits for a GPU
        (scaled, unscaled, weighted, share), used = (row[:-1] for row in rows), [row[-1] for row in rows[:-1]]
        loss = sum(weighted)
        if not math.isfinite(loss):
            bad = [name for name, value in zip(self.names, weighted, strict=True) if not math.isfinite(value)]
            raise UserError(
                f"update {self.step + 1}: the loss of {', '.join(bad)} is not finite; a lower learning rate may help"
            )
        units = [0] * len(self.parts)
        for batch, weight in zip(sub_batches, weights, strict=True):
            units[batch.part] += len(batch.units)
            self.meter.shares[0, batch.part] += weight.sum()
        self.meter.shares[1] += torch.tensor(share, dtype=torch.float64)
        for part, (total, count) in enumerate(zip(unscaled, units, strict=True)):
            if count:
                before, now = float(self.running[part]), total / count
                self.running[part] = now if before == 0 else EMA * before + (1 - EMA) * now
        self.meter.add(self.step, scaled, units)
        names = ("real_tokens", "padded_tokens", "cpu_seconds", "flops")
        for name, value in zip(names, (*used, flops), strict=True):
            self.meter.counts[name] += value
        return loss

    def _apply(self) -> None:
        """Take the optimiser's step."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.updates, self.step)
        if self.recipe.unused_heads == "zero":
            for parameter in self.model.heads.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        if self.recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.optimizer.step()

    @torch.no_grad()
    def noise_divergence(self) -> dict[str, float]:
        """The symmetric KL of R3F's noise alone, without dropout: of each dataset of the first update, the mean over
        some units. Dropout moves predictions by far more, so this says what the noise by itself regularises."""
        divergences: dict[str, float] = {}
        self.model.eval()
        for batch in self.sampler.update(0):
            name, r3f = self.names[batch.part], self._r3f(batch.part)
            if r3f is None or name in divergences:
                continue
            torch.manual_seed(self.seed)
            pieces = self._forwards([batch], [np.ones(len(batch.units))])[0]
            chosen = [(piece.part, piece.units) for piece in pieces]
            rows = make_batch(self.parts, self.specs, chosen, self.model.pad, self.device.torch, self.packed)
            each = [one.divergence for one in self.model(rows, self.specs, r3f) if one.divergence is not None]
            if each:  # a regression has none
                divergences[name] = float(torch.cat(each).mean())
        return divergences

    # -- saving and resuming

    def state(self) -> dict[str, Any]:
        """Everything that the next update depends on: randomness is a function of the seed and the update's number."""
        return {
            "plan": self.plan(),
            "forwards": (self.device.kind, self.device.micro_tokens),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "running": self.running,
            "meter": self.meter.state(),
        }

    def plan(self) -> str:
        """What must be the same for a checkpoint to be continued, beyond the run's id: data and initial model."""
        data = [[p.name, p.encoded.fingerprint, len(p.units), p.weight] for p in self.parts]
        return digest([self.updates, data, self.model.content])

    def restore(self, step: int, state: dict[str, Any]) -> None:
        """Continue from a checkpoint; raises UserError when the data changed under the run."""
        if state["plan"] != self.plan():
            raise UserError(
                "the checkpoint was made on other data or from another model (one has changed since); delete it to"
                " start again"
            )
        self.step = step
        if "forwards" in state:
            self._forwards_as_before(*state["forwards"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.running = state["running"]
        self.meter.restore(state["meter"])

    def _forwards_as_before(self, kind: str, tokens: int) -> None:
        """Go on in forwards of as many `tokens` where memory holds them: others draw other dropout."""
        if kind != self.device.kind or tokens == self.device.micro_tokens:
            return
        recomputed, self.device = self.device.gradient_checkpointing, self._fitted(tokens)
        if self.device.gradient_checkpointing and not recomputed:
            self.model.recompute()
        if self.device.micro_tokens != tokens and self.processes.first:
            print(
                f"forwards of {self.device.micro_tokens:,} tokens from update {self.step + 1} on, of {tokens:,} before:"
                " less memory is left, and dropout draws other masks than in a run that was not stopped",
                file=sys.stderr,
            )
