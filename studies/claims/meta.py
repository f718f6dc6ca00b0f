"""What can be said today: analyses of the paper's own cells and of the outside replication, which need no run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import correlation, fmean, linear_regression, stdev

from studies.claims.claim import MODELS, Pair
from studies.claims.gains import TABLES, mixtures
from studies.claims.prints import from_rounds
from studies.claims.sources import independent, paper
from studies.kit.ledger import stats
from studies.kit.ledger.intervals import Estimate, Interval
from studies.kit.ledger.meta import Pooled, pooled
from studies.kit.show import p_text, points

PROMISED = {"cola": "CoLA", "stsb": "STS-B", "wnli": "WNLI"}  # of GLUE, announced for Table 3 and not printed (P10)


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One analysis: a sentence or two with its numbers, and the table behind them."""

    title: str
    text: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def analyses() -> list[Analysis]:
    """All of them, in the order of the page."""
    return [gain(), replication(), unprinted(), headroom(), totals(), power()]


def printed() -> list[Pair]:
    """Every MUPPET cell of Tables 3 to 6 with its base."""
    return [*paper().pairs(MODELS, TABLES), *mixtures(paper())]


def accuracies() -> list[Pair]:
    """The accuracies of Tables 3 to 5 whose number of evaluation examples is known."""
    return [p for p in paper().pairs(MODELS, TABLES) if p.base.metric == "accuracy" and p.base.n]


def unpaired_variance(pair: Pair) -> float:
    """The variance of a gain over evaluation examples, as if the two models had seen different ones."""
    return sum(n.value * (1 - n.value) / (n.n or 1) for n in (pair.base, pair.muppet))


def _dataset(pair: Pair) -> str:
    return f"{pair.base.study} {pair.base.column}"


def gain() -> Analysis:
    every, known = printed(), accuracies()
    sets = {
        "all cells of Tables 3 to 6, equal weights": pooled([p.gain for p in every], [_dataset(p) for p in every]),
        "accuracies of Tables 3 to 5, by inverse variance": pooled(
            [p.gain for p in known], [_dataset(p) for p in known], [unpaired_variance(p) for p in known]
        ),
    }
    whole, narrow = sets.values()
    told = [name for name, p in (("all cells", whole), ("accuracies alone", narrow)) if p.mean.low > 0]
    text = (
        f"The mean printed gain is {_shown(whole.mean)} points over {whole.n} comparisons of {whole.clusters} "
        f"datasets. Accuracies alone, weighted by what their evaluation sets can tell, give {_shown(narrow.mean)} over "
        f"{narrow.n} comparisons of {narrow.clusters}. Those on one dataset are one cluster. A further dataset's gain "
        f"would lie in {_range(whole.prediction)} and {_range(narrow.prediction)} (95 % prediction intervals). The "
        f"mean is told from zero over {' and over '.join(told) or 'neither'}, and promises nothing of the next dataset."
    )
    heads = ("Comparisons", "n", "datasets", "mean gain [95 %]", "prediction interval", "SD of true gains")
    return Analysis(title="Mean gain", text=text, heads=heads, rows=tuple(_row(name, p) for name, p in sets.items()))


def _row(name: str, result: Pooled) -> tuple[str, ...]:
    spread = f"{100 * result.heterogeneity:.1f}"
    return (name, str(result.n), str(result.clusters), _shown(result.mean), _range(result.prediction), spread)


def replication() -> Analysis:
    outside = independent().pairs(["RoBERTa-B"], (*TABLES, "beyond"))
    gains = [pair.gain for pair in outside]
    mean = Estimate(value=fmean(gains), error=stdev(gains) / math.sqrt(len(gains)), df=len(gains) - 1).interval()
    own = {(p.base.study, p.base.column): p.gain for p in paper().pairs(["RoBERTa-B"], TABLES)}
    shared = [(p, own[p.base.study, p.base.column]) for p in outside if (p.base.study, p.base.column) in own]
    rest = [(p, gain) for p, gain in shared if p.base.column != "RTE"]
    r = [correlation([p.gain for p, _ in some], [gain for _, gain in some]) for some in (shared, rest)]
    text = (
        f"The outside replication of the released base checkpoint gains {_shown(mean)} points on average over "
        f"{len(gains)} datasets, one run each. On the {len(shared)} columns that the paper prints too, its gains and "
        f"the paper's correlate by r = {r[0]:.2f}, and without RTE by {r[1]:.2f}: one dataset carries the agreement."
    )
    rows = tuple((p.base.column, points(gain), points(p.gain)) for p, gain in shared)
    return Analysis(title="Outside replication", text=text, heads=("Dataset", "paper", "replication"), rows=rows)


