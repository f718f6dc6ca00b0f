"""What the paper reports, computed in-process and offline, with an interval for each.

    value = score("matthews", predictions, references)      # value.value, value.n, value.items, value.settings
    low, high = bootstrap(value, seed=0)                    # 95 % item bootstrap
    low, high = bootstrap(unpacked_items, seed=0)           # the same, from the stored items of a metric that is a mean

`METRICS` lists the names (those of `Task.metrics`) and what each takes. Values are fractions of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from muppet.errors import UserError, unknown
from muppet.metrics import answers, brackets, labels, sequences, summaries
from muppet.metrics.value import Value, mean_of, paired

__all__ = ["METRICS", "Metric", "Value", "bootstrap", "score"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a metric is, for the reader of a table and for the caller."""

    measure: Callable[[Any, Any], Value]
    predictions: str  # what one prediction is
    references: str  # what one reference is
    about: str
    source: str
    unit: Literal["fraction", "correlation"] = "fraction"  # in [0, 1] or in [-1, 1]
    mean: bool = False  # the value is the mean of per-item scores, which `Value.items` holds


_SQUAD1 = "SQuAD evaluation script v1.1 (Rajpurkar et al. 2016)"
_SQUAD2 = "SQuAD evaluation script v2.0 (Rajpurkar et al. 2018)"
_DROP = "DROP evaluation script (Dua et al. 2019)"
_ROUGE = "Lin 2004; rouge-score, with stemmer"


def _kind(predictions: str, references: str, **more: Any) -> Callable[..., Metric]:
    """The metrics that take the same things: a function of (measure, about, source)."""

    def metric(measure: Callable[[Any, Any], Value], about: str, source: str) -> Metric:
        return Metric(
            measure=measure, about=about, source=source, predictions=predictions, references=references, **more
        )

    return metric


_class = _kind("a class number", "a class number")
_number = _kind("a number", "a number", unit="correlation")
_answer = _kind(
    "a text; for no-answer questions (the best span's text, no-answer score - that span's score), a score above the"
    " threshold meaning no answer",
    "the list of gold answers; empty where there is none",
    mean=True,
)
_drop = _kind(
    "a text, or the list of the answer's spans", "the list of the annotators' answers, each as a prediction", mean=True
)
_tags = _kind("the list of a sentence's tags", "the list of a sentence's tags")
_tree = _kind("a tree in normal form (muppet.trees), or bracketed text", "the same, with parts of speech")
_summary = _kind("a summary", "a summary, not empty", mean=True)

METRICS: dict[str, Metric] = {
    "accuracy": _kind("a class number, or a choice", "the same", mean=True)(
        labels.accuracy, "share that is right", "—"
    ),
    "f1": _class(labels.f1, "F1 of class 1; also MultiRC's F1a", "scikit-learn"),
    "macro_f1": _class(labels.macro_f1, "mean over classes of their F1", "scikit-learn"),
    "matthews": _kind("a class number", "a class number", unit="correlation")(
        labels.matthews, "Matthews correlation", "scikit-learn"
    ),
    "pearson": _number(labels.pearson, "Pearson's r", "scipy"),
    "spearman": _number(labels.spearman, "Spearman's rho", "scipy"),
    "multirc_em": _kind("class 0 or 1 of an answer option", "(question id, class 0 or 1)", mean=True)(
        labels.multirc_em, "share of questions with all options judged right", "Khashabi et al. 2018"
    ),
    "squad_em": _answer(answers.squad_em, "exact match, best over the gold answers", _SQUAD1),
    "squad_f1": _answer(answers.squad_f1, "token F1, best over the gold answers", _SQUAD1),
    "squad_v2_em": _answer(answers.squad_v2_em, "exact match with no-answer questions, threshold 0", _SQUAD2),
    "squad_v2_f1": _answer(answers.squad_v2_f1, "token F1 with no-answer questions, threshold 0", _SQUAD2),
    "squad_v2_best_em": _answer(answers.squad_v2_best_em, "exact match at the best threshold", _SQUAD2),
    "squad_v2_best_f1": _answer(answers.squad_v2_best_f1, "token F1 at the best threshold", _SQUAD2),
    "record_em": _answer(answers.squad_em, "exact match, best over the gold entities", "ReCoRD (Zhang et al. 2018)"),
    "record_f1": _answer(answers.squad_f1, "token F1, best over the gold entities", "ReCoRD (Zhang et al. 2018)"),
    "drop_em": _drop(answers.drop_em, "exact match, best over the annotators", _DROP),
    "drop_f1": _drop(answers.drop_f1, "token F1 of aligned spans, best over the annotators", _DROP),
    "rouge1": _summary(summaries.rouge("rouge1"), "unigram F", _ROUGE),
    "rouge2": _summary(summaries.rouge("rouge2"), "bigram F", _ROUGE),
    "rougeL": _summary(summaries.rouge("rougeL"), "longest common subsequence F, of the whole texts", _ROUGE),
    "rougeLsum": _summary(
        summaries.rouge("rougeLsum"), "union of the sentences' longest common subsequences F", _ROUGE
    ),
    "token_accuracy": _tags(sequences.token_accuracy, "share of right tags, over all tokens", "—"),
    "chunk_f1": _tags(sequences.chunk_f1, "chunk F1 as conlleval counts", "Tjong Kim Sang & Buchholz 2000; seqeval"),
    "chunk_f1_strict": _tags(sequences.chunk_f1_strict, "chunk F1, well-formed IOB2 only", "seqeval"),
    "bracket_f1": _tree(brackets.bracket_f1, "labelled bracket F1", "evalb with COLLINS.prm"),
}


def score(metric: str, predictions: Sequence[Any], references: Sequence[Any]) -> Value:
    """The metric named `metric`; `METRICS[metric]` says what a prediction and a reference are.

    Raises UserError for an unknown metric, unequal or zero lengths, and entries that are not what the metric takes; the
    message names the entry.
    """
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    paired(metric, predictions, references)
    return METRICS[metric].measure(predictions, references)


def bootstrap(value: Value | np.ndarray, *, seed: int = 0, rounds: int = 1000) -> tuple[float, float]:
    """95 % percentile interval over resamples of the items, the model held fixed.

    `value` is what `score` returned, or the items themselves (shape [n]) of a metric that is a mean. The same seed
    gives the same interval.
    """
    if not isinstance(value, Value):
        if not len(value):
            raise UserError("bootstrap: no item to resample")
        value = mean_of(value)
    generator = np.random.default_rng(seed)
    draws = np.empty(rounds)
    for index in range(rounds):
        weights = np.bincount(generator.integers(0, value.n, value.n), minlength=value.n).astype(np.float64)
        draws[index] = value.weighted(weights)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)
