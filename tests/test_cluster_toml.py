"""cluster.toml: strict keys and types, the documented example, resources, and what a partition allows."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.runs import Finetune, Prefinetune, Recipe
from muppet.tasks import get
from studies.kit.launch.slurm import cluster, controller
from studies.kit.launch.slurm.cluster import Cluster, Stage

ROOT = Path(__file__).resolve().parents[1]
RECIPE = Recipe(lr=1e-5, max_tokens=4400, updates=200_000)
BASE = Prefinetune(model="FacebookAI/roberta-base", tasks=(get("rte"), get("mnli")), recipe=RECIPE)
TINY = Finetune(init="tiny/roberta", task=get("rte"), recipe=replace(RECIPE, updates=10, sub_batches=2), source="twins")


def write(folder: Path, text: str) -> Path:
    path = folder / "cluster.toml"
    path.write_text(text)
    return path


def test_a_folder_is_no_file_of_settings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; copy cluster.example.toml"):
        cluster.read(tmp_path)


@pytest.mark.parametrize("patience", ["soon", "-5", "nan", "inf"])
def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, patience: str) -> None:
    monkeypatch.setenv("MUPPET_PATIENCE", patience)
    with pytest.raises(UserError, match="MUPPET_PATIENCE is"):
        controller.patience()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('partitoin = "gpu"', "did you mean 'partition'?"),
        ("[prefinetune]\nminuts = 5", "did you mean 'minutes'?"),
        ("[finetune]\nnodes = 0", "must be at least 1"),
        ("array_parallelism = 2.5", "takes a whole number"),
        ("sealed = 1", "takes true or false"),
        ('setup = "module load x"', "takes a list of texts"),
        ("prefinetune = 3", "is a table of settings"),
        ("partition = 'a", "not TOML"),
        ("signal_s = true", "takes a whole number"),
        ("[sbatch]\nmail-type = [1]", "expected text, a number or true"),
    ],
)
def test_a_bad_setting_is_named_with_the_file_and_the_way_out(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError) as told:
        cluster.read(write(tmp_path, text))
    assert complaint in str(told.value) and "cluster.toml" in str(told.value)


def test_the_example_is_valid_as_it_stands_and_with_every_line_turned_on(tmp_path: Path) -> None:
    text = (ROOT / "cluster.example.toml").read_text()
    assert cluster.read(write(tmp_path, text)) == Cluster()  # what it shows are the defaults
    every = re.sub(r"^# (?=[a-z_-]+ = )", "", text, flags=re.MULTILINE)
    settings = cluster.read(write(tmp_path, every))
    assert (
        settings.partition == "gpu" and settings.prefinetune.minutes == 1440 and settings.sbatch["mail-type"] == "FAIL"
    )


def test_what_the_file_leaves_open_is_taken_from_sbatch_s_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_ACCOUNT", "theirs")
    monkeypatch.setenv("SBATCH_WCKEY", "key")
    settings = cluster.read(write(tmp_path, 'account = "mine"'))
    assert (settings.account, settings.wckey) == ("mine", "key")


def test_a_stage_may_have_its_own_partition() -> None:
    settings = Cluster(partition="main,high", qos="normal", prefinetune=Stage(partition="large", gpu_type="h100"))
    assert (
        settings.of("prefinetune-x", "partition") == "large" and settings.of("finetune-x", "partition") == "main,high"
    )
    assert settings.of("prefinetune-x", "qos") == "normal" and settings.of("finetune-x", "gpu_type") is None


def test_of_several_partitions_each_must_be_there_and_the_shortest_limit_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "main*|2-00:00:00|up\nhigh|4:00:00|up\nold|infinite|down\n"
    monkeypatch.setattr(controller, "ask", lambda *command, **more: shown)
    assert controller.partition_limit("main,high") == ("main,high", 240)
    assert controller.partition_limit(None) == ("main", 2880)
    with pytest.raises(UserError, match="did you mean 'high'"):
        controller.partition_limit("main,hihg")
    with pytest.raises(UserError, match="'old' is down"):
        controller.partition_limit("main,old")


def test_without_a_file_the_defaults_hold_but_a_named_file_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUPPET_CLUSTER", raising=False)
    assert cluster.read() == Cluster()
    monkeypatch.setenv("MUPPET_CLUSTER", "elsewhere.toml")
    with pytest.raises(UserError, match="cluster.example.toml"):
        cluster.read()


def test_resources_follow_the_model_and_the_stage_and_can_be_fixed() -> None:
    asked = cluster.resources(BASE, Cluster())
    assert asked.gpus_per_node == asked.tasks_per_node == 8 and asked.nodes == 1 and asked.minutes > 60
    two = cluster.resources(BASE, Cluster(gpus_per_node=4))
    assert (two.nodes, two.gpus_per_node, two.processes) == (2, 4, 8)
    small = cluster.resources(TINY, Cluster())
    assert small.gpus_per_node == 0 and small.processes == 1 and small.minutes == cluster.SHORTEST_MIN
    none = cluster.resources(BASE, Cluster(gpus_per_node=0))
    assert none.gpus_per_node == 0 and none.processes == 1
    fixed = cluster.resources(
        BASE, Cluster(prefinetune=Stage(nodes=4, tasks_per_node=2, minutes=7, memory_gb=9, cpus_per_task=3))
    )
    assert (fixed.nodes, fixed.tasks_per_node, fixed.minutes, fixed.memory_gb, fixed.cpus_per_task) == (4, 2, 7, 9, 3)


def test_more_processes_than_sub_batches_are_refused() -> None:
    with pytest.raises(UserError, match="only 2 sub-batches"):
        cluster.resources(TINY, Cluster(finetune=Stage(nodes=2, tasks_per_node=2)))


def test_a_warning_as_long_as_the_job_is_refused() -> None:
    with pytest.raises(UserError, match="signal_s = 120 .* leave nothing of the 3 min"):
        cluster.resources(TINY, Cluster(finetune=Stage(minutes=3)))


def test_a_partitions_limit_cuts_an_estimate_and_refuses_a_fixed_time() -> None:
    asked = cluster.resources(BASE, Cluster())
    assert cluster.within(asked, 60, fixed=False, partition="p").minutes == 60
    assert cluster.within(asked, None, fixed=True, partition="p") == asked
    with pytest.raises(UserError, match="'p' allows 60"):
        cluster.within(asked, 60, fixed=True, partition="p")


@given(st.integers(0, 30), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_slurms_times_are_read(days: int, hours: int, minutes: int, seconds: int) -> None:
    whole = days * 1440 + hours * 60 + minutes
    assert cluster.parse_minutes(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == whole
    assert cluster.parse_minutes(f"{hours:02}:{minutes:02}:{seconds:02}") == hours * 60 + minutes
    assert cluster.parse_minutes(f"{minutes}:{seconds:02}") == minutes
    assert cluster.parse_minutes(f"{days}-{hours}") == days * 1440 + hours * 60
    assert cluster.parse_minutes("infinite") is None
