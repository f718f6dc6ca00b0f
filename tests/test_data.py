"""Rows from mirror folders, the Hub's files and local folders, and what `data check` says of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from muppet.cli import data
from muppet.data import sources
from muppet.data.sources import converted, load_rows, peek
from muppet.data.treebank import rows as treebank_rows
from muppet.errors import Absent, UserError
from muppet.synthetic import models
from muppet.tasks import ALL, get
from muppet.tasks.task import TENTHS


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No mirror but the test's own, no Hub, no Treebank."""
    monkeypatch.setenv("MUPPET_HUB", str(tmp_path / "hub"))
    monkeypatch.delenv("MUPPET_PTB", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    (tmp_path / "hub").mkdir()
    return tmp_path / "hub"


def put(hub: Path, path: str, config: str, readme: bool = True, **splits: list[dict]) -> Path:
    """A dataset folder in the Hub's layout."""
    folder = hub / path
    lines = []
    for split, rows in splits.items():
        file = folder / config / f"{split}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), file)
        lines += [f"  - split: {split}", f"    path: {config}/{split}.parquet"]
    if readme:
        text = "\n".join(["---", "configs:", f"- config_name: {config}", "  data_files:", *lines, "---", "# text"])
        (folder / "README.md").write_text(text)
    return folder


def rte(n: int, **more: object) -> list[dict]:
    return [{"sentence1": f"a {i}", "sentence2": f"b {i}", "label": i % 2, "idx": i} | more for i in range(n)]


# Where rows come from -------------------------------------------------------------------------------------------------


def test_the_mirror_is_read_in_order_and_sampled_alike(alone):
    put(alone, "nyu-mll/glue", "rte", train=rte(2500), validation=rte(20))
    task = get("rte")
    whole = load_rows(task, "train")
    assert (whole.found, whole.total, len(whole.rows)) == ("mirror", 2500, 2500)
    assert [row["idx"] for row in whole.rows] == list(range(2500))
    assert whole.rows[3] == rte(4)[3] and whole.rows[-1]["idx"] == 2499
    small, larger = load_rows(task, "train", cap=50), load_rows(task, "train", cap=200)
    assert small.total == 2500 and len(small.rows) == 50
    assert {row["idx"] for row in small.rows} < {row["idx"] for row in larger.rows}
    assert [row["idx"] for row in small.rows] == [row["idx"] for row in load_rows(task, "train", cap=50).rows]
    assert len({whole.fingerprint, small.fingerprint, larger.fingerprint}) == 3


def test_the_fingerprint_is_of_the_data(alone):
    task = get("rte")
    put(alone, "nyu-mll/glue", "rte", validation=rte(20))
    before = load_rows(task, "validation").fingerprint
    put(alone, "nyu-mll/glue", "rte", validation=rte(20, label=1))
    assert load_rows(task, "validation").fingerprint != before
    put(alone, "nyu-mll/glue", "rte", validation=rte(20))
    assert load_rows(task, "validation").fingerprint == before


def test_a_configuration_may_unite_files(alone):
    folder = put(alone, "ehovy/race", "high", train=[{"article": "h"}])
    put(alone, "ehovy/race", "middle", train=[{"article": "m"}], readme=False)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: train\n    path:\n"
        "    - high/train.parquet\n    - middle/train.parquet\n---\n"
    )
    assert [row["article"] for row in load_rows(get("race"), "train", cap=9).rows] == ["h", "m"]
    (folder / "README.md").write_text(  # as the Hub has it too: without a split, files are of `train`
        "---\nconfigs:\n- config_name: all\n  data_files: [middle/train.parquet, high/train.parquet]\n---\n"
    )
    assert [row["article"] for row in load_rows(get("race"), "train", cap=9).rows] == ["m", "h"]


