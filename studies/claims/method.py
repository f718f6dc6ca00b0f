"""Claims about the method itself, and the effects that the paper asserts without a number (§3, §4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import mean

from studies.claims.claim import Claim, Finding, Part, Source, judged, not_measured
from studies.kit.ledger import reference
from studies.kit.show import points

WORKERS = 64
SCALINGS = ("no loss scaling", "scaling by inverse loss", "scaling by dataset size")


def c20(source: Source) -> Finding:
    if source.name != "paper":
        return not_measured("a property of the code: tests/test_losses.py checks it for every family")
    # The cross entropy of uniform predictions over n outcomes, whatever the target or its smoothing, over ln n.
    sizes = {
        "two classes": 2,
        "five choices": 5,
        "a start in 384 context tokens": 384,
        "a vocabulary of 50,265": 50_265,
    }
    parts = []
    for name, n in sizes.items():
        scaled = -math.log(1 / n) / math.log(n)
        parts.append(Part(name=name, holds=math.isclose(scaled, 1), text=f"ln {n} / ln {n} = {scaled:.3f}"))
    return judged(parts, "For spans it takes the mean of the start and end losses, and regression has no n (P20)")


def c21(source: Source) -> Finding:
    if source.name != "paper":
        return not_measured("about the number of datasets that the paper names")
    sizes = [entry.train_rows for entry in reference.appendix() if entry.train_rows]
    total = sum(sizes)
    expected = sum(1 - (1 - size / total) ** WORKERS for size in sizes)
    listed = next(int(c.value or 0) for c in reference.table(1) if (c.row, c.column) == ("Total", "datasets"))
    note = f"Table 1 has {listed} datasets, so {WORKERS} sub-batches touch {listed} at most"
    note += f"; drawn by natural size they touch {expected:.1f} distinct ones in expectation (appendix A.1's sizes)"
    return judged([Part(name=f"{WORKERS} distinct tasks", holds=listed >= WORKERS)], note)


def c22(source: Source) -> Finding:
    counts = source.declared.get("parameters")
    if not isinstance(counts, dict) or not counts:
        return not_measured("needs parameter counts of an encoder before and after pre-finetuning")
    parts = [
        Part(name=model, holds=before == after, text=f"{before:,} before, {after:,} after")
        for model, (before, after) in counts.items()
    ]
    return judged(parts)


def c29(source: Source) -> Finding:
    sets = source.declared.get("scale_sets")
    if not isinstance(sets, dict) or len(sets) < 2:
        return not_measured("needs the datasets of each point of the scale curve")
    points_ = sorted(sets.items())
    nested = all(set(a) < set(b) for (_, a), (_, b) in zip(points_, points_[1:]))
    sizes = ", ".join(f"{k:g}" for k, _ in points_)
    return judged(
        [
            Part(name="seven models", holds=len(points_) == 7, text=f"{len(points_)}: {sizes}"),
            Part(name="each a superset of the one before", holds=nested),
        ]
    )


def _arms(better: str, *others: str) -> Callable[[Source], Finding]:
    """A predicate over rows of the ablations: `better` is above each of its `others`, on average over the columns."""

    def check(source: Source) -> Finding:
        parts = []
        for other in others:
            gains = []
            for upper in source.numbers.values():
                lower = source.numbers.get(("ablations", f"{better}, {other}", upper.column, upper.metric))
                if upper.study == "ablations" and upper.row == better and lower:
                    gains.append((upper.column, lower.shown, upper.shown, round(upper.value - lower.value, 10)))
            if not gains:
                parts.append(Part(name=f"above {other}", holds=None))
                continue
            average = mean(gain for *_, gain in gains)
            listed = ", ".join(f"{column} {low} → {high} ({points(gain)})" for column, low, high, gain in gains)
            parts.append(Part(name=f"above {other}", holds=average > 0, text=f"mean {points(average)}: {listed}"))
        if all(part.holds is None for part in parts):
            return not_measured(f"asserted without a number; needs the ablations {better}, {' | '.join(others)}")
        return judged(parts)

    return check


CLAIMS = (
    Claim(
        id="C20",
        section="§3.3",
        quote="We scale data-point loss so that, if the class distribution were uniformly distributed along with "
        "our models predictions, all of our losses would have equivalent values.",
        predicate="Uniform predictions give a scaled loss of 1 in every family",
        check=c20,
    ),
    Claim(
        id="C21",
        section="§3.2",
        quote="Empirically we use 64 GPUs for pre-finetuning, resulting in each batch consisting of gradients "
        "across 64 sampled tasks.",
        predicate="An update can touch 64 distinct tasks",
        check=c21,
    ),
    Claim(
        id="C22",
        section="§4",
        quote="Our methods do not increase parameter count or any complexity measures but are quite successful at "
        "refining features and preparing them for downstream fine-tuning.",
        predicate="The encoder has as many parameters after pre-finetuning as before",
        check=c22,
    ),
    Claim(
        id="C29",
        section="§5.1",
        quote="We train seven models, six uniformly chosen between 10 and 40, ensuring that at each point, the "
        "selected datasets are a superset of the datasets from prior points.",
        predicate="Seven models; the datasets of each contain those of the one before",
        check=c29,
    ),
    Claim(
        id="C34",
        section="§3.2",
        quote="In early experimentation, we found that R3F was pivotal in getting MUPPET to work for BART.",
        predicate="BART: R3F above no R3F",
        check=_arms("BART + MUPPET", "no R3F"),
    ),
    Claim(
        id="C35",
        section="§3.4",
        quote="We also found that sampling datasets were consistently detrimental for multi-task learning over "
        "pre-trained representations during initial experimentation.",
        predicate="Natural sizes above uniform and temperature sampling",
        check=_arms("RoBERTa-B + MUPPET", "uniform sampling", "temperature sampling"),
    ),
    Claim(
        id="C36",
        section="§3.5",
        quote="Experimentally we saw using a different head per individual Commonsense and MRC datasets lead to "
        "severe overfitting.",
        predicate="Shared commonsense and span heads above one per dataset",
        check=_arms("RoBERTa-B + MUPPET", "a head per dataset"),
    ),
    Claim(
        id="C37",
        section="§3.3",
        quote="We found that this static scaling worked incredibly well, outperforming other loss scaling methods "
        "in early experimentation.",
        predicate="Scaling by log n above none, inverse loss and dataset size",
        check=_arms("RoBERTa-B + MUPPET", *SCALINGS),
    ),
    Claim(
        id="C38",
        section="§4",
        quote="In general we found re-using heads to be beneficial for MRC, Commonsense and Sentence Prediction "
        "tasks with small dataset size.",
        predicate="Re-used heads above new ones",
        check=_arms("RoBERTa-B + MUPPET", "new heads"),
    ),
)
