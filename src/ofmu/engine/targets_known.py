"""What an estimate of targets may look at, and what every source of targets looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from torch.nn import Module

from ..core.terms import Loss
from ..errors import UserError
from ..tasks import Samples, Targets
from .training import Recipe

Made = tuple[Targets, Module | None]  # targets, and the model that was trained for them, if one was


@dataclass(frozen=True)
class Known:
    """All that may be looked at: never a Retrain, and never the set that a table reports.

    model: the original; heldout: data it was never trained on; recipe: how it was trained; fresh: makes an
    untrained model of its architecture from a seed; base: the model from before fine-tuning (text); alternatives:
    the forget questions with false answers, a fixed number each, row after row (text).
    """

    model: Module
    forget: Samples
    retain: Samples
    heldout: Samples | None
    loss: Loss
    recipe: Recipe
    seed: int = 0
    fresh: Callable[[int], Module] | None = None
    base: Module | None = None
    alternatives: Samples | None = None

    def unseen(self, source: str) -> Samples:
        """The held-out data; UserError that names the source where there is none."""
        if self.heldout is None:
            raise UserError(f"targets '{source}': expected held-out data (rows the model was never trained on)")
        return self.heldout

    def short(self, share: float) -> Recipe:
        """The recipe for `share` of its epochs, at least one, with a seed of its own."""
        return replace(self.recipe, epochs=max(1.0, round(self.recipe.epochs * share)), seed=self.seed + 7)


class Source(Protocol):
    """One way of estimating "the loss the sample would have, had it never been seen".

    A frozen dataclass whose fields are its settings. What it took stands in `Targets.cost`, in sample-gradients
    (a forward pass is 1/3, the training of a reference counts whole), what it did in `Targets.source`. What it
    trained may serve again: as a start, as a model that never saw D_f, as a shadow.
    """

    def __call__(self, known: Known) -> Made:
        """The targets of `known.forget`, row by row."""
        ...