def test_a_folder_without_a_header_is_read_by_its_names(alone):
    put(alone, "nyu-mll/glue", "rte", validation=rte(3), readme=False)
    assert len(load_rows(get("rte"), "validation").rows) == 3
    shards = alone / "nyu-mll" / "glue" / "cola"
    shards.mkdir()
    for k in range(2):
        rows = pa.Table.from_pylist([{"sentence": f"s{k}", "label": 1}])
        pq.write_table(rows, shards / f"train-0000{k}-of-00002.parquet")
    assert [row["sentence"] for row in load_rows(get("cola"), "train", cap=9).rows] == ["s0", "s1"]


@pytest.mark.parametrize("other", ["train.jsonl", "train-00001.csv", "train/0.csv"])
def test_no_file_of_a_split_is_left_out_for_another(alone, other):
    place = alone / "nyu-mll" / "glue" / "cola"
    (place / other).parent.mkdir(parents=True)
    for name in ("train.csv", other):
        (place / name).write_text("sentence,label\na,1\n")
    with pytest.raises(UserError, match=f"train.csv and {Path(other).name} both hold 'train' by their names"):
        load_rows(get("cola"), "train", cap=9)


def test_shards_of_other_kinds_or_types_are_no_table(alone):
    numbers, texts = (pa.table({"text": ["a"], "label": [label]}) for label in (1, "x"))
    for tables in ([numbers, texts], [[{"text": "a"}], numbers], [numbers, [{"text": "a"}]]):
        with pytest.raises(UserError, match="data: its files differ in their columns"):
            sources._united(tables, [alone / "data" / "a.parquet"] * 2)


@pytest.mark.parametrize(
    ("one", "other", "values"),
    [
        (pa.string(), pa.large_string(), ["a", "b"]),
        (pa.int8(), pa.int64(), [1, 2]),
        (pa.null(), pa.string(), [None, "b"]),
        (pa.float32(), pa.float64(), [0.5, 1.5]),
        (pa.list_(pa.string()), pa.large_list(pa.large_string()), [["a"], ["b"]]),
    ],
)
def test_shards_whose_types_differ_in_width_are_one_table(alone, one, other, values):
    """As where several programs, or several versions of one, wrote them."""
    tables = [pa.table({"text": pa.array([value], kind)}) for value, kind in zip(values, (one, other), strict=True)]
    united = sources._united(tables, [alone / "data" / "a.parquet"] * 2)
    assert united.column("text").to_pylist() == values


def test_a_damaged_mirror_is_named(alone):
    folder = put(alone, "nyu-mll/glue", "rte", train=rte(3))
    (folder / "rte" / "train.parquet").write_bytes(b"PAR1 not parquet")
    with pytest.raises(UserError, match="rte/train.parquet: cannot be read as parquet"):
        load_rows(get("rte"), "train", cap=1)
    (folder / "rte" / "train.parquet").unlink()
    with pytest.raises(UserError, match="names rte/train.parquet .* the mirror is damaged"):
        load_rows(get("rte"), "train", cap=1)
    for pattern in ('""', ".", '"**.parquet"'):
        named = f"data_files: [{{split: train, path: {pattern}}}]"
        (folder / "README.md").write_text(f"---\nconfigs: [{{config_name: rte, {named}}}]\n---\n")
        with pytest.raises(UserError, match="README.md names .* for rte/train: .*; name files"):
            load_rows(get("rte"), "train", cap=1)
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(UserError, match="README.md: its header is not YAML"):
        load_rows(get("rte"), "train", cap=1)


@pytest.mark.parametrize(
    "header",
    [
        "configs: 3",
        "configs: [a]",
        "configs:\n- data_files: 5",
        "configs:\n- data_files:\n  - path: a.parquet",
        "configs:\n- data_files:\n  - split: train\n    path: 4",
        "configs:\n- data_files:\n  - split: train\n    path: /etc/passwd",
        b"configs: \xff",
    ],
)
def test_a_mirrors_header_that_cannot_be_read_is_one_line(alone, header):
    folder = put(alone, "nyu-mll/glue", "rte", train=rte(3))
    (folder / "README.md").write_bytes(
        b"---\n" + (header if isinstance(header, bytes) else header.encode()) + b"\n---\n"
    )
    with pytest.raises(UserError, match="README.md: its header's `configs` cannot be read") as caught:
        load_rows(get("rte"), "train", cap=1)
    assert "\n" not in str(caught.value)


