"""What a training says while it goes on, for those who watch: lines of JSON, and TensorBoard's own files.

Both are written by a thread of their own, so that no disk is waited for; what cannot be written ends no training.
TensorBoard's are written where it is installed (the extra `watch`): `tensorboard --logdir artifacts/runs`.
"""

from __future__ import annotations

import importlib.util
import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LINES, BOARD = "metrics.jsonl", "tensorboard"  # in a run's folder
Row = Mapping[str, Any]  # `step`, numbers by name, and numbers by dataset under a name, such as `losses`


@contextmanager
def live(folder: Path, step: int) -> Iterator[queue.SimpleQueue[Row | None]]:
    """A queue whose rows are written to `folder` as they come; `step`: the last that an earlier attempt has kept."""
    rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
    writer = threading.Thread(target=_write, args=(folder, step, rows), daemon=True)
    writer.start()
    try:
        yield rows
    finally:
        rows.put(None)
        writer.join()


def _write(folder: Path, step: int, rows: queue.SimpleQueue[Row | None]) -> None:
    board = None
    with suppress(Exception):  # an installation that is broken costs its curves, not the run
        board = _board(folder, step)
    for row in iter(rows.get, None):
        with suppress(OSError):
            with (folder / LINES).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        if board is not None:
            for name, value in row.items():
                parts = value if isinstance(value, Mapping) else {"": value} if name != "step" else {}
                for part, number in parts.items():
                    board.add_scalar(f"{name}/{part}".rstrip("/"), number, row["step"])
    if board is not None:
        board.close()


def _board(folder: Path, step: int) -> Any:
    """TensorBoard's writer, which forgets what an earlier attempt wrote of later steps; None: not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / BOARD), purge_step=step + 1)
