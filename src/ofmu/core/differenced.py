"""The differenced linearisation: Hessian-vector products from gradients at two points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .terms import Loss
from .vectors import Vector

if TYPE_CHECKING:
    from .oracle import TorchOracle


class Differenced:
    """Central differences of gradients on the same batch, with a bounded loss's active mask held fixed.

    First-order memory, any attention kernel, sharded parameters; smooth networks only.
    """

    def __init__(self, oracle: TorchOracle, loss: Loss, batch: Any, slot: str) -> None:
        self._oracle, self._slot, self._size = oracle, slot, len(batch)
        pinned = getattr(loss, "pinned", None)
        self._parts = [
            (part, loss if pinned is None else pinned(oracle.model, part.batch)) for part in oracle.parts(batch)
        ]
        if pinned is not None:
            oracle.cost += self._size / 3
        self.value, self.grad = self._gradient()

    def _gradient(self) -> tuple[float, Vector]:
        self._oracle.cost += self._size * (1 + extra_passes(self._parts[0][1]))
        return self._oracle.gradient(self._parts, full=True)

    def hvp(self, v: Vector) -> Vector:
        """H v ≈ (g(θ+εv) − g(θ−εv)) / 2ε."""
        return self._oracle.steps.difference(lambda: self._gradient()[1], v, self.grad, slot=self._slot)


def extra_passes(loss: Loss) -> float:
    """What a loss costs a sample beyond the model's own passes: the forward pass of a frozen model is 1/3."""
    return float(getattr(loss, "extra_passes", 0.0))
