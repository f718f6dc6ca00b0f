"""The leakage audit: exact texts and 13-grams against a plain search, the known leaks on real rows, clean scores."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muppet.audit import leakage
from muppet.audit.overlap import GRAM, WORDS, audit, copies, grams, read, texts, whole, words
from muppet.cli import data as data_cli
from muppet.cli.names import tasks
from muppet.errors import UserError
from muppet.result import Result, Score, pack_items, write
from muppet.runs import Finetune, Prefinetune, Recipe, facts, run_id
from muppet.synthetic.twins import rows as twin_rows
from muppet.tasks import get

SENTENCE = st.lists(st.sampled_from("a b c d".split()), max_size=40).map(" ".join)


def example(text: str, pair: str | None = None) -> dict:
    return {"text": text, "pair": pair, "label": 0}


@settings(max_examples=60, deadline=None)
@given(st.lists(SENTENCE, min_size=1, max_size=6), st.lists(SENTENCE, min_size=1, max_size=6))
def test_the_audit_equals_a_plain_search(evaluation, train):
    task = get("cola")
    (pair,) = audit(
        {"cola/validation": (task, [example(text) for text in evaluation])},
        {"sst2": (get("sst2"), iter([example(text) for text in train]))},
    )
    split = [text.split() for text in train]
    for index, text in enumerate(evaluation):
        tokens = text.split()
        assert pair.exact[index] == (len(tokens) >= WORDS and tokens in split)
        runs = [tokens[k : k + GRAM] for k in range(len(tokens) - GRAM + 1)]
        expected = any(other[k : k + GRAM] == run for run in runs for other in split for k in range(len(other)))
        assert pair.gram[index] == expected
    assert len(pair.hit) == len(evaluation) and not pair.own
    if pair.hit.any():
        assert pair.sample and any(pair.sample in text for text in train)


def test_texts_are_compared_without_case_and_punctuation():
    assert words("It's the SAME, thing!") == words("it s the same thing")
    assert words("le cafe\u0301") == words("Le caf\u00e9") == ["le", "caf\u00e9"]
    assert whole(["a", "b"]) != whole(["ab"]) and len(grams(["x"] * 12)) == 0 and len(grams(["x"] * 14)) == 2


@pytest.mark.parametrize("name", ["mnli", "race", "squad", "xsum", "conll2000", "ptb_parsing", "stsb"])
def test_texts_of_every_family(name):
    found = read(get(name), "train", source="twins", cap=3)
    for item in found:
        assert texts(get(name), item) and all(isinstance(text, str) and words(text) for text in texts(get(name), item))


def put(hub, path, config, **splits):
    for split, rows in splits.items():
        file = hub / path / config / f"{split}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), file)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("MUPPET_HUB", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_rte_twice_is_found(hub, capsys):
    """A.1 lists RTE, and SuperGLUE beside it, which holds RTE again."""
    rows = {split: twin_rows(get("rte"), split, 80) for split in ("train", "validation")}
    names = {"sentence1": "premise", "sentence2": "hypothesis", "label": "label", "idx": "idx"}
    renamed = {split: [{names[k]: v for k, v in row.items()} for row in found] for split, found in rows.items()}
    rows["validation"][:20] = rows["train"][:20]
    put(hub, "nyu-mll/glue", "rte", **rows)
    put(hub, "aps/super_glue", "rte", **renamed)
    report = leakage.run(tasks(["rte"]), tasks(["superglue", "rte"]))
    pair = next(pair for pair in report.pairs if pair.evaluation == "rte/validation" and pair.train == "superglue")
    assert pair.exact[:20].all() and not pair.hit[20:].any()
    assert "superglue repeats rte: 100.0 % of its training rows stand there" in report.lines
    assert data_cli.main(["overlap", "--evaluation", "rte", "--train", "superglue"]) == 0
    assert "rte/validation" in capsys.readouterr().out
    assert data_cli.main(["overlap", "--evaluation", "rte", "--rows", "0"]) == 2
    assert "--rows is 0; give 1 or more" in capsys.readouterr().err
    assert data_cli.main(["overlap", "--evaluation", "rte", "--train", "nq"]) == 2
    assert "no training set was found (nq/train)" in capsys.readouterr().err


def test_rows_that_are_copies_are_counted():
    task = get("rte")
    left = [example(f"one text {i}", "another") for i in range(10)]
    assert copies((task, left), (task, left[:5] + [example("one text 7", "other")])) == 0.5


def test_a_run_is_scored_on_the_clean_examples(hub, tmp_path):
    rows = twin_rows(get("rte"), "validation", 40)
    put(hub, "nyu-mll/glue", "rte", train=twin_rows(get("rte"), "train", 50), validation=rows)
    leaked = [{"sentence1": r["sentence1"], "sentence2": "other", "label": 0, "idx": 0} for r in rows[:10]]
    put(hub, "nyu-mll/glue", "wnli", train=leaked + twin_rows(get("wnli"), "train", 20))
    hit = sum(len(words(r["sentence1"])) >= WORDS for r in rows[:10])
    assert hit >= 5
    recipe = Recipe(lr=1e-3, max_tokens=99, updates=1)
    before = Prefinetune(model="m", tasks=(get("wnli"), get("rte")), recipe=recipe, train_rows=50)
    run = Finetune(init=before, task=get("rte"), recipe=recipe, train_rows=50)
    items = [1.0 if index < 10 else 0.0 for index in range(40)]
    score = Score(value=0.25, n=40, items=pack_items(items))
    paths = {}
    for stage, made, scores in (("prefinetune", before, {}), ("finetune", run, {"rte/validation/accuracy": score})):
        paths[stage] = tmp_path / "results" / "mini" / stage / f"{run_id(made)}.json"
        write(
            Result(id=run_id(made), facts=facts(made), scores=scores, data={}, training={}, cost={}, environment={}),
            paths[stage],
        )
    own = Finetune(init="m", task=replace(get("rte"), name="own"), recipe=recipe)
    key = "own/validation/accuracy"
    made = Result(id=run_id(own), facts=facts(own), scores={key: score}, data={}, training={}, cost={}, environment={})
    write(made, tmp_path / f"{made.id}.json")
    with pytest.raises(UserError, match="none of its scores is of the examples of a dataset of the catalogue"):
        leakage.clean_scores(tmp_path / f"{made.id}.json", tasks(["wnli"]))
    printed = leakage.clean_scores(paths["finetune"])
    clean = 100 * (10 - hit) / (40 - hit)
    assert f"25.0 on all 40, {clean:.1f} on the {40 - hit} clean, 100.0 on the {hit} hit (1 sets were found)" in printed
    with pytest.raises(UserError, match="give the result of a fine-tuning"):
        leakage.clean_scores(paths["prefinetune"])
    paths["prefinetune"].unlink()
    with pytest.raises(UserError, match="name the sets with --train"):
        leakage.clean_scores(paths["finetune"])
    put(hub, "nyu-mll/glue", "rte", validation=rows[:30])
    with pytest.raises(UserError, match="has 40 items and the split has 30"):
        leakage.clean_scores(paths["finetune"], tasks(["wnli"]))


MIRROR = os.environ.get("MUPPET_HUB")


@pytest.mark.skipif(not MIRROR, reason="MUPPET_HUB is not set")
@pytest.mark.parametrize(
    "evaluation, split, train, least",
    [
        ("qnli", "train", "squad", 0.2),  # QNLI is SQuAD recast
        ("anli_r1", "dev_r1", "hotpotqa", 0.01),  # ANLI's premises are HotpotQA's paragraphs
        ("eraser_multirc", "validation", "multirc", 0.9),  # the same questions
        ("rotten_tomatoes", "validation", "sst2", 0.1),  # the same reviews
    ],
)
def test_the_known_leaks_are_found_on_real_rows(evaluation, split, train, least, monkeypatch):
    monkeypatch.setenv("MUPPET_HUB", str(MIRROR))
    found = read(get(evaluation), split, cap=1500)
    rows = read(get(train), "train", cap=10**9)
    (pair,) = audit({f"{evaluation}/{split}": (get(evaluation), found)}, {train: (get(train), iter(rows))})
    assert pair.hit.mean() >= least, Counter(pair.hit.tolist())
    assert pair.sample


@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好我们一起去公园散步",  # Chinese
        "明日は友達と映画を見に行くつもりです",  # Japanese
        "วันนี้อากาศดีมาก",  # Thai
        "сегодня мы все идём в парк",  # Russian
    ],
)
def test_a_text_is_found_in_any_script(text):
    """Also in those that put no space between words, and inside a longer text."""
    found = [example(text), example(text[: len(text) // 4])]
    (pair,) = audit({"cola/validation": (get("cola"), found)}, {"sst2": (get("sst2"), iter([example(text)]))})
    assert pair.exact.tolist() == [True, False]
    assert words(f"{text}!") == words(text) and len(words(text)) >= WORDS


def test_of_two_tasks_of_one_name_none_is_left_out(tmp_path, capsys):
    for name in ("one", "two"):
        task = f"Task(name='mine', family='classification', path='local/{name}', classes=('a', 'b'), columns=COLUMNS)"
        columns = "from muppet.tasks import Task\nCOLUMNS = (('text', 'text'), ('label', 'label'))\n"
        (tmp_path / f"{name}.py").write_text(f"{columns}T = {task}\n")
    one, two = (str(tmp_path / f"{name}.py") for name in ("one", "two"))
    for options in (["--evaluation", one, "--train", one, two], ["--evaluation", one, "--train", two]):
        assert data_cli.main(["overlap", *options]) == 2
        assert "two tasks are called 'mine'; rename one" in capsys.readouterr().err
