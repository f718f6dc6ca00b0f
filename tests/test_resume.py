"""A run that was killed, stopped, or met a bad checkpoint: the end is bit for bit the same."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from muppet import paths
from muppet.errors import UserError
from muppet.runs import run_id
from muppet.runtime import checkpoint
from muppet.runtime import device as device_module
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.training.train import train
from tests.core import artifacts, files_of_at_most, finish, launch, make_trainer, mixture, shared_artifacts  # noqa: F401

pytestmark = pytest.mark.usefixtures("artifacts")
NAMES = "mnli stsb copa squad"
RECIPE = dict(dropout=0.1, updates=8, loss_scaling="inverse_loss", clip_norm=1.0)
PAIRS = tuple(f"{key}={value!r}" for key, value in RECIPE.items())


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def wait_for(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        steps = [int(place.name.removeprefix("step-")) for place in folder.glob("checkpoint/step-*")]
        if steps and max(steps) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("no checkpoint came")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR2])
def test_a_run_that_was_ended_anywhere_and_started_again_ends_bit_identical(tmp_path, number):
    seed = int(number)
    folder = paths.run_dir(run_id(mixture(NAMES, seed=seed, **RECIPE)))
    arguments = (NAMES, "tiny/roberta", str(tmp_path / "out.pt"), *PAIRS, f"seed={seed}")
    ((code, _, errors),) = finish(launch(1, *arguments))
    assert code == 0, errors[-2000:]
    whole = torch.load(tmp_path / "out.pt", weights_only=True)
    shutil.rmtree(folder)
    started = launch(1, *arguments, "every=0", "pause=0.2")
    wait_for(folder, random.randint(1, 6))
    time.sleep(random.random() * 0.3)  # also in the middle of an update, or of writing
    started[0].send_signal(number)
    ((code, output, _),) = finish(started)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 3), output
    assert not (folder / "model").exists()
    ((code, _, errors),) = finish(launch(1, *arguments, "every=0"))
    assert code == 0, errors[-2000:]
    assert same(whole, torch.load(tmp_path / "out.pt", weights_only=True))
    assert not list(folder.glob("checkpoint/.writing.*"))


def test_going_on_takes_no_replay(tmp_path):
    """The resumed trainer computes the remaining updates only, and its loss curve is whole."""
    trainer = make_trainer(mixture(NAMES, **RECIPE), Device())
    train(trainer, "whole", tmp_path / "whole")
    half = make_trainer(mixture(NAMES, **RECIPE), Device())
    for _ in range(5):
        half.update()
    checkpoint.save(tmp_path / "half" / "checkpoint", "half", 5, half.state())
    again = make_trainer(mixture(NAMES, **RECIPE), Device())
    done: list[int] = []
    update = again.update

    def counted() -> float:
        done.append(again.step)
        return update()

    again.update = counted
    train(again, "half", tmp_path / "half")
    assert done == [5, 6, 7]
    assert same(weights_of(trainer), weights_of(again))
    assert torch.equal(trainer.meter.losses, again.meter.losses) and torch.equal(trainer.meter.units, again.meter.units)


@pytest.mark.parametrize(
    ("room", "recomputes", "bits", "said"),
    [
        (None, False, True, ""),
        (200, True, True, ""),  # of tokens without gradient checkpointing
        (130, False, False, "forwards of 130 tokens from update 6 on, of 300 before: less memory is left"),
    ],
)
def test_forwards_stay_as_large_as_before_the_stop(tmp_path, monkeypatch, capsys, room, recomputes, bits, said):
    """Dropout is drawn by forward, and the machine's memory says how large they are. 300 tokens: not its choice."""
    run = mixture(NAMES, **RECIPE)
    whole, half = (make_trainer(run, Device(micro_tokens=300)) for _ in range(2))
    train(whole, "whole", tmp_path / "whole")
    for _ in range(5):
        half.update()
    checkpoint.save(tmp_path / "half" / "checkpoint", "half", 5, half.state())
    if room:
        kept = device_module.KEPT * 2 * whole.model.width  # of two layers
        memory = (device_module.STATE * len_of(whole) + (room + 0.5) * kept) / device_module.MEMORY
        monkeypatch.setattr(Device, "memory", property(lambda _: memory))
    again = make_trainer(run, Device())
    assert again.device.micro_tokens == (room or Device().micro_tokens)
    train(again, "half", tmp_path / "half")
    assert same(weights_of(whole), weights_of(again)) == bits
    assert again.model.backbone.is_gradient_checkpointing == recomputes
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("forwards of")]
    assert len(told) == bool(said) and all(line.startswith(said) for line in told)


