"""Models of one's own: what is refused before the first step, and what stays as it was."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from muppet import tasks
from muppet.__main__ import main
from muppet.errors import UserError
from muppet.model.batch import pad_rows
from muppet.model.multitask import MultiTask
from muppet.runs import Finetune, Prefinetune
from muppet.stages.finetune import finetune
from muppet.synthetic import models
from muppet.tasks.task import Generation
from tests.core import artifacts, files_of_at_most, finish, launch, recipe, shared_artifacts  # noqa: F401
from tests.own_files import SMALL, one_error

pytestmark = pytest.mark.usefixtures("artifacts")


def test_a_model_without_its_tokenizer_or_with_anothers_is_refused(tmp_path):
    shutil.copytree(models.folder("tiny/roberta"), tmp_path / "model")
    for file in (tmp_path / "model").iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    with pytest.raises(UserError, match="no tokenizer is saved with it"):
        MultiTask.load(str(tmp_path / "model"))
    shutil.copytree(models.folder("tiny/bert"), tmp_path / "other")
    for file in models.folder("tiny/roberta").iterdir():
        if file.name.startswith(("tokenizer", "vocab", "merges")):
            shutil.copy(file, tmp_path / "other")
    (tmp_path / "other" / "vocab.txt").unlink(missing_ok=True)
    with pytest.raises(UserError, match="its tokenizer numbers tokens up to 1707, and it has embeddings of 816"):
        MultiTask.load(str(tmp_path / "other"))
    shutil.copytree(models.folder("tiny/roberta"), tmp_path / "damaged")
    (tmp_path / "damaged" / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"damaged' cannot be loaded \(looked in this folder\)"):
        MultiTask.load(str(tmp_path / "damaged"))
    config = json.loads((tmp_path / "damaged" / "config.json").read_text())
    (tmp_path / "damaged" / "config.json").write_text(json.dumps(config | {"vocab_size": "many"}))
    with pytest.raises(UserError, match="cannot be loaded .*vocab_size"):
        MultiTask.load(str(tmp_path / "damaged"))


def changed(kind: str, place: Path, **config: object) -> str:
    """A folder of a tiny model with another configuration."""
    shutil.copytree(models.folder(kind), place)
    plain = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(plain | config))
    return str(place)


@pytest.mark.parametrize("kind", ["roberta", "bert", "bart", "t5"])
def test_tokens_that_a_configuration_leaves_out_are_its_tokenizers(tmp_path, kind):
    """The states of padded rows are those of the model whose configuration says it."""
    whole = MultiTask.load(f"tiny/{kind}").eval()
    eos = {"eos_token_id": None} if kind in ("bart", "t5") else {}
    model = MultiTask.load(changed(f"tiny/{kind}", tmp_path / "m", pad_token_id=None, **eos)).eval()
    numbers = (np.array([0, 5, 2, 0, 5, 6, 7, 2]), np.array([3, 5]), np.array([3, 5]))
    with torch.no_grad():
        one, other = (m.encode_rows(pad_rows(*numbers, m.pad)).sentence for m in (whole, model))
    assert torch.equal(one, other)
    assert model.backbone.config.eos_token_id == whole.backbone.config.eos_token_id


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("roberta", "pad_token_id", -1),
        ("t5", "pad_token_id", 99999),
        ("bart", "decoder_start_token_id", None),
        ("bart", "decoder_start_token_id", 99999),
    ],
)
def test_a_token_that_a_model_does_not_have_is_named(tmp_path, kind, field, value):
    message = f"m': `{field}` of its config.json is {value}; give a token's number, 0 to 1707"
    with pytest.raises(UserError, match=message):
        MultiTask.load(changed(f"tiny/{kind}", tmp_path / "m", **{field: value}))


def test_greedy_decoding_is_saved_whatever_its_length_penalty(tmp_path):
    model = MultiTask.load("tiny/bart")
    model.generation = Generation(beams=1, length_penalty=2.0)
    model.save(tmp_path / "m", "")
    assert MultiTask.load(str(tmp_path / "m")).generation.beams == 1


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("Data2VecText", 512), ("RobertaPreLayerNorm", 512), ("XLMRobertaXL", 512), ("Longformer", 512), ("Bert", 514)],
)
def test_positions_are_read_off_the_table(tmp_path, kind, limit):
    """A table of 514 rows holds 512 positions when they begin after a padding index of 1."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(
        vocab_size=1708, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=514, pad_token_id=1,
    )  # fmt: skip
    shutil.copytree(models.folder("tiny/roberta"), tmp_path / "model")
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path / "model")
    model = MultiTask.load(str(tmp_path / "model"))
    assert model.positions() == limit
    longest = torch.full((1, limit), 5)
    model.backbone(input_ids=longest, attention_mask=torch.ones_like(longest))  # one more does not fit the table
    with pytest.raises((IndexError, RuntimeError)):
        longer = torch.full((1, limit + 1), 5)
        model.backbone(input_ids=longer, attention_mask=torch.ones_like(longer))


