"""Claims about scale, batching and data efficiency (§5, §6), read off Figures 1 to 3, which print no numbers."""

from __future__ import annotations

import math
from itertools import pairwise

from studies.claims.claim import (
    Claim,
    Finding,
    Number,
    Part,
    Source,
    judged,
    not_measured,
)
from studies.kit.ledger import stats
from studies.kit.show import p_text, percent, points

NO_NUMBERS = "the paper plots this and prints no numbers"
HETEROGENEOUS, BATCH, DATASET = "Batch Heterogeneous", "Batch Homogeneous", "Dataset Homogeneous"
FULL_SCALES = (34, 40)


def _curves(source: Source, study: str = "figure1") -> dict[str, list[Number]]:
    """Row → its points in order of x, the base model first (x = 0); one point where two cells share an x."""
    found: dict[str, dict[float, Number]] = {}
    for number in source.numbers.values():
        if number.study == study and number.x is not None:
            found.setdefault(number.row, {})[number.x] = number
    return {row: [curve[x] for x in sorted(curve)] for row, curve in found.items()}


def _scaled(curve: list[Number]) -> tuple[Number | None, list[Number]]:
    """The base model and the points after it."""
    base = next((n for n in curve if n.x == 0), None)
    return base, [n for n in curve if n.x]


def _by_seed(curve: list[Number]) -> list[list[float]]:
    """[seeds, points]; the points' values alone where they have different numbers of seeds."""
    if len({len(n.seeds) for n in curve}) == 1 and curve[0].seeds:
        return [list(row) for row in zip(*(n.seeds for n in curve))]
    return [[n.value for n in curve]]


def _drawn(curve: list[Number]) -> str:
    return " ".join(f"{n.x:g}: {n.shown}" for n in curve)


def c23(source: Source) -> Finding:
    parts = []
    for row, curve in _curves(source).items():
        base, after = _scaled(curve)
        if base is None or len(after) < 2:
            parts.append(Part(name=row, holds=None))
            continue
        scales = [n.x or 0 for n in after]
        found = stats.critical_point(scales, _by_seed(after), list(base.seeds) or [base.value])
        interval = "" if math.isnan(found.low) else f" [{found.low:.0f}, {found.high:.0f}]"
        text = f"crossing at {found.at:.0f}{interval}" if found.dips else "never below the base model"
        parts.append(Part(name=row, holds=found.clean and 10 <= found.at <= 25, text=f"{text}; {_drawn(curve)}"))
    if not parts:
        return not_measured(NO_NUMBERS)
    hurt = sum(bool(part.holds) for part in parts)
    whole = judged(
        parts, f"The claim is all but one dataset; {hurt} of {len(parts)} fall below and come back by 25 sets"
    )
    if any(part.holds is None for part in parts) or hurt != len(parts) - 1:
        return whole
    return Finding(verdict="HOLDS", text=whole.text)


def c24(source: Source) -> Finding:
    curve = _curves(source).get("RTE", [])
    _, after = _scaled(curve)
    if len(after) < 3:
        return not_measured(f"needs RTE's curve; {NO_NUMBERS}")
    rank = stats.spearman([n.x for n in after], [n.value for n in after], "greater")
    loss = stats.isotonic_loss([n.x for n in after], [n.value for n in after])
    falls = [f"{a.x:g} → {b.x:g}" for a, b in pairwise(after) if b.value < a.value]
    text = f"Spearman ρ = {rank.rho:.2f}, {p_text(rank.p)}; {100 * loss:.2f} points from the nearest rising curve"
    return judged([Part(name="never falls", holds=not falls, text=", ".join(falls))], f"{text}; {_drawn(curve)}")


def c25(source: Source) -> Finding:
    parts = []
    for row, curve in _curves(source).items():
        base, after = _scaled(curve)
        lows = [i for i, n in enumerate(after) if base and n.value < base.value]
        after = after[lows[-1] :] if lows else after  # from the last point below the base model on
        dots = [(n.x or 0, score) for n in after for score in (n.seeds or (n.value,))]
        if len(after) < 4 or len(dots) < 6:
            parts.append(Part(name=row, holds=None, text=f"{len(after)} points past the critical one"))
            continue
        fit = stats.linear_or_saturating([k for k, _ in dots], [score for _, score in dots])
        text = f"slope {1000 * fit.slope:+.2f} points per ten sets, R² = {fit.r_squared:.2f}"
        text += f", AICc {fit.linear_aic:.1f} linear and {fit.saturating_aic:.1f} saturating, {len(dots)} scores"
        parts.append(Part(name=row, holds=fit.slope > 0 and fit.linear and fit.r_squared > 0.9, text=text))
    return judged(parts) if parts else not_measured(NO_NUMBERS)