def test_what_is_nowhere_says_what_was_tried(alone):
    with pytest.raises(Absent, match=r"rte \(nyu-mll/glue, rte\) split train cannot be loaded: tried the") as caught:
        load_rows(get("rte"), "train")
    assert "data check rte" in str(caught.value) and "\n" not in str(caught.value)


def test_the_hub_without_the_datasets_package_is_a_message_and_a_mirror_needs_none(alone, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(Absent, match="rte .* split train: not in the mirror .* pip install datasets") as caught:
        load_rows(get("rte"), "train")
    assert "\n" not in str(caught.value)
    put(alone, "nyu-mll/glue", "rte", train=rte(10), validation=rte(10))
    assert len(load_rows(get("rte"), "validation").rows) == 10


def test_a_mirror_that_is_no_folder(monkeypatch):
    monkeypatch.setenv("MUPPET_HUB", "/nowhere/at/all")
    with pytest.raises(UserError, match="MUPPET_HUB is /nowhere/at/all, which is no folder"):
        load_rows(get("rte"), "train")


def test_a_full_run_refuses_a_partial_mirror_and_an_empty_split(alone):
    put(alone, "nyu-mll/glue", "rte", train=rte(100), validation=rte(10))
    with pytest.raises(UserError, match=r"100 of 2490 rows were found \(mirror\); .*: unset MUPPET_HUB \(/"):
        load_rows(get("rte"), "train")
    assert len(load_rows(get("rte"), "validation").rows) == 10  # evaluation on a part is allowed
    pq.write_table(pa.Table.from_pylist(rte(1)).slice(0, 0), alone / "nyu-mll/glue/rte/validation.parquet")
    with pytest.raises(UserError, match="split validation is empty"):
        load_rows(get("rte"), "validation")
    with pytest.raises(UserError, match="a cap of 0 rows"):
        load_rows(get("rte"), "train", cap=0)


def test_a_re_division_stands_in_for_a_missing_train_split(alone):
    squad = [
        {"id": str(i), "title": "t", "context": "c", "question": "q", "answers": {"text": [], "answer_start": []}}
        for i in range(4)
    ]
    folder = put(alone, "rajpurkar/squad_v2", "squad_v2", validation=squad)
    put(alone, "rajpurkar/squad_v2", "carved_from_validation", readme=False, train=squad[:3], validation=squad[3:])
    text = (folder / "README.md").read_text()
    more = "- config_name: carved_from_validation\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: carved_from_validation/{split}.parquet\n" for split in ("train", "validation")
    )
    (folder / "README.md").write_text(text.replace("---\n# text", more + "---\n"))
    task = get("squad_v2")
    train, validation = load_rows(task, "train", cap=99), load_rows(task, "validation")
    assert train.found == validation.found == "mirror (carved)"
    assert not {row["id"] for row in train.rows} & {row["id"] for row in validation.rows}
    with pytest.raises(UserError, match="a full-size run needs them all"):
        load_rows(task, "train")
    assert peek(replace(task, carved=None), "validation").total == 4


def test_partitions_cover_the_rows_once_and_do_not_depend_on_their_order(alone):
    more = {"title": "", "url": "", "published_at": ""}
    rows = [{"text": f"t{i}", "hyperpartisan": bool(i % 3)} | more for i in range(645)]
    task = get("hyperpartisan")
    assert task.partition == TENTHS

    def parts() -> list[set[str]]:
        return [{row["text"] for row in load_rows(task, split, cap=9999).rows} for split, _ in TENTHS]

    put(alone, task.path, "byarticle", train=rows)
    first = parts()
    assert [len(part) for part in first] == [516, 64, 65]
    assert set.union(*first) == {row["text"] for row in rows}
    put(alone, task.path, "byarticle", train=rows[::-1])
    assert parts() == first
    with pytest.raises(UserError, match="no split 'dev'"):
        load_rows(task, "dev")


