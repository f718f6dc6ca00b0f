"""R3F (Aghajanyan et al. 2020; paper §3.2): noise on the embeddings of a second copy of the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from muppet.runs import R3F


def noise_like(embeddings: Tensor, r3f: R3F) -> Tensor:
    """Uniform in [-eps, eps] or normal with standard deviation eps, in float32, of the shape of `embeddings`."""
    if r3f.noise == "uniform":
        return torch.empty_like(embeddings, dtype=torch.float32).uniform_(-r3f.eps, r3f.eps)
    return torch.empty_like(embeddings, dtype=torch.float32).normal_(0.0, r3f.eps)


def noised(embeddings: Tensor, r3f: R3F) -> Tensor:
    """`embeddings` plus noise. `fp32_noise=False` rounds the sum to float16, as fairseq's half-precision runs did."""
    source = embeddings.detach() if r3f.detach else embeddings
    noise = noise_like(source, r3f)
    if r3f.fp32_noise:
        return (source.float() + noise).to(embeddings.dtype)
    return (source.half() + noise.half()).to(embeddings.dtype)


@contextmanager
def _noising(embedding: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    hook = embedding.register_forward_hook(lambda _module, _args, output: change(output))
    try:
        yield
    finally:
        hook.remove()


def second_half_noised(embedding: nn.Module, r3f: R3F | None) -> AbstractContextManager[None]:
    """Inside, `embedding` adds noise to the second half of the rows that it looks up; without `r3f` to none."""
    if r3f is None:
        return nullcontext()

    def change(output: Tensor) -> Tensor:
        half = len(output) // 2
        return torch.cat([output[:half], noised(output[half:], r3f)])

    return _noising(embedding, change)


def all_noised(embedding: nn.Module, r3f: R3F) -> AbstractContextManager[None]:
    """Inside, `embedding` adds noise to all rows that it looks up; the dropout after it draws as it would without."""

    def change(output: Tensor) -> Tensor:
        with torch.random.fork_rng():
            return noised(output, r3f)

    return _noising(embedding, change)
