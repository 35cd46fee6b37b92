"""Selective synaptic dampening: shrink the weights that matter to the forget set far more than to all data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core import vectors
from ..core.oracle import Oracle
from ..core.terms import Loss
from ..core.vectors import Vector
from ..errors import UserError
from ..tasks import Log, Need, Samples, Task
from .gradients import group_gradients, spread_rows

APPLIED = "the rule is applied, once"


@dataclass
class SSDState:
    """Whether the rule was applied."""

    applied: bool = False


@dataclass(frozen=True)
class SSD:
    """θ_i ← β_i θ_i where F_f,i > α F_D,i, with β_i = min(λ F_D,i / F_f,i, 1); no training, one step.

    Foster et al. 2024, arXiv 2308.07707, section 3. F_S = mean over the samples of S of (∂ log p_θ(y|x)/∂θ_i)²,
    the diagonal of the empirical Fisher information; F_f of D_f, F_D of all training data, D_f and D_r, here
    (n_f F_f + n_r F_r)/(n_f + n_r). alpha (α): selection, 10 in the paper for ResNet-18 and ViT. Since F_D ≥ F_f ·
    n_f/(n_f + n_r), nothing is ever selected where D_f is 1/α of the data or more, so that is refused: take less
    than 10 for a tenth.
    strength (λ): 1 in the paper. most: of so many retain samples, evenly spread, F_r is the mean (None: all, as in
    the paper). Cost: n_f and as many retain samples as are used.

    group: samples whose gradients are averaged before they are squared, 1 by the definition. The authors' code
    squares the gradient of a batch's mean (128 samples), which is not the Fisher information: for independent
    gradients of zero mean both importances shrink by the batch size, and α and λ see their ratio alone; near a
    minimum of D that is F_D's case and not F_f's. group = 128 is their code.
    """

    alpha: float = 10.0
    strength: float = 1.0
    most: int | None = None
    group: int = 1

    needs: ClassVar[frozenset[Need]] = frozenset()

    def __post_init__(self) -> None:
        if self.alpha <= 0 or self.strength <= 0 or self.group < 1 or (self.most is not None and self.most < 1):
            raise ValueError(
                f"SSD: found {self}, expected alpha and strength above 0, most and group of 1 or more"
            )

    def init(self, task: Task, oracle: Oracle) -> SSDState:
        """Nothing yet: the step does it all. UserError where alpha can select nothing."""
        ours = len(task.forget.samples)
        bound = (ours + len(task.retain.samples)) / ours
        if self.alpha >= bound:
            raise UserError(
                f"SSD: alpha is {self.alpha:g}, expected less than {bound:g}, the number of all samples over that "
                "of the forgotten ones: from there on no weight is ever selected, and the model stays as it is. "
                "Give SSD a smaller alpha (in a benchmark ssd:alpha=VALUE), or take another method"
            )
        return SSDState()

    def step(self, task: Task, oracle: Oracle, state: SSDState) -> tuple[SSDState, Log]:
        """Both importances, then the rule; done."""
        forget, retain = task.forget.samples, task.retain.samples
        ours = importance(oracle, task.loss, forget, range(len(forget)), self.group)
        rows = spread_rows(len(retain), self.most)
        theirs = importance(oracle, task.loss, retain, rows, self.group)
        share = len(forget) / (len(forget) + len(retain))
        whole = vectors.combine(share, ours, 1 - share, theirs)
        factors = dampening(ours, whole, self.alpha, self.strength)
        vectors.assign(oracle.params, [p.detach() * f for p, f in zip(oracle.params, factors, strict=True)])
        dampened = sum(int((f < 1).sum()) for f in factors) / sum(f.numel() for f in factors)
        why = (
            APPLIED
            if dampened
            else f"{APPLIED}, and dampened nothing: alpha {self.alpha:g} or strength is too large"
        )
        return SSDState(True), Log({"dampened_share": dampened}, done=True, why=why)


def importance(oracle: Oracle, loss: Loss, samples: Samples, rows: Sequence[int], group: int = 1) -> Vector:
    """The mean of g² over the gradients g of every `group` rows, entry by entry."""
    total, count = vectors.zeros_like(oracle.params), 0
    for grad in group_gradients(oracle, loss, samples, rows, group):
        torch._foreach_addcmul_(total, grad, grad)
        count += 1
    torch._foreach_div_(total, count)
    return total


def dampening(forget: Vector, whole: Vector, alpha: float, strength: float) -> list[Tensor]:
    """β in the shapes of the importances: min(λ F_D/F_f, 1) where F_f > α F_D, and 1 elsewhere."""
    factors = []
    for ours, all_data in zip(forget, whole, strict=True):
        chosen = ours > alpha * all_data
        ratio = strength * all_data / ours.where(chosen, torch.ones_like(ours))
        factors.append(ratio.clamp(max=1.0).where(chosen, torch.ones_like(ours)))
    return factors
