"""Values hashed once stay values: equal ones share hash and id, pickles carry no hash, equal numbers are one fact.
And a field that is not what its annotation says is refused by name."""

import math
import pickle
import typing
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from muppet.errors import UserError
from muppet.runs import R3F, Finetune, Prefinetune, Recipe, check_run, digest, facts, run_id
from muppet.runtime.device import Device
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
        {"fraction": 1.0, "draw": 1},
        {"init": parent},
        {"init": parent, "train_on": both, "evaluate_on": (get("cb"),)},
        {"init": 'modèle "a"'},
    )
    for one in (parent, *(run(**changes) for changes in others)):
        assert run_id(one).endswith("-" + digest(facts(one))[:12])


RTE, TREC = get("rte"), get("trec")
RECIPE = Recipe(lr=1e-5, max_tokens=4400, epochs=10)


@pytest.mark.parametrize("cls", [Recipe, R3F])
def test_a_name_that_is_none_of_the_choices_is_refused_in_every_field(cls: type) -> None:
    """An ablation of a misspelt name would else be the default, under the id of the misspelling."""
    kinds = typing.get_type_hints(cls)
    named = [f.name for f in fields(cls) if "Literal" in str(kinds[f.name])]
    assert len(named) == {Recipe: 8, R3F: 2}[cls]
    for name in named:
        with pytest.raises(UserError, match=f"unknown `{name}` 'as_ever'"):
            replace(RECIPE if cls is Recipe else R3F(), **{name: "as_ever"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": "1e-5"}, "`lr` of Recipe is '1e-5'; give finite float"),
        ({"lr": math.nan}, "`lr` of Recipe is nan; give finite float"),
        ({"lr": -1e-5}, "`lr` of Recipe is -1e-05; give 0 or more"),
        ({"max_tokens": np.int64(8)}, "`max_tokens` of Recipe is np.int64"),
        ({"max_tokens": 8.5}, "give int | None"),
        ({"decoupled": "no"}, "`decoupled` of Recipe is 'no'; give bool"),
        ({"adam_betas": [0.9, 0.99]}, "give tuple"),
        ({"adam_betas": (0.9, 1.0)}, "two from 0 to below 1"),
        ({"dropout": 1.5}, "from 0 to below 1"),
        ({"warmup_share": 6}, "from 0 to 1"),
        ({"sampling": "temperature", "temperature": 1e-3}, "`temperature` of Recipe is 0.001; give 0.1 or more"),
        ({"r3f": True}, "`r3f` of Recipe is True"),
    ],
)
def test_a_recipe_holds_what_it_says(changes: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        replace(RECIPE, **changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": True}, "`seed` of Finetune is True; give int"),
        ({"seed": 2**32}, "give a whole number from 0 to 4,294,967,295"),
        ({"init": Path("model")}, "`init` of Finetune is PosixPath('model')"),
        ({"source": "twin"}, "did you mean 'twins'?"),
        ({"fraction": 1.5}, "`fraction` of Finetune is 1.5"),
        ({"held_out": 1.0}, "`held_out` of Finetune is 1.0"),
        ({"draw": -1}, "`draw` of Finetune is -1"),
        ({"evaluate_on": [TREC]}, "`evaluate_on` of Finetune is [Task"),
        ({"evaluate_on": (RTE,)}, "name each once, and not rte/validation, rte/validation"),
        ({"train_on": ((RTE, 1), (RTE, 2))}, "name each once, and not rte, rte"),
        ({"train_on": (RTE, TREC)}, "`train_on` of Finetune is (Task"),
        ({"train_on": ((RTE, 1.5),)}, "`train_on` of Finetune is ((Task"),
        ({"train_on": ((TREC, 1),), "held_out": 0.1}, "which `train_on` does not hold"),
        ({"task": replace(RTE, evaluation=())}, "rte: there is nothing to score it on"),
        ({"evaluate_on": (replace(TREC, evaluation=()),)}, "trec: there is nothing to score it on"),
    ],
)
def test_a_run_is_looked_at_before_it_is_done(changes: dict, message: str) -> None:
    check_run(run(held_out=0.1, task=replace(RTE, evaluation=())))
    with pytest.raises(UserError) as caught:
        check_run(run(**changes))
    assert message in str(caught.value)


def test_a_device_is_one_that_there_is() -> None:
    for changes, message in (({"kind": "gpu"}, "unknown `kind` 'gpu'"), ({"micro_tokens": 0}, "above 0")):
        with pytest.raises(UserError, match=message):
            Device(**changes)  # type: ignore[arg-type]


def test_a_row_function_that_is_typed_in_has_one_id_in_every_notebook() -> None:
    def typed(process: int, word: str) -> object:
        names: dict = {"__name__": "__main__"}
        text = f"def read(row):\n    return [one for one in [row] if row['text'] != {word!r}]\n"
        exec(compile(text, f"/tmp/ipykernel_{process}/1.py", "exec"), names)
        return replace(RTE, rows=names["read"], columns=())

    first, again, other = (run_id(run(task=typed(*made))) for made in ((1, "a"), (2, "a"), (1, "b")))
    assert first == again != other
