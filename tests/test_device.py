"""Recomputing and compiling change memory and time, never gradients; a forward is as large as memory allows."""

from __future__ import annotations

import ctypes
import os
from dataclasses import replace
from types import SimpleNamespace

import psutil
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.model import MultiTask
from muppet.runs import R3F
from muppet.runtime import device as device_module
from muppet.runtime import memory
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.stages.evaluate import evaluate
from muppet.training.forwards import unit_weights
from muppet.training.trainer import Trainer
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
    trainer, compiled = (make_trainer(mixture("mnli"), Device(compile=yes)) for yes in (False, True))
    assert all(module._compiled_call_impl is None for module in trainer.model.modules())
    whole = [module for module in compiled.model.modules() if module._compiled_call_impl is not None]
    assert whole == list(compiled.model.backbone.encoder.layer)
    assert not trainer.model.backbone.is_gradient_checkpointing
    assert not Device.detect().compile and trainer.device.micro_tokens == Device().micro_tokens
    assert (trainer.compiled, compiled.compiled) == (False, True)


# ---------------------------------------------------------------- precision


@pytest.mark.parametrize("has", [True, False])
@pytest.mark.parametrize(
    ("asked", "precisions"), [("", ("fp32", "bf16")), ("fp32", ("fp32", "fp32")), ("bf16", ("bf16", "bf16"))]
)
def test_wide_models_are_in_bf16_where_the_cpu_has_it_and_all_in_what_is_asked_for(asked, precisions, has, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has, "amx_bf16": False})
    monkeypatch.setenv("MUPPET_DEVICE", "cpu")
    monkeypatch.setenv("MUPPET_PRECISION", asked)
    expected = precisions if asked or has else ("fp32", "fp32")
    widths = (device_module.CPU_BF16_WIDTH - 1, device_module.CPU_BF16_WIDTH)
    assert tuple(Device.detect().precision(width) for width in widths) == expected


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("MUPPET_PRECISION", "MUPPET_PRECISION='fp16': choose fp32 or bf16"),
        ("MUPPET_DEVICE", "MUPPET_DEVICE='fp16': choose cpu or cuda"),
        ("MUPPET_COMPILE", "MUPPET_COMPILE='fp16': choose no or yes"),
    ],
)
def test_what_the_environment_asks_for_must_exist(variable, message, monkeypatch):
    monkeypatch.setenv(variable, "fp16")
    with pytest.raises(UserError) as raised:
        Device.detect()
    assert str(raised.value) == message


def test_a_gpu_s_settings_are_there_before_cuda_starts(monkeypatch):
    """The allocator reads its own once, when anything asks the GPU for a property."""
    seen = []
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "")
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    monkeypatch.setenv("MUPPET_DEVICE", "cuda")
    monkeypatch.setenv("MUPPET_PRECISION", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda **_: seen.append(os.environ["PYTORCH_ALLOC_CONF"]) or True
    )
    for asked, compiled in (("", None), ("no", False), ("yes", True)):
        monkeypatch.setenv("MUPPET_COMPILE", asked)
        expected = Device(kind="cuda", bf16=True, micro_tokens=device_module.MICRO_TOKENS, compile=compiled)
        assert Device.detect() == expected
    assert seen == ["expandable_segments:True"] * 3
    monkeypatch.setenv("MUPPET_DEVICE", "cpu")
    assert not Device.detect().compile


def test_workers_that_share_a_gpu_plan_with_a_share_of_its_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80 * GIGABYTE))
    assert Device(kind="cuda").memory == 80 * GIGABYTE
    monkeypatch.setenv("MUPPET_SHARED_BY", "8")
    assert Device(kind="cuda").memory == 10 * GIGABYTE


def test_only_products_are_in_bf16(artifacts):  # noqa: F811
    """Weights, gradients, the optimiser's moments and the losses are float32, and the loss is near that in fp32."""
    losses = []
    for bf16 in (False, True):
        trainer = make_trainer(mixture("mnli stsb commonsense_qa squad conll2000", sub_batches=4), Device(bf16=bf16))
        products = []
        trainer.model.backbone.encoder.layer[0].output.dense.register_forward_hook(
            lambda _module, _inputs, output, seen=products: seen.append(output.dtype)
        )
        losses.append(trainer.update())
        assert set(products) == {torch.bfloat16 if bf16 else torch.float32}
        state = [v for one in trainer.optimizer.state.values() for v in one.values()]
        kept = [*trainer.model.parameters(), *gradient_of(trainer).values(), *state]
        assert {tensor.dtype for tensor in kept} == {torch.float32}
        sub_batches = trainer.sampler.update(1)
        batches = trainer._forwards(sub_batches, unit_weights(sub_batches, "example", trainer.parts))
        assert all(one.loss.dtype == torch.float32 for one in trainer._forward(batches[0], 0)[1])
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


# ---------------------------------------------------------------- memory that runs out


@pytest.mark.parametrize("packed", [True, False])
def test_an_update_that_memory_does_not_hold_is_done_again_in_smaller_forwards(packed, artifacts, monkeypatch, capsys):  # noqa: F811
    """In the same bits as if they had been small from the start, although some gradients had come."""
    run = mixture("mnli commonsense_qa squad", dropout=0.1)
    large, small = (make_trainer(run, Device(packed=packed, micro_tokens=limit)) for limit in (1000, 500))
    forward, done = Trainer._forward, []

    def some(self, pieces, number):
        if self.device.micro_tokens > 500 and self.step == 1 and done[-1:] == [1000]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        done.append(self.device.micro_tokens)
        return forward(self, pieces, number)

    large.update()
    small.device = large.device
    small.update()
    small.device = replace(large.device, micro_tokens=500)
    done.clear()
    monkeypatch.setattr(Trainer, "_forward", some)
    assert [large.update() for _ in range(2)] == [small.update() for _ in range(2)]
    for name, weight in small.model.state_dict().items():
        assert torch.equal(large.model.state_dict()[name], weight), name
    assert done[0] == 1000 and large.device.micro_tokens == 500
    assert capsys.readouterr().err.endswith("update 2: no memory for forwards of 1,000 tokens: 500 now\n")


