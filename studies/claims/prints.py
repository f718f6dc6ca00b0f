"""What can be checked in the printed numbers themselves: totals, counts, and whether a count can give an accuracy."""

from __future__ import annotations

from studies.claims.claim import Check, Judgement, Source, not_measured, not_testable
from studies.claims.verdicts import counted, stated
from studies.kit.ledger import reference, stats
from studies.kit.show import points

ROUNDS = {"A1": 1000, "A2": 1000, "A3": 1200}  # evaluation examples of each round of ANLI
OF_PRINT = "a question to the paper's printed numbers"


def from_rounds(source: Source, row: str) -> float:
    """The total of a row of Table 6: the mean of its rounds weighted by size, a fraction of 1."""
    rounds = [source.numbers["table6", row, column, "accuracy"].value for column in ROUNDS]
    return stats.weighted_mean(rounds, list(ROUNDS.values()))


def c15(source: Source) -> Judgement:
    if source.name != "paper":
        return not_testable(OF_PRINT + "; a total is computed from its rounds here")
    wrong, rows = [], dict.fromkeys(n.row for n in source.numbers.values() if n.study == "table6")
    for row in rows:
        total, mean = source.numbers["table6", row, "ANLI", "accuracy"], from_rounds(source, row)
        if abs(total.value - mean) > 0.001 + 1e-9:
            wrong.append(
                f"{row}: {total.shown} printed, {100 * mean:.2f} from its rounds ({points(total.value - mean)})"
            )
    text = f"{len(rows) - len(wrong)} of {len(rows)} totals equal the mean of A1, A2, A3 weighted 1000, 1000, 1200"
    text += f". Not: {'; '.join(wrong)}" if wrong else ""
    return Judgement(verdict="CONTRADICTED" if wrong else "CONSISTENT", text=text)


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
    holds = "CONSISTENT" if source.name == "paper" else "SUPPORTED"
    return Judgement(verdict="CONTRADICTED" if wrong else holds, text=f"{said}. {note}")  # type: ignore[arg-type]


CHECKS: dict[str, Check] = {"C15": c15, "C18": c18, "C19": c19, "C31": c31}
