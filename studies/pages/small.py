"""What the small study shows: the effects that it measured and what they say of the claims, in words, from its numbers.

A loss stands where a gain would, and what nobody has measured is said to be unmeasured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from studies.claims.claim import MODELS, Claim, Judgement, Number, Pair, Source, by_key
from studies.claims.effects import Direction, Effect, average
from studies.claims.sources import train_rows
from studies.claims.verdicts import decided, single
from studies.kit import profiles
from studies.kit.ledger.profile import ProfileResults
from studies.kit.show import percent
from studies.pages import grid
from studies.pages.cells import points
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
HEADS = ("dataset", "plain", "MUPPET", "difference", "95 %, each alone", "shows, after Holm", "could be told")
WORDS = {
    "UP": "above",
    "DOWN": "below",
    "EQUIVALENT": "no different",
    "UNDECIDED": "undecided",
    "UNINFORMATIVE": "no better than without learning",
}
ABSENT = "not in this profile"
LONG = 420  # characters of a finding, beyond which claims.md has the rest


@dataclass(frozen=True, kw_only=True)
class Section:
    """`lead`: paragraphs; `rows`: one an effect, under HEADS; `answers`: question → claims with a verdict; `absent`:
    why there is none → claims."""

    profile: str
    lead: list[str]
    rows: list[list[str]]
    answers: list[tuple[str, list[tuple[Claim, Judgement]]]]
    absent: dict[str, list[str]]


def studied(opened: Sequence[ProfileResults]) -> ProfileResults | None:
    """The profile that the section is about: the first whose numbers do not stand against the paper's."""
    return next((one for one in opened if not profiles.get(one.name).comparable), None)


def section(one: ProfileResults, judged: Judged) -> Section:
    """The section of profile `one`."""
    source = source_of(one, judged)
    found = {claim.id: (claim, _of(source, findings)) for claim, findings in judged}
    asked = {question: [found[name] for name in names] for question, names in QUESTIONS.items()}
    told = [(question, [pair for pair in pairs if _told(pair[1])]) for question, pairs in asked.items()]
    absent: dict[str, list[str]] = {}
    whole = _whole(one)
    for claim, finding in (pair for pairs in asked.values() for pair in pairs):
        if not _told(finding):
            why = finding.text if _told(claim.check(whole)) else ABSENT
            absent.setdefault(why, []).append(claim.id)
    compared = comparisons(source)
    return Section(
        profile=one.name,
        lead=[_setting(one), *([_gist(compared), _machines(one)] if compared else [])],
        rows=[_row(*each) for each in compared],
        answers=[(question, pairs) for question, pairs in told if pairs],
        absent=absent,
    )


def markdown(shown: Section) -> str:
    """The section without its heading."""
    parts = list(shown.lead)
    if shown.rows:
        parts.append(grid(shown.rows, HEADS, "github"))
    for question, pairs in shown.answers:
        parts.append(f"**{question}**\n\n" + "\n".join(_answer(*pair) for pair in pairs))
    if shown.absent:
        listed = (f"{', '.join(names)} ({why})" for why, names in shown.absent.items())
        parts.append(f"**Not measured**: {'; '.join(listed)}.")
    return "\n\n".join(parts)


def _answer(claim: Claim, found: Judgement) -> str:
    return f"- {claim.id}, *{claim.predicate}*: **{found.verdict}**. {brief(found)}"


def brief(found: Judgement) -> str:
    """A finding without the rest of a long list, and with a full stop."""
    if len(found.text) <= LONG:
        return found.text.rstrip(".") + "."
    return found.text[:LONG].rpartition("; ")[0] + "; and more in claims.md."


def source_of(one: ProfileResults, judged: Judged) -> Source | None:
    """Our runs at the profile, if it has measured something."""
    return next((source for source, _ in judged[0][1] if (source.name, source.profile) == ("ours", one.name)), None)


def comparisons(source: Source | None) -> list[tuple[Sequence[Pair], Effect, Direction]]:
    """(its metrics, MUPPET against its base, what that shows after Holm over all of these) for each dataset."""
    groups = source.datasets(MODELS, TABLES_3_TO_5) if source else []
    effects = [single(pairs).effect(source) for pairs in groups] if source else []
    return list(zip(groups, effects, decided(effects), strict=True))


def _of(source: Source | None, findings: Sequence[tuple[Source, Judgement]]) -> Judgement:
    absent = Judgement(verdict="NOT MEASURED", text="no run")
    return next((finding for of, finding in findings if of is source), absent)


def _whole(one: ProfileResults) -> Source:
    """As if every cell of the profile were measured: a claim without a verdict here is about none of them."""
    cells = [(name, cell) for name, study in one.studies.items() for cell in study.cells if cell.runs]
    numbers = (
        Number(study=name, row=c.row, column=c.column, metric=c.metric, value=0.5, shown="", seeds=(0.5,) * 3, x=c.x)
        for name, c in cells
    )
    comparable = profiles.get(one.name).comparable
    return Source(name="ours", numbers=by_key(numbers), train_rows=train_rows(), comparable=comparable)


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
    own = {cell.row for study in one.studies.values() for cell in study.cells if cell.runs}
    models = ", ".join(model for model in MODELS if model in own)
    return said + (
        f"{len(one.done):,} of {len(one.runs):,} runs are done and {done:,} of {cells:,} cells measured. Effects have "
        f"a direction here; how large they are with the paper's models, this study cannot say. {models} alone "
        "has a stand-in: a claim about other models too can be contradicted here, but not supported."
    )


