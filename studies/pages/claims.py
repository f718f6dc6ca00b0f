"""The ledger to read: claims with their verdicts, decisions with their options; as Markdown and in the terminal."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from muppet.paths import write_text
from studies.claims import CLAIMS, calibration, get, sources, worlds
from studies.claims.claim import Claim, Judgement, Source
from studies.claims.selection import named
from studies.kit import decisions as decide
from studies.kit import profiles
from studies.kit.show import percent, terminal
from studies.pages import COMMITTED, TABLES, grid

PRINT = ("CONSISTENT", "NOT SUPPORTED", "CONTRADICTED", "NOT PRINTED")
EVIDENCE = ("SUPPORTED", "CONTRADICTED", "MIXED", "INCONCLUSIVE", "NOT TESTABLE", "NOT MEASURED")
VERDICTS = tuple(dict.fromkeys((*PRINT, *EVIDENCE)))
STYLE = dict(CONSISTENT="green", SUPPORTED="green", CONTRADICTED="red", MIXED="yellow") | {"NOT SUPPORTED": "yellow"}
KINDS = {"claim": "", "reviewer": "reviewer's", "identity": "identity", "reading": "a reading"}
GROUPS = {  # first letter of a decision's id → heading
    "P": "What the paper leaves open",
    "Q": "What an implementation must choose",
    "E": "Known errata elsewhere",
}

CLAIMS_HEAD = (
    "# The paper's claims",
    "",
    "Computed by `make claims` from [reference/](reference/) and the results in git; no verdict is typed in. Each "
    "claim is judged on two axes.",
    "",
    "**Print**: what the paper's own cells say. CONSISTENT: all of them show it. CONTRADICTED: one shows the opposite, "
    "and is named. NOT SUPPORTED: no counter-example, but a tie or nothing beyond chance; a tie is not a "
    "counter-example. NOT PRINTED: it has no number in the paper.",
    "",
    "**Evidence**, for each source of measurements. **independent**: an outside replication of the released base "
    "checkpoint on 36 datasets ([independent.csv](reference/independent.csv), realigned). **released**: the released "
    "checkpoints fine-tuned here. **ours**: our own pre-finetuning and fine-tuning. A profile in brackets is a smaller "
    "one, with another model or fewer rows: its effects have a direction, and are never set against the paper's "
    "numbers.",
    "",
    "* An *effect* is a difference with its 95 % interval over runs and evaluation items: UP (above zero, or above the "
    "size that the claim states), DOWN (below it), EQUIVALENT (the 90 % interval within half a point), UNDECIDED, or, "
    "before that, UNINFORMATIVE: neither arm is above the answer without learning, or the arm is its own control. One "
    "or two runs an arm have scores and no interval.",
    "* SUPPORTED: every expected effect is there and UP, after Holm. CONTRADICTED: one is DOWN after Holm. MIXED: all "
    "are there and decided, none DOWN, not all UP. INCONCLUSIVE: neither, with the difference that could have been "
    "told (80 % power). NOT TESTABLE: what is there cannot tell. NOT MEASURED: nothing is there.",
    "* Datasets are counted, not columns: a ROUGE triple, a total of its parts, EM and F1 count once. Differences are "
    "in points, MUPPET minus its base. Intervals hold for the checkpoint that was fine-tuned, where there is one. C23, "
    "C24, C25 and C27 are about every such checkpoint: theirs also hold how far checkpoints lie apart, where an arm of "
    "the dataset starts from three. A mean over datasets that are scored on the same examples, as POS and Parsing "
    "are, takes their errors over these to go together wholly.",
    "* Not the paper's sentences: *reviewer's* (a question to its numbers), *identity* (true by definition), *a "
    "reading* (our interpretation).",
    "",
)
RATES_HEAD = (
    f"Each claim judged {calibration.SIMULATIONS} times by simulated runs in a world where it is true and in one where "
    f"it is not, at the paper's evaluation sizes, {worlds.RUNS} runs an arm ({worlds.CHECKPOINTS} "
    "checkpoints an arm where the claim needs them; `studies/claims/worlds.py`). The wrong verdicts are at most "
    "10 %. Where a true claim is seldom SUPPORTED, the paper's evaluation sets are too small for it: it stays "
    "INCONCLUSIVE however often one repeats the runs, and needs more examples, not more seeds.",
    "",
    f"Checkpoints lie {100 * worlds.CHECKPOINT:g} points apart in these worlds. With three runs an arm, as in the "
    "small profiles, a 95 % interval covers in 92 to 96 % of simulations. Holm over 14 datasets, which is to be wrong "
    "in 5 %, is wrong in 5 to 10 % where the runs of both arms spread alike, and oftener where one arm's spread far "
    "wider than the other's (`tests/test_intervals.py`): read a p near the level with care.",
    "",
)
DECISIONS_HEAD = (
    "# Decisions",
    "",
    "Rendered by `make decisions` from [studies/decisions.toml](../studies/decisions.toml).",
    "",
    "## Options",
    "",
    "Another answer without an edit: `make table3 DECIDE='squad=v2.0-f1 reuse_head=never'`. It gives other ids to the "
    "runs that it touches and to no others.",
    "",
)

Judged = list[tuple[Claim, list[tuple[Source, Judgement]]]]


def all_sources(names: Sequence[str]) -> list[Source]:
    """The paper, the outside replication, then released checkpoints and our runs of each profile.

    A profile other than the paper's stands only when it has measured something.
    """
    among = [sources.paper(), sources.independent()]
    for profile in names:
        measured = sources.measured(profile)
        among += measured if profile == "paper" or any(source.numbers for source in measured) else ()
    return among


def judge(among: Sequence[Source]) -> Judged:
    """Every claim by every source."""
    return [(claim, [(source, claim.check(source)) for source in among]) for claim in CLAIMS]


def main(args: argparse.Namespace) -> int:
    """`make claims`: print every claim with its verdicts (or, with CLAIM=C9,C14, those in full) and write `claims.md`.

    The file holds the committed profiles alone, so that it is the same on every machine; another profile's verdicts go
    to `<profile>/claims.md`. As a part of `make render` it only writes.
    """
    asked = (getattr(args, "claim", None) or args.only) if args.command == "claims" else None
    chosen = [get(name) for name, _ in named(asked or "")]
    judged, path = judge(all_sources(COMMITTED)), TABLES / "claims.md"
    write_text(path, claims_markdown(judged))
    if args.profile not in COMMITTED:
        mine = all_sources((args.profile,))
        if any(source.profile == args.profile for source in mine):
            own = TABLES / args.profile / "claims.md"
            write_text(own, claims_markdown(judge(mine)))
            print(f"wrote {own}")
            if profiles.get(args.profile).comparable:  # of smoke's there is nothing to read
                judged, path = judge(all_sources((*COMMITTED, args.profile))), own
    if args.command != "claims":
        print(f"wrote {path}")
    elif chosen:
        print("\n".join(line for claim, findings in judged if claim in chosen for line in _in_full(claim, findings)))
    else:
        _print_claims(judged, path)
    return 0


def decisions(args: argparse.Namespace) -> int:
    """`make decisions`: print the options in force and write `decisions.md`, which holds the committed ones."""
    path = TABLES / "decisions.md"
    write_text(path, decisions_markdown(decide.load()))
    if args.command != "decisions":
        print(f"wrote {path}")
    else:
        _print_decisions(decide.current(), path)
    return 0


def claims_markdown(judged: Judged) -> str:
    """All claims: one table of verdicts, how sure each is, then each with its sentence and its deciding numbers."""
    labels = [source.label for source, _ in judged[0][1]]
    table = [
        [f"[{claim.id}](#{claim.id.lower()})", where(claim), _cell(claim.predicate), *(f.verdict for _, f in findings)]
        for claim, findings in judged
    ]
    columns = [(PRINT if source.name == "paper" else EVIDENCE, tally) for source, tally in tallies(judged)]
    counts = [
        [verdict, *(tally[verdict] if verdict in axis else "" for axis, tally in columns)] for verdict in VERDICTS
    ]
    lines = [
        *CLAIMS_HEAD,
        grid(counts, ["", "print", *labels[1:]], numbers=True),
        "",
        grid(table, ["Claim", "Where", "What is checked", "print", *labels[1:]]),
        "",
        *_rates(),
    ]
    for claim, findings in judged:
        lines += _in_full(claim, findings)
    return "\n".join(lines)


def _rates() -> list[str]:
    """How often the evidence would be judged wrongly, as `make calibrate` last simulated it."""
    rows = [
        [
            f"[{r.claim}](#{r.claim.lower()})",
            r.true_world,
            *(f"{percent(share, 0)} %" for share in (r.true_contradicted, r.true_supported)),
            r.false_world,
            *(f"{percent(share, 0)} %" for share in (r.false_supported, r.false_contradicted)),
        ]
        for r in calibration.read()
    ]
    heads = ["Claim", "When", "CONTRADICTED (wrong)", "SUPPORTED", "when", "SUPPORTED (wrong)", "CONTRADICTED"]
    return ["## How sure a verdict is", "", *RATES_HEAD, grid(rows, heads), ""]


def calibrate(args: argparse.Namespace) -> int:
    """`make calibrate`: simulate the rates of wrong verdicts anew, and say where they are."""
    print(calibration.write(CLAIMS))
    return 0


def tallies(judged: Judged) -> list[tuple[Source, Counter[str]]]:
    """Each source with how many claims have which verdict from it."""
    sources_ = [source for source, _ in judged[0][1]]
    return [(source, Counter(each[i][1].verdict for _, each in judged)) for i, source in enumerate(sources_)]


def where(claim: Claim) -> str:
    """Where the paper says it, or what it is instead of the paper's sentence."""
    kind = KINDS[claim.kind]
    return claim.section if not kind else kind if claim.section == "Reviewer" else f"{claim.section} ({kind})"