def test_memory_that_holds_no_example_ends_training_in_one_line(artifacts, monkeypatch):  # noqa: F811
    def none(self, *_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")

    trainer = make_trainer(mixture("mnli"))
    monkeypatch.setattr(Trainer, "_forward", none)
    with pytest.raises(UserError) as raised:
        trainer.update()
    limit = trainer.largest
    told = f"update 1: the memory of cpu ran out, with forwards of {limit:,} tokens; lower max_length, take a smaller"
    assert str(raised.value).startswith(told) and "\n" not in str(raised.value)
    trainer.device = replace(trainer.device, micro_tokens=4096)
    trainer.processes = Processes(count=2)  # what others have begun to add up cannot be begun again
    with pytest.raises(UserError, match="or start on one process, which goes on in smaller forwards"):
        trainer.update()


def test_scoring_that_memory_does_not_hold_is_one_line(artifacts, monkeypatch):  # noqa: F811
    def none(self, *_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    trainer = make_trainer(mixture("mnli"))
    monkeypatch.setattr(MultiTask, "predictions", none)
    given = (trainer.model, trainer.parts[0], trainer.specs[0], "train", trainer.device, trainer.processes)
    with pytest.raises(UserError, match="mnli, scoring train: the memory of cpu ran out, with forwards of 4,096"):
        evaluate(*given)


def test_a_cpus_memory_runs_out_in_the_same_words_and_other_errors_pass():
    with pytest.raises(UserError, match="rows: the memory of cpu ran out"), Device().enough("rows"):
        torch.empty(1 << 50)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), Device().enough("rows"):
        torch.ones(2, 3) @ torch.ones(2, 3)


# ---------------------------------------------------------------- as large as memory allows

SHAPE = {"weights": 355_000_000, "layers": 24, "width": 1024, "tokens": 4400}  # RoBERTa-large


@pytest.mark.parametrize(
    ("gigabytes", "copies", "micro_tokens", "recomputes"),
    [
        (80, 1, 26_046, False),
        (80, 2, 13_023, False),
        (40, 1, 11_579, False),
        (24, 2, 20_000, True),
        (141, 1, 48_000, False),
    ],
)
def test_roberta_large_fits(gigabytes, copies, micro_tokens, recomputes, monkeypatch):
    monkeypatch.setattr(Device, "memory", property(lambda _: gigabytes * 10**9))
    found = Device(micro_tokens=device_module.MICRO_TOKENS).fitted(**SHAPE, copies=copies)
    assert (found.gradient_checkpointing, found.micro_tokens) == (recomputes, pytest.approx(micro_tokens, rel=0.2))


@pytest.mark.parametrize(("model", "limit"), [("tiny/roberta", device_module.MICRO_TOKENS), ("tiny/deberta", 32768)])
def test_models_that_pad_take_smaller_forwards(model, limit, artifacts):  # noqa: F811
    fitted = MultiTask.load(model).fitted(Device(micro_tokens=device_module.MICRO_TOKENS), 400, 1)
    assert fitted.micro_tokens == limit


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


GIGABYTE = 1 << 30


@pytest.mark.parametrize(
    ("files", "environment", "gigabytes"),
    [
        ({}, {}, 64),
        ({"proc/self/cgroup": "0::/job/step", "sys/fs/cgroup/job/memory.max": 8 * GIGABYTE}, {}, 8),
        (
            {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/memory.max": 2**31},
            {},
            2,
        ),
        (  # version 1; a container sees its own group at the top
            {
                "proc/self/cgroup": "4:cpu,memory:/outside\n0::/",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": 4 * GIGABYTE,
            },
            {},
            4,
        ),
        ({"proc/self/cgroup": "4:memory:/", "sys/fs/cgroup/memory/memory.limit_in_bytes": 2**63 - 4096}, {}, 64),
        ({}, {"SLURM_MEM_PER_NODE": "16384"}, 16),
        ({}, {"SLURM_MEM_PER_NODE": "16384", "SLURM_NTASKS_PER_NODE": "4"}, 4),
        ({}, {"SLURM_MEM_PER_NODE": "0"}, 64),
        ({}, {"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_PER_TASK": "3", "SLURM_NTASKS_PER_NODE": "4"}, 6),
        ({}, {"LOCAL_WORLD_SIZE": "2"}, 32),
    ],
)
def test_a_run_plans_with_the_memory_of_its_job(files, environment, gigabytes, tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("SLURM_") or name == "LOCAL_WORLD_SIZE":
            monkeypatch.delenv(name)
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 64 * GIGABYTE // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert memory.allowed(tmp_path) == gigabytes * GIGABYTE


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="no glibc: there is nothing to give back")
def test_memory_that_small_pieces_left_behind_is_given_back():
    held = [torch.ones(10_000) for _ in range(8_000)]  # 40 kB each: from the heap, and not a mapping of their own
    held = held[::40]  # what is kept stands between what is free
    before = psutil.Process().memory_info().rss
    device_module.release_memory()
    assert before - psutil.Process().memory_info().rss > 200e6 and all(t.sum() == 10_000 for t in held)
