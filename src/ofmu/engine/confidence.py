"""How much more confident one model is than another, on what neither saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import Module

from ..losses import answer_logits
from ..tasks import IGNORE, Samples
from .measuring import evaluating

TOKENS = 1024  # looked at, at most about: a mean needs no more, and their logits are held at once
MOST = 8.0  # the largest factor, and its inverse the smallest
ROUNDS = 20  # of bisection: the factor to five digits


def matched_confidence(model: Module, unseen: Module, heldout: Samples) -> tuple[float, float]:
    """(κ, what it took in sample-gradients): with κu the unseen model is as sure of wrong tokens as `model`.

    u: the unseen model's logits. On held-out answer tokens the true one is taken out and the rest renormalised, as
    `losses.Plausible` does; κ makes the mean entropy of what is left equal. Entropy falls with κ, so that there is
    one such factor; it is sought between 1/8 and 8.
    """
    rows = _few(heldout)
    wanted = sum(float(_entropy(z).sum()) for z in _others(model, heldout, rows))
    logits = list(_others(unseen, heldout, rows))

    def less_sure(factor: float) -> bool:
        return sum(float(_entropy(factor * z).sum()) for z in logits) > wanted

    return sought(less_sure), 2 * len(rows) / 3


def sought(too_small: Callable[[float], bool]) -> float:
    """The factor, between 1/8 and 8, up to which factors are too small."""
    low, high = 1 / MOST, MOST
    for _ in range(ROUNDS):
        middle = (low * high) ** 0.5
        if too_small(middle):
            low = middle
        else:
            high = middle
    return (low * high) ** 0.5


def _few(samples: Samples) -> list[int]:
    """Rows, evenly spread, that have about TOKENS tokens together."""
    n = len(samples)
    tokens = sum(samples.length(row) for row in range(n))
    most = max(1, min(n, n * TOKENS // max(tokens, 1)))
    return [i * n // most for i in range(most)]


def _others(model: Module, samples: Samples, rows: Sequence[int]) -> Iterator[Tensor]:
    """[tokens, vocabulary − 1], of a few rows after another: the logits of all tokens but the true one."""
    device = next(model.parameters()).device
    for start in range(0, len(rows), 8):
        with evaluating(model):
            logits, labels = answer_logits(model, samples.batch(rows[start : start + 8]).to(device))
        wrong = torch.ones_like(logits, dtype=torch.bool)
        wrong.scatter_(1, labels[labels != IGNORE][:, None], False)
        yield logits[wrong].view(len(logits), -1)


@torch.no_grad()
def _entropy(logits: Tensor) -> Tensor:
    """[tokens]: −Σ p log p."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)
