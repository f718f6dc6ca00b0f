"""Claims about best rows, printed totals and counts, and what a reviewer checks in the printed numbers."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from studies.claims.claim import MODELS, OURS_BART, OURS_L, ROUGE, Check, Judgement, Number, Pair, Source, not_testable
from studies.claims.sources import as_number, paper
from studies.claims.verdicts import Case, universal
from studies.kit.ledger import reference, stats
from studies.kit.show import p_text, points

STAGED = ("RTE", "MRPC")  # sets that one stage on MNLI is known to help
GLUE = ("MNLI", "QQP", "RTE", "QNLI", "MRPC", "SST-2", "SQuAD")
SUMMARIES = {"table4": ("CNN/DailyMail", "Gigaword", "Reddit TIFU"), "table5": ("Arxiv", "PubMed", "BigPatent")}
BOARD = "Only the rows printed there; development scores, no leaderboard (P51)"


def _accuracies(numbers: Iterable[Number]) -> list[Number]:
    """One number a row: its accuracy. Of MT-DNN's unnamed pairs that is QQP's first and MRPC's second (P39)."""
    pairs = {"QQP": "first", "MRPC": "second"}
    return [n for n in numbers if n.metric not in ("first", "second") or n.metric == pairs[n.column]]


def _rivals(source: Source, study: str, column: str, metric: str | None = None) -> list[Number]:
    """The rows of a column that are not MUPPET's; systems that no run stands for keep the paper's print."""
    own = {row for model in MODELS for row in (model, f"{model} + MUPPET")}
    there = [n for n in source.column(study, column, metric) if not n.row.endswith("+ MUPPET")]
    printed = [n for n in paper().column(study, column, metric) if n.row not in own] if source.name != "paper" else []
    return _accuracies([*there, *printed])


def _best(source: Source, study: str, columns: tuple[str, ...]) -> Judgement:
    """The best MUPPET row of each column, the large model among them, above the best of the others."""
    cases: list[Case] = []
    for column in columns:
        ours = _accuracies(n for n in source.column(study, column) if n.row.endswith("+ MUPPET"))
        others = _rivals(source, study, column)
        if others and any(n.row == OURS_L for n in ours):  # without it a source cannot say who is best
            best, rival = (max(numbers, key=lambda n: n.value) for numbers in (ours, others))
            cases.append(_duel(column, [Pair(base=rival, muppet=best)]))
    return _ranked(source, cases, len(columns), f"columns of {study} led by MUPPET")


def _duel(column: str, pairs: list[Pair]) -> Case:
    rows = " against ".join((pairs[0].muppet.row, pairs[0].base.row))
    return Case(name=f"{column}, {rows}", datasets=(tuple(pairs),))


def _ranked(source: Source, cases: list[Case], expected: int, what: str) -> Judgement:
    if cases and not source.comparable:
        return not_testable("another model or fewer rows: not set against other systems' prints")
    return universal(source, cases, expected, what, BOARD if cases else "")


def _summarization(source: Source, study: str) -> Judgement:
    """A dataset counts once; it is led when none of its three ROUGE scores has a better rival."""
    cases, columns = [], SUMMARIES[study]
    for column in columns:
        pairs = []
        for metric in ROUGE:
            ours, others = source.get(study, OURS_BART, column, metric), _rivals(source, study, column, metric)
            if ours and others:
                pairs.append(Pair(base=max(others, key=lambda n: n.value), muppet=ours))
        if pairs:
            cases.append(_duel(column, pairs))
    return _ranked(source, cases, len(columns), f"datasets of {study} led by BART + MUPPET in all three ROUGE scores")


def c32(source: Source) -> Judgement:
    """Against one MNLI stage of RoBERTa-L: as measured, else as fairseq issue 1166 prints it. A source without
    RoBERTa-L is asked of RoBERTa-B."""
    cases, tests = [], []
    large = any(source.get("table3", OURS_L, column) for column in STAGED)
    model = "RoBERTa-L" if large else "RoBERTa-B"
    prints = {cell.column: as_number(cell) for cell in reference.public() if cell.row == f"{model} + one MNLI stage"}
    for column in STAGED:
        ours = source.get("table3", f"{model} + MUPPET", column, "accuracy")
        stage = source.get("ablations", f"{model} + one MNLI stage", column, "accuracy") or prints.get(column)
        if ours and stage:
            cases.append(_duel(column, [Pair(base=stage, muppet=ours)]))
            if ours.n and stage.n:
                test = stats.two_proportions(ours.value, ours.n, stage.value, stage.n)
                tests.append(f"{column} {points(test.difference)}, z = {test.z:.2f}, {p_text(test.p)}")
    if cases and not source.comparable and all(case.datasets[0][0].base.half for case in cases):
        return not_testable("another model or fewer rows, and no MNLI stage of its own")
    note = f"Two unpaired proportions: {'; '.join(tests)}" if source.name == "paper" else ""
    return universal(source, cases, 2, "datasets above one MNLI stage", note)


def c33(source: Source) -> Judgement:
    groups: dict[tuple[str, str], list[Pair]] = {}
    clear = expected = 0
    for cell in reference.public():
        place = (f"table{cell.table}", f"{cell.row} + MUPPET", cell.column, cell.metric)
        if cell.row not in MODELS or place not in paper().numbers:
            continue
        expected += cell.metric not in ROUGE[1:]
        ours = source.numbers.get(place)
        if ours is None:
            continue
        groups.setdefault((cell.row, cell.column), []).append(Pair(base=as_number(cell), muppet=ours))
        if cell.metric == "accuracy" and ours.n and cell.n and cell.value is not None:
            test = stats.two_proportions(ours.value, ours.n, cell.value, cell.n)
            clear += test.p < 0.05 and test.difference > 0
    cases = [Case(name=f"{column} of {model}", datasets=(tuple(pairs),)) for (model, column), pairs in groups.items()]
    if cases and not source.comparable:
        return not_testable("another model or fewer rows: not set against the READMEs' numbers")
    note = f"{clear} above with p < 0.05 (two-proportion z test)" if source.name == "paper" else ""
    left = "SQuAD is left out: the paper names no metric (P40)"
    return universal(source, cases, expected, "datasets above the README", f"{note}. {left}" if note else left)


CHECKS: dict[str, Check] = {
    "C7": partial(_best, study="table3", columns=("RTE",)),
    "C8": partial(_best, study="table4", columns=("HellaSwag",)),
    "C11": partial(_summarization, study="table4"),
    "C12": partial(_summarization, study="table5"),
    "C16": partial(_best, study="table3", columns=GLUE),
    "C32": c32,
    "C33": c33,
}
