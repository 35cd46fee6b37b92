"""Preference losses: an answer is to be less likely, beside what it was or what its length allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from ..core.terms import Loss, Terms
from ..tasks import Batch, Need, Task


@dataclass(frozen=True)
class NPO:
    """Negative preference optimisation: (2/β) log(1 + (π_θ(y|x)/π_ref(y|x))^β), one term per sample.

    Zhang et al. 2024, arXiv 2404.05868, eq. 3; π is the probability of the whole answer (the product over its
    tokens). As β → 0 its gradient tends to that of gradient ascent.
    """

    beta: float = 0.1

    needs: ClassVar[frozenset[Need]] = frozenset({"forget_nll"})

    def bind(self, task: Task) -> Loss:
        """Compares with the original model's own losses, measured once (`task.forget_nll`)."""
        reference = task.original_forget("NPO")

        def loss(model: Module, batch: Batch) -> Terms:
            terms = task.loss(model, batch)
            tokens = _tokens(terms)
            gain = (terms.per_sample() - reference[batch.rows].to(tokens)) * tokens  # log(π_ref/π_θ)
            values = -2 / self.beta * F.logsigmoid(self.beta * gain)
            return Terms(values, torch.ones_like(values))

        return loss


@dataclass(frozen=True)
class SimNPO:
    """−(2/β) log σ(−(β/|y|) log π_θ(y|x) − γ): NPO without a reference, normalised by the answer's length.

    Fan et al. 2024, arXiv 2410.07163, eq. 7.
    """

    beta: float = 2.5
    gamma: float = 0.0

    needs: ClassVar[frozenset[Need]] = frozenset()

    def bind(self, task: Task) -> Loss:
        """Needs nothing but the task's loss."""

        def loss(model: Module, batch: Batch) -> Terms:
            values = -2 / self.beta * F.logsigmoid(self.beta * task.loss(model, batch).per_sample() - self.gamma)
            return Terms(values, torch.ones_like(values))

        return loss


def _tokens(terms: Terms) -> Tensor:
    """[b]: how many terms each sample has."""
    if terms.values.ndim == 1:
        return torch.ones_like(terms.values)
    return (terms.weights > 0).sum(1).to(terms.values.dtype)
