"""What the paper reports, computed in-process and offline, with an interval for each.

    value = score("matthews", predictions, references)      # value.value, value.n, value.items, value.settings
    low, high = bootstrap(value, seed=0)                    # 95 % item bootstrap
    low, high = bootstrap(unpacked_items, seed=0)           # the same, from the stored items of a metric that is a mean
    metric = load("squad")                                  # the same measures as an `evaluate.Metric`

`METRICS` lists the names (those of `Task.metrics`) and what each takes; `evaluate:bleu` is a metric of the Hub, loaded
by the `evaluate` package. Values are fractions of 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from muppet.errors import UserError
from muppet.metrics.catalogue import METRICS, Metric, measure
from muppet.metrics.value import Value, mean_of, paired

__all__ = ["METRICS", "Metric", "Value", "bootstrap", "load", "score"]

HUB = "evaluate:"  # what the names of the Hub's metrics begin with


def score(metric: str, predictions: Sequence[Any], references: Sequence[Any]) -> Value:
    """The metric named `metric`; `METRICS[metric]` says what a prediction and a reference are.

    A metric of the Hub is `evaluate:NAME`, or `evaluate:NAME:ENTRY` where its result has several entries; it takes ours
    as they are and has no interval. Raises UserError for an unknown metric, one whose module cannot be had offline,
    unequal or zero lengths, and entries that are not what the metric takes; the message names the entry.
    """
    if not metric.startswith(HUB):
        return measure(metric, predictions, references)
    from muppet.metrics import hub

    paired(metric, predictions, references)
    name, _, entry = metric.removeprefix(HUB).partition(":")
    return hub.measure(name, entry, predictions, references)


def load(name: str) -> Any:
    """A metric of `METRICS` as an `evaluate.Metric`, or several at once: squad, squad_v2, record, trivia, drop, rouge.

    It takes what `METRICS` says, needs no network, and computes fractions of 1: {metric: value}.
    """
    from muppet.metrics import hub

    return hub.load(name)


def bootstrap(value: Value | np.ndarray, *, seed: int = 0, rounds: int = 1000) -> tuple[float, float]:
    """95 % percentile interval over resamples of the items, the model held fixed.

    `value` is what `score` returned, or the items themselves (shape [n]) of a metric that is a mean. The same seed
    gives the same interval.
    """
    if not isinstance(value, Value):
        if not len(value):
            raise UserError("bootstrap: no item to resample")
        value = mean_of(value)
    if value.weighted is None:
        raise UserError("bootstrap: a metric of the Hub is not resampled; it has no interval")
    generator = np.random.default_rng(seed)
    draws = np.empty(rounds)
    for index in range(rounds):
        weights = np.bincount(generator.integers(0, value.n, value.n), minlength=value.n).astype(np.float64)
        draws[index] = value.weighted(weights)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
