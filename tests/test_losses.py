"""Eq. 1 and the losses: uniform predictions cost 1 in every family; R3F's divergence against a plain reading."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm, uniform

from muppet.families.spec import check_n
from muppet.families.summarization import IGNORED
from muppet.model import losses
from muppet.model.batch import make_batch
from muppet.model.losses import MASKED, scale
from muppet.model.r3f import noise_like
from muppet.runs import R3F
from muppet.training.trainer import regularised
from studies.recipes import RELEASED_R3F
from tests.core import artifacts, make_trainer, mixture, shared_artifacts  # noqa: F401

counts = st.lists(st.integers(2, 50), min_size=1, max_size=6)


@dataclass
class Decisions:
    logits: torch.Tensor
    targets: torch.Tensor
    unit: torch.Tensor
    n: torch.Tensor


def cross_entropy(made: Decisions, smoothing: float = 0.0) -> torch.Tensor:
    return losses.cross_entropy(made.logits, made.targets, made.unit, len(made.n), smoothing)


def symmetric_kl(clean: Decisions, noised: Decisions) -> torch.Tensor:
    return losses.symmetric_kl(clean.logits, noised.logits, clean.unit, len(clean.n))


def decisions(n: list[int], per_unit: int, logits: torch.Tensor | None = None) -> Decisions:
    """`per_unit` decisions of each unit, over the first n[u] of max(n) candidates."""
    unit = torch.arange(len(n)).repeat_interleave(per_unit)
    width = torch.tensor(n)[unit]
    values = torch.zeros(len(unit), max(n)) if logits is None else logits
    candidate = torch.arange(max(n)) < width[:, None]
    targets = (torch.arange(len(unit)) * 7) % width
    return Decisions(logits=values.masked_fill(~candidate, MASKED), targets=targets, unit=unit, n=torch.tensor(n))


@given(counts, st.integers(1, 5), st.floats(-30, 30))
def test_uniform_predictions_cost_one_whatever_the_number_of_candidates(n, per_unit, level):
    made = decisions(n, per_unit, torch.full((len(n) * per_unit, max(n)), level))
    torch.testing.assert_close(scale(cross_entropy(made), made.n), torch.ones(len(n)), rtol=1e-5, atol=1e-5)


@given(st.integers(2, 500), st.floats(0, 0.9), st.integers(1, 9))
def test_label_smoothing_spreads_its_mass_evenly_and_keeps_uniform_predictions_at_one(vocabulary, smoothing, tokens):
    made = decisions([vocabulary] * 2, tokens)
    torch.testing.assert_close(scale(cross_entropy(made, smoothing), made.n), torch.ones(2), rtol=1e-5, atol=1e-5)
    torch.manual_seed(tokens)
    made = decisions([vocabulary] * 2, tokens, torch.randn(2 * tokens, vocabulary))
    aim = torch.full((2 * tokens, vocabulary), smoothing / vocabulary, dtype=torch.float64)
    aim[torch.arange(2 * tokens), made.targets] += 1 - smoothing
    plain = -(aim * made.logits.double().log_softmax(-1)).sum(-1).view(2, tokens).mean(-1)
    torch.testing.assert_close(cross_entropy(made, smoothing).double(), plain, rtol=1e-4, atol=1e-6)


@given(counts, st.integers(1, 3), st.integers(0, 1000))
def test_cross_entropy_is_the_mean_over_a_units_decisions(n, per_unit, seed):
    torch.manual_seed(seed)
    made = decisions(n, per_unit, torch.randn(len(n) * per_unit, max(n)))
    for u, width in enumerate(n):
        rows = made.unit == u
        plain = F.cross_entropy(made.logits[rows][:, :width].double(), made.targets[rows])
        assert float(cross_entropy(made)[u]) == pytest.approx(float(plain), rel=1e-4, abs=1e-6)


def test_a_unit_without_decisions_costs_nothing():
    """A sentence all of whose words were cut off."""
    made = Decisions(logits=torch.zeros(2, 4), targets=torch.tensor([1, 2]), unit=torch.tensor([0, 2]), n=torch.ones(3))
    assert cross_entropy(made).tolist() == pytest.approx([math.log(4), 0.0, math.log(4)])


@given(counts, st.integers(1, 3), st.integers(0, 1000))
def test_symmetric_kl_is_the_sum_of_both_directions(n, per_unit, seed):
    torch.manual_seed(seed)
    clean, noised = (decisions(n, per_unit, torch.randn(len(n) * per_unit, max(n))) for _ in range(2))
    found = symmetric_kl(clean, noised)
    for u, width in enumerate(n):
        p, q = (d.logits[d.unit == u][:, :width].double().softmax(-1) for d in (clean, noised))
        both = ((p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)).mean()
        assert float(found[u]) == pytest.approx(float(both), rel=1e-3, abs=1e-5)
    assert torch.equal(symmetric_kl(clean, clean), torch.zeros(len(n)))


@pytest.mark.parametrize("n", [1, 0])
def test_one_candidate_is_refused(n):
    with pytest.raises(ValueError, match="copa, example 3.*at least 2"):
        check_n(n, "copa, example 3")


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("tiny/roberta", "mnli commonsense_qa squad squad_v2 conll2000 ptb_sample_parsing"),
        ("tiny/bart", "mnli race squad_v2 conll2000 xsum"),
    ],
)
def test_every_family_starts_at_one_with_uniform_outputs(artifacts, model, names):  # noqa: F811
    """The whole path from data to scaled loss, with the heads' (and the vocabulary's) output made uniform."""
    trainer = make_trainer(mixture(names, model, rows=8, label_smoothing=0.1, sub_batches=60))
    for name, parameter in trainer.model.named_parameters():
        if ".out." in name or name.endswith(("shared.weight", "lm_head.weight", "embed_tokens.weight")):
            parameter.data.zero_()
    trainer.update()
    seen = [trainer.meter.ends(part, share=1)[0] for part in range(len(trainer.parts))]
    assert all(value is not None for value in seen)
    assert seen == pytest.approx([1.0] * len(seen), abs=1e-4)


def test_regression_is_left_unscaled(artifacts):  # noqa: F811
    trainer = make_trainer(mixture("stsb", sub_batches=2))
    trainer.model.heads["stsb"].out.weight.data.zero_()
    batches = trainer.sampler.update(0)
    low, high = -1.0, 7.0  # of a training set with labels beyond these rows'
    trainer.specs[0] = replace(trainer.specs[0], low=low, high=high)
    targets = [(float(trainer.parts[0].encoded.labels[u]) - low) / (high - low) for b in batches for u in b.units]
    trainer.update()
    assert trainer.meter.ends(0, share=1)[0] == pytest.approx(sum(t * t for t in targets) / len(targets), rel=1e-4)


def test_summaries_can_be_regularised_otherwise_and_the_noise_alone_is_measured(artifacts):  # noqa: F811
    """The released criteria (P27): each forward takes the settings of its kind."""
    seen: dict[str, R3F] = {}
    runs = [mixture("mnli xsum", "tiny/bart", r3f=RELEASED_R3F["bart"], sub_batches=6, dropout=0.1) for _ in range(2)]
    plain, trainer = (make_trainer(run) for run in runs)
    forward = trainer.model.forward

    def spy(batch, specs, r3f, *more):
        for segment in batch.segments:
            seen[trainer.names[segment.part]] = r3f
        return forward(batch, specs, r3f, *more)

    trainer.model.forward = spy
    noise = trainer.noise_divergence()
    assert noise == trainer.noise_divergence() and noise.keys() == {"mnli", "xsum"}
    assert all(0 < value < 1e-4 for value in noise.values())  # dropout alone moves predictions by a thousand times that
    seen.clear()
    assert trainer.update() == plain.update()  # measuring leaves no trace
    assert seen["mnli"].noise == "uniform" and seen["mnli"].detach and seen["mnli"].token_kl == "mean"
    assert seen["xsum"].noise == "normal" and not seen["xsum"].detach and seen["xsum"].token_kl == "sum"


@pytest.mark.parametrize(("noise", "law"), [("uniform", uniform(-0.1, 0.2)), ("normal", norm(0, 0.1))])
def test_noise_follows_its_law_in_float32_whatever_the_precision_of_the_embeddings(noise, law):
    torch.manual_seed(0)
    drawn = noise_like(torch.empty(200, 100, dtype=torch.bfloat16), R3F(noise=noise, eps=0.1))
    assert drawn.dtype == torch.float32 and kstest(drawn.flatten().numpy(), law.cdf).pvalue > 0.01


@pytest.mark.parametrize("fresh", [True, False])
def test_noised_rows_draw_their_own_dropout_masks_or_have_those_of_the_clean_ones(artifacts, fresh):  # noqa: F811
    trainer = make_trainer(mixture("mnli", dropout=0.3, attention_dropout=0.3))
    rows = make_batch(trainer.parts, trainer.specs, [(0, np.arange(4))], trainer.model.pad, torch.device("cpu"))
    noise = R3F(eps=1e-12, fresh_dropout=fresh)  # that moves nothing
    ((clean, noised),) = trainer.model.train().predictions(rows, trainer.specs, noise)
    assert torch.allclose(clean, noised, atol=1e-6) != fresh


@pytest.mark.parametrize("noise", ["uniform", "normal"])
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("model", ["tiny/roberta", "tiny/bart", "tiny/t5"])
def test_r3f_gradient_is_that_of_two_plain_forwards(artifacts, monkeypatch, model, noise, detach):  # noqa: F811
    """One concatenated forward against: forward, forward with noise added to the embeddings, sum of the losses."""
    from muppet.model import r3f as module

    r3f = R3F(noise=noise, eps=0.1, weight=0.7, detach=detach, token_kl="mean" if detach else "sum")
    names = "mnli commonsense_qa squad" + ("" if model == "tiny/roberta" else " xsum")
    trainer = make_trainer(mixture(names, model, r3f=r3f, sub_batches=6))
    drawn: list[torch.Tensor] = []

    def remember(embeddings: torch.Tensor, how: R3F) -> torch.Tensor:
        drawn.append(original(embeddings, how))
        return drawn[-1]

    original = module.noise_like
    monkeypatch.setattr(module, "noise_like", remember)
    naive = make_trainer(mixture(names, model, r3f=r3f, sub_batches=6))
    for number, batch in enumerate(trainer.sampler.update(0)):
        rows = _rows(trainer, batch)
        (found,) = trainer.model.train()(rows, trainer.specs, r3f)
        scale(regularised(found, rows.segments[0], r3f), found.n).sum().backward()
        _naive(naive, batch, drawn[number], r3f)
    for (name, a), b in zip(trainer.model.named_parameters(), naive.model.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=2e-3, atol=2e-6, msg=name)


def _rows(trainer, batch):
    return make_batch(trainer.parts, trainer.specs, [(batch.part, batch.units)], trainer.model.pad, torch.device("cpu"))


def _naive(trainer, batch, noise, r3f):
    model, specs = trainer.model.train(), trainer.specs
    rows = _rows(trainer, batch)
    encoder = model.backbone.get_encoder() if model.seq2seq else model.backbone

    def add(_module, _args, output):
        return (output.detach() if r3f.detach else output) + noise

    ((clean,),) = model.predictions(rows, specs)
    hook = encoder.get_input_embeddings().register_forward_hook(add)
    ((noised,),) = model.predictions(rows, specs)
    hook.remove()
    fields, spec = rows.segments[0].fields, specs[batch.part]
    targets = fields["targets"]
    n = fields["n"] if spec.has_weights else torch.full((len(batch.units),), clean.shape[-1])
    targets = targets if spec.has_weights else targets[targets != IGNORED]
    total = torch.zeros(())
    for u in range(len(batch.units)):
        mine = fields["unit"] == u
        p, q = clean[mine].softmax(-1), noised[mine].softmax(-1)
        log_p, log_q = clean[mine].log_softmax(-1), noised[mine].log_softmax(-1)
        kl = (p * (log_p - log_q)).sum(-1) + (q * (log_q - log_p)).sum(-1)
        kl = kl.sum() if r3f.token_kl == "sum" else kl.mean()
        plain = F.cross_entropy(clean[mine], targets[mine])
        total = total + (plain + r3f.weight * kl) / math.log(int(n[u]))
    total.backward()
