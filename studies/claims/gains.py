"""Claims that MUPPET beats its base: everywhere, in every family, more on small datasets (abstract, §4, §4.1, §6)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import fmean, median

from studies.claims.claim import MODELS, OURS_B, Check, Judgement, Pair, Source, not_measured, not_testable
from studies.claims.prints import ROUNDS
from studies.claims.sources import paper
from studies.claims.verdicts import LEVEL, Case, single, universal, within
from studies.kit.ledger import reference, stats
from studies.kit.ledger.intervals import holm
from studies.kit.show import p_text, points

ROBERTA = ("RoBERTa-B", "RoBERTa-L")
TABLES = ("table3", "table4", "table5")
WIDER = (*TABLES, "beyond")  # with the datasets of a source that the paper has no column for
FEWEST_X = 4  # distinct sizes below which a correlation with size says nothing
SMALL, LARGE = 10_000, 39_000  # training rows
CAPPED = "the profile caps training rows or takes another model, so that no set is small or large"
CONCLUSION = ("MNLI", "SQuAD", "BoolQ", "CQA")  # columns that §6 names


def _everywhere(source: Source, models: Sequence[str], tables: Sequence[str]) -> Judgement:
    """Every dataset gains. Of a source's datasets beyond the paper each counts as expected once it is there."""
    cases = [single(pairs) for pairs in source.datasets(models, tables)]
    gains = [case.gain for case in cases]
    note = ""
    if gains:
        signs = stats.sign_test(gains)
        note = f"Two-sided sign test {p_text(signs.p)}; median gain {points(median(gains))}"
    beyond = sum(case.datasets[0][0].base.study == "beyond" for case in cases)
    return universal(source, cases, len(paper().datasets(models, tables)) + beyond, "datasets up", note)


def c3(source: Source) -> Judgement:
    cases = [Case(name=name, datasets=datasets) for name, datasets in _families(source).items()]
    return universal(source, cases, len(_families(paper())), "(family, model) means up")


def _families(source: Source) -> dict[str, tuple[tuple[Pair, ...], ...]]:
    """`commonsense of BART` → its datasets."""
    groups: dict[str, list[tuple[Pair, ...]]] = {}
    for model in MODELS:
        for pairs in source.datasets([model], WIDER):
            groups.setdefault(f"{pairs[0].family} of {model}", []).append(pairs)
    return {name: tuple(datasets) for name, datasets in groups.items()}


def c5(source: Source) -> Judgement:
    pair = next((p for p in source.pairs(["RoBERTa-B"], ["table3"]) if p.base.column == "RTE"), None)
    if pair is None:
        return not_measured("needs table3 RTE of RoBERTa-B with and without MUPPET")
    return within(source, pair, 0.08, 0.10, "RTE of RoBERTa-B")


def c6(source: Source) -> Judgement:
    ours, large = source.get("table3", OURS_B, "RTE"), source.get("table3", "RoBERTa-L", "RTE")
    if not ours or not large:
        return not_measured("needs table3 RTE of RoBERTa-B + MUPPET and of RoBERTa-L")
    public = next(c for c in reference.public() if c.key == (3, "RoBERTa-L", "RTE", "accuracy"))
    note = f"{ours.row} against the README of RoBERTa-L ({public.printed}): {points(ours.value - (public.value or 0))}"
    said = "RTE, RoBERTa-B + MUPPET minus RoBERTa-L"
    return within(source, Pair(base=large, muppet=ours), -0.01, 0.01, said, note if source.comparable else "")


def _sized(source: Source, model: str, tables: Sequence[str]) -> list[tuple[int, float, str]]:
    """(training rows, gain, column) of each dataset whose size is known."""
    sized = [pairs for pairs in source.datasets([model], tables) if pairs[0].train_rows]
    return [(p[0].train_rows or 0, fmean(pair.gain for pair in p), p[0].base.column) for p in sized]


def c9(source: Source) -> Judgement:
    """Falling gains: a rank correlation for each model, one-sided, Holm over the models."""
    if source.pairs(MODELS, WIDER) and not source.comparable:
        return not_testable(CAPPED)
    ranks, texts, flat, rising = [], [], [], []
    for model in MODELS:
        sized = _sized(source, model, ("table3", "table4", "beyond"))
        rows, gains = [s[0] for s in sized], [s[1] for s in sized]
        if len(set(rows)) < FEWEST_X:
            flat += [f"{model} ({len(set(rows))} sizes of {len(rows)} datasets)"] if rows else []
            continue
        rank = stats.spearman(rows, gains, "less")
        left = stats.leave_one_out(rows, gains, "less")
        weakest = max(range(len(left)), key=lambda i: left[i].p)
        kind = "exact" if rank.exact else "permutation"
        text = f"{model}: Spearman ρ = {rank.rho:.2f}, one-sided {kind} {p_text(rank.p)}, {rank.n} datasets"
        text += f"; without {sized[weakest][2]} {left[weakest].rho:.2f}, {p_text(left[weakest].p)}"
        wider = _sized(source, model, WIDER)
        if len(wider) > len(sized):
            whole = stats.spearman([s[0] for s in wider], [s[1] for s in wider], "less")
            text += f"; with table 5 {whole.rho:.2f}, {p_text(whole.p)}"
        ranks.append(rank)
        rising.append(stats.spearman(rows, gains, "greater").p)
        texts.append(text)
    if not ranks:
        if flat:
            return not_testable(f"needs {FEWEST_X} distinct sizes of training data: {', '.join(flat)}")
        return not_measured("needs gains on datasets of several sizes")
    falls = [p <= LEVEL for p in holm([rank.p for rank in ranks])]
    rises = any(p <= LEVEL for p in holm(rising))
    text = ". ".join(texts) + ". Datasets count, a ROUGE triple once; sizes: reference/datasets.csv"
    whole_claim = len(ranks) == len(MODELS) and all(falls)
    if source.name == "paper":
        verdict = "CONSISTENT" if whole_claim else "CONTRADICTED" if rises else "NOT SUPPORTED"
    else:
        verdict = "SUPPORTED" if whole_claim else "CONTRADICTED" if rises else "INCONCLUSIVE"
    return Judgement(verdict=verdict, text=text)  # type: ignore[arg-type]