def _in_full(claim: Claim, findings: Sequence[tuple[Source, Judgement]]) -> list[str]:
    quote = [f"> {claim.quote}", ""] if claim.quote else []
    same: dict[tuple[str, str], list[str]] = {}
    for source, finding in findings:
        label = "print" if source.name == "paper" else source.label
        same.setdefault((finding.verdict, finding.text), []).append(label)
    verdicts = [f"* {', '.join(labels)}: **{verdict}**. {text}" for (verdict, text), labels in same.items()]
    return [f"## {claim.id}", "", f"{where(claim)}. {claim.predicate}.", "", *quote, *verdicts, ""]


def decisions_markdown(every: decide.Decisions) -> str:
    """All decisions: the options, then every entry by group."""
    options = [
        [f"`{o.name}`", f"`{o.take}`", o.others, entry.id, _cell(entry.decision)]
        for entry in every.entries
        for o in entry.options
    ]
    lines = [*DECISIONS_HEAD, grid(options, ["Option", "Taken", "Other answers", "Decision", "What is done"]), ""]
    for letter, heading in GROUPS.items():
        rows = [
            [e.id, *map(_cell, (e.where, e.problem, e.decision, e.why)), "<br>".join(f"`{c}`" for c in e.cells)]
            for e in every.entries
            if e.id.startswith(letter)
        ]
        headers = ["", "Where", "Problem", "Decision", "Why", "Cells (study/row/column)"]
        lines += [f"## {heading}", "", grid(rows, headers), ""]
    return "\n".join(lines)


