"""How often each claim's evidence would be judged wrongly, by simulation at the paper's sizes (`make calibrate`).

For each claim two worlds are drawn (`worlds.py`): one in which it is true and one in which it is not. The rates stand
in `rates.csv`, which the page of claims shows.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from muppet.paths import write_text
from studies.claims.claim import Claim
from studies.claims.worlds import WORLDS

FILE = Path(__file__).with_name("rates.csv")
SEED, SIMULATIONS = 20210126, 400


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares of simulations with a verdict, in the world where the claim is true and in the one where it is not."""

    claim: str
    true_world: str
    true_contradicted: float  # wrong
    true_supported: float
    false_world: str
    false_supported: float  # wrong
    false_contradicted: float


def rates(claim: Claim, simulations: int = SIMULATIONS) -> Rates:
    """The simulated rates of `claim`, one of WORLDS."""
    (true_world, true), (false_world, false) = WORLDS[claim.id]
    verdicts = []
    for i, world in enumerate((true, false)):
        rng = np.random.default_rng((SEED, int(claim.id[1:]), i))
        verdicts.append([claim.check(world(rng)).verdict for _ in range(simulations)])
    return Rates(
        claim=claim.id,
        true_world=true_world,
        true_contradicted=verdicts[0].count("CONTRADICTED") / simulations,
        true_supported=verdicts[0].count("SUPPORTED") / simulations,
        false_world=false_world,
        false_supported=verdicts[1].count("SUPPORTED") / simulations,
        false_contradicted=verdicts[1].count("CONTRADICTED") / simulations,
    )


def read() -> list[Rates]:
    """The rates as they were last simulated."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [Rates(**{k: v if "world" in k or k == "claim" else float(v) for k, v in row.items()}) for row in rows]  # type: ignore[arg-type]


def write(claims: Iterable[Claim]) -> Path:
    """Simulate those of `claims` that have worlds into `rates.csv`; minutes."""
    names = [f.name for f in fields(Rates)]
    lines = [",".join(names)]
    for claim in claims:
        if claim.id in WORLDS:
            shares = asdict(rates(claim))
            lines.append(",".join(f"{v:.4f}" if isinstance(v := shares[name], float) else v for name in names))
    write_text(FILE, "\n".join(lines) + "\n")
    return FILE
