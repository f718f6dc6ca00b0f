"""Metrics over one class or one number per example: what GLUE, SuperGLUE and the choice tasks report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from muppet.errors import UserError
from muppet.metrics.value import Value, f1_of, from_counts, mean_of


def _classes(metric: str, *sides: Sequence[int], binary: bool = False) -> list[np.ndarray]:
    """Predicted and gold classes as int64 [n]; `binary` refuses all but 0 and 1."""
    arrays = [np.asarray(values, dtype=np.int64) for values in sides]
    for side, array in zip(("predictions", "references"), arrays, strict=True):
        wrong = np.flatnonzero((array < 0) | (array > 1) if binary else array < 0)
        if len(wrong):
            where = f"metric {metric!r}: example {wrong[0]} of the {side} has class {array[wrong[0]]}"
            raise UserError(
                where + (", not 0 or 1; use `macro_f1` for more classes" if binary else ", a class is 0 or more")
            )
    return arrays


def _numbers(metric: str, *sides: Sequence[float]) -> list[np.ndarray]:
    """Predicted and gold numbers as float64 [n], all finite; each side by the power of two that brings it below 1, so
    that no square of it is out of range."""
    arrays = [np.asarray(values, dtype=np.float64) for values in sides]
    for side, array in zip(("predictions", "references"), arrays, strict=True):
        if len(wrong := np.flatnonzero(~np.isfinite(array))):
            raise UserError(
                f"metric {metric!r}: example {wrong[0]} of the {side} is {array[wrong[0]]}; did training diverge?"
            )
    return [np.ldexp(array, -int(np.frexp(np.abs(array).max())[1])) for array in arrays]


def accuracy(predictions: Sequence[int], references: Sequence[int]) -> Value:
    """Share of examples whose class, or choice, is the gold one."""
    guess, gold = _classes("accuracy", predictions, references)
    return mean_of(guess == gold)


def f1(predictions: Sequence[int], references: Sequence[int]) -> Value:
    """F1 of class 1; 0 when class 1 is neither predicted nor gold."""
    from sklearn.metrics import f1_score

    guess, gold = _classes("f1", predictions, references, binary=True)
    value = f1_score(gold, guess, zero_division=0)
    return from_counts(np.stack([guess * gold, guess, gold], 1), f1_of, value=value)


def macro_f1(predictions: Sequence[int], references: Sequence[int]) -> Value:
    """Unweighted mean of the F1 of each class that is predicted or gold (SuperGLUE's F1 of CB)."""
    from sklearn.metrics import f1_score

    guess, gold = _classes("macro_f1", predictions, references)

    def formula(correct: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> float:
        seen = predicted + true > 0
        return float(np.mean(2 * correct[seen] / (predicted + true)[seen]))

    return _by_class(guess, gold, formula, f1_score(gold, guess, average="macro", zero_division=0))


def matthews(predictions: Sequence[int], references: Sequence[int]) -> Value:
    """Matthews correlation (of any number of classes); 0 when either side has one class only."""
    from sklearn.metrics import matthews_corrcoef

    guess, gold = _classes("matthews", predictions, references)

    def formula(correct: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> float:
        n = true.sum()
        spread = (n * n - predicted @ predicted) * (n * n - true @ true)
        return float((correct.sum() * n - predicted @ true) / np.sqrt(spread)) if spread > 0 else 0.0

    several = bool((guess != guess[0]).any() or (gold != guess[0]).any())
    return _by_class(guess, gold, formula, matthews_corrcoef(gold, guess) if several else 0.0)


def _by_class(guess: np.ndarray, gold: np.ndarray, formula: Callable[..., float], value: float) -> Value:
    """The metric of this `value` that is `formula` of each class's sums: correct, predicted, gold, each [classes]."""
    classes, places = np.unique(np.concatenate([guess, gold]), return_inverse=True)
    guess, gold = np.split(places, 2)

    def weighted(w: np.ndarray) -> float:
        counted = ((gold, w * (guess == gold)), (guess, w), (gold, w))
        return formula(*(np.bincount(which, weights=each, minlength=len(classes)) for which, each in counted))

    return Value(value=float(value), n=len(gold), weighted=weighted)


def pearson(predictions: Sequence[float], references: Sequence[float]) -> Value:
    """Pearson's r; 0, and said so in the settings, when either side is constant."""
    from scipy.stats import pearsonr

    x, y = _numbers("pearson", predictions, references)
    if _constant(x, y):
        return from_counts(np.zeros((len(x), 1)), lambda _: 0.0, undefined=True)
    x, y = x - x.mean(), y - y.mean()
    value = pearsonr(x, y).statistic
    return Value(value=float(value), n=len(x), weighted=lambda w: _weighted_pearson(x, y, w))


def spearman(predictions: Sequence[float], references: Sequence[float]) -> Value:
    """Spearman's rho, equal numbers sharing their mean rank; 0, and said so, when either side is constant."""
    from scipy.stats import spearmanr

    x, y = _numbers("spearman", predictions, references)
    if _constant(x, y):
        return from_counts(np.zeros((len(x), 1)), lambda _: 0.0, undefined=True)
    groups = [np.unique(side, return_inverse=True)[1] for side in (x, y)]

    def weighted(w: np.ndarray) -> float:
        # The mean rank of a group of equal numbers follows from how many lie below it: no sorting per resample.
        sizes = [np.bincount(group, weights=w) for group in groups]
        x_rank, y_rank = ((np.cumsum(size) - (size - 1) / 2)[group] for size, group in zip(sizes, groups, strict=True))
        return _weighted_pearson(x_rank, y_rank, w)

    return Value(value=float(spearmanr(x, y).statistic), n=len(x), weighted=weighted)


def _constant(x: np.ndarray, y: np.ndarray) -> bool:
    return bool(np.ptp(x) == 0 or np.ptp(y) == 0)


def _weighted_pearson(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    drawn = w > 0
    x, y, w = x[drawn], y[drawn], w[drawn]
    if _constant(x, y):  # asked of the numbers themselves: rounding leaves a spread where there is none
        return 0.0
    total = w.sum()
    x, y = x - w @ x / total, y - w @ y / total
    return float(np.clip(w @ (x * y) / np.sqrt((w @ (x * x)) * (w @ (y * y))), -1, 1))


def multirc_em(predictions: Sequence[int], references: Sequence[tuple[Any, int]]) -> Value:
    """Share of MultiRC questions all of whose answer options are judged right.

    `references` are (question, class) pairs, `question` any hashable that is equal for the options of one question; the
    items are the questions, in the order in which they first appear. The other metric of MultiRC, F1a, is `f1`.
    """
    guess, gold = _classes("multirc_em", predictions, [label for _, label in references], binary=True)
    right: dict[Any, bool] = {}
    for (question, _), hit in zip(references, guess == gold, strict=True):
        right[question] = right.get(question, True) and bool(hit)
    return mean_of(list(right.values()), over="questions")
