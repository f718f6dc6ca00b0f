"""What a run costs before it runs: a FLOP model, calibrated by the runs that have finished. No torch, no cluster.

Per token of training: 6·12·L·h² for the matrix products and 12·L·h·s for attention over s tokens (forward and
backward); evaluation takes a third of it. However few its tokens, a pass through a layer takes as long as its kernels
take to be started, and an update has a part that no token counts: short fine-tunings are made of these floors. Lengths
are typical of each family, so an uncalibrated estimate may be off by a factor of two; finished runs correct it per
stage and model, and `Calibration` says how far the model was off.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from muppet.runs import TWIN_ROWS, Finetune, Prefinetune, Recipe, Run, base_model
from muppet.tasks.task import Task

# Sustained training speed of one device, FLOP/s: 40 % of an A100's bf16 peak; one core in fp32.
SPEED = {"gpu": 125e12, "cpu": 40e9}
OVERHEAD_S = {"gpu": 15.0, "cpu": 0.5}  # seconds in which a warm process opens model and data, and writes the result
# Floors, estimated and not measured, to the order of magnitude: some 100 kernels of 10 µs in a layer's two passes.
LAYER_S = {"gpu": 1e-3, "cpu": 1e-4}  # of one layer's forward and backward pass
UPDATE_S = {"gpu": 5e-3, "cpu": 1e-3}  # of an update: optimizer, batch, the loss read back
SCORED = 64  # rows that one pass of evaluation scores
# Of a fine-tuning: result, log and notes. metrics.jsonl is left out: a line in two seconds, of 150 bytes (and up to 25
# more for each dataset of a pre-finetuning), comes to 2 GB of the paper profile's 154.
RESULT_BYTES = 20_000.0
# Bytes of a line of predictions: measured for answers of fixed size, the texts' scaled to a typical answer's length.
LINE_BYTES = {"span": 150.0, "summarization": 700.0, "tagging": 400.0, "parsing": 600.0}
OTHER_BYTES = 105.0
OFF = 2.0  # by which an estimate may be off, either way, before a run has finished
FILL = 0.9  # share of a sub-batch's budget that holds tokens
WIDTH = {"base": 8, "large": 16}  # GPUs that pre-finetuning of a model of this size asks for by default
ROWS_UNKNOWN = 20_000  # training rows of a dataset whose task does not say
# Typical tokens of one example, all rows of all choices, special tokens included; estimates, replaced by calibration.
LENGTH = dict(classification=60, regression=45, commonsense=240, span=260, summarization=800, tagging=40, parsing=40)
LENGTH |= dict(imdb=290, yelp_polarity=180, boolq=150, multirc=330, eraser_multirc=400, hyperpartisan=512, race=1600)
LENGTH |= dict(cosmos_qa=520, hellaswag=460, cola=12, sst2=15, rotten_tomatoes=28, trec=14, aeslc=180, gigaword=45)
LENGTH |= dict(xsum=480, arxiv=1024, pubmed=1024, bigpatent=1024, reddit_tifu=480)
TWIN_LENGTH = {"commonsense": 80, "span": 60, "summarization": 60}
TARGET = 60  # tokens of a summary


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model's shape; `decoder` layers of an encoder–decoder."""

    name: str
    layers: int
    hidden: int
    vocabulary: int = 50_265
    decoder: int = 0

    @property
    def parameters(self) -> float:
        """Weights: 12·h² a layer (16·h² with cross-attention) and the embeddings."""
        return (12 * self.layers + 16 * self.decoder) * self.hidden**2 + self.vocabulary * self.hidden

    def flops(self, tokens: float, length: float) -> float:
        """Of a training step (forward and backward) over `tokens` tokens in rows of `length`."""
        layers = self.layers + (4 / 3) * self.decoder
        return tokens * (72 * layers * self.hidden**2 + 12 * layers * self.hidden * length)


