"""Whether forgotten samples still score above held-out ones of the same classes and ease, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.ranks import ranks_within, weighted_quantiles
from .matching import Traits, matched_weights

PLAIN, LOOSE = 10.0, 0.05  # points of confidence that are a leak at this level already
UNSEEN = 0.01  # mean confidence in a label that no retained sample has: a model that never saw it has less


@dataclass(frozen=True)
class Leak:
    """excess: mean true-label confidence on D_f − that on held-out samples, in points; p: of the one-sided test
    that it is not above 0; forget, heldout: the two means, in points; n: forget samples that were compared.
    """

    excess: float
    p: float
    forget: float
    heldout: float
    n: int

    def found(self, level: float) -> bool:
        """Whether the test says so at this level, or at .05 where the excess is ten points or more.

        A few dozen samples show even a plain leak at no stricter level; hundreds never do by chance.
        """
        return self.p < level or (self.excess >= PLAIN and self.p < LOOSE)

    def __str__(self) -> str:
        return (
            f"mean confidence {self.forget:.1f} on {self.n} forget samples, {self.heldout:.1f} on unseen ones "
            f"(one-sided p = {self.p:.2g})"
        )


def leak_of(forget: Tensor, heldout: Tensor, ours: Traits, theirs: Traits, unsure: float = 0.0) -> Leak | None:
    """Losses −log p(y|x) [n] and [m] with their traits; None where fewer than two of either compare.

    A test of the difference of means with unequal variances (Welch 1947), by its normal limit, on p(y|x): the
    confidence is bounded, and its mean moves where a rank statistic hardly does: among confident samples, seen and
    unseen ones tie. Held-out samples are weighted by `matched_weights`, with the weighted mean's variance
    Σ w² (p − mean)²; forget samples of classes that are not held out are left out. How far the ease moves the
    held-out mean (from that weighted by classes alone) is itself not known exactly: `unsure` times that is a
    standard error that joins the others.
    """
    kept = torch.isin(ours.labels, theirs.labels)
    weights = matched_weights(ours, theirs)
    a, b = (-forget[kept].double()).exp(), (-heldout.double()).exp()
    if len(a) < 2 or int((weights > 0).sum()) < 2:
        return None
    mean, unseen = float(a.mean()), float((weights * b).sum())
    moved = unseen - float((matched_weights(ours.of_classes(), theirs.of_classes()) * b).sum())
    variance = float(a.var()) / len(a) + float((weights.square() * (b - unseen).square()).sum())
    variance += (unsure * moved) ** 2
    excess = mean - unseen
    p = 0.5 * math.erfc(excess / math.sqrt(2 * variance)) if variance > 0 else float(excess <= 0)
    return Leak(100 * excess, p, 100 * mean, 100 * unseen, len(a))


def absent_leak(forget: Tensor) -> Leak:
    """The same for samples whose label no retained one has: a mean confidence above `UNSEEN` is found (p = 0)."""
    mean = float((-forget.double()).exp().mean())
    return Leak(100 * (mean - UNSEEN), float(mean <= UNSEEN), 100 * mean, 100 * UNSEEN, len(forget))


def own_targets(forget: Tensor, heldout: Tensor, ours: Traits, theirs: Traits) -> Tensor:
    """τ [n]: the same model's held-out loss at the rank of sample i's loss within D_f, but at least its own loss.

    Quantiles of the held-out losses weighted by `matched_weights` (all alike where no class is shared). What lies
    at its level or above has τ_i = ℓ_i, and a bounded loss leaves it alone.
    """
    weights = matched_weights(ours, theirs)
    weights = weights if float(weights.sum()) > 0 else torch.ones_like(weights)
    return torch.maximum(weighted_quantiles(ranks_within(forget), heldout, weights), forget.float())
