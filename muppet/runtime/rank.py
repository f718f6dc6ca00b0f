"""Which of the run's processes is this, and how many are there? One answer, without torch.

Several processes share a run exactly when they can meet: torchrun's (RANK, WORLD_SIZE), or those of a SLURM step that
know where (SLURM_PROCID, SLURM_NTASKS and MASTER_ADDR). A step's processes without MASTER_ADDR cannot meet, so each of
them is alone and first; the lock of `hold` then lets one of them do a run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from muppet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among the run's."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0


def this_process() -> Processes:
    """This process among those that share its run, as the environment says. Raises UserError where it says half."""
    env = os.environ
    if _number("WORLD_SIZE", "1") > 1:
        if "RANK" not in env:
            raise UserError(f"WORLD_SIZE={env['WORLD_SIZE']}, but RANK is not set; start with torchrun, or unset it")
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    elif "RANK" not in env and _number("SLURM_NTASKS", "1") > 1 and env.get("SLURM_STEP_ID") and "MASTER_ADDR" in env:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
    else:
        return Processes()
    rank, count, local = names
    return Processes(rank=_number(rank), count=_number(count), local_rank=_number(local, "0"))


def _number(variable: str, otherwise: str = "") -> int:
    text = os.environ.get(variable) or otherwise
    if not text.isdecimal():
        raise UserError(f"{variable}={text!r}, which is no number; start with torchrun or srun, or unset it")
    return int(text)


def is_first() -> bool:
    """Whether this is the run's only process, or the one of several that writes files."""
    return this_process().first
