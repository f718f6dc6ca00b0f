"""Heads: what a family adds on top of the model (paper §3.1, §3.5).

Classification and regression have one head per dataset, tagging too; commonsense and span have one for all their
datasets, or one per dataset as an option; summarization adds no parameters and uses the model's own output layer.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from muppet.families.span import ANSWER_LENGTH
from muppet.families.spec import HeadSpec
from muppet.families.summarization import IGNORED
from muppet.model.losses import MASKED, Losses, categorical
from muppet.tasks.task import FamilyName

Fields = dict[str, Tensor]


@dataclass(frozen=True)
class PaddedRows:
    """The model's view of R rows, padded to one length: `states` [R, L, H], and `sentence` [R, H], the token that
    stands for the row."""

    states: Tensor
    sentence: Tensor

    def rows(self, rows: slice) -> PaddedRows:
        return PaddedRows(self.states[rows], self.sentence[rows])


@dataclass(frozen=True)
class PackedRows:
    """The same of rows that lie among `tokens` [T, H]; `states` lays them out for the heads that read every token."""

    tokens: Tensor
    sentence: Tensor
    starts: Tensor  # [R]
    lengths: np.ndarray  # [R]

    def rows(self, rows: slice) -> PackedRows:
        return PackedRows(self.tokens, self.sentence[rows], self.starts[rows], self.lengths[rows])

    @property
    def states(self) -> Tensor:
        """[R, L, H]; past a row's end stand other rows' tokens, as padding that no head looks at."""
        places = self.starts[:, None] + torch.arange(int(self.lengths.max()), device=self.starts.device)
        return F.embedding(places.clamp(max=len(self.tokens) - 1), self.tokens)


Hidden = PaddedRows | PackedRows


class Head(nn.Module):
    """Base of the families' heads, over states of `width`. They have no dropout of their own: fairseq's
    `--pooler-dropout` is 0 unless it is set, and no published recipe sets it (P28)."""

    def __init__(self, spec: HeadSpec, width: int) -> None:
        super().__init__()
        self.spec = spec

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        """[N, K] of the segment's N decisions; regression: [N] values in [0, 1]."""
        raise NotImplementedError

    def losses(self, logits: Sequence[Tensor], fields: Fields, smoothing: float) -> Losses:
        """The losses of the segment's units; `logits` are (clean,), or (clean, noised) with R3F.

        `smoothing` is of summaries only (paper Table 2).
        """
        return categorical(logits, fields["targets"], fields["unit"], fields["n"])

    def by_unit(self, logits: Tensor, fields: Fields) -> list[Any]:
        """What the head says of each unit, see `stages.evaluate.predict`."""
        return list(logits.cpu().numpy())

    def initialise(self, std: float, seed: int) -> None:
        """Normal weights and zero biases, a function of (seed, key) alone: the other heads of the run do not matter."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(self.spec.key.encode()))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=std, generator=generator)
                nn.init.zeros_(module.bias)


class SentenceHead(Head):
    """Dense, tanh, projection over the row's sentence token, as RoBERTa's classification head."""

    def __init__(self, spec: HeadSpec, width: int) -> None:
        super().__init__(spec, width)
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, spec.outputs)

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        """[R, outputs], float32."""
        return self.out(torch.tanh(self.dense(hidden.sentence))).float()


class Regression(SentenceHead):
    """One number."""

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        return super().logits(hidden, fields).squeeze(-1)

    def losses(self, logits: Sequence[Tensor], fields: Fields, smoothing: float) -> Losses:
        """Squared error; a number has no divergence."""
        return Losses(loss=(logits[0].float() - fields["targets"]) ** 2, n=fields["n"], divergence=None)


class Commonsense(SentenceHead):
    """Sentence ranking: one score per choice, a softmax over the example's choices, however many."""

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        scores = super().logits(hidden, fields).squeeze(-1)
        table = scores.new_full((len(fields["n"]), int(fields["widest"])), MASKED)
        return table.index_put((fields["row_unit"], fields["row_choice"]), scores)

    def by_unit(self, logits: Tensor, fields: Fields) -> list[Any]:
        return [row[:n] for row, n in zip(logits.cpu().numpy(), fields["n"].tolist(), strict=True)]


