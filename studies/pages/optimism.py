"""What a search gains by being judged on its own evaluation set: the paper's protocol minus the honest one (P37)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from statistics import fmean, variance

import pandas as pd

from studies.kit.ledger.cells import search_scores
from studies.kit.ledger.intervals import FEWEST, Estimate
from studies.kit.ledger.results import Collected
from studies.kit.show import between, percent, points
from studies.kit.study import Study
from studies.pages import grid

Place = tuple[str, str, str]  # row, column, metric
BUDGETS = (1, 2, 4, 8, 12, 16)  # points of the search
HEAD = (
    "The paper selects a point of its search on the evaluation set that it reports; the honest protocol selects on "
    "held-out training rows. Each keeps its runs' best weights by the same (P58), and runs that hold rows out train "
    "on the rest (P59). **Best of k**: the mean, over all subsets of k points, of the best point's mean over seeds "
    "(the unbiased estimator), in percent."
)


def expected_best(scores: Sequence[float], budget: int) -> float:
    """The expected maximum of `budget` scores drawn without replacement: unbiased, over every subset."""
    n, ordered = len(scores), sorted(scores)
    if not 1 <= budget <= n:
        raise ValueError(f"a budget from 1 to {n}, not {budget}")
    return sum(comb(i, budget - 1) * score for i, score in enumerate(ordered)) / comb(n, budget)


def differences(frame: pd.DataFrame) -> dict[Place, float]:
    """(row, column, metric) → the paper's protocol minus the honest one, where they can differ. frame: both."""
    searched = frame[(frame["state"] == "measured") & (frame["runs_total"] > frame["seeds_total"])]
    values = searched.set_index(["row", "column", "metric", "protocol"])["value"].to_dict()
    places = dict.fromkeys(key[:3] for key in values)
    both = {place: (values.get((*place, "paper")), values.get((*place, "honest"))) for place in places}
    return {place: a - b for place, (a, b) in both.items() if a is not None and b is not None}


def section(studies: Mapping[str, Study], frames: Mapping[str, pd.DataFrame], collected: Collected) -> list[str]:
    """The lines of the section; one sentence where no cell has a search."""
    lines = ["## Optimism of the search", "", HEAD, ""]
    for name, study in studies.items():
        gaps = differences(frames[name])
        if not gaps:
            continue
        scores = search_scores(study, collected)
        budgets = [k for k in BUDGETS if k <= max(len(scores[place]) for place in gaps)]
        rows = [
            [f"{row} / {column}", points(gap), *(_best(scores[row, column, metric], k) for k in budgets)]
            for (row, column, metric), gap in gaps.items()
        ]
        heads = ["Cell", "Optimism", *(f"best of {k}" for k in budgets)]
        lines += [f"### {study.title}", "", _whole(list(gaps.values())), "", grid(rows, heads), ""]
    if len(lines) == 4:
        lines += ["No measured cell has a search of several points.", ""]
    return lines


def _whole(gaps: Sequence[float]) -> str:
    text = f"Over the table: {points(fmean(gaps))} points on average over {len(gaps)} cells"
    if len(gaps) < FEWEST:
        return text + "."
    mean = Estimate(value=fmean(gaps), error=(variance(gaps) / len(gaps)) ** 0.5, df=len(gaps) - 1).interval()
    return f"{text} {between(mean.low, mean.high)}."


def _best(scores: Sequence[float], budget: int) -> str:
    return percent(expected_best(scores, budget)) if budget <= len(scores) else ""
