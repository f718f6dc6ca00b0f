"""The pre-trained model under the heads: the rows of a batch → states, padded or packed.

Packed rows lie one after another in one flat forward: exact, because attention stays inside each row. A model may be
fed this way only when its attention goes through transformers' attention interface, whose function is then
`attention.attend`, and its positions can be given. Anything else would attend across examples or shift positions
without a word, so `refusal` names what stands against it, and `enable` also compares two forwards before it believes a
model.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from muppet.errors import UserError, brief
from muppet.families.summarization import IGNORED
from muppet.model.attention import KERNEL
from muppet.model.batch import Batch, moved, pack_rows, pad_rows
from muppet.model.heads import Hidden, PackedRows, PaddedRows
from muppet.model.r3f import second_half_noised
from muppet.runs import R3F

POSITIONS_FROM_0 = ("bert", "electra")
POSITIONS_AFTER_PAD = ("roberta", "xlm-roberta", "camembert")  # the first token's position is the padding index + 1
RELATIVE_POSITIONS = ("t5", "mt5", "umt5")
PROBE = (7, 90, 1, 33)  # lengths, in tokens, of the rows that `enable` compares
TOLERANCE = 1e-4  # of their states' distance, relative to the largest
ROUNDING = 3  # times the padded states' own distance from float32 are allowed too


class Encoder(nn.Module):
    """An encoder or encoder–decoder, with what its inputs need: the padding's id, and whether tokens have types."""

    def __init__(self, backbone: Any, pad: int, origin: str) -> None:
        super().__init__()
        config = backbone.config
        self.backbone, self.pad, self.origin = backbone, pad, origin  # `origin` is where the weights were found
        self.seq2seq = bool(config.is_encoder_decoder)
        self.typed = not self.seq2seq and int(getattr(config, "type_vocab_size", 0) or 0) >= 2

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def reader(self) -> Any:
        """The part that reads the input: the whole of an encoder, the first half of an encoder–decoder."""
        return self.backbone.get_encoder() if self.seq2seq else self.backbone

    def positions(self) -> int | None:
        """Tokens that a row may have; None when positions are relative."""
        config = self.backbone.config
        if config.model_type in RELATIVE_POSITIONS:
            return None
        limits = [limit for limit in [getattr(config, "max_position_embeddings", None)] if limit]
        for name, table in self.backbone.named_modules():
            if "position" in name and hasattr(table, "padding_idx") and getattr(table, "weight", None) is not None:
                # A table with a padding index is read from the row after it on.
                limits.append(len(table.weight) - (0 if table.padding_idx is None else table.padding_idx + 1))
        return int(min(limits)) if limits else None

    def encode_rows(self, batch: Batch, r3f: R3F | None = None) -> Hidden:
        """States of the batch's R rows; with `r3f` of 2R rows, the second half noised, in one forward.

        Encoder–decoders read the row twice, as BART does: the decoder is given the row shifted right, its states are
        the row's states, and the state at the row's last token stands for the row. Raises UserError for a packed batch
        unless the model is `enable`d.
        """
        if batch.packing is not None:
            return self._packed(batch, r3f)
        copies = 1 if r3f is None else 2
        ids, lengths, second = (
            t.repeat(copies, *[1] * (t.dim() - 1)) for t in (batch.ids, batch.lengths, batch.second)
        )
        mask = row_mask(ids, lengths) if batch.padded else None
        inputs: dict[str, Tensor | None] = {"input_ids": ids, "attention_mask": mask}
        if self.typed:
            inputs["token_type_ids"] = (torch.arange(ids.shape[1], device=ids.device) >= second[:, None]).long()
        with second_half_noised(self.reader.get_input_embeddings(), r3f):
            states = self.reader(**inputs).last_hidden_state
        if not self.seq2seq:
            return PaddedRows(states, states[:, 0])
        states = self.backbone.get_decoder()(
            input_ids=self._shifted(ids), encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False
        ).last_hidden_state
        return PaddedRows(states, states[torch.arange(len(ids), device=ids.device), lengths - 1])

    def _packed(self, batch: Batch, r3f: R3F | None) -> Hidden:
        packing, config, copies = batch.packing, self.backbone.config, 1 if r3f is None else 2
        assert packing is not None
        if config._attn_implementation != KERNEL:
            raise UserError(
                f"{self.origin}: attention {config._attn_implementation!r} would attend across packed rows;"
                " call muppet.model.encoder.enable(model) first"
            )
        positions = packing.positions
        if config.model_type not in POSITIONS_FROM_0:
            positions = positions_after_pad(batch.ids, positions, self.pad)
        inputs = {"input_ids": batch.ids, "position_ids": positions}
        if self.typed:
            inputs["token_type_ids"] = packing.types
        inputs = {name: value.expand(copies, -1) for name, value in inputs.items()}
        packing = packing.repeated(copies)
        with second_half_noised(self.backbone.get_input_embeddings(), r3f):
            states = self.backbone(**inputs, packing=packing).last_hidden_state
        tokens = states.flatten(0, 1)
        return PackedRows(tokens, tokens.index_select(0, packing.starts), packing.starts, packing.own)

    def token_logits(self, batch: Batch, targets: Tensor, r3f: R3F | None = None) -> Tensor:
        """Teacher-forced logits [R or 2R, T, V] of `targets` [R, T], `IGNORED` past the end, by its output layer."""
        copies = 1 if r3f is None else 2
        ids, lengths = batch.ids.repeat(copies, 1), batch.lengths.repeat(copies)
        mask = row_mask(ids, lengths) if batch.padded else None
        with second_half_noised(self.reader.get_input_embeddings(), r3f):
            encoded = self.reader(input_ids=ids, attention_mask=mask)
        wanted = targets.masked_fill(targets == IGNORED, self.pad).repeat(copies, 1)
        return self.backbone(
            encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=self._shifted(wanted), use_cache=False
        ).logits

    def _shifted(self, ids: Tensor) -> Tensor:
        """`ids` [R, L] as the decoder reads them: its start token, then all but the last."""
        start = self.backbone.config.decoder_start_token_id
        return torch.cat([ids.new_full((len(ids), 1), start), ids[:, :-1]], dim=1)


