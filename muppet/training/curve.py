"""Evaluations along a training, and the weights that were best at one of them (reading P58)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from muppet.model import MultiTask
from muppet.result import Point, Score, best

Judged = tuple[float, dict[str, Score]]  # what the best is chosen by, the higher the better; and the scores


class Curve:
    """`points` in order, and the best point's `weights`, in the CPU's memory (None: no point yet).

    `count` evaluations at equal distances. The last one, after the last update, is the caller's, who may want more of
    it than its scores.
    """

    def __init__(self, count: int, updates: int, evaluate: Callable[[], Judged]) -> None:
        self.marks = frozenset(round(updates * k / count) for k in range(1, count))
        self.evaluate = evaluate
        self.points: list[Point] = []
        self.weights: dict[str, Tensor] | None = None

    def add(self, update: int, model: MultiTask) -> None:
        """Evaluate `model` after `update`, and keep its weights when none were better: of equals the latest."""
        judged, scores = self.evaluate()
        self.points.append(Point(update=update, judged=judged, scores=scores))
        if best(self.points) == len(self.points) - 1:
            self.weights = {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"points": [dataclasses.asdict(point) for point in self.points], "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's."""
        self.points, self.weights = [Point.of(plain) for plain in state["points"]], state["weights"]
