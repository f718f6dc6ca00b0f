"""The loop around updates, one for both stages: progress, evaluations on the way, checkpoints and exact resume."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from muppet.errors import Stopped
from muppet.paths import write_text
from muppet.runtime import checkpoint
from muppet.runtime.device import release_memory
from muppet.runtime.distributed import agree, anyone, together
from muppet.runtime.live import live
from muppet.training.curve import Curve
from muppet.training.meter import Sums
from muppet.training.trainer import Trainer, learning_rate

Progress = Callable[[dict[str, Any]], None]
RELEASE_SECONDS = 60.0  # between giving free memory back: at every update it would cost 8 % of the time


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGUSR2 (what schedulers send before the end) instead of dying of them."""
    caught: list[int] = []
    previous: dict[int, Any] = {}
    try:
        for number in (int(signal.SIGTERM), int(signal.SIGUSR2)):
            previous[number] = signal.signal(number, lambda n, _: caught.append(n))
    except ValueError:  # not the main thread: the caller's signals stay the caller's
        pass
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def train(
    trainer: Trainer, run: str, folder: Path, progress: Progress | None = None, curve: Curve | None = None
) -> None:
    """Run `trainer` to its last update, from the newest checkpoint of the run with this id if there is one, and
    evaluate where `curve` asks for it.

    The run's `folder` gets `checkpoint/`, every `device.checkpoint_seconds`, `progress.json` and `metrics.jsonl`.
    Raises Stopped after SIGTERM or SIGUSR2, once the checkpoint is written; the signal may reach any of the processes.
    """
    processes, checkpoints, counts = trainer.processes, folder / "checkpoint", trainer.meter.counts
    agree(processes, f"{run} {trainer.plan()}", "run and its data")
    newest = checkpoint.load(checkpoints, run)
    agree(processes, str(newest and newest[0]), "checkpoint to go on from")
    if newest:
        trainer.restore(*newest)
        counts = trainer.meter.counts
        if curve is not None:
            curve.restore(newest[1]["curve"])
    started = time.monotonic() - counts["seconds"]
    before, shown = (counts["real_tokens"], counts["seconds"]), 0.0
    saved = released = time.monotonic()
    every = trainer.device.checkpoint_seconds
    counted = trainer.meter.sums()
    watched = live(folder, trainer.step) if processes.first else nullcontext()
    with _signals() as caught, watched as rows:
        while trainer.step < trainer.updates:
            loss = trainer.update()
            now = time.monotonic()
            counts["seconds"] = now - started
            if curve is not None and trainer.step in curve.marks:
                curve.add(trainer.step, trainer.model)
                counts["evaluation_seconds"] += time.monotonic() - now
                started += time.monotonic() - now
            done = trainer.step == trainer.updates
            if processes.first and (now - shown > 2 or done):
                shown = now
                speed = (counts["real_tokens"] - before[0]) / max(counts["seconds"] - before[1], 1e-9)
                state = _report(run, folder, trainer, loss, speed, progress)
                since, counted = counted, trainer.meter.sums()
                if rows is not None:
                    rows.put(_row(trainer, state, since, counted))
            if now - released > RELEASE_SECONDS:
                released = now
                release_memory()
            due = processes.first and (now - saved > every or (done and counts["seconds"] > every))
            stop, due = anyone(processes, bool(caught), due)
            if stop or due:
                with together(processes):  # a full disk ends the run on every process
                    if processes.first:
                        kept = {} if curve is None else {"curve": curve.state()}
                        checkpoint.save(checkpoints, run, trainer.step, trainer.state() | kept)
                saved = time.monotonic()
            if stop and not done:
                raise Stopped(f"{run} stopped after update {trainer.step} of {trainer.updates}; run it again to go on")
    trainer.model.check_finite(f"after the last update ({trainer.updates})")


def _row(trainer: Trainer, state: Mapping[str, Any], since: Sums, now: Sums) -> dict[str, Any]:
    """A line of `metrics.jsonl`: `losses` are means over what was seen of each dataset since the last one."""
    losses, units = now[0] - since[0], now[1] - since[1]
    seen = [i for i in range(len(trainer.parts)) if units[i]]
    return {
        "step": trainer.step,
        "time": round(time.time(), 1),
        "loss": state["loss"],
        "learning_rate": learning_rate(trainer.recipe, trainer.updates, trainer.step - 1),
        "tokens_per_second": state["tokens_per_second"],
        "losses": {trainer.parts[i].name: round(float(losses[i] / units[i]), 6) for i in seen},
    }


def _report(
    run: str, folder: Path, trainer: Trainer, loss: float, speed: float, progress: Progress | None
) -> dict[str, Any]:
    """Tell the caller and `progress.json` how far the training is → what was told."""
    state = {
        "run": run,
        "step": trainer.step,
        "steps": trainer.updates,
        "loss": round(loss, 6),
        "tokens_per_second": round(speed, 1),
        "eta_seconds": round(trainer.meter.counts["seconds"] / trainer.step * (trainer.updates - trainer.step), 1),
    }
    write_text(folder / "progress.json", json.dumps(state) + "\n")
    if progress is not None:
        progress(state)
    return state
