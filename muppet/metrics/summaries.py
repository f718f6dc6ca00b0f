"""ROUGE F-measures through rouge-score, with Porter stemming.

ROUGE-Lsum is defined over sentences, one a line. Sentences are split by the rule below, not by a downloaded model: the
choice moves ROUGE-Lsum only, and stands in the settings of each value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from muppet.errors import UserError
from muppet.metrics.value import Value, mean_of

_END = re.compile(r"""[.!?]+["'”’)\]]*\s+(?=["'“‘(\[]*[A-Z0-9])""")
# A full stop after one of these, or after a single capital (an initial, U.S.), ends no sentence.
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr gen col sgt capt lt rep sen gov no vs inc corp co ltd e.g i.e etc".split()
)
_LAST_WORD = re.compile(r"([\w.]*)$")


def sentences(text: str) -> list[str]:
    """The sentences of a text: split at line breaks, and after `.`, `!` or `?` before a capital or a digit."""
    found = []
    for line in text.splitlines():
        start = 0
        for end in _END.finditer(line):
            word = _LAST_WORD.search(line, start, end.start()).group(1)  # type: ignore[union-attr]
            initial = len(word) == 1 or (len(word) > 1 and word[-2] == ".")
            if end.group().strip() == "." and (word.lower() in _ABBREVIATIONS or (initial and word[-1].isupper())):
                continue
            found.append(line[start : end.end()].strip())
            start = end.end()
        found.append(line[start:].strip())
    return [sentence for sentence in found if sentence]


@lru_cache(maxsize=None)
def _tokenizer() -> Any:
    """rouge-score's own tokenizer with stemming, which remembers stems: stemming takes most of the time of ROUGE."""
    from nltk.stem.porter import PorterStemmer
    from rouge_score import tokenize, tokenizers

    class Tokenizer(tokenizers.Tokenizer):
        stem = staticmethod(lru_cache(maxsize=200_000)(PorterStemmer().stem))

        def tokenize(self, text: str) -> list[str]:
            return tokenize.tokenize(text, self)

    return Tokenizer()


def rouge(kind: str) -> Callable[[Sequence[str], Sequence[str]], Value]:
    """The measure of one kind of ROUGE: rouge1, rouge2, rougeL or rougeLsum."""

    def measure(predictions: Sequence[str], references: Sequence[str]) -> Value:
        from rouge_score.rouge_scorer import RougeScorer

        for index, reference in enumerate(references):
            if not reference.strip():
                raise UserError(
                    f"metric {kind!r}: example {index} has an empty reference summary; drop it from the split"
                )
        scorer = RougeScorer([kind], tokenizer=_tokenizer())
        lines = "\n".join
        items = [
            scorer.score(lines(sentences(reference)), lines(sentences(prediction)))[kind].fmeasure
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return mean_of(items, stemmer=True, sentences="split by rule (muppet.metrics.summaries.sentences)")

    return measure