def _small(source: Source) -> list[Case]:
    return [
        single(pairs, 0.01)
        for pairs in source.datasets(MODELS, WIDER)
        if pairs[0].train_rows and pairs[0].train_rows < SMALL
    ]


def c10(source: Source) -> Judgement:
    cases, notes = _small(source), []
    if cases and not source.comparable:
        return not_testable(CAPPED)
    for model in MODELS:
        sized = _sized(source, model, WIDER)
        small = [gain for rows, gain, _ in sized if rows < SMALL]
        large = [gain for rows, gain, _ in sized if rows >= LARGE]
        if small and large:
            notes.append(
                f"{model}: median {points(median(small))} over {len(small)} sets below 10,000 rows, "
                f"{points(median(large))} over {len(large)} from 39,000"
            )
    return universal(source, cases, len(_small(paper())), "small datasets up a point", "; ".join(notes))


def mixtures(source: Source) -> list[Pair]:
    """Table 6's cells of MUPPET with their base, on each mixture of training data."""
    pairs = []
    for base in source.numbers.values():
        muppet = source.get("table6", base.row.replace("RoBERTa |", "RoBERTa-MUPPET |", 1), base.column)
        if muppet and base.study == "table6" and base.row.startswith("RoBERTa |"):
            pairs.append(Pair(base=base, muppet=muppet))
    return pairs


def c14(source: Source) -> Judgement:
    """Round by round: their total is made of them, and does not count again."""
    pairs = [pair for pair in mixtures(source) if pair.base.column in ROUNDS]
    cases = [single([pair]) for pair in pairs]
    below = [
        f"{pair.base.column} {pair.base.row.split('| ')[1]} {pair.base.shown} → {pair.muppet.shown}"
        for pair in pairs
        if max(pair.base.value, pair.muppet.value) < 1 / 3
    ]
    note = f"Both below chance (33.3): {'; '.join(below)}" if below else ""
    return universal(source, cases, 5 * len(ROUNDS), "rounds up", note)


def c17(source: Source) -> Judgement:
    def cases(of: Source) -> list[Case]:
        return [single(pairs) for pairs in of.datasets(MODELS, TABLES) if pairs[0].base.column in CONCLUSION]

    return universal(source, cases(source), len(cases(paper())), "gains of MNLI, SQuAD, BoolQ and CQA up")


def c30(source: Source) -> Judgement:
    clear: list[str] = []
    inside: list[str] = []
    for pair in source.pairs(MODELS, WIDER):
        a, b = pair.muppet, pair.base
        if not (a.n and b.n) or a.metric != "accuracy":
            continue
        test = stats.two_proportions(a.value, a.n, b.value, b.n)
        text = f"{b.column} of {b.row} {points(pair.gain)} ± {100 * test.half_width:.1f}"
        (clear if pair.gain > test.half_width else inside).append(text)
    total = len(clear) + len(inside)
    if not total:
        return not_measured("needs accuracies with their number of evaluation examples")
    if source.name != "paper":
        return not_testable("a question to printed numbers; measured runs have intervals of their own")
    note = f"{len(clear)} of {total} gains exceed the half-width of the unpaired 95 % binomial interval"
    note += f": {'; '.join(clear)}" if clear else ""
    note += f". Within it or below: {'; '.join(inside)}" if inside else ""
    return Judgement(verdict="NOT SUPPORTED" if inside else "CONSISTENT", text=note + ".")


CHECKS: dict[str, Check] = {
    "C1": partial(_everywhere, models=ROBERTA, tables=WIDER),
    "C2": partial(_everywhere, models=("BART",), tables=WIDER),
    "C3": c3,
    "C4": partial(_everywhere, models=MODELS, tables=WIDER),
    "C5": c5,
    "C6": c6,
    "C9": c9,
    "C10": c10,
    "C13": partial(_everywhere, models=MODELS, tables=("table5",)),
    "C14": c14,
    "C17": c17,
    "C30": c30,
}
