"""What the small study shows: the effects that it measured and what they say of the claims, in words, from its numbers.

A loss stands where a gain would, and what nobody has measured is said to be unmeasured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from studies.claims.claim import MODELS, Claim, Judgement, Pair, Source, some
from studies.claims.effects import Direction, Effect, average
from studies.claims.verdicts import decided, single
from studies.kit import profiles
from studies.kit.ledger.profile import ProfileResults
from studies.kit.show import percent, points
from studies.pages import grid
from studies.pages.claims import Judged

if TYPE_CHECKING:
    import pandas as pd

TITLE = "What the small study shows"
TABLES_3_TO_5 = ("table3", "table4", "table5", "beyond")
QUESTIONS = {  # to the claims that answer it
    "Does pre-finetuning help, and everywhere?": ("C1", "C3", "C5", "C17"),
    "Does it help more where there is less data?": ("C9", "C10"),
    "Does it save fine-tuning data?": ("C27",),
    "How many datasets does it take?": ("C23", "C24", "C25", "C28"),
    "Which parts of the recipe matter?": ("C26", "C34", "C35", "C36", "C37", "C38"),
    "Would one related dataset do as well?": ("C32",),
}
HEADS = ("dataset", "plain", "MUPPET", "difference", "95 %", "shows", "could be told")
WORDS = {
    "UP": "above",
    "DOWN": "below",
    "EQUIVALENT": "no different",
    "UNDECIDED": "undecided",
    "UNINFORMATIVE": "no better than without learning",
}
LONG = 420  # characters of a finding, beyond which claims.md has the rest


@dataclass(frozen=True, kw_only=True)
class Section:
    """`lead`: paragraphs; `rows`: one an effect, under HEADS; `answers`: question → claims with a verdict; `absent`:
    why there is none → claims."""

    lead: list[str]
    rows: list[list[str]]
    answers: list[tuple[str, list[tuple[Claim, Judgement]]]]
    absent: dict[str, list[str]]


def studied(opened: Sequence[ProfileResults]) -> ProfileResults | None:
    """The profile that the section is about: the first whose numbers do not stand against the paper's."""
    return next((one for one in opened if not profiles.get(one.name).comparable), None)


def section(one: ProfileResults, judged: Judged) -> Section:
    """The section of profile `one`."""
    label = f"ours ({one.name})"
    source = next((source for source, _ in judged[0][1] if source.label == label), None)
    found = {claim.id: (claim, _of(label, findings)) for claim, findings in judged}
    asked = {question: [found[name] for name in names] for question, names in QUESTIONS.items()}
    told = [(question, [pair for pair in pairs if _told(pair[1])]) for question, pairs in asked.items()]
    absent: dict[str, list[str]] = {}
    for claim, finding in (pair for pairs in asked.values() for pair in pairs):
        if not _told(finding):
            absent.setdefault(finding.text, []).append(claim.id)
    groups = source.datasets(MODELS, TABLES_3_TO_5) if source else []
    effects = [single(pairs).effect(source) for pairs in groups] if source else []
    return Section(
        lead=[_setting(one), *([_gist(effects), _machines(one)] if effects else [])],
        rows=[_row(*each) for each in zip(groups, effects, decided(effects), strict=True)],
        answers=[(question, pairs) for question, pairs in told if pairs],
        absent=absent,
    )


def markdown(shown: Section) -> str:
    """The section without its heading."""
    parts = list(shown.lead)
    if shown.rows:
        parts.append(grid(shown.rows, HEADS, "github"))
    for question, pairs in shown.answers:
        lines = [f"- {claim.id}, *{claim.predicate}*: **{found.verdict}**. {brief(found)}" for claim, found in pairs]
        parts.append(f"**{question}**\n\n" + "\n".join(lines))
    if shown.absent:
        listed = (f"{', '.join(names)} ({why})" for why, names in shown.absent.items())
        parts.append(f"**Not measured**: {'; '.join(listed)}.")
    return "\n\n".join(parts)


def brief(found: Judgement) -> str:
    """A finding without the rest of a long list, and with a full stop."""
    if len(found.text) <= LONG:
        return found.text.rstrip(".") + "."
    return found.text[:LONG].rpartition("; ")[0] + "; and more in claims.md."


def _of(label: str, findings: Sequence[tuple[Source, Judgement]]) -> Judgement:
    absent = Judgement(verdict="NOT MEASURED", text="no run")
    return next((finding for source, finding in findings if source.label == label), absent)


def _told(found: Judgement) -> bool:
    return found.verdict != "NOT MEASURED"


def _setting(one: ProfileResults) -> str:
    """What was run, and on what."""
    frames = [frame[frame["runs_total"] > 0] for frame in map(one.frame, one.studies)]
    cells, done = sum(map(len, frames)), sum(int(frame["value"].notna().sum()) for frame in frames)
    said = f"Profile `{one.name}`: {one.caption}. "
    if not done:
        return said + (
            f"None of its {cells:,} cells is measured yet, so nothing is said here about a claim; "
            f"`make plan PROFILE={one.name}` says what the {len(one.runs):,} runs cost."
        )
    return said + (
        f"{len(one.done):,} of {len(one.runs):,} runs are done and {done:,} of {cells:,} cells measured. Effects have "
        "a direction here; how large they are with the paper's models, this study cannot say."
    )


