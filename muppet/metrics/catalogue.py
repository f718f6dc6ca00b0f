"""The metrics by name: what each takes, how it is measured, and where its rules are written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from muppet.errors import unknown
from muppet.metrics import answers, brackets, inputs, labels, sequences, summaries
from muppet.metrics.inputs import Input
from muppet.metrics.value import Value, paired


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a metric is, for the reader of a table and for the caller."""

    measure: Callable[[Any, Any], Value]
    predictions: Input  # what one prediction is
    references: Input
    about: str
    source: str
    unit: Literal["fraction", "correlation"] = "fraction"  # in [0, 1] or in [-1, 1]
    mean: bool = False  # the value is the mean of per-item scores, which `Value.items` holds


_SQUAD1 = "SQuAD evaluation script v1.1 (Rajpurkar et al. 2016)"
_SQUAD2 = "SQuAD evaluation script v2.0 (Rajpurkar et al. 2018)"
_TRIVIA = "TriviaQA evaluation script v1.0 (Joshi et al. 2017)"
_DROP = "DROP evaluation script (Dua et al. 2019)"
_ROUGE = "Lin 2004; rouge-score, with stemmer"


def _kind(predictions: Input, references: Input, **more: Any) -> Callable[..., Metric]:
    """The metrics that take the same things: a function of (measure, about, source)."""

    def metric(measure: Callable[[Any, Any], Value], about: str, source: str) -> Metric:
        return Metric(
            measure=measure, about=about, source=source, predictions=predictions, references=references, **more
        )

    return metric


_class = _kind(inputs.CLASS, inputs.CLASS)
_number = _kind(inputs.NUMBER, inputs.NUMBER, unit="correlation")
_answer = _kind(inputs.ANSWER, inputs.GOLD, mean=True)
_answer_or_none = _kind(inputs.ANSWER, inputs.GOLD_OR_NONE, mean=True)
_scored = _kind(inputs.SCORED, inputs.GOLD_OR_NONE, mean=True)
_drop = _kind(inputs.SPANS, inputs.ANNOTATORS, mean=True)
_tags = _kind(inputs.TAGS, inputs.TAGS)
_tree = _kind(inputs.TREE, inputs.TREE)
_summary = _kind(inputs.TEXT, inputs.TEXT, mean=True)

METRICS: dict[str, Metric] = {
    "accuracy": _kind(inputs.CLASS, inputs.CLASS, mean=True)(labels.accuracy, "share that is right", "—"),
    "f1": _class(labels.f1, "F1 of class 1; also MultiRC's F1a", "scikit-learn"),
    "macro_f1": _class(labels.macro_f1, "mean over classes of their F1", "scikit-learn"),
    "matthews": _kind(inputs.CLASS, inputs.CLASS, unit="correlation")(
        labels.matthews, "Matthews correlation", "scikit-learn"
    ),
    "pearson": _number(labels.pearson, "Pearson's r", "scipy"),
    "spearman": _number(labels.spearman, "Spearman's rho", "scipy"),
    "multirc_em": _kind(inputs.CLASS, inputs.OPTION, mean=True)(
        labels.multirc_em, "share of questions with all options judged right", "Khashabi et al. 2018"
    ),
    "squad_em": _answer(answers.squad_em, "exact match, best over the gold answers", _SQUAD1),
    "squad_f1": _answer(answers.squad_f1, "token F1, best over the gold answers", _SQUAD1),
    "squad_v2_em": _answer_or_none(answers.squad_v2_em, "exact match with no-answer questions, threshold 0", _SQUAD2),
    "squad_v2_f1": _answer_or_none(answers.squad_v2_f1, "token F1 with no-answer questions, threshold 0", _SQUAD2),
    "squad_v2_best_em": _scored(answers.squad_v2_best_em, "exact match at the best threshold", _SQUAD2),
    "squad_v2_best_f1": _scored(answers.squad_v2_best_f1, "token F1 at the best threshold", _SQUAD2),
    "record_em": _answer(answers.squad_em, "exact match, best over the gold entities", "ReCoRD (Zhang et al. 2018)"),
    "record_f1": _answer(answers.squad_f1, "token F1, best over the gold entities", "ReCoRD (Zhang et al. 2018)"),
    "trivia_em": _answer(answers.trivia_em, "exact match, best over the aliases", _TRIVIA),
    "trivia_f1": _answer(answers.trivia_f1, "token F1, best over the aliases", _TRIVIA),
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


def measure(metric: str, predictions: Sequence[Any], references: Sequence[Any]) -> Value:
    """The metric of the catalogue named `metric`; raises UserError as `muppet.metrics.score` does."""
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    paired(metric, predictions, references)
    chosen = METRICS[metric]
    inputs.check(metric, "predictions", chosen.predictions, predictions)
    inputs.check(metric, "references", chosen.references, references)
    return chosen.measure(predictions, references)
