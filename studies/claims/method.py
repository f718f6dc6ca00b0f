"""Claims about the method itself, and the effects that the paper asserts without a number (§3, §4)."""

from __future__ import annotations

import math

from studies.claims.claim import (
    OURS_B,
    OURS_BART,
    Check,
    Judgement,
    Pair,
    Source,
    not_measured,
    not_printed,
    not_testable,
)
from studies.claims.effects import MARGIN
from studies.claims.verdicts import Case, counted, stated, universal
from studies.kit.ledger import reference
from studies.kit.ledger.intervals import FEWEST

WORKERS = 64
COLUMNS = 5  # of the ablations
LARGE = 0.02  # what "pivotal" and "severe" are read as: two points, on average over the columns
ABLATED = {  # claim → the row that is to lie above, and what is changed in those below it
    "C34": (OURS_BART, ("no R3F",)),
    "C35": (OURS_B, ("uniform sampling", "temperature sampling")),
    "C36": (OURS_B, ("a head per dataset",)),
    "C37": (OURS_B, ("no loss scaling", "scaling by inverse loss", "scaling by dataset size")),
    "C38": (OURS_B, ("new heads",)),
}


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
    note = (
        "True of Eq. 1 by its definition. For spans it takes the mean of the start and end losses, and regression has "
    )
    return stated(parts, note + "no n (P20)")


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
    seven = ("seven models, as declared", len(points_) == 7, f"{len(points_)}: {sizes}")
    return counted([seven, ("each a superset of the one before", nested, "")])


def _arms(claim: str, size: float = MARGIN, checkpoints: bool = True) -> Check:
    """A check over rows of the ablations: the claim's first is above each of its others by more than `size`, on average
    over the columns, five or those that a small profile has. Arms that differ in their pre-finetuning are compared
    over checkpoints: one an arm tells two checkpoints apart, not two ways to make them."""
    better, others = ABLATED[claim]

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
            if pairs:
                cases.append(Case(name=f"above {other}", datasets=tuple(pairs), size=size))
        if not cases:
            return not_measured(f"needs the ablations {better}, {' | '.join(others)}")
        columns = source.declared.get("ablation_columns", COLUMNS)
        assert isinstance(columns, int)
        text = f"contrasts above {100 * size:g} points, mean over {columns} columns"
        text += f" (the profile has no more of the {COLUMNS})" if columns < COLUMNS else ""
        effects = "; ".join(str(case.effect(source)) for case in cases)
        if checkpoints and not repeated:
            return not_testable(f"needs {FEWEST} checkpoints an arm; with fewer: {effects}")
        if (least := min(len(case.datasets) for case in cases)) < columns:
            return Judgement(verdict="INCONCLUSIVE", text=f"{least} of {columns} columns are measured: {effects}")
        return universal(source, cases, len(others), text)

    return check


CHECKS: dict[str, Check] = {
    "C20": c20,
    "C21": c21,
    "C22": c22,
    "C29": c29,
    "C34": _arms("C34", LARGE),
    "C35": _arms("C35"),
    "C36": _arms("C36", LARGE),
    "C37": _arms("C37"),
    "C38": _arms("C38", checkpoints=False),
}
