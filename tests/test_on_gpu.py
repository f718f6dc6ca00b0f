"""What goes to a GPU goes in one copy, and nothing in a forward or backward waits for it; `meta` stands for one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from muppet.model import attention
from muppet.model.batch import in_one_copy, make_batch
from muppet.runs import R3F
from muppet.runtime.device import Device
from muppet.training.trainer import regularised
from tests.core import artifacts, make_trainer, mixture, shared_artifacts  # noqa: F401


def test_what_goes_to_a_gpu_in_one_copy_arrives_as_it_was():
    sent = [
        torch.arange(5, dtype=torch.int32),
        torch.tensor([[True, False, True]]),
        torch.zeros(0, dtype=torch.int64),
        torch.randn(3, 7).t(),
        torch.tensor([2**40, -1]),
        torch.tensor([[3, 4]])[:, 0],  # one number, two apart from the next
        torch.from_numpy(np.array([[5, 6]], dtype=np.int32)[:, 1]),
    ]
    for before, after in zip(sent, in_one_copy(sent, torch.device("cpu")), strict=True):
        assert after.dtype == before.dtype and torch.equal(after, before)


@pytest.mark.parametrize("packed", [True, False])
def test_a_forward_takes_one_copy_to_another_device(packed, artifacts):  # noqa: F811
    """`meta` stands for a GPU: where a tensor goes there, something is copied."""

    class Copies(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += "copy" in str(function) and "meta" in str(kwargs)
            return function(*args, **(kwargs or {}))

    trainer = make_trainer(mixture("mnli stsb commonsense_qa squad conll2000"))
    chosen = [(part, np.arange(2)) for part in range(5)]
    given = (trainer.parts, trainer.specs, chosen, trainer.model.pad)
    weights = [np.ones(2)] * 5
    here = make_batch(*given, torch.device("cpu"), packed, weights)
    with Copies() as copies:
        there = make_batch(*given, torch.device("meta"), packed, weights)
    assert copies.count == 1
    assert there.ids.is_meta and there.ids.shape == here.ids.shape
    for one, other in zip(here.segments, there.segments, strict=True):
        assert other.weights.is_meta and one.fields.keys() == other.fields.keys()
        for name, value in one.fields.items():
            assert other.fields[name].is_meta == (value.ndim > 0)  # single numbers are for Python to read
            assert other.fields[name].shape == value.shape and other.fields[name].dtype == value.dtype


@pytest.mark.parametrize("r3f", [None, R3F()])
def test_nothing_in_a_packed_forward_or_backward_waits_for_a_gpu(r3f, artifacts, monkeypatch):  # noqa: F811
    """`meta` stands for a GPU: its tensors have no values, so that whatever the host would read of them is an error.

    Padded forwards wait once, in transformers' look at the mask.
    """
    monkeypatch.setitem(attention.KERNELS, "meta", lambda qkv, packing, dropout, scaling: sum(qkv))
    trainer = make_trainer(mixture("mnli stsb commonsense_qa squad conll2000 ptb_parsing"), Device(packed=True))
    chosen, weights = (
        [(part, np.arange(1 + part % 2)) for part in range(6)],
        [np.ones(1 + part % 2) for part in range(6)],
    )
    given = (trainer.parts, trainer.specs, chosen, trainer.model.pad)
    batch = make_batch(*given, torch.device("meta"), True, weights)
    model = copy.deepcopy(trainer.model).to("meta")
    losses = model(batch, trainer.specs, r3f)
    total = sum((s.weights * regularised(one, s, r3f)).sum() for s, one in zip(batch.segments, losses, strict=True))
    total.backward()
    assert all(parameter.grad is not None for parameter in model.heads.parameters())