def test_folds_are_partitions_too(alone):
    rows = [{"text": f"t{i}", "title": "", "hyperpartisan": True, "url": "", "published_at": ""} for i in range(100)]
    put(alone, get("hyperpartisan").path, "byarticle", train=rows)
    seen = []
    for fold in range(10):
        rest = tuple(k for k in range(10) if k != fold)
        task = replace(get("hyperpartisan"), partition=(("train", rest), ("validation", (fold,))))
        seen += [row["text"] for row in load_rows(task, "validation").rows]
    assert sorted(seen) == sorted(row["text"] for row in rows)


class Branch:
    """A conversion branch as the Hub's file system shows it."""

    def __init__(self, *files: str) -> None:
        self.files = files

    def ls(self, root: str) -> list[dict]:
        names = {f.split("/")[0] for f in self.files}
        return [{"name": f"{root}/{name}", "type": "directory"} for name in names] + [{"name": "x", "type": "file"}]

    def glob(self, pattern: str) -> list[str]:
        root, _, tail = pattern.partition("%2Fparquet/")
        return [f"{root}%2Fparquet/{f}" for f in self.files if f.rsplit("/", 1)[0] == tail.rsplit("/", 1)[0]]


def test_the_hubs_conversion_branch():
    branch = Branch("plain_text/train/0000.parquet", "plain_text/train/0001.parquet", "other/train/0000.parquet")
    found = converted(branch, "a/b", "plain_text", "train")
    assert found == [f"hf://datasets/a/b@refs%2Fconvert%2Fparquet/plain_text/train/000{k}.parquet" for k in (0, 1)]
    alone = Branch("conll2000/train/0000.parquet")
    assert converted(alone, "a/b", "default", "train")[0].endswith("conll2000/train/0000.parquet")
    partial = Branch("arxiv/partial-train/0000.parquet", "pubmed/train/0000.parquet")
    assert "partial-train" in converted(partial, "a/b", "arxiv", "train")[0]
    with pytest.raises(FileNotFoundError, match="it has other, plain_text"):
        converted(branch, "a/b", "third", "train")


def test_twins_need_no_data_at_all(monkeypatch):
    monkeypatch.delenv("MUPPET_HUB")
    rows = load_rows(get("mnli"), "train", source="twins", cap=7)
    assert (rows.found, rows.total, len(rows.rows)) == ("twins", 7, 7)
    with pytest.raises(UserError, match="no synthetic twin"):
        load_rows(replace(get("wic"), name="mine"), "train", source="twins")


def test_the_treebanks_folder(tmp_path, monkeypatch):
    with pytest.raises(Absent, match="set MUPPET_PTB"):
        load_rows(get("ptb_pos"), "train")
    for section in [*range(2, 22), 22]:
        place = tmp_path / "wsj" / f"{section:02d}"
        place.mkdir(parents=True)
        tree = "( (S (NP-SBJ (DT The) (NN cat)) (VP (VBD sat) (-NONE- *)) (. .)) )\n"
        (place / f"wsj_{section:02d}01.mrg").write_text(tree)
    monkeypatch.setenv("MUPPET_PTB", str(tmp_path / "wsj"))
    found = treebank_rows("validation")
    assert found[0]["tokens"] == ["The", "cat", "sat", "."] and found[0]["pos_tags"] == ["DT", "NN", "VBD", "."]
    assert "-NONE-" in found[0]["tree"] and len(treebank_rows("train")) == 20
    with pytest.raises(UserError, match=r"20 of 39832 rows were found \(folder\); .*: complete \$MUPPET_PTB, or cap"):
        load_rows(get("ptb_pos"), "train")
    assert load_rows(get("ptb_pos"), "validation").found == "folder"
    with pytest.raises(UserError, match="section 23 of split test is missing"):
        load_rows(get("ptb_pos"), "test")


# What `data check`, `list` and `show` say -----------------------------------------------------------------------------