def _gist(compared: Sequence[tuple[Sequence[Pair], Effect, Direction]]) -> str:
    """The gains together."""
    effects = [each for _, each, _ in compared]
    counts: Counter[str] = Counter(shown for *_, shown in compared)
    seen = ", ".join(f"{WORDS[shown]} in {counts[shown]}" for shown in WORDS if counts[shown])
    few = sum(each.estimate is None for each in effects)
    told = [each.detectable for each in effects if each.detectable and each.estimate]
    least = f" {few} have fewer than three runs an arm, and so no interval." if few else ""
    if told:
        least += f" A true difference of {100 * median(told):.1f} points would be told in the median dataset."
    return (
        f"{_on_average(compared)} It is {seen}, after Holm over these datasets (a claim below has Holm over its own)."
        f"{least}"
    )


def _on_average(compared: Sequence[tuple[Sequence[Pair], Effect, Direction]]) -> str:
    """The mean gain, as a sentence."""
    whole = average([each for _, each, _ in compared], "mean")
    beyond = [pairs[0].base.column for pairs, *_ in compared if pairs[0].base.study == "beyond"]
    named = f" ({', '.join(beyond)} beyond the paper's tables)" if beyond else ""
    span = ""
    if whole.estimate is not None:
        interval = whole.estimate.interval()
        span = f" (95 % interval {points(interval.low)} to {points(interval.high)})"
    return (
        f"Over {len(compared)} datasets{named} the pre-finetuned model differs from the plain one by "
        f"{points(whole.gain)} points on average{span}."
    )


def _machines(one: ProfileResults) -> str:
    """In what precision and on what device it was computed, and where an arm and its control differ in that."""
    counts: Counter[str] = Counter()
    apart: dict[str, Counter[str]] = {}  # a machine and its control's → cells by artefact
    for name, study in one.studies.items():
        frame = one.frame(name)
        seen = {(row, column): machine for row, column, machine in zip(frame["row"], frame["column"], frame["machine"])}
        counts.update(filter(None, seen.values()))
        for (row, column), machine in seen.items():
            control = seen.get(study.control(row, column))
            if machine and control and control != machine:
                apart.setdefault(f"{machine} against {control}", Counter())[name] += 1
    said = "; ".join(f"{machine} ({count} cells)" for machine, count in counts.most_common()) or "not recorded"
    those = "; ".join(
        f"{pair} ({', '.join(f'{name} {count}' for name, count in cells.items())})" for pair, cells in apart.items()
    )
    rest = f"Cells with a control on another: {those}." if those else "An arm and its control agree in both."
    return f"Precision and device: {said}. {rest}{_other_starts(one)}"


def _other_starts(one: ProfileResults) -> str:
    """How many fine-tunings started from a pre-finetuning that was done a second time and came out otherwise."""
    frame = one.collected.frame
    other = frame[frame["other_start"] & frame["run"].isin(one.done)]["run"].nunique()
    if not other:
        return ""
    return (
        " Fine-tunings that start from a pre-finetuning that was done again and came out otherwise, as on another "
        f"device (its seed, rows and recipe, but other weights than its result and other fine-tunings have): {other}."
    )


def first_screen(one: ProfileResults, judged: Judged) -> str:
    """What the README shows of Table 3: its two rows at this profile, with effects, and a figure that is measured."""
    study, frame = one.studies["table3"], one.frame("table3")
    columns = [column for column in study.columns if column not in study.beyond]
    compared = comparisons(source_of(one, judged))
    effects = {
        pairs[0].base.column: _difference(each, shown)
        for pairs, each, shown in compared
        if (pairs[0].base.study, pairs[0].base.row) == ("table3", "RoBERTa-B")
    }
    rows: list[list[str]] = []
    for row in ("RoBERTa-B", "RoBERTa-B + MUPPET"):
        cells = frame[frame["row"] == row].drop_duplicates("column").set_index("column")
        rows.append([row, *(_ours(cells.loc[c]) for c in columns)])
    rows.append(["difference", *(effects.get(column, "pending") for column in columns)])
    answers = [pair for _, pairs in section(one, judged).answers for pair in pairs]
    told = [_answer(*pair) for pair in answers if pair[1].verdict in ("SUPPORTED", "CONTRADICTED")]
    drawn = [name for name in ("figure1", "figure2") if _drawn(one, name)]
    picture = [f"![{one.studies[name].title}](figures/{one.name}/{name}.png)" for name in drawn[:1]]
    return "\n\n".join(
        [
            f"Table 3's RoBERTa-B rows at `PROFILE={one.name}`, which is {one.caption.partition('.')[0]}: "
            "scores in percent, and their difference in points with its 95 % interval over runs and evaluation rows, "
            "in bold where Holm's test over all datasets measured so far tells it from none. "
            "The paper's own numbers are of another model and whole data; they do not stand beside these. "
            f"[The whole table](paper_tables/{one.name}/table3.md); "
            "[what the small study shows](paper_tables/reproduction.md#what-the-small-study-shows).",
            grid(rows, ["", *columns], "github"),
            *([_on_average(compared)] if compared else []),
            *(["\n".join(told)] if told else []),
            *(picture or ["Figures 1 and 2 are not measured whole yet."]),
        ]
    )


def _drawn(one: ProfileResults, name: str) -> bool:
    """Whether a figure is measured whole: parts of a curve, or one policy of several, show nothing."""
    frame = one.frame(name)
    return bool(frame["value"].notna()[frame["runs_total"] > 0].all())


def _ours(cell: pd.Series) -> str:
    return percent(cell["value"]) if cell["state"] == "measured" else str(cell["state"])


def _difference(each: Effect, shown: Direction) -> str:
    span = each.estimate.interval() if each.estimate else None
    bold = "**" if shown in ("UP", "DOWN") else ""
    return f"{bold}{points(each.gain)}{bold}" + (f"<br>{points(span.low)} to {points(span.high)}" if span else "")


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
        f"{100 * each.detectable:.1f}" if each.detectable and span else "–",
    ]
