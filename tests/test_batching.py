"""Sub-batches: budgets, epochs, the three orders, sampling, and what shares a forward."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.families.encoded import Part
from muppet.training.batching import Sampler, SubBatch, apportion, bucket
from muppet.training.forwards import assign, micro_batches, unit_weights
from tests.core import encoded, recipe

unit = st.lists(st.integers(2, 40), min_size=1, max_size=4)
dataset = st.lists(unit, min_size=1, max_size=60)
mixtures = st.lists(dataset, min_size=1, max_size=4)
orders = st.sampled_from(["heterogeneous", "batch_homogeneous", "dataset_homogeneous"])
samplings = st.sampled_from([None, "uniform", "temperature"])
NAMES = ("mrpc", "rte", "cola", "qnli")


def parts(shapes: list[list[list[int]]], weights: list[int] | None = None) -> list[Part]:
    return [
        Part(encoded=encoded(lengths, NAMES[i]), units=np.arange(len(lengths)), weight=(weights or [1] * 4)[i])
        for i, lengths in enumerate(shapes)
    ]


def made(sampling: str | None = None, **changes) -> object:
    return recipe(max_tokens=160, sampling=sampling, temperature=2.0 if sampling == "temperature" else None, **changes)


def stream(sampler: Sampler) -> list[SubBatch]:
    """Every sub-batch of the training, in order."""
    return [batch for step in range(sampler.updates) for batch in sampler.update(step)]


def held(batches: list[SubBatch]) -> Counter:
    """How often each example is in them."""
    return Counter((batch.part, u) for batch in batches for u in batch.units.tolist())


# ---------------------------------------------------------------- a sub-batch


@given(mixtures, orders, st.integers(1, 8), st.integers(0, 3))
@settings(max_examples=30)
def test_every_sub_batch_keeps_the_budget_by_the_longest_choice(shapes, order, size, seed):
    sampler = Sampler(parts(shapes), made(sub_batches=size, batching=order, updates=6), seed)
    for step in range(6):
        batches = sampler.update(step)
        for batch in batches:
            rows = [length for u in batch.units for length in shapes[batch.part][u]]
            assert batch.rows == len(rows) and batch.length == max(rows) and batch.tokens == len(rows) * max(rows)
            assert len(batch.units) * max(rows) <= 160
        if order == "batch_homogeneous":
            assert len({batch.part for batch in batches}) == 1
        else:
            assert len(batches) == size


def test_a_question_of_any_number_of_choices_fits_as_soon_as_its_longest_row_does():
    sampler = Sampler(parts([[[40, 10, 10, 10]] * 3]), recipe(max_tokens=40, sub_batches=1, updates=3), 0)
    assert [len(batch.units) for batch in stream(sampler)] == [1, 1, 1]
    with pytest.raises(
        UserError, match=r"mrpc: one example takes 41 tokens \(the longest of its 2 rows\).*max_tokens=40"
    ):
        Sampler(parts([[[3], [41, 10]]]), recipe(max_tokens=40), 0)


@given(dataset, st.integers(1, 12), st.integers(0, 3), st.integers(1, 3))
@settings(max_examples=40)
def test_a_batch_of_examples_holds_so_many_whatever_their_length(shape, count, seed, epochs):
    """Windows of one example stay together and count once; an epoch holds each once, its last batch the rest."""
    example = np.arange(len(shape)) // 2  # two windows each
    data = Part(encoded=encoded(shape), units=np.arange(len(shape)))
    object.__setattr__(data.encoded, "unit_example", example)
    total = int(example[-1]) + 1
    sampler = Sampler([data], recipe(max_examples=count, sub_batches=1, epochs=epochs, updates=None), seed)
    each = -(-total // count)
    assert sampler.updates == epochs * each
    batches = stream(sampler)
    for epoch in range(epochs):
        own = batches[epoch * each : (epoch + 1) * each]
        seen = [example[batch.units].tolist() for batch in own]
        assert [len(set(one)) for one in seen[:-1]] == [count] * (each - 1)
        assert Counter(u for batch in own for u in batch.units.tolist()) == dict.fromkeys(range(len(shape)), 1)
        assert sum(len(set(one)) for one in seen) == total


def test_the_batches_of_an_epoch_are_cuts_of_one_random_permutation():
    """Each pair of examples meets as often as any other: no buckets by length (labels go with length in many sets)."""
    lengths = [[3 + 2 * (i // 10)] for i in range(40)]
    sampler = Sampler(parts([lengths]), recipe(max_examples=8, sub_batches=1, epochs=400.0, updates=None), 0)
    together = sum(
        np.bincount(batch.units // 10, minlength=4) @ np.bincount(batch.units // 10, minlength=4)
        for batch in stream(sampler)
    )
    expected = 2000 * (8 + 8 * 7 * 9 / 39)  # itself, and of the 7 others 9/39 are of its own length
    assert together == pytest.approx(expected, rel=0.02)


# ---------------------------------------------------------------- the three orders


@given(
    mixtures,
    st.integers(1, 8),
    st.integers(1, 40),
    st.integers(0, 3),
    samplings,
    st.lists(st.integers(1, 3), min_size=4, max_size=4),
)
@settings(max_examples=60)
def test_the_three_orders_hold_the_same_examples_at_every_budget(shapes, size, updates, seed, sampling, weights):
    seen, data = [], parts(shapes, weights)
    for order in ("heterogeneous", "dataset_homogeneous", "batch_homogeneous"):
        plan = made(sampling, sub_batches=size, updates=updates, batching=order)
        if order == "batch_homogeneous" and updates < len(shapes):
            assume(int((Sampler(data, made(sub_batches=size, updates=updates), seed).counts > 0).sum()) <= updates)
        sampler = Sampler(data, plan, seed)
        batches = stream(sampler)
        assert len(batches) == size * updates
        seen.append(held(batches))
    assert seen[0] == seen[1] == seen[2]


@given(mixtures, st.integers(1, 8), st.integers(1, 30), st.integers(0, 3))
@settings(max_examples=40)
def test_dataset_homogeneous_goes_through_each_dataset_once_and_in_proportion(shapes, size, updates, seed):
    sampler = Sampler(parts(shapes), made(sub_batches=size, updates=updates, batching="dataset_homogeneous"), seed)
    sequence = [batch.part for batch in stream(sampler)]
    assert len(list(dict.fromkeys(sequence))) == 1 + sum(a != b for a, b in zip(sequence, sequence[1:]))
    for part, deck in enumerate(sampler.decks):
        assert abs(sequence.count(part) - size * updates * deck.count / sampler.epoch) < 1


@given(mixtures, st.integers(1, 8), st.integers(4, 30), st.integers(0, 3))
@settings(max_examples=40)
def test_batch_homogeneous_updates_are_of_one_dataset_and_alike_in_size(shapes, size, updates, seed):
    sampler = Sampler(parts(shapes), made(sub_batches=size, updates=updates, batching="batch_homogeneous"), seed)
    held = [sampler.update(step) for step in range(updates)]
    for part, count in enumerate(sampler.counts.tolist()):
        own = [len(batches) for batches in held if batches[0].part == part]
        assert sum(own) == count and (not own or max(own) - min(own) <= 1)
        if count >= size and len(shapes) == 1:
            assert own == [size] * updates


def test_batch_homogeneous_updates_of_the_datasets_take_turns():
    sampler = Sampler(parts([[[10]] * 40] * 2), recipe(max_tokens=10, batching="batch_homogeneous", updates=100), 0)
    turns = [sampler.update(step)[0].part for step in range(100)]
    assert 0.3 < np.mean(np.diff(turns) != 0) < 0.7


def test_batch_homogeneous_needs_an_update_for_each_dataset():
    shapes = [[[10]] * 40 for _ in range(4)]
    with pytest.raises(UserError, match="4 datasets share 3 updates; raise `updates` to 4 at least"):
        Sampler(parts(shapes), made(batching="batch_homogeneous", updates=3), 0)


@given(mixtures, st.sampled_from(["heterogeneous", "dataset_homogeneous"]), st.integers(1, 8), st.integers(0, 3))
@settings(max_examples=30)
def test_an_epoch_of_the_stream_holds_every_example_once(shapes, order, size, seed):
    """Over a budget of whole epochs; the heterogeneous stream also within each."""
    data = parts(shapes)
    length = Sampler(data, made(), seed).epoch
    sampler = Sampler(data, made(sub_batches=length, batching=order, updates=3), seed)
    epochs = [held(sampler.update(epoch)) for epoch in range(3)]
    every = {(p, u): 1 for p, lengths in enumerate(shapes) for u in range(len(lengths))}
    assert sum(epochs, Counter()) == {key: 3 for key in every}
    assert order == "dataset_homogeneous" or epochs == [every] * 3


@given(mixtures, orders, st.integers(0, 39), samplings, st.booleans())
@settings(max_examples=25)
def test_an_update_is_a_function_of_seed_and_step(shapes, order, step, sampling, examples):
    plan = made(sampling, batching=order, updates=40)
    if examples:
        plan = recipe(max_examples=7, batching=order, updates=40)
    walked = Sampler(parts(shapes), plan, 7)
    for earlier in range(step):
        walked.update(earlier)
    jumped = Sampler(parts(shapes), plan, 7)
    for a, b in zip(walked.update(step), jumped.update(step), strict=True):
        assert a.part == b.part and a.units.tolist() == b.units.tolist()


@pytest.mark.parametrize("plan", [recipe(max_tokens=50), recipe(max_examples=5)])
def test_another_seed_or_epoch_puts_other_examples_together(plan):
    data = parts([[[10]] * 40])  # of which an update is an epoch
    drawn = [Sampler(data, plan, seed).update(step) for seed, step in ((0, 0), (1, 0), (0, 1))]
    groups = [{frozenset(batch.units.tolist()) for batch in batches} for batches in drawn]
    assert groups[0] != groups[1] != groups[2] != groups[0]


def test_short_and_long_sub_batches_come_in_no_order():
    plan = recipe(max_tokens=66, sub_batches=1, epochs=1.0, updates=None)
    lengths = [batch.length for batch in stream(Sampler(parts([[[2 + k] for k in range(64)]]), plan, 0))]
    assert len(lengths) > 40 and abs(np.corrcoef(np.arange(len(lengths)), lengths)[0, 1]) < 0.5


def test_a_summary_longer_than_its_source_is_what_fills_a_sub_batch():
    data = Part(encoded=encoded([[5]] * 4), units=np.arange(4))
    object.__setattr__(data.encoded, "target_offsets", np.arange(5) * 40)
    batches = Sampler([data], recipe(max_tokens=80, sub_batches=1, updates=2), 0)
    assert [(len(batch.units), batch.length) for batch in stream(batches)] == [(2, 40), (2, 40)]


def test_heterogeneous_updates_mix_datasets():
    shapes = [[[10]] * 160 for _ in range(4)]
    mixed = Sampler(parts(shapes), recipe(max_tokens=100, sub_batches=16), 0).update(0)
    assert len({batch.part for batch in mixed}) > 2


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=9), st.integers(1, 10**7), st.integers(0, 9))
def test_shares_come_in_whole_numbers_each_within_one(quota, total, seed):
    found = apportion(np.array(quota), total, np.random.default_rng(seed))
    assert found.sum() == total
    for share, given_ in zip(found.tolist(), quota, strict=True):
        assert abs(share - total * given_ / sum(quota)) < 1 + 1e-6
    assert apportion(np.array(quota), 3 * sum(quota), np.random.default_rng(seed)).tolist() == [3 * q for q in quota]


def test_shares_are_right_on_average():
    drawn = [apportion(np.array([1, 2, 4]), 5, np.random.default_rng(seed)) for seed in range(2000)]
    assert np.mean(drawn, axis=0) == pytest.approx(5 * np.array([1, 2, 4]) / 7, abs=0.05)


# ---------------------------------------------------------------- shares of datasets


@pytest.mark.parametrize("averaging", ["example", "sub_batch"])
@pytest.mark.parametrize(
    ("sampling", "temperature", "expected"),
    [(None, None, 0.9), ("uniform", None, 0.5), ("temperature", 2.0, 0.75), ("temperature", 1.0, 0.9)],
)
def test_sampling_gives_the_datasets_their_shares_of_what_is_averaged(averaging, sampling, temperature, expected):
    """Two sets of long and short rows, nine to one in examples, or in sub-batches."""
    shapes = [[[10]] * 900, [[10]] * 100] if averaging == "example" else [[[48]] * 900, [[10]] * 500]
    plan = recipe(max_tokens=100, sampling=sampling, temperature=temperature, averaging=averaging, updates=200)
    sampler = Sampler(parts(shapes), plan, 1)
    share = np.zeros(2)
    for step in range(200):
        batches = sampler.update(step)
        for batch, weight in zip(batches, unit_weights(batches, averaging, []), strict=True):
            share[batch.part] += weight.sum() / 200
    assert share[0] == pytest.approx(expected, abs=0.02) and share.sum() == pytest.approx(1)


def test_weights_repeat_a_dataset_within_an_epoch():
    data = [
        Part(encoded=encoded([[10]] * 30, "mrpc"), units=np.arange(30)),
        Part(encoded=encoded([[10]] * 20, "rte"), units=np.arange(20), weight=3),
    ]
    sampler = Sampler(data, recipe(max_tokens=50, sub_batches=6, epochs=1.0, updates=None), 0)
    assert held(stream(sampler)) == {(0, u): 1 for u in range(30)} | {(1, u): 3 for u in range(20)}
    assert sampler.passes == [1.0, 3.0]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_unit_weights_are_means_of_all_or_of_means(sizes):
    batches = [type("B", (), {"units": range(n)})() for n in sizes]
    for averaging in ("sub_batch", "example"):
        weights = unit_weights(batches, averaging, [])  # type: ignore[arg-type]
        assert sum(w.sum() for w in weights) == pytest.approx(1)
    assert len({round(w, 12) for one in weights for w in one.tolist()}) == 1
    means = [w.sum() for w in unit_weights(batches, "sub_batch", [])]  # type: ignore[arg-type]
    assert means == pytest.approx([1 / len(sizes)] * len(sizes))


def test_summaries_weigh_by_their_tokens_where_tokens_are_averaged():
    data = Part(encoded=encoded([[5]] * 4), units=np.arange(4))
    object.__setattr__(data.encoded, "target_offsets", np.array([0, 2, 5, 9, 20]))
    (one,) = Sampler([data], recipe(max_examples=4, sub_batches=1, updates=1), 0).update(0)
    weights = dict(zip(one.units.tolist(), unit_weights([one], "token", [data])[0].tolist(), strict=True))
    assert weights == {0: 2 / 20, 1: 3 / 20, 2: 4 / 20, 3: 11 / 20}


# ---------------------------------------------------------------- forwards


@given(mixtures, st.integers(1, 12), st.sampled_from([1, 64, 256, 1024]), st.booleans())
@settings(max_examples=40)
def test_padded_forwards_hold_each_unit_once_within_the_limit(shapes, size, limit, examples):
    data = parts(shapes)
    plan = recipe(max_examples=9, sub_batches=size) if examples else made(sub_batches=size)
    batches = Sampler(data, plan, 0).update(0)
    kinds = ["summary" if batch.part == 0 else "rows" for batch in batches]
    weights = unit_weights(batches, "example", data)
    forwards = micro_batches(batches, weights, kinds, limit, lambda tokens, length: tokens * length)
    found = Counter(
        (p.part, u, w) for f in forwards for p in f for u, w in zip(p.units.tolist(), p.weights.tolist(), strict=True)
    )
    assert found == Counter(
        (b.part, u, w) for b, own in zip(batches, weights) for u, w in zip(b.units.tolist(), own.tolist(), strict=True)
    )
    for pieces in forwards:
        rows = [shapes[piece.part][u] for piece in pieces for u in piece.units.tolist()]
        padded, longest = sum(map(len, rows)) * max(map(max, rows)), max(map(max, rows))
        assert padded <= limit or len(rows) == 1
        assert padded <= 1.1 * sum(len(row) * max(row) for row in rows) + limit / 16 or len(rows) == 1
        assert sum(piece.cost for piece in pieces) == pytest.approx(padded * longest)
        assert len({piece.part == 0 for piece in pieces}) == 1


@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=64), st.integers(1, 8))
def test_shares_cover_the_work_and_no_process_waits_for_more_than_one_piece(costs, processes):
    shares = assign(costs, processes)
    assert sorted(i for share in shares for i in share) == list(range(len(costs)))
    loads = [sum(costs[i] for i in share) for share in shares]
    assert max(loads) - min(loads) <= max(costs) + 1e-9


@given(st.integers(1, 5000))
def test_buckets_waste_at_most_an_eighth(length):
    bound = int(bucket(np.array([length]))[0])
    assert length <= bound <= max(length + 1, length * 9 / 8 + 1)


def test_a_dataset_without_examples_is_named():
    with pytest.raises(UserError, match="rte: no training example"):
        Sampler([Part(encoded=encoded([[3]], "rte"), units=np.arange(0))], recipe(), 0)