def test_another_model_in_the_same_folder_is_another_run_and_no_checkpoint_of_the_first_goes_on(tmp_path):
    from muppet.cli.train import _digest
    from tests.core import make_trainer, mixture

    folder = tmp_path / "model"
    shutil.copytree(models.folder("tiny/roberta"), folder)
    before, trainer = _digest(str(folder)), make_trainer(mixture("rte", str(folder)))
    trainer.update()
    state = trainer.state()
    make_trainer(mixture("rte", str(folder))).restore(1, state)
    shutil.copy(models.folder("tiny/muppet-roberta") / "model.safetensors", folder)
    assert _digest(str(folder)) != before is not None
    with pytest.raises(UserError, match="made on other data or from another model"):
        make_trainer(mixture("rte", str(folder))).restore(1, state)
    from muppet.runs import run_id

    runs = [
        Prefinetune(model="m", tasks=(tasks.get("rte"),), recipe=recipe(), model_digest=d) for d in (None, "a", "b")
    ]
    assert len({run_id(run) for run in runs}) == 3


def test_numbers_that_are_none_end_training_evaluation_and_prediction(tmp_path, capsys):
    given = ["finetune", "--model", "tiny/roberta", "--task", "rte", "--rows", "64", "--epochs", "0.5", "--twins"]
    assert main([*given, "--lr", "1e38", "--out", str(tmp_path / "out")]) == 2
    assert "not finite" in one_error(capsys)
    assert not (tmp_path / "out").exists()
    model = MultiTask.load("tiny/roberta")
    with torch.no_grad():
        next(model.backbone.parameters())[0] = float("nan")
    with pytest.raises(UserError, match="after it the weights .* are not finite"):
        model.check_finite("after it")


def test_too_large_a_model_is_said_before_it_is_trained(monkeypatch, never_trained):
    monkeypatch.setattr("muppet.runtime.device.Device.memory", 10**6)
    run = Finetune(init="tiny/roberta", task=tasks.get("rte"), recipe=recipe(), source="twins", train_rows=20)
    with pytest.raises(UserError, match="weights takes 0.0 GB, and this cpu has 0.0 GB"):
        finetune(replace(run, evaluation_rows=20))


# Folders --------------------------------------------------------------------------------------------------------------


def test_what_another_put_into_a_folder_stays(tmp_path, capsys):
    out = tmp_path / "out"
    given = ["finetune", "--model", "tiny/roberta", "--task", "rte", "--twins", *SMALL, "--out", str(out)]
    assert main(given) == 0
    assert main(["export", str(out), "--out", str(tmp_path / "copy")]) == 0
    (tmp_path / "copy" / "notes.txt").write_text("mine")
    capsys.readouterr()
    for command in (
        ["export", str(out), "--out", str(tmp_path / "copy"), "--overwrite"],
        [*given[:-1], str(tmp_path / "copy"), "--overwrite"],
    ):
        assert main(command) == 2
        assert "also holds notes.txt, which this program did not write" in one_error(capsys)
    assert (tmp_path / "copy" / "notes.txt").read_text() == "mine"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    assert main(["export", str(out), "--out", str(tmp_path / "notes"), "--overwrite"]) == 2
    assert "is no model folder of this program" in one_error(capsys)
    (tmp_path / "copy" / "notes.txt").unlink()
    assert main(["export", str(out), "--out", str(tmp_path / "copy"), "--overwrite"]) == 0
    (tmp_path / "link").symlink_to("copy")  # of a link, the folder that it names is replaced
    (tmp_path / "copy" / "config.json").write_text("{}")
    assert main(["export", str(out), "--out", str(tmp_path / "link"), "--overwrite"]) == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "copy" / "config.json").read_text() == (out / "config.json").read_text()


