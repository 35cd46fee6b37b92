"""How far the predictions are from those of the frozen original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import Module

from ..core.terms import Loss, Terms
from ..tasks import Batch, Kind, Need, Task
from .logits import answer_logits, class_logits, placed


@dataclass(frozen=True)
class KLToReference:
    """KL(p_ref ‖ p_θ) of the predicted distributions, mean over the answer tokens of each sample.

    The retain term of "KL minimisation" (Maini et al. 2024, arXiv 2401.06121, eq. 3). Widely used code averages
    over prompt and padding too; the answer alone is meant.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})

    def bind(self, task: Task) -> Loss:
        """Compares with `task.reference`, the frozen original."""
        reference = task.reference
        if reference is None:
            raise ValueError("KLToReference: task.reference is None, expected the frozen original model")

        return KLLoss(task.kind, reference)


@dataclass(frozen=True)
class KLLoss:
    """The bound form of `KLToReference`; extra_passes: the reference's forward pass, in sample-gradients."""

    kind: Kind
    reference: Module
    extra_passes: float = 1 / 3

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """KL(p_ref ‖ p_θ) per sample [b] or per answer token [b, t]."""
        with torch.no_grad():
            old = self._log_probabilities(self.reference, batch)[0]
        new, labels = self._log_probabilities(model, batch)
        values = (old.exp() * (old - new)).sum(-1)
        return Terms(values, torch.ones_like(values)) if self.kind == "image" else placed(values, labels)

    def _log_probabilities(self, model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
        if self.kind == "image":
            return class_logits(model, batch).log_softmax(-1), batch.labels
        logits, labels = answer_logits(model, batch)
        return logits.log_softmax(-1), labels
