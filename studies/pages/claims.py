"""The ledger to read: claims with their verdicts, decisions with their options; as Markdown and in the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from muppet.paths import write_text
from studies.claims import CLAIMS, get, sources
from studies.claims.claim import Claim, Finding, Source
from studies.kit import decisions as decide
from studies.pages import COMMITTED, TABLES

VERDICTS = ("HOLDS", "PARTIAL", "FAILS", "NOT MEASURED")
STYLE = {"HOLDS": "green", "FAILS": "red", "PARTIAL": "yellow", "NOT MEASURED": "dim"}
GROUPS = {  # first letter of a decision's id → heading
    "P": "What the paper leaves open",
    "Q": "What an implementation must choose",
    "E": "Known errata elsewhere",
}

CLAIMS_HEAD = (
    "# The paper's claims",
    "",
    "Computed by `make claims` from [reference/](reference/) and the results in git; no verdict is typed in.",
    "",
    "* **paper**: the paper's own printed cells. **independent**: an outside replication of the released base "
    "checkpoint on 36 datasets ([independent.csv](reference/independent.csv), realigned). **released**: the released "
    "checkpoints fine-tuned here. **ours**: our own pre-finetuning and fine-tuning. A profile in brackets is a smaller "
    "one: its verdicts are about other models and less data.",
    "* A claim about every cell FAILS with one counter-example, and each is named; it is PARTIAL while cells are "
    "missing. A claim of several parts is PARTIAL when some hold. Differences are in points, MUPPET minus its base.",
    "* Section *Reviewer*: not the paper's sentence but what a reviewer asks of its numbers.",
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

Judged = list[tuple[Claim, list[tuple[Source, Finding]]]]


def all_sources(profiles: Sequence[str]) -> list[Source]:
    """The paper, the outside replication, then released checkpoints and our runs of each profile.

    A profile other than the paper's stands only when it has measured something.
    """
    among = [sources.paper(), sources.independent()]
    for profile in profiles:
        among += [s for s in sources.measured(profile) if profile == "paper" or s.numbers]
    return among


def judge(among: Sequence[Source]) -> Judged:
    """Every claim by every source."""
    return [(claim, [(source, claim.check(source)) for source in among]) for claim in CLAIMS]


def main(args: argparse.Namespace) -> int:
    """`make claims`: print every claim with its verdicts (or, with ONLY=C9,C14, those in full) and write `claims.md`.

    The file holds the committed profiles alone, so that it is the same on every machine; another profile's verdicts go
    to `<profile>/claims.md`. As a part of `make render` it only writes.
    """
    asked = args.only if args.command == "claims" else None
    chosen = [get(name) for name in (asked or "").replace(",", " ").split()]
    judged, path = judge(all_sources(COMMITTED)), TABLES / "claims.md"
    write_text(path, claims_markdown(judged))
    if args.profile not in COMMITTED:
        mine = all_sources((args.profile,))
        if any(source.label.endswith(f"({args.profile})") for source in mine):
            judged, path = judge(mine), TABLES / args.profile / "claims.md"
            write_text(path, claims_markdown(judged))
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
    """All claims: one table of verdicts, then each with its sentence and the numbers that decided it."""
    from tabulate import tabulate

    labels = [source.label for source, _ in judged[0][1]]
    table = [
        [f"[{claim.id}](#{claim.id.lower()})", claim.section, _cell(claim.predicate), *(f.verdict for _, f in findings)]
        for claim, findings in judged
    ]
    counts = [
        [verdict, *(sum(findings[i][1].verdict == verdict for _, findings in judged) for i in range(len(labels)))]
        for verdict in VERDICTS
    ]
    lines = [
        *CLAIMS_HEAD,
        tabulate(counts, headers=["Verdicts", *labels], tablefmt="pipe"),
        "",
        tabulate(table, headers=["Claim", "Where", "What is checked", *labels], tablefmt="pipe"),
        "",
    ]
    for claim, findings in judged:
        lines += _in_full(claim, findings)
    return "\n".join(lines)


def _in_full(claim: Claim, findings: Sequence[tuple[Source, Finding]]) -> list[str]:
    quote = [f"> {claim.quote}", ""] if claim.quote else []
    same: dict[tuple[str, str], list[str]] = {}
    for source, finding in findings:
        same.setdefault((finding.verdict, finding.text), []).append(source.label)
    verdicts = [f"* {', '.join(labels)}: **{verdict}**. {text}" for (verdict, text), labels in same.items()]
    return [f"## {claim.id}", "", f"{claim.section}. {claim.predicate}.", "", *quote, *verdicts, ""]


def decisions_markdown(every: decide.Decisions) -> str:
    """All decisions: the options, then every entry by group."""
    from tabulate import tabulate

    options = [
        [f"`{o.name}`", f"`{o.take}`", _others(o), entry.id, _cell(entry.decision)]
        for entry in every.entries
        for o in entry.options
    ]
    lines = [
        *DECISIONS_HEAD,
        tabulate(options, headers=["Option", "Taken", "Other answers", "Decision", "What is done"], tablefmt="pipe"),
        "",
    ]
    for letter, heading in GROUPS.items():
        rows = [
            [
                e.id,
                _cell(e.where),
                _cell(e.problem),
                _cell(e.decision),
                _cell(e.why),
                "<br>".join(f"`{c}`" for c in e.cells),
            ]
            for e in every.entries
            if e.id.startswith(letter)
        ]
        headers = ["", "Where", "Problem", "Decision", "Why", "Cells (study/row/column)"]
        lines += [f"## {heading}", "", tabulate(rows, headers=headers, tablefmt="pipe"), ""]
    return "\n".join(lines)


def _print_claims(judged: Judged, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    labels = [source.label for source, _ in judged[0][1]]
    table = Table(title="The paper's claims", show_lines=True, title_justify="left")
    for name, width in (("", 3), ("Where", 8), ("What is checked", 28)):
        table.add_column(name, width=width)
    table.add_column("Verdict and the numbers that decided it", ratio=1)
    for claim, findings in judged:
        text = Text()
        shown = [pair for pair in findings if pair[1].verdict != "NOT MEASURED"] or findings[:1]
        for source, finding in shown:
            text.append(f"{source.label}: ")
            text.append(finding.verdict, style=STYLE[finding.verdict])
            text.append(f"  {_short(finding.text)}\n")
        absent = [source.label for source, _ in findings if source.label not in {s.label for s, _ in shown}]
        text.append(f"not measured: {', '.join(absent)}" if absent else "", style="dim")
        text.rstrip()
        table.add_row(claim.id, claim.section, claim.predicate, text)
    console = Console()
    console.print(table)
    for i, label in enumerate(labels):
        tally: list[str] = [findings[i][1].verdict for _, findings in judged]
        console.print(f"{label}: " + ", ".join(f"{tally.count(verdict)} {verdict}" for verdict in VERDICTS))
    console.print(f"all numbers: {path}")


def _print_decisions(every: decide.Decisions, path: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(every.entries)} decisions; these have an option", title_justify="left")
    for name in ("Option", "Taken", "Other answers", "", "What is done by default"):
        table.add_column(name)
    for entry in every.entries:
        for o in entry.options:
            table.add_row(o.name, str(o.take), _others(o), entry.id, entry.decision)
    console = Console()
    console.print(table)
    console.print(f"all decisions: {path}")


def _others(o: decide.Option) -> str:
    return ", ".join(choice for choice in o.choices if choice != o.take) or "any whole number from 0"


def _short(text: str, limit: int = 300) -> str:
    """The start of a long finding; the file has the whole."""
    return text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"


def _cell(text: str) -> str:
    """Text for a Markdown table."""
    return text.replace("|", "\\|")
