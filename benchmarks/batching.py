"""Real (non-padding) tokens per second of training, against other ways of batching, on the length mix of real datasets.

Every variant trains the same model (the width of MiniLM, two of its layers: every layer's work is the same) in one
process, in turns. What a turn trains on is drawn from that variant's own batches of the full-size mixture, spread
evenly over its real tokens, from short rows to long. transformers.Trainer runs its own loop, in a thread that waits for
its turn.

How close the loop comes to the machine's limit is also measured on layers of RoBERTa-base's shape, with the same rows: the
paper's model is twice as wide as MiniLM, and a wider one spends more of its time in matrix products.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import policies, tasknet_side
from benchmarks.common import ROUNDS, Bar, Report, clocked, hint, median
from benchmarks.mixture import SHAPES, Mixture, artifacts, flops_per_token, minilm, mixture, roberta, trainer
from muppet.families import FAMILIES
from muppet.model.batch import Batch, Segment
from muppet.model.losses import scale
from muppet.model.multitask import MultiTask
from muppet.runs import Recipe
from muppet.runtime.device import Device, cpu_has_bf16
from muppet.stages import opening
from muppet.training.batching import SubBatch

RECIPE = Recipe(lr=1e-5, max_tokens=4400, updates=10_000, max_length=512, sub_batches=2)
PASSES = 2  # batches of one turn, and of one update, for every variant
OURS, WIDE = "this project", "this project, RoBERTa-base's width"
BF16, THEIR_BF16 = "this project, bf16", "Trainer, per task, bf16"


class Drawn:
    """Stands for the sampler: a variant's own batches, `count` per update, spread over its real tokens."""

    def __init__(self, mixed: Mixture, policy: policies.Policy, recipe: Recipe, count: int = PASSES) -> None:
        self.count = count
        cut = [policy(part, recipe) for part in mixed.parts]
        self.batches, self.mass = policies.draws(mixed.parts, cut, mixed.shares(), "tokens")
        order = np.argsort([batch.length for batch in self.batches], kind="stable")
        self.batches, self.mass = [self.batches[i] for i in order], self.mass[order]
        real = np.array([policies.real_tokens(mixed.parts[b.part], b.units) for b in self.batches])
        self.real, self.padded = real, np.array([batch.tokens for batch in self.batches])

    def chosen(self, step: int) -> np.ndarray:
        """Indices of the batches of update `step`."""
        start = (0.5 + 0.618034 * step) % 1  # the same places in the mixture for every variant
        return policies.systematic(self.mass, self.count, start)

    def update(self, step: int) -> list[SubBatch]:
        self.last = self.chosen(step)
        return [self.batches[i] for i in self.last]

    def flops(self, model: MultiTask, packed: bool, longest: int | None = None) -> np.ndarray:
        """Of each batch, on all tokens that the model is fed: real ones, padded ones, or rows padded to `longest`."""
        each = [flops_per_token(model, longest or batch.length) for batch in self.batches]
        rows = np.array([batch.rows for batch in self.batches])
        return np.array(each) * (self.real if packed else self.padded if longest is None else rows * longest)

    def cost(self, seconds: float, flops: np.ndarray) -> float:
        """Seconds per real token of the whole mixture, at the FLOP/s at which the last update went through its batches.

        Seconds over the update's own real tokens would say little: padded to 512, a batch of short rows holds a tenth
        of the real tokens that one of long rows does, and takes as long.
        """
        return seconds / float(flops[self.last].sum()) * float((self.mass * flops / self.real).sum())

    def share(self, longest: int | None = None) -> float:
        """Real tokens among all that the model is fed, over the whole mixture; `longest` pads every row to it."""
        padded = self.padded if longest is None else np.array([batch.rows * longest for batch in self.batches])
        return float(1 / (self.mass * padded / self.real).sum())


class Ours:
    """The project's loop over a variant's batches."""

    def __init__(self, model: MultiTask, mixed: Mixture, drawn: Drawn, device: Device, recipe: Recipe) -> None:
        self.drawn, self.trainer, self.packed = drawn, trainer(model, mixed, recipe, device), device.packed
        self.trainer.sampler = drawn  # type: ignore[assignment]

    def turn(self) -> None:
        self.trainer.update()

    def close(self) -> None:
        pass


class TheirModel(torch.nn.Module):
    """The same model behind the interface that transformers' Trainer wants: padded tensors in, loss out."""

    def __init__(self, model: MultiTask, mixed: Mixture) -> None:
        super().__init__()
        self.model, self.mixed = model, mixed

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, second: torch.Tensor, part: int, units: Any
    ):
        lengths = attention_mask.sum(dim=1)
        spec, encoded = self.mixed.specs[part], self.mixed.parts[part].encoded
        fields = FAMILIES[encoded.task.family].fields(encoded, units, spec)
        numbers = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in fields.items()}
        segment = Segment(part=part, rows=slice(0, len(input_ids)), fields=numbers)
        padded = bool((lengths < input_ids.shape[1]).any())
        batch = Batch(
            ids=input_ids, lengths=lengths, second=second, padded=padded, tokens=int(lengths.sum()), segments=(segment,)
        )
        (losses,) = self.model(batch, self.mixed.specs)
        return {"loss": scale(losses.loss, losses.n).mean()}


