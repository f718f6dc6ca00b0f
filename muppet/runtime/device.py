"""Where and how a run computes: no part of its identity, but kept in its result."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Literal

import torch

from muppet.errors import UserError
from muppet.runtime import memory
from muppet.runtime.asked import asked
from muppet.values import check_bounds, check_fields

# Tokens of one forward on a GPU, at most: packs are a power of two in number, so half of it at least. A forward and
# backward of RoBERTa-base is launched in 25 to 40 ms of CPU time, and computed on an H100 in some 80 at 44,000 tokens.
MICRO_TOKENS = 65536
UNPACKED = 32768  # the same for models that pad: theirs are as large as asked, and some keep weights of attention
MEMORY = 0.8  # share of the device's memory that a run plans with
STATE = 18  # bytes that training keeps for each weight: itself, its gradient, two moments in float32, a bf16 copy
# Bytes of each token, layer and unit of width between forward and backward; measured: 88 in fp32, 72 in bf16.
KEPT = 90
KEPT_RECOMPUTING = 9  # the same with gradient checkpointing, and KEPT of one layer

# Floating-point operations of a training from which compiled layers pay on a GPU: RoBERTa-base's take 12 s to compile
# on an H100, and then a sixth less time than plain ones at 210 TFLOP/s (benchmarks/gpu.py).
COMPILE_FLOPS = 2e16

# Units of width from which bf16 pays on a CPU: below, casts cost more than products save. CPU seconds of an update on
# a Zen 4 core, bf16 over fp32: 1.7 at 64 units, 0.9 at 128, 0.7 at 256, 0.6 at 384 and 768 (benchmarks/precision.py).
CPU_BF16_WIDTH = 256


class OutOfMemory(UserError):
    """A forward, or the model itself, did not fit into the device's memory."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """Choices of the machine. `detect()` gives the defaults; a study never sets them."""

    kind: Literal["cpu", "cuda"] = "cpu"
    bf16: bool = False  # matrix products (autocast); weights, losses and optimiser stay float32
    bf16_width: int = 0  # narrower models stay in float32 all the same
    micro_tokens: int = 4096  # padded tokens of one forward (R3F doubles them); an update takes several
    packed: bool | None = None  # rows without padding (muppet.model.encoder); None: where the model allows it
    compile: bool | None = None  # the layers of the encoder; None: where it pays (`compiles`)
    gradient_checkpointing: bool | None = None  # None: where one example would not fit into memory without
    checkpoint_seconds: float = 300.0  # between two checkpoints

    def __post_init__(self) -> None:
        check_fields(self)
        check_bounds(self, "micro_tokens", "a number above 0", lambda value: value > 0)

    @classmethod
    def detect(cls) -> Device:
        """A GPU where there is one, else the CPU; bf16 where it has instructions for it (on a CPU for models of
        `CPU_BF16_WIDTH` at least), else float32. `$MUPPET_DEVICE` (cpu | cuda) and `$MUPPET_PRECISION` (fp32 | bf16)
        overrule both; on a GPU `$MUPPET_COMPILE` (no | yes) overrules `compiles`. Raises UserError for other values."""
        kind = asked("MUPPET_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
        if kind == "cuda" and not torch.cuda.is_available():
            raise UserError("MUPPET_DEVICE=cuda, but torch finds no GPU; unset it or install a CUDA build of torch")
        if kind == "cuda":  # No two forwards are equally long: without it the allocator's memory ends up in pieces.
            os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # read when CUDA starts: just below
        precision = asked("MUPPET_PRECISION")
        compiled = asked("MUPPET_COMPILE")
        fast = torch.cuda.is_bf16_supported(including_emulation=False) if kind == "cuda" else cpu_has_bf16()
        bf16 = precision == "bf16" if precision else fast
        if kind == "cuda":
            compile = compiled == "yes" if compiled else None
            return cls(kind="cuda", bf16=bf16, micro_tokens=MICRO_TOKENS, compile=compile)
        return cls(bf16=bf16, bf16_width=0 if precision else CPU_BF16_WIDTH)

    @property
    def torch(self) -> torch.device:
        """The device of this process (its own GPU, when there are several)."""
        return torch.device("cuda", torch.cuda.current_device()) if self.kind == "cuda" else torch.device("cpu")

    @property
    def memory(self) -> int:
        """Bytes of the GPU, by `$MUPPET_SHARED_BY` where a launcher gives it to so many workers, or what this process
        may use of the machine's (`muppet.runtime.memory`)."""
        if self.kind == "cuda":
            whole = int(torch.cuda.get_device_properties(self.torch).total_memory)
            return whole // int(os.environ.get("MUPPET_SHARED_BY", 1))
        return memory.allowed()

    @contextmanager
    def enough(self, doing: str) -> Iterator[None]:
        """Inside, memory that runs out raises OutOfMemory, which says while `doing` what and what helps."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
                if "DefaultCPUAllocator" not in str(error):  # a CPU's has no class of its own
                    raise
            raise OutOfMemory(
                f"{doing}: the memory of {self.name} ran out, with forwards of {self.micro_tokens:,} tokens; lower"
                " max_length, take a smaller model, or end what else holds memory"
                + ("" if self.kind == "cpu" else " (MUPPET_DEVICE=cpu uses the machine's)")
            ) from None

    def fitted(
        self, *, weights: int, layers: int, width: int, tokens: int, copies: int, kept: int | None = None
    ) -> Device:
        """With forwards as large as memory allows for a model of this shape, and gradient checkpointing where `tokens`,
        the largest example's, would not fit without. `copies` is 2 with R3F. A forward takes `tokens` at least. `kept`:
        the tokens of a forward before a stop, which are taken again, if need be with gradient checkpointing, where they
        fit."""
        free = max(0.0, MEMORY * self.memory - STATE * weights) / (copies * width)
        plain, recomputing = int(free / (KEPT * layers)), int(free / (KEPT_RECOMPUTING * layers + KEPT))
        chosen = plain < tokens if self.gradient_checkpointing is None else self.gradient_checkpointing
        limit = max(tokens, recomputing if chosen else plain)
        if kept is not None and kept <= (max(limit, recomputing) if self.gradient_checkpointing is None else limit):
            return replace(self, micro_tokens=kept, gradient_checkpointing=chosen or kept > limit)
        return replace(self, micro_tokens=min(self.micro_tokens, limit), gradient_checkpointing=chosen)

    def check_holds(self, weights: int) -> None:
        """Raise UserError when so many weights cannot be trained, however small the forwards."""
        if STATE * weights > self.memory:
            raise UserError(
                f"training {weights:,} weights takes {STATE * weights / 1e9:.1f} GB, and this {self.kind} has"
                f" {self.memory / 1e9:.1f} GB; take a smaller model or a larger machine"
            )

    def compiles(self, packed: bool, flops: Callable[[], float]) -> bool:
        """Whether a training compiles the encoder's layers; where that is a question of its size, by its floating-point
        operations."""
        if self.compile is None:  # only what has been seen to be faster
            return self.kind == "cuda" and packed and not self.gradient_checkpointing and flops() >= COMPILE_FLOPS
        return self.compile

    def precision(self, width: int) -> Literal["fp32", "bf16"]:
        """Of the matrix products of a model of this width."""
        return "bf16" if self.bf16 and width >= self.bf16_width else "fp32"

    def autocast(self, width: int) -> AbstractContextManager[object]:
        """Inside, matrix products of a model of this width are in its `precision`."""
        return torch.autocast(self.kind, dtype=torch.bfloat16) if self.precision(width) == "bf16" else nullcontext()

    @property
    def name(self) -> str:
        """For a result: the GPU's name, or `cpu`."""
        return torch.cuda.get_device_name() if self.kind == "cuda" else "cpu"


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bf16 in hardware: in tiles (AMX) or by dot products (AVX-512)."""
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # not in 2.11
    return bool(has.get("amx_bf16") or has.get("avx512_bf16"))


def release_memory() -> None:
    """Give the machine back what malloc keeps for later (glibc; elsewhere nothing happens).

    No two packed forwards are equally long: what they leave behind lies in pieces between what is in use, and adds up
    over hours.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
