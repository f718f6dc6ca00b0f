"""Models: any encoder or encoder–decoder, saved so that AutoModel and our heads load again; generation; dropout."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers.models.roberta.modeling_roberta import RobertaClassificationHead

from muppet.errors import UserError
from muppet.families.encoded import Part
from muppet.families.span import ANSWER_LENGTH
from muppet.families.spec import HeadSpec
from muppet.model.batch import make_batch
from muppet.model.heads import PaddedRows, best_spans, make_head
from muppet.model.multitask import MultiTask
from muppet.model.pretrained import find
from muppet.runtime.device import Device
from muppet.runtime.rank import Processes
from muppet.stages.evaluate import evaluate, predict
from muppet.stages.opening import open_split, subset
from muppet.synthetic import models
from muppet.tasks.task import Generation
from tests.core import artifacts, files_of_at_most, make_trainer, mixture, shared_artifacts  # noqa: F401

pytestmark = pytest.mark.usefixtures("artifacts")
ENCODERS = ("roberta", "bert", "mpnet", "electra", "deberta", "modernbert")
BOTH = ("bart", "marian", "t5")


@pytest.mark.parametrize("kind", [*ENCODERS, *BOTH])
def test_every_architecture_trains_and_comes_back_from_its_folder(kind, tmp_path):
    trainer = make_trainer(mixture("mnli copa squad conll2000 stsb", f"tiny/{kind}", sub_batches=12))
    before = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
    trainer.update()
    trainer.update()
    heads = [n for n in before if n.startswith("heads.")]
    assert any(not torch.equal(before[n], p) for n, p in trainer.model.named_parameters() if n not in heads)
    trainer.model.save(tmp_path / "model", "# a card\n")
    again = MultiTask.load(str(tmp_path / "model"))
    assert again.specs() == trainer.model.specs()
    saved, loaded = trainer.model.state_dict(), again.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in saved.items())
    plain, info = transformers.AutoModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not [key for key in info["missing_keys"] if not any(part in key for part in ("pooler", "embed_positions"))]
    own = dict(trainer.model.backbone.named_parameters())
    shared = [n for n, _ in plain.named_parameters() if n in own or f"model.{n}" in own]
    assert len(shared) > 10
    for name, value in plain.named_parameters():
        if name in shared:
            assert torch.equal(value, own.get(name, own.get(f"model.{name}")))
    text = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")("hello there")["input_ids"]
    assert text == trainer.model.tokenizer("hello there")["input_ids"]


@pytest.mark.parametrize("kind", [*ENCODERS, *BOTH])
def test_padding_changes_no_rows_states(kind):
    """Batched with longer rows a row gives what it gives alone: masks, positions and pooling ignore padding."""
    trainer = make_trainer(mixture("mnli", f"tiny/{kind}"))
    part, specs, model = trainer.parts[0], trainer.specs, trainer.model.eval()
    lengths = np.diff(part.encoded.offsets)
    units = np.array([int(lengths.argmin()), int(lengths.argmax()), 3])
    device = torch.device("cpu")
    together = model.predictions(make_batch([part], specs, [(0, units)], model.pad, device), specs)[0][0]
    for row in range(3):
        alone = model.predictions(make_batch([part], specs, [(0, units[row : row + 1])], model.pad, device), specs)[0][
            0
        ]
        torch.testing.assert_close(together[row], alone[0], rtol=1e-4, atol=1e-5)
    assert lengths[units[0]] < lengths[units[1]]


def test_a_sentence_head_is_robertas_classification_head():
    theirs = RobertaClassificationHead(transformers.RobertaConfig(hidden_size=8, num_labels=3)).eval()
    head = make_head(HeadSpec(key="mnli", family="classification", outputs=3), 8, 0.5, 0)
    theirs.load_state_dict({name.replace("out.", "out_proj."): value for name, value in head.state_dict().items()})
    states = torch.randn(5, 4, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head.logits(PaddedRows(states, states[:, 0]), {}), theirs(states))


def test_a_question_has_a_score_for_each_of_its_own_choices():
    head = make_head(HeadSpec(key="commonsense", family="commonsense", outputs=1), 8, 0.5, 0)
    assert [len(one) for one in head.by_unit(torch.zeros(3, 4), {"n": torch.tensor([2, 4, 3])})] == [2, 4, 3]


@given(st.integers(0, 1000))
def test_the_best_span_is_that_of_all_pairs_of_tokens_in_the_context(seed):
    torch.manual_seed(seed)
    logits, bounds = torch.randn(6, 45), ((1, 45), (5, 8), (40, 41))  # of three windows: starts, then ends
    first, last = torch.tensor(bounds).T
    for u, found in enumerate(best_spans(logits, {"first": first, "last": last})):
        start, end = logits[u].tolist(), logits[3 + u].tolist()
        pairs = [(a, b) for a in range(*bounds[u]) for b in range(a, min(a + ANSWER_LENGTH, bounds[u][1]))]
        a, b = max(pairs, key=lambda pair: start[pair[0]] + end[pair[1]])
        assert found == (pytest.approx(start[a] + end[b]), a, b, pytest.approx(start[0] + end[0]))


def test_two_texts_are_told_apart_by_token_types():
    """BERT's segment embeddings reach the second text: swapping them changes the states."""
    trainer = make_trainer(mixture("mnli", "tiny/bert"))
    model = trainer.model.eval()
    batch = make_batch(trainer.parts, trainer.specs, [(0, np.arange(2))], model.pad, torch.device("cpu"))
    states = model.encode_rows(batch).states
    model.backbone.embeddings.token_type_embeddings.weight.data = (
        model.backbone.embeddings.token_type_embeddings.weight.data.flip(0)
    )
    assert not torch.allclose(states, model.encode_rows(batch).states)


