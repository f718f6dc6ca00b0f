"""Claims about best rows, printed totals and counts, and what a reviewer checks in the printed numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from studies.claims.claim import (
    MODELS,
    ROUGE,
    Claim,
    Judgement,
    Number,
    Pair,
    Source,
    not_measured,
    not_testable,
)
from studies.claims.sources import paper
from studies.claims.verdicts import Case, counted, stated, universal
from studies.kit.ledger import reference, stats
from studies.kit.show import p_text, points

ROUNDS = {"A1": 1000, "A2": 1000, "A3": 1200}  # evaluation examples of each round of ANLI
LARGE = "RoBERTa-L + MUPPET"  # without it a source cannot say who is best
GLUE = ("MNLI", "QQP", "RTE", "QNLI", "MRPC", "SST-2", "SQuAD")
OF_PRINT = "a question to the paper's printed numbers"
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


def _best(source: Source, study: str, columns: Iterable[str]) -> Judgement:
    """The best MUPPET row of each column, the large model among them, above the best of the others."""
    cases: list[Case] = []
    columns = tuple(columns)
    for column in columns:
        ours = _accuracies(n for n in source.column(study, column) if n.row.endswith("+ MUPPET"))
        others = _rivals(source, study, column)
        if others and any(n.row == LARGE for n in ours):
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


def c7(source: Source) -> Judgement:
    return _best(source, "table3", ["RTE"])


def c8(source: Source) -> Judgement:
    return _best(source, "table4", ["HellaSwag"])


def _summarization(source: Source, study: str, columns: tuple[str, ...]) -> Judgement:
    """A dataset counts once; it is led when none of its three ROUGE scores has a better rival."""
    cases = []
    for column in columns:
        pairs = []
        for metric in ROUGE:
            ours, others = source.get(study, "BART + MUPPET", column, metric), _rivals(source, study, column, metric)
            if ours and others:
                pairs.append(Pair(base=max(others, key=lambda n: n.value), muppet=ours))
        if pairs:
            cases.append(_duel(column, pairs))
    return _ranked(source, cases, len(columns), f"datasets of {study} led by BART + MUPPET in all three ROUGE scores")


def c11(source: Source) -> Judgement:
    return _summarization(source, "table4", ("CNN/DailyMail", "Gigaword", "Reddit TIFU"))


def c12(source: Source) -> Judgement:
    return _summarization(source, "table5", ("Arxiv", "PubMed", "BigPatent"))


def c15(source: Source) -> Judgement:
    if source.name != "paper":
        return not_testable(OF_PRINT + "; a total is computed from its rounds here")
    wrong, rows = [], dict.fromkeys(n.row for n in source.numbers.values() if n.study == "table6")
    for row in rows:
        rounds = [source.get("table6", row, column) for column in ROUNDS]
        total = source.get("table6", row, "ANLI")
        assert total and all(rounds)
        mean = stats.weighted_mean([n.value for n in rounds if n], list(ROUNDS.values()))
        if abs(total.value - mean) > 0.001 + 1e-9:
            wrong.append(
                f"{row}: {total.shown} printed, {100 * mean:.2f} from its rounds ({points(total.value - mean)})"
            )
    text = f"{len(rows) - len(wrong)} of {len(rows)} totals equal the mean of A1, A2, A3 weighted 1000, 1000, 1200"
    text += f". Not: {'; '.join(wrong)}" if wrong else ""
    return Judgement(verdict="CONTRADICTED" if wrong else "CONSISTENT", text=text)


def c16(source: Source) -> Judgement:
    return _best(source, "table3", GLUE)


def c18(source: Source) -> Judgement:
    if source.name != "paper":
        return not_testable(OF_PRINT)
    cells = {(c.row, c.column): c for c in reference.table(1)}
    families = [row for row, column in cells if column == "eval" and row != "Total"]
    parts = []
    for column in ("datasets", "train", "eval"):
        total = cells["Total", column]
        terms = [cells[row, column] for row in families]
        amount = sum(c.value or 0 for c in terms)
        # Each print is a rounded number; counts of datasets are exact.
        slack = sum(c.half or 0 for c in [*terms, total]) if column != "datasets" else 0
        text = f"{' + '.join(c.printed for c in terms)} = {_count(amount)}, printed {total.printed}"
        parts.append((column, abs(amount - (total.value or 0)) <= slack, text))
    rest = (cells["Total", "eval"].value or 0) - sum(cells[row, "eval"].value or 0 for row in families if row != "MRC")
    return stated(parts, f"The evaluation column adds up if MRC is {_count(rest)} (P1)")


def _count(amount: float) -> str:
    return f"{amount / 1e6:.3f}M" if amount >= 1e6 else f"{amount / 1e3:g}K" if amount >= 1e3 else f"{amount:g}"


def c19(source: Source) -> Judgement:
    if source.name == "paper":
        listed, where = [entry.family for entry in reference.appendix()], "the appendix"
    elif "catalogue" in source.declared:
        listed, where = list(source.declared["catalogue"]), "the catalogue"  # type: ignore[call-overload]
    else:
        return not_measured("needs a list of the datasets")
    parts = []
    for cell in reference.table(1):
        if cell.column == "datasets":
            n = len(listed) if cell.row == "Total" else listed.count(cell.row)
            parts.append((cell.row, n == cell.value, f"{n} in {where}, {cell.printed} in Table 1"))
    return stated(parts) if source.name == "paper" else counted(parts)


def c31(source: Source) -> Judgement:
    if source.name not in ("paper", "independent"):
        return not_testable("a question to printed numbers; a result of ours holds its own count")
    wrong: list[str] = []
    checked = reachable = 0
    for n in source.numbers.values():
        if n.metric != "accuracy" or not n.n or not n.half or source.name == "independent" and n.row == "RoBERTa-B":
            continue  # the replication's base is a mean over runs
        if n.n >= 1 / (2 * n.half):
            reachable += 1
            continue
        near, places = round(n.value * n.n), 2 if source.name == "paper" else 3
        counts = [k for k in (near - 1, near, near + 1) if 0 <= k <= n.n]
        spread = ", ".join(f"{100 * k / n.n:.{places}f}" for k in counts)
        text = f"{n.where} {n.shown}: {counts[0]} to {counts[-1]} of {n.n} give {spread}"
        checked += 1
        wrong += [] if stats.grim(n.value, n.n, n.half) else [text]
    note = f"{reachable} more have so many examples that any print is reachable"
    if source.name == "independent":
        sized = [line for line in reference.independent() if line.evaluation_rows and line.evaluation_rows < 10_000]
        off = sum(not stats.grim(line.published, line.evaluation_rows or 1, 0.00005) for line in sized)
        note += f". The checkpoint's column after realigning; as published, {off} of {len(sized)} are not (E3)"
    said = f"{checked - len(wrong)} of {checked} printed accuracies are a whole number of examples"
    said += f". Not: {'; '.join(wrong)}" if wrong else ""
    if source.name == "paper":
        return Judgement(verdict="CONTRADICTED" if wrong else "CONSISTENT", text=f"{said}. {note}")
    return Judgement(verdict="CONTRADICTED" if wrong else "SUPPORTED", text=f"{said}. {note}")


def c32(source: Source) -> Judgement:
    """Against RoBERTa-L after one MNLI stage: as measured, else as fairseq issue 1166 prints it."""
    cases, tests = [], []
    for cell in reference.public():
        if cell.row != "RoBERTa-L + one MNLI stage" or cell.column not in ("RTE", "MRPC"):
            continue
        ours = source.get("table3", LARGE, cell.column, "accuracy")
        stage = source.get("ablations", cell.row, cell.column, "accuracy") or _public(cell)
        if ours:
            cases.append(_duel(cell.column, [Pair(base=stage, muppet=ours)]))
        if ours and ours.n and stage.n:
            test = stats.two_proportions(ours.value, ours.n, stage.value, stage.n)
            tests.append(f"{cell.column} {points(test.difference)}, z = {test.z:.2f}, {p_text(test.p)}")
    if cases and not source.comparable and all(case.datasets[0][0].base.half for case in cases):
        return not_testable("another model or fewer rows, and no MNLI stage of its own")
    note = f"Two unpaired proportions: {'; '.join(tests)}" if source.name == "paper" else ""
    return universal(source, cases, 2, "datasets above one MNLI stage", note)


def _public(cell: reference.Printed) -> Number:
    """A public print as a number."""
    return Number(
        study=f"table{cell.table}",
        row=cell.row,
        column=cell.column,
        metric=cell.metric,
        value=cell.value if cell.value is not None else math.nan,
        shown=cell.printed,
        half=cell.half or 0,
        n=cell.n,
    )


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
        groups.setdefault((cell.row, cell.column), []).append(Pair(base=_public(cell), muppet=ours))
        if cell.metric == "accuracy" and ours.n and cell.n and cell.value is not None:
            test = stats.two_proportions(ours.value, ours.n, cell.value, cell.n)
            clear += test.p < 0.05 and test.difference > 0
    cases = [Case(name=f"{column} of {model}", datasets=(tuple(pairs),)) for (model, column), pairs in groups.items()]
    if cases and not source.comparable:
        return not_testable("another model or fewer rows: not set against the READMEs' numbers")
    note = f"{clear} above with p < 0.05 (two-proportion z test)" if source.name == "paper" else ""
    left = "SQuAD is left out: the paper names no metric (P40)"
    return universal(source, cases, expected, "datasets above the README", f"{note}. {left}" if note else left)


SUMMARIZATION = (
    "For Summarization tasks we show that our pre-finetuned BART model outperforms all other summarization baselines."
)
RTE = (
    "For example, the pre-finetuned RoBERTa-BASE model on RTE improves by close to 9 points, rivaling the"
    " RoBERTa-Large accuracy, while the pre-finetuned RoBERTa-Large model gets new state-of-the-art on "
    "RTE rivaling models an order of magnitude larger than it."
)

CLAIMS = (
    Claim(id="C7", section="§4", quote=RTE, predicate="MUPPET has the best RTE of table 3", check=c7),
    Claim(
        id="C8",
        section="§4",
        quote="For example, we reach a new state of the art on the HellaSwag dataset previously achieved by "
        "utilizing a new fine-tuning approach.",
        predicate="MUPPET has the best HellaSwag of table 4",
        check=c8,
    ),
    Claim(
        id="C11",
        section="§4",
        quote=SUMMARIZATION,
        predicate="BART + MUPPET is best in table 4's three summarization datasets, by all three ROUGE scores",
        check=c11,
    ),
    Claim(
        id="C12",
        section="§4, §4.1",
        quote=SUMMARIZATION,
        predicate="BART + MUPPET is best in table 5's three summarization datasets, by all three ROUGE scores",
        check=c12,
    ),
    Claim(
        id="C15",
        kind="reviewer",
        section="Reviewer",
        quote="",
        predicate="Table 6's totals are the size-weighted means of its rounds, to within 0.1",
        check=c15,
    ),
    Claim(
        id="C16",
        kind="reviewer",
        section="Reviewer",
        quote="",
        predicate="A MUPPET row is best in each column of table 3",
        check=c16,
    ),
    Claim(
        id="C18",
        section="Table 1",
        quote="The table shows the number of datasets we used per task type and the number of samples in training "
        "and evaluation sets.",
        predicate="Each column adds up to its total, within rounding",
        check=c18,
    ),
    Claim(
        id="C19",
        section="§3.1",
        quote="A full list of all of the datasets we leverage for pre-finetuning is described in appendix §A.1.",
        predicate="The appendix has as many datasets of each family as Table 1",
        check=c19,
    ),
    Claim(
        id="C31",
        kind="reviewer",
        section="Reviewer",
        quote="",
        predicate="Each printed accuracy is a whole number of evaluation examples (GRIM)",
        check=c31,
    ),
    Claim(
        id="C32",
        kind="reviewer",
        section="Reviewer",
        quote="",
        predicate="RoBERTa-L + MUPPET beats RoBERTa-L after one MNLI stage on RTE and MRPC",
        check=c32,
    ),
    Claim(
        id="C33",
        kind="reviewer",
        section="Reviewer",
        quote="",
        predicate="MUPPET beats the numbers that the baselines' own READMEs give",
        check=c33,
    ),
)
