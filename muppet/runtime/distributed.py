"""Several processes, one run: what they must agree on, and the gradient of all.

A process computes its share of an update's sub-batches; gradients are summed, since each unit already carries its
weight in the whole update.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from muppet.errors import UserError
from muppet.runtime.rank import Processes, this_process

TIMEOUT = timedelta(minutes=30)
BUCKET = 6_000_000  # numbers of one sum: large enough for bandwidth, small enough to start early


def join(kind: str) -> Processes:
    """Join the process group of the run's processes (gloo on CPU, nccl on GPU), if there are several.

    The group lasts as long as the process: the next run of a warm worker finds it, where a new one on the same port
    could meet the remains of the last.
    """
    this = this_process()
    if this.count > 1 and not dist.is_initialized():
        if kind == "cuda":  # a launcher may show each process its own GPU alone, which then is number 0
            torch.cuda.set_device(this.local_rank % torch.cuda.device_count())
        backend = "nccl" if kind == "cuda" else "gloo"
        try:
            dist.init_process_group(backend, rank=this.rank, world_size=this.count, timeout=TIMEOUT)
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"process {this.rank} of {this.count} cannot meet the others ({str(error).splitlines()[0]}); start them"
                " with torchrun or srun, or unset RANK and WORLD_SIZE"
            ) from None
        atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())
        if kind == "cuda":
            gpus: list[Any] = [None] * this.count
            own = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
            dist.all_gather_object(gpus, own, group=dist.new_group(backend="gloo"))
            check_gpus(gpus)
    return this


def check_gpus(gpus: Sequence[str]) -> None:
    """Raise UserError when two processes have one GPU (`gpus`: each process's, by its own name): NCCL refuses that late
    and without saying what to do."""
    for rank, gpu in enumerate(gpus):
        if gpu in gpus[:rank]:
            raise UserError(
                f"processes {gpus.index(gpu)} and {rank} would share one GPU: start {len(set(gpus))}, one for each GPU;"
                " however many there are, they share out all of an update's sub-batches"
            )


def gather(processes: Processes, value: Any) -> list[Any]:
    """`value` of every process, in rank order, on every process."""
    if processes.count == 1:
        return [value]
    values: list[Any] = [None] * processes.count
    dist.all_gather_object(values, value)
    return values


def agree(processes: Processes, value: str, what: str) -> None:
    """Raise UserError on every process when `value` is not the same on all of them."""
    values = gather(processes, value)
    if len(set(values)) > 1:
        listed = ", ".join(f"process {rank}: {v}" for rank, v in enumerate(values))
        raise UserError(f"the processes disagree on the {what} ({listed}); start all of them with the same arguments")


def anyone(processes: Processes, *yes: bool) -> list[bool]:
    """Whether each is so on some process."""
    if processes.count == 1:
        return list(yes)
    kind = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    flags = torch.tensor(yes, dtype=torch.uint8, device=kind)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return [bool(flag) for flag in flags.tolist()]


@contextmanager
def together(processes: Processes) -> Iterator[None]:
    """Work that may fail on some processes: an error on one becomes an error on all, so that none waits for it."""
    problem: BaseException | None = None
    try:
        yield
    except Exception as error:
        problem = error
    messages = gather(processes, None if problem is None else f"{type(problem).__name__}: {problem}")
    if problem is not None:
        raise problem
    for rank, message in enumerate(messages):
        if message is not None:
            raise UserError(f"process {rank} failed: {message}")


class Reducer:
    """Sums gradients over the processes; those of the backbone leave in buckets while the last backward pass runs.

    The buckets are fixed: the backbone's parameters from the last to the first, as gradients come. What is not ready by
    then (heads, parameters that this process did not touch) goes afterwards. A parameter that no process touched keeps
    None, so the optimiser skips it.
    """

    def __init__(
        self, processes: Processes, parameters: Iterable[Parameter], backbone: Iterable[tuple[str, Parameter]]
    ) -> None:
        self.processes, self.parameters = processes, list(parameters)
        self.buckets: list[list[Parameter]] = []
        self.sent: list[tuple[Tensor, Any]] = []
        self.missing: list[int] = []  # of each bucket, parameters whose gradient has not come; empty: not armed
        if processes.count == 1:
            return
        size = BUCKET
        for name, parameter in reversed(list(backbone)):
            if "pooler" in name:  # never touched, and the first in line: it would hold up the others
                continue
            if size >= BUCKET:
                self.buckets.append([])
                size = 0
            self.buckets[-1].append(parameter)
            size += parameter.numel()
        self.place = {id(p): number for number, bucket in enumerate(self.buckets) for p in bucket}
        for parameter in self.parameters:
            parameter.register_post_accumulate_grad_hook(self._ready)

    def last(self) -> None:
        """Say that the next backward pass is this process's last of the update."""
        self.missing = [len(bucket) for bucket in self.buckets]

    def _ready(self, parameter: Tensor) -> None:
        if not self.missing or id(parameter) not in self.place:
            return
        self.missing[self.place[id(parameter)]] -= 1
        while len(self.sent) < len(self.buckets) and self.missing[len(self.sent)] == 0:
            self._send()

    def _send(self) -> None:
        """Start the sum of the next bucket: every process sends them in the same order."""
        bucket = self.buckets[len(self.sent)]
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in bucket])
        self.sent.append((flat, dist.all_reduce(flat, async_op=True)))

    def finish(self, extra: Tensor) -> Tensor:
        """Complete the update's sums, in place; returns the sum of `extra`, of any shape."""
        if self.processes.count == 1:
            return extra
        touched = torch.tensor([p.grad is not None for p in self.parameters], dtype=torch.uint8, device=extra.device)
        while len(self.sent) < len(self.buckets):
            self._send()
        dist.all_reduce(touched, op=dist.ReduceOp.MAX)
        used = {id(p) for p, yes in zip(self.parameters, touched.tolist(), strict=True) if yes}
        rest = [p for p in self.parameters if id(p) in used and id(p) not in self.place]
        pieces = [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in rest]
        flat = torch.cat([extra.flatten().float(), *pieces])
        dist.all_reduce(flat)
        for bucket, (sums, work) in zip(self.buckets, self.sent, strict=True):
            work.wait()
            _hand_out(sums, [p for p in bucket if id(p) in used], bucket)
        _hand_out(flat[extra.numel() :], rest, rest)
        self.sent, self.missing = [], []
        return flat[: extra.numel()].view_as(extra).to(extra.dtype)


def _hand_out(flat: Tensor, used: Sequence[Parameter], laid: Sequence[Parameter]) -> None:
    """Give the parameters in `used` their part of `flat`, in which those of `laid` lie one after another."""
    wanted, at = {id(p) for p in used}, 0
    for parameter in laid:
        if id(parameter) in wanted:
            parameter.grad = flat[at : at + parameter.numel()].view_as(parameter).clone()
        at += parameter.numel()
