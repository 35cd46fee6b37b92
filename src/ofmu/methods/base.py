"""The descent step that every method shares; `Log` and `Method` are in `ofmu.tasks`, where the loop sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from ..core.vectors import Vector, fusible
from ..tasks import Log, Method

__all__ = ["Descent", "Log", "Method"]


@dataclass(frozen=True)
class Descent:
    """How a gradient becomes a step: an optimiser of torch's and a clip on the gradient's norm (None: no clip).

    momentum: of rule "sgd" alone.
    """

    rule: Literal["sgd", "adamw"]
    lr: float
    clip: float | None = None
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if not self.lr >= 0:
            raise ValueError(f"lr: found {self.lr}, expected a learning rate of 0 or more")

    def build(self, params: Vector) -> torch.optim.Optimizer:
        """The optimiser over `params`, without weight decay (shrinking weights is not unlearning)."""
        if self.rule == "sgd":
            return torch.optim.SGD(params, lr=self.lr, momentum=self.momentum)
        fused = fusible(params)
        return torch.optim.AdamW(params, lr=self.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=fused)

    def apply(self, optimizer: torch.optim.Optimizer, params: Vector, grad: Vector, factor: float = 1.0) -> None:
        """θ ← one optimiser step along −grad, at `factor` times the rate."""
        for p, g in zip(params, grad, strict=True):
            p.grad = g.detach()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(params, self.clip)
        for group in optimizer.param_groups:
            group["lr"] = self.lr * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