def test_a_result_that_was_half_written_when_its_run_was_killed_is_no_obstacle(tmp_path):
    model = MultiTask.load("tiny/roberta")
    model.save(tmp_path / "m", "first")
    (tmp_path / "m" / ".prefinetune-roberta-rte-0123456789ab.json.x1_y2z3w").write_text("{")
    model.save(tmp_path / "m", "second")
    assert not list((tmp_path / "m").glob(".*"))
    (tmp_path / "m" / ".notes.json").write_text("mine")
    with pytest.raises(UserError, match="also holds .notes.json"):
        model.save(tmp_path / "m", "third")


def test_a_copy_that_the_disk_does_not_hold_is_one_line(tmp_path, capsys):
    MultiTask.load("tiny/roberta").save(tmp_path / "m", "")
    with files_of_at_most(30_000):
        assert main(["export", str(tmp_path / "m"), "--out", str(tmp_path / "copy")]) == 2
    assert re.fullmatch(r"error: \[Errno 27\] File too large: '\S+'( -> '\S+')?; .*", one_error(capsys))
    assert [place.name for place in tmp_path.iterdir()] == ["m"]


def test_what_is_put_into_out_while_a_model_is_trained_stays(tmp_path, monkeypatch, capsys):
    from muppet.stages import finetune as stage

    trained, out = stage.finetune, tmp_path / "out"

    def meanwhile(*given, **more):
        out.mkdir(exist_ok=True)
        (out / "notes.txt").write_text("mine")
        return trained(*given, **more)

    monkeypatch.setattr(stage, "finetune", meanwhile)
    assert main(["finetune", "--model", "tiny/roberta", "--task", "rte", "--twins", *SMALL, "--out", str(out)]) == 2
    said = one_error(capsys)
    assert "is no model folder of this program" in said and (out / "notes.txt").read_text() == "mine"
    run = re.search(r"the model is kept: `muppet export (\S+) --out FOLDER` copies it", said).group(1)
    assert main(["export", run, "--out", str(tmp_path / "copy")]) == 0
    assert {f"{run}.json", "heads.json"} <= {file.name for file in (tmp_path / "copy").iterdir()}


def test_out_is_never_what_the_work_stands_in(tmp_path, monkeypatch, capsys, never_trained):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path / "art" / "here"))
    given = ["finetune", "--model", "tiny/roberta", "--task", "rte", "--twins", *SMALL, "--out"]
    for out, message in (
        (".", "is, or holds, the working folder, and is replaced as a whole"),
        ("art", "is, or holds, the folder of artifacts, and is replaced as a whole"),
        ("~/model", "the shell puts no home folder there"),
        ("caf\udce9", "'caf\\udce9' is not UTF-8"),
    ):
        assert main([*given, out]) == 2
        assert message in one_error(capsys)
    monkeypatch.setattr("pathlib.Path.is_mount", lambda place: place.name == "disk")
    assert main([*given, "disk"]) == 2
    assert "--out disk is a mount point, which cannot be replaced; give a folder in it" in one_error(capsys)
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("MUPPET_ARTIFACTS")
    (tmp_path / "artifacts").write_text("a file")
    assert main([*given, "out"]) == 2
    said = one_error(capsys)
    assert "artifacts: nothing can be written into" in said and "set MUPPET_ARTIFACTS to another folder" in said