SIZES = (
    (r"^tiny/.*bart", Size(name="tiny", layers=2, hidden=64, vocabulary=2_000, decoder=2)),
    (r"^tiny/", Size(name="tiny", layers=2, hidden=64, vocabulary=2_000)),
    (r"minilm", Size(name="mini", layers=6, hidden=384, vocabulary=30_522)),
    (r"bart.*large", Size(name="large", layers=12, hidden=1024, decoder=12)),
    (r"bart", Size(name="base", layers=6, hidden=768, decoder=6)),
    (r"large", Size(name="large", layers=24, hidden=1024)),
    (r"", Size(name="base", layers=12, hidden=768)),
)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one run takes: training tokens (padding included) and FLOPs, of which `scoring` in evaluation; updates, and
    passes through the model in training and (forward alone) in evaluation; bytes it leaves on disk; for a
    pre-finetuning, how many times it goes through each dataset. `size`: of its model."""

    size: Size
    tokens: float
    flops: float
    scoring: float
    updates: float
    passes: float
    scoring_passes: float
    disk: float
    epochs: Mapping[str, float]

    def seconds(self, device: str | None) -> float:
        """On one device by the plain model."""
        kind, layer = self._on(device)
        training = max((self.flops - self.scoring) / SPEED[kind], self.passes * layer) + self.updates * UPDATE_S[kind]
        return OVERHEAD_S[kind] + training + self.scoring_seconds(device)

    def scoring_seconds(self, device: str | None) -> float:
        """Of these, in evaluation."""
        kind, layer = self._on(device)
        return max(self.scoring / SPEED[kind], self.scoring_passes * layer / 3)

    def _on(self, device: str | None) -> tuple[str, float]:
        """The kind of device, and the floor of a pass through the model there."""
        kind = device or ("gpu" if self.size.name in WIDTH else "cpu")
        return kind, LAYER_S[kind] * (self.size.layers + self.size.decoder)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Seconds of finished runs over the seconds that the plain model gives them.

    `factor` by (device, stage, model's size), with (device, "", size) over both stages, (device, "", "") over all
    models and ("", "", "") over all; `runs` they come from; `off`: the median factor by which a calibrated estimate
    misses, either way (1.2: 20 % too much or too little).
    """

    factor: Mapping[tuple[str, str, str], float]
    runs: int = 0
    off: float | None = None

    def of(self, device: str, stage: str, size: str) -> float:
        """The factor for a run, from the finished runs most like it; those on another kind of device say nothing."""
        for key in ((device, stage, size), (device, "", size), (device, "", "")):
            if key in self.factor:
                return self.factor[key]
        return 1.0

    def __str__(self) -> str:
        if not self.runs:
            return "no run has finished yet: estimates may be off by a factor of two or more"
        whole = self.factor[("", "", "")]
        return (
            f"calibrated by {self.runs} finished runs "
            f"(the plain model was off by ×{whole:.2g}; now typically by ×{self.off:.2g})"
        )


UNCALIBRATED = Calibration(factor={})


def model_size(run: Run) -> Size:
    """The shape of the run's model, from its name, or from its config.json when it is a folder."""
    return _size(base_model(run))


@lru_cache(maxsize=None)
def _size(name: str) -> Size:
    config = Path(name) / "config.json"
    if config.is_file():
        plain = json.loads(config.read_text(encoding="utf-8"))
        layers = plain.get("num_hidden_layers") or plain.get("encoder_layers") or plain.get("num_layers") or 12
        hidden = plain.get("hidden_size") or plain.get("d_model") or 768
        label = "tiny" if hidden < 256 else "mini" if hidden < 768 else "base" if hidden < 1024 else "large"
        decoder = plain.get("decoder_layers") or 0
        return Size(
            name=label, layers=layers, hidden=hidden, vocabulary=plain.get("vocab_size") or 50_265, decoder=decoder
        )
    return next(size for pattern, size in SIZES if re.search(pattern, name.lower()))


def wants_gpu(run: Run) -> bool:
    """Whether the run's model is large enough for a GPU to be worth asking for."""
    return model_size(run).name in WIDTH


def length(task: Task, run: Run) -> float:
    """Estimated tokens of one example of `task`, all choices included."""
    if run.source == "twins":
        typical: float = TWIN_LENGTH.get(task.family, 25)
    else:
        typical = LENGTH.get(task.name, LENGTH[task.family])
    return min(typical, run.recipe.max_length * _choices(task))


def _choices(task: Task) -> int:
    return 4 if task.family == "commonsense" else 1


def rows(task: Task, run: Run) -> float:
    """Estimated training rows that `run` sees of `task`."""
    cap = run.cap(task) if isinstance(run, Prefinetune) else run.train_rows
    if run.source == "twins":  # of which as many are drawn as the run asks for
        capped = float(cap or TWIN_ROWS)
    else:
        capped = float(min(task.train_rows or ROWS_UNKNOWN, cap or float("inf")))
    fraction = run.fraction if isinstance(run, Finetune) and run.fraction else 1.0
    return max(1.0, capped * fraction)


def seen(run: Finetune) -> float:
    """Estimated training rows that `run` goes through: fewer than it has, where its updates end before."""
    updates, examples = run.recipe.updates, run.recipe.max_examples
    drawn = updates * run.recipe.sub_batches * examples if updates and examples else float("inf")
    return min(rows(run.task, run), drawn)


def estimate(run: Run) -> Cost:
    """The plain FLOP model of one run; the seeds of one point cost the same."""
    point = POINT[type(run)](run)
    if point not in _KNOWN:
        _KNOWN[point] = _estimate(run)
    return _KNOWN[point]


POINT = {  # all that a run is but its seed
    kind: attrgetter(*(f.name for f in fields(kind) if f.name not in ("seed", "draw")))
    for kind in (Prefinetune, Finetune)
}
_KNOWN: dict[tuple[Any, ...], Cost] = {}


