"""`make plan BUDGET=100`: what to run first, by the claims that a GPU-hour decides."""

from __future__ import annotations

import argparse
from collections.abc import Container, Mapping
from dataclasses import dataclass

from muppet.errors import UserError
from muppet.runs import Finetune, Run, parent, run_id
from studies.claims import calibration
from studies.claims.selection import ARMS, CELLS, Arm, complete, named
from studies.kit.launch.plan import plan
from studies.kit.ledger.intervals import FEWEST
from studies.kit.load import chosen
from studies.kit.load import runs as runs_of
from studies.kit.study import Study

OVER_CHECKPOINTS = ("C26", "C34", "C35", "C36", "C37")  # need several of each arm (P60)
Options = Mapping[tuple[str, Arm], frozenset[str]]  # claim and whose checkpoint → the runs that measure it


@dataclass(frozen=True, kw_only=True)
class Step:
    """One purchase: the runs that are added, what they cost, and the claims that have all their cells then."""

    claims: tuple[tuple[str, Arm], ...]
    runs: frozenset[str]
    hours: float  # of one device, added
    total: float  # with all steps before


def main(args: argparse.Namespace) -> int:
    """Print the order of purchases up to BUDGET hours, and what they decide: of CLAIM, or of all claims."""
    if args.only or args.artefact:
        raise UserError("BUDGET buys what decides a claim, whole: it goes with CLAIM, not with ONLY or ARTEFACT")
    asked = named(args.claim) if args.claim else [(claim, None) for claim in CELLS]
    args.cells = None  # whether a claim has all its cells is asked of all cells
    studies = chosen(args)
    planned = plan(studies, args.profile)
    seconds = planned.seconds_of
    options: dict[tuple[str, Arm], frozenset[str]] = {}
    for claim, one in asked:
        for arm in (one,) if one else ARMS:
            own = complete(studies, claim, arm, args.profile)
            if own and (claim not in OVER_CHECKPOINTS or all(map(_repeated, own.values()))):
                options[claim, arm] = _needed(runs_of(own.values()), seconds)
    steps, rates = order(options, seconds), calibration.read()
    chances = {r.claim: f"{100 * r.true_supported:.0f} and {100 * r.false_contradicted:.0f} %" for r in rates}
    unit = "GPU-hours" if planned.wants_gpu else "core-hours"
    print(f"profile {args.profile}: what to run first for {args.budget:g} {unit}, cheapest decision first")
    decided: list[str] = []
    for step in steps:
        if step.total > args.budget:
            print(f"the next step would cost {step.hours:,.2f} more: {_named(step, chances)}")
            break
        decided += [claim for claim, _ in step.claims]
        print(f"{step.total:9,.2f} {unit} (+{step.hours:,.2f}, {len(step.runs)} runs): {_named(step, chances)}")
        names = ",".join(f"{claim}:{arm}" for claim, arm in step.claims)
        print(f"{'':10}make all PROFILE={args.profile} CLAIM={names}")
    missing = sorted({claim for claim, _ in asked} - {claim for claim, _ in options}, key=lambda claim: int(claim[1:]))
    spent = max((step.total for step in steps if step.total <= args.budget), default=0.0)
    print(f"measured for {spent:,.2f} {unit}: {', '.join(dict.fromkeys(decided)) or 'none'}")
    if missing:
        print(f"not to be decided at this profile: {', '.join(missing)} (other models, or replicate checkpoints)")
    print("in brackets: how often the verdict is clear in simulation, when the claim is true and when it is not")
    return 0


def order(options: Options, seconds: Mapping[str, float]) -> list[Step]:
    """Greedy: each step buys the option whose added cost per claim that it completes is least. A run is paid once."""
    left, bought, total, steps = dict(options), frozenset[str](), 0.0, []
    while left:
        best = min(left, key=lambda key: (_price(left[key] - bought, seconds) / _claims(left, bought | left[key]), key))
        added = left[best] - bought
        hours, bought = _price(added, seconds) / 3600, bought | added
        gained = [key for key, runs in left.items() if runs <= bought]
        total += hours
        steps.append(Step(claims=tuple(gained), runs=added, hours=hours, total=total))
        left = {key: runs for key, runs in left.items() if key not in gained}
    return steps


def _needed(runs: Mapping[str, Run], to_do: Container[str]) -> frozenset[str]:
    """`runs` but the pre-finetunings that none of them is left to start from: one may be planned again for others."""
    starts = {run_id(init) for name, run in runs.items() if name in to_do and (init := parent(run))}
    return frozenset(name for name, run in runs.items() if name in starts or isinstance(run, Finetune))


def _repeated(study: Study) -> bool:
    """Whether the runs of each cell start from as many checkpoints as an interval over them takes."""
    return all(len({run_id(init) for run in cell.runs if (init := parent(run))}) >= FEWEST for cell in study.cells)


def _price(runs: frozenset[str], seconds: Mapping[str, float]) -> float:
    """Seconds of what is still to do of `runs`."""
    return sum(seconds.get(name, 0.0) for name in runs)


def _claims(options: Options, runs: frozenset[str]) -> int:
    """How many claims have all their runs among `runs`."""
    return len({claim for (claim, _), own in options.items() if own <= runs})


def _named(step: Step, chances: Mapping[str, str]) -> str:
    names = [f"{claim} {arm}" + (f" [{chances[claim]}]" if claim in chances else "") for claim, arm in step.claims]
    return ", ".join(names)
