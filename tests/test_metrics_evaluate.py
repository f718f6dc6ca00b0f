"""Metrics as `evaluate` has them: ours by its interface, the Hub's by name, and the two equal."""

from __future__ import annotations

import random

import numpy as np
import pytest

from muppet.errors import UserError
from muppet.metrics import METRICS, bootstrap, load, score
from tests.scored import hub_metric, one_of_each


@pytest.mark.parametrize("name", [*METRICS, "squad", "squad_v2", "record", "trivia", "drop", "rouge"])
def test_every_metric_is_one_of_evaluates(name: str) -> None:
    """Added singly, in batches or given at once, as lists: what `score` says of the same."""
    module = load(name)
    single = name if name in METRICS else next(metric for metric in METRICS if metric.startswith(name))
    one, other = one_of_each(single)
    sides = [[one, two_of_each(single)[0]], [other, two_of_each(single)[1]]]
    whole = module.compute(predictions=sides[0], references=sides[1])
    assert whole == {metric: score(metric, *sides).value for metric in whole} and single in whole
    for index in (0, 1):
        module.add(prediction=sides[0][index], reference=sides[1][index])
    assert module.compute() == whole
    module.add_batch(predictions=sides[0], references=sides[1])
    assert module.compute() == whole
    with pytest.raises(UserError, match="example 1 of the predictions is None"):
        module.compute(predictions=[one, None], references=sides[1])


def two_of_each(metric: str) -> tuple:
    """Another pair than `one_of_each`, in the fuller form where there are two, and not right throughout."""
    if metric.startswith("squad_v2"):
        return ("x", 1.0), []
    if metric.startswith("drop"):
        return ["x", "z"], ["y", ["x", "y", "z"]]
    if metric == "bracket_f1":
        return "(S (NP (NN a)) (VB b))", "(S (NN a) (VP (VB b)))"
    return {"multirc_em": (1, ("p", 0)), "pearson": (2.5, 2.5), "spearman": (2.5, 2.5)}.get(metric, one_of_each(metric))


def test_arrays_combine_and_a_trainer() -> None:
    import evaluate
    from transformers import EvalPrediction

    together = evaluate.combine([load("accuracy"), load("macro_f1"), load("matthews")])
    logits, labels = np.array([[2.0, 1.0], [0.0, 3.0], [0.0, 1.0]]), np.array([0, 1, 0])

    def compute_metrics(given: EvalPrediction) -> dict:
        return together.compute(predictions=given.predictions.argmax(-1), references=given.label_ids)

    expected = {name: score(name, [0, 1, 1], [0, 1, 0]).value for name in ("accuracy", "macro_f1", "matthews")}
    assert compute_metrics(EvalPrediction(predictions=logits, label_ids=labels)) == expected
    for guess, gold in ((0, 0), (1, 1), (1, 0)):
        together.add(guess, gold)
    assert together.compute() == expected
    with pytest.raises(UserError, match="no example"):
        load("accuracy").compute()
    with pytest.raises(UserError, match="did you mean 'squad'"):
        load("squadd")


def test_a_metric_of_the_hub_by_name(tmp_path) -> None:
    module_folder = hub_metric(tmp_path, "string", "'count': 7", "'each': same")
    value = score(f"evaluate:{module_folder}", ["a", "b"], ["a", "c"])
    assert value.value == 0.5 and value.n == 2 and value.items is None and value.settings["entry"] == "same"
    with pytest.raises(UserError, match="no interval"):
        bootstrap(value)
    with pytest.raises(UserError, match="count is 7, and a score is a fraction of 1"):
        score(f"evaluate:{module_folder}:count", ["a"], ["a"])
    with pytest.raises(UserError, match="computes same, count; name one"):
        score(f"evaluate:{module_folder}:bleu", ["a"], ["a"])
    with pytest.raises(UserError, match="does not take these predictions and references"):
        score(f"evaluate:{module_folder}", [["a"]], ["a"])
    with pytest.raises(UserError) as caught:
        score("evaluate:no-such-module", ["a"], ["a"])
    assert "cannot be loaded" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["accuracy", "f1", "matthews_correlation", "squad", "squad_v2", "rouge"])
def test_parity_with_the_hubs_own_modules(name: str) -> None:
    import evaluate

    try:
        theirs = evaluate.load(name)
    except Exception as error:  # offline, or a package that the module needs is not installed
        pytest.skip(f"evaluate.load({name!r}): {' '.join(str(error).split())[:100]}")
    chance = random.Random(0)
    if name in ("accuracy", "f1", "matthews_correlation"):
        sides = [[chance.randrange(2) for _ in range(50)] for _ in range(2)]
        own = {"matthews_correlation": "matthews"}.get(name, name)
        assert score(own, *sides).value == pytest.approx(
            theirs.compute(predictions=sides[0], references=sides[1])[name]
        )
        return
    texts = [" ".join(chance.choices(["the", "cat.", "Dogs", "sat", "on", "mats"], k=6)) for _ in range(40)]
    guess, gold = texts[:20], texts[20:]
    if name == "rouge":
        result = theirs.compute(predictions=guess, references=gold, use_stemmer=True)
        for kind in ("rouge1", "rouge2", "rougeL"):
            assert score(kind, guess, gold).value == pytest.approx(result[kind])
        return
    more = {"no_answer_probability": 0.0} if name == "squad_v2" else {}
    result = theirs.compute(
        predictions=[{"id": str(i), "prediction_text": text, **more} for i, text in enumerate(guess)],
        references=[{"id": str(i), "answers": {"text": [text], "answer_start": [0]}} for i, text in enumerate(gold)],
    )
    ours = load(name).compute(predictions=guess, references=[[text] for text in gold])
    assert ours[f"{name}_f1"] == pytest.approx(result["f1"] / 100)
    assert ours[f"{name}_em"] == pytest.approx(result.get("exact_match", result.get("exact")) / 100)