def _estimate(run: Run) -> Cost:
    size, recipe = model_size(run), run.recipe
    pieces = run.trained
    tokens_per_epoch = sum(rows(task, run) * weight * length(task, run) for task, weight in pieces)
    per_epoch = sum(rows(task, run) * weight for task, weight in pieces)
    mean = tokens_per_epoch / per_epoch
    longest = sum(rows(t, run) * weight * length(t, run) / _choices(t) for t, weight in pieces) / per_epoch
    # A sub-batch is so many examples, or what fits into its tokens by each example's longest choice (P55).
    examples = recipe.max_examples or max(1.0, (recipe.max_tokens or 0) * FILL // longest)
    per_update = recipe.sub_batches * examples * mean
    updates = recipe.updates if recipe.updates is not None else tokens_per_epoch * (recipe.epochs or 0) / per_update
    tokens = per_update * updates
    row = min(mean, recipe.max_length)
    training = size.flops(tokens, row) * (2 if recipe.r3f else 1)
    scoring, scoring_passes, epochs = 0.0, 0.0, {}
    if isinstance(run, Prefinetune):
        disk = (12.0 + 4.0) * size.parameters  # checkpoint (weights and two moments) and the model
        epochs = _epochs(run, tokens)
    else:
        disk = RESULT_BYTES
        held_out = rows(run.task, run) * (run.held_out or 0.0)
        for task in run.scored:
            counted = min(task.evaluation_rows or 2_000, run.evaluation_rows or float("inf"))
            counted += held_out if task is run.task else 0.0
            forward, passes = size.flops(counted * length(task, run), row) / 3, counted / SCORED
            # The best weights are evaluated again at the end. Summaries are decoded for these and the last alone.
            times = (run.evaluations or 1) + (run.evaluations is not None)
            scoring, scoring_passes = scoring + times * forward, scoring_passes + times * passes
            if task.family == "summarization":
                scoring += min(times, 2) * forward * TARGET / 20
                scoring_passes += min(times, 2) * passes * TARGET
            disk += counted * LINE_BYTES.get(task.family, OTHER_BYTES)
    return Cost(
        size=size,
        tokens=tokens,
        flops=training + scoring,
        scoring=scoring,
        updates=updates,
        passes=updates * recipe.sub_batches,
        scoring_passes=scoring_passes,
        disk=disk,
        epochs=epochs,
    )


def exponent(recipe: Recipe) -> float:
    """By which a dataset's size is raised to give its share of the examples that are drawn."""
    return 1.0 if recipe.sampling is None else 0.0 if recipe.temperature is None else 1 / recipe.temperature


def _epochs(run: Prefinetune, tokens: float) -> dict[str, float]:
    """How often each dataset is gone through: the same for all under natural sizes, else examples ∝ size^(1/T)."""
    size = {task.name: rows(task, run) for task in run.tasks}
    share = {name: n ** exponent(run.recipe) for name, n in size.items()}
    unit = tokens / sum(share[task.name] * length(task, run) for task in run.tasks)
    return {name: share[name] * unit / size[name] for name in size}


def memory_gb(run: Run) -> float:
    """Host memory of one process: interpreter and libraries, weights with moments, one sub-batch's activations."""
    return 1.5 + 20 * model_size(run).parameters / 1e9


def seconds(run: Run, calibration: Calibration = UNCALIBRATED, device: str | None = None) -> float:
    """Estimated seconds of `run` on one device (`gpu` or `cpu`; None: what its model asks for)."""
    cost = estimate(run)
    kind, _ = cost._on(device)
    return cost.seconds(device) * calibration.of(kind, run.stage, cost.size.name)


def calibrate(finished: Iterable[tuple[Run, Mapping[str, Any]]]) -> Calibration:
    """Learn from finished runs: pairs of a run and the `cost` of its result (`seconds`, `device`, `processes`)."""
    ratios: dict[tuple[str, str, str], list[float]] = {}
    measured: list[tuple[str, str, str, float]] = []  # device, stage, model's size, ratio
    for run, spent in finished:
        took = float(spent.get("seconds") or 0) * int(spent.get("processes") or 1)
        if took <= 0:
            continue
        device = "cpu" if str(spent.get("device", "cpu")).startswith("cpu") else "gpu"
        ratio = took / estimate(run).seconds(device)
        size = model_size(run).name
        measured.append((device, run.stage, size, ratio))
        for key in ((device, run.stage, size), (device, "", size), (device, "", ""), ("", "", "")):
            ratios.setdefault(key, []).append(ratio)
    if not measured:
        return UNCALIBRATED
    learnt = Calibration(factor={key: statistics.median(values) for key, values in ratios.items()}, runs=len(measured))
    misses = [ratio / learnt.of(*like) for *like, ratio in measured]
    return replace(learnt, off=statistics.median(max(miss, 1 / miss) for miss in misses))