def positions_after_pad(ids: Tensor, places: Tensor, pad: int) -> Tensor:
    """Positions of packed tokens [T], from their `places` in their rows, as RoBERTa counts them: from `pad` + 1 on, and
    not the padding's token, which a text may hold as well (as "<pad>", or as another's unknown word)."""
    padding = ids == pad
    before, start = padding.cumsum(0) - padding.long(), torch.arange(len(ids), device=ids.device) - places
    return (places - (before - before[start]) + pad + 1).masked_fill(padding, pad)


def row_mask(ids: Tensor, lengths: Tensor) -> Tensor:
    """[R, L] 1 for the tokens of each row, 0 for padding."""
    return (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()


def refusal(model: Encoder) -> str | None:
    """Why the model's rows cannot be packed; None when they can."""
    kind = model.backbone.config.model_type
    if model.seq2seq:
        return f"{kind} is an encoder–decoder without position ids: a row's positions would run on from the last"
    if not getattr(model.backbone, "_supports_attention_backend", False):
        return f"{kind} computes attention in a way of its own, which would attend across rows"
    known = POSITIONS_FROM_0 + POSITIONS_AFTER_PAD
    if kind not in known:
        return f"it is not known how {kind} counts positions (known: {', '.join(known)})"
    return None


def enable(model: Encoder, demanded: bool = True, autocast: AbstractContextManager[object] | None = None) -> bool:
    """Let `model` take packed batches (padded ones go on as before) → whether it does.

    A model that `refusal` names, or whose packed states are not those of padded rows when computed inside `autocast`
    (None: in float32), stays as it is; when packing is `demanded`, that raises UserError. The second is never expected,
    and is said.
    """
    reason = refusal(model)
    if reason is None:
        before = model.backbone.config._attn_implementation
        model.backbone.set_attn_implementation(KERNEL)
        try:
            packed, padded = _errors(model, autocast or nullcontext())
        except RuntimeError as error:  # of a kernel that this GPU, or this width of a head, does not have
            reason = f"the kernel fails: {brief(error)}"
        else:
            if packed <= TOLERANCE + ROUNDING * padded:
                return True
            reason = f"packed and padded states differ by {packed:.1e} of the largest"
        model.backbone.set_attn_implementation(before)
        if not demanded:
            print(f"{model.origin}: rows are padded, not packed: {reason}", file=sys.stderr)
    if demanded:
        raise UserError(f"{model.origin}: its rows cannot be packed: {reason}; leave `packed` out to pad them")
    return False


@torch.no_grad()
def _errors(model: Encoder, autocast: AbstractContextManager[object]) -> tuple[float, float]:
    """How far the states of a few rows, packed and padded, both inside `autocast`, are from the padded ones in float32:
    the largest difference, over the largest state. Two ways in bf16 are further from each other than from float32."""
    generator = torch.Generator().manual_seed(0)
    lengths = np.minimum(PROBE, model.positions() or max(PROBE))
    size = model.backbone.get_input_embeddings().num_embeddings
    tokens = torch.randint(size, (int(lengths.sum()),), generator=generator).numpy()
    tokens[lengths[0] + 1] = model.pad  # which a text may hold
    training = model.training
    model.eval()
    rows = (tokens, lengths, lengths // 2)
    batches = [moved(batch, model.device) for batch in (pack_rows(*rows), pad_rows(*rows, model.pad))]
    exact = model.encode_rows(batches[1]).states.float()
    with autocast:
        ways = [model.encode_rows(batch).states.float() for batch in batches]
    model.train(training)
    worst = [max(float((w[i, :n] - exact[i, :n]).abs().max()) for i, n in enumerate(lengths.tolist())) for w in ways]
    largest = float(exact.abs().max())
    return worst[0] / largest, worst[1] / largest