class Theirs:
    """transformers.Trainer, unchanged but for its batches: it trains in a thread and halts after each update."""

    def __init__(
        self, model: MultiTask, mixed: Mixture, drawn: Drawn, longest: int | None = None, bf16: bool = False
    ) -> None:
        import transformers

        self.drawn, self.go, self.done = drawn, threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None
        self.folder = tempfile.mkdtemp(prefix="muppet-bench-")
        outer, tokenizer = self, model.tokenizer
        data = _arrow(mixed)
        padding: dict[str, Any] = (
            {"padding": True} if longest is None else {"padding": "max_length", "max_length": longest}
        )

        def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
            rows = [row for item in items for row in item["input_ids"]]
            made = tokenizer.pad({"input_ids": rows}, return_tensors="pt", verbose=False, **padding)
            second = torch.tensor([place for item in items for place in item["second"]])
            units = np.array([item["unit"] for item in items])
            return {
                "input_ids": made["input_ids"],
                "attention_mask": made["attention_mask"],
                "second": second,
                "part": items[0]["part"],
                "units": units,
            }

        class Batches:
            def __len__(self) -> int:
                return 10**9

            def __iter__(self):
                step = 0
                while True:
                    for batch in outer.drawn.update(step):
                        yield [(batch.part, int(unit)) for unit in batch.units]
                    step += 1

        class Rows(torch.utils.data.Dataset):
            def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
                return data[place[0]][place[1]]

            def __len__(self) -> int:
                return sum(map(len, data))

        class Trainer(transformers.Trainer):
            def get_train_dataloader(self):
                return torch.utils.data.DataLoader(Rows(), batch_sampler=Batches(), collate_fn=collate)

        class Turns(transformers.TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                outer.done.release()
                outer.go.acquire()

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                control.should_training_stop = outer.stopping

        arguments = transformers.TrainingArguments(
            output_dir=self.folder,
            max_steps=10_000,
            per_device_train_batch_size=policies.ROWS_PER_BATCH,
            gradient_accumulation_steps=drawn.count,
            learning_rate=RECIPE.lr,
            use_cpu=True,
            bf16=bf16,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
            max_grad_norm=0.0,
        )
        self.stopping = False
        theirs = Trainer(model=TheirModel(model, mixed), args=arguments, train_dataset=Rows(), callbacks=[Turns()])
        theirs.remove_callback(transformers.trainer_callback.PrinterCallback)

        def run() -> None:
            try:
                theirs.train()
            except BaseException as error:  # handed to the caller's thread
                self.error = error
            self.done.release()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        self.turns = 0
        self._wait()

    def _wait(self) -> None:
        self.done.acquire()
        if self.error is not None:
            raise self.error

    def turn(self) -> None:
        self.go.release()
        self._wait()
        self.drawn.last = self.drawn.chosen(self.turns)  # the next update's batches have been drawn already
        self.turns += 1

    def close(self) -> None:
        self.stopping = True
        self.go.release()
        self.thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)


Variant = tuple[
    Ours | Theirs, Drawn, np.ndarray, float
]  # what takes turns, its batches, their FLOPs, the real tokens' share


def _arrow(mixed: Mixture) -> list[Any]:
    """The same rows as `datasets` keeps them after tokenisation."""
    import datasets

    found = []
    for index, part in enumerate(mixed.parts):
        encoded, columns = part.encoded, {"input_ids": [], "second": [], "unit": [], "part": []}  # type: ignore[var-annotated]
        for unit in range(len(encoded.unit_rows) - 1):
            rows = range(encoded.unit_rows[unit], encoded.unit_rows[unit + 1])
            columns["input_ids"].append(
                [encoded.tokens[encoded.offsets[r] : encoded.offsets[r + 1]].tolist() for r in rows]
            )
            columns["second"].append([int(encoded.second[r]) for r in rows])
            columns["unit"].append(unit)
            columns["part"].append(index)
        found.append(datasets.Dataset.from_dict(columns))
    return found


def gemm_peak(widths: Sequence[int], rows: int = 4400) -> float:
    """Best FLOP/s of a few float32 matrix products of the models' shapes and a large square one, per CPU second."""
    best = 0.0
    shapes = [shape for h in widths for shape in ((rows, h, h), (rows, h, 4 * h), (rows, 4 * h, h))]
    for m, k, n in (*shapes, (2048, 2048, 2048)):
        multiply = partial(torch.nn.functional.linear, torch.randn(m, k), torch.randn(n, k))
        best = max(best, *(2 * m * k * n / clocked(multiply).cpu for _ in range(3)))
    return best


