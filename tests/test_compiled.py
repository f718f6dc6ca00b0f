"""Compiled layers are the plain ones, made once for all lengths, and only where it pays and can be done."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from benchmarks import kernels
from muppet.model import encoder
from muppet.model.batch import copied, make_batch, pack_rows, pad_rows
from muppet.model.multitask import MultiTask
from muppet.runs import R3F
from muppet.runtime import device as device_module
from muppet.runtime.device import Device
from tests.core import artifacts, make_trainer, mixture, shared_artifacts  # noqa: F401

CPU = torch.device("cpu")


def test_the_layers_are_one_graph_around_flash_attention(artifacts):  # noqa: F811
    """All of them, whatever the lengths and their number, forward and backward; tensors lie as a GPU gets them."""
    model = MultiTask.load("tiny/roberta").train()
    device = Device(bf16=True)
    with kernels.on_cpu():
        encoder.enable(model, True, device.autocast(model.width))
        torch._dynamo.reset()
        counters = torch._dynamo.utils.counters
        counters.clear()
        model.compile_layers("aot_eager")
        for n in ([5, 3], [2, 9, 4], [7], [8, 8, 8]):
            batch = copied(pack_rows(np.arange(sum(n)) + 9, np.array(n), np.array(n)), CPU)
            with device.autocast(model.width):
                states = model.encode_rows(batch).states
            states.float().square().mean().backward()
        assert (counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())) == (1, 0)


@pytest.mark.parametrize("fresh", [True, False])
def test_compiled_layers_see_noise_and_its_absence(fresh, artifacts, monkeypatch):  # noqa: F811
    """Compiled code is found again whatever hooks there are, and R3F adds its noise in one."""
    monkeypatch.setattr("muppet.model.cpu.hasten", lambda *_, **__: None)  # whose token table is not compiled
    trainer = make_trainer(mixture("mnli", dropout=0.0, attention_dropout=0.0), Device())
    chosen = [(0, np.arange(3))]
    batch = make_batch(trainer.parts, trainer.specs, chosen, trainer.model.pad, CPU, packed=True)

    def each() -> list[torch.Tensor]:
        made = []
        for r3f in (None, R3F(eps=0.5, fresh_dropout=fresh), None):
            torch.manual_seed(0)
            made += trainer.model.predictions(batch, trainer.specs, r3f)[0]
        return made

    plain = each()
    torch._dynamo.reset()
    trainer.model.compile_layers("eager")
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(each(), plain, strict=True))
    assert not torch.allclose(plain[1], plain[2], atol=1e-3)


def test_compiled_code_is_not_made_anew_for_other_lengths(artifacts):  # noqa: F811
    model = MultiTask.load("tiny/roberta").eval()
    encoder.enable(model)
    batches = [pack_rows(np.arange(sum(n)) + 9, np.array(n), np.array(n)) for n in ([5, 3], [2, 9, 4], [7])]
    plain = [model.encode_rows(batch).states for batch in batches]
    model.backbone.compile(dynamic=True, backend="eager")
    graphs = []
    for batch, states in zip(batches, plain, strict=True):
        assert torch.allclose(model.encode_rows(batch).states, states, atol=1e-6)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert len(set(graphs)) == 1


@pytest.mark.parametrize("demanded", [True, False])
def test_layers_stay_as_they_are_without_a_compiler_unless_it_is_demanded(demanded, artifacts, capsys):  # noqa: F811
    model, rows = (
        MultiTask.load("tiny/roberta").eval(),
        pad_rows(np.arange(6) + 9, np.array([4, 2]), np.array([4, 2]), 1),
    )
    plain = model.encode_rows(rows).states

    def missing(graph, inputs):
        raise OSError("no compiler")

    torch._dynamo.reset()
    assert model.compile_layers(missing, demanded) == demanded
    assert ("its layers are not compiled: " in capsys.readouterr().err) != demanded
    with pytest.raises(Exception, match="no compiler") if demanded else nullcontext():
        assert torch.equal(model.encode_rows(rows).states, plain)


def test_layers_are_compiled_on_a_gpu_for_a_training_that_is_long_enough(artifacts, monkeypatch):  # noqa: F811
    """By the whole training's floating-point operations, which are those of its updates."""
    asked = []
    monkeypatch.setattr(Device, "compiles", lambda self, *given: asked.append(given) or False)
    trainer = make_trainer(mixture("mnli commonsense_qa", updates=7), Device())
    for _ in range(7):
        trainer.update()
    ((packed, flops),) = asked
    assert packed == trainer.packed and flops() == pytest.approx(trainer.meter.counts["flops"], rel=0.3)
    monkeypatch.undo()
    limit = device_module.COMPILE_FLOPS
    for kind, packed, flops, compiled in (
        ("cuda", True, limit, True),
        ("cuda", True, 0.9 * limit, False),
        ("cuda", False, limit, False),
    ):
        assert Device(kind=kind).compiles(packed, lambda: flops) == compiled  # noqa: B023

    def never() -> float:
        """The first update's sub-batches would be drawn for it."""
        pytest.fail("it is no question of size")

    assert not Device(kind="cpu").compiles(True, never)
    assert Device(kind="cuda", compile=True).compiles(True, never)
    assert not Device(kind="cuda", compile=False).compiles(True, never)
    assert not Device(kind="cuda", gradient_checkpointing=True).compiles(True, never)
