"""Sub-batches: budgets, epochs, the three orders, sampling, and the share of each process."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muppet.errors import UserError
from muppet.families.encoded import Part
from muppet.training.batching import Sampler, assign, bucket, micro_batches, unit_weights
from tests.core import encoded, recipe

unit = st.lists(st.integers(2, 40), min_size=1, max_size=4)
dataset = st.lists(unit, min_size=1, max_size=60)
mixtures = st.lists(dataset, min_size=1, max_size=4)
orders = st.sampled_from(["heterogeneous", "batch_homogeneous", "dataset_homogeneous"])
NAMES = ("mrpc", "rte", "cola", "qnli")


def parts(shapes: list[list[list[int]]]) -> list[Part]:
    return [Part(encoded=encoded(lengths, NAMES[i]), units=np.arange(len(lengths))) for i, lengths in enumerate(shapes)]


def stream(sampler: Sampler, count: int) -> list:
    """The first `count` sub-batches."""
    found: list = []
    step = 0
    while len(found) < count:
        found += sampler.update(step)
        step += 1
    return found[:count]


@given(mixtures, orders, st.integers(1, 8), st.integers(0, 3))
@settings(max_examples=30)
def test_every_sub_batch_keeps_its_budgets(shapes, order, size, seed):
    made = recipe(max_tokens=160, max_examples=5, sub_batches=size, batching=order)
    data = parts(shapes)
    sampler = Sampler(data, made, seed)
    for step in range(6):
        batches = sampler.update(step)
        assert len(batches) == size
        for batch in batches:
            rows = [length for u in batch.units for length in shapes[batch.part][u]]
            assert batch.rows == len(rows) and batch.length == max(rows)
            assert len(rows) * max(rows) <= 160 and len(batch.units) <= 5
        if order == "batch_homogeneous":
            assert len({batch.part for batch in batches}) == 1


@given(mixtures, st.sampled_from(["heterogeneous", "dataset_homogeneous"]), st.integers(1, 8), st.integers(0, 3))
@settings(max_examples=30)
def test_an_epoch_of_the_stream_holds_every_example_once(shapes, order, size, seed):
    sampler = Sampler(parts(shapes), recipe(max_tokens=160, sub_batches=size, batching=order), seed)
    length = int(sampler.quota.sum())
    found = stream(sampler, 3 * length)
    for epoch in range(3):
        seen = Counter((b.part, u) for b in found[epoch * length : (epoch + 1) * length] for u in b.units.tolist())
        assert seen == {(p, u): 1 for p, lengths in enumerate(shapes) for u in range(len(lengths))}


@given(mixtures, st.integers(1, 8), st.integers(0, 3))
@settings(max_examples=25)
def test_batch_homogeneous_goes_round_each_dataset_evenly_and_in_natural_shares(shapes, size, seed):
    sampler = Sampler(parts(shapes), recipe(max_tokens=160, sub_batches=size, batching="batch_homogeneous"), seed)
    epochs = 8
    found = stream(sampler, int(sampler.taken(epochs).sum()))
    for part, (lengths, deck) in enumerate(zip(shapes, sampler.decks)):
        own = [batch for batch in found if batch.part == part]
        assert abs(len(own) - epochs * deck.count) < size  # a natural share, to within one update
        if own:
            seen = Counter(u for batch in own for u in batch.units.tolist())
            assert max(seen.values()) - min(seen[u] for u in range(len(lengths))) <= 1


@given(mixtures, orders, st.integers(0, 40), st.sampled_from([None, "uniform", "temperature"]))
@settings(max_examples=25)
def test_an_update_is_a_function_of_seed_and_step(shapes, order, step, sampling):
    made = recipe(
        max_tokens=160, batching=order, sampling=sampling, temperature=2.0 if sampling == "temperature" else None
    )
    walked = Sampler(parts(shapes), made, 7)
    for earlier in range(step):
        walked.update(earlier)
    jumped = Sampler(parts(shapes), made, 7)
    for a, b in zip(walked.update(step), jumped.update(step), strict=True):
        assert a.part == b.part and a.units.tolist() == b.units.tolist()


def test_the_three_orders_are_orders_of_the_same_sub_batches():
    shapes = [[[length] for length in range(3, 40)] for _ in range(3)]
    held = []
    for order in ("heterogeneous", "dataset_homogeneous"):
        sampler = Sampler(parts(shapes), recipe(max_tokens=100, batching=order), 3)
        held.append(Counter((b.part, tuple(b.units.tolist())) for b in stream(sampler, int(sampler.quota.sum()))))
    assert held[0] == held[1]
    same = Sampler(parts(shapes), recipe(max_tokens=100, batching="batch_homogeneous", sub_batches=1), 3)
    homogeneous = [b for step in range(int(same.taken(2).sum())) for b in same.update(step)]
    assert set(held[0]) <= {(b.part, tuple(b.units.tolist())) for b in homogeneous}


def test_heterogeneous_updates_mix_datasets_and_dataset_homogeneous_runs_them_in_sequence():
    shapes = [[[10]] * 160 for _ in range(4)]
    mixed = Sampler(parts(shapes), recipe(max_tokens=100, sub_batches=16), 0).update(0)
    assert len({batch.part for batch in mixed}) > 2
    ordered = Sampler(parts(shapes), recipe(max_tokens=100, sub_batches=16, batching="dataset_homogeneous"), 0)
    sequence = [batch.part for batch in stream(ordered, 64)]
    assert [sequence[i] for i in (0, 16, 32, 48)] == list(dict.fromkeys(sequence)) and sequence == sorted(
        sequence, key=sequence.index
    )


@pytest.mark.parametrize(
    ("sampling", "temperature", "expected"),
    [(None, None, 0.9), ("uniform", None, 0.5), ("temperature", 2.0, 0.75), ("temperature", 1.0, 0.9)],
)
def test_sampling_gives_the_datasets_their_shares(sampling, temperature, expected):
    shapes = [[[10]] * 900, [[10]] * 100]
    sampler = Sampler(parts(shapes), recipe(max_tokens=100, sampling=sampling, temperature=temperature), 1)
    found = [batch for step in range(200) for batch in sampler.update(step)]
    examples = [sum(len(b.units) for b in found if b.part == part) for part in (0, 1)]
    assert examples[0] / sum(examples) == pytest.approx(expected, abs=0.02)


def test_weights_repeat_a_dataset_within_an_epoch():
    data = [
        Part(encoded=encoded([[10]] * 30, "mrpc"), units=np.arange(30)),
        Part(encoded=encoded([[10]] * 20, "rte"), units=np.arange(20), weight=3),
    ]
    sampler = Sampler(data, recipe(max_tokens=50, sub_batches=6), 0)
    seen = Counter((b.part, u) for b in stream(sampler, int(sampler.quota.sum())) for u in b.units.tolist())
    assert seen == {(0, u): 1 for u in range(30)} | {(1, u): 3 for u in range(20)}
    assert sampler.passes(sampler.updates(1.0))[1] == 3.0


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_unit_weights_are_means_of_means_or_of_all(sizes):
    batches = [type("B", (), {"units": range(n)})() for n in sizes]
    for averaging in ("sub_batch", "example"):
        weights = unit_weights(batches, averaging)  # type: ignore[arg-type]
        assert sum(w * n for w, n in zip(weights, sizes)) == pytest.approx(1)
    assert len({round(w, 12) for w in unit_weights(batches, "example")}) == 1  # type: ignore[arg-type]


@given(mixtures, st.integers(1, 12), st.sampled_from([64, 256, 1024]))
@settings(max_examples=30)
def test_micro_batches_hold_each_sub_batch_once_within_the_limit(shapes, size, limit):
    batches = Sampler(parts(shapes), recipe(max_tokens=160, sub_batches=size), 0).update(0)
    kinds = ["summary" if batch.part == 0 else "rows" for batch in batches]
    groups = micro_batches(batches, kinds, limit)
    assert sorted(i for group in groups for i in group) == list(range(size))
    for group in groups:
        padded = sum(batches[i].rows for i in group) * max(batches[i].length for i in group)
        assert padded <= limit or len(group) == 1
        assert len({kinds[i] for i in group}) == 1


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


def test_an_example_over_the_budget_is_named():
    with pytest.raises(UserError, match=r"rte: one example takes 80 tokens \(2 rows of up to 40\).*max_tokens=64"):
        Sampler([Part(encoded=encoded([[3], [40, 10]], "rte"), units=np.arange(2))], recipe(max_tokens=64), 0)


def test_a_dataset_without_examples_is_named():
    with pytest.raises(UserError, match="rte: no training example"):
        Sampler([Part(encoded=encoded([[3]], "rte"), units=np.arange(0))], recipe(), 0)
