"""What a packed forward costs the CPU of a GPU machine: operations, and milliseconds where there is next to nothing to
compute.

The encoder has RoBERTa-base's layers but narrow ones and few tokens, and attention's kernels do nothing: what is left is
what a GPU waits for when it is faster, Python, dispatch and autograd. Graphs and breaks are those of the compiled layers
(`Device.compile`) over batches of other lengths, whose tensors are views of one copy as they are there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import kernels
from benchmarks.common import ROUNDS, Bar, Report, clocked, median
from benchmarks.mixture import SHAPES, roberta
from muppet.model import attention
from muppet.model.batch import Batch, copied, pack_rows
from muppet.model.heads import PackedRows
from muppet.model.multitask import MultiTask
from muppet.runtime.device import Device

SHAPE = (SHAPES["base"][0], 64, 2)  # layers, width, heads
LENGTHS = (3, 5, 8, 16)  # tokens of the rows of the forward that is timed
QUIET = ("view", "transpose", "permute", "detach", "expand", "t.", "slice", "unsqueeze", "squeeze", "empty", "alias")


class Count(TorchDispatchMode):
    """Counts operations, but those that launch nothing: views and allocations."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function).removeprefix("aten.").lstrip("_")
        self.operations += not name.startswith(QUIET)
        return function(*args, **(kwargs or {}))


def batch(lengths: list[int]) -> Batch:
    """A packed batch of rows of these lengths."""
    sizes = np.array(lengths)
    return pack_rows(np.arange(sizes.sum()) % 1000 + 9, sizes, sizes)


def states(model: MultiTask, packed: Batch, bf16: bool) -> Tensor:
    """[T, H] of a packed batch."""
    with Device(bf16=bf16).autocast(model.width):
        hidden = model.encode_rows(packed)
    assert isinstance(hidden, PackedRows)
    return hidden.tokens


def graphs(shape: tuple[int, int, int]) -> tuple[int, int]:
    """(graphs, breaks) of ten compiled forwards and backwards in bf16."""
    from torch._dynamo.utils import counters

    model, random = roberta(shape, "cpu").train(), np.random.default_rng(0)
    model.backbone.set_attn_implementation(attention.KERNEL)
    torch._dynamo.reset()
    counters.clear()
    model.compile_layers("aot_eager")
    for _ in range(10):
        lengths = random.integers(2, 30, random.integers(1, 6)).tolist()
        states(model, copied(batch(lengths), torch.device("cpu")), True).sum().backward()
    return counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())


def measure(rounds: int = 4 * ROUNDS, shape: tuple[int, int, int] = SHAPE) -> Report:
    """Operations and milliseconds of one forward and one backward, in bf16 and in fp32."""
    model, packed, rows = roberta(shape, "cpu").train(), batch(list(LENGTHS)), []
    model.backbone.set_attn_implementation(attention.KERNEL)
    with kernels.on_cpu(exact=False):
        for precision in ("bf16", "fp32"):
            with Count() as forward:
                loss = states(model, packed, precision == "bf16").sum()
            with Count() as backward:
                loss.backward()
            forwards, backwards, made = [], [], []
            for _ in range(rounds):
                forwards.append(clocked(lambda p=precision: made.append(states(model, packed, p == "bf16").sum())).cpu)
                backwards.append(clocked(made.pop().backward).cpu)
            rows.append(
                {
                    "precision": precision,
                    "operations forward": forward.operations,
                    "operations backward": backward.operations,
                    "CPU ms forward": 1e3 * median(forwards),
                    "CPU ms backward": 1e3 * median(backwards),
                }
            )
        whole, breaks = graphs((2, *shape[1:]))
    return Report(
        name="launches",
        rows=rows,
        settings={"layers": shape[0], "width": shape[1], "tokens": packed.tokens, "rounds": rounds},
        bars=[
            Bar(
                what="graphs of the compiled encoder, ten forwards of other lengths",
                bar=1,
                at_least=False,
                measured=whole,
            ),
            Bar(what="breaks of the same", bar=0, at_least=False, measured=breaks),
        ],
        notes=["no GPU was involved: the kernels of attention return at once"],
    )
