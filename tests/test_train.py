"""One update is what the recipe says, however it is computed; the recipe's alternatives do what they name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from muppet.errors import UserError
from muppet.families.encoded import Part
from muppet.model.batch import make_batch
from muppet.model.losses import scale
from muppet.runs import R3F, Recipe
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.stages import record
from muppet.training.meter import Meter
from muppet.training.trainer import Trainer, learning_rate
from tests.core import artifacts, make_trainer, mixture, recipe, shared_artifacts  # noqa: F401

pytestmark = pytest.mark.usefixtures("artifacts")
FAMILIES = "mnli stsb commonsense_qa squad conll2000"


def parameters(trainer) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def close(a, b, atol=2e-5) -> None:
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-4, atol=atol, msg=name)


@pytest.mark.parametrize("averaging", ["sub_batch", "example", "token"])
@pytest.mark.parametrize(
    ("model", "r3f"), [("tiny/roberta", None), ("tiny/roberta", R3F(eps=0.1, weight=0.7)), ("tiny/bart", None)]
)
def test_an_update_is_the_gradient_of_the_mean(averaging, model, r3f, monkeypatch):
    """Against a plain reading of the method: one forward per sub-batch, and the mean of its scaled losses: of all
    examples, of the sub-batches' means, or over tokens (a summary's, one for any other example)."""
    slope = torch.linspace(-1, 1, 64)  # noise that is the same whichever rows share a forward
    monkeypatch.setattr("muppet.model.r3f.noise_like", lambda x, how: how.eps * slope[: x.shape[-1]].expand_as(x))
    trainer = make_trainer(
        mixture(
            FAMILIES + (" xsum" if model == "tiny/bart" else ""),
            model,
            averaging=averaging,
            optimizer="sgd",
            weight_decay=0.0,
            lr=1.0,
            schedule="constant",
            max_tokens=192,
            label_smoothing=0.1,
            r3f=r3f,
        ),
        Device(micro_tokens=512),
    )
    before = parameters(trainer)
    batches = trainer.sampler.update(0)
    losses, tokens = [], []
    for batch in batches:
        rows = make_batch(
            trainer.parts, trainer.specs, [(batch.part, batch.units)], trainer.model.pad, torch.device("cpu")
        )
        (found,) = trainer.model.train()(rows, trainer.specs, r3f, 0.1)
        extra = 0.0 if found.divergence is None else 0.7 * found.divergence
        losses.append(scale(found.loss + extra, found.n))
        targets = trainer.parts[batch.part].encoded.target_offsets
        tokens.append(np.ones(len(batch.units)) if targets is None else np.diff(targets)[batch.units])
    whole, counts = torch.cat(losses), torch.from_numpy(np.concatenate(tokens))
    mean = {
        "example": whole.mean(),
        "sub_batch": torch.stack([loss.mean() for loss in losses]).mean(),
        "token": (whole * counts).sum() / counts.sum(),
    }[averaging]
    mean.backward()
    expected = {n: before[n] - (0 if p.grad is None else p.grad) for n, p in trainer.model.named_parameters()}
    assert trainer.update() == pytest.approx(mean.item(), rel=1e-5)
    close(expected, parameters(trainer))


def test_merging_sub_batches_into_one_forward_changes_nothing():
    made = mixture(FAMILIES, optimizer="sgd", lr=0.1)  # Adam would blow up the rounding of gradients that are 0
    runs = [make_trainer(made, Device(micro_tokens=limit)) for limit in (1, 512, 100_000)]
    for _ in range(3):
        for trainer in runs:
            trainer.update()
    for other in runs[1:]:
        close(parameters(runs[0]), parameters(other))


def test_dropout_depends_on_the_update_and_not_on_what_was_drawn_before():
    made = [make_trainer(mixture(FAMILIES, dropout=0.3, attention_dropout=0.1)) for _ in range(2)]
    for index, trainer in enumerate(made):
        torch.manual_seed(index)
        np.random.seed(index)
        trainer.update()
    for name, value in parameters(made[0]).items():
        assert torch.equal(value, parameters(made[1])[name]), name


def test_heads_without_a_sub_batch_are_skipped_or_moved_by_zeros():
    """With Adam a skipped head stays where it is; a zero gradient still decays it (fairseq's behaviour)."""
    for unused, moves in (("skip", False), ("zero", True)):
        trainer = make_trainer(mixture("mnli rte", unused_heads=unused, sub_batches=1, batching="batch_homogeneous"))
        before = parameters(trainer)
        idle = {"mnli", "rte"} - {trainer.names[trainer.sampler.update(0)[0].part]}
        trainer.update()
        name = f"heads.{idle.pop()}.out.weight"
        assert torch.equal(before[name], parameters(trainer)[name]) != moves


def test_commonsense_and_span_share_a_head_unless_asked_otherwise():
    shared = make_trainer(mixture("copa openbookqa squad squad_v2 mnli rte"))
    assert sorted(shared.model.heads) == ["commonsense", "mnli", "rte", "span"]
    apart = make_trainer(mixture("copa openbookqa squad squad_v2 mnli rte", heads="per_dataset"))
    assert sorted(apart.model.heads) == ["copa", "mnli", "openbookqa", "rte", "squad", "squad_v2"]


def test_a_heads_first_weights_do_not_depend_on_the_other_datasets():
    alone, among = make_trainer(mixture("rte", seed=5)), make_trainer(mixture("mnli rte copa", seed=5))
    other = make_trainer(mixture("rte", seed=6))
    key = "heads.rte.dense.weight"
    assert torch.equal(parameters(alone)[key], parameters(among)[key])
    assert not torch.equal(parameters(alone)[key], parameters(other)[key])


def test_loss_scalings():
    """Of the first update, at the same weights: log n divides, none leaves; then the running loss divides."""
    first = {}
    for kind in ("log_n", "none", "inverse_loss"):
        trainer = make_trainer(mixture("mnli commonsense_qa", loss_scaling=kind, lr=0.0, sub_batches=40))
        trainer.update()
        first[kind] = [trainer.meter.ends(part, share=1)[0] for part in (0, 1)]
    for part, n in ((0, 3), (1, 5)):
        assert first["log_n"][part] == pytest.approx(first["none"][part] / math.log(n), rel=1e-5)
        assert first["inverse_loss"][part] == pytest.approx(first["log_n"][part], rel=1e-5)  # nothing observed yet
    assert list(trainer.running.tolist()) == pytest.approx(first["none"], rel=1e-4)
    trainer.update()  # now over the observed loss, which at lr 0 changes only by sampling
    bins = (trainer.meter.losses / trainer.meter.units)[-3]
    assert bins.tolist() == pytest.approx([1.0, 1.0], abs=0.2)
    expected = [loss * (0.99 + 0.01 * float(now)) for loss, now in zip(first["none"], bins, strict=True)]
    assert trainer.running.tolist() == pytest.approx(expected, rel=1e-5)


def test_dataset_size_scaling_is_inverse_to_size_and_one_on_average():
    base = make_trainer(mixture("mnli rte"))
    parts = [
        Part(encoded=base.parts[0].encoded, units=np.arange(30)),
        Part(encoded=base.parts[1].encoded, units=np.arange(10), weight=2),
    ]
    trainer = Trainer(base.model, parts, base.specs, recipe(loss_scaling="dataset_size"), 0, Device(), Processes())
    assert trainer.size_factor.tolist() == pytest.approx([50 / (2 * 30), 50 / (2 * 20)])
    trainer.update()
    scaled = [trainer.meter.ends(part, share=1)[0] for part in (0, 1)]
    assert scaled == pytest.approx((trainer.running.numpy() * trainer.size_factor).tolist(), rel=1e-5)
    drawn = np.repeat(*np.array([(batch.part, len(batch.units)) for batch in trainer.sampler.update(0)]).T)
    averaged, weighed = trainer.meter.shares.tolist()
    assert averaged == pytest.approx((np.bincount(drawn) / len(drawn)).tolist())
    assert weighed == pytest.approx((averaged * trainer.size_factor).tolist())


@pytest.mark.parametrize("warmup", [{"warmup_updates": 10}, {"warmup_share": 0.1}])
def test_learning_rate_warms_up_and_falls_to_zero(warmup):
    made = Recipe(lr=2.0, max_tokens=1, updates=100, **warmup)
    rates = [learning_rate(made, 100, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2) and rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0) and rates[100] == 0
    assert np.allclose(np.diff(rates[10:]), -2.0 / 90)
    assert learning_rate(Recipe(lr=2.0, max_tokens=1, updates=100, schedule="constant"), 100, 99) == 2.0


def test_clipping_bounds_the_step_of_sgd():
    trainer = make_trainer(
        mixture("mnli", optimizer="sgd", weight_decay=0.0, lr=1.0, clip_norm=0.01, schedule="constant")
    )
    before = parameters(trainer)
    trainer.update()
    after = parameters(trainer)
    step = math.sqrt(sum(float(((after[n] - before[n]) ** 2).sum()) for n in before))
    assert step == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_two_updates_are_those_of_the_optimiser_by_hand(kind):
    """With warm-up, and decay of all parameters: of biases and norms too."""
    made = dict(optimizer="sgd" if kind == "sgd" else "adam", decoupled=kind == "adamw", lr=0.02, warmup_updates=2)
    trainer = make_trainer(mixture("mnli", **made, adam_betas=(0.6, 0.8), adam_eps=1e-3, weight_decay=0.5))
    values, first, second = parameters(trainer), {}, {}
    for step in (1, 2):
        trainer.update()
        rate = 0.02 * step / 2
        for name, parameter in trainer.model.named_parameters():
            if (gradient := parameter.grad) is None:
                continue
            if kind == "adamw":
                values[name] = values[name] * (1 - rate * 0.5)
            else:
                gradient = gradient + 0.5 * values[name]
            if kind != "sgd":
                first[name] = 0.6 * first.get(name, 0.0) + 0.4 * gradient
                second[name] = 0.8 * second.get(name, 0.0) + 0.2 * gradient**2
                gradient = first[name] / (1 - 0.6**step) / ((second[name] / (1 - 0.8**step)).sqrt() + 1e-3)
            values[name] = values[name] - rate * gradient
    close(values, parameters(trainer))


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_dataset():
    trainer = make_trainer(mixture("mnli"))
    trainer.model.heads["mnli"].out.bias.data.fill_(float("nan"))
    with pytest.raises(UserError, match="update 1: the loss of mnli is not finite"):
        trainer.update()


@pytest.mark.parametrize("model", ["tiny/bart", "tiny/t5"])
def test_each_familys_loss_falls_on_an_encoder_decoder(model):
    trainer = make_trainer(
        mixture(
            "sst2 commonsense_qa squad xsum",
            model,
            updates=20,
            lr=4e-3,
            sub_batches=8,
            max_tokens=320,
            rows=16,
            label_smoothing=0.1,
        )
    )
    while trainer.step < trainer.updates:
        trainer.update()
    for part, name in enumerate(trainer.names):
        first, last = trainer.meter.ends(part)
        assert last < first, name


def test_a_result_names_the_code_as_it_was_read(monkeypatch):
    monkeypatch.delenv("MUPPET_COMMIT", raising=False)
    monkeypatch.setattr(record.code, "commit", lambda: ("abc", True))
    assert record._code() == {"commit": "abc", "dirty": True}
    monkeypatch.setenv("MUPPET_COMMIT", "def")
    assert record._code() == {"commit": "def", "dirty": False}
    assert record.CODE.items() <= record.environment(make_trainer(mixture("mnli")).model).items()


def test_the_ends_of_a_loss_are_those_of_the_dataset_s_own_examples():
    meter = Meter(updates=10, datasets=3)
    for step in range(10):  # the first is seen in the middle, the second always, the third never
        meter.add(step, [float(step) * (3 <= step < 8), 2.0 * step, 0.0], [int(3 <= step < 8), 2, 0])
    assert meter.ends(0) == (3.0, 7.0)
    assert meter.ends(1) == (0.5, 8.5)
    assert meter.ends(2) == (None, None)
    assert meter.ends(0, share=1) == (5.0, 5.0)
