"""`make reproduction`: the write-up in the form of the ML Reproducibility Challenge, every number from the ledger.

Nothing is typed in that can be counted: verdicts, cells, runs, costs and recipes are read when the page is rendered, so
it says at any time what has been measured, at which profile, and what has not.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from muppet.paths import write_text
from muppet.runs import Prefinetune, Recipe
from studies import recipes, table1
from studies.claims.claim import MODELS
from studies.claims.meta import analyses
from studies.claims.verdicts import single
from studies.kit import cost, decisions
from studies.kit.ledger.profile import ProfileResults, open_profile
from studies.pages import COMMITTED, TABLES, grid, small
from studies.pages.cells import points
from studies.pages.claims import PRINT, Judged, all_sources, judge

SHOWN = "lr max_tokens updates warmup_updates weight_decay dropout adam_betas adam_eps clip_norm".split()
MARKS = ("<!-- small study: written by `make reproduction` -->", "<!-- /small study -->")


def main(args: argparse.Namespace) -> int:
    """Write `paper_tables/reproduction.md` over the profiles whose results are in git, and its first screen into the
    README; say where they are."""
    path, readme = TABLES / "reproduction.md", Path("README.md")
    opened, judged = results(COMMITTED)
    write_text(path, render(opened, judged))
    print(path)
    if readme.is_file() and MARKS[0] in (text := readme.read_text(encoding="utf-8")):
        write_text(readme, with_first_screen(text, opened, judged))
        print(readme)
    return 0


def results(names: Sequence[str]) -> tuple[list[ProfileResults], Judged]:
    """The profiles `names`, and all claims judged by them: what the page and the first screen are written from."""
    return [open_profile(name) for name in names], judge(all_sources(names))


def with_first_screen(text: str, opened: Sequence[ProfileResults], judged: Judged) -> str:
    """The README `text` with what stands between its MARKS written anew."""
    one = small.studied(opened)
    if one is None:
        return text
    before, _, rest = text.partition(MARKS[0])
    return f"{before}{MARKS[0]}\n{small.first_screen(one, judged)}\n{MARKS[1]}{rest.partition(MARKS[1])[2]}"


def render(opened: Sequence[ProfileResults], judged: Judged) -> str:
    """The page as Markdown."""
    parts = [
        "# Reproducing MUPPET: a report",
        "After *Muppet: Massive Multi-task Representations with Pre-Finetuning* (Aghajanyan et al. 2021), in the form "
        "of the ML Reproducibility Challenge. Rendered by `make reproduction`; every number is computed from "
        "`paper_tables/reference/`, `studies/` and `results/`.",
        "## Reproducibility summary",
        *_summary(opened, judged),
        *([f"## {small.TITLE}", small.markdown(small.section(one, judged))] if (one := small.studied(opened)) else []),
        "## 1 Scope of reproducibility",
        _claims(judged),
        "## 2 Methodology",
        *_method(opened),
        "## 3 Results",
        "### What the paper's own numbers say\n\nWithout any run ([meta.md](meta.md)):\n\n"
        + "\n".join(f"- *{each.title}.* {each.text}" for each in analyses()),
        *_results(opened, judged),
        "## 4 Discussion",
        *_discussion(judged),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(opened: Sequence[ProfileResults], judged: Judged) -> list[str]:
    shown: list[str] = [finding.verdict for _, findings in judged for s, finding in findings if s.name == "paper"]
    said = ", ".join(f"{shown.count(verdict)} {verdict.lower()}" for verdict in PRINT)
    left_open = sum(entry.id.startswith("P") for entry in decisions.current().entries)  # errata elsewhere aside
    size = {one.name: f"{len(one.done):,} of {len(one.runs):,} at profile `{one.name}`" for one in opened}
    measured = ", ".join(size.values())
    return [
        f"**Scope.** {len(judged)} checkable claims, each with a predicate over table cells or curves "
        "([claims.md](claims.md)).",
        f"**Methodology.** An independent implementation. Runs done: {measured}. "
        + " ".join(f"`{one.name}`: {one.caption}." for one in opened),
        f"**Results.** Of the claims, the paper's own print shows {said}. "
        + " ".join(_measured(one, judged) for one in opened),
        "**What was easy.** Tables 7 and 8 give the recipe of pre-finetuning in full, Eq. 1 is one line, and most "
        "datasets of the appendix are public and load without scripts.",
        f"**What was difficult.** The text leaves {left_open} points open or contradicts itself on them "
        "([decisions.md](decisions.md)); no search grid, seed, interval or split is given for fine-tuning; Figures "
        "1 to 3 print no numbers.",
        "**Communication with the authors.** None.",
    ]


def _measured(one: ProfileResults, judged: Judged) -> str:
    """One sentence on what a profile has measured against the paper and against its own base rows."""
    cells = pd.concat(one.frame(name) for name in one.studies)
    measured = cells[cells["value"].notna()]
    if measured.empty:
        return f"At profile `{one.name}` no cell is measured yet."
    text = f"At profile `{one.name}` {len(measured):,} cells are measured"
    if compared := small.comparisons(small.source_of(one, judged)):
        mean = points(fmean(each.gain for _, each, _ in compared))
        told = [sum(shown == way for *_, shown in compared) for way in ("UP", "DOWN")]
        above = sum(each.gain > 0 for _, each, _ in compared)
        text += (
            f"; MUPPET minus its base is {mean} points on average over {len(compared)} datasets, and positive in "
            f"{above}; told from no difference after Holm are {told[0]} above and {told[1]} below"
        )
    return text + "."


def _gains(one: ProfileResults, judged: Judged, name: str) -> list[float]:
    """MUPPET minus its base in each dataset of a table that has both, a fraction of 1; released checkpoints aside."""
    source = small.source_of(one, judged)
    return [single(pairs).gain for pairs in source.datasets(MODELS, (name,))] if source else []


def _claims(judged: Judged) -> str:
    labels = [source.label for source, _ in judged[0][1]]
    rows = [
        [claim.id, claim.section, claim.predicate, *(finding.verdict.lower() for _, finding in findings)]
        for claim, findings in judged
    ]
    table = grid(rows, ["", "where", "claim", "print", *labels[1:]], "github")
    return f"What each verdict means, how many there are of it and what decided it: [claims.md](claims.md).\n\n{table}"


def _method(opened: Sequence[ProfileResults]) -> list[str]:
    sets = recipes.mixture(recipes.ROBERTA_B), recipes.mixture(recipes.BART)
    full = opened[0]
    stages = Counter(isinstance(run, Prefinetune) for run in full.runs.values())
    idle = cost.calibrate([])
    hours = sum(cost.seconds(run, idle, "gpu") for run in full.runs.values()) / 3600
    searched = len(recipes.SEARCH["roberta"]) * len(recipes.EPSILONS) * len(recipes.DROPOUTS)
    return [
        "### 2.1 Models\n\nRoBERTa-base, RoBERTa-large and BART-large, plain and pre-finetuned, and the released "
        "`facebook/muppet-roberta-base` and `-large`. Commonsense ranking and span prediction share one head each, "
        "classification has one per dataset, summarization uses the decoder as it is.",
        f"### 2.2 Datasets\n\nPre-finetuning learns from {len(sets[1])} datasets (BART) or {len(sets[0])} (RoBERTa, "
        "which cannot learn summarization). Counts against the paper's Table 1:\n\n" + _counts(),
        "### 2.3 Hyper-parameters\n\nPre-finetuning, Tables 7 and 8:\n\n"
        + grid(
            [[name, _shown(recipes.TABLE7, name), _shown(recipes.TABLE8, name)] for name in SHOWN],
            ["", "BART", "RoBERTa"],
            "github",
        )
        + f"\n\nFine-tuning: learning rates {_list(recipes.SEARCH['roberta'])} (RoBERTa) or "
        f"{_list(recipes.SEARCH['bart'])} (BART), Adam ε {_list(recipes.EPSILONS)}, "
        f"dropout {_list(recipes.DROPOUTS)}: {searched} points, "
        f"{len(recipes.SEEDS)} seeds each. The paper gives no grid (P37).",
        f"### 2.4 Set-up and cost\n\nThe paper's experiments are {stages[True]} pre-finetunings and {stages[False]:,} "
        f"fine-tunings, runs that artefacts share counted once: by the FLOP model about {hours:,.0f} GPU-hours at "
        "40 % of an A100. Spent so far:\n\n"
        + grid(
            [_spent(one) for one in opened],
            ["profile", "pre-finetunings", "fine-tunings", "process-hours", "devices", "from uncommitted code"],
            "github",
            numbers=True,
        ),
    ]


def _counts() -> str:
    cells = table1.counts()
    rows = {cell.row: [c for c in cells if c.row == cell.row] for cell in cells}
    body = [[row, *(f"{c.printed} / {c.ours:,}" for c in counts)] for row, counts in rows.items()]
    heads = ["task type", *(f"{column}, paper / here" for column in table1.COLUMNS)]
    return grid(body, heads, "github")


def _shown(recipe: Recipe, name: str) -> str:
    value = getattr(recipe, name)
    return "none" if value is None else _list(value) if isinstance(value, tuple) else f"{value:g}"


def _list(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _spent(one: ProfileResults) -> list[Any]:
    seen = one.collected.frame.drop_duplicates("run")
    seen = seen[seen["run"].isin(one.done)]
    first = sum(isinstance(one.runs[name], Prefinetune) for name in one.done)
    devices = ", ".join(sorted(set(seen["device"]) - {""})) or "none"
    hours, dirty = (seen["seconds"] * seen["processes"]).sum() / 3600, int(seen["dirty"].sum())
    return [one.name, first, len(one.done) - first, f"{hours:.1f}", devices, dirty]


def _results(opened: Sequence[ProfileResults], judged: Judged) -> list[str]:
    parts = []
    for name, study in opened[0].studies.items():
        rows = []
        for one in opened:
            frame = one.frame(name)
            ours = frame[frame["runs_total"] > 0]
            both = ours.dropna(subset=["difference", "low", "high"])
            outside = int(((both["paper"] < both["low"]) | (both["paper"] > both["high"])).sum())
            gains = _gains(one, judged, name)
            mean = f"{points(fmean(gains))} over {len(gains)}" if gains else "–"
            place, ending = ("", "md") if study.kind == "table" else ("../figures/", "png")
            link = f"[{one.name}]({place}{one.name}/{name}.{ending})" if one.done else one.name  # else not in git
            measured = f"{int(ours['value'].notna().sum())} of {len(ours)}" if len(ours) else "not in this profile"
            rows.append([link, measured, f"{outside} of {len(both)}" if len(both) else "–", mean])
        compared = ["paper outside our interval", "MUPPET minus base, mean points over datasets"]
        parts.append(
            f"### {study.title}\n\n{study.note}\n\n" + grid(rows, ["profile", "cells measured", *compared], "github")
        )
    return parts


def _discussion(judged: Judged) -> list[str]:
    taken = [(entry, o) for entry in decisions.current().entries for o in entry.options]
    failed = [c for c, findings in judged for s, f in findings if s.name == "paper" and f.verdict == "CONTRADICTED"]
    return [
        "### 4.1 Against the paper's own numbers\n\nThe cells that the paper prints contradict these claims:\n\n"
        + "\n".join(f"- {claim.id} ({claim.section}): {claim.predicate}." for claim in failed),
        "### 4.2 Deviations and choices\n\nWhere the paper is silent one reading was taken; each can be flipped with "
        "`DECIDE=name=answer`, which changes the ids of exactly the runs that it touches.\n\n"
        + grid(
            [[entry.id, o.name, o.take, o.others, entry.decision] for entry, o in taken],
            ["", "option", "taken", "else", "decision"],
            "github",
        ),
        "### 4.3 What a reader should not conclude\n\nA number is the paper's experiment only at profile `paper`. "
        "Other profiles use smaller models and fewer rows: they show that the method runs and which way effects point, "
        "and their verdicts stand in columns of their own.",
    ]
