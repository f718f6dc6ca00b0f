"""Metrics over answers given as text: SQuAD 1.1 and 2.0, ReCoRD, TriviaQA and DROP, as each one's own script scores.

Sources: the evaluation scripts v1.1 and v2.0 of SQuAD (Rajpurkar et al. 2016, 2018), of ReCoRD (Zhang et al. 2018), of
TriviaQA (Joshi et al. 2017) and of DROP (Dua et al. 2019). ReCoRD's is SQuAD 1.1's with the gold entities as the
answers; TriviaQA's is SQuAD 1.1's with another normalisation and the answer's aliases as the answers.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from muppet.metrics.value import Value, mean_of

Answer = str | tuple[str, float]  # the text, or the best span's text with (no-answer score - that span's score)
DropAnswer = str | Sequence[str]  # one span, or several that make up the answer together

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_APART = dict.fromkeys(map(ord, string.punctuation + "‘’´`"), " ")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """SQuAD's comparison form: lower case, no ASCII punctuation, no articles, single spaces; in that order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def trivia_normalise(text: str) -> str:
    """TriviaQA's comparison form: as SQuAD's, but punctuation marks part words, and so do curly quotes."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_APART)).split())


def exact(prediction: str, gold: str, form: Callable[[str], str] = normalise) -> float:
    """1 if both have the same comparison form, else 0."""
    return float(form(prediction) == form(gold))


def overlap(prediction: str, gold: str, form: Callable[[str], str] = normalise) -> float:
    """F1 over the bags of tokens of the comparison forms; 0 when they share none."""
    ours, theirs = form(prediction).split(), form(gold).split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def _best_over_gold(
    agree: Callable[[str, str], float], predictions: Sequence[Answer], references: Sequence[Sequence[str]]
) -> Value:
    """The best agreement over the gold answers (TriviaQA: the aliases, ReCoRD: the entities) of each question."""
    return mean_of([max(agree(_text(p), g) for g in gold) for p, gold in zip(predictions, references, strict=True)])


def _text(prediction: Answer) -> str:
    return prediction if isinstance(prediction, str) else prediction[0]


def _with_no_answer(
    agree: Callable[[str, str], float],
    predictions: Sequence[Answer],
    references: Sequence[Sequence[str]],
    *,
    best: bool = False,
) -> Value:
    """Score each question as answered and as left empty, then take one of the two by the no-answer score.

    No gold answers means that the right answer is the empty text. The threshold is 0 or, as published dev scores often
    have it, the `best` on these very examples.
    """
    answered, empty, scores = (np.zeros(len(references)) for _ in range(3))
    for index, (prediction, gold) in enumerate(zip(predictions, references, strict=True)):
        text = _text(prediction)
        agreement = [agree(text, answer) for answer in gold if normalise(answer)]
        answered[index] = max(agreement) if agreement else float(not normalise(text))
        empty[index] = float(not len(gold))
        scores[index] = 0.0 if isinstance(prediction, str) else prediction[1]
    threshold = _best_threshold(answered - empty, scores) if best else 0.0
    return mean_of(np.where(scores > threshold, empty, answered), threshold=threshold)


def _best_threshold(gain: np.ndarray, scores: np.ndarray) -> float:
    """The no-answer score up to which answering pays most; below all scores when answering never pays."""
    order = np.argsort(scores, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(gain[order])])
    # Equal scores fall on the same side: only the last of a run of them can be the threshold.
    last = np.append(scores[order][1:] != scores[order][:-1], True)
    total[1:][~last] = -np.inf
    position = int(np.argmax(total))
    return float(scores[order[position - 1]] if position else scores.min() - 1)


# DROP -----------------------------------------------------------------------------------------------------------------


def _best_over_annotators(
    which: int, predictions: Sequence[DropAnswer], references: Sequence[Sequence[DropAnswer]]
) -> Value:
    """The best over the annotators' answers of `which` of `_drop_pair`; as the official script has it, an answer that
    begins with an empty text counts for nothing."""
    items = []
    for prediction, golds in zip(predictions, references, strict=True):
        spans = [_spans(gold) for gold in golds]
        items.append(
            max((_drop_pair(prediction, gold)[which] for gold in spans if len(gold) and gold[0].strip()), default=0.0)
        )
    return mean_of(items, rounded="two decimals per question, as the official script does")


def _drop_pair(prediction: DropAnswer, gold: DropAnswer) -> tuple[float, float]:
    """A prediction against one annotator's answer: (all spans and no other, F1 of spans aligned one to one)."""
    ours = [_drop_normalise(span) for span in _spans(prediction)]
    theirs = [_drop_normalise(span) for span in _spans(gold)]
    match = float(set(ours) == set(theirs) and len(ours) == len(theirs))
    if not ours or not theirs:
        return match, match
    from scipy.optimize import linear_sum_assignment

    table = np.array([[_bag_f1(set(p.split()), set(g.split())) for p in ours] for g in theirs])
    rows, columns = linear_sum_assignment(-table)
    return match, round(float(table[rows, columns].sum() / max(len(ours), len(theirs))), 2)


def _spans(answer: DropAnswer) -> Sequence[str]:
    return [answer] if isinstance(answer, str) else answer


def _drop_normalise(text: str) -> str:
    """DROP's comparison form: SQuAD's applied word by word (hyphens part words), numbers written as floats."""
    words = []
    for word in re.split("[ -]", text.lower()):
        if not _is_number(word):
            word = word.translate(_PUNCTUATION)
        if _is_number(word):
            word = str(float(word))
        words += _ARTICLES.sub(" ", word).split()
    return " ".join(words)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bag_f1(ours: set[str], theirs: set[str]) -> float:
    """F1 of two sets of words; 0 when the gold has numbers and none of them is predicted."""
    numbers = {word for word in theirs if _is_number(word)}
    if numbers and not numbers & ours:
        return 0.0
    common = len(ours & theirs)
    precision = common / len(ours) if ours else 1.0
    recall = common / len(theirs) if theirs else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


squad_em, squad_f1 = (partial(_best_over_gold, agree) for agree in (exact, overlap))
trivia_em, trivia_f1 = (partial(_best_over_gold, partial(agree, form=trivia_normalise)) for agree in (exact, overlap))
squad_v2_em, squad_v2_f1 = (partial(_with_no_answer, agree) for agree in (exact, overlap))
squad_v2_best_em, squad_v2_best_f1 = (partial(_with_no_answer, agree, best=True) for agree in (exact, overlap))
drop_em, drop_f1 = (partial(_best_over_annotators, which) for which in (0, 1))