class Span(Head):
    """Start and end scores over the context's tokens, and over the first token for no answer (paper Table 2)."""

    def __init__(self, spec: HeadSpec, width: int) -> None:
        super().__init__(spec, width)
        self.out = nn.Linear(width, 2)

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        scores = self.out(hidden.states).float()  # [U, L, 2]
        place = torch.arange(scores.shape[1], device=scores.device)
        candidate = (place >= fields["first"][:, None]) & (place < fields["last"][:, None])
        candidate |= (place == 0) & fields["null"][:, None]
        scores = scores.masked_fill(~candidate[:, :, None], MASKED)
        return torch.cat([scores[..., 0], scores[..., 1]])  # starts, then ends: [2U, L]

    def by_unit(self, logits: Tensor, fields: Fields) -> list[Any]:
        return best_spans(logits, fields)


def best_spans(logits: Tensor, fields: dict[str, Tensor]) -> list[tuple[float, int, int, float]]:
    """The best span of at most `ANSWER_LENGTH` tokens inside the context of each window."""
    start, end = logits.chunk(2)  # [U, L] each
    null = start[:, 0] + end[:, 0]
    place = torch.arange(start.shape[1], device=start.device)
    inside = (place >= fields["first"][:, None]) & (place < fields["last"][:, None])
    start, end = start.masked_fill(~inside, MASKED), end.masked_fill(~inside, MASKED)
    best = torch.full_like(null, 3 * MASKED)
    first, last = torch.zeros_like(null, dtype=torch.long), torch.zeros_like(null, dtype=torch.long)
    for extra in range(min(ANSWER_LENGTH, start.shape[1])):
        value, at = (start[:, : start.shape[1] - extra] + end[:, extra:]).max(dim=1)
        better = value > best
        best = torch.where(better, value, best)
        first, last = torch.where(better, at, first), torch.where(better, at + extra, last)
    return list(zip(best.tolist(), first.tolist(), last.tolist(), null.tolist(), strict=True))


class Tagging(Head):
    """One tag per word, read off its first sub-word."""

    def __init__(self, spec: HeadSpec, width: int) -> None:
        super().__init__(spec, width)
        self.out = nn.Linear(width, spec.outputs)

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        return self.out(hidden.states[fields["unit"], fields["word"]]).float()

    def by_unit(self, logits: Tensor, fields: Fields) -> list[Any]:
        counts = torch.bincount(fields["unit"], minlength=len(fields["n"])).tolist()
        return [chunk.tolist() for chunk in logits.argmax(dim=-1).split(counts)]


class OutputLayer(Head):
    """Summaries: the model's own output layer gives the logits, and there are no parameters beside it."""

    def losses(self, logits: Sequence[Tensor], fields: Fields, smoothing: float) -> Losses:
        """Over the tokens that are no padding [N]; n is the vocabulary."""
        targets = fields["targets"]
        n = torch.full((len(targets),), logits[0].shape[-1], device=targets.device)
        return categorical(logits, targets[targets != IGNORED], fields["unit"], n, smoothing)


HEADS: dict[FamilyName, type[Head]] = {
    "classification": SentenceHead,
    "regression": Regression,
    "commonsense": Commonsense,
    "span": Span,
    "tagging": Tagging,
    "parsing": Tagging,
    "summarization": OutputLayer,
}


def make_head(spec: HeadSpec, width: int, std: float, seed: int) -> Head:
    """A head with fresh weights; see `Head`."""
    head = HEADS[spec.family](spec, width)
    head.initialise(std, seed)
    return head
