"""Sources of targets for images that look at what the original says about similar held-out samples.

V and F below are the numbers of held-out and forget samples, a forward pass is 1/3 of a sample-gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..tasks import Samples, Targets
from .features import penultimate
from .measuring import image_logits
from .targets import ABSENT, labels_of
from .targets_known import Known, Made

Space = Literal["features", "pixels"]


@dataclass(frozen=True)
class Neighbours:
    """τ_i = −log of the mean probability of label y_i on the k held-out samples nearest to sample i.

    What the original says about unseen samples that look alike, about this sample's label. space: its
    penultimate features, which D_f shaped too, or the pixels. Cost: V/3 for the outputs, + (V + F)/3 for features.
    """

    k: int = 10
    space: Space = "features"

    def __call__(self, known: Known) -> Made:
        """Distances are Euclidean; ties are broken by torch's order."""
        unseen = known.unseen("neighbours")
        ours, theirs, cost = _places(known, unseen, self.space)
        nearest = torch.cdist(ours, theirs).topk(min(self.k, len(unseen)), largest=False).indices
        probabilities = image_logits(known.model, unseen).softmax(1)  # [V, C]
        mean = probabilities[nearest].mean(1)  # [F, C]
        found = mean.gather(1, labels_of(known.forget)[:, None])[:, 0].clamp_min(1e-12).log().neg()
        words = f"the label's probability on the {self.k} nearest held-out samples, by {self.space}"
        return Targets(list(found.clamp(0, ABSENT)), words, cost + len(unseen) / 3), None


@dataclass(frozen=True)
class Kernel:
    """Kernel ridge regression from held-out samples to the original's logits there; τ_i = the loss of its word.

    Z ≈ K α, K_jl = exp(−‖h_j − h_l‖²/2m²), m the median distance, α = (K + λI)⁻¹ Z on centred logits; λ minimises
    the leave-one-out error Σ_j ‖[(K + λI)⁻¹ Z]_j / [(K + λI)⁻¹]_jj‖². Cost: as `Neighbours`; the solving is not
    counted.
    """

    space: Space = "features"
    ridges: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def __call__(self, known: Known) -> Made:
        """In float64."""
        unseen = known.unseen("kernel")
        ours, theirs, cost = _places(known, unseen, self.space)
        ours, theirs = ours.double(), theirs.double()
        apart = torch.cdist(theirs, theirs)
        width = 2 * apart[apart > 0].median() ** 2
        logits = image_logits(known.model, unseen).double()
        logits -= logits.mean(1, keepdim=True)
        middle = logits.mean(0)
        kernel, eye = (-(apart**2) / width).exp(), torch.eye(len(theirs), dtype=torch.float64)
        solved = [torch.linalg.inv(kernel + ridge * eye) for ridge in self.ridges]
        best = min(solved, key=lambda inverse: float(_left_out(inverse, logits - middle)))
        said = (-(torch.cdist(ours, theirs) ** 2) / width).exp() @ best @ (logits - middle) + middle
        found = cross_entropy(said, labels_of(known.forget), reduction="none").float()
        words = f"kernel ridge regression of the original's held-out logits, by {self.space}"
        return Targets(list(found.clamp(0, ABSENT)), words, cost + len(unseen) / 3), None


def _left_out(inverse: Tensor, values: Tensor) -> Tensor:
    """Σ of the squared leave-one-out errors of a ridge regression."""
    return (((inverse @ values) / inverse.diagonal()[:, None]) ** 2).sum()


def _places(known: Known, unseen: Samples, space: Space) -> tuple[Tensor, Tensor, float]:
    """float32 [F, d] and [V, d]: where forget and held-out samples lie, and what that cost."""
    if space == "features":
        cost = (len(known.forget) + len(unseen)) / 3
        return penultimate(known.model, known.forget), penultimate(known.model, unseen), cost
    return _pixels(known.forget), _pixels(unseen), 0.0


def _pixels(samples: Samples) -> Tensor:
    return samples.batch(range(len(samples))).inputs["pixel_values"].flatten(1).float().cpu()
