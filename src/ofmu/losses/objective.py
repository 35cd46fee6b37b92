"""What an objective is, and the one place where a sign flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch.nn import Module

from ..core.terms import Loss, Terms, extra_passes
from ..tasks import Batch, Need, Task


class Objective(Protocol):
    """A recipe for a loss. needs: the optional fields of a task that it uses."""

    @property
    def needs(self) -> frozenset[Need]:
        """Which of a task's optional fields the loss uses."""
        ...

    def bind(self, task: Task) -> Loss:
        """The loss for this task."""
        ...


@dataclass(frozen=True)
class Ascend:
    """−L of another objective: minimising it ascends L. Nowhere else is a sign flipped."""

    objective: Objective

    @property
    def needs(self) -> frozenset[Need]:
        """What the ascended objective needs."""
        return self.objective.needs

    def bind(self, task: Task) -> Loss:
        """−L."""
        return AscendedLoss(self.objective.bind(task))


@dataclass(frozen=True)
class AscendedLoss:
    """The bound form of `Ascend`; it costs what the ascended loss costs."""

    loss: Loss

    @property
    def extra_passes(self) -> float:
        """Those of the ascended loss."""
        return extra_passes(self.loss)

    def __call__(self, model: Module, batch: Batch) -> Terms:
        """The terms, negated."""
        terms = self.loss(model, batch)
        return Terms(-terms.values, terms.weights)