def measure(rounds: int = ROUNDS, layers: int = 2, recipe: Recipe = RECIPE, names: Sequence[str] = ()) -> Report:
    """Real tokens per second of every variant, and the share of the GEMM peak that real tokens reach."""
    with artifacts():
        model = minilm(layers)
        mixed = mixture(model, recipe, names)
        buckets, fairseq, grouped, fixed = (
            Drawn(mixed, policy, recipe)
            for policy in (policies.buckets, policies.fairseq, policies.grouped, policies.fixed)
        )
        single = Drawn(mixed, policies.fixed, recipe, count=1)  # all its batches cost the same
        plain = copy.deepcopy(model)  # without what a CPU does faster than its modules: theirs
        wide = roberta((layers, *SHAPES["base"][1:]), "cpu")
        opening.add_missing_heads(wide, mixed.specs, 0)

        def packed(own: MultiTask, **more: Any) -> Variant:
            way = Ours(own, mixed, buckets, Device(packed=True, **more), recipe)
            return way, buckets, buckets.flops(own, packed=True), 1.0

        def padded(drawn: Drawn) -> Variant:
            way = Ours(model, mixed, drawn, Device(packed=False), recipe)
            return way, drawn, drawn.flops(model, packed=False), drawn.share()

        def theirs(drawn: Drawn, longest: int | None = None, bf16: bool = False) -> Variant:
            way = Theirs(plain, mixed, drawn, longest, bf16)
            return way, drawn, drawn.flops(model, False, longest), drawn.share(longest)

        variants = {
            OURS: packed(model),
            "this project, padded": padded(buckets),
            "fairseq's batches": padded(fairseq),
            "Trainer, by length": theirs(grouped),
            "Trainer, per task": theirs(fixed),
            "Trainer, to 512": theirs(single, recipe.max_length),
            WIDE: packed(wide),
        }
        if cpu_has_bf16():
            variants |= {BF16: packed(model, bf16=True), THEIR_BF16: theirs(fixed, bf16=True)}
        cpu: dict[str, list[float]] = {name: [] for name in variants}
        wall: dict[str, list[float]] = {name: [] for name in variants}
        shares: dict[str, list[float]] = {OURS: [], WIDE: []}
        peaks = []
        for number in range(rounds + 1):  # the first is to warm up
            for name, (variant, drawn, flops, _) in variants.items():
                clock = clocked(variant.turn)
                if not number:
                    continue
                cpu[name].append(drawn.cost(clock.cpu, flops))
                wall[name].append(drawn.cost(clock.wall, flops))
                if name in shares:
                    peaks.append(gemm_peak((model.width, wide.width)))
                    shares[name].append(float(flops[drawn.last].sum()) / clock.cpu / peaks[-1])
            hint(f"round {number} of {rounds}")
        for variant, *_ in variants.values():
            variant.close()
        tasknet = tasknet_side.beside(rounds, layers, recipe)
    ours = cpu[OURS]
    rows: list[dict[str, Any]] = []
    for name, (*_, share) in variants.items():
        ratio = median([b / a for a, b in zip(ours, cpu[name], strict=True)])
        rows.append(
            {
                "variant": name,
                "real tokens / CPU s": 1 / median(cpu[name]),
                "real tokens / s": 1 / median(wall[name]),
                "real share of tokens": share,
                "× CPU time of this project": ratio if name != WIDE else None,
                "share of the GEMM peak": median(shares[name]) if name in shares else None,
            }
        )
    times = {row["variant"]: row["× CPU time of this project"] for row in rows}
    over = {name: times[name] / times[BF16] if BF16 in times else None for name in ("Trainer, per task", THEIR_BF16)}
    why = "" if BF16 in times else "this CPU has no bf16 instructions"
    each, peak = "Trainer per task over this project", "real tokens' share of the GEMM peak"
    return Report(
        name="batching",
        rows=rows,
        settings={
            "model": f"{layers} layers of MiniLM, or of RoBERTa-base's width",
            "max_tokens": recipe.max_tokens,
            "max_length": recipe.max_length,
            "batches_per_turn": PASSES,
            "rounds": rounds,
            "gemm_peak_gflops": round(median(peaks) / 1e9, 1),
            "mean_row": round(float(sum(buckets.mass * [batch.length for batch in buckets.batches])), 1),
        },
        bars=[
            Bar(what=f"{each}, bf16 here and fp32 there", bar=9.0, measured=over["Trainer, per task"], why=why),
            Bar(what=f"{each}, both bf16", bar=4.0, measured=over[THEIR_BF16], why=why),
            Bar(what=f"{each}, both fp32", bar=1.3, measured=times["Trainer, per task"]),
            Bar(what="Trainer padded to 512 over this project, both fp32", bar=4.0, measured=times["Trainer, to 512"]),
            Bar(what=f"{peak}, RoBERTa-base's width", bar=0.85, measured=median(shares[WIDE])),
            Bar(what=f"{peak}, MiniLM's width", bar=0.85, measured=median(shares[OURS])),
        ],
        notes=[mixed.note, tasknet],
    )
