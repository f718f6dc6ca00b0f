"""1, 2 and 4 processes take the same step, dropout included; a run saved by two goes on with one; errors reach all."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from muppet import paths
from muppet.errors import UserError
from muppet.runs import run_id
from muppet.runtime import distributed
from tests.core import artifacts, finish, launch, mixture, shared_artifacts  # noqa: F401

pytestmark = pytest.mark.usefixtures("artifacts")
# SGD: Adam would blow up the rounding of gradients that are exactly 0 (a bias that a softmax cancels).
ROWS = "mnli stsb copa squad conll2000"
COMMON = ("optimizer='sgd'", "lr=0.1", "dropout=0.1", "updates=3")


def train(count: int, out: Path, *arguments: str) -> dict[str, torch.Tensor]:
    for code, _, errors in finish(launch(count, *arguments)):
        assert code == 0, errors[-2000:]
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize(
    ("model", "names", "more"),
    [("tiny/roberta", ROWS, ("attention_dropout=0.1",)), ("tiny/bart", ROWS + " xsum", ("r3f=True", "updates=2"))],
)
def test_one_two_and_four_processes_take_the_same_steps(tmp_path, model, names, more):
    found = []
    for count in (1, 2, 4):
        out = tmp_path / f"{count}.pt"
        found.append(train(count, out, names, model, str(out), *COMMON, *more, "micro=256"))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, value in found[0].items():
            torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_run_saved_by_two_processes_goes_on_with_one(tmp_path):
    arguments = (ROWS, "tiny/roberta", *COMMON[:3], "updates=6", "seed=11", "micro=256")
    out = tmp_path / "out.pt"
    names, model, *pairs = arguments
    whole = train(1, out, names, model, str(out), *pairs)
    folder = paths.run_dir(
        run_id(mixture(ROWS, "tiny/roberta", optimizer="sgd", lr=0.1, dropout=0.1, updates=6, seed=11))
    )
    started = launch(2, names, model, str(out), *pairs, "every=0", "pause=0.5")
    deadline = time.monotonic() + 600
    while not list(folder.glob("checkpoint/step-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    started[1].send_signal(signal.SIGTERM)  # one process is told; both stop at the same update
    for code, output, errors in finish(started):
        assert code == 3 and "stopped after update" in output, errors[-2000:]
    (saved,) = folder.glob("checkpoint/step-*")
    assert 0 < int(saved.name.removeprefix("step-")) < 6
    resumed = train(1, out, names, model, str(out), *pairs)
    for name, value in whole.items():
        torch.testing.assert_close(value, resumed[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("other", "messages"),
    [
        (("mnli rte", "tiny/roberta", "seed=1"), ["processes disagree on the run", "processes disagree on the run"]),
        (
            ("mnli rte", "tiny/robert"),
            ["process 1 failed: UserError: unknown tiny model", "did you mean 'tiny/roberta'"],
        ),
    ],
)
def test_an_error_on_one_process_ends_all_with_a_message(tmp_path, other, messages):
    names, model, *pairs = other
    last = (names, model, str(tmp_path / "b.pt"), *pairs)
    started = launch(2, "mnli rte", "tiny/roberta", str(tmp_path / "a.pt"), last=last)
    for (code, _, errors), message in zip(finish(started, timeout=600), messages, strict=True):
        assert code == 2 and message in errors, errors[-2000:]
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_that_cannot_be_written_ends_every_process(tmp_path):
    folder = paths.run_dir(run_id(mixture("mnli rte", updates=2, seed=30)))
    folder.mkdir(parents=True)
    (folder / "checkpoint").symlink_to(tmp_path / "gone" / "with the disk")
    started = launch(2, "mnli rte", "tiny/roberta", str(tmp_path / "out.pt"), "updates=2", "every=0", "seed=30")
    (first, _, errors), (second, _, told) = finish(started, timeout=300)
    assert first != 0 and "checkpoint" in errors
    assert second == 2 and "process 0 failed" in told and "checkpoint" in told


def test_the_result_counts_what_all_processes_did(tmp_path):
    """Tokens, FLOPs and losses of a run on two processes are those of the run on one."""
    out = tmp_path / "out.pt"
    folder = paths.run_dir(run_id(mixture("mnli rte", updates=2, seed=20)))
    found = []
    for count in (1, 2):
        train(count, out, "mnli rte", "tiny/roberta", str(out), "updates=2", "every=0", "seed=20", "micro=256")
        (saved,) = folder.glob("checkpoint/step-*")
        assert json.loads((saved / "meta.json").read_text())["step"] == 2
        found.append(torch.load(saved / "state.pt", weights_only=True)["meter"])
        shutil.rmtree(folder)
    one, two = found
    assert torch.equal(one["units"], two["units"])
    torch.testing.assert_close(one["losses"], two["losses"], rtol=1e-4, atol=1e-4)
    for name in ("real_tokens", "padded_tokens", "flops"):
        assert one["counts"][name] == pytest.approx(two["counts"][name])


def test_two_processes_on_one_gpu_are_refused():
    distributed.check_gpus(["GPU-a", "GPU-b"])
    with pytest.raises(UserError, match="processes 0 and 2 would share one GPU: start 2, one"):
        distributed.check_gpus(["GPU-a", "GPU-b", "GPU-a", "GPU-b"])


def test_processes_that_see_one_gpu_each_or_share_it_are_told_apart(monkeypatch):
    """The group is of one process, and stands for two: what matters is which GPU each says it has."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    chosen, others = [], ["GPU-a", "GPU-b"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="GPU-b"))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "new_group", lambda backend: backend)

    def gather(gpus, own, group):
        assert (own, group) == ("GPU-b", "gloo")  # before NCCL is first used
        gpus[:] = others

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    assert distributed.join("cuda").rank == 1 and chosen == [0]
    others[0] = "GPU-b"
    with pytest.raises(UserError, match="processes 0 and 1 would share one GPU: start 1, one"):
        distributed.join("cuda")
