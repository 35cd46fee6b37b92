"""Every baseline that takes one gradient of one sum is a value of this class, not a subclass."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..core.oracle import Oracle
from ..core.vectors import Vector, combine, scale
from ..losses import Objective
from ..tasks import Need, Task
from .base import Descent, Log


@dataclass
class ScalarisedState:
    """The optimiser with its moments."""

    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Scalarised:
    """Minimise forget_weight · L_forget + retain_weight · L_retain; either may be None.

    FineTune: retain NLL alone. GradAscent: Ascend(NLL) alone. GradDiff (Liu et al. 2022): Ascend(NLL) + NLL. KL:
    Ascend(NLL) + KL to the original (Maini et al. 2024). NPO, SimNPO: their loss + NLL. NegGrad+ (Kurmanji et al.
    2023, arXiv 2302.09880): Ascend(NLL) + NLL with weights 1 − α and α. Random-label (Golatkar et al. 2020, arXiv
    1911.04933): `relabel.RandomLabels` + NLL.
    """

    forget: Objective | None
    retain: Objective | None
    descent: Descent
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.forget is None and self.retain is None:
            raise ValueError("Scalarised: forget and retain are both None, expected at least one objective")
        if self.forget_weight < 0 or self.retain_weight < 0:
            raise ValueError(
                f"Scalarised: forget_weight is {self.forget_weight:g}, retain_weight {self.retain_weight:g}; "
                "expected 0 or more: a negative weight turns forgetting into learning, and keeping into forgetting"
            )

    @property
    def needs(self) -> frozenset[Need]:
        """What its objectives need."""
        objectives = [objective for objective in (self.forget, self.retain) if objective is not None]
        return frozenset().union(*(objective.needs for objective in objectives))

    def init(self, task: Task, oracle: Oracle) -> ScalarisedState:
        """A fresh optimiser."""
        return ScalarisedState(self.descent.build(oracle.params))

    def step(self, task: Task, oracle: Oracle, state: ScalarisedState) -> tuple[ScalarisedState, Log]:
        """One gradient per objective, one optimiser step."""
        total, numbers = self.gradient(task, oracle)
        self.descent.apply(state.optimizer, oracle.params, total)
        return state, Log(numbers)

    def gradient(self, task: Task, oracle: Oracle) -> tuple[Vector, dict[str, float]]:
        """The weighted sum's gradient on the next batches, and the value of each objective there."""
        total: Vector | None = None
        numbers: dict[str, float] = {}
        for name, objective, weight, stream, size in (
            ("forget_objective", self.forget, self.forget_weight, task.forget, task.forget_batch),
            ("retain_objective", self.retain, self.retain_weight, task.retain, task.retain_batch),
        ):
            if objective is None:
                continue
            numbers[name], grad = oracle.grad(objective.bind(task), stream.next(size))
            if total is None:
                total = grad if weight == 1.0 else scale(weight, grad)
            else:
                total = combine(1.0, total, weight, grad)
        assert total is not None  # __post_init__ saw to it
        return total, numbers
