"""The token cache: read and not built the second time, safe and exact."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from muppet import paths
from muppet.data.cache import encode
from muppet.data.sources import load_rows
from muppet.errors import UserError
from muppet.families.encoded import Encoded
from muppet.families.segments import Segmenter, tokenizer_identity
from muppet.synthetic import models as tiny
from muppet.tasks import get

pytestmark = pytest.mark.usefixtures("token_artifacts")


def same(left: Encoded, right: Encoded) -> bool:
    names = ("tokens", "offsets", "second", "unit_rows", "unit_example", "labels", "spans", "context")
    present = [name for name in names if getattr(left, name) is not None]
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in present)


def test_the_second_time_is_read_and_not_built(tokenizers, monkeypatch):
    given = dict(max_length=48, source="twins", cap=17)
    first = encode(get("qnli"), "train", tokenizers["roberta"], **given)
    stamp = (first.folder / "meta.json").stat().st_mtime_ns
    monkeypatch.setattr("muppet.data.cache._build", None)
    monkeypatch.setattr("muppet.synthetic.twins.rows", None)  # nor are rows drawn that nobody reads
    second = encode(get("qnli"), "train", tokenizers["roberta"], **given)
    assert same(first, second) and (second.folder / "meta.json").stat().st_mtime_ns == stamp
    assert isinstance(second.tokens, np.memmap)


def test_what_changes_the_arrays_changes_the_key(tokenizers):
    task, one = get("rte"), tokenizers["roberta"]
    base = dict(max_length=48, source="twins", cap=12)
    folders = {
        encode(task, "train", one, **base).folder,
        encode(task, "train", one, **(base | {"max_length": 40})).folder,
        encode(task, "train", one, **(base | {"cap": 13})).folder,
        encode(task, "train", one, **base, evaluation=True).folder,
        encode(task, "train", tokenizers["bert"], **base).folder,
        encode(task, "validation", one, **base).folder,
        encode(replace(task, columns=(("text", "sentence2"), ("label", "label"))), "train", one, **base).folder,
    }
    assert len(folders) == 7
    assert encode(replace(task, note="other", licence="x"), "train", one, **base).folder in folders


def test_the_tokenizers_state_is_left_alone_and_no_part_of_its_identity(tokenizers):
    tokenizer = tokenizers["roberta"]
    before = tokenizer_identity(tokenizer)
    tokenizer("a b c", truncation=True, max_length=3, padding="max_length")
    from muppet.families import segments

    segments._identities.clear()
    assert tokenizer_identity(tokenizer) == before != tokenizer_identity(tokenizers["bert"])
    Segmenter(tokenizer, 16).rows(["a " * 50], None)
    assert len(tokenizer("a " * 50)["input_ids"]) > 16


@pytest.mark.parametrize("damage", ["tokens.bin", "meta.json", "gold.jsonl", "unit_rows.bin", "spans.bin"])
def test_a_damaged_cache_is_named_and_built_again(damage, tokenizers, capsys):
    given = dict(max_length=48, source="twins", cap=15, evaluation=True)
    first = encode(get("squad"), "train", tokenizers["roberta"], **given)
    kept = {name: np.array(getattr(first, name)) for name in ("tokens", "spans")}
    file = first.folder / damage
    if damage == "unit_rows.bin":
        file.unlink()
    elif damage == "spans.bin":  # of the same size
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    else:
        file.write_bytes(file.read_bytes()[:-3])
    again = encode(get("squad"), "train", tokenizers["roberta"], **given)
    assert "is damaged" in capsys.readouterr().err
    assert all(np.array_equal(value, getattr(again, name)) for name, value in kept.items())
    assert len(again.gold()) == 15


def test_a_failed_build_leaves_nothing(tokenizers, token_folder, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    before = set((token_folder / "cache").iterdir())
    monkeypatch.setattr("muppet.families.layout.Writer.finish", full)
    with pytest.raises(UserError, match="token cache .* cannot be written .*No space left.*MUPPET_ARTIFACTS"):
        encode(get("mrpc"), "train", tokenizers["roberta"], max_length=32, source="twins", cap=9)
    assert set((token_folder / "cache").iterdir()) == before


class _Fast:
    """What the cache needs of a fast tokenizer, without the seconds that importing transformers takes."""

    is_fast = True

    def __init__(self, file: str) -> None:
        from tokenizers import Tokenizer

        self.backend_tokenizer = Tokenizer.from_file(file)

    def __len__(self) -> int:
        return self.backend_tokenizer.get_vocab_size()

    def num_special_tokens_to_add(self, pair: bool) -> int:
        return self.backend_tokenizer.num_special_tokens_to_add(pair)


def _builder(folder: str, file: str, found: multiprocessing.Queue) -> None:
    os.environ["MUPPET_ARTIFACTS"] = folder
    encoded = encode(get("boolq"), "train", _Fast(file), max_length=32, source="twins", cap=300)
    found.put((str(encoded.folder), int(encoded.tokens.astype(np.int64).sum()), encoded.n_examples))


def test_concurrent_builders_agree(token_folder, tokenizers):
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    file = str(tiny.folder("tiny/roberta") / "tokenizer.json")
    workers = [context.Process(target=_builder, args=(str(token_folder), file, found)) for _ in range(3)]
    for worker in workers:
        worker.start()
    results = {found.get(timeout=300) for _ in workers}
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    assert len(results) == 1 and results.pop()[2] == 300
    assert not list((token_folder / "cache").glob(".boolq*"))


BESIDE = """
import sys, time
from pathlib import Path
from muppet import paths
with paths.beside(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("a model")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_goes_and_what_another_makes_stays(tmp_path):
    place = tmp_path / "my [1] model"
    command = [sys.executable, "-c", BESIDE, str(place)]
    alive, killed = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    try:
        kept, left = (Path(one.stdout.readline().strip()) for one in (alive, killed))
        killed.kill()
        killed.wait()
        elsewhere = tmp_path / f".{place.name}.elsewhere.{killed.pid}.1"
        other = tmp_path / left.name.replace("model", "other model")
        for folder in (elsewhere, other):
            folder.mkdir()
        assert (kept / "half").is_file() and (left / "half").is_file()
        with paths.beside(place) as made:
            assert set(tmp_path.iterdir()) == {kept, elsewhere, other, made}
            made.rename(place)
        assert set(tmp_path.iterdir()) == {kept, elsewhere, other, place}
    finally:
        alive.kill()
        alive.wait()


def test_a_cache_is_read_by_whom_the_umask_lets(tokenizers):
    """A folder of the tempfile module would be its maker's alone, and another user's of the group seem damaged."""
    before = os.umask(0o027)
    try:
        encoded = encode(get("cb"), "train", tokenizers["roberta"], max_length=32, source="twins", cap=7)
    finally:
        os.umask(before)
    assert encoded.folder.stat().st_mode & 0o777 == 0o750


def test_a_split_without_labels_is_refused(tokenizers, tmp_path, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = tmp_path / "nyu-mll" / "glue" / "rte"
    place.mkdir(parents=True)
    unlabelled = [{"sentence1": "a", "sentence2": "b", "label": -1}] * 3
    pq.write_table(pa.Table.from_pylist(unlabelled), place / "test.parquet")
    monkeypatch.setenv("MUPPET_HUB", str(tmp_path))
    with pytest.raises(UserError, match="has 3 rows but not one example .3 × no label.; use a labelled split"):
        encode(get("rte"), "test", tokenizers["roberta"], max_length=32)
    empty = [{"sentence1": None, "sentence2": "b", "label": 0}] * 3
    pq.write_table(pa.Table.from_pylist(empty), place / "test.parquet")
    with pytest.raises(UserError, match="not one example .3 × missing text.; correct the rows or the Task"):
        encode(get("rte"), "test", tokenizers["roberta"], max_length=32)


def test_meta_tells_what_was_found_and_dropped(tokenizers):
    encoded = encode(get("drop"), "train", tokenizers["roberta"], max_length=64, source="twins", cap=50)
    assert encoded.found == "twins" and encoded.total == 50
    assert encoded.n_examples + encoded.dropped["answer is no span of the context"] == 50
    meta = json.loads(Path(encoded.folder / "meta.json").read_text())
    assert meta["fingerprint"] == load_rows(get("drop"), "train", source="twins", cap=50).fingerprint


def test_a_python_tokenizer_serves_all_but_spans_and_tags(tokenizers):
    from transformers import AutoTokenizer

    slow = _Slow(AutoTokenizer.from_pretrained(tiny.folder("tiny/roberta")))
    encoded = encode(get("mnli"), "train", slow, max_length=16, source="twins", cap=10)
    own = encode(get("mnli"), "train", tokenizers["roberta"], max_length=16, source="twins", cap=10)
    assert np.array_equal(encoded.tokens, own.tokens) and encoded.notes == own.notes
    for task in ("squad", "conll2000"):
        with pytest.raises(UserError, match="character offsets"):
            encode(get(task), "train", slow, max_length=32, source="twins", cap=5)


class _Slow:
    """A tokenizer's Python face alone, as those have that come without a fast one (Marian's)."""

    is_fast = False

    def __init__(self, tokenizer) -> None:
        self.tokenizer = tokenizer
        self.num_special_tokens_to_add = tokenizer.num_special_tokens_to_add
        self.get_vocab, self.special_tokens_map = tokenizer.get_vocab, tokenizer.special_tokens_map

    def __len__(self) -> int:
        return len(self.tokenizer)

    def __call__(self, *given, **more):
        return self.tokenizer(*given, **more)
