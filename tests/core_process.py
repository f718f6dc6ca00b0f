"""A pre-finetuning in a process of its own: `python -m tests.core_process NAMES MODEL OUT [key=value …]`.

The values are the recipe's, or `seed`, `every` (seconds between checkpoints), `micro` (tokens of a forward), `pause`
(seconds of sleep before each update). Writes the trained model's parameters to OUT.
"""

from __future__ import annotations

import ast
import sys
import time
from pathlib import Path

import torch

from muppet import paths
from muppet.errors import Stopped, UserError
from muppet.runs import R3F, run_id
from muppet.runtime.device import Device
from muppet.stages.prefinetune import prefinetune
from muppet.training.trainer import Trainer
from tests.core import mixture


def main() -> int:
    names, model, out, *pairs = sys.argv[1:]
    given = {key: ast.literal_eval(value) for key, value in (pair.split("=", 1) for pair in pairs)}
    if given.get("r3f"):
        given["r3f"] = R3F()
    every, micro, pause = given.pop("every", 1e9), given.pop("micro", 4096), given.pop("pause", 0)
    if pause:
        update = Trainer.update

        def slow(self: Trainer) -> float:
            time.sleep(pause)
            return update(self)

        Trainer.update = slow  # type: ignore[method-assign]
    run = mixture(names, model, **given)
    try:
        prefinetune(run, device=Device(checkpoint_seconds=every, micro_tokens=micro))
    except Stopped as stopped:
        print(stopped)
        return 3
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    from safetensors.torch import load_file

    folder = paths.model_dir(run_id(run))
    weights = {
        f"{file}/{k}": v for file in ("model", "heads") for k, v in load_file(folder / f"{file}.safetensors").items()
    }
    torch.save(weights, Path(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
