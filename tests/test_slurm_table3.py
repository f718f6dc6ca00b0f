"""Table 3 at smoke size on a real cluster, whole: a file of its own, so that other tests run beside its minutes."""

from __future__ import annotations

import pytest

from tests.slurm_cluster import missing
from tests.slurm_grid import Make

pytestmark = pytest.mark.skipif(
    bool(missing()), reason=f"SLURM is not installed ({', '.join(missing())}): python -m tests.slurm_cluster install"
)


def test_smoke_table_3_as_a_whole(grid: Make) -> None:
    one = grid(artefact="table3", profile="smoke", settings="array_parallelism = 2\n")
    runs = len(one.states())
    assert runs > 80
    one.submit()
    one.finish(runs, seconds=3600)
    said = one.submit()
    assert "nothing to submit" in said and "pending" not in said and "failed" not in said
    assert set(state["state"] for state in one.states().values()) == {"done"}
