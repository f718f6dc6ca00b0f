"""Packed rows are the padded rows: the same states, losses and gradients, or a refusal that says why not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import kernels
from muppet.errors import UserError
from muppet.families.encoded import ranges
from muppet.model import attention, encoder
from muppet.model.batch import pack_rows, pad_rows
from muppet.model.multitask import MultiTask
from muppet.runs import R3F
from muppet.runtime.device import Device
from muppet.training.batching import SubBatch
from muppet.training.forwards import packs, unit_weights
from tests.core import artifacts, make_trainer, mixture, shared_artifacts  # noqa: F401

CPU = torch.device("cpu")
FAMILIES = "mnli stsb commonsense_qa squad_v2 conll2000"


def gradients(trainer):
    """The gradient of the first update, and its losses by dataset."""
    batches = trainer.sampler.update(0)
    weights = unit_weights(batches, "sub_batch", trainer.parts)
    totals = torch.zeros(4, len(trainer.parts) + 1, dtype=torch.float64)
    trainer.model.train()
    for number, pieces in enumerate(trainer._forwards(batches, weights)):
        trainer._accumulate(pieces, number, totals)
    return {name: p.grad for name, p in trainer.model.named_parameters() if p.grad is not None}, totals


def both(model, tasks=FAMILIES, **recipe):
    """Gradients and losses of one update, packed and padded; forwards of several sub-batches, some of them cut."""
    run = mixture(tasks, model, dropout=0.0, attention_dropout=0.0, max_tokens=400, max_length=96, **recipe)
    return [gradients(make_trainer(run, Device(packed=way, micro_tokens=900))) for way in (True, False)]


def agree(ours, plain, tolerance=1e-5):
    assert ours.keys() == plain.keys()
    largest = max(float(g.abs().max()) for g in plain.values())
    for name, gradient in plain.items():
        assert float((ours[name] - gradient).abs().max()) <= tolerance * max(1.0, largest), name


@pytest.mark.parametrize("model", ["tiny/roberta", "tiny/bert", "tiny/electra"])
def test_an_update_has_the_same_gradient_packed_and_padded(model, artifacts):  # noqa: F811
    (ours, our_losses), (plain, losses) = both(model)
    agree(ours, plain)
    assert torch.allclose(our_losses[:, :-1], losses[:, :-1], rtol=1e-5, atol=1e-6)
    assert our_losses[0, -1] == losses[0, -1]  # real tokens
    assert our_losses[1, -1] == our_losses[0, -1] < losses[1, -1]  # nothing but real tokens went through the model


def test_r3f_has_the_same_gradient_packed_and_padded(artifacts):  # noqa: F811
    silent = R3F(eps=0.0)  # noise is drawn in another order; without it both ways compute the same
    (ours, our_losses), (plain, losses) = both("tiny/roberta", "mnli squad", r3f=silent)
    agree(ours, plain)
    assert torch.allclose(our_losses[:, :-1], losses[:, :-1], rtol=1e-5, atol=1e-6)


def test_r3f_noise_reaches_the_second_copy_alone(artifacts):  # noqa: F811
    model = MultiTask.load("tiny/roberta").eval()
    encoder.enable(model)
    lengths = np.array([4, 9, 2])
    batch = pack_rows(np.arange(15) + 9, lengths, lengths)
    states = model.encode_rows(batch, R3F(eps=0.1)).states
    clean = model.encode_rows(batch).states
    for row, n in enumerate(lengths):
        assert torch.allclose(states[row, :n], clean[row, :n], atol=1e-6)
        assert not torch.allclose(states[row + 3, :n], clean[row, :n], atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 2))
def test_attention_stays_inside_rows(lengths, copies):
    batch = pack_rows(np.arange(sum(lengths)), np.array(lengths), np.array(lengths))
    packing, generator = batch.packing.repeated(copies), torch.Generator().manual_seed(0)
    qkv = [torch.randn(copies * sum(lengths), 2, 8, generator=generator, requires_grad=True) for _ in range(3)]
    with kernels.on_cpu():
        out = [kernel(qkv, packing, 0.0, None) for kernel in (attention.by_length, attention.variable_length)]
        ours, theirs = (torch.autograd.grad(o.square().sum(), qkv) for o in out)
    rows = zip(packing.starts.tolist(), packing.own.tolist(), strict=True)
    for start, n in rows:
        alone = [x[start : start + n].transpose(0, 1) for x in qkv]
        expected = torch.nn.functional.scaled_dot_product_attention(*alone).transpose(0, 1)
        assert all(torch.allclose(o[start : start + n], expected, atol=1e-5) for o in out)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.floats(0.0, 0.99), st.integers(0, 2**32))
def test_a_dropout_mask_drops_its_share_and_keeps_the_mean(shape, dropout, seed):
    torch.manual_seed(seed)
    mask = attention.dropout_mask((*shape, 512), dropout)
    n, share = mask.numel(), float((mask == 0).float().mean())
    assert list(mask.shape) == [*shape, 512]
    assert abs(share - dropout) < 6 * (dropout * (1 - dropout) / n) ** 0.5 + 2**-15
    assert torch.allclose(mask[mask > 0], torch.tensor(1 / (1 - dropout)), rtol=2e-3)
    torch.manual_seed(seed)
    assert torch.equal(attention.dropout_mask((*shape, 512), dropout), mask)


def test_places_of_a_dropout_mask_are_independent():
    torch.manual_seed(0)
    mask = (attention.dropout_mask((4, 100_000), 0.3) > 0).float()
    near = torch.corrcoef(torch.stack([mask.flatten()[i : i - 8] for i in range(8)]))  # four come from one draw
    assert float((near - torch.eye(8)).abs().max()) < 0.01


def test_attention_with_dropout_is_attention_whose_weights_went_through_the_mask():
    torch.manual_seed(0)
    query, key = (torch.randn(2, 3, 7, 4, requires_grad=True) for _ in range(2))
    plain = torch.nn.functional.scaled_dot_product_attention
    weights, whole = plain(query, key, torch.eye(7).expand(2, 3, 7, 7)), torch.eye(7).expand(2, 3, 7, 7)
    torch.manual_seed(1)
    found = attention.attention_with_dropout(query, key, whole, 0.4, None)
    torch.manual_seed(1)
    expected = weights * attention.dropout_mask(weights.shape, 0.4)
    assert torch.allclose(found, expected, atol=1e-6) and 0.2 < float((found == 0).float().mean()) < 0.6
    ours, theirs = (torch.autograd.grad(out.square().sum(), (query, key)) for out in (found, expected))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


def test_packed_rows_keep_the_mean_of_their_attention_under_dropout():
    torch.manual_seed(0)
    lengths = np.arange(20, 60)
    batch = pack_rows(np.zeros(lengths.sum(), int), lengths, lengths)
    query, key = (torch.randn(lengths.sum(), 4, 8) for _ in range(2))
    ones = torch.ones_like(query)  # whose sums are those of the weights
    out = attention.by_length([query, key, ones], batch.packing, 0.1, None)
    assert 0.995 < float(out.mean()) < 1.005 and float(out.std()) > 0.05


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.data())
def test_packed_and_padded_batches_hold_the_same_rows(lengths, data):
    second = [data.draw(st.integers(0, n)) for n in lengths]
    given = (np.arange(sum(lengths)).astype(np.uint16), np.array(lengths), np.array(second, np.int32))
    flat, padded = pack_rows(*given), pad_rows(*given, 9999)
    packing = flat.packing
    assert list(packing.lengths) == sorted(lengths) and flat.tokens == padded.tokens == len(flat.ids)
    for row, n in enumerate(lengths):
        place = slice(int(packing.starts[row]), int(packing.starts[row]) + n)
        assert flat.ids[place].tolist() == padded.ids[row, :n].tolist()
        assert packing.positions[place].tolist() == list(range(n))
        assert packing.types[place].tolist() == [int(i >= second[row]) for i in range(n)]
        assert (padded.ids[row, n:] == 9999).all()


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.data())
def test_ranges_of_bounds(sizes, data):
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    which = np.array(data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=9)), dtype=np.int64)
    assert ranges(bounds, which).tolist() == [n for i in which for n in range(bounds[i], bounds[i + 1])]


# ---------------------------------------------------------------- the kernels of a GPU, computed exactly on a CPU


@pytest.mark.parametrize(("scale", "dropout"), [(None, 0.0), (0.3, 0.1)])
@pytest.mark.parametrize(
    ("kind", "kernel", "bound"), [(torch.float32, "efficient", 1e-5), (torch.bfloat16, "flash", 0.03)]
)
def test_each_precision_has_its_kernel_which_gets_rows_scale_and_dropout(kind, kernel, bound, scale, dropout):
    lengths = np.array([5, 9, 1, 17, 17])
    packing = pack_rows(np.arange(49), lengths, lengths).packing
    torch.manual_seed(0)
    qkv = [torch.randn(49, 2, 8, dtype=kind, requires_grad=True) for _ in range(3)]
    calls = []
    with kernels.on_cpu(calls):
        out = attention.variable_length(qkv, packing, dropout, scale)
        ours = torch.autograd.grad(out.float().square().sum(), qkv)
    assert calls == [(kernel, dropout)] and out.dtype == kind
    exact = [x.detach().double().requires_grad_() for x in qkv]
    expected = attention.by_length(exact, packing, 0.0, scale)
    assert float((out - expected).detach().abs().max()) < bound
    theirs = torch.autograd.grad(expected.square().sum(), exact)
    assert all(float((a - b).abs().max()) < bound * float(b.abs().max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("model", ["tiny/roberta", "tiny/bert"])
def test_an_update_through_the_gpu_kernels_has_the_gradient_of_padded_rows(model, artifacts):  # noqa: F811
    """In bf16 two exact ways are further from each other than each is from float32: both are compared with that."""
    run = mixture(FAMILIES, model, dropout=0.0, attention_dropout=0.0, max_tokens=400, max_length=96)
    plain, _ = gradients(make_trainer(run, Device(packed=False, micro_tokens=900)))
    apart = {}
    for bf16 in (False, True):
        calls = []
        with kernels.on_cpu(calls):
            trainer = make_trainer(run, Device(packed=True, bf16=bf16, micro_tokens=900))
            apart[bf16, "packed"] = distance(gradients(trainer)[0], plain)
        assert {kernel for kernel, _ in calls} == {"flash" if bf16 else "efficient"}
    apart[True, "padded"] = distance(gradients(make_trainer(run, Device(packed=False, bf16=True)))[0], plain)
    assert apart[False, "packed"] < 1e-5
    assert apart[True, "packed"] < 2 * apart[True, "padded"] < 0.1


def distance(ours, plain):
    """The largest difference of two gradients, relative to the largest entry."""
    assert ours.keys() == plain.keys()
    return max(float((ours[n] - g).abs().max()) for n, g in plain.items()) / max(
        float(g.abs().max()) for g in plain.values()
    )


def test_a_kernel_that_fails_is_said_and_rows_are_padded(artifacts, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setitem(attention.KERNELS, "cpu", attention.variable_length)  # which CPUs do not have
    run = mixture("mnli", "tiny/roberta")
    with pytest.raises(UserError, match="its rows cannot be packed: the kernel fails: .*_efficient_attention_forward"):
        make_trainer(run, Device(packed=True))
    trainer = make_trainer(run, Device())
    assert "rows are padded, not packed: the kernel fails" in capsys.readouterr().err
    assert not trainer.packed and trainer.update() > 0


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("tiny/mpnet", "computes attention in a way of its own"),
        ("tiny/deberta", "computes attention in a way of its own"),
        ("tiny/bart", "without position ids"),
        ("tiny/t5", "without position ids"),
        ("tiny/marian", "without position ids"),
        ("tiny/modernbert", "not known how modernbert counts positions"),
    ],
)
def test_models_that_cannot_be_packed_are_refused_and_padded_by_default(model, reason, artifacts):  # noqa: F811
    with pytest.raises(UserError, match=reason):
        encoder.enable(MultiTask.load(model))
    with pytest.raises(UserError, match=reason):
        make_trainer(mixture("mnli", model), Device(packed=True))
    trainer = make_trainer(mixture("mnli", model), Device())
    assert not trainer.packed and trainer.update() > 0


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_other_attention_kernels_are_refused(kernel, artifacts):  # noqa: F811
    model = MultiTask.load("tiny/roberta")
    encoder.enable(model)
    model.backbone.set_attn_implementation(kernel)
    batch = pack_rows(np.arange(9) + 9, np.array([4, 5]), np.array([4, 5]))
    with pytest.raises(UserError, match=f"attention '{kernel}' would attend across packed rows"):
        model.encode_rows(batch)


@pytest.mark.parametrize("model", ["tiny/roberta", "tiny/modernbert"])
def test_a_wrong_belief_about_a_model_is_found_out(model, artifacts, monkeypatch):  # noqa: F811
    """RoBERTa taken for a model that counts from 0 (shifted positions), ModernBERT for one without local attention."""
    loaded = MultiTask.load(model)
    before = loaded.backbone.config._attn_implementation
    monkeypatch.setattr(encoder, "POSITIONS_FROM_0", ("roberta", "modernbert"))
    with pytest.raises(UserError, match="packed and padded states differ"):
        encoder.enable(loaded)
    assert loaded.backbone.config._attn_implementation == before


def test_a_model_found_out_is_padded_unless_packing_was_demanded(artifacts, monkeypatch, capsys):  # noqa: F811
    run = mixture("mnli", "tiny/roberta", dropout=0.0, attention_dropout=0.0)
    monkeypatch.setattr(encoder, "POSITIONS_FROM_0", ("roberta",))
    with pytest.raises(UserError, match="packed and padded states differ"):
        make_trainer(run, Device(packed=True))
    trainer = make_trainer(run, Device())
    assert "rows are padded, not packed: packed and padded states differ" in capsys.readouterr().err
    assert not trainer.packed
    assert trainer.update() == make_trainer(run, Device(packed=False)).update()


def test_padded_batches_and_saved_models_do_not_change(artifacts, tmp_path):  # noqa: F811
    model = MultiTask.load("tiny/roberta").eval()
    lengths = np.array([3, 8])
    batch = pad_rows(np.arange(11) + 9, lengths, lengths, model.pad)
    before = model.encode_rows(batch).states
    encoder.enable(model)
    assert torch.equal(model.encode_rows(batch).states, before)
    model.save(tmp_path / "model", "card")
    again = MultiTask.load(str(tmp_path / "model"))
    assert again.backbone.config._attn_implementation == "sdpa"
    assert attention.KERNEL not in (tmp_path / "model" / "config.json").read_text()


# ---------------------------------------------------------------- what goes into a forward


def sub_batches(shapes):
    made = []
    for part, sizes in enumerate(shapes):
        sizes = np.array(sizes)
        units = np.arange(len(sizes)) + 100 * part
        made.append(SubBatch(part=part, units=units, unit_rows=np.ones_like(sizes), unit_lengths=sizes))
    return made


SHAPES = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=30), min_size=1, max_size=20)


@settings(max_examples=80, deadline=None)
@given(SHAPES, st.integers(20, 500), st.sampled_from([1, 2, 3, 4, 8]))
def test_forwards_hold_every_unit_once_with_its_weight(shapes, limit, processes):
    batches = sub_batches(shapes)
    weights = [1 / (2 + i + np.arange(len(batch.units))) for i, batch in enumerate(batches)]
    made = packs(batches, weights, limit, processes, lambda tokens, length: tokens)
    found = sorted(
        (p.part, u, w)
        for pieces in made
        for p in pieces
        for u, w in zip(p.units.tolist(), p.weights.tolist(), strict=True)
    )
    assert found == sorted(
        (b.part, u, w)
        for b, own in zip(batches, weights, strict=True)
        for u, w in zip(b.units.tolist(), own.tolist(), strict=True)
    )
    loads = sorted(sum(p.cost for p in pieces) for pieces in made)
    assert loads[-1] - loads[0] <= max(p.cost for pieces in made for p in pieces) + 1e-9 or len(made) < processes


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(20, 200))
def test_the_grouping_is_the_same_for_any_number_of_processes_that_divides_it(shapes, limit):
    batches = sub_batches(shapes)
    weights = [np.ones(len(batch.units)) for batch in batches]
    count = 1 << (-(-sum(int(b.sizes.sum()) for b in batches) // limit) - 1).bit_length()
    made = [packs(batches, weights, limit, n, lambda tokens, length: tokens) for n in (1, 2, 4, 8) if count % n == 0]
    plain = [[[(p.part, p.units.tolist()) for p in pieces] for pieces in forwards] for forwards in made]
    assert all(p == plain[0] for p in plain)
