"""What every unlearning method looks like, and the descent step they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from ..core.oracle import Oracle
from ..core.vectors import Vector
from ..tasks import Task


@dataclass(frozen=True)
class Log:
    """What one step reports. numbers: named finite floats. done: the method's own exit rule holds."""

    numbers: dict[str, float] = field(default_factory=dict)
    done: bool = False


class Method(Protocol):
    """A frozen dataclass whose fields are its hyper-parameters; what changes lives in the state it returns."""

    def init(self, task: Task, oracle: Oracle) -> Any:
        """The state before the first step."""
        ...

    def step(self, task: Task, oracle: Oracle, state: Any) -> tuple[Any, Log]:
        """One step: parameters move through the oracle."""
        ...


@dataclass(frozen=True)
class Descent:
    """How a gradient becomes a step: an optimiser of torch's and a clip on the gradient's norm (None: no clip)."""

    rule: Literal["sgd", "adamw"]
    lr: float
    clip: float | None = None

    def build(self, params: Vector) -> torch.optim.Optimizer:
        """The optimiser over `params`, without weight decay (shrinking weights is not unlearning)."""
        if self.rule == "sgd":
            return torch.optim.SGD(params, lr=self.lr)
        return torch.optim.AdamW(params, lr=self.lr, betas=(0.9, 0.98), weight_decay=0.0)

    def apply(self, optimizer: torch.optim.Optimizer, params: Vector, grad: Vector) -> None:
        """θ ← one optimiser step along −grad."""
        for p, g in zip(params, grad, strict=True):
            p.grad = g.detach()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(params, self.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
