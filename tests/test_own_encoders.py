"""Encoders of many kinds, with random weights: what plain transformers computes of their rows, or what is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from muppet.errors import UserError
from muppet.families.segments import Segmenter
from muppet.model.batch import pack_rows, pad_rows
from muppet.model.encoder import enable, refusal
from muppet.model.multitask import MultiTask
from muppet.synthetic import models
from tests.core import artifacts, shared_artifacts  # noqa: F401

pytestmark = pytest.mark.usefixtures("artifacts")

# Funnel says its shape as no other does
FUNNEL = {"d_model": 32, "block_sizes": [1, 1], "num_decoder_layers": 1, "n_head": 2, "d_head": 16}
FUNNEL |= dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"))


def small(kind: str, place: Path, tokenizer: str, **config: object) -> str:
    """A folder of a transformers model of one narrow layer, with the tokenizer of a tiny model."""
    shutil.copytree(models.folder(tokenizer), place)
    numbers = json.loads((place / "config.json").read_text())
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = {"vocab_size": numbers["vocab_size"], "pad_token_id": numbers["pad_token_id"], **shape, **config}
    torch.manual_seed(0)
    wanted = {name: value for name, value in config.items() if value is not None}
    made = getattr(transformers, f"{kind}Config")(initializer_range=0.3, **wanted)
    getattr(transformers, f"{kind}Model")(made).save_pretrained(place)
    return str(place)


PAIRS = [("a man walks the dog", "it was good"), ("the river", "a bird is near the city and sings"), ("so", "no")]


def states(model: MultiTask, pairs: list[tuple[str, str]], pack: bool = False) -> list[torch.Tensor]:
    """The states of each pair's tokens, computed in one forward."""
    rows, second, _ = Segmenter(model.tokenizer, 64).rows([a for a, _ in pairs], [b for _, b in pairs])
    lengths = np.array([len(row) for row in rows])
    given = (np.concatenate([np.array(row) for row in rows]), lengths, np.array(second))
    with torch.no_grad():
        found = model.encode_rows(pack_rows(*given) if pack else pad_rows(*given, model.pad)).states
    return [one[:length] for one, length in zip(found, lengths.tolist(), strict=True)]


@pytest.mark.parametrize("tokenizer", ["tiny/roberta", "tiny/bert"])
@pytest.mark.parametrize("kind", ["Roberta", "XLMRoberta", "Bert", "Electra", "Longformer", "Ernie"])
def test_a_second_text_has_a_type_of_its_own_where_the_tokenizer_gives_it_one(tmp_path, kind, tokenizer):
    """Many configurations have two types unless told otherwise; with RoBERTa's tokenizer one of them is never seen."""
    place = small(kind, tmp_path / "m", tokenizer, type_vocab_size=2, max_position_embeddings=80)
    plain, model = transformers.AutoModel.from_pretrained(place).eval(), MultiTask.load(place).eval()
    encoded = [model.tokenizer(*pair, return_tensors="pt") for pair in PAIRS]
    with torch.no_grad():
        expected = [plain(**one).last_hidden_state[0] for one in encoded]
    ways = [False] + [True] * (refusal(model) is None and enable(model))
    for pack in ways:
        found = states(model, PAIRS, pack)
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, expected, strict=True)), pack


@pytest.mark.parametrize("kind", ["Roberta", "XLMRoberta", "Camembert", "Bert", "Electra"])
def test_a_text_that_holds_the_token_of_padding_has_the_same_states_packed(tmp_path, kind):
    """As where it says "<pad>", or where a tokenizer's unknown word has the number that a configuration pads with."""
    place = small(kind, tmp_path / "m", "tiny/roberta", type_vocab_size=1, max_position_embeddings=80)
    plain, model = transformers.AutoModel.from_pretrained(place).eval(), MultiTask.load(place).eval()
    pairs = [("a man <pad> walks", "<pad><pad> the dog"), ("<pad>", "so"), ("it was", "good <pad>"), ("so", "no")]
    encoded = [model.tokenizer(*pair, return_tensors="pt") for pair in pairs]
    assert sum(int((one["input_ids"] == model.pad).sum()) for one in encoded) == 5
    with torch.no_grad():
        expected = [plain(**one).last_hidden_state[0] for one in encoded]
    assert enable(model)
    for pack in (False, True):
        found = states(model, pairs, pack)
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, expected, strict=True)), pack


@pytest.mark.parametrize(("kind", "more", "reads"), [
    ("ConvBert", {"head_ratio": 1, "conv_kernel_size": 3, "embedding_size": 32}, True),
    ("FNet", {}, True),
    ("Nystromformer", {}, True),
    ("Funnel", FUNNEL, True),
    ("DistilBert", {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}, False),
    ("MPNet", {}, False),
])  # fmt: skip
def test_an_encoder_whose_rows_depend_on_the_padding_is_said(tmp_path, capsys, kind, more, reads):
    model = MultiTask.load(small(kind, tmp_path / "m", "tiny/bert", **more)).eval()
    assert ("reads the padding, too" in capsys.readouterr().err) == reads
    together, alone = states(model, PAIRS), [states(model, [pair])[0] for pair in PAIRS]
    assert reads != all(torch.allclose(a, b, atol=1e-4) for a, b in zip(together, alone, strict=True))


def test_what_is_no_encoder_of_tokens_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"m' \(perceiver\) has no table of tokens; give an"):
        MultiTask.load(small("Perceiver", tmp_path / "m", "tiny/bert", d_model=32, d_latents=32, num_latents=4))
    bert = transformers.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    two = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        bert, transformers.BertConfig(**bert.to_dict())
    )
    transformers.EncoderDecoderModel(two).save_pretrained(tmp_path / "two")
    own = transformers.AutoTokenizer.from_pretrained(models.folder("tiny/bert"))
    own.save_pretrained(tmp_path / "two")
    with pytest.raises(UserError, match=r"\(encoder-decoder\) has no `d_model` in its config.json"):
        MultiTask.load(str(tmp_path / "two"))


def test_dropout_reaches_every_layer_that_has_some(tmp_path):
    """Funnel calls its dropout as no other does."""
    place = small("Funnel", tmp_path / "m", "tiny/bert", **FUNNEL)
    model = MultiTask.load(place, dropout=0.3, attention_dropout=0.3, activation_dropout=0.3)
    assert {one.p for one in model.backbone.modules() if isinstance(one, torch.nn.Dropout)} == {0.3}
