"""What is looked at before anything is sent to a cluster: secrets, folders, logs, room."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from muppet.errors import UserError
from muppet.runs import Prefinetune, Recipe, run_id
from muppet.tasks import get
from studies.kit import cost
from studies.kit.launch.plan import plan
from studies.kit.launch.slurm import preflight
from studies.kit.launch.slurm.cluster import Cluster
from studies.kit.launch.slurm.emit import emit
from tests.kit import small_study


def test_no_secret_is_written_down_and_nobody_else_reads_a_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "HF_TOKEN": "hf_aaaaaaaaaaaa",
        "MUPPET_API_KEY": "key-bbbbbbbbbbbb",
        "HF_ENDPOINT": "https://me:cccccccccccc@hub.example",
        "TORCH_SECRET": "dddddddddddd",
    }
    for name, value in (secrets | {"TOKENIZERS_PARALLELISM": "false", "HF_TOKEN_PATH": "/home/me/token"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    emit(plan({"table3": small_study()}, "smoke"), tmp_path / "scripts", Cluster(gpus_per_node=0))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    texts = {path: path.read_bytes() for path in written}
    assert not [path for path, text in texts.items() for value in secrets.values() if value[-12:].encode() in text]
    python = texts[tmp_path / "scripts/python"].decode()
    assert "TOKENIZERS_PARALLELISM=false" in python and "HF_TOKEN_PATH=/home/me/token" in python
    assert (tmp_path / "scripts").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "scripts/python").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/results: cannot be written"):
        preflight.writable(tmp_path / "file" / "results")
    with pytest.raises(UserError, match="/proc/here"):
        preflight.writable(Path("/proc/here"))
    if Path("/dev/full").exists() and os.geteuid() == 0:
        full = tmp_path / "full"
        full.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(full)], capture_output=True)
        if done.returncode == 0:
            try:
                (full / "all").write_bytes(b"x" * 4096)
                with pytest.raises(UserError, match="full: cannot be written .*No space left"):
                    preflight.writable(full)
            finally:
                subprocess.run(["umount", str(full)], check=True)


def test_logs_that_other_machines_cannot_see_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUPPET_ARTIFACTS", "/tmp/mine")
    with pytest.raises(UserError, match="/tmp/mine .* is of this machine alone"):
        preflight.visible({"node1", "node2"})
    preflight.visible({socket.gethostname()})  # every node is this machine
    mounts = "rootfs / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n"
    kinds = [preflight.filesystem(Path(p), mounts) for p in ("/home/me/x", "/dev/shm/y", "/homes")]
    assert kinds == ["nfs4", "tmpfs", "ext4"]


def test_a_disk_too_small_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    recipe = Recipe(lr=1e-3, max_tokens=256, updates=20, sub_batches=2)
    huge = Prefinetune(model="huge/roberta-large", tasks=(get("rte"),), recipe=recipe, source="twins")
    monkeypatch.setattr(cost.Size, "parameters", property(lambda size: 1e15))
    with pytest.raises(UserError, match="GB free, the 1 runs need about"):
        preflight.room({run_id(huge): huge})
