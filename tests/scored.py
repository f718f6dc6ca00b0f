"""What the metrics' tests share: rows of the mirror, and one example that each metric takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from muppet import paths


def mirror_rows(path: str, count: int) -> list[dict]:
    """The first rows of a parquet file of the mirror."""
    root = paths.mirror()
    if root is None or not (root / path).exists():
        pytest.skip(f"MUPPET_HUB is not set, or has no {path}")
    import pyarrow.parquet as pq

    return pq.read_table(root / path).slice(0, count).to_pylist()


def one_of_each(metric: str) -> tuple:
    """A prediction and a reference that the metric takes."""
    if metric == "multirc_em":
        return 1, ("q", 1)
    if metric == "bracket_f1":
        return ("(S (NN a))",) * 2
    if metric.startswith("squad_v2_best"):
        return ("x", 0.0), ["x"]
    if metric.startswith(("token", "chunk")):
        return ["B-X"], ["B-X"]
    if metric.startswith("rouge"):
        return "x", "x"
    return ("x", ["x"]) if metric.startswith(("squad", "record", "trivia", "drop")) else (1, 1)


def hub_metric(folder: Path, kind: str, *more: str) -> Path:
    """A metric of texts or numbers (`kind`, as datasets names it) written as the Hub's are: the share of equal ones,
    and `more` entries of what it computes."""
    place = folder / "same"
    place.mkdir()
    entries = ", ".join(["'same': sum(same) / len(same)", *more])
    (place / "same.py").write_text(
        "import datasets\n"
        "import evaluate\n"
        "class Same(evaluate.Metric):\n"
        "    def _info(self):\n"
        f"        kind = datasets.Value({kind!r})\n"
        "        features = datasets.Features({'predictions': kind, 'references': kind})\n"
        "        return evaluate.MetricInfo(description='', citation='', inputs_description='', features=features)\n"
        "    def _compute(self, predictions, references):\n"
        "        same = [p == r for p, r in zip(predictions, references)]\n"
        f"        return {{{entries}}}\n"
    )
    return place
