"""What a loss returns: its terms with their weights, so that means are formed once and per-sample values stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import Module


@dataclass(frozen=True)
class Terms:
    """The terms of a loss over a batch.

    values: [b] (one term per sample) or [b, t] (one per token). weights: the same shape, 0 where there is no
    term; a token of a sample with m terms weighs 1/m, so that every sample counts alike.
    """

    values: Tensor
    weights: Tensor

    def mean(self) -> Tensor:
        """Σ w·v / Σ w, a scalar."""
        return (self.values * self.weights).sum() / self.weights.sum()

    def per_sample(self) -> Tensor:
        """[b]: the weighted mean within each sample."""
        if self.values.ndim == 1:
            return self.values
        return (self.values * self.weights).sum(1) / self.weights.sum(1)

    def detach(self) -> Terms:
        """The same numbers without their graph."""
        return Terms(self.values.detach(), self.weights.detach())


# A loss is written to be minimised: loss(model, batch) -> terms. `core` does not look into the batch.
Loss = Callable[[Module, Any], Terms]