def c26(source: Source) -> Finding:
    parts = []
    for better, worse in ((HETEROGENEOUS, BATCH), (HETEROGENEOUS, DATASET)):
        for a in source.numbers.values():
            if a.study != "figure2" or a.row != better:
                continue
            b = source.numbers.get(("figure2", worse, a.column, a.metric))
            if b is None:
                continue
            gap = stats.seed_interval([p - q for p, q in zip(a.seeds, b.seeds)]) if a.seeds and b.seeds else None
            name, text = f"{a.column} over {worse.lower()}", f"{b.shown} → {a.shown} ({points(a.value - b.value)}"
            known = gap is not None and not math.isnan(gap.low)
            text += f", paired over seeds [{points(gap.low)}, {points(gap.high)}])" if gap and known else ", one seed)"
            parts.append(Part(name=name, holds=gap.low > 0 if gap and known else None, text=text))
    return judged(parts) if parts else not_measured(NO_NUMBERS)


def _maps(source: Source) -> dict[str, dict[int, list[Number]]]:
    """Dataset → number of pre-finetuning sets → scores in order of the share of the data."""
    found: dict[str, dict[int, list[Number]]] = {}
    for row, curve in _curves(source, "figure3").items():
        dataset, _, scale = row.partition(" | ")
        found.setdefault(dataset, {})[int(scale.split()[0])] = curve  # `QNLI | 34 sets`
    return found


def c27(source: Source) -> Finding:
    parts = []
    for dataset, scales in _maps(source).items():
        whole = next((n for n in scales.get(0, []) if n.x and n.x > 0.999), None)
        for scale in FULL_SCALES:
            curve, name = scales.get(scale), f"{dataset}, {scale} sets"
            if whole is None or not curve:
                parts.append(Part(name=name, holds=None))
                continue
            share = stats.data_efficiency([n.x or 0 for n in curve], [n.value for n in curve], whole.value)
            reached = f"reached with {percent(share)} % of it" if share else "never reached"
            text = f"base with all its data {whole.shown}, {reached}; {_drawn(curve)}"
            parts.append(Part(name=name, holds=share is not None and share <= 0.5, text=text))
    return judged(parts, "Much less data is read as half or less") if parts else not_measured(NO_NUMBERS)


def c28(source: Source) -> Finding:
    parts = []
    for dataset, scales in _maps(source).items():
        columns: dict[str, list[tuple[int, float]]] = {}
        for scale, curve in scales.items():
            for n in curve:
                columns.setdefault(n.column, []).append((scale, n.value))
        ranks = [
            stats.spearman([k for k, _ in cells], [score for _, score in cells]).rho
            for cells in columns.values()
            if len(cells) > 2
        ]
        up = sum(rho > 0 for rho in ranks)
        text = f"positive in {up} of {len(ranks)} shares of the data: ρ {', '.join(f'{rho:.2f}' for rho in ranks)}"
        parts.append(Part(name=dataset, holds=up == len(ranks) if ranks else None, text=text if ranks else ""))
    return judged(parts) if parts else not_measured(NO_NUMBERS)


CLAIMS = (
    Claim(
        id="C23",
        section="Figure 1",
        quote="We notice that performance initially degrades until a critical point is reached regarding the number"
        " of the datasets used by the MTL framework for all but one dataset.",
        predicate="All but one curve lie below the base model up to a point between 10 and 25 datasets, then at or "
        "above it",
        check=c23,
    ),
    Claim(
        id="C24",
        section="§5.1",
        quote="First, for individual tasks such as RTE (Bentivogli et al., 2009), increasing the pre-finetuning "
        "scale monotonically improves performance.",
        predicate="RTE's curve never falls",
        check=c24,
    ),
    Claim(
        id="C25",
        section="Abstract",
        quote="We also show that large-scale multi-tasking is crucial; pre-finetuning can hurt performance when few"
        " tasks are used up until a critical point (usually above 15) after which performance improves "
        "linearly in the number of tasks.",
        predicate="Each curve rises, a line fits no worse than a saturating curve (AICc), and R² > 0.9",
        check=c25,
    ),
    Claim(
        id="C26",
        section="Figure 2",
        quote="The use of heterogenous batches outperforms other batching strategies by a significant margin and "
        "highlights the importance of implementing MTL with the correct batching strategy.",
        predicate="Heterogeneous minus each other policy: the 95 % interval over paired seeds lies above zero on all "
        "datasets",
        check=c26,
    ),
    Claim(
        id="C27",
        section="§6",
        quote="We show that on held-out datasets, leveraging representations from our pre-finetuned models with "
        "34-40 tasks, we reach higher evaluation accuracies with much less data than the RoBERTa model.",
        predicate="34 and 40 sets reach the base model's full-data score with half the data or less",
        check=c27,
    ),
    Claim(
        id="C28",
        section="§5.3",
        quote="As we increase the scale of MTL, better representations are available for downstream finetuning.",
        predicate="Score and number of datasets correlate positively in every column of Figure 3",
        check=c28,
    ),
)
