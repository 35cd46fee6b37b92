"""The loss that a task comes with: cross-entropy, or next-token negative log-likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import Module

from ..core.likelihood import nll
from ..core.terms import Loss, Terms
from ..tasks import IGNORE, Batch, Kind, Need, Task
from .logits import answer_logits, class_logits, placed


def class_nll(model: Module, batch: Batch) -> Terms:
    """Cross-entropy per sample: −log p(y|x); values [b]."""
    values = nll(class_logits(model, batch), batch.labels)
    return Terms(values, torch.ones_like(values))


def token_nll(model: Module, batch: Batch) -> Terms:
    """Next-token cross-entropy of the answer tokens: values [b, t]; each sample's weights add up to 1."""
    logits, labels = answer_logits(model, batch)
    return placed(nll(logits, labels[labels != IGNORE]), labels)


BASE_LOSSES: dict[Kind, Loss] = {"image": class_nll, "text": token_nll}


@dataclass(frozen=True)
class NLL:
    """The task's own loss L: cross-entropy, or next-token negative log-likelihood."""

    needs: ClassVar[frozenset[Need]] = frozenset()

    def bind(self, task: Task) -> Loss:
        """L itself."""
        return task.loss
