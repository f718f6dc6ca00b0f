"""Every declared pre-finetuning of profile `paper` builds and takes an update: its own recipe, rows of real length.

The models are narrow and the datasets are twins of a few rows, stretched to the lengths of the real ones: what could
refuse to start (a question of RACE with four rows of 400 tokens under BART's 1024) would refuse here too.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from muppet.data import cache
from muppet.runs import Prefinetune
from studies.kit import cost, load
from studies.recipes import kind
from tests.core import artifacts, make_trainer, shared_artifacts  # noqa: F401

ROWS = 3  # of each dataset
RUNS = {
    name: run for name, run in load.runs(load.load_studies("paper").values()).items() if isinstance(run, Prefinetune)
}


@pytest.fixture(scope="module")
def models(shared_artifacts: Path) -> dict[str, str]:  # noqa: F811
    """A narrow model of each family with as many positions as the paper's."""
    import transformers

    from muppet.synthetic.models import folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUPPET_ARTIFACTS", str(shared_artifacts))
        small = folder("tiny/bart")
        place = shared_artifacts / "long-bart"
        config = transformers.AutoConfig.from_pretrained(small, max_position_embeddings=1024)
        transformers.BartForConditionalGeneration(config).save_pretrained(place)
        transformers.AutoTokenizer.from_pretrained(small).save_pretrained(place)
    return {"roberta": "tiny/roberta", "bart": str(place)}


@pytest.fixture
def long_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins whose longest text is stretched to the typical length of the real dataset."""
    plain = cache.load_rows

    def stretched(task, split, **given):
        rows = plain(task, split, **given)
        typical = cost.LENGTH.get(task.name, cost.LENGTH[task.family]) // (4 if task.family == "commonsense" else 1)
        out = []
        for row in rows.rows:
            texts = {name: value for name, value in row.items() if isinstance(value, str) and " " in value}
            if texts:
                longest = max(texts, key=lambda name: len(texts[name]))
                row = row | {longest: texts[longest] + " and so on" * (typical // 3)}
            out.append(row)
        return replace(rows, rows=out, fingerprint=rows.fingerprint + "-long")

    monkeypatch.setattr(cache, "load_rows", stretched)


@pytest.mark.parametrize("name", RUNS)
def test_a_declared_pre_finetuning_takes_an_update(name, artifacts, models, long_rows):  # noqa: F811
    declared = RUNS[name]
    run = replace(declared, model=models[kind(declared.model)], source="twins", train_rows=ROWS)
    trainer = make_trainer(run)
    lengths = dict(zip(trainer.names, trainer.sampler.decks, strict=True))
    if "race" in lengths:
        assert np.median(lengths["race"].length) > 350 and set(lengths["race"].rows.tolist()) == {4}
    assert math.isfinite(trainer.update())