def test_dropout_is_the_recipes_while_training_and_the_models_own_in_its_folder(tmp_path):
    trainer = make_trainer(mixture("mnli", dropout=0.25, attention_dropout=0.15))
    config = trainer.model.backbone.config
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.25, 0.15)
    assert trainer.model.backbone.encoder.layer[0].output.dropout.p == 0.25
    assert not [m for m in trainer.model.heads.modules() if isinstance(m, torch.nn.Dropout)]  # as published (P28)
    trainer.model.save(tmp_path / "model", "")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["hidden_dropout_prob"] == 0.0
    assert config.hidden_dropout_prob == 0.25


@pytest.mark.parametrize(("given", "expected"), [(0.3, 0.3), (0.0, 0.0), (None, 0.2)])
def test_activation_dropout_is_the_recipes(given, expected, tmp_path):
    """BART's configuration on the Hub has 0.1; its published recipes have none."""
    folder = shutil.copytree(models.folder("tiny/bart"), tmp_path / "bart")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"activation_dropout": 0.2}))
    model = MultiTask.load(str(folder), activation_dropout=given)
    layers = (*model.backbone.get_encoder().layers, *model.backbone.get_decoder().layers)
    assert {layer.activation_dropout for layer in layers} == {expected}


def test_tiny_models_are_built_once_and_the_same_everywhere(tmp_path, monkeypatch):
    first = models.folder("tiny/roberta")
    monkeypatch.setenv("MUPPET_ARTIFACTS", str(tmp_path))
    second = models.folder("tiny/roberta")
    assert first != second
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert not [place for place in second.parent.iterdir() if place.name.startswith(".")]
    with pytest.raises(UserError, match="unknown tiny model 'tiny/robert': did you mean 'tiny/roberta'"):
        models.folder("tiny/robert")


def test_models_are_looked_for_in_the_mirror_before_the_hub(tmp_path, monkeypatch):
    """A released checkpoint is a folder under $MUPPET_HUB/models; here one of the same shape, made tiny."""
    shutil.copytree(models.folder("tiny/muppet-roberta"), tmp_path / "models" / "facebook" / "muppet-roberta-base")
    monkeypatch.setenv("MUPPET_HUB", str(tmp_path))
    assert find("facebook/muppet-roberta-base") == str(tmp_path / "models" / "facebook" / "muppet-roberta-base")
    model = MultiTask.load("facebook/muppet-roberta-base")
    assert model.backbone.config.model_type == "roberta" and not model.specs() and not model.seq2seq
    assert find("roberta-base") == "roberta-base"


