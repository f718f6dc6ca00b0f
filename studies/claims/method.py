"""Claims about the method itself, and the effects that the paper asserts without a number (§3, §4)."""

from __future__ import annotations

import math
from collections.abc import Callable

from studies.claims.claim import Claim, Judgement, Pair, Source, not_measured, not_printed, not_testable
from studies.claims.effects import MARGIN
from studies.claims.verdicts import Case, counted, stated, universal
from studies.kit.ledger import reference
from studies.kit.ledger.intervals import FEWEST

WORKERS = 64
COLUMNS = 5  # of the ablations
LARGE = 0.02  # what "pivotal" and "severe" are read as: two points, on average over the columns
SCALINGS = ("no loss scaling", "scaling by inverse loss", "scaling by dataset size")


def c20(source: Source) -> Judgement:
    if source.name != "paper":
        return not_testable("an identity; of this code tests/test_losses.py checks it for every family")
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
        parts.append((name, math.isclose(scaled, 1), f"ln {n} / ln {n} = {scaled:.3f}"))
    return stated(
        parts,
        "True of Eq. 1 by its definition. For spans it takes the mean of the start and end losses, and regression "
        "has no n (P20)",
    )


def c21(source: Source) -> Judgement:
    if source.name != "paper":
        return not_testable("about the number of datasets that the paper names")
    sizes = [entry.train_rows for entry in reference.appendix() if entry.train_rows]
    total = sum(sizes)
    expected = sum(1 - (1 - size / total) ** WORKERS for size in sizes)
    listed = next(int(c.value or 0) for c in reference.table(1) if (c.row, c.column) == ("Total", "datasets"))
    note = f"Table 1 has {listed} datasets, so {WORKERS} sub-batches touch {listed} at most"
    note += f"; drawn by natural size they touch {expected:.1f} distinct ones in expectation (appendix A.1's sizes)"
    note += ". Read as 64 distinct tasks; 64 draws, of which some are of one task, would be possible"
    return stated([(f"{WORKERS} distinct tasks", listed >= WORKERS, "")], note)


def c22(source: Source) -> Judgement:
    counts = source.declared.get("parameters")
    if source.name == "paper":
        return not_printed("no parameter counts are printed")
    if not isinstance(counts, dict) or not counts:
        return not_measured("needs parameter counts of an encoder before and after pre-finetuning")
    return counted(
        [(model, before == after, f"{before:,} before, {after:,} after") for model, (before, after) in counts.items()]
    )


def c29(source: Source) -> Judgement:
    sets = source.declared.get("scale_sets")
    if source.name == "paper":
        return not_printed("which datasets the seven mixtures hold is not printed")
    if not isinstance(sets, dict) or len(sets) < 2:
        return not_measured("needs the datasets of each point of the scale curve")
    points_ = sorted(sets.items())
    nested = all(set(a) < set(b) for (_, a), (_, b) in zip(points_, points_[1:]))
    sizes = ", ".join(f"{k:g}" for k, _ in points_)
    return counted(
        [
            ("seven models, as declared", len(points_) == 7, f"{len(points_)}: {sizes}"),
            ("each a superset of the one before", nested, ""),
        ]
    )


def _arms(better: str, *others: str, size: float = MARGIN, checkpoints: bool = True) -> Callable[[Source], Judgement]:
    """A check over rows of the ablations: `better` is above each of its `others` by more than `size`, on average over
    the columns. Arms that differ in their pre-finetuning are compared over checkpoints: one an arm tells two
    checkpoints apart, not two ways to make them."""

    def check(source: Source) -> Judgement:
        if source.name in ("paper", "independent"):
            said = "asserted without a number"
            return not_printed(said) if source.name == "paper" else not_measured(said)
        cases, repeated = [], True
        for other in others:
            pairs = []
            for upper in source.numbers.values():
                lower = source.numbers.get(("ablations", f"{better}, {other}", upper.column, upper.metric))
                if upper.study == "ablations" and upper.row == better and lower:
                    pairs.append((Pair(base=lower, muppet=upper),))
                    repeated &= min(len(set(n.checkpoints)) for n in (lower, upper)) >= FEWEST
            if len(pairs) == COLUMNS:
                cases.append(Case(name=f"above {other}", datasets=tuple(pairs), size=size))
            elif pairs:
                return _unfinished(f"{len(pairs)} of {COLUMNS} columns against {other}")
        if not cases:
            return not_measured(f"needs the ablations {better}, {' | '.join(others)}")
        text = f"contrasts above {100 * size:g} points, mean over {COLUMNS} columns"
        if checkpoints and not repeated:
            effects = [str(case.effect(source)) for case in cases]
            return not_testable(f"needs {FEWEST} checkpoints an arm; with fewer: {'; '.join(effects)}")
        return universal(source, cases, len(others), text)

    return check


def _unfinished(text: str) -> Judgement:
    return Judgement(verdict="INCONCLUSIVE", text=f"{text} are measured")


CLAIMS = (
    Claim(
        id="C20",
        kind="identity",
        section="§3.3",
        quote="We scale data-point loss so that, if the class distribution were uniformly distributed along with "
        "our models predictions, all of our losses would have equivalent values.",
        predicate="Uniform predictions give a scaled loss of 1 in every family",
        check=c20,
    ),
    Claim(
        id="C21",
        kind="reading",
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
        predicate="BART: R3F above no R3F by two points, on average over five sets",
        check=_arms("BART + MUPPET", "no R3F", size=LARGE),
    ),
    Claim(
        id="C35",
        section="§3.4",
        quote="We also found that sampling datasets were consistently detrimental for multi-task learning over "
        "pre-trained representations during initial experimentation.",
        predicate="Natural sizes above uniform and temperature sampling by half a point, on average over five sets",
        check=_arms("RoBERTa-B + MUPPET", "uniform sampling", "temperature sampling"),
    ),
    Claim(
        id="C36",
        section="§3.5",
        quote="Experimentally we saw using a different head per individual Commonsense and MRC datasets lead to "
        "severe overfitting.",
        predicate="Shared commonsense and span heads above one per dataset by two points, on average over five sets",
        check=_arms("RoBERTa-B + MUPPET", "a head per dataset", size=LARGE),
    ),
    Claim(
        id="C37",
        section="§3.3",
        quote="We found that this static scaling worked incredibly well, outperforming other loss scaling methods "
        "in early experimentation.",
        predicate="Scaling by log n above none, inverse loss and dataset size by half a point, over five sets",
        check=_arms("RoBERTa-B + MUPPET", *SCALINGS),
    ),
    Claim(
        id="C38",
        section="§4",
        quote="In general we found re-using heads to be beneficial for MRC, Commonsense and Sentence Prediction "
        "tasks with small dataset size.",
        predicate="Re-used heads above new ones by half a point, on average over five sets",
        check=_arms("RoBERTa-B + MUPPET", "new heads", checkpoints=False),
    ),
)