def _print_claims(judged: Judged, path: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="The paper's claims", show_lines=True, title_justify="left")
    for name, width in (("", 3), ("Where", 8), ("What is checked", 28)):
        table.add_column(name, width=width)
    table.add_column("Verdict and the numbers that decided it", ratio=1)
    for claim, findings in judged:
        text = Text()
        shown = [pair for pair in findings if pair[1].verdict not in ("NOT MEASURED", "NOT PRINTED")] or findings[:1]
        for source, finding in shown:
            text.append(f"{source.label}: ")
            text.append(finding.verdict, style=STYLE.get(finding.verdict, "dim"))
            text.append(f"  {_short(finding.text)}\n")
        absent = [source.label for source, _ in findings if source.label not in {s.label for s, _ in shown}]
        text.append(f"not measured: {', '.join(absent)}" if absent else "", style="dim")
        text.rstrip()
        table.add_row(claim.id, where(claim), claim.predicate, text)
    console = terminal()
    console.print(table)
    for source, tally in tallies(judged):
        console.print(f"{source.label}: " + ", ".join(f"{tally[name]} {name}" for name in VERDICTS if tally[name]))
    console.print(f"all numbers: {path}")


def _print_decisions(every: decide.Decisions, path: Path) -> None:
    from rich.table import Table

    table = Table(title=f"{len(every.entries)} decisions; these have an option", title_justify="left")
    for name in ("Option", "Taken", "Other answers", "", "What is done by default"):
        table.add_column(name)
    for entry in every.entries:
        for o in entry.options:
            table.add_row(o.name, str(o.take), o.others, entry.id, entry.decision)
    console = terminal()
    console.print(table)
    console.print(f"all decisions: {path}")


def _short(text: str, limit: int = 300) -> str:
    """The start of a long finding; the file has the whole."""
    return text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"


def _cell(text: str) -> str:
    """Text for a Markdown table."""
    return text.replace("|", "\\|")