def test_what_cannot_be_loaded_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="model 'no/such' cannot be loaded .*the Hub.*check the network"):
        MultiTask.load("no/such")
    with pytest.raises(UserError, match="no folder with a config.json"):
        MultiTask.load(str(tmp_path))
    gpt = tmp_path / "gpt"
    transformers.GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=50).save_pretrained(gpt)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(models.folder("tiny/roberta") / name, gpt)
    with pytest.raises(UserError, match="neither an encoder nor an encoder–decoder"):
        MultiTask.load(str(gpt))
    holed = tmp_path / "holed"
    shutil.copytree(models.folder("tiny/roberta"), holed)
    from safetensors.torch import load_file, save_file

    weights = load_file(holed / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layer.1" not in k}, holed / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="weights such as 'encoder.layer.1"):
        MultiTask.load(str(holed))
    config = json.loads((holed / "config.json").read_text())
    (holed / "config.json").write_text(json.dumps(config | {"hidden_act": "glue"}))
    with pytest.raises(UserError, match=r"its config.json cannot be followed \(KeyError: 'glue'\)"):
        MultiTask.load(str(holed))
    (holed / "config.json").write_text(json.dumps(config | {"vocab_size": 10}))
    with pytest.raises(UserError, match="its weights have other shapes than its config.json says"):
        MultiTask.load(str(holed))


def test_a_configuration_of_fewer_layers_is_refused(tmp_path):
    shutil.copytree(models.folder("tiny/roberta"), tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match="its config.json has no place for 16 weights such as 'encoder.layer.1"):
        MultiTask.load(str(tmp_path / "model"))


@pytest.mark.parametrize(
    "damage", ["truncated", "other shape", "other classes", "one class", "whole", "no file", "a list"]
)
def test_damaged_heads_are_named(tmp_path, damage):
    model = MultiTask.load("tiny/roberta")
    model.add_head(HeadSpec(key="rte", family="classification", outputs=2, classes=("a", "b")), 0)
    model.save(tmp_path / "model", "")
    heads = tmp_path / "model" / "heads.safetensors"
    if damage == "truncated":
        heads.write_bytes(heads.read_bytes()[:50])
    elif damage == "other shape":
        text = (tmp_path / "model" / "heads.json").read_text()
        (tmp_path / "model" / "heads.json").write_text(text.replace('"outputs": 2', '"outputs": 3'))
    elif damage == "other classes":
        saved = json.loads((tmp_path / "model" / "heads.json").read_text())
        saved["heads"][0]["classes"].append("c")
        (tmp_path / "model" / "heads.json").write_text(json.dumps(saved))
    elif damage == "one class":  # twice, or a number in place of a name
        saved = json.loads((tmp_path / "model" / "heads.json").read_text())
        saved["heads"][0]["classes"] = ["a", 1]
        (tmp_path / "model" / "heads.json").write_text(json.dumps(saved))
    elif damage == "whole":  # of 8 bits, whose scale is elsewhere
        save_file({name: value.to(torch.int8) for name, value in load_file(heads).items()}, heads)
    elif damage == "a list":
        (tmp_path / "model" / "heads.json").write_text("[]")
    else:
        heads.unlink()
    with pytest.raises(UserError, match=r"heads.json: the saved heads do not load") as caught:
        MultiTask.load(str(tmp_path / "model"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [2000, 30_000])  # of the model's file, and of its heads' alone
def test_a_failed_save_leaves_the_old_folder(tmp_path, monkeypatch, size):
    model = MultiTask.load("tiny/roberta")
    model.add_head(HeadSpec(key="wide", family="classification", outputs=1000), 0)
    model.save(tmp_path / "model", "first")
    if size > 2000:
        monkeypatch.setattr(model.backbone, "save_pretrained", lambda _: None)
        monkeypatch.setattr(model.tokenizer, "save_pretrained", lambda _: None)
    with files_of_at_most(size), pytest.raises(OSError, match=f"File too large: '{tmp_path}/model'"):
        model.save(tmp_path / "model", "second")
    assert [place.name for place in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "README.md").read_text() == "first"


def test_positions_are_those_a_row_can_use():
    assert MultiTask.load("tiny/roberta").positions() == 512  # of 514
    assert MultiTask.load("tiny/bert").positions() == 512
    assert MultiTask.load("tiny/t5").positions() is None
    with pytest.raises(UserError, match="max_length=513 is more than the 512 positions of .*roberta"):
        make_trainer(mixture("mnli", max_length=513))


@pytest.mark.parametrize("kind", BOTH)
def test_generation_is_deterministic_and_batching_does_not_change_it(kind, tmp_path):
    run = mixture("xsum", f"tiny/{kind}", sub_batches=4, lr=3e-3, updates=10)
    trainer = make_trainer(run)
    for _ in range(3):
        trainer.update()
    encoded = open_split(run, run.tasks[0], "validation", trainer.model, Processes(), cap=6, evaluation=True)
    part = Part(encoded=encoded, units=subset(encoded)[0])
    outputs = [
        predict(trainer.model, part, trainer.specs[0], Device(micro_tokens=limit), Processes())
        for limit in (4096, 4096, 2)
    ]
    assert outputs[0] == outputs[1] == outputs[2]
    scored = evaluate(trainer.model, part, trainer.specs[0], "validation", Device(), Processes())
    assert scored.settings["generation"]["beams"] == 2 and len(scored.lines) == 6
    how = Generation(beams=2, min_tokens=4, max_tokens=9)
    batch = make_batch([part], trainer.specs, [(0, part.units)], trainer.model.pad, torch.device("cpu"))
    short = Generation(beams=2, min_tokens=1, max_tokens=2)
    texts = [sum(map(len, trainer.model.generate(batch, limits))) for limits in (how, short)]
    assert texts[0] > texts[1]
    trainer.model.generation = how  # what a fine-tuned folder keeps
    trainer.model.save(tmp_path / "model", "")
    assert MultiTask.load(str(tmp_path / "model")).generation == how


def test_summaries_need_a_decoder_and_say_so():
    from muppet.stages import opening

    with pytest.raises(UserError, match="xsum is a summarization task, and .* has no decoder"):
        opening.fits(MultiTask.load("tiny/roberta"), mixture("xsum").tasks[0])
    model = MultiTask.load("tiny/bart")
    model.backbone.config.max_position_embeddings = 128  # a decoder's table: targets are up to 256 tokens long
    with pytest.raises(UserError, match="xsum: summaries take up to 256 tokens, and .* has 128 positions"):
        opening.fits(model, mixture("xsum").tasks[0])
