"""Sources with made-up numbers, for tests of claims: cells, and curves over the number of datasets."""

from __future__ import annotations

from studies.claims.claim import Number, Source

SCALES = (0, 10, 16, 22, 28, 34, 40, 46)
TIGHT = (-0.002, -0.001, 0.0, 0.001, 0.002)  # five runs about a mean
ROW, BASE = ("table3", "RoBERTa-B + MUPPET", "RTE"), ("table3", "RoBERTa-B", "RTE")


def number(key: tuple[str, str, str], value: float | list[float], **more: object) -> Number:
    """One cell, measured by five close runs about `value` or by the runs given."""
    seeds = tuple(value) if isinstance(value, list) else tuple(value + step for step in TIGHT)
    mean = sum(seeds) / len(seeds)
    study, row, column = key
    return Number(
        study=study, row=row, column=column, metric="accuracy", value=mean, shown=f"{100 * mean:.1f}", seeds=seeds,
        **({"n": 200_000} | more),
    )  # type: ignore[arg-type]  # fmt: skip


def made(
    cells: dict[tuple[str, str, str], float | list[float]],
    x: dict[tuple[str, str, str], float] | None = None,
    **more: object,
) -> Source:
    """A source of our own: (study, row, column) → score, or one score a run."""
    every = [number(key, value, x=(x or {}).get(key), **more) for key, value in cells.items()]
    return Source(name="ours", numbers={(n.study, n.row, n.column, n.metric): n for n in every})


def curve(scores: dict[str, list[float]], study: str = "figure1") -> Source:
    """Rows of scores over SCALES, the base first."""
    cells = {(study, row, f"{k} sets"): value for row, line in scores.items() for k, value in zip(SCALES, line)}
    return made(cells, {key: float(key[2].split()[0]) for key in cells})