def unprinted() -> Analysis:
    outside = {p.base.column: p for p in independent().pairs(["RoBERTa-B"], (*TABLES, "beyond"))}
    columns = [p.base.column for p in paper().pairs(["RoBERTa-B"], ("table3",)) if p.base.column in outside]
    kept, left = ([outside[c].gain for c in some] for some in (columns, PROMISED))
    text = (
        f"Section 4 promises GLUE; CoLA, STS-B and WNLI have no column (ReCoRD neither, P10). In the replication the "
        f"{len(kept)} printed GLUE columns gain {points(fmean(kept))} points on average, the {len(left)} unprinted "
        f"ones {points(fmean(left))}. Six against three single runs are few; WNLI is an adversarial set of 71."
    )
    names = [(column, column, "printed") for column in columns]
    names += [(key, name, "promised, not printed") for key, name in PROMISED.items()]
    rows = tuple((name, where, points(outside[key].gain)) for key, name, where in names)
    return Analysis(title="Printed against promised columns", text=text, heads=("Dataset", "", "gain"), rows=rows)


def headroom() -> Analysis:
    rows, said = [], []
    for model in MODELS:
        pairs = [p for p in paper().pairs([model], TABLES) if p.base.metric == "accuracy"]
        room, gains = [1 - p.base.value for p in pairs], [p.gain for p in pairs]
        rank = stats.spearman(room, gains, "greater")
        line = linear_regression(room, gains)
        rows.append((model, str(rank.n), f"{rank.rho:.2f}", p_text(rank.p), f"{100 * line.slope:+.0f} %"))
        said.append(f"{model} ρ = {rank.rho:.2f} ({p_text(rank.p)})")
    text = (
        f"Do gains follow what there is left to gain? Accuracies of Tables 3 to 5, one-sided: {', '.join(said)}. The "
        "slope is the share of the remaining errors that is gained. A base score that is high by luck leaves less room "
        "and gains less, so the correlation is too high if anything."
    )
    heads = ("Model", "datasets", "Spearman ρ", "p", "slope")
    return Analysis(title="Gain against headroom", text=text, heads=heads, rows=tuple(rows))


def totals() -> Analysis:
    rows = []
    for pair in mixtures(paper()):
        if pair.base.column == "ANLI":
            gain = from_rounds(paper(), pair.muppet.row) - from_rounds(paper(), pair.base.row)
            rows.append((pair.base.row.partition("| ")[2], points(pair.gain), points(gain)))
    text = (
        f"Table 6's totals are not all the means of their rounds (C15). Recomputed, the gain with all the training "
        f"data is {rows[-1][2]} points, not {rows[-1][1]}."
    )
    heads = ("Training data", "gain of the printed totals", "recomputed from the rounds")
    return Analysis(title="Table 6's totals", text=text, heads=heads, rows=tuple(rows))


def power() -> Analysis:
    rows, told, likely = [], 0, 0
    pairs = accuracies()
    for pair in pairs:
        estimate = Estimate(value=pair.gain, error=math.sqrt(unpaired_variance(pair)))
        seen, sure = abs(pair.gain) > estimate.interval().high - estimate.value, abs(pair.gain) >= estimate.detectable
        told, likely = told + seen, likely + sure
        verdict = "told from zero" if seen else "undecidable by design"
        cell = f"{pair.base.column} / {pair.base.row}"
        rows.append((cell, str(pair.base.n), points(pair.gain), f"{100 * estimate.detectable:.1f}", verdict))
    text = (
        f"Of {len(pairs)} printed gains in accuracy, {told} could be told from zero on their own evaluation set "
        f"(unpaired, two-sided 5 %), and {likely} are as large as what one would see in four of five repetitions. The "
        f"other {len(pairs) - told} are undecidable by design: no number of seeds makes up for the examples. Pairing "
        "the examples would help, and the paper prints no per-example results."
    )
    heads = ("Cell", "examples", "printed gain", "detectable gain (80 % power)", "")
    return Analysis(title="What the evaluation sets can tell", text=text, heads=heads, rows=tuple(rows))


def _shown(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} {_range(interval)}"


def _range(interval: Interval) -> str:
    return f"[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
