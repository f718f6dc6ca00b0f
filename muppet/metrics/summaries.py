"""ROUGE F-measures through rouge-score, with Porter stemming; it drops all but the letters a to z and digits.

ROUGE-Lsum is defined over sentences, one a line. Lines are parted into sentences by nltk's Punkt (Kiss and Strunk 2006)
with the abbreviations below in place of its downloaded model, so that text without capitals is parted as well: the
choice moves ROUGE-Lsum and the lead baseline only, and stands in the settings of each value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from muppet.errors import UserError
from muppet.metrics.value import Value, mean_of

# A full stop after one of these ends no sentence; initials and ellipses are Punkt's own rules.
ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st jr sr gen col sgt capt lt rep sen gov mt vs inc corp co ltd e.g i.e etc cf al approx fig figs"
    " eq eqs sec ref refs u.s u.k u.n d.c a.m p.m ph.d jan feb mar apr aug sep sept oct nov dec".split()
)
NUMBERED = frozenset({"no", "nos", "vol", "pp"})  # abbreviations before a number, sentences' last words elsewhere


@lru_cache(maxsize=None)
def _punkt() -> Any:
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    parameters = PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    parameters.collocations = {(word, "##number##") for word in NUMBERED}
    return PunktSentenceTokenizer(parameters)


def sentences(text: str) -> list[str]:
    """The sentences of a text: parted at line breaks, and after `.`, `!` or `?` as Punkt does."""
    parts = (part.strip() for line in text.splitlines() for part in _punkt().tokenize(line))
    return [part for part in parts if part]


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
        letters = [one for reference in references for one in reference.lower() if one.isalpha()]
        if sum(one.isascii() for one in letters) < len(letters) / 2:
            raise UserError(
                f"metric {kind!r}: rouge-score reads the letters a to z and digits alone, and most of the references'"
                f" letters are others, such as {next(one for one in letters if not one.isascii())!r}; take another"
                " metric, as evaluate:chrf"
            )
        scorer = RougeScorer([kind], tokenizer=_tokenizer())
        lines = "\n".join
        items = [
            scorer.score(lines(sentences(reference)), lines(sentences(prediction)))[kind].fmeasure
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return mean_of(items, stemmer=True, sentences="nltk Punkt with the abbreviations of muppet.metrics.summaries")

    return measure
