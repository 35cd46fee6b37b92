"""Cross-entropy whose gradient keeps its digits where a sample is fitted.

torch's gradient by the true logit is p_y − 1. At a loss of 1e-3 float32 keeps four digits of it, at 1e-6 one, and
a difference of such gradients is noise. With d = z − z_y, which is 0 at y whatever z is,

    −log p_y = log Σ_j exp(d_j),

the gradient by z_j is softmax(d)_j where j ≠ y, and by z_y minus their sum: nothing cancels. It is torch's
cross-entropy of d; what that says of d_y is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_digits = [False]  # one for all threads: checkpointing runs a pass again in autograd's own


@contextmanager
def digits(kept: bool) -> Iterator[None]:
    """Whether gradients of `nll` shall keep their digits inside."""
    before, _digits[0] = _digits[0], kept
    try:
        yield
    finally:
        _digits[0] = before


def nll(logits: Tensor, labels: Tensor) -> Tensor:
    """[n]: −log softmax(logits [n, k])[labels [n]].

    Torch's own, but in passes that an oracle differences or differentiates again: there its gradient keeps its
    digits at fitted samples, for two passes more over the logits and no memory.
    """
    if _digits[0]:
        logits = _Against.apply(logits, labels[:, None])
    return F.cross_entropy(logits, labels, reduction="none")


class _Against(torch.autograd.Function):
    """z → d, d_j = z_j − z_y, and 0 at y; linear, as its transpose is."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        return (z - z.gather(1, y)).scatter_(1, y, 0.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _Balanced.apply(grad, *ctx.saved_tensors), None


class _Balanced(torch.autograd.Function):
    """The transpose: at y stands minus the sum of all others."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(y)
        out = grad.scatter(1, y, 0.0)
        return out.scatter_(1, y, -out.sum(1, keepdim=True))

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None]:
        return _Against.apply(v, *ctx.saved_tensors), None