def len_of(trainer) -> int:
    return sum(weight.numel() for weight in trainer.parameters)


def test_a_checkpoint_that_does_not_say_how_large_forwards_were_is_gone_on_from():
    run = mixture(NAMES, **RECIPE)
    first, again = (make_trainer(run, Device(micro_tokens=limit)) for limit in (300, 600))
    first.update()
    old = first.state()
    del old["forwards"]
    again.restore(1, old)
    assert again.step == 1 and again.device.micro_tokens == 600 and same(weights_of(first), weights_of(again))


def small_state() -> dict:
    return {"plan": "p", "weights": torch.arange(5)}


def test_only_the_last_checkpoint_is_kept_and_it_reads_back(tmp_path):
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, "a", step, small_state())
    assert [place.name for place in tmp_path.iterdir()] == ["step-00000003"]
    step, state = checkpoint.load(tmp_path, "a")
    assert step == 3 and torch.equal(state["weights"], torch.arange(5))


def test_of_two_checkpoints_the_newest_whole_one_is_read(tmp_path):
    """As a process leaves them that ends after writing one, before it drops the last."""
    for step in (9, 10):
        checkpoint.save(tmp_path / "alone", "a", step, small_state())
        shutil.copytree(tmp_path / "alone" / f"step-{step:08d}", tmp_path / f"step-{step:08d}")
    assert checkpoint.load(tmp_path, "a")[0] == 10
    (tmp_path / "step-00000010" / "state.pt").write_bytes(b"")
    assert checkpoint.load(tmp_path, "a")[0] == 9


def test_a_checkpoint_of_another_run_is_an_error(tmp_path):
    checkpoint.save(tmp_path, "a", 1, small_state())
    with pytest.raises(UserError, match=r"step-00000001: a checkpoint of another run \(a, not b\)"):
        checkpoint.load(tmp_path, "b")


@pytest.mark.parametrize("damage", ["flip", "truncate", "meta", "missing"])
def test_a_damaged_checkpoint_is_passed_over_with_a_line(tmp_path, capsys, damage):
    checkpoint.save(tmp_path, "a", 5, small_state())
    state, meta = tmp_path / "step-00000005" / "state.pt", tmp_path / "step-00000005" / "meta.json"
    data = bytearray(state.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        state.write_bytes(data)
    elif damage == "truncate":
        state.write_bytes(data[:-10])
    elif damage == "meta":
        meta.write_text('{"run": "a"')
    else:
        state.unlink()
    assert checkpoint.load(tmp_path, "a") is None
    assert "step-00000005: damaged checkpoint, passed over" in capsys.readouterr().err
    checkpoint.save(tmp_path, "a", 3, small_state())  # the run began again, and is not there yet
    assert [place.name for place in tmp_path.iterdir()] == ["step-00000003"]


@pytest.mark.parametrize("size", [100, 5000])
def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, size):
    checkpoint.save(tmp_path, "a", 1, small_state())
    large = small_state() | {"large": torch.zeros(100_000)}
    with files_of_at_most(size), pytest.raises(OSError, match=f"File too large: '{tmp_path}'"):
        checkpoint.save(tmp_path, "a", 2, large)
    assert [place.name for place in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.load(tmp_path, "a")[0] == 1


def test_changed_data_under_a_checkpoint_is_an_error(tmp_path):
    trainer = make_trainer(mixture(NAMES, **RECIPE), Device())
    trainer.update()
    checkpoint.save(tmp_path / "checkpoint", "a", 1, trainer.state())
    other = make_trainer(mixture(NAMES, rows=30, **RECIPE), Device())
    with pytest.raises(UserError, match="made on other data"):
        train(other, "a", tmp_path)
    assert other.processes == Processes()
