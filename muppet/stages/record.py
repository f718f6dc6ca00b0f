"""What a result says beside its scores: how the training went, what it cost, and on what it ran."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muppet.families.encoded import Part
from muppet.model import MultiTask
from muppet.runtime import code
from muppet.runtime.device import Device
from muppet.runtime.distributed import gather
from muppet.training.trainer import Trainer

PACKAGES = "torch transformers tokenizers datasets numpy scipy scikit-learn rouge-score seqeval".split()


def training(trainer: Trainer) -> dict[str, Any]:
    """Updates; loss overall and by dataset (over the first and last fifth of what was seen of it, scaled as trained);
    passes over each; its share of the updates' loss, as averaged (P25) and then scaled (P22)."""
    meter, passes = trainer.meter, trainer.sampler.passes
    share, scaled = (meter.shares / meter.shares.sum(dim=1, keepdim=True)).tolist()
    datasets = {
        part.name: {
            **_ends(meter.ends(index)),
            "examples": len(np.unique(part.encoded.unit_example[part.units])),
            "units": len(part.units),
            "epochs": round(passes[index], 4),
            "share": round(share[index], 6),
            "scaled_share": round(scaled[index], 6),
        }
        for index, part in enumerate(trainer.parts)
    }
    return {
        "updates": trainer.updates,
        **_ends(meter.ends(None)),
        "datasets": datasets,
        **({"noise_divergence": trainer.noise_divergence()} if trainer.recipe.r3f is not None else {}),
        "weights": weights(trainer.model),
        "parameters": sum(p.numel() for p in trainer.parameters),
        "found": Path(trainer.model.origin).name if Path(trainer.model.origin).is_dir() else trainer.model.origin,
    }


def weights(model: torch.nn.Module) -> str:
    """A digest of all weights, by name and value: that of a model which was saved and loaded again is the same."""
    whole = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        whole.update(name.encode())
        whole.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return whole.hexdigest()


def _ends(losses: tuple[float | None, float | None]) -> dict[str, float | None]:
    return dict(zip(("first_loss", "last_loss"), losses, strict=True))


def cost(trainer: Trainer, seconds: float) -> dict[str, Any]:
    """Of all processes; `seconds` is this call's wall time. The seconds of updates and of evaluations, tokens, FLOPs
    and CPU time are the whole training's; `evaluation_share` is of the seconds of both."""
    counts, processes = trainer.meter.counts, trainer.processes
    both = counts["seconds"] + counts["evaluation_seconds"]
    memory = gather(processes, peak_memory(trainer.device))
    return {
        "seconds": round(seconds, 2),
        "training_seconds": round(counts["seconds"], 2),
        "evaluation_seconds": round(counts["evaluation_seconds"], 2),
        "evaluation_share": round(counts["evaluation_seconds"] / max(both, 1e-9), 4),
        "cpu_seconds": round(counts["cpu_seconds"], 2),
        "tokens": int(counts["real_tokens"]),
        "padded_tokens": int(counts["padded_tokens"]),
        "flops": float(counts["flops"]),
        "device": trainer.device.name,
        "precision": trainer.device.precision(trainer.model.width),
        **({"compiled": True} if trainer.compiled else {}),
        "micro_tokens": trainer.device.micro_tokens,
        "processes": processes.count,
        "threads": torch.get_num_threads(),
        "peak_memory_bytes": int(max(memory)),
    }


def peak_memory(device: Device) -> int:
    """Bytes: of the GPU where there is one, else of the process."""
    if device.kind == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def data(parts: Sequence[tuple[str, Part]]) -> dict[str, dict[str, Any]]:
    """By `task/split`: where the rows were read, and what was left out."""
    return {
        f"{part.name}/{split}": {
            "rows": part.encoded.total,
            "examples": part.encoded.n_examples,
            "units": len(part.units),
            "fingerprint": part.encoded.fingerprint,
            "found": part.encoded.found,
            "dropped": part.encoded.dropped,
            "notes": part.encoded.notes,
        }
        for split, part in parts
    }


def environment(model: MultiTask) -> dict[str, Any]:
    """Versions, commit, hardware."""
    return {
        "python": platform.python_version(),
        "packages": dict(_versions()),
        **CODE,
        "platform": platform.platform(),
        "cpu": cpu(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "model_commit": getattr(model.backbone.config, "_commit_hash", None),
        "attention": getattr(model.backbone.config, "_attn_implementation", None),
    }


@lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    """Of the packages that are there: read from their files once by a process that does many runs."""
    found = []
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def _code() -> dict[str, Any]:
    """The commit of this code, and whether it was changed since."""
    if commit := os.environ.get("MUPPET_COMMIT"):  # a job's snapshot, outside of git: whoever took it says of what
        return {"commit": commit, "dirty": os.environ.get("MUPPET_DIRTY", "0") == "1"}
    commit, dirty = code.commit()
    return {"commit": commit, "dirty": dirty}


CODE = _code()  # as it is when it is read: hours later another commit may be checked out


def cpu() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
