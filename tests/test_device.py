"""Recomputing and compiling change memory and time, never gradients; a forward is as large as memory allows."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import psutil
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.runs import R3F
from muppet.runtime import device as device_module
from muppet.runtime.device import Device
from tests.core import artifacts, make_trainer, mixture, shared_artifacts  # noqa: F401


def update(model, device, tasks="mnli commonsense_qa squad", **recipe):
    """One update with dropout → the gradient, the loss, and the bytes that forwards kept for the backward pass."""
    trainer = make_trainer(mixture(tasks, model, sub_batches=4, max_tokens=400, **recipe), device)
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = trainer.update()
    return gradient_of(trainer), loss, kept


def gradient_of(trainer):
    return {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}


def same(ours, plain):
    assert ours.keys() == plain.keys()
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, gradient in plain.items():
        assert float((ours[name] - gradient).abs().max()) <= 1e-5 * largest, name


@pytest.mark.parametrize(
    ("model", "packed", "recipe"),
    [
        ("tiny/roberta", True, {}),
        ("tiny/roberta", True, {"r3f": R3F()}),
        ("tiny/bert", False, {}),
        ("tiny/deberta", False, {}),
        ("tiny/bart", False, {"tasks": "mnli xsum", "label_smoothing": 0.1}),
    ],
)
def test_recomputing_keeps_the_gradient_and_less_memory(model, packed, recipe, artifacts):  # noqa: F811
    """With dropout on: what is computed again draws the same."""
    plain, loss, kept = update(model, Device(packed=packed, gradient_checkpointing=False), **recipe)
    again, loss_again, kept_again = update(model, Device(packed=packed, gradient_checkpointing=True), **recipe)
    same(again, plain)
    assert loss_again == pytest.approx(loss, rel=1e-6)
    assert kept_again < 0.6 * kept


def test_a_model_that_cannot_recompute_is_named(artifacts):  # noqa: F811
    with pytest.raises(UserError, match="mpnet has no gradient checkpointing"):
        make_trainer(mixture("mnli", "tiny/mpnet"), Device(gradient_checkpointing=True))


def test_nothing_is_compiled_or_recomputed_unless_asked_or_needed(artifacts):  # noqa: F811
    trainer = make_trainer(mixture("mnli"), Device())
    assert trainer.model.backbone._compiled_call_impl is None
    assert make_trainer(mixture("mnli"), Device(compile=True)).model.backbone._compiled_call_impl is not None
    assert not trainer.model.backbone.is_gradient_checkpointing
    assert not Device.detect().compile and trainer.device.micro_tokens == Device().micro_tokens


# ---------------------------------------------------------------- as large as memory allows

SHAPE = {"weights": 355_000_000, "layers": 24, "width": 1024, "tokens": 4400}  # RoBERTa-large


@pytest.mark.parametrize(
    ("gigabytes", "copies", "micro_tokens", "recomputes"),
    [
        (80, 1, 26_046, False),
        (80, 2, 13_023, False),
        (40, 1, 11_579, False),
        (24, 2, 20_000, True),
        (141, 1, 32768, False),
    ],
)
def test_roberta_large_fits(gigabytes, copies, micro_tokens, recomputes, monkeypatch):
    monkeypatch.setattr(Device, "memory", property(lambda _: gigabytes * 10**9))
    found = Device(micro_tokens=device_module.MICRO_TOKENS).fitted(**SHAPE, copies=copies)
    assert (found.gradient_checkpointing, found.micro_tokens) == (recomputes, pytest.approx(micro_tokens, rel=0.2))


@given(
    st.integers(10**8, 10**12),
    st.integers(10**6, 10**10),
    st.integers(1, 48),
    st.integers(64, 4096),
    st.integers(1, 10_000),
    st.sampled_from([1, 2]),
    st.sampled_from([None, True, False]),
)
def test_forwards_fit_and_hold_a_sub_batch(memory, weights, layers, width, tokens, copies, asked):
    device = Device(micro_tokens=32768, gradient_checkpointing=asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Device, "memory", property(lambda _: memory))
        found = device.fitted(weights=weights, layers=layers, width=width, tokens=tokens, copies=copies)
    assert asked is None or found.gradient_checkpointing is asked
    assert found == replace(
        device, micro_tokens=found.micro_tokens, gradient_checkpointing=found.gradient_checkpointing
    )
    assert min(tokens, 32768) <= found.micro_tokens <= 32768
    assume(found.micro_tokens > tokens)
    kept = device_module.KEPT_RECOMPUTING if found.gradient_checkpointing else device_module.KEPT
    need = device_module.STATE * weights + found.micro_tokens * copies * width * layers * kept
    assert need <= device_module.MEMORY * memory


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc: there is nothing to give back")
def test_memory_that_small_pieces_left_behind_is_given_back():
    held = [torch.ones(10_000) for _ in range(8_000)]  # 40 kB each: from the heap, and not a mapping of their own
    held = held[::40]  # what is kept stands between what is free
    before = psutil.Process().memory_info().rss
    device_module.release_memory()
    assert before - psutil.Process().memory_info().rss > 200e6 and all(t.sum() == 10_000 for t in held)
