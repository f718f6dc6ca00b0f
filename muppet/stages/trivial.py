"""What needs no model, scored on the same examples with the same metrics, so that it can stand beside a fine-tuning."""

from __future__ import annotations

from typing import Any

import numpy as np

from muppet.families.baselines import lead, majority, majority_tags, right_branching
from muppet.metrics import score
from muppet.model.heads import HeadSpec
from muppet.stages.evaluate import official, one_line
from muppet.training.batching import Part

LEAD = {"cnn_dailymail": 3}  # sentences; one elsewhere


def trivial(train: Part, part: Part, spec: HeadSpec | None, tokenizer: Any) -> dict[str, float]:
    """Metric → score of the family's trivial answer: the majority class of training, a guess among the choices, each
    word's most frequent tag, right-branching trees, the lead sentence(s). Empty for the families that have none.
    """
    task, encoded = part.encoded.task, part.encoded
    chosen = np.unique(encoded.unit_example[part.units]).tolist()
    if task.family == "commonsense":
        choices = np.diff(encoded.unit_rows)[part.units]
        return {"accuracy": float((1 / choices).mean())} if "accuracy" in task.metrics else {}
    guesses: list[Any]
    if task.family == "classification":
        if task.classes != train.encoded.task.classes:
            return {}
        assert encoded.labels is not None and train.encoded.labels is not None
        guesses = [majority(train.encoded.labels[train.units].tolist())] * len(chosen)
        references: list[Any] = encoded.labels[part.units].tolist()
    elif task.family == "tagging":
        learnt = train.encoded.gold()
        known = [(learnt[e]["tokens"], learnt[e]["tags"]) for e in np.unique(train.encoded.unit_example[train.units])]
        gold = encoded.gold()
        guesses = majority_tags(known, [gold[e]["tokens"] for e in chosen])
        references = [gold[e]["tags"] for e in chosen]
    elif task.family == "parsing":
        gold = encoded.gold()
        guesses = [one_line(right_branching(gold[e]["tokens"], gold[e]["pos_tags"])) for e in chosen]
        references = [gold[e]["tree"] for e in chosen]
    elif task.family == "summarization":
        gold = encoded.gold()
        rows = [encoded.tokens[encoded.offsets[e] : encoded.offsets[e + 1]].tolist() for e in chosen]
        sources = tokenizer.batch_decode(rows, skip_special_tokens=True)
        guesses = [lead(source, LEAD.get(task.name, 1)) for source in sources]
        references = [gold[e]["target"] for e in chosen]
    else:
        return {}
    return {metric: score(official(task, metric), guesses, references).value for metric in task.metrics}
