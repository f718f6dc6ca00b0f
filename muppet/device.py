"""Where and how a run computes: no part of its identity, but kept in its result."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from muppet.errors import UserError

MICRO_TOKENS = 32768  # of one forward on a GPU


@dataclass(frozen=True, kw_only=True)
class Device:
    """Choices of the machine. `detect()` gives the defaults; a study never sets them."""

    kind: str = "cpu"  # cpu, cuda
    bf16: bool = False  # autocast; weights, losses and optimiser stay float32
    micro_tokens: int = 4096  # padded tokens of one forward: sub-batches are merged up to it
    packed: bool | None = None  # rows without padding (muppet.packed); None: where the model allows it
    compile: bool = False
    gradient_checkpointing: bool = False
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

    def autocast(self) -> AbstractContextManager[object]:
        """bf16 for matrix products where the device is set to it."""
        return torch.autocast(self.kind, dtype=torch.bfloat16) if self.bf16 else nullcontext()

    @property
    def name(self) -> str:
        """For a result: the GPU's name, or `cpu`."""
        return torch.cuda.get_device_name() if self.kind == "cuda" else "cpu"
