"""Claims about scale, batching and data efficiency (§5, §6), read off Figures 1 to 3, which print no numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from studies.claims.claim import OURS_B, Check, Judgement, Number, Pair, Source, not_measured, not_printed, not_testable
from studies.claims.effects import Effect, arm, effect, with_checkpoints
from studies.claims.verdicts import LEVEL, Case, decided, universal, weighed
from studies.kit.ledger import stats
from studies.kit.ledger.intervals import FEWEST, Estimate, contrast, of_runs, with_items
from studies.kit.show import between, p_text, percent, points

NO_NUMBERS = "the paper plots this and prints no numbers"
HETEROGENEOUS, BATCH, DATASET = "Batch Heterogeneous", "Batch Homogeneous", "Dataset Homogeneous"
SETS = 5  # datasets of Figures 1 and 2
SCALES = 7  # points of Figure 1 after the base model
FIRST = "10 sets"  # the one with the fewest datasets
FULL_SCALES = (34, 40)
MAPS = 2  # datasets of Figure 3
SHARES = 9  # of the fine-tuning data
FEWEST_X = 4  # distinct scales below which a curve has no shape
LATEST = 25  # datasets by which the paper's curves are back over their base
FLAT = 0.5  # a curve whose middle sags by this share of its rise over half the range is not read as a line


def _measured(check: Check) -> Check:
    """`check`, where the source has measurements at all."""

    def whole(source: Source) -> Judgement:
        return not_printed(NO_NUMBERS) if source.name == "paper" else check(source)

    return whole


def _curves(source: Source, study: str = "figure1") -> dict[str, list[Number]]:
    """Row → its points in order of x, the base model first (x = 0); one point where two cells share an x."""
    rows: dict[str, dict[float, Number]] = {}
    for number in source.numbers.values():
        if number.study == study and number.x is not None:
            rows.setdefault(number.row, {})[number.x] = number
    return {row: [curve[x] for x in sorted(curve)] for row, curve in rows.items()}


def _scaled(curve: list[Number]) -> tuple[Number | None, list[Number]]:
    """The base model and the points after it."""
    base = next((n for n in curve if n.x == 0), None)
    return base, [n for n in curve if n.x]


def _drawn(curve: list[Number]) -> str:
    return " ".join(f"{n.x:g}: {n.shown}" for n in curve)


def _spread(source: Source, dataset: str, metric: str) -> Estimate | None:
    """How far checkpoints of the paper's recipe lie apart on a dataset: the standard deviation over them, pooled over
    the arms that start from three or more. None without such an arm."""
    arms = {
        n.seeds: of_runs(n.seeds, n.checkpoints)  # the same runs may stand in several places
        for n in source.numbers.values()
        if (n.row if n.study == "figure1" else n.column, n.metric) == (dataset, metric)
        and (n.study == "figure1" or n.row in (OURS_B, HETEROGENEOUS))
        and len(set(n.checkpoints)) >= FEWEST
    }
    known = [one for one in arms.values() if one is not None]
    df = sum(one.df for one in known)
    squares = sum(one.error**2 * (one.df + 1) * one.df for one in known)
    return Estimate(value=0.0, error=math.sqrt(squares / df), df=df) if known else None


def _shape(curve: Sequence[Number], degree: int, spread: Estimate | None) -> Estimate | None:
    """The coefficient of x**degree of the least-squares polynomial of that degree, x scaled to [-1, 1]; None when a
    point has fewer than three runs."""
    import numpy as np

    ends = [with_items(one, n.item_error) for n in curve if (one := arm(n)) is not None]
    if len(ends) < len(curve):
        return None
    x = np.array([n.x for n in curve], dtype=float)
    x = 2 * (x - x.min()) / np.ptp(x) - 1
    weights = [float(w) for w in np.linalg.pinv(np.vander(x, degree + 1))[0]]
    return with_checkpoints(contrast(weights, ends), curve, weights, spread)


def c23(source: Source) -> Judgement:
    """Four of five curves lie below their base at the first point and above it past 25 sets; a curve counts once it
    has both."""
    dips: list[Effect] = []
    gains: list[Effect] = []
    whole = 0
    for row, curve in _curves(source).items():
        base, after = _scaled(curve)
        first = next((n for n in after if n.column == FIRST), None)
        late = next((n for n in after if (n.x or 0) > LATEST), None)
        if base is None or first is None or late is None:
            continue
        whole += len(after) >= SCALES
        spread = _spread(source, row, base.metric)
        dip, gain = Pair(base=first, muppet=base), Pair(base=base, muppet=late)
        dips.append(effect(source, [dip], f"{row}, base above {first.x:g} sets", spread=spread))
        gains.append(effect(source, [gain], f"{row}, {late.x:g} sets above base", spread=spread))
    if not dips:
        return not_measured(f"needs Figure 1's curves at {FIRST} and past {LATEST}")
    shown = [decided(group) for group in (dips, gains)]
    text = f"{len(dips)} of {SETS} curves measured: " if len(dips) < SETS else ""
    text += f"{shown[0].count('UP')} of {len(dips)} fall below their base at first, {shown[0].count('DOWN')} rise; "
    text += f"{shown[1].count('UP')} lie above it past {LATEST} sets, {shown[1].count('DOWN')} below. "
    text += "; ".join(map(str, [*dips, *gains])) + f". {whole} of {SETS} curves are whole"
    if all(each.uninformative for each in (*dips, *gains)):
        return not_testable(text)
    failed = [dip in ("DOWN", "EQUIVALENT") or gain in ("DOWN", "EQUIVALENT") for dip, gain in zip(*shown)]
    if sum(failed) > 1:  # the claim allows one
        return Judgement(verdict="CONTRADICTED", text=text)
    held = whole == SETS and shown[0].count("UP") == SETS - 1 and shown[1].count("UP") >= SETS - 1
    return Judgement(verdict="SUPPORTED" if held else "INCONCLUSIVE", text=text)


def c24(source: Source) -> Judgement:
    """A rising trend, and no step down that its noise does not explain."""
    curve = _curves(source).get("RTE", [])
    _, after = _scaled(curve)
    if len(after) < FEWEST_X:
        return not_measured(f"needs {FEWEST_X} scales of RTE's curve of Figure 1")
    spread = _spread(source, "RTE", after[0].metric)
    steps = [
        effect(source, [Pair(base=a, muppet=b)], f"{a.x:g} → {b.x:g} sets", spread=spread)
        for i, a in enumerate(after)
        for b in after[i + 1 :]
    ]
    falls = [step for step, shown in zip(steps, decided(steps), strict=True) if shown == "DOWN"]
    trend = _shape(after, 1, spread)
    rank = stats.spearman([n.x for n in after], [n.value for n in after], "greater")
    text = f"Spearman ρ = {rank.rho:.2f}, {p_text(rank.p)}"
    if all(step.uninformative for step in steps):
        return not_testable(f"{steps[0].uninformative}; {_drawn(curve)}")
    if trend is not None:
        rise = trend.interval()
        text += f"; trend over the range {points(2 * rise.value)} {between(2 * rise.low, 2 * rise.high)}"
    text += f"; falls beyond the noise: {', '.join(map(str, falls)) or 'none'}; {_drawn(curve)}"
    if falls or (trend is not None and trend.interval().high < 0):
        return Judgement(verdict="CONTRADICTED", text=text)
    up = trend is not None and trend.interval().low > 0 and len(after) >= SCALES
    return Judgement(verdict="SUPPORTED" if up else "INCONCLUSIVE", text=text)


def c25(source: Source) -> Judgement:
    """Past its critical point each curve rises and does not bend: the sag of its middle against its rise."""
    verdicts, texts = [], []
    curves = {row: curve for row, curve in _curves(source).items() if len(_scaled(curve)[1]) >= FEWEST_X}
    for row, curve in curves.items():
        base, after = _scaled(curve)
        lows = [i for i, n in enumerate(after) if base and n.value < base.value]
        after = after[lows[-1] :] if lows else after  # from the last point below the base model on
        spread = _spread(source, row, curve[0].metric)
        rise, bend = (_shape(after, degree, spread) if len(after) >= FEWEST_X else None for degree in (1, 2))
        if rise is None or bend is None:
            verdicts.append("shapeless")
            few = f"{len(after)} of the {FEWEST_X} points that a shape needs past the critical one"
            texts.append(f"{row}: {few if len(after) < FEWEST_X else 'fewer than three runs at a point'}")
            continue
        slope, sag = (one.interval(1 - LEVEL / SETS) for one in (rise, bend))
        text = f"{row}: rise {points(2 * slope.value)} {between(2 * slope.low, 2 * slope.high)}"
        texts.append(f"{text}, bend {points(sag.value)} {between(sag.low, sag.high)}")
        limit = FLAT * abs(rise.value)
        if slope.high < 0 or sag.high < -limit or sag.low > limit:
            verdicts.append("no")
        else:
            verdicts.append("yes" if slope.low > 0 and -limit <= sag.low and sag.high <= limit else "open")
    if not verdicts:
        return not_measured(f"needs {FEWEST_X} scales of a curve of Figure 1")
    text = ". ".join([*texts, f"Intervals of {100 * (1 - LEVEL / SETS):g} %: of {SETS} curves together 95 %"])
    if verdicts.count("shapeless") == len(verdicts):
        return not_testable(text)
    if "no" in verdicts:
        return Judgement(verdict="CONTRADICTED", text=text)
    whole = len(verdicts) == SETS and set(verdicts) == {"yes"}
    return Judgement(verdict="SUPPORTED" if whole else "INCONCLUSIVE", text=text)


def c26(source: Source) -> Judgement:
    """Arms that differ in their pre-finetuning are compared over checkpoints, as the ablations are."""
    cases, repeated = [], True
    for worse in (BATCH, DATASET):
        for a in source.numbers.values():
            b = source.numbers.get(("figure2", worse, a.column, a.metric))
            if a.study == "figure2" and a.row == HETEROGENEOUS and b:
                repeated &= min(len(set(n.checkpoints)) for n in (a, b)) >= FEWEST
                pairs = (Pair(base=b, muppet=a),)
                cases.append(Case(name=f"{a.column} over {worse.lower()}", datasets=(pairs,)))
    if not cases:
        return not_measured("needs heterogeneous batches and another policy of Figure 2")
    if not repeated:
        effects = "; ".join(str(case.effect(source)) for case in cases)
        return not_testable(f"needs {FEWEST} checkpoints a policy; with fewer: {effects}")
    return universal(source, cases, 2 * SETS, "margins of heterogeneous batches")


def _maps(source: Source) -> dict[str, dict[int, list[Number]]]:
    """Dataset → number of pre-finetuning sets → scores in order of the share of the data."""
    maps: dict[str, dict[int, list[Number]]] = {}
    for row, curve in _curves(source, "figure3").items():
        dataset, _, scale = row.partition(" | ")
        maps.setdefault(dataset, {})[int(scale.split()[0])] = curve  # `QNLI | 34 sets`
    return maps


def _held(scale: int, curve: Sequence[Number]) -> float:
    """How many datasets a row of a map stands for: as many as its pre-finetuning holds, else as its name says."""
    return next((float(n.sets) for n in curve if n.sets is not None), float(scale))


def c27(source: Source) -> Judgement:
    """With at most half the data, above the base model with all of it."""
    effects, reached = [], []
    for dataset, scales in _maps(source).items():
        whole = next((n for n in scales.get(0, []) if n.x and n.x > 0.999), None)
        spread = _spread(source, dataset, whole.metric) if whole else None
        for scale in FULL_SCALES:
            curve = scales.get(scale, [])
            shares = [_share(n, whole) for n in curve] if whole else []
            half = [n for n, share in zip(curve, shares) if share <= 0.5]
            if whole is None or not half:
                continue
            name, pair = f"{dataset}, {_held(scale, curve):g} sets", Pair(base=whole, muppet=half[-1])
            effects.append(effect(source, [pair], name, spread=spread))
            least = stats.data_efficiency(shares, [n.value for n in curve], whole.value)
            said = f"with {percent(least)} % of the data" if least else "never"
            reached.append(f"{name} reach {whole.shown} {said}")
    note = "Much less data is read as half or less of the rows that the base model's training on all goes through. "
    return weighed(
        effects, MAPS * len(FULL_SCALES), "maps above the base with half the data", note + "; ".join(reached)
    )


def _share(number: Number, whole: Number) -> float:
    """The share of the data behind a number: of the rows that `whole`'s training goes through, which may end before it
    has gone through all; where that is not known, as declared."""
    return number.seen / whole.seen if number.seen and whole.seen else number.x or 0.0


def c28(source: Source) -> Judgement:
    """The trend of the score, averaged over the shares of the data, with the number of datasets."""
    effects, whole = [], True
    for dataset, scales in _maps(source).items():
        curves = {k: curve for k, curve in scales.items() if curve}
        shares = set.intersection(*({n.column for n in curve} for curve in curves.values()))
        if len(curves) < FEWEST_X or not shares:
            continue
        whole &= len(curves) > SCALES and len(shares) >= SHARES
        means = [fmean(n.value for n in curves[k] if n.column in shares) for k in sorted(curves)]
        held = [_held(k, curves[k]) for k in sorted(curves)]
        trend = stats.slope([sets / 10 for sets in held], means)
        shown = " ".join(f"{sets:g}: {percent(mean)}" for sets, mean in zip(held, means))
        rise = trend.interval()
        name = f"{dataset}, points per ten sets {points(rise.value)}"
        text = f"{between(rise.low, rise.high)} ({shown})"
        least = trend.detectable
        effects.append(Effect(name=name, gain=trend.value, estimate=trend, shown=text, margin=0.0, detectable=least))
    if not effects:
        return not_measured(f"needs {FEWEST_X} scales of a map of Figure 3, at the same shares")
    judgement = weighed(effects, MAPS, "maps rising with the number of datasets")
    if judgement.verdict == "SUPPORTED" and not whole:
        return Judgement(verdict="INCONCLUSIVE", text=f"{judgement.text}. Some scales or shares are not measured")
    return judgement


CHECKS = {f"C{i}": _measured(check) for i, check in enumerate((c23, c24, c25, c26, c27, c28), start=23)}
