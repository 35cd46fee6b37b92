"""Gradient rules: one direction from the gradients of both objectives, chosen so that neither is hurt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.oracle import Oracle
from ..core.vectors import Vector, combine, dot
from ..errors import UserError
from ..losses import Objective
from ..tasks import Need, Task
from .base import Descent, Log
from .scalarised import ScalarisedState

RuleName = Literal["pcgrad", "mgda", "upgrad"]
CLASSES = {"pcgrad": "PCGradWeighting", "mgda": "MGDAWeighting"}  # in torchjd


@dataclass(frozen=True)
class GradientRule:
    """d = w_1 a + w_2 b, with a = ∇(forget objective) and b = ∇(retain objective), both minimised; θ descends d.

    With ascent on L_f, a = −g_f and b = g_r: the two conflict where a·b < 0, that is where g_f·g_r > 0 (a step
    along g_f then raises L_r). One public unlearning code base tests the sign the other way round and rectifies
    where the objectives agree. The weights come from the Gramian G = [[a·a, a·b], [a·b, b·b]] alone, by torchjd
    but for UPGrad:

    - "pcgrad" (Yu et al. 2020, arXiv 2001.06782, algorithm 1): where they conflict each loses its part along the
      other, a' = a − (a·b/b·b) b; d = a' + b', else a + b (then it is GradDiff).
    - "mgda" (Désidéri 2012; Sener & Koltun 2018, arXiv 1810.04650): the shortest point of the segment from a to b;
      zero where no direction descends both, and where one gradient vanishes: at g_f = 0 (the plateau of a bounded
      loss, or all forgotten) d = 0, so that nothing is repaired any more either.
    - "upgrad" (Quinton & Rey 2024, arXiv 2406.16232): each gradient projected on the cone of directions along
      which neither objective rises (a·d ≥ 0, b·d ≥ 0), then their mean. For *two* gradients that is half of
      PCGrad's d: under an optimiser that ignores the scale the two are one method. In closed form
      (`upgrad_weights`): torchjd regularises the Gramian by a share of its norm, in which a short gradient drowns
      beside a long one, so that its objective rises.
    """

    rule: RuleName
    forget: Objective
    retain: Objective
    descent: Descent

    @property
    def needs(self) -> frozenset[Need]:
        """What its objectives need."""
        return self.forget.needs | self.retain.needs

    def init(self, task: Task, oracle: Oracle) -> ScalarisedState:
        """A fresh optimiser; UserError where torchjd, or what its rule needs, is not installed."""
        weighting(self.rule)(torch.eye(2))
        return ScalarisedState(self.descent.build(oracle.params))

    def step(self, task: Task, oracle: Oracle, state: ScalarisedState) -> tuple[ScalarisedState, Log]:
        """One gradient per objective, their weights, one optimiser step."""
        forget_value, a = oracle.grad(self.forget.bind(task), task.forget.next(task.forget_batch))
        retain_value, b = oracle.grad(self.retain.bind(task), task.retain.next(task.retain_batch))
        gram = gramian(a, b)
        first, second = weighting(self.rule)(gram).tolist()
        self.descent.apply(state.optimizer, oracle.params, combine(first, a, second, b))
        numbers = {"forget_objective": forget_value, "retain_objective": retain_value}
        return state, Log(
            {**numbers, "agreement": float(gram[0, 1]), "weight_forget": first, "weight_retain": second}
        )


def gramian(a: Vector, b: Vector) -> Tensor:
    """[[a·a, a·b], [a·b, b·b]] in float64, on the CPU."""
    aa, ab, bb = (float(dot(x, y)) for x, y in ((a, a), (a, b), (b, b)))
    return torch.tensor([[aa, ab], [ab, bb]], dtype=torch.float64)


def upgrad_weights(gram: Tensor) -> Tensor:
    """UPGrad's weights [2] of a Gramian [2, 2]: ½(1 − a·b/a·a), ½(1 − a·b/b·b) where a·b < 0, else ½ and ½.

    Where they conflict, a's projection on the cone {d: a·d ≥ 0, b·d ≥ 0} is a − (a·b/b·b) b: along b it is 0,
    along a it is a·a − (a·b)²/b·b ≥ 0. A gradient whose square underflows has none taken away along it.
    """
    aa, ab, bb = gram[0, 0], gram[0, 1].clamp(max=0), gram[1, 1]
    away = [ab / square if square > 0 else torch.zeros_like(ab) for square in (aa, bb)]
    return (1 - torch.stack(away)) / 2


def weighting(rule: RuleName) -> Callable[[Any], Tensor]:
    """The weights [2] of a Gramian [2, 2]; UserError where torchjd or a package its rule needs is absent."""
    if rule == "upgrad":
        return upgrad_weights
    try:
        import torchjd.aggregation

        rules: Callable[[Any], Tensor] = getattr(torchjd.aggregation, CLASSES[rule])()
    except ImportError as error:
        raise UserError(f'--method {rule}: needs torchjd ({error}): pip install "ofmu[torchjd]"') from None
    return rules
