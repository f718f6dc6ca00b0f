"""Heads: what a family adds on top of the model (paper §3.1, §3.5).

Classification and regression have one head per dataset, tagging too; commonsense and span have one for all their
datasets, or one per dataset as an option; summarization adds no parameters and uses the model's own output layer.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from muppet.model.losses import MASKED
from muppet.tasks.task import Family, Task

Fields = dict[str, Tensor]
SHARED: dict[Family, str] = {"commonsense": "commonsense", "span": "span"}


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """What a head is, apart from its weights. Without parameters (summarization) a task has no spec."""

    key: str
    family: Family
    outputs: int
    classes: tuple[str, ...] | None = None  # names of the outputs
    low: float = 0.0  # regression: targets are mapped from [low, high] to [0, 1]
    high: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """The model's view of R rows: `states` [R, L, H], and `sentence` [R, H], the token that stands for the row."""

    states: Tensor
    sentence: Tensor

    def rows(self, rows: slice) -> Hidden:
        """The same of some rows."""
        return Hidden(states=self.states[rows], sentence=self.sentence[rows])


def head_key(task: Task, heads: Literal["shared", "per_dataset"] = "shared") -> str | None:
    """The name of the head that `task` trains; None when its family needs none."""
    if task.family == "summarization":
        return None
    if heads == "shared" and task.family in SHARED:
        return SHARED[task.family]
    return task.name.replace(".", "_")  # the separator of parameter names


class Head(nn.Module):
    """Base of the families' heads."""

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        """[N, K] of the segment's N decisions; regression: [N] values in [0, 1]."""
        raise NotImplementedError

    def initialise(self, std: float, seed: int) -> None:
        """Normal weights and zero biases, a function of (seed, key) alone: the other heads of the run do not matter."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(self.spec.key.encode()))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=std, generator=generator)
                nn.init.zeros_(module.bias)


class SentenceHead(Head):
    """Dropout, dense, tanh, dropout, projection over the row's sentence token, as RoBERTa's classification head."""

    def __init__(self, spec: HeadSpec, width: int, dropout: float) -> None:
        super().__init__(spec)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width, width)
        self.out = nn.Linear(width, spec.outputs)

    def project(self, hidden: Hidden) -> Tensor:
        """[R, outputs], float32."""
        return self.out(self.dropout(torch.tanh(self.dense(self.dropout(hidden.sentence))))).float()


class Classification(SentenceHead):
    """One logit per class."""

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        return self.project(hidden)


class Regression(SentenceHead):
    """One number."""

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        return self.project(hidden).squeeze(-1)


class Commonsense(SentenceHead):
    """Sentence ranking: one score per choice, a softmax over the example's choices, however many."""

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        scores = self.project(hidden).squeeze(-1)
        table = scores.new_full((len(fields["n"]), int(fields["widest"])), MASKED)
        return table.index_put((fields["row_unit"], fields["row_choice"]), scores)


class Span(Head):
    """Start and end scores over the context's tokens, and over the first token for no answer (paper Table 2)."""

    def __init__(self, spec: HeadSpec, width: int, dropout: float) -> None:
        super().__init__(spec)
        self.out = nn.Linear(width, 2)

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        scores = self.out(hidden.states).float()  # [U, L, 2]
        place = torch.arange(scores.shape[1], device=scores.device)
        candidate = (place >= fields["first"][:, None]) & (place < fields["last"][:, None])
        candidate |= (place == 0) & fields["null"][:, None]
        scores = scores.masked_fill(~candidate[:, :, None], MASKED)
        return torch.cat([scores[..., 0], scores[..., 1]])  # starts, then ends: [2U, L]


class Tagging(Head):
    """One tag per word, read off its first sub-word."""

    def __init__(self, spec: HeadSpec, width: int, dropout: float) -> None:
        super().__init__(spec)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, spec.outputs)

    def logits(self, hidden: Hidden, fields: Fields) -> Tensor:
        return self.out(self.dropout(hidden.states[fields["unit"], fields["word"]])).float()


HEADS: dict[Family, type[Head]] = {
    "classification": Classification,
    "regression": Regression,
    "commonsense": Commonsense,
    "span": Span,
    "tagging": Tagging,
    "parsing": Tagging,
}


def build(spec: HeadSpec, width: int, dropout: float, std: float, seed: int) -> Head:
    """A head with fresh weights over states of `width`; `dropout` is the model's own hidden dropout."""
    head = HEADS[spec.family](spec, width, dropout)  # type: ignore[call-arg]
    head.initialise(std, seed)
    return head
