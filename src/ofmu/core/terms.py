"""What a loss returns: its terms with their weights, so that means are formed once and per-sample values stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
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

    def sums(self) -> tuple[Tensor, Tensor]:
        """(Σ w·v, Σ w), scalars."""
        return (self.values * self.weights).sum(), self.weights.sum()

    def mean(self) -> Tensor:
        """Σ w·v / Σ w, a scalar."""
        value, weight = self.sums()
        return value / weight

    def per_sample(self) -> Tensor:
        """[b]: the weighted mean within each sample."""
        if self.values.ndim == 1:
            return self.values
        return (self.values * self.weights).sum(1) / self.weights.sum(1)

    def detach(self) -> Terms:
        """The same numbers without their graph."""
        return Terms(self.values.detach(), self.weights.detach())

    def none(self) -> Terms:
        """No terms, of the same width."""
        return Terms(self.values[:0], self.weights[:0])

    @classmethod
    def joined(cls, parts: Sequence[Terms]) -> Terms:
        """The terms of several parts of a batch, in order; shorter rows are padded on the left with weight 0.

        (Losses of answer tokens leave out a batch's common prompt, so parts begin late, and end together.)
        """
        if len(parts) == 1:
            return parts[0]
        width = max(part.values.shape[-1] for part in parts) if parts[0].values.ndim == 2 else None

        def joined(columns: list[Tensor]) -> Tensor:
            return torch.cat([x if width is None else F.pad(x, (width - x.shape[1], 0)) for x in columns])

        return cls(joined([part.values for part in parts]), joined([part.weights for part in parts]))


# A loss is written to be minimised: loss(model, batch) -> terms. `core` does not look into the batch.
Loss = Callable[[Module, Any], Terms]


def extra_passes(loss: Loss) -> float:
    """What a loss costs a sample beyond the model's own passes: the forward pass of a frozen model is 1/3."""
    return float(getattr(loss, "extra_passes", 0.0))
