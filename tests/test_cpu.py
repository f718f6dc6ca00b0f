"""The CPU's own dropout and token table against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from muppet.model import MultiTask, cpu
from muppet.runs import R3F
from muppet.runtime.device import Device
from tests.core import artifacts, make_trainer, mixture, shared_artifacts  # noqa: F401

pytestmark = pytest.mark.usefixtures("artifacts")


@pytest.mark.parametrize("padding", [None, 3])
def test_a_table_gathers_the_gradient_of_all_passes_since_it_was_set_to_none(padding):
    torch.manual_seed(0)
    plain = nn.Embedding(50, 4, padding_idx=padding)
    ours = nn.Embedding(50, 4, padding_idx=padding, _weight=plain.weight.detach().clone())
    ours.__class__ = cpu.TokenTable
    for passes in (1, 3, 2):  # each an update: what the last left behind is gone
        for table in (plain, ours):
            table.weight.grad = None
        for _ in range(passes):
            ids, weight = torch.randint(50, (2, 7)), torch.randn(2, 7, 4)
            for table in (plain, ours):
                (table(ids) * weight).sum().backward()
        torch.testing.assert_close(ours.weight.grad, plain.weight.grad, rtol=1e-5, atol=1e-6)
        ours.weight.grad *= 0.5  # as clipping does


@pytest.mark.parametrize("noise", [None, R3F(eps=0.0), R3F(eps=0.0, fresh_dropout=False)])
@pytest.mark.parametrize("packed", [True, False])
def test_updates_are_those_of_the_modules_that_were_there(packed, noise, monkeypatch):
    """Several forwards an update, clipped gradients, heads without a loss in some updates."""
    run = mixture(
        "mnli stsb squad", "tiny/bert", optimizer="sgd", lr=0.5, clip_norm=0.1, r3f=noise, sub_batches=2,
        dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    device = Device(packed=packed, micro_tokens=200)
    ours = make_trainer(run, device)
    with monkeypatch.context() as patch:
        patch.setattr(cpu, "hasten", lambda *_, **__: None)
        plain = make_trainer(run, device)
    kinds = {type(trainer.model.backbone.get_input_embeddings()) for trainer in (ours, plain)}
    assert kinds == {cpu.TokenTable, nn.Embedding}
    for _ in range(run.recipe.updates):
        losses = ours.update(), plain.update()
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        for (name, a), b in zip(ours.model.named_parameters(), plain.model.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None), name
            torch.testing.assert_close(a, b, rtol=1e-4, atol=2e-5, msg=name)


def test_a_table_that_is_also_the_output_layer_or_summed_with_others_stays():
    for name, alone, kind in (("tiny/bart", True, "BartScaledWordEmbedding"), ("tiny/roberta", False, "Embedding")):
        model = MultiTask.load(name)
        cpu.hasten(model, alone)
        assert type(model.backbone.get_input_embeddings()).__name__ == kind


def test_dropout_drops_its_share_keeps_the_mean_and_passes_the_gradient_where_it_passed_the_value():
    layer = nn.Dropout(0.3)
    layer.__class__ = cpu.Dropout
    value = torch.ones(400, 1000, requires_grad=True)
    torch.manual_seed(1)
    out = layer(value)
    out.sum().backward()
    assert torch.equal(value.grad, out)
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / out.numel()) ** 0.5)
    assert float(out.detach().max()) == pytest.approx(1 / 0.7, rel=1e-4)
    torch.manual_seed(1)
    assert torch.equal(layer(value), out)
    assert not torch.equal(layer(value), out)
    assert torch.equal(layer.eval()(value), value)


def test_every_dropout_of_a_model_on_a_cpu_is_ours():
    backbone = make_trainer(mixture("rte", dropout=0.2)).model.backbone
    layers = [layer for layer in backbone.modules() if isinstance(layer, nn.Dropout)]
    assert layers and {type(layer) for layer in layers} == {cpu.Dropout}
    assert 0.2 in {layer.p for layer in layers}
