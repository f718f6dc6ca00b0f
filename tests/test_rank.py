"""One answer to "which process am I?": who trains alone holds its run and writes its result, wherever it is asked."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from muppet import paths
from muppet.errors import UserError
from muppet.runs import run_id
from muppet.runtime.hold import Busy, hold
from muppet.runtime.rank import Processes, is_first, this_process
from studies.kit.launch import worker
from studies.kit.launch.slurm import node
from studies.kit.ledger.folder import result_path
from tests.kit import child, result_of

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
NAMES += ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_STEP_ID", "SLURM_JOB_ID")
STEP = {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "7"}
SECOND = Processes(rank=1, count=2, local_rank=1)


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and no launcher's variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def be(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_a_count_of_processes_without_a_rank_is_one_line(monkeypatch):
    be(monkeypatch, {"WORLD_SIZE": "2"})
    with pytest.raises(UserError, match="WORLD_SIZE=2, but RANK is not set"):
        this_process()


def test_a_rank_that_is_no_number_is_one_line(monkeypatch):
    be(monkeypatch, {"WORLD_SIZE": "2", "RANK": "x"})
    with pytest.raises(UserError, match="RANK='x', which is no number; start with torchrun"):
        this_process()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Processes()),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, SECOND),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, Processes(count=2)),
        ({"RANK": "0", "WORLD_SIZE": "1"}, Processes()),
        (STEP | {"MASTER_ADDR": "n1"}, SECOND),
        (STEP | {"RANK": "0", "WORLD_SIZE": "1"}, Processes()),  # torchrun in a step, one process in each
        (STEP, Processes()),  # a step's processes that cannot meet
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "MASTER_ADDR": "n1"}, Processes()),  # a batch script, no step
    ],
)
def test_processes_share_a_run_when_they_can_meet(monkeypatch, variables, expected):
    be(monkeypatch, variables)
    assert this_process() == expected
    assert is_first() == (expected.rank == 0)


def test_a_step_s_second_process_that_trains_alone_holds_its_run_and_leaves_its_result(monkeypatch):
    """`srun -n 2` without MASTER_ADDR: training, the lock and the result must see the same process."""
    from muppet.runtime import distributed

    be(monkeypatch, STEP)
    run, seen = child(init="tiny/roberta"), []

    def finetune(run, progress):
        seen.append(distributed.join("cpu"))
        assert json.loads((paths.run_dir(run_id(run)) / "holder.json").read_text())["pid"]
        return result_of(run)

    monkeypatch.setattr("muppet.stages.finetune.finetune", finetune)
    assert worker.execute_one("smoke", run) == "done"
    assert seen == [Processes()] and result_path("smoke", run).exists()
    assert not (paths.run_dir(run_id(run)) / "holder.json").exists()


def test_of_two_that_share_a_run_the_second_holds_nothing_and_writes_nothing(monkeypatch):
    run = child(init="tiny/roberta")
    monkeypatch.setattr("muppet.stages.finetune.finetune", lambda run, progress: result_of(run))
    with hold(run_id(run)):  # the first process
        be(monkeypatch, STEP | {"MASTER_ADDR": "n1"})
        assert worker.execute_one("smoke", run) == "done"
    assert not result_path("smoke", run).exists()


def test_a_run_that_is_held_is_busy_and_free_again_after_an_error():
    with pytest.raises(KeyError), hold("run"):
        with pytest.raises(Busy, match="^run is being trained by another process; wait for it, or stop it$"):
            with hold("run"):
                pass
        raise KeyError
    with hold("run"):
        pass


def test_a_job_s_process_is_the_one_that_slurm_says(monkeypatch):
    be(monkeypatch, STEP | {"SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "n1", "SUBMITIT_EXECUTOR": "slurm"})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    be(monkeypatch, dict.fromkeys(NAMES[:5], "0") | {"LOCAL_WORLD_SIZE": "0"})  # to be put back afterwards
    node.process_group()
    assert this_process() == SECOND


def test_no_other_module_reads_a_rank():
    """`node` sets these variables and prints them; nobody else looks at them."""
    rank = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"}
    for path in [*(ROOT / "muppet").rglob("*.py"), *(ROOT / "studies").rglob("*.py")]:
        texts = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
        assert not rank & texts or path.name in ("rank.py", "node.py"), path
