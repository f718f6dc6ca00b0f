"""Claims that MUPPET beats its base: everywhere, in every family, more on small datasets (abstract, §4, §4.1, §6)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, median

from studies.claims.claim import (
    MODELS,
    ROUGE,
    Claim,
    Finding,
    Pair,
    Part,
    Source,
    judged,
    not_measured,
    universal,
)
from studies.kit.ledger import reference, stats
from studies.kit.show import p_text, points

ROBERTA = ("RoBERTa-B", "RoBERTa-L")
TABLES = ("table3", "table4", "table5", "beyond")  # `beyond`: datasets of a source that the paper has no column for
FAMILY_MEANS = 12  # families in tables 3 to 5: four for each model
SMALL, LARGE = 10_000, 39_000
ROUNDS = ("A1", "A2", "A3", "ANLI")


def _printed(models: Sequence[str], studies: Sequence[str]) -> int:
    """How many cells the paper has of these models and tables, each with its base."""
    cells = {c.key for s in studies if s.startswith("table") for c in reference.table(int(s[5:]))}
    return sum(row.removesuffix(" + MUPPET") in models and row.endswith(" + MUPPET") for _, row, _, _ in cells)


def _all_up(source: Source, models: Sequence[str], studies: Sequence[str]) -> Finding:
    pairs = source.pairs(models, studies)
    if not pairs:
        return not_measured(f"no pair of {' or '.join(models)} with and without MUPPET")
    signs = stats.sign_test([pair.gain for pair in pairs])
    note = (
        f"Up {signs.up}, equal {signs.equal}, down {signs.down}; two-sided sign test {p_text(signs.p)}; "
        f"median gain {points(median(pair.gain for pair in pairs))}"
    )
    expected = len(pairs)
    if source.name != "independent":  # which has its own datasets
        expected = _printed(models, studies) + sum(pair.base.study == "beyond" for pair in pairs)
    return universal([(pair.gain > 0, str(pair)) for pair in pairs], expected, "cells up", note)


def _sized(
    source: Source, model: str, studies: Sequence[str] = ("table3", "table4", "beyond")
) -> list[tuple[int, float, Pair]]:
    """(training rows, gain, pair) per dataset; a ROUGE triple counts once, by the mean of its three gains."""
    found: dict[tuple[str, str], list[Pair]] = {}
    for pair in source.pairs([model], studies):
        if pair.train_rows:
            found.setdefault((pair.base.study, pair.base.column), []).append(pair)
    return [(group[0].train_rows or 0, mean(p.gain for p in group), group[0]) for group in found.values()]


def c1(source: Source) -> Finding:
    return _all_up(source, ROBERTA, TABLES)


def c2(source: Source) -> Finding:
    return _all_up(source, ("BART",), TABLES)


def c3(source: Source) -> Finding:
    groups: dict[tuple[str, str], list[Pair]] = {}
    for model in MODELS:
        for pair in source.pairs([model], TABLES):
            groups.setdefault((pair.family, model), []).append(pair)
    cells = []
    for (family, model), pairs in groups.items():
        gain = mean(pair.gain for pair in pairs)
        listed = ", ".join(
            f"{p.base.column}{f' {p.base.metric}' if p.base.metric in ROUGE else ''} {points(p.gain)}" for p in pairs
        )
        cells.append((gain > 0, f"{family} of {model}: mean {points(gain)} ({listed})"))
    return universal(cells, FAMILY_MEANS, "(family, model) means up")


def c4(source: Source) -> Finding:
    return _all_up(source, MODELS, TABLES)


def c5(source: Source) -> Finding:
    pair = next((p for p in source.pairs(["RoBERTa-B"], ["table3"]) if p.base.column == "RTE"), None)
    if pair is None:
        return not_measured("needs table3 RTE of RoBERTa-B with and without MUPPET")
    return judged(
        [
            Part(name="gain of 8 or more", holds=pair.gain >= 0.08),
            Part(name="between 8 and 10", holds=0.08 <= pair.gain <= 0.1),
        ],
        str(pair),
    )


def c6(source: Source) -> Finding:
    ours, large = source.get("table3", "RoBERTa-B + MUPPET", "RTE"), source.get("table3", "RoBERTa-L", "RTE")
    if not ours or not large:
        return not_measured("needs table3 RTE of RoBERTa-B + MUPPET and of RoBERTa-L")
    gap = round(ours.value - large.value, 10)
    public = next(c for c in reference.public() if c.key == (3, "RoBERTa-L", "RTE", "accuracy"))
    note = f"{ours.where} {ours.shown}, {large.where} {large.shown}: {points(gap)}"
    note += f". Against the model's README ({public.printed}): {points(ours.value - (public.value or 0))}"
    return judged([Part(name="within one point", holds=abs(gap) <= 0.01)], note)


def c9(source: Source) -> Finding:
    parts = []
    for model in MODELS:
        sized = _sized(source, model)
        if len(sized) < 4:
            parts.append(Part(name=model, holds=None))
            continue
        rows, gains = [s[0] for s in sized], [s[1] for s in sized]
        rank = stats.spearman(rows, gains, "less")
        left = stats.leave_one_out(rows, gains, "less")
        weakest = max(range(len(left)), key=lambda i: left[i].p)
        wider = _sized(source, model, TABLES)
        whole = stats.spearman([s[0] for s in wider], [s[1] for s in wider], "less")
        kind = "exact" if rank.exact else "permutation"
        text = f"Spearman ρ = {rank.rho:.2f}, one-sided {kind} {p_text(rank.p)}, {rank.n} datasets"
        text += f"; without {sized[weakest][2].base.column} {left[weakest].rho:.2f}, {p_text(left[weakest].p)}"
        if len(wider) > len(sized):
            text += f"; with table 5 {whole.rho:.2f}, {p_text(whole.p)}"
        parts.append(Part(name=model, holds=rank.rho < 0 and rank.p < 0.05, text=text))
    return judged(
        parts, "Gains of tables 3 and 4 against training rows (reference/datasets.csv), a ROUGE triple as one"
    )


def c10(source: Source) -> Finding:
    parts = []
    for model in MODELS:
        sized = _sized(source, model, TABLES)
        small = [(gain, pair) for rows, gain, pair in sized if rows < SMALL]
        large = [gain for rows, gain, _ in sized if rows >= LARGE]
        if not small or not large:
            parts.append(Part(name=f"{model}", holds=None))
            continue
        a, b = median(gain for gain, _ in small), median(large)
        text = f"median {points(a)} over {len(small)} sets below 10,000 rows, {points(b)} over {len(large)} from 39,000"
        parts.append(Part(name=f"{model}, small above large", holds=a > b, text=text))
        low = [f"{pair.base.column} {points(gain)}" for gain, pair in small if gain < 0.01]
        text = f"below one point: {', '.join(low)}" if low else "none below one point"
        parts.append(Part(name=f"{model}, every small set gains a point", holds=not low, text=text))
    return judged(parts)


def c13(source: Source) -> Finding:
    return _all_up(source, MODELS, ("table5",))


def c14(source: Source) -> Finding:
    cells, gains, below = [], [], []
    for base in source.numbers.values():
        if base.study != "table6" or not base.row.startswith("RoBERTa |"):
            continue
        ours = source.get("table6", base.row.replace("RoBERTa", "RoBERTa-MUPPET", 1), base.column)
        if ours:
            pair = Pair(base=base, muppet=ours, family="", train_rows=None)
            gains.append(pair.gain)
            cells.append((pair.gain > 0, str(pair)))
            if max(base.value, ours.value) < 1 / 3:
                below.append(f"{base.column} {base.row.split('| ')[1]} {base.shown} → {ours.shown}")
    if not cells:
        return not_measured("needs table6 of RoBERTa and RoBERTa-MUPPET")
    note = f"Two-sided sign test {p_text(stats.sign_test(gains).p)}"
    note += f". Both below chance (33.3): {'; '.join(below)}" if below else ""
    return universal(cells, 5 * len(ROUNDS), "cells up", note)


def c17(source: Source) -> Finding:
    parts = []
    for model in MODELS:
        for study, column in (("table3", "MNLI"), ("table3", "SQuAD"), ("table4", "BoolQ"), ("table4", "CQA")):
            pair = next((p for p in source.pairs([model], [study]) if p.base.column == column), None)
            if pair:
                text = f"{pair.base.shown} → {pair.muppet.shown} ({points(pair.gain)})"
                parts.append(Part(name=f"{column} of {model}", holds=pair.gain > 0, text=text))
            elif (model, column) != ("BART", "SQuAD"):  # which the paper does not print
                parts.append(Part(name=f"{column} of {model}", holds=None))
    return judged(parts)


def c30(source: Source) -> Finding:
    clear: list[str] = []
    within: list[str] = []
    for pair in source.pairs(MODELS, TABLES):
        a, b = pair.muppet, pair.base
        if not (a.n and b.n) or a.metric != "accuracy":
            continue
        test = stats.two_proportions(a.value, a.n, b.value, b.n)
        text = f"{b.column} of {b.row} {points(pair.gain)} ± {100 * test.half_width:.1f}"
        (clear if pair.gain > test.half_width else within).append(text)
    total = len(clear) + len(within)
    if not total:
        return not_measured("needs accuracies with their number of evaluation examples")
    note = f"{len(clear)} of {total} gains exceed the half-width of the unpaired 95 % binomial interval"
    note += f": {'; '.join(clear)}" if clear else ""
    note += f". Within it or below: {'; '.join(within)}" if within else ""
    return Finding(verdict="HOLDS" if not within else "PARTIAL" if clear else "FAILS", text=note + ".")


WIDE = (
    "We show that pre-finetuning consistently improves performance for pretrained discriminators (e.g. "
    "RoBERTa) and generation models (e.g. BART) on a wide range of tasks (sentence prediction, "
    "commonsense reasoning, MRC, etc.), while also significantly improving sample efficiency during "
    "fine-tuning."
)
RTE = (
    "For example, the pre-finetuned RoBERTa-BASE model on RTE improves by close to 9 points, rivaling the"
    " RoBERTa-Large accuracy, while the pre-finetuned RoBERTa-Large model gets new state-of-the-art on "
    "RTE rivaling models an order of magnitude larger than it."
)
CONCLUSION = (
    "With our method, we improve upon prior state of the art methods for RTE (Bentivogli et al., 2009) "
    "and HellaSWAG (Zellers et al., 2019), as well as improve upon vanilla pre-trained representations "
    "for MNLI (Williams et al., 2018a), SQuAD (Rajpurkar et al., 2016a), BoolQ (Clark et al., 2019), and "
    "Common Sense QA (Talmor et al., 2018)."
)

CLAIMS = (
    Claim(
        id="C1", section="Abstract", quote=WIDE, predicate="RoBERTa: every gain in tables 3 to 5 is positive", check=c1
    ),
    Claim(id="C2", section="Abstract", quote=WIDE, predicate="BART: every gain in tables 3 to 5 is positive", check=c2),
    Claim(
        id="C3",
        section="§4",
        quote="We do not improve just over sentence prediction tasks but on every set of tasks that we measured.",
        predicate="The mean gain of every family and model is positive",
        check=c3,
    ),
    Claim(
        id="C4",
        section="§4",
        quote="Across the board, pre-trained representations that were further refined with pre-finetuning "
        "outperformed standard pre-trained representations.",
        predicate="Every gain in tables 3 to 5 is positive, all models",
        check=c4,
    ),
    Claim(id="C5", section="§4", quote=RTE, predicate="RTE, RoBERTa-B: gain of 8 to 10 points", check=c5),
    Claim(id="C6", section="§4", quote=RTE, predicate="RTE: RoBERTa-B + MUPPET within a point of RoBERTa-L", check=c6),
    Claim(
        id="C9",
        section="§4",
        quote="We see more modest gains on larger datasets, most likely because we do not need to refine "
        "representations beforehand if the fine-tuning dataset is large.",
        predicate="Spearman of gain and training rows is negative, p < 0.05, for each model",
        check=c9,
    ),
    Claim(
        id="C10",
        section="§4",
        quote="On smaller datasets, we see substantial gains.",
        predicate="Median gain below 10,000 rows above that from 39,000; every small set gains a point; for each model",
        check=c10,
    ),
    Claim(
        id="C13",
        section="§4.1",
        quote="We see that the MUPPET variants of our models out-perform the baselines consistently across task "
        "type and dataset.",
        predicate="Every gain in table 5 is positive",
        check=c13,
    ),
    Claim(
        id="C14",
        section="§4.1",
        quote="Pre-finetuned models consistently outperform their base counterparts.",
        predicate="Every gain in table 6 is positive",
        check=c14,
    ),
    Claim(
        id="C17",
        section="§6",
        quote=CONCLUSION,
        predicate="MNLI, SQuAD, BoolQ and CQA: the gain of each model is positive",
        check=c17,
    ),
    Claim(
        id="C30",
        section="Reviewer",
        quote="",
        predicate="Single gains exceed the half-width of the unpaired 95 % binomial interval",
        check=c30,
    ),
)