def test_check_counts_and_names_what_does_not_fit(alone, capsys):
    put(alone, "nyu-mll/glue", "rte", train=rte(30), validation=rte(5), test=rte(4, label=-1))
    put(alone, "stranger/data", "default", train=[{"x": 1}])
    assert data.main(["check"]) == 0
    out = capsys.readouterr().out
    assert "2 configurations in" in out and "0 mismatches" in out and "no task reads stranger/data/default" in out
    assert "4 no label" in out and "[CLS] a 0 [SEP] b 0 [SEP]" in out
    put(alone, "nyu-mll/glue", "rte", train=rte(30), validation=[{"sentence1": "a", "sentence": "b", "label": 0}])
    assert data.main(["check", "rte"]) == 1
    assert "mismatch: rte validation" in capsys.readouterr().out


def test_check_reads_further_configurations_where_a_task_can(alone, capsys):
    wsc = {"text": "a b", "span1_index": 0, "span2_index": 1, "span1_text": "a", "span2_text": "b", "idx": 0}
    wsc["label"] = -1
    folder = put(alone, "aps/super_glue", "wsc.fixed", test=[wsc])
    put(alone, "aps/super_glue", "axb", readme=False, test=[{"sentence1": "a", "sentence2": "b", "label": 0}])
    text = (folder / "README.md").read_text()
    more = "- config_name: axb\n  data_files:\n  - split: test\n    path: axb/test.parquet\n---\n"
    (folder / "README.md").write_text(text.replace("---\n# text", more))
    assert data.main(["check"]) == 0
    out = capsys.readouterr().out
    assert "wsc (wsc.fixed)" in out and "2 configurations" in out and "1 of them read; 0 mismatches" in out
    assert "no task reads aps/super_glue/axb" in out


def test_list_and_show(alone, capsys):
    assert data.main(["list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ALL) and "unique_45: 45" in out
    for name in ("cola", "stsb", "race", "squad_v2", "xsum", "conll2000", "ptb_parsing"):
        assert data.main(["show", name, "--twins", "--rows", "2"]) == 0
        assert "[CLS]" in capsys.readouterr().out
    assert data.main(["show", "colla", "--twins"]) == 2
    assert "did you mean 'cola'" in capsys.readouterr().err
    assert data.main(["show", "cola", "--rows", "0"]) == 2


def test_show_with_a_models_tokens(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "artifacts"))
    command = ["show", "rte", "--twins", "--rows", "2", "--model"]
    assert data.main([*command, "tiny/roberta"]) == 0
    assert "<s>" in (shown := capsys.readouterr().out)
    shutil.copytree(models.folder("tiny/roberta"), tmp_path / "hub" / "models" / "some" / "model")
    assert data.main([*command, "some/model"]) == 0  # found where training finds it
    assert capsys.readouterr().out == shown.replace("tiny/roberta", "some/model")
    assert data.main([*command, "some/other"]) == 2
    assert "error: model 'some/other' cannot be loaded" in capsys.readouterr().err


MIRROR = os.environ.get("MUPPET_HUB")


@pytest.mark.skipif(not MIRROR, reason="MUPPET_HUB is not set")
def test_every_configuration_of_the_mirror_passes(monkeypatch, capsys):
    monkeypatch.setenv("MUPPET_HUB", str(MIRROR))
    assert data.main(["check"]) == 0
    out = capsys.readouterr().out
    assert ", 0 mismatches" in out.replace(";", ",")
    assert "no task reads" not in out


def test_rows_serialise_alike_on_every_machine(alone):
    put(alone, "ctr4si/reddit_tifu", "long", train=[{"documents": f"d{i}", "tldr": "t", "ups": 1.0} for i in range(50)])
    table, _, _ = sources.read_split(get("reddit_tifu"), "train")
    first = sources.partition(get("reddit_tifu"), "test", table)
    assert json.dumps(first.tolist()) == json.dumps(np.sort(first).tolist())
    assert len(first) == 5
