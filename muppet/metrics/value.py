"""What a metric returns: its value, and enough to resample it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from muppet.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Value:
    """A metric over `n` items (examples, sentences or, for `multirc_em`, questions)."""

    value: float  # a fraction of 1; correlations: in [-1, 1]
    n: int
    # The value when item i counts weights[i] times, weights of shape [n]; None where it cannot be resampled.
    weighted: Callable[[np.ndarray], float] | None = field(default=None, repr=False)
    items: np.ndarray | None = None  # float64 [n] in [0, 1] when the value is their mean, else None
    settings: dict[str, Any] = field(default_factory=dict)  # what else a reader must know to get the same value


def mean_of(items: Sequence[float] | np.ndarray, /, **settings: Any) -> Value:
    """The metric that is the mean of one score per item."""
    scores = np.asarray(items, dtype=np.float64)
    mean = float(scores.mean())
    return Value(
        value=mean, n=len(scores), items=scores, settings=settings, weighted=lambda w: float(w @ scores / w.sum())
    )


def from_counts(
    counts: Any, formula: Callable[[np.ndarray], float], *, value: float | None = None, **settings: Any
) -> Value:
    """The metric that is `formula(sums)` of counts per item, `counts` of shape [n, k] and `sums` of shape [k].

    `value` is given where a library computes it; `formula` then serves the resampling alone.
    """
    table = np.asarray(counts, dtype=np.float64)
    whole = formula(table.sum(0)) if value is None else value
    return Value(value=float(whole), n=len(table), settings=settings, weighted=lambda w: float(formula(w @ table)))


def f1_of(sums: np.ndarray) -> float:
    """F1 from (correct, predicted, gold) totals; 0 where nothing is predicted or nothing is to be found."""
    correct, predicted, gold = sums
    return float(2 * correct / (predicted + gold)) if predicted + gold else 0.0


def paired(metric: str, predictions: Sequence[Any], references: Sequence[Any]) -> None:
    """Raise UserError unless both are lists or the like, with one prediction per reference, and at least one."""
    for side, values in (("predictions", predictions), ("references", references)):
        if isinstance(values, (str, bytes, Mapping, Set)) or not hasattr(values, "__len__"):
            raise UserError(f"metric {metric!r}: the {side} are one {type(values).__name__}; give a list of them")
    if len(predictions) != len(references):
        raise UserError(f"metric {metric!r}: {len(predictions)} predictions for {len(references)} references")
    if not len(references):
        raise UserError(f"metric {metric!r}: no example to score; is the evaluation split empty?")