def _gist(effects: Sequence[Effect]) -> str:
    """The gains together."""
    whole = average(effects, "mean")
    counts: Counter[str] = Counter(decided(effects))
    seen = ", ".join(f"{WORDS[shown]} in {counts[shown]}" for shown in WORDS if counts[shown])
    told = [each.detectable for each in effects if each.detectable]
    span = ""
    if whole.estimate is not None:
        interval = whole.estimate.interval()
        span = f" (95 % interval {points(interval.low)} to {points(interval.high)})"
    least = (
        f" A true difference of {100 * median(told):.1f} points would be told in the median dataset." if told else ""
    )
    return (
        f"Over {len(effects)} datasets the pre-finetuned model differs from the plain one by {points(whole.gain)} "
        f"points on average{span}. It is {seen}, after Holm.{least}"
    )


def _machines(one: ProfileResults) -> str:
    """In what precision and on what device it was computed, and where an arm and its control differ in that."""
    counts: Counter[str] = Counter()
    apart = []
    for name, study in one.studies.items():
        frame = one.frame(name)
        seen = {(row, column): machine for row, column, machine in zip(frame["row"], frame["column"], frame["machine"])}
        counts.update(filter(None, seen.values()))
        for (row, column), machine in seen.items():
            control = seen.get((study.base.get(row, ""), column))
            if machine and control and control != machine:
                apart.append(f"{name} {row} / {column} ({machine}; its base {control})")
    said = "; ".join(f"{machine}: {count} cells" for machine, count in counts.most_common()) or "not recorded"
    rest = f"In another one than their control: {some(apart)}." if apart else "An arm and its control agree in both."
    return f"Computed in precision, on device: {said}. {rest}"


def first_screen(one: ProfileResults, judged: Judged) -> str:
    """What the README shows of Table 3: its two rows at this profile, with effects, and a figure that is measured."""
    study, frame = one.studies["table3"], one.frame("table3")
    columns = [column for column in study.columns if column not in study.beyond]
    label = f"ours ({one.name})"
    source = next((source for source, _ in judged[0][1] if source.label == label), None)
    pairs = source.datasets(("RoBERTa-B",), ("table3",)) if source else []
    effects = {group[0].base.column: single(group).effect(source) for group in pairs} if source else {}
    rows: list[list[str]] = []
    for row in ("RoBERTa-B", "RoBERTa-B + MUPPET"):
        cells = frame[frame["row"] == row].drop_duplicates("column").set_index("column")
        rows.append([row, *(_ours(cells.loc[c]) for c in columns)])
    rows.append(["**difference**", *(_difference(effects.get(column)) for column in columns)])
    drawn = [name for name in ("figure2", "figure1") if _beyond_base(one, name)]
    picture = [f"![{one.studies[name].title}](figures/{one.name}/{name}.png)" for name in drawn[:1]]
    return "\n\n".join(
        [
            f"Table 3's RoBERTa-B rows at `PROFILE={one.name}`, which is {one.caption.partition('.')[0]}: "
            "scores in percent, and their difference in points with its 95 % interval over runs and evaluation rows. "
            "The paper's own numbers are of another model and whole data; they do not stand beside these. "
            f"[The whole table](paper_tables/{one.name}/table3.md); "
            "[what the small study shows](paper_tables/reproduction.md#what-the-small-study-shows).",
            grid(rows, ["", *columns], "github"),
            *(picture or ["Figures 1 and 2 are pending."]),
        ]
    )


def _beyond_base(one: ProfileResults, name: str) -> bool:
    """Whether a figure shows more than the model without pre-finetuning."""
    base, frame = {cell.key for cell in one.studies[name].cells if not cell.x}, one.frame(name)
    measured = frame[frame["value"].notna()]
    return any(f"{row}/{column}" not in base for row, column in zip(measured["row"], measured["column"]))


def _ours(cell: pd.Series) -> str:
    return percent(cell["value"]) if cell["state"] == "measured" else str(cell["state"])


def _difference(each: Effect | None) -> str:
    if each is None:
        return "pending"
    span = each.estimate.interval() if each.estimate else None
    return f"**{points(each.gain)}**" + (f"<br>{points(span.low)} to {points(span.high)}" if span else "")


def _row(pairs: Sequence[Pair], each: Effect, shown: Direction) -> list[str]:
    """A line of the table: MUPPET against its base in one dataset."""
    span = each.estimate.interval() if each.estimate else None
    return [
        pairs[0].base.column,
        percent(fmean(pair.base.value for pair in pairs)),
        percent(fmean(pair.muppet.value for pair in pairs)),
        points(each.gain),
        f"{points(span.low)} to {points(span.high)}" if span else "no interval",
        WORDS[shown],
        f"{100 * each.detectable:.1f}" if each.detectable else "–",
    ]
