"""Several processes, one run: who am I, and the gradient of all.

Processes are those of torchrun, or of a SLURM step (SLURM_PROCID, SLURM_NTASKS, …). A process computes its share of
an update's sub-batches; gradients are summed, since each unit already carries its weight in the whole update.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from muppet.errors import UserError

TIMEOUT = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among the run's."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """The process that writes files."""
        return self.rank == 0


def _environment() -> dict[str, str] | None:
    """RANK, WORLD_SIZE, …: torchrun's, or made from SLURM's; None for a single process."""
    env = os.environ
    if int(env.get("WORLD_SIZE") or 1) > 1:
        return {"RANK": env["RANK"], "WORLD_SIZE": env["WORLD_SIZE"], "LOCAL_RANK": env.get("LOCAL_RANK", "0")}
    if (
        "RANK" not in env
        and int(env.get("SLURM_NTASKS") or 1) > 1
        and env.get("SLURM_STEP_ID")
        and "MASTER_ADDR" in env
    ):
        return {
            "RANK": env["SLURM_PROCID"],
            "WORLD_SIZE": env["SLURM_NTASKS"],
            "LOCAL_RANK": env.get("SLURM_LOCALID", "0"),
        }
    return None


def is_first() -> bool:
    """Whether this is the run's only process, or the one that writes files."""
    found = _environment()
    return found is None or found["RANK"] == "0"


@contextmanager
def processes(kind: str) -> Iterator[Processes]:
    """Join the run's process group for the time of the block (gloo on CPU, nccl on GPU), if there are several."""
    found = _environment()
    if found is None:
        yield Processes()
        return
    here = Processes(rank=int(found["RANK"]), count=int(found["WORLD_SIZE"]), local_rank=int(found["LOCAL_RANK"]))
    started = not dist.is_initialized()
    if started:
        if kind == "cuda":
            torch.cuda.set_device(here.local_rank)
        dist.init_process_group(
            "nccl" if kind == "cuda" else "gloo", rank=here.rank, world_size=here.count, timeout=TIMEOUT
        )
    try:
        yield here
    finally:
        if started:
            dist.destroy_process_group()


def gather(here: Processes, value: Any) -> list[Any]:
    """`value` of every process, in rank order, on every process."""
    if here.count == 1:
        return [value]
    found: list[Any] = [None] * here.count
    dist.all_gather_object(found, value)
    return found


def agree(here: Processes, value: str, what: str) -> None:
    """Raise UserError on every process when `value` is not the same on all of them."""
    values = gather(here, value)
    if len(set(values)) > 1:
        listed = ", ".join(f"process {rank}: {v}" for rank, v in enumerate(values))
        raise UserError(f"the processes disagree on the {what} ({listed}); start all of them with the same arguments")


def anyone(here: Processes, yes: bool) -> bool:
    """Whether it is so on some process."""
    if here.count == 1:
        return yes
    kind = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    flag = torch.tensor([int(yes)], device=kind)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())


@contextmanager
def together(here: Processes) -> Iterator[None]:
    """Work that may fail on some processes: an error on one becomes an error on all, so that none waits for it."""
    problem: BaseException | None = None
    try:
        yield
    except Exception as error:
        problem = error
    messages = gather(here, None if problem is None else f"{type(problem).__name__}: {problem}")
    if problem is not None:
        raise problem
    for rank, message in enumerate(messages):
        if message is not None:
            raise UserError(f"process {rank} failed: {message}")


def reduce_gradients(here: Processes, parameters: Sequence[torch.nn.Parameter], extra: Tensor) -> Tensor:
    """Sum gradients over the processes, in place; what no process touched keeps None. Returns the sum of `extra`.

    Which parameters anyone touched goes first, as a small mask: heads without a sub-batch in this update are skipped.
    """
    if here.count == 1:
        return extra
    touched = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8, device=extra.device)
    dist.all_reduce(touched, op=dist.ReduceOp.MAX)
    used = [p for p, yes in zip(parameters, touched.tolist(), strict=True) if yes]
    for p in used:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([extra.flatten().float(), *(p.grad.flatten() for p in used)])  # type: ignore[union-attr]
    dist.all_reduce(flat)
    at = extra.numel()
    for p in used:
        p.grad.copy_(flat[at : at + p.numel()].view_as(p))  # type: ignore[union-attr]
        at += p.numel()
    return flat[: extra.numel()].view_as(extra).to(extra.dtype)
