"""Tiny random models for tests and the smoke profile: real architectures of two layers, made on the spot, no download.

`tiny/roberta` can stand wherever a model's name can. The weights are a function of the name, the tokenizer is trained
on the synthetic twins' text; both are built once, under `artifacts/tiny/`. Their own dropout is 0: it costs a tiny
model half its speed and teaches it nothing.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muppet import paths
from muppet.errors import unknown

VERSION = 2  # of what is built; raise it when weights or tokenizer change
VOCABULARY = 2000  # pieces of a tiny model's tokenizer

# width, layers, attention heads
BASE = "roberta muppet-roberta bert mpnet electra deberta modernbert bart marian t5".split()
SHAPES: dict[str, tuple[int, int, int]] = {
    **{f"tiny/{name}": (64, 2, 2) for name in BASE},
    **{f"tiny/{name}-large": (96, 2, 3) for name in ("roberta", "muppet-roberta", "bart")},
}


def folder(name: str) -> Path:
    """The folder of `name`, built on first use; safe when several processes build it at once.

    Raises UserError with the nearest name when there is no such model.
    """
    if name not in SHAPES:
        raise unknown("tiny model", name, SHAPES)
    from muppet.synthetic import twins

    place = paths.artifacts() / "tiny" / f"v{VERSION}.{twins.VERSION}" / name.removeprefix("tiny/")
    if not (place / "config.json").is_file():
        try:
            with paths.beside(place) as temporary:
                _build(name, temporary)
                os.rename(temporary, place)
        except OSError:
            if not (place / "config.json").is_file():  # else another process was first, with the same bytes
                raise
    return place


def _build(name: str, place: Path) -> None:
    import torch

    kind = name.removeprefix("tiny/").removeprefix("muppet-").removesuffix("-large")
    tokenizer = _tokenizer(kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zlib.crc32(name.encode()))
        model = MAKERS[kind](tokenizer, *SHAPES[name])
    model.should_save_on_this_rank = lambda _: True  # else transformers writes in a run's first process alone
    with paths.disk_errors(place):
        model.save_pretrained(place)
    assert (place / "config.json").is_file() and (place / "model.safetensors").is_file()
    tokenizer.save_pretrained(place)


def _tokenizer(kind: str) -> Any:
    """A byte-level BPE in RoBERTa's scheme, or a WordPiece in BERT's, trained on the twins' text."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    from muppet.synthetic import twins

    if kind in ("roberta", "bart", "marian", "t5"):
        pieces = Tokenizer(models.BPE())
        pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            min_frequency=2,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        pieces.train_from_iterator(twins.corpus(), trainer)
        model = json.loads(pieces.to_str())["model"]
        merges = [tuple(pair) for pair in model["merges"]]
        return transformers.RobertaTokenizer(vocab=model["vocab"], merges=merges, model_max_length=512)
    # By hand: the library's WordPiece trainer numbers pieces in the order of a hash table, another one in each process.
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in twins.corpus():
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted({letter for word in counts for letter in word})
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *(f"##{letter}" for letter in letters), *words][:VOCABULARY]
    return transformers.BertTokenizer(
        vocab={piece: number for number, piece in enumerate(vocabulary)}, do_lower_case=True, model_max_length=512
    )


def _made(config: str, model: str, tokenizer: Any, **fields: Any) -> Any:
    import transformers

    return getattr(transformers, model)(getattr(transformers, config)(vocab_size=len(tokenizer), **fields))


def _roberta(t: Any, width: int, layers: int, heads: int) -> Any:
    return _made(
        "RobertaConfig", "RobertaForMaskedLM", t,  # with the language-model head, as the released checkpoints have
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=2 * width,
        max_position_embeddings=514, type_vocab_size=1, initializer_range=0.05, pad_token_id=t.pad_token_id,
        bos_token_id=t.bos_token_id, eos_token_id=t.eos_token_id, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def _bert_like(config: str, model: str, **more: Any) -> Callable[..., Any]:
    def make(t: Any, width: int, layers: int, heads: int) -> Any:
        special = {name: getattr(t, name) for name in ("pad_token_id", "cls_token_id", "sep_token_id")}
        return _made(
            config, model, t, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=2 * width, initializer_range=0.05, bos_token_id=None, eos_token_id=None,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            **({"max_position_embeddings": 512} | special | more),
        )

    return make


def _sequence_to_sequence(config: str, model: str) -> Callable[..., Any]:
    def make(t: Any, width: int, layers: int, heads: int) -> Any:
        return _made(
            config, model, t, d_model=width, encoder_layers=layers, decoder_layers=layers,
            encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=2 * width,
            decoder_ffn_dim=2 * width, max_position_embeddings=512, init_std=0.05, pad_token_id=t.pad_token_id,
            bos_token_id=t.bos_token_id, eos_token_id=t.eos_token_id, decoder_start_token_id=t.eos_token_id,
            forced_eos_token_id=t.eos_token_id, dropout=0.0,
        )

    return make


def _t5(t: Any, width: int, layers: int, heads: int) -> Any:
    return _made(
        "T5Config", "T5ForConditionalGeneration", t, d_model=width, d_kv=width // heads, d_ff=2 * width,
        num_layers=layers, num_heads=heads, pad_token_id=t.pad_token_id, eos_token_id=t.eos_token_id,
        decoder_start_token_id=t.pad_token_id, dropout_rate=0.0,
    )


MAKERS: dict[str, Callable[..., Any]] = {
    "roberta": _roberta,
    "bert": _bert_like("BertConfig", "BertForMaskedLM"),
    "mpnet": _bert_like("MPNetConfig", "MPNetForMaskedLM", max_position_embeddings=514, pad_token_id=1),
    "electra": _bert_like("ElectraConfig", "ElectraModel", embedding_size=32),
    "deberta": _bert_like(
        "DebertaV2Config", "DebertaV2Model", relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=0
    ),
    "modernbert": _bert_like("ModernBertConfig", "ModernBertModel"),
    "bart": _sequence_to_sequence("BartConfig", "BartForConditionalGeneration"),
    "marian": _sequence_to_sequence("MarianConfig", "MarianMTModel"),
    "t5": _t5,
}
