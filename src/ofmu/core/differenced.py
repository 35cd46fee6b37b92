"""The differenced linearisation: Hessian-vector products from gradients at two points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .differences import Place
from .group import Part
from .protocols import Direction, Scheme
from .terms import Loss
from .vectors import Vector

if TYPE_CHECKING:
    from .oracle import TorchOracle


class Differenced:
    """Differences of gradients on the same batch; every branch that was taken at θ is held (`core.kinks`).

    First-order memory, any attention kernel, sharded parameters. Central: two gradients a product; forward: one.
    again: the products will be differenced once more, inside which "auto" tries nothing and is less strict.
    """

    def __init__(
        self, oracle: TorchOracle, loss: Loss, parts: list[Part], slot: str, scheme: Scheme, again: bool
    ) -> None:
        self._oracle, self._loss, self._parts, self._slot = oracle, loss, parts, slot
        self._scheme, self._again = scheme, again
        self.work = 0.0
        self.value, self.grad = self._gradient()

    def _gradient(self) -> tuple[float, Vector]:
        self.work += self._oracle.spend(self._parts, 1, self._loss)
        with self._oracle.precision(full=True):  # the backward pass too
            return self._oracle.gradient(self._loss, self._parts, full=True)

    def hvp(self, v: Direction, last: bool = False, beside: float = 0.0) -> Vector:
        """H v ≈ (g(θ+εv) − g(θ)) / ε, or (g(θ+εv) − g(θ−εv)) / 2ε."""
        place: Place = "inside" if self._again else "alone"
        return self._oracle.steps.difference(
            lambda: self._gradient()[1], v, self.grad, self._slot, scheme=self._scheme, place=place, beside=beside
        )

    def here(self) -> Differenced:
        """The same, with the same branches, at the parameters as they are now."""
        return Differenced(self._oracle, self._loss, self._parts, self._slot, self._scheme, self._again)
