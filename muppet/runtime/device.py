"""Where and how a run computes: no part of its identity, but kept in its result."""

from __future__ import annotations

import ctypes
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch

from muppet.errors import UserError

MICRO_TOKENS = 32768  # padded tokens of one forward on a GPU
MEMORY = 0.8  # share of the device's memory that a run plans with
STATE = 18  # bytes that training keeps for each weight: itself, its gradient, two moments in float32, a bf16 copy
# Bytes of each token, layer and unit of width between forward and backward; measured: 88 in fp32, 72 in bf16.
KEPT = 90
KEPT_RECOMPUTING = 9  # the same with gradient checkpointing, and KEPT of one layer


@dataclass(frozen=True, kw_only=True)
class Device:
    """Choices of the machine. `detect()` gives the defaults; a study never sets them."""

    kind: str = "cpu"  # cpu, cuda
    bf16: bool = False  # autocast; weights, losses and optimiser stay float32
    micro_tokens: int = 4096  # padded tokens of one forward (R3F doubles them): sub-batches are merged up to it
    packed: bool | None = None  # rows without padding (muppet.model.encoder); None: where the model allows it
    compile: bool = False
    gradient_checkpointing: bool | None = None  # None: where a sub-batch would not fit into memory without
    checkpoint_seconds: float = 300.0  # between two checkpoints

    @classmethod
    def detect(cls) -> Device:
        """A GPU with bf16 where there is one, else the CPU in float32; `$MUPPET_DEVICE` (cpu | cuda) overrules."""
        asked = os.environ.get("MUPPET_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
        if asked not in ("cpu", "cuda"):
            raise UserError(f"MUPPET_DEVICE={asked!r}: choose cpu or cuda")
        if asked == "cuda" and not torch.cuda.is_available():
            raise UserError("MUPPET_DEVICE=cuda, but torch finds no GPU; unset it or install a CUDA build of torch")
        if asked == "cuda":
            return cls(kind="cuda", bf16=torch.cuda.is_bf16_supported(), micro_tokens=MICRO_TOKENS)
        return cls()

    @property
    def torch(self) -> torch.device:
        """The device of this process (its own GPU, when there are several)."""
        return torch.device("cuda", torch.cuda.current_device()) if self.kind == "cuda" else torch.device("cpu")

    @property
    def memory(self) -> int:
        """Bytes of the GPU, or of the machine."""
        if self.kind == "cuda":
            return int(torch.cuda.get_device_properties(self.torch).total_memory)
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def fitted(self, *, weights: int, layers: int, width: int, tokens: int, copies: int) -> Device:
        """With forwards as large as memory allows for a model of this shape, and gradient checkpointing where `tokens`,
        a sub-batch's, would not fit without. `copies` is 2 with R3F. A forward takes `tokens` at least."""
        free = max(0.0, MEMORY * self.memory - STATE * weights) / (copies * width)
        plain, recomputing = int(free / (KEPT * layers)), int(free / (KEPT_RECOMPUTING * layers + KEPT))
        chosen = plain < tokens if self.gradient_checkpointing is None else self.gradient_checkpointing
        limit = max(tokens, recomputing if chosen else plain)
        return replace(self, micro_tokens=min(self.micro_tokens, limit), gradient_checkpointing=chosen)

    def autocast(self) -> AbstractContextManager[object]:
        """bf16 for matrix products where the device is set to it."""
        return torch.autocast(self.kind, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    @property
    def name(self) -> str:
        """For a result: the GPU's name, or `cpu`."""
        return torch.cuda.get_device_name() if self.kind == "cuda" else "cpu"


def release_memory() -> None:
    """Give the machine back what malloc keeps for later (glibc; elsewhere nothing happens).

    No two packed forwards are equally long: what they leave behind lies in pieces between what is in use, and adds up
    over hours.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
