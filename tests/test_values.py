"""Values hashed once stay values: equal ones share hash and id, pickles carry no hash, equal numbers are one fact."""

import pickle
from dataclasses import replace

from muppet.runs import Finetune, Prefinetune, Recipe, digest, facts, run_id
from muppet.tasks import get


def run(**changes: object) -> Finetune:
    recipe = Recipe(lr=1e-5, max_tokens=4400, epochs=10)
    return replace(Finetune(init="roberta", task=get("rte"), recipe=recipe), **changes)  # type: ignore[arg-type]


def test_equal_values_hash_alike_and_changed_ones_do_not() -> None:
    assert hash(run()) == hash(run()) and run() == run() and len({run(), run(), run(seed=1)}) == 2
    first = run()
    hash(first)
    assert hash(replace(first, seed=3)) == hash(run(seed=3)) != hash(first)


def test_a_pickle_carries_no_hash() -> None:
    first = run()
    hash(first)
    again = pickle.loads(pickle.dumps(first))
    assert "_hash" in first.__dict__ and "_hash" not in again.__dict__ and again == first and hash(again) == hash(first)


def test_ten_and_ten_point_zero_are_one_run_in_either_order() -> None:
    whole, real = run(), run(recipe=Recipe(lr=1e-5, max_tokens=4400, epochs=10.0))
    assert whole == real and facts(whole) == facts(real) and run_id(whole) == run_id(real)
    assert facts(run(fraction=1.0))["fraction"] == 1 and facts(run(fraction=0.5))["fraction"] == 0.5


def test_true_and_1_in_a_tuple_are_one_fact_in_either_order() -> None:
    """Such tasks are equal, so a cache answers for one with the other's text."""
    for first, second in (((2, True), (2, 1)), ((0,), (False,))):
        one, other = (run(task=replace(get("rte"), missing=missing)) for missing in (first, second))
        assert one == other and run_id(one) == run_id(other) and facts(one) == facts(other)
        for each in (one, other):
            assert run_id(each).endswith("-" + digest(facts(each))[:12])


def test_an_id_is_the_digest_of_the_run_s_facts() -> None:
    """Ids are put together from parts that many runs share; a result's reader computes them from the whole."""
    parent = Prefinetune(
        model="roberta", tasks=(get("rte"), get("wic")), recipe=Recipe(lr=1e-5, max_tokens=4400, epochs=1)
    )
    both = ((get("rte"), 1), (get("cb"), 2))
    others = (
        {},
        {"seed": 1, "reuse_head": True},
        {"seed": True},
        {"fraction": 1.0, "draw": 1},
        {"init": parent},
        {"init": parent, "train_on": both, "evaluate_on": (get("cb"),)},
        {"init": 'modèle "a"'},
    )
    for one in (parent, *(run(**changes) for changes in others)):
        assert run_id(one).endswith("-" + digest(facts(one))[:12])
