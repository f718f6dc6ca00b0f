"""What metrics take: each kind of prediction and of reference, looked at before anything is computed."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from muppet.errors import UserError, short


@dataclass(frozen=True, kw_only=True)
class Input:
    """One kind of prediction or reference."""

    about: str  # what one of them is, after "give"
    fits: Callable[[Any], bool]
    stored: Any  # its form in an `evaluate.Metric`: a type, [type] for a list, {field: type} for a pair


def _is_class(value: Any) -> bool:
    return isinstance(value, (int, np.integer, np.bool_)) and -(2**63) <= int(value) < 2**63


def _is_number(value: Any) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, (bool, np.bool_)):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and all(of(item) for item in value)


def _is_texts(value: Any) -> bool:
    return _is_list(value, _is_text)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2


def _is_scored(value: Any) -> bool:
    return _is_pair(value) and _is_text(value[0]) and _is_number(value[1]) and math.isfinite(value[1])


def _is_spans(value: Any) -> bool:
    return _is_text(value) or _is_texts(value)


def _is_option(value: Any) -> bool:
    if not (_is_pair(value) and _is_class(value[1])):
        return False
    try:
        hash(value[0])
    except TypeError:
        return False
    return True


_SCORED = "(the best span's text, no-answer score - that span's score), a score above the threshold meaning no answer"

CLASS = Input(about="one class number per example", fits=_is_class, stored="int64")
NUMBER = Input(about="one number per example", fits=_is_number, stored="float64")
OPTION = Input(about="(question id, class 0 or 1)", fits=_is_option, stored={"question": "string", "class": "int64"})
TEXT = Input(about="a text", fits=_is_text, stored="string")
ANSWER = Input(
    about=f"a text, or with no-answer questions {_SCORED}",
    fits=lambda value: _is_text(value) or _is_scored(value),
    stored={"text": "string", "no_answer_score": "float64"},
)
SCORED = Input(about=_SCORED, fits=_is_scored, stored=ANSWER.stored)
GOLD = Input(
    about="the list of its gold answers, one or more (`squad_v2_em` and `squad_v2_f1` allow none)",
    fits=lambda value: _is_texts(value) and len(value) > 0,
    stored=["string"],
)
GOLD_OR_NONE = Input(about="the list of its gold answers, empty where there is none", fits=_is_texts, stored=["string"])
SPANS = Input(about="a text, or the list of the answer's spans", fits=_is_spans, stored=["string"])
ANNOTATORS = Input(
    about="the list of the annotators' answers, one or more, each a text or the list of its spans",
    fits=lambda value: _is_list(value, _is_spans) and len(value) > 0,
    stored=[["string"]],
)
TAGS = Input(about="the list of a sentence's tags", fits=_is_texts, stored=["string"])
TREE = Input(
    about="a tree of nltk, or bracketed text",
    fits=lambda value: _is_text(value) or hasattr(value, "leaves"),
    stored="string",
)


def check(metric: str, side: str, kind: Input, values: Sequence[Any]) -> None:
    """Raise UserError for the first of `values` that is not of this kind; `side`: predictions or references."""
    for index, value in enumerate(values):
        if not kind.fits(value):
            raise UserError(f"metric {metric!r}: example {index} of the {side} is {short(value)}; give {kind.about}")
